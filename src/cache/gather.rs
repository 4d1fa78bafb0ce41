//! `Gathering`: the bytes of a version whose size nobody knows before they end, on their way to becoming a copy. It proves nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;

use super::block::{BLOCK, Hash, hash};
use super::ledger::Lease;
use super::store::Store;
use super::table::Held;
use super::{Cache, CachedFile, Key, OpenCopy};
use crate::name::LocalName;

/// Takes blocks in order. They go to where the copy's file will be, hashed; where there is no room for them, they are let go.
/// Dropped before [`Gathering::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Gathering {
    cache: Arc<Cache>,
    key: Key,
    name: LocalName,
    /// None before the first block, and when there is no room.
    file: Option<File>,
    /// The room that the file takes.
    lease: Lease,
    /// Whether all blocks found room so far.
    kept: bool,
    size: u64,
    hashes: Vec<Hash>,
}

impl Cache {
    /// Begins the copy of a version anew; while somebody has one open, the bytes are only counted. `name` is the base name that its
    /// file gets. Waits for the disk.
    pub fn gather(self: &Arc<Self>, key: Key, name: &LocalName) -> Gathering {
        let kept = self.discard(&key);
        Gathering {
            cache: self.clone(),
            key,
            name: name.clone(),
            file: None,
            lease: self.ledger.lease(0),
            kept,
            size: 0,
            hashes: Vec::new(),
        }
    }

    /// Deletes the copy of a version. `false` if it stays: somebody has it open.
    fn discard(&self, key: &Key) -> bool {
        let table = self.table.lock();
        let is_free = !table.held.peek(key).is_some_and(Held::is_open) && !table.leaving.contains(key);
        if is_free {
            self.remove(table, key);
        }
        is_free
    }

    /// Takes in a copy that was made here, and opens it. `None` if somebody has begun another meanwhile.
    fn open_new(self: &Arc<Self>, copy: CachedFile) -> Option<OpenCopy> {
        let mut table = self.table.lock();
        if table.held.contains(copy.key()) {
            return None;
        }
        let copy = Arc::new(copy);
        copy.opens.fetch_add(1, Ordering::Relaxed);
        table.held.put(*copy.key(), Held::Loaded(copy.clone()));
        table.loaded += 1;
        Some(OpenCopy { cache: self.clone(), copy })
    }
}

impl Gathering {
    /// Takes the next block; only the last one may be shorter than [`BLOCK`]. Waits for the disk.
    pub fn write(&mut self, block: &Bytes) {
        self.size += block.len() as u64;
        if self.kept {
            self.keep(block);
        }
    }

    /// Discards what came so far: the source begins anew. Waits for the disk.
    pub fn restart(&mut self) {
        self.drop_file();
        self.kept = self.cache.discard(&self.key);
        self.size = 0;
    }

    /// The copy, if all bytes found room: complete, not yet proven. Waits for the disk.
    pub fn finish(&mut self, modified: Option<SystemTime>) -> Option<OpenCopy> {
        if self.kept && self.size == 0 {
            self.keep(&[]);
        }
        let file = self.file.take().filter(|_| self.kept)?;
        let copy = CachedFile::new(&self.cache, self.key, self.name.clone(), self.size, modified, None, true);
        copy.adopt(file, &std::mem::take(&mut self.hashes));
        let opened = self.cache.open_new(copy)?;
        opened.lease.absorb(self.lease.take());
        Some(opened)
    }

    /// Puts one block where it belongs; an empty one makes the file of an empty version.
    fn keep(&mut self, block: &[u8]) {
        let length = block.len() as u64;
        let at = self.hashes.len() as u64 * BLOCK;
        let fits = self.size <= self.cache.limits.max_size;
        if let Some(room) = fits.then(|| self.cache.take_room(&self.lease, length)).flatten() {
            match open(&mut self.file, &self.cache.store, &self.key, &self.name)
                .and_then(|file| file.write_all_at(block, at))
            {
                Ok(()) => {
                    room.written();
                    self.cache.shortage.end();
                    if !block.is_empty() {
                        self.hashes.push(hash(block));
                    }
                    return;
                }
                Err(e) => self.cache.disk_failed(&e),
            }
        }
        self.drop_file();
        self.kept = false;
    }

    fn drop_file(&mut self) {
        self.hashes.clear();
        let lease = self.lease.take();
        // The room is given back at the end, when the file is gone.
        if (self.file.take().is_some() || lease.bytes() > 0)
            && let Some(place) = self.cache.store.discard(&self.key)
        {
            self.cache.store.destroy(&place);
        }
    }
}

fn open<'a>(file: &'a mut Option<File>, store: &Store, key: &Key, name: &[u8]) -> std::io::Result<&'a File> {
    if file.is_none() {
        *file = Some(store.open_file(key, name, true)?);
    }
    Ok(file.as_ref().expect("it was just opened"))
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.drop_file();
    }
}
