//! Errands: work on everything at and below a place of the tree, such as keeping it or verifying it. It asks sources as programs do that
//! walk through a mount.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use futures::StreamExt as _;
use futures::stream;
use parking_lot::Mutex;
use scopeguard::{ScopeGuard, guard};
use serde::{Deserialize, Serialize};

use super::open::version_of;
use super::{FileSystem, Inode, MountedSource, Node, SourceIndex};
use crate::cache::{Dropped, KeepRoom, Key, PinId};
use crate::digest::Digest;
use crate::disk::Asked;
use crate::error::{Error, ErrorKind, Result};
use crate::freshness::Offline;
use crate::name::LocalName;
use crate::path::{Printable, RemotePath};
use crate::source::{Entry, EntryKind};
use crate::version::{OpenVersion, SMALL};

/// How many files of a directory are dealt with at once. A source is asked no more at once than it takes.
const AT_ONCE: usize = 8;

/// How long is waited until what came ahead of readers is confirmed, before it is looked at.
const CONFIRM_BEFORE: Duration = Duration::from_secs(5);

/// How often a file is retrieved that changes meanwhile.
const ATTEMPTS: usize = 3;

/// How many failures are told in words.
const MAX_FAILURES: usize = 20;

/// What is done with every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Its missing bytes are counted.
    Count,
    /// It is retrieved, and kept for this pin.
    Keep(PinId),
    /// What is in the cache of it is hashed, and what is damaged retrieved again.
    Verify,
    /// What is in the cache of it is dropped.
    Drop,
}

/// What an errand has found and done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Directories that were looked into.
    pub directories: u64,
    /// Files that were dealt with; live ones are counted apart.
    pub files: u64,
    /// Bytes of those, as far as their sizes are known.
    pub bytes: u64,
    /// Files that are not wholly in the cache.
    pub missing: u64,
    /// Bytes that are not in the cache.
    pub missing_bytes: u64,
    /// Bytes that were retrieved.
    pub retrieved_bytes: u64,
    /// Files of which what was in the cache was hashed.
    pub verified: u64,
    /// Of these, files with damaged or lost blocks, which were dropped.
    pub damaged: u64,
    /// Of these, files that were retrieved again.
    pub repaired: u64,
    /// Files whose copies were dropped.
    pub dropped: u64,
    /// Bytes that they took on the disk.
    pub dropped_bytes: u64,
    /// Files whose copies stay, being pinned.
    pub pinned: u64,
    /// Files whose copies stay, being open.
    pub open: u64,
    /// Files that are live, and never in the cache.
    pub live: u64,
    /// Files that were not retrieved, since the cache has no room for them beside what is pinned; they are among `failed`.
    pub unfit: u64,
    /// Bytes of those.
    pub unfit_bytes: u64,
    /// Directories and files with which it has failed.
    pub failed: u64,
    /// The first of these failures, in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Notes that it has failed with something.
    pub fn fail(&mut self, what: impl std::fmt::Display) {
        self.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(what.to_string());
        }
    }
}

impl FileSystem {
    /// The node that a path from the mount's root leads to.
    ///
    /// # Errors
    /// `NotFound`; failures of the source.
    pub async fn node_at(&self, path: &[u8]) -> Result<Node> {
        // Also if nobody waits any longer for what is found.
        let mut referred = guard(Vec::new(), |referred: Vec<Inode>| {
            referred.into_iter().for_each(|inode| self.forget(inode, 1));
        });
        self.follow(path, &mut referred).await
    }

    async fn follow(&self, path: &[u8], referred: &mut Vec<Inode>) -> Result<Node> {
        let mut at = Inode::ROOT;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let found = self.lookup(at, name).await?.found;
            at = found.ok_or_else(|| Error::new("lookup", ErrorKind::NotFound).on(Printable(path)))?.inode;
            referred.push(at);
        }
        Ok((*self.node(at)?).clone())
    }

    /// Carries out an errand at and below a node; `tally` tells how far it is. Returns the versions that were dealt with.
    pub async fn carry_out(&self, errand: Errand, node: Node, tally: &Mutex<Tally>) -> HashSet<Key> {
        // Files that are thrown away for that are missing, and are retrieved.
        self.confirm_within(CONFIRM_BEFORE).await;
        let room = self.room_for(errand).await.map_or(u64::MAX, |room| room.bytes);
        let (seen, refusing, unfit) = (Mutex::default(), Mutex::default(), Mutex::default());
        let walk = Walk { fs: self, errand, tally, seen, refusing, room: Mutex::new(room), unfit };
        let mut directories: Vec<Node> = walk.visit(node).await.into_iter().collect();
        while let Some(directory) = directories.pop() {
            directories.extend(walk.enter(&directory).await);
        }
        if let Some(first) = walk.unfit.into_inner() {
            let why = self.room_for(errand).await;
            let mut tally = tally.lock();
            let told = without_room(&first, &tally, why.as_ref());
            tally.failures.push(told);
        }
        walk.seen.into_inner()
    }

    /// The room that an errand may take in the cache; `None` if it takes none, or the disk does not tell.
    async fn room_for(&self, errand: Errand) -> Option<KeepRoom> {
        let cache = self.cache.clone();
        matches!(errand, Errand::Keep(_)).then_some(())?;
        self.cache.disk().ask(move |_| cache.room_to_keep()).await.ok()
    }
}

/// That files were not retrieved for want of room: which, how many, how many bytes, and what to do.
fn without_room(first: &str, tally: &Tally, room: Option<&KeepRoom>) -> String {
    let Tally { unfit, unfit_bytes, files, .. } = tally;
    let others = match unfit - 1 {
        0 => String::new(),
        1 => " and 1 other file".into(),
        others => format!(" and {others} other files"),
    };
    let (verb, why) = (if *unfit == 1 { "does" } else { "do" }, room.map_or("", |room| &room.why));
    let remedy = if room.is_some_and(|room| room.is_of_disk) {
        "pin less, or free some of the disk"
    } else {
        "pin less, or set a larger max_size in [cache]"
    };
    let bytes = ByteSize::b(*unfit_bytes);
    format!(
        "{first}{others}, of {files}, {verb} not fit beside what is pinned, and would take {bytes} more: {why}; {remedy}"
    )
}

struct Walk<'a> {
    fs: &'a FileSystem,
    errand: Errand,
    tally: &'a Mutex<Tally>,
    seen: Mutex<HashSet<Key>>,
    /// Sources that were found to show nothing in an outage.
    refusing: Mutex<HashSet<SourceIndex>>,
    /// Bytes that can still be kept.
    room: Mutex<u64>,
    /// The first file that found no room.
    unfit: Mutex<Option<String>>,
}

impl Walk<'_> {
    /// Deals with the files of a directory. Returns its directories.
    async fn enter(&self, directory: &Node) -> Vec<Node> {
        self.tally.lock().directories += 1;
        if let Node::Directory { source: index, .. } = directory
            && self.errand == Errand::Count
            && self.fs.sources[*index].catalog.offline() == Offline::Fail
            && self.refusing.lock().insert(*index)
        {
            let name = Printable(&self.fs.sources[*index].name);
            self.tally.lock().fail(format!("{name} has offline = \"fail\": it shows nothing without its server"));
        }
        let opened = match self.fs.snapshot_of(directory).await {
            Ok(opened) => opened,
            Err(error) => {
                self.fail(directory, &error);
                return Vec::new();
            }
        };
        if let Some(error) = &opened.incomplete {
            self.fail(directory, error);
        }
        let visits = (0..opened.names.len()).map(|number| self.visit(opened.names.at(number).1));
        let directories: Vec<_> = stream::iter(visits).buffer_unordered(AT_ONCE).collect().await;
        directories.into_iter().flatten().collect()
    }

    /// Notes that it has failed with a node.
    fn fail(&self, node: &Node, error: &Error) {
        match node.place() {
            Some((source, path)) => self.fail_at(source, path, error),
            None => self.tally.lock().fail(error),
        }
    }

    /// The same, by source and path: the error itself may be one that many share, and tell of another request.
    fn fail_at(&self, source: SourceIndex, path: &RemotePath, error: &Error) {
        let name = Printable(&self.fs.sources[source].name);
        self.tally.lock().fail(format!("{name}{path}: {error}"));
    }

    /// Deals with a file; returns a directory.
    async fn visit(&self, node: Node) -> Option<Node> {
        match self.fs.or_live(node) {
            Node::File { source, dir, name, entry } => {
                let path = entry.path.clone();
                let file = File { walk: self, index: source, source: &self.fs.sources[source], dir, name };
                file.deal_with(entry).await.unwrap_or_else(|error| {
                    self.fail_at(source, &path, &error);
                    None
                })
            }
            Node::Live { .. } => {
                self.tally.lock().live += 1;
                None
            }
            Node::Symlink { .. } => None,
            directory => Some(directory),
        }
    }
}

/// A name that is listed as a file's.
struct File<'a> {
    walk: &'a Walk<'a>,
    index: SourceIndex,
    source: &'a MountedSource,
    dir: RemotePath,
    name: LocalName,
}

impl File<'_> {
    /// Deals with the version that is there now. If it is a directory after all, as where listings have no kinds, that is returned.
    async fn deal_with(&self, listed: Entry) -> Result<Option<Node>> {
        let (mut entry, mut attempts) = (listed, 0);
        loop {
            if entry.digest.is_none() || attempts > 0 {
                let Some((_, found)) = self.source.catalog.find(&self.dir, &self.name).await?.value else {
                    return Ok(None);
                };
                entry = found;
            }
            if entry.kind != EntryKind::File {
                return Ok(Some(self.node(entry)));
            }
            attempts += 1;
            match self.run(&entry).await {
                Err(error) if is_change(error.kind()) && attempts < ATTEMPTS => {}
                done => {
                    let mut tally = self.walk.tally.lock();
                    tally.files += 1;
                    tally.bytes += entry.size.unwrap_or_default();
                    return done.map(|()| None);
                }
            }
        }
    }

    async fn run(&self, entry: &Entry) -> Result<()> {
        match self.walk.errand {
            Errand::Count => {
                if let Some(bytes) = self.missing(entry).await? {
                    let mut tally = self.walk.tally.lock();
                    tally.missing += 1;
                    tally.missing_bytes += bytes;
                }
                Ok(())
            }
            Errand::Keep(pin) => self.keep(entry, pin).await,
            Errand::Verify => self.verify(entry).await,
            Errand::Drop => self.drop_copy(entry).await,
        }
    }

    fn node(&self, entry: Entry) -> Node {
        Node::of_entry(self.index, &self.dir, self.name.clone(), entry)
    }

    /// The version, if its size is known.
    async fn version(&self, entry: &Entry) -> Result<Option<Arc<OpenVersion>>> {
        let entry = self.source.with_known_size(entry.clone()).await;
        if entry.size.is_none() {
            return Ok(None);
        }
        let version = self.source.transfer.open(&version_of(&entry)?, &self.name).await;
        version.take_found().await;
        Ok(Some(version))
    }

    /// How many bytes are missing, as far as the size is known; `None` if it is wholly in the cache.
    async fn missing(&self, entry: &Entry) -> Result<Option<u64>> {
        let Some(version) = self.version(entry).await? else { return Ok(Some(0)) };
        Ok(if version.is_whole().await { None } else { Some(version.missing_bytes()) })
    }

    async fn keep(&self, entry: &Entry, pin: PinId) -> Result<()> {
        let (digest, transfer, cache) = (digest_of(entry)?, &self.source.transfer, &self.walk.fs.cache);
        let key = transfer.key(&entry.path, digest);
        // Before anything is waited for: files get room in their order.
        let cost = cache.cost_to_keep(&key, entry.size.unwrap_or_default());
        if !self.take_room(entry, cost) {
            return Ok(());
        }
        let unused = guard(cost, |cost| {
            let mut room = self.walk.room.lock();
            *room = room.saturating_add(cost);
        });
        // Before it comes, so that what has come of it is not evicted.
        cache.keep(key, pin);
        if entry.size != Some(0) && !transfer.is_kept(&entry.path, digest).await {
            self.retrieve(entry).await?;
            if self.missing(entry).await?.is_some() {
                let why = cache.no_room().unwrap_or_else(|| "the cache did not keep it".into());
                let why = format!("{why}; pin less, or set a larger max_size in [cache]");
                return Err(Error::new("keep", ErrorKind::Cache).on(&entry.path).because(why));
            }
        }
        ScopeGuard::into_inner(unused);
        self.walk.seen.lock().insert(key);
        Ok(())
    }

    /// Takes room for what is to be kept, or notes that there is none.
    fn take_room(&self, entry: &Entry, bytes: u64) -> bool {
        let mut room = self.walk.room.lock();
        if let Some(left) = room.checked_sub(bytes) {
            *room = left;
            return true;
        }
        let place = || format!("{}{}", Printable(&self.source.name), entry.path);
        self.walk.unfit.lock().get_or_insert_with(place);
        let mut tally = self.walk.tally.lock();
        tally.failed += 1;
        tally.unfit += 1;
        tally.unfit_bytes += entry.size.unwrap_or_default();
        false
    }

    async fn verify(&self, entry: &Entry) -> Result<()> {
        let Some(version) = self.version(entry).await?.filter(|version| version.copy().is_begun()) else {
            return Ok(());
        };
        let was_whole = version.copy().is_proven();
        let damaged = version.verify().await.ok_or_else(|| disk_hangs().on(&entry.path))?;
        drop(version);
        {
            let mut tally = self.walk.tally.lock();
            tally.verified += 1;
            tally.damaged += u64::from(damaged > 0);
        }
        if damaged > 0 && was_whole {
            self.retrieve(entry).await?;
            if self.missing(entry).await?.is_none() {
                self.walk.tally.lock().repaired += 1;
            }
        }
        Ok(())
    }

    async fn drop_copy(&self, entry: &Entry) -> Result<()> {
        let key = self.source.transfer.key(&entry.path, digest_of(entry)?);
        let cache = self.walk.fs.cache.clone();
        let dropped = cache.disk().clone().ask(move |_| cache.drop_copy(&key)).await.map_err(|_| disk_hangs())?;
        let mut tally = self.walk.tally.lock();
        match dropped {
            Dropped::Gone(bytes) => {
                tally.dropped += 1;
                tally.dropped_bytes += bytes;
            }
            Dropped::Pinned => tally.pinned += 1,
            Dropped::Open => tally.open += 1,
            Dropped::Absent => {}
        }
        Ok(())
    }

    /// Reads the whole file, as a program does.
    async fn retrieve(&self, entry: &Entry) -> Result<()> {
        let fs = self.walk.fs;
        // What was here is not retrieved. Of a file of unknown size nothing is.
        let known = self.version(entry).await?;
        let mut missing = known.map(|version| version.missing_ranges().into_iter().peekable());
        let inode = guard(fs.inodes.refer(&self.node(entry.clone())), |inode| fs.forget(inode, 1));
        let handle = guard(fs.open(*inode).await?.handle, |handle| fs.release(handle));
        let mut at = 0;
        loop {
            let read = fs.read(*handle, at..at + SMALL).await?.len() as u64;
            at += read;
            let mut arrived = if missing.is_none() { read } else { 0 };
            while let Some(bytes) = missing.as_mut().and_then(|missing| missing.next_if(|bytes| bytes.start < at)) {
                arrived += bytes.end - bytes.start;
            }
            self.walk.tally.lock().retrieved_bytes += arrived;
            if read < SMALL {
                break;
            }
        }
        if let Some(version) = self.version(entry).await? {
            version.settle().await;
        }
        Ok(())
    }
}

impl FileSystem {
    /// Hashes everything that is in the cache, whatever it is of; what is damaged is dropped.
    pub async fn verify_all(&self, tally: &Mutex<Tally>) {
        for key in self.cache.keys() {
            let cache = self.cache.clone();
            let verify = move |asked: &Asked| cache.open_held(key).map(|copy| (copy.size(), copy.verify(asked)));
            match self.cache.disk().ask(verify).await {
                Ok(Some((size, damaged))) => {
                    let mut tally = tally.lock();
                    tally.files += 1;
                    tally.bytes += size;
                    tally.verified += 1;
                    tally.damaged += u64::from(damaged > 0);
                }
                // It was evicted meanwhile.
                Ok(None) => {}
                Err(_) => return tally.lock().fail(disk_hangs()),
            }
        }
    }
}

fn digest_of(entry: &Entry) -> Result<&Digest> {
    let without = || Error::new("keep", ErrorKind::Unsupported).on(&entry.path).because("it has no digest");
    entry.digest.as_ref().ok_or_else(without)
}

fn disk_hangs() -> Error {
    Error::new("verify", ErrorKind::Cache).because("the disk of the cache does not answer")
}

/// Whether the version is no longer the one that is there.
fn is_change(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Changed | ErrorKind::ChangedDuringRead | ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_tally_is_documented() {
        let text = include_str!("../../docs/status.md");
        let tally = serde_json::to_value(Tally::default()).expect("it can be written");
        for field in tally.as_object().expect("it is an object").keys() {
            assert!(text.contains(&format!("`{field}`")), "{field} is not in docs/status.md");
        }
    }
}
