//! The file system without a kernel: lookup, read_dir, open, read, release. It knows no fuser type and no errno.

mod ahead;
mod changes;
mod errand;
mod export;
mod handle;
mod inode;
mod layout;
mod live;
mod modes;
mod open;
mod pins;
mod union;
mod unsized_file;
pub mod xattr;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::join_all;
use globset::GlobSet;
use tokio::time::{Instant, timeout};

pub use ahead::Ahead;
pub use changes::{Names as ChangedNames, Refreshed};
pub use errand::{Errand, Tally};
pub use handle::HandleId;
pub use inode::{Inode, Node, SourceIndex};
pub use layout::Layout;
pub use modes::Modes;
pub use union::{Part, Union, UnionIndex};

use crate::cache::Cache;
use crate::cache::block::MAX_SIZE;
use crate::catalog::{Answer, Catalog, Listing};
use crate::error::{Error, ErrorKind, Result};
use crate::name::LocalName;
use crate::path::{Printable, RemotePath};
use crate::source::connection::Connection;
use crate::source::count::Counters;
use crate::source::settings::Notes;
use crate::source::waits::Waits;
use crate::source::{Entry, Source as _};
use crate::version::{OpenVersion, Reading, SMALL, Transfer};
use export::Vain;
use handle::Handles;
use inode::Inodes;
use live::{LatestAnswers, OpenLive};
use pins::Keeper;
pub use pins::{Looked, keep_pins};
use union::{Merged, UnionDirectory};

/// For how long the kernel may keep facts that never change while mounted: the directories of the root, and all attributes of a
/// version.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// A program that opens a directory reads it within this time: its names may end to count meanwhile.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// How long the confirmation of what came last may take at the end.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(500);

/// The way to learn the size of a file of which the source tells none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSize {
    /// By retrieving the file at its first lookup, so that `stat` is always right.
    Retrieve,
    /// By retrieving it when it is opened; until then `stat` shows 0.
    Defer,
}

/// One mounted source with everything that serves it.
pub struct MountedSource {
    /// Its name in the mount's root.
    pub name: LocalName,
    /// Its type, as in the configuration.
    pub source_type: String,
    /// Its identity, under which cache and catalog store what is its.
    pub source_id: Arc<str>,
    /// The source itself, and whether it answers.
    pub connection: Arc<Connection>,
    /// The counts of calls to the source, and the calls that wait for it.
    pub counters: Arc<Counters>,
    /// The listings and digests that the source told.
    pub catalog: Arc<Catalog>,
    /// The transfer of its files into the cache.
    pub transfer: Arc<Transfer>,
    /// The retrieval of files and listings that are probably opened next; `None` if the configuration says that there is none.
    pub ahead: Option<Arc<Ahead>>,
    /// For how long a request waits for it without progress.
    pub timeout: Duration,
    /// The way to learn sizes that it does not tell.
    pub unknown_size: UnknownSize,
    /// The names of its live files.
    pub live: GlobSet,
    /// The permissions and owners that its files and directories show.
    pub modes: Modes,
    /// Whether it reports changes by itself.
    pub reports_changes: bool,
    /// What it has found out about its server that concerns the user.
    pub notes: Notes,
}

impl MountedSource {
    /// The calls and programs that wait for the source.
    fn waits(&self) -> &Waits {
        &self.counters.waits
    }

    /// The listing of a directory that a program opens.
    async fn list(&self, dir: &RemotePath) -> Result<Answer<Arc<Listing>>> {
        let walks = self.ahead.as_ref().map(|ahead| &ahead.walks).filter(|walks| walks.opened(dir));
        let answer = self.waits().during(self.catalog.list(dir)).await?;
        if let Some(walks) = walks {
            walks.arrived(dir);
        }
        Ok(answer)
    }

    /// Notes that the source's answer could not be used: in the log, and in the status.
    fn note_failure(&self, error: &Error) {
        if !error.kind().is_outage() {
            self.counters.keep_as_latest(error);
            self.connection.log_failure(error);
            // The disk of the cache is no fault of the source.
            if error.kind() != ErrorKind::Cache {
                self.connection.note_unusable(error);
            }
        }
    }
}

/// The mounted sources as one tree.
pub struct FileSystem {
    sources: Vec<MountedSource>,
    layout: Layout,
    cache: Arc<Cache>,
    inodes: Inodes,
    files: Handles<Open>,
    latest: LatestAnswers,
    directories: Handles<OpenDirectory>,
    keeper: Keeper,
    vain: Vain,
}

/// The attributes that `stat` shows, as far as a source decides them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The number.
    pub inode: Inode,
    /// File, directory or link.
    pub kind: Kind,
    /// Permission bits.
    pub permissions: u16,
    /// The owner's number; `None`: the user who mounts.
    pub uid: Option<u32>,
    /// The group's number; `None`: that of the user who mounts.
    pub gid: Option<u32>,
    /// Bytes of a file or of a link's text; 0 for a directory.
    pub size: u64,
    /// Time of the last change; 1970 where the source does not say, so that it stays the same.
    pub modified: SystemTime,
    /// For how long these attributes may be kept.
    pub valid_for: Duration,
}

/// The kind of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link.
    Symlink,
}

/// The answer to a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The attributes of the inode that the name leads to; `None`: there is no such name.
    pub found: Option<Attributes>,
    /// For how long the name may be taken to lead there.
    pub valid_for: Duration,
}

/// A file that was opened.
pub struct Opened {
    /// The number of this open.
    pub handle: HandleId,
    /// The file of the copy, if it is whole and proven, and large enough that the kernel should read it without us.
    pub proven_file: Option<Arc<std::fs::File>>,
    /// Whether the pages that the kernel has of this version are right. It must drop others.
    pub keeps_pages: bool,
    /// Whether it is a live file, of which the kernel must not keep pages.
    pub live: bool,
}

/// An open file: one version of it, or whatever it holds.
enum Open {
    Version(OpenFile),
    Live(OpenLive),
}

struct OpenFile {
    source: SourceIndex,
    dir: RemotePath,
    name: LocalName,
    entry: Entry,
    version: Arc<OpenVersion>,
    _reading: Reading,
    /// The number of times that bytes of the version had been retracted when it was opened (see [`OpenVersion::retractions`]).
    retractions: u64,
    /// The kernel drops its pages of the version, which was proven then, with this open.
    drops_pages: AtomicBool,
}

/// A directory as it was when it was opened.
struct OpenDirectory {
    names: Names,
    opened: Instant,
    /// For how long the names counted when it was opened.
    valid_for: Duration,
    /// Why there may be more names than these.
    incomplete: Option<Error>,
    /// Whether names were shown.
    read: AtomicBool,
}

impl OpenDirectory {
    fn new(names: Names, valid_for: Duration) -> Self {
        Self { names, opened: Instant::now(), valid_for, incomplete: None, read: AtomicBool::new(false) }
    }

    /// For how long the names count still.
    fn valid_for(&self) -> Duration {
        self.valid_for.saturating_sub(self.opened.elapsed())
    }
}

/// The names of an open directory, in order.
enum Names {
    /// Each name with its node.
    Made(Vec<(LocalName, Node)>),
    /// The names of one directory of a union; their nodes are made when they are read.
    Union(Merged),
    /// Those of one directory of a source, as the catalog has them.
    Listed { source: SourceIndex, dir: RemotePath, listing: Arc<Listing> },
}

impl Names {
    fn len(&self) -> usize {
        match self {
            Self::Made(names) => names.len(),
            Self::Union(names) => names.len(),
            Self::Listed { listing, .. } => listing.entries().len(),
        }
    }

    fn at(&self, number: usize) -> (LocalName, Node) {
        match self {
            Self::Made(names) => names[number].clone(),
            Self::Union(names) => names.at(number),
            Self::Listed { source, dir, listing } => {
                let (name, entry) = listing.entries().at(number);
                (name.clone(), Node::of_entry(*source, dir, name, entry))
            }
        }
    }
}

/// One listing of a source's directory, by which it is told from others. It keeps no entries.
#[derive(Debug, Clone)]
pub struct Snapshot(Weak<Listing>);

impl Snapshot {
    /// The one that is this listing.
    pub fn of(listing: &Arc<Listing>) -> Self {
        Self(Arc::downgrade(listing))
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

/// One name of an open directory.
pub struct Listed<'a> {
    /// The name.
    pub name: &'a LocalName,
    /// The attributes of its inode, to which the kernel has no reference yet.
    pub attributes: Attributes,
    /// For how long the name may be taken to lead there.
    pub valid_for: Duration,
}

impl FileSystem {
    /// A tree of `sources`, laid out as `layout` says, over one cache.
    pub fn new(sources: Vec<MountedSource>, layout: Layout, cache: Arc<Cache>) -> Arc<Self> {
        let spaces = sources.iter().map(|source| inode::space(&source.name, &source.source_id)).collect();
        Arc::new(Self {
            inodes: Inodes::new(layout.root(), spaces),
            sources,
            layout,
            cache,
            files: Handles::default(),
            latest: LatestAnswers::default(),
            directories: Handles::default(),
            keeper: Keeper::default(),
            vain: Vain::default(),
        })
    }

    /// The mounted sources.
    pub fn sources(&self) -> &[MountedSource] {
        &self.sources
    }

    /// Lets a source log in with the secret that is kept by now.
    pub async fn log_in_anew(&self, name: &[u8]) {
        if let Some(source) = self.sources.iter().find(|source| &*source.name == name) {
            source.connection.log_in_anew().await;
            source.catalog.forget_refusals();
        }
    }

    /// The cache under them.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Has confirmed what came last, and says goodbye to every source.
    pub async fn disconnect(&self) {
        self.confirm_within(CONFIRM_TIMEOUT).await;
        join_all(self.sources.iter().map(|source| source.connection.disconnect())).await;
    }

    /// Has confirmed what came ahead of readers, and waits for that no longer than this; it goes on then.
    async fn confirm_within(&self, time: Duration) {
        let confirming = self.sources.iter().map(|source| source.transfer.confirm_now());
        let _ = timeout(time, join_all(confirming)).await;
    }

    /// Makes the cache durable. The process ends afterwards: the tables of inodes and of listings are not freed.
    pub fn finish(&self) {
        self.inodes.abandon();
        self.sources.iter().for_each(|source| source.catalog.abandon());
        self.cache.finish();
    }

    /// Looks `name` up in the directory `parent`; the kernel gets a reference to the inode.
    pub async fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Lookup> {
        if let Some(exported) = self.lookup_exported(parent, name).await {
            return Ok(exported);
        }
        let node = self.node(parent)?;
        let (found, valid_for) = match &*node {
            Node::Root => (self.child_named(&[], name), FOREVER),
            Node::Group { path } => (self.child_named(path, name), FOREVER),
            Node::Union { index, path, .. } => UnionDirectory::new(self, *index, path).lookup(name).await?,
            Node::Directory { source: index, path, .. } => {
                let source = &self.sources[*index];
                let answer = source.waits().during(source.catalog.find(path, name)).await?;
                let found = answer.value.map(|(name, entry)| Node::of_entry(*index, path, name, entry));
                (found, answer.valid_for)
            }
            Node::File { .. } | Node::Live { .. } | Node::Symlink { .. } => {
                return Err(self.refuse("lookup", &node, ErrorKind::NotADirectory));
            }
        };
        let (found, valid_for) = match found {
            Some(node) => match self.described(node).await? {
                Some(node @ Node::Live { .. }) => (Some(node), valid_for.min(live::CURRENT_FOR)),
                Some(node) => (Some(node), valid_for),
                // The version disappeared while it was measured; the next lookup finds its successor.
                None => (None, Duration::ZERO),
            },
            None => (None, valid_for),
        };
        if let Some(node) = &found {
            self.refuse_impossible_size(node)?;
        }
        let found = found.map(|node| self.describe(self.inodes.refer(&node), &node, valid_for));
        Ok(Lookup { found, valid_for })
    }

    /// A node with its size.
    async fn described(&self, node: Node) -> Result<Option<Node>> {
        match self.or_live(node) {
            live @ Node::Live { .. } => self.current(live).await,
            node => self.sized(node).await,
        }
    }

    /// Fails for a file of a size that Linux has no number for, and leaves word of it.
    fn refuse_impossible_size(&self, node: &Node) -> Result<()> {
        let (Node::File { source, entry, .. } | Node::Live { source, entry, .. }) = node else { return Ok(()) };
        let Some(size) = entry.size.filter(|&size| size > MAX_SIZE) else { return Ok(()) };
        let error = Error::new("lookup", ErrorKind::TooLarge)
            .on(&entry.path)
            .because(format!("the source tells {size} bytes; Linux shows files of up to {MAX_SIZE}"));
        self.sources[*source].connection.log_failure(&error);
        Err(error)
    }

    /// How many inodes the kernel holds references to, the mount's root included.
    pub fn known_inodes(&self) -> usize {
        self.inodes.count()
    }

    /// The kernel gives back references.
    pub fn forget(&self, inode: Inode, count: u64) {
        self.inodes.forget(inode, count);
    }

    /// The attributes as far as they are known; never asks a source.
    pub fn attributes(&self, inode: Inode) -> Result<Attributes> {
        let node = self.node(inode)?;
        Ok(self.describe(inode, &node, FOREVER))
    }

    /// The attributes for `stat`, unless the file is live: then they are asked for with [`attributes_now`](Self::attributes_now).
    pub fn attributes_unless_live(&self, inode: Inode) -> Result<Option<Attributes>> {
        let node = self.node(inode)?;
        let is_live = matches!(*node, Node::Live { .. });
        Ok((!is_live).then(|| self.describe(inode, &node, FOREVER)))
    }

    /// The text of a link.
    pub fn read_link(&self, inode: Inode) -> Result<Vec<u8>> {
        match &*self.node(inode)? {
            Node::Symlink { target, .. } => Ok(target.clone()),
            node => Err(self.refuse("read_link", node, ErrorKind::Unsupported)),
        }
    }

    /// Takes a snapshot of a directory, to be read in pieces.
    pub async fn open_dir(&self, inode: Inode) -> Result<HandleId> {
        Ok(self.directories.insert(self.snapshot(inode).await?))
    }

    /// The listing that an open directory of a source shows, if it is of one alone, and for how long it counted when that was opened.
    pub fn listing(&self, handle: HandleId) -> Option<(Snapshot, Duration)> {
        let open = self.directories.get(handle)?;
        let Names::Listed { listing, .. } = &open.names else { return None };
        Some((Snapshot::of(listing), open.valid_for))
    }

    /// Whether an open directory is looked at anew when it is read from its beginning: names of it were shown, or it was opened so long ago
    /// that they count no more.
    pub fn begins_anew(&self, handle: HandleId) -> bool {
        self.directories.get(handle).is_some_and(|open| {
            let counted = !open.valid_for.is_zero() && open.opened.elapsed() > open.valid_for.max(READ_WITHIN);
            open.read.load(Ordering::Relaxed) || counted
        })
    }

    /// The kernel may show names of an open directory that it keeps, without asking.
    pub fn may_be_read(&self, handle: HandleId) {
        if let Some(open) = self.directories.get(handle) {
            open.read.store(true, Ordering::Relaxed);
        }
    }

    /// Takes another snapshot of an open directory, which is read from its beginning again (`rewinddir`).
    pub async fn rewind_dir(&self, handle: HandleId, inode: Inode) -> Result<()> {
        let opened = self.snapshot(inode).await?;
        self.directories.replace(handle, opened);
        Ok(())
    }

    async fn snapshot(&self, inode: Inode) -> Result<OpenDirectory> {
        self.snapshot_of(&*self.node(inode)?).await
    }

    async fn snapshot_of(&self, node: &Node) -> Result<OpenDirectory> {
        Ok(match node {
            Node::Root => self.open_made(&[]),
            Node::Group { path } => self.open_made(path),
            Node::Union { index, path, .. } => UnionDirectory::new(self, *index, path).open().await?,
            Node::Directory { source: index, path, .. } => {
                let answer = self.sources[*index].list(path).await?;
                let names = Names::Listed { source: *index, dir: path.clone(), listing: answer.value };
                OpenDirectory::new(names, answer.valid_for)
            }
            Node::File { .. } | Node::Live { .. } | Node::Symlink { .. } => {
                return Err(self.refuse("open_dir", node, ErrorKind::NotADirectory));
            }
        })
    }

    /// Shows the names of an open directory from the one with number `first` on, until `take` has enough and answers `false`.
    /// The kernel gets a reference to each that was taken, if `refer` says so.
    ///
    /// # Errors
    /// After the last name, if a part of a union could not be asked: there may be more names.
    pub fn read_dir(
        &self,
        handle: HandleId,
        first: usize,
        refer: bool,
        mut take: impl FnMut(usize, Listed<'_>) -> bool,
    ) -> Result<()> {
        let Some(open) = self.directories.get(handle) else {
            return Err(Error::new("read_dir", ErrorKind::Other).because("the directory is not open"));
        };
        open.read.store(true, Ordering::Relaxed);
        if let Some(error) = open.incomplete.as_ref().filter(|_| first >= open.names.len()) {
            return Err(error.clone());
        }
        let valid_for = open.valid_for();
        for number in first..open.names.len() {
            let (name, node) = open.names.at(number);
            let mut node = self.or_live(node);
            self.complete(&mut node);
            let inode = if refer { self.inodes.refer(&node) } else { self.inodes.number(&node) };
            // A lookup has to complete what the listing did not tell: until then the kernel may keep nothing.
            let valid_for = if node.is_described() { valid_for } else { Duration::ZERO };
            let attributes = self.describe(inode, &node, valid_for);
            if !take(number, Listed { name: &name, attributes, valid_for }) {
                if refer {
                    self.inodes.forget(inode, 1);
                }
                break;
            }
        }
        Ok(())
    }

    /// Ends an open of a directory.
    pub fn release_dir(&self, handle: HandleId) {
        self.directories.remove(handle);
    }

    /// Reads from an open file; shorter only at its end.
    ///
    /// # Errors
    /// `ChangedDuringRead` if bytes of the opened version can no longer be had. Never bytes of another version.
    pub async fn read(&self, handle: HandleId, bytes: Range<u64>) -> Result<Bytes> {
        let Some(open) = self.files.get(handle) else {
            return Err(Error::new("read", ErrorKind::Other).because("the file is not open"));
        };
        let open = match &*open {
            Open::Version(open) => open,
            Open::Live(open) => {
                let source = &self.sources[open.source()];
                return self.read_live(open, bytes).await.inspect_err(|error| source.note_failure(error));
            }
        };
        let source = &self.sources[open.source];
        let mut error = match source.waits().during(open.version.read(bytes)).await {
            Ok(bytes) if open.version.retractions() == open.retractions => {
                if let Some(ahead) = &source.ahead
                    && let Some(came_ahead) = open.version.take_end_read()
                {
                    ahead.end_read(&open.dir, came_ahead);
                }
                return Ok(bytes);
            }
            Ok(_) => Error::new("read", ErrorKind::ChangedDuringRead)
                .on(&open.entry.path)
                .because("bytes that were read before turned out to be wrong; open the file anew"),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) {
            error = Error::new("read", ErrorKind::ChangedDuringRead).on(&open.entry.path).caused_by(error);
            // The next open must not lead to this version again.
            let _ = source.waits().during(source.catalog.recheck_briefly(&open.dir, &open.name, &open.entry)).await;
        }
        source.note_failure(&error);
        Err(error)
    }

    /// Reads every block of an open file, so that damaged ones are retrieved anew. Returns the file if it is whole and proven
    /// afterwards.
    pub async fn reread(&self, handle: HandleId) -> Option<Arc<std::fs::File>> {
        let open = self.files.get(handle)?;
        let Open::Version(open) = &*open else { return None };
        let size = open.version.version().size;
        let mut at = 0;
        while at < size {
            let end = (at + SMALL).min(size);
            open.version.read(at..end).await.inspect_err(|error| self.sources[open.source].note_failure(error)).ok()?;
            at = end;
        }
        open.version.proven_file().await
    }

    /// Ends an open of a file, unless that may wait for the disk. Whether it has.
    pub fn release_at_once(&self, handle: HandleId) -> bool {
        let Some(open) = self.files.get(handle) else { return true };
        let waits = matches!(&*open, Open::Version(open) if !open.version.copy().closes_at_once());
        drop(open);
        if !waits {
            self.release(handle);
        }
        !waits
    }

    /// Ends an open of a file.
    pub fn release(&self, handle: HandleId) {
        if let Some(Open::Version(open)) = self.files.get(handle).as_deref()
            && open.drops_pages.load(Ordering::Relaxed)
            && open.retractions == open.version.retractions()
        {
            open.version.pages_are_dropped();
        }
        self.files.remove(handle);
    }

    /// The kernel drops its pages of this open file (see [`Opened::keeps_pages`]), which it does after it has heard of the open: it certainly has
    /// when that ends.
    pub fn drops_pages(&self, handle: HandleId) {
        if let Some(Open::Version(open)) = self.files.get(handle).as_deref() {
            open.drops_pages.store(open.version.copy().is_proven(), Ordering::Relaxed);
        }
    }

    fn node(&self, inode: Inode) -> Result<Arc<Node>> {
        // The kernel asks only about inodes to which it holds a reference; any other it must look up again.
        self.inodes.get(inode).ok_or_else(|| Error::new("look up inode", ErrorKind::Changed).on(inode.0))
    }

    fn child_named(&self, path: &[LocalName], name: &[u8]) -> Option<Node> {
        let children = self.layout.children(path, &self.sources);
        children.into_iter().find(|(child, _)| **child == *name).map(|(_, node)| node)
    }

    fn open_made(&self, path: &[LocalName]) -> OpenDirectory {
        let names = Names::Made(self.layout.children(path, &self.sources));
        OpenDirectory::new(names, FOREVER)
    }

    fn describe(&self, inode: Inode, node: &Node, valid_for: Duration) -> Attributes {
        let modes = self.modes_of(node);
        let directory = |told| (Kind::Directory, modes.of_directory(told));
        let ((kind, permissions), size, modified, valid_for) = match node {
            Node::Root | Node::Group { .. } => (directory(None), 0, None, FOREVER),
            Node::Union { modified, .. } => (directory(None), 0, *modified, valid_for),
            Node::Directory { entry, .. } => {
                let (told, modified) = entry.as_ref().map_or((None, None), |entry| (entry.permissions, entry.modified));
                (directory(told), 0, modified, valid_for)
            }
            Node::File { entry, .. } => {
                // Size and times belong to the version, and the version to the inode: once known, they never change.
                let valid_for = if entry.size.is_some() { FOREVER } else { Duration::ZERO };
                let kind = (Kind::File, modes.of_file(entry.permissions));
                (kind, entry.size.unwrap_or(0), entry.modified, valid_for)
            }
            Node::Live { entry, .. } => {
                let kind = (Kind::File, modes.of_file(entry.permissions));
                (kind, entry.size.unwrap_or(0), entry.modified, Duration::ZERO)
            }
            Node::Symlink { entry, target, .. } => {
                ((Kind::Symlink, 0o777), target.len() as u64, entry.modified, FOREVER)
            }
        };
        let modified = modified.unwrap_or(SystemTime::UNIX_EPOCH);
        let Modes { uid, gid, .. } = modes;
        Attributes { inode, kind, permissions, uid, gid, size, modified, valid_for }
    }

    /// The way in which permissions and owners of what a node stands for are shown: its source's, or the usual one for a made folder.
    fn modes_of(&self, node: &Node) -> Modes {
        node.place().map_or(self.layout.modes, |(source, _)| self.sources[source].modes)
    }

    fn refuse(&self, op: &'static str, node: &Node, kind: ErrorKind) -> Error {
        let error = Error::new(op, kind);
        match node {
            Node::Root => error.on("/"),
            Node::Group { path } | Node::Union { path, .. } => error.on(union::shown(path)),
            Node::Directory { path, .. } => error.on(path),
            Node::File { name, .. } | Node::Live { name, .. } => error.on(Printable(name)),
            Node::Symlink { entry, .. } => error.on(&entry.path),
        }
    }
}

#[cfg(test)]
mod tests;
