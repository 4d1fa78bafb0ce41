//! kitovufs shows remote sources as ordinary folders, read-only: a FUSE file system over a plugin contract of seven methods.
//!
//! Three sentences are the whole system:
//!
//! - **readdir → `list_path`**: a directory is what the source last said it is, as long as that answer is fresh.
//! - **open → compare digests**: a cached copy is served only if its local digest equals the remote digest.
//! - **read → `retrieve_file`**: bytes that the cache lacks are retrieved into it, once, and read from there.
//!
//! `docs/architecture.md` has the decisions behind it, and what happens when a connection drops.
//!
//! # The library
//!
//! Programs read remotes without a mount: [`sources::configure`] makes a [`source::Source`] of a type that comes with kitovufs.
//! [`source::conformance`] checks a source that you wrote. [`error`], [`path`] and [`digest`] are the words of the contract, and
//! [`cli::run`] is the program `kitovufs`. Everything else is private; the rest of this page is the map of it.
//!
//! ```
//! use futures::TryStreamExt as _;
//! use kitovufs::path::RemotePath;
//! use kitovufs::source::{Entry, Retrieval, Settings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let remote = tempfile::tempdir()?;
//! # std::fs::write(remote.path().join("hello.txt"), "Hello")?;
//! # let table = format!("path = {:?}", remote.path());
//! let settings = Settings::of("docs", toml::from_str(&table)?); // for example: path = "/srv/docs"
//! let source = kitovufs::sources::configure("local", &settings).await.expect("the settings are right");
//! source.connect().await?;
//! let listing: Vec<Entry> = source.list_path(&RemotePath::root()).await?.try_collect().await?;
//! for Entry { path, .. } in &listing {
//!     let version = source.create_remote_digest(path).await?;
//!     let size = version.size.expect("a local file has a size");
//!     let mut content = Vec::new();
//!     source.retrieve_file(&Retrieval::new(path, &version.digest, size, 0..size), &mut content).await?;
//!     assert_eq!(content, b"Hello");
//! }
//! source.disconnect().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//!
//! A module imports only what stands on a layer below its own, never what is above or beside it, and the files of one folder do not
//! import each other in a circle; the tests in `layers` keep this true.
//! [`mount`] assembles everything. A source for which something is not there (a variable, a file) is a [`source::pending`] until
//! that is; `mount::survey` tells the user which sources do not work.
//!
//! ```text
//! main — the program
//! cli — commands
//! mount, import — everything put together; what kitovu's configuration means
//! control, web — the socket on which a mount's daemon answers commands; its page and metrics for browsers and Prometheus
//! config, fuse, status — the file, the kernel, what `status` tells
//! fs, sources — inodes and handles; one folder for each type of source
//! catalog, version — what sources said; versions that are read, and their bytes on the way into the cache
//! shared — content that machines have in common
//! freshness, cache, source — decisions; copies on disk; the contract
//! secret, db
//! keyring, cachedir, content, omitted
//! error, children
//! path, name, digest, disk, duration, revealed, room, flight, beneath, allocator — words that import nothing
//! ```
//!
//! # The three walks
//!
//! **readdir.** [`fuse`] decodes `opendir` → [`fs::FileSystem::open_dir`] → [`catalog::Catalog::list`]. A listing that is fresh by
//! [`freshness::before_asking`] is served from memory, or from the database if memory has no room for it. Otherwise one request per
//! directory is under way, which all callers share ([`flight`]): [`source::Source::list_path`], through [`source::connection`]
//! (connected? answering?), [`source::limit`], [`source::count`] and [`source::deadline`]. Only a listing that reached its end
//! within its [`source::budget`], of which one large listing at a time makes use, replaces the known one, and one without names
//! only when it is told twice. One with records that could not be read ([`omitted`]) is incomplete: it removes no name, and the source
//! is asked about each name that it has not. Its entries are packed as they arrive ([`source::packed`]), or, where a single answer has
//! them all, while that is read (`sources::heap`), and stay packed in memory, the kernel's inodes included; [`catalog::localize`] makes their
//! names fit for Linux. If the source cannot be asked, [`freshness::after_failure`] decides between the last known listing and an
//! error; if it takes longer than `patience`, [`freshness::while_asking`] lets the known listing be the answer, and the question
//! goes on. `readdir` then reads that snapshot; every entry gets its inode number from `fs::inode`: a hash of (folder, source, path,
//! digest). The kernel keeps names that it was shown as long as its next `opendir` finds the same snapshot (`fuse::directories`, a table of
//! cases). A folder put together from sources (`fs::union`) asks the catalog of each, and keeps nothing itself. A change that a
//! source reports by itself ([`source::Source::changes`]) makes the catalog ask anew and the kernel forget the name
//! (`mount::changes`).
//!
//! A lookup in a directory of which no listing is known (`catalog::lookup`) lists it, unless it is large, or slow to list, and the
//! source can tell of the name alone ([`source::Capabilities::names_alone`]). An inode that the kernel knows only by its number, from a
//! file handle, is looked for in the stored listings (`fs::export`).
//!
//! Directories opened one after another make the next ones be listed ahead of their reader (`fs::ahead`, whose `walk` is a table of
//! cases); a reader who comes meanwhile joins, and asks itself if that fails (`catalog::ahead`).
//!
//! **open.** A file of which the source tells no size is retrieved by `lookup` already ([`version::Transfer::measure`]), so that `stat` is right.
//! `lookup` led to an inode, which is one *version* of one file. [`fs::FileSystem::open`] asks the catalog what the name
//! leads to now: another version, and the answer is `Changed` (ESTALE), upon which the kernel looks up and opens once more, and finds what it
//! needs retrieved (`MountedSource::bring_current`). What the source refuses is not asked for at each open (`catalog::refusals`). The same, and
//! [`freshness::before_opening`] decides whether the whole file must come first (of some only the whole copy can be proven:
//! [`source::Capabilities::proven_whole`]). [`version::Transfer::open`] opens the version's [`cache::CachedFile`], a whole copy is
//! inspected (is its file as it was left?), and unless the kernel may read that without us, [`freshness::at_open`] decides: serve it,
//! retrieve it all because it is small, retrieve its first block ([`version::OpenVersion::begin`]), or ask for its digest. After this
//! point a change can no longer be answered by looking the name up again.
//!
//! A file that its source's configuration calls *live* has one inode, no version, and nothing in the cache: `fs::live` asks the source
//! what it holds now, for `lookup`, `stat` and every read.
//!
//! Opens of one file after another make the next ones come ahead of their reader (`fs::ahead`, whose `plan` is a table of cases), by name or
//! in another order that it keeps to (`rows`, another table). Beside the first block of a large file comes its end, while programs read such
//! ends (`ends`, a third).
//!
//! **read.** [`version::OpenVersion::read`] → [`cache::OpenCopy::read`]: blocks that are there are hashed once per life of the process and
//! read from the file. Of missing ones, and of a window ahead of readers that go forward (`version::stream`), `version::plan` decides
//! in a table of cases which are requested, each block once for all readers. A request (`version::request`) is a task of its own:
//! [`source::Source::retrieve_file`] delivers, what arrives is cut into blocks, and [`cache::OpenCopy::write`] takes each: room is reserved
//! before (`cache::room`), the block is written, hashed and noted in the copy's contents (`cache::copy`). Blocks are
//! handed to readers as they arrive; small answers over WebDAV, HTTP and from buckets without tags even before their source has proven
//! them (`sources::http::early`), from memory, which forgets them unless it does; small files that come ahead are confirmed together later
//! (`version::confirmations`). The block that completes a copy is held back until `create_local_digest` has proven
//! the copy ([`freshness::proof`]). Where the bytes were wrong, the next ones are read only once they are proven, and who has read of the
//! wrong ones gets an error. A proven copy may be read by the kernel itself (`fuse::passthrough`). A server that restarts
//! meanwhile is waited for, and what is missing asked for again ([`source::retry`]).
//!
//! Where the configuration says so, [`shared::Shared`] stands between a source's connection and its transfer, and asks a store that
//! machines have in common first ([`shared::Tier`]). It knows no names and no freshness: of a large file the first block comes from
//! the source, which is how an open hears of a change. What comes from the source is given to the store once its retrieval has ended
//! well, or, where the digest is a hash and nobody waits for it, once [`version`] has proven the copy. [`shared::Listed`] does the same for
//! the catalog's listings, each of which is as old as the question of the machine that has asked.
//!
//! # What commands ask
//!
//! A mount's daemon answers its user's commands on a socket ([`control`]), so that none waits for a mount that hangs. Errands
//! (`fs::errand`) do something with everything at and below a place: they walk, open and read as programs do, within the daemon. What is
//! pinned (`fs::pins`) is looked at again and again, and its copies are never evicted (`cache::pins`).
//!
//! Browsers and Prometheus are told the same status over HTTP ([`web`]), where the configuration has a place for it.
//!
//! # Waiting
//!
//! The kernel's threads answer requests for which memory is enough; every other request is a task of the async runtime that owns
//! its reply. No lock is held across a call to a source. A program that waits can be interrupted: `fuse::interrupt` looks for
//! signals that are pending for the callers of requests that wait, refuses those requests, and their tasks are dropped. Work that
//! several requests wait for is a task of its own. [`source::waits`] knows which programs wait for which source, and for which
//! call, and what is being retrieved; [`source::operation`] how calls ended, and how long their answers took: `status` tells.
//!
//! Files and rows of the cache lie on a disk that may hang, so they are asked for through [`disk::Disk`], or [`db::Database::ask`]:
//! on threads that may wait, for two seconds once. Then the disk is left alone, and the bytes and listings come from the source. What the
//! kernel remembers of a file is asked on the spot (`cache::copy::remembered`): then an open, a read and a release of a copy that is here
//! pass no other thread.
//!
//! # Lock order
//!
//! Locks are private to their types. Where one is taken while another is held, it is in this order:
//! `fs::ahead` (ends) → `version::OpenVersion` (requests) → `cache::CachedFile` (state), `fs::ahead` (walks, then one of them) → `catalog`, and `cache`
//! (pins, then table). The others of `cache` itself (spill, what is free), those of `catalog`, `shared`, `fs::inode`, `fs::handle`,
//! `fuse::directories`, `fuse::passthrough`, `source::connection`, `flight`, `db` and `disk` are leaves. A copy's state is locked while the disk is asked
//! about its file; who looks at it waits as for the disk.

#![allow(rustdoc::private_intra_doc_links, reason = "the map above links to the private modules that it describes")]

mod allocator;
mod beneath;
mod cache;
mod cachedir;
mod catalog;
mod children;
pub mod cli;
mod config;
mod content;
mod control;
mod db;
pub mod digest;
mod disk;
mod duration;
pub mod error;
mod flight;
mod freshness;
mod fs;
mod fuse;
#[cfg(test)]
mod fuzz;
mod import;
mod keyring;
#[cfg(test)]
mod layers;
mod mount;
mod name;
mod omitted;
pub mod path;
mod revealed;
mod room;
mod secret;
#[cfg(feature = "shared")]
mod shared;
pub mod source;
pub mod sources;
mod status;
mod version;
mod web;

/// What the tests in `tests/sources` use besides the library. It may change with every version.
#[doc(hidden)]
pub mod internals {
    pub use crate::catalog::localize::localize;
    pub use crate::source::budget::{LARGE_BYTES, await_turn, gathering};
    pub use crate::source::deadline::Deadline;
    pub use crate::source::limit::Limited;
    pub use crate::source::packed::Packed;
    pub use crate::sources::python::Adapter;
}
