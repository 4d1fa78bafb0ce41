//! `Table`: every copy of the cache, in memory or not, and which of them are open. It takes no room and writes no bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use lru::LruCache;

use super::ledger::Lease;
use super::pins::Pinned;
use super::{Cache, CachedFile, Facts, Key};
use crate::name::LocalName;

/// How many closed copies keep their block maps in memory, so that what was checked once stays checked.
const MAPS_IN_MEMORY: usize = 65_536;

/// Every copy, the most recently used first.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) held: LruCache<Key, Held>,
    /// How many of them are loaded.
    pub(super) loaded: usize,
    /// Copies that were taken away and whose files are not out of sight yet.
    pub(super) leaving: HashSet<Key>,
    /// Bytes of copies that were taken away and have not given back their room yet.
    pub(super) leaving_bytes: u64,
    /// How many copies that were taken away have given it back.
    pub(super) gone: u64,
    /// Copies that are never evicted, there or not.
    pub(super) pinned: Pinned,
}

impl Table {
    /// A table of what an earlier process left.
    pub(super) fn new(held: LruCache<Key, Held>) -> Self {
        Self { held, loaded: 0, leaving: HashSet::new(), leaving_bytes: 0, gone: 0, pinned: Pinned::new() }
    }

    /// The copy to evict next: what was unused for longest.
    pub(super) fn victim(&mut self) -> Option<Key> {
        self.put_pinned_aside();
        self.held.iter().rev().find(|(key, held)| self.may_go(key, held)).map(|(key, _)| *key)
    }

    /// Moves pinned copies out of the way of the search for one to evict, which would pass all of them each time.
    fn put_pinned_aside(&mut self) {
        for _ in 0..self.pinned.len() {
            let Some((&key, _)) = self.held.peek_lru().filter(|(key, _)| self.pinned.contains_key(*key)) else {
                return;
            };
            self.held.promote(&key);
        }
    }

    /// Whether a copy may be evicted.
    fn may_go(&self, key: &Key, held: &Held) -> bool {
        held.bytes() > 0 && !held.is_open() && !self.pinned.contains_key(key)
    }

    /// Puts in a copy that is in memory.
    pub(super) fn load(&mut self, key: Key, copy: CachedFile) {
        self.held.put(key, Held::Loaded(Arc::new(copy)));
        self.loaded += 1;
    }

    /// The name of a copy that is not in memory, and whether something of its file is on the disk.
    fn stored(&self, key: &Key) -> Option<(LocalName, bool)> {
        match self.held.peek(key)? {
            Held::Stored { name, lease } => Some((name.clone(), lease.bytes() > 0)),
            Held::Loaded(_) => None,
        }
    }
}

/// A copy, as the table has it.
#[derive(Debug)]
pub(super) enum Held {
    /// On disk and in the index only.
    Stored { name: LocalName, lease: Lease },
    /// In memory too; on disk as far as its lease says.
    Loaded(Arc<CachedFile>),
}

impl Held {
    /// Whether somebody has it open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Loaded(copy) if copy.is_open())
    }

    /// The room that it takes.
    pub(super) fn lease(&self) -> &Lease {
        match self {
            Self::Stored { lease, .. } => lease,
            Self::Loaded(copy) => &copy.lease,
        }
    }

    /// Bytes that it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.lease().bytes()
    }
}

/// A copy that is open, and therefore never evicted.
#[derive(Debug)]
pub struct OpenCopy {
    pub(super) cache: Arc<Cache>,
    pub(super) copy: Arc<CachedFile>,
}

impl std::ops::Deref for OpenCopy {
    type Target = CachedFile;

    fn deref(&self) -> &CachedFile {
        &self.copy
    }
}

impl Drop for OpenCopy {
    fn drop(&mut self) {
        self.cache.close(&self.copy);
    }
}

impl Cache {
    /// Opens the copy of a version if memory has it, or knows that there is none: then it is empty. `None` if the index has to be asked (see
    /// [`Cache::open_copy`]). `name` is the base name that its file gets.
    pub fn open_known(
        self: &Arc<Self>,
        key: Key,
        name: &LocalName,
        size: u64,
        modified: Option<SystemTime>,
    ) -> Option<OpenCopy> {
        let mut table = self.table.lock();
        if !table.held.contains(&key) {
            let copy = CachedFile::new(self, key, name.clone(), size, modified, None, false);
            table.load(key, copy);
        }
        self.opened(table.held.get(&key)?)
    }

    /// Opens the copy that has this key, if memory has it. It was not used thereby.
    pub(super) fn open_loaded(self: &Arc<Self>, key: &Key) -> Option<OpenCopy> {
        self.opened(self.table.lock().held.peek(key)?)
    }

    fn opened(self: &Arc<Self>, held: &Held) -> Option<OpenCopy> {
        let Held::Loaded(copy) = held else { return None };
        copy.opens.fetch_add(1, Ordering::Relaxed);
        Some(OpenCopy { cache: self.clone(), copy: copy.clone() })
    }

    /// Opens the copy of a version, empty if there is none. Waits for the disk if the index has to be asked.
    pub fn open_copy(
        self: &Arc<Self>,
        key: Key,
        name: &LocalName,
        size: u64,
        modified: Option<SystemTime>,
    ) -> OpenCopy {
        loop {
            if let Some(open) = self.open_known(key, name, size, modified) {
                return open;
            }
            // The index is read without the lock. Of two that read it at once, the second drops what it has read.
            let Some((name, has_file)) = self.table.lock().stored(&key) else { continue };
            let Ok(record) = self.index.load(&key) else { return self.open_apart(key, &name, size, modified) };
            let copy = CachedFile::new(self, key, name, size, modified, record, has_file);
            let mut table = self.table.lock();
            // It may have been loaded or evicted meanwhile.
            if let Some(Held::Stored { lease, .. }) = table.held.peek(&key) {
                copy.lease.absorb(lease.take());
                table.load(key, copy);
            }
        }
    }

    /// Opens the copy that has this key, as far as it tells what it is of. Waits for the disk.
    pub fn open_held(self: &Arc<Self>, key: Key) -> Option<OpenCopy> {
        let name = match self.table.lock().held.peek(&key)? {
            Held::Stored { name, .. } => name.clone(),
            Held::Loaded(copy) => copy.name().clone(),
        };
        let Facts { size, modified, .. } = self.facts(&key)?;
        Some(self.open_copy(key, &name, size, modified))
    }

    /// The keys of all copies.
    pub fn keys(&self) -> Vec<Key> {
        self.table.lock().held.iter().filter(|(_, held)| held.bytes() > 0).map(|(key, _)| *key).collect()
    }

    /// Opens a version of whose copy the disk does not tell (see [`CachedFile::apart`]).
    pub fn open_apart(
        self: &Arc<Self>,
        key: Key,
        name: &LocalName,
        size: u64,
        modified: Option<SystemTime>,
    ) -> OpenCopy {
        let copy = CachedFile::new(self, key, name.clone(), size, modified, None, false).apart();
        OpenCopy { cache: self.clone(), copy: Arc::new(copy) }
    }

    /// The facts that the copy of a version tells of it, none if there is no copy. `None` if the index has to be asked (see
    /// [`Cache::facts`]).
    pub fn facts_known(&self, key: &Key) -> Option<Option<Facts>> {
        let copy = match self.table.lock().held.peek(key) {
            None => return Some(None),
            Some(Held::Loaded(copy)) => copy.clone(),
            Some(Held::Stored { .. }) => return None,
        };
        Some(copy.facts())
    }

    /// The facts that the copy of a version tells of it. `None` if there is no copy. Waits for the disk if the index has to be asked.
    pub fn facts(&self, key: &Key) -> Option<Facts> {
        self.facts_known(key).unwrap_or_else(|| self.index.facts(key).ok().flatten())
    }

    /// The size of the file of a copy of which nothing else is known. Waits for the disk.
    pub fn found_size(&self, key: &Key) -> Option<u64> {
        let name = match self.table.lock().held.peek(key)? {
            Held::Stored { name, .. } => name.clone(),
            Held::Loaded(_) => return None,
        };
        if self.index.facts(key) != Ok(None) {
            return None;
        }
        Some(self.store.open_file(key, &name, false).ok()?.metadata().ok()?.len())
    }

    /// Closes a copy: stores what is not stored, and drops its map where there are too many.
    fn close(&self, copy: &Arc<CachedFile>) {
        if !copy.is_listed() {
            return;
        }
        {
            let _counted_in = self.table.lock();
            if copy.opens.fetch_sub(1, Ordering::Relaxed) > 1 {
                return;
            }
        }
        // Without the lock on the table: the disk may hang. Meanwhile another thread may open the copy, or evict it.
        let file = copy.close(&self.index);
        let has_file = file.is_some();
        file.into_iter().for_each(|file| self.closing.add(file));
        let mut table = self.table.lock();
        match table.held.peek(copy.key()) {
            Some(Held::Loaded(now)) if Arc::ptr_eq(now, copy) && !copy.is_open() => {}
            None => return self.index.delete(vec![*copy.key()]),
            Some(_) => return,
        }
        if copy.lease.bytes() == 0 {
            // A file of which nothing could be written goes; most were never made.
            let taken = has_file.then(|| self.take_away(&mut table, copy.key())).flatten();
            if taken.is_none() && table.held.pop(copy.key()).is_some() {
                table.loaded -= 1;
            }
            drop(table);
            self.destroy(taken.into_iter().collect());
            return;
        }
        // Only the room and the handle that is dropped have it; else somebody is about to store it with its lease.
        let is_idle = Arc::strong_count(copy) == 2 && !copy.awaits_confirmation();
        if table.loaded > MAPS_IN_MEMORY && is_idle {
            table.held.put(*copy.key(), Held::Stored { name: copy.name().clone(), lease: copy.lease.take() });
            table.loaded -= 1;
        }
        drop(table);
        if copy.was_used() {
            self.index.used(copy.key());
        }
    }
}
