//! The contract: seven methods that make a service readable, as an async trait. It knows no cache, no kernel, no names of folders.
//!
//! `Kind::configure` makes a [`Source`] (from outside: [`crate::sources::configure`]), which has the other six. Call order, which every caller keeps and every source may rely on:
//! `configure` once → `connect` → `list_path` (consumed to its end) → `create_remote_digest` → `retrieve_file`; `disconnect` exactly
//! once for every successful `connect`. Wrappers (deadlines, limits, counters) are sources too; each must pass on every method,
//! those with a default too, which `clippy::missing_trait_methods` demands of it.
//!
//! ```
//! use futures::TryStreamExt as _;
//! use kitovufs::error::Result;
//! use kitovufs::path::RemotePath;
//! use kitovufs::source::Source;
//!
//! /// The bytes of all files in one directory of a connected source, as far as it knows their sizes.
//! async fn bytes_in(source: &dyn Source, dir: &RemotePath) -> Result<u64> {
//!     let entries = source.list_path(dir).await?;
//!     entries.try_fold(0, async |sum, entry| Ok(sum + entry.size.unwrap_or(0))).await
//! }
//! ```

pub(crate) mod budget;
pub mod conformance;
pub(crate) mod connection;
pub(crate) mod count;
pub(crate) mod deadline;
mod entries;
#[cfg(test)]
pub(crate) mod fault;
pub(crate) mod identity;
pub(crate) mod keyring;
pub(crate) mod kind;
pub(crate) mod limit;
pub(crate) mod nearest;
pub(crate) mod one_name;
pub(crate) mod operation;
pub(crate) mod packed;
pub(crate) mod pending;
pub(crate) mod rate;
pub(crate) mod retry;
pub(crate) mod settings;
pub(crate) mod stack;
pub(crate) mod turns;
pub(crate) mod url;
pub(crate) mod waits;

use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;

pub use crate::omitted::Omitted;
pub use entries::{EntryStream, LeftOut};
pub(crate) use kind::Kind;
pub use settings::{Problem, Settings};
pub use turns::Urgency;

/// A remote of any kind, ready to be asked: a share, a bucket, a web folder, a directory. [`crate::sources::configure`] makes it of its settings.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The capabilities of this source beyond the bare contract. Constant, except that `ranges` may end once a server has shown
    /// that it sends none; a request for a part is answered nevertheless.
    fn capabilities(&self) -> Capabilities;

    /// Makes the source ready for requests. Called before the first remote call, perhaps long before, and again after a lost connection.
    async fn connect(&self) -> Result<()>;

    /// Ends what `connect` began. Called exactly once for every successful `connect`.
    async fn disconnect(&self);

    /// Opens network connections that the first requests after the next `connect` find ready, at most so many: for sources whose `connect`
    /// opens none. It asks for nothing that the source shows, reveals no secret, and tells nothing: without it, all works the same, later.
    /// Called before the first `connect`, or beside it; does nothing later. It may be given up.
    async fn preconnect(&self, _most: usize) {}

    /// Lists one directory. The stream's end, reached without an error, is what makes a listing complete, unless it notes a record that
    /// could not be read ([`EntryStream::omitted`]): then a name that it does not tell is no absent one. An answer of which nothing can
    /// be read is an error.
    ///
    /// # Errors
    /// `NotFound` only if the source positively knows that there is no such directory.
    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>>;

    /// Returns the digest of the file's current version: the same digest means the same bytes.
    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest>;

    /// Returns the digest that `create_remote_digest` would give for the bytes of this whole local copy.
    ///
    /// A source whose digests are not computed from bytes (an entity tag, a time) answers what the bytes were retrieved as
    /// ([`LocalCopy::retrieved_as`]) after checking what it can (the size).
    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest>;

    /// Retrieves the wanted bytes of one version into `out`, in order.
    ///
    /// # Errors
    /// `Changed` if the remote is not, or no longer, the version asked for: bytes of two versions are never mixed. Bytes that went
    /// to `out` before an error count only if the source proved that they are of that version, as it must before it writes them.
    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved>;

    /// Returns the stream of changes that the source notices by itself (the capability `notify`), if it does. Called once.
    fn changes(&self) -> Option<Changes> {
        None
    }
}

/// The paths of files and directories that have changed since the source told of them, as it notices.
pub type Changes = tokio::sync::mpsc::Receiver<RemotePath>;

/// The capabilities of a source beyond the bare contract; the mount uses those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Listings carry a digest with every file, so one listing renews all files of the directory.
    pub digest_from_listing: bool,
    /// `retrieve_file` serves any range; without it, a request is for the whole file.
    pub ranges: bool,
    /// `create_local_digest` is computed from the bytes alone: a copy that disagrees is damaged, without exception.
    pub content_digest: bool,
    /// `retrieve_file` cannot tell by itself which version its bytes are of: only the local digest of a whole copy does, and no
    /// byte of a copy is read before. Of a file that the cache cannot hold, every answer is compared with those before it.
    pub proven_whole: bool,
    /// `retrieve_file` may leave it to its caller to confirm bytes (see [`Retrieved::is_unconfirmed`]), which listings do.
    pub unconfirmed: bool,
    /// Names are file names already: control characters in them are kept (see `catalog::localize`).
    pub verbatim_names: bool,
    /// A listing of a large or slow directory for the sake of one name tells of that name alone ([`EntryStream::want_only`]).
    pub names_alone: bool,
    /// The most bytes that one `retrieve_file` holds in memory, beyond those that it has given to the sink.
    pub buffer: u64,
    /// The most requests that may be under way at once. At least 1.
    pub concurrency: usize,
}

/// A name that a source lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component as the source writes it, any bytes. `catalog::localize` makes it fit for Linux.
    pub name: Vec<u8>,
    /// Its path, which callers hand back verbatim.
    pub path: RemotePath,
    /// File, directory or link.
    pub kind: EntryKind,
    /// The permission bits (at most 0o777) of a file or directory, where the source has some.
    pub permissions: Option<u16>,
    /// Bytes of a file, where the source knows.
    pub size: Option<u64>,
    /// Time of the last change, where the source knows.
    pub modified: Option<SystemTime>,
    /// The digest of the file's version, where listings tell one; `None` for directories and links.
    pub digest: Option<Digest>,
}

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, which leads wherever its text says.
    Symlink {
        /// The link's text, as `readlink` gives it.
        target: Vec<u8>,
    },
}

/// The permission bits of a mode as `stat` tells it; nothing that changes who runs a program.
pub(crate) fn permission_bits(mode: u32) -> u16 {
    (mode & 0o777) as u16
}

impl Entry {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory)
    }

    /// The bytes that its name, path, digest and link's text take.
    pub fn bytes(&self) -> usize {
        let target = if let EntryKind::Symlink { target } = &self.kind { target.len() } else { 0 };
        let digest = self.digest.as_ref().map_or(0, |digest| digest.as_str().len());
        self.name.len() + self.path.as_bytes().len() + digest + target
    }
}

/// The answer of `create_remote_digest`: the digest and, where the source knows them, size and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDigest {
    /// The version's digest.
    pub digest: Digest,
    /// Bytes of that version, where the source knows.
    pub size: Option<u64>,
    /// Time of its last change, where the source knows.
    pub modified: Option<SystemTime>,
}

/// A request for bytes of one version.
#[derive(Debug, Clone)]
pub struct Retrieval<'a> {
    /// The file.
    pub path: &'a RemotePath,
    /// The version whose bytes are wanted; any other version's are an error.
    pub digest: &'a Digest,
    /// The version's size in bytes; `None` if the source has told none, and then all bytes are wanted.
    pub size: Option<u64>,
    /// The bytes wanted; `0..size` for all. Never empty, never beyond `size`; a part only for sources with `ranges`.
    /// `0..u64::MAX` if the size is not known.
    pub range: Range<u64>,
    /// Whether a reader waits for the bytes.
    pub urgency: Urgency,
    /// When the file was opened: reads of a file that was opened before an outage wait for the end of a short one.
    pub opened: Instant,
    /// Whether bytes of a whole file may come unconfirmed (see [`Retrieved::is_unconfirmed`]): who retrieves has them confirmed.
    pub may_be_unconfirmed: bool,
}

impl<'a> Retrieval<'a> {
    /// A request that a reader waits for.
    pub fn new(path: &'a RemotePath, digest: &'a Digest, size: u64, range: Range<u64>) -> Self {
        let (urgency, opened) = (Urgency::interactive(), Instant::now());
        Self { path, digest, size: Some(size), range, urgency, opened, may_be_unconfirmed: false }
    }

    /// A request, that a reader waits for, for all bytes of a version of which the source has told no size.
    pub fn of_unknown_size(path: &'a RemotePath, digest: &'a Digest) -> Self {
        Self { size: None, range: 0..u64::MAX, ..Self::new(path, digest, u64::MAX, 0..0) }
    }

    /// Whether a size that an answer tells can be the wanted version's; an answer without a size contradicts nothing.
    pub fn allows_size(&self, seen: Option<u64>) -> bool {
        self.size.is_none() || seen.is_none() || self.size == seen
    }

    /// Whether all bytes of the file are wanted.
    pub fn is_whole(&self) -> bool {
        self.size.is_none_or(|size| self.range == (0..size))
    }
}

/// The facts that `retrieve_file` learned besides the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retrieved {
    /// Time of the last change of the version whose bytes were delivered, where the answer said so.
    pub modified: Option<SystemTime>,
    /// The bytes are of the version as far as the beginning of the answer tells, and a program may have overwritten the file meanwhile. If the
    /// source tells of the same version when it is asked from now on, by a listing or by `create_remote_digest`, they are right.
    pub is_unconfirmed: bool,
}

impl Retrieved {
    /// Bytes of a version of which this is known, and nothing is left to confirm.
    pub fn confirmed(modified: Option<SystemTime>) -> Self {
        Self { modified, is_unconfirmed: false }
    }
}

/// Takes retrieved bytes, in order, from the start of the requested range.
#[async_trait]
pub trait Sink: Send {
    /// Takes the next bytes. An error means that the rest is not wanted any more: pass it on.
    ///
    /// A call with no bytes is a sign of life: more has arrived that is not proven yet, so the source is not the one that hangs.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Shows all bytes of the request before they are proven, to a reader who may have them at once. They count for nothing until
    /// they come by `write`; if the request fails instead, they may have been of another version. Returns whether the reader has them:
    /// a sink may look away, and its reader waits until they are proven. It may put the same bytes in their place in other pieces, so that they
    /// are held once.
    fn preview(&mut self, _bytes: &mut Vec<Bytes>) -> bool {
        false
    }

    /// The bytes that come next were given by others than the source, who could lie, and the version's digest is a hash of its content: whoever
    /// takes them lets nobody read more of the version until that hash has proven all of it. `false` from who cannot do so; then such bytes must
    /// not be written.
    fn withhold(&mut self) -> bool {
        false
    }
}

#[async_trait]
impl Sink for Vec<u8> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.extend_from_slice(&bytes);
        Ok(())
    }

    /// Its owner has them all before he does anything with them.
    fn withhold(&mut self) -> bool {
        true
    }
}

/// A whole local copy of one version, as `create_local_digest` sees it.
#[derive(Debug, Clone, Copy)]
pub struct LocalCopy<'a> {
    /// A regular file whose base name is the remote's base name and whose modification time is the remote's.
    pub file: &'a Path,
    /// The path at the remote.
    pub path: &'a RemotePath,
    /// The digest under which the bytes were retrieved.
    pub retrieved_as: &'a Digest,
    /// The size that the remote gave, in bytes.
    pub size: u64,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl<S: Source + ?Sized> Source for Box<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn connect(&self) -> Result<()> {
        (**self).connect().await
    }

    async fn disconnect(&self) {
        (**self).disconnect().await;
    }

    async fn preconnect(&self, most: usize) {
        (**self).preconnect(most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        (**self).list_path(dir).await
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        (**self).create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        (**self).create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        (**self).retrieve_file(request, out).await
    }

    fn changes(&self) -> Option<Changes> {
        (**self).changes()
    }
}
