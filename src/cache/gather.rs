//! `Gathering`: the bytes of a version whose size nobody knows before they end, on their way to becoming a copy. It proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;

use super::block::{BLOCK, MAX_SIZE};
use super::table::Held;
use super::{Cache, CachedFile, Key, OpenCopy};
use crate::name::LocalName;

/// Takes blocks in order, and writes them into a copy that is in no table yet. Where there is no room for them, they are let go.
/// Dropped before [`Gathering::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Gathering {
    cache: Arc<Cache>,
    key: Key,
    name: LocalName,
    /// `None` where not all blocks found room.
    copy: Option<OpenCopy>,
    /// How many bytes came.
    size: u64,
}

impl Cache {
    /// A gathering of a version, which keeps nothing before it [begins](Gathering::begin). `name` is the base name that the copy's file gets.
    pub fn gather(self: &Arc<Self>, key: Key, name: &LocalName) -> Gathering {
        Gathering { cache: self.clone(), key, name: name.clone(), copy: None, size: 0 }
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
}

impl Gathering {
    /// Begins the copy anew; while somebody has one open, the bytes are only counted. Waits for the disk.
    pub fn begin(&mut self) {
        self.let_go();
        self.size = 0;
        if self.cache.discard(&self.key) {
            let copy = Arc::new(CachedFile::gathering(&self.cache, self.key, self.name.clone()));
            self.copy = Some(OpenCopy { cache: self.cache.clone(), copy });
        }
    }

    /// Takes the next block; only the last one may be shorter than [`BLOCK`]. Waits for the disk.
    pub fn write(&mut self, block: &Bytes) {
        let number = usize::try_from(self.size / BLOCK).expect("a file has fewer blocks than there are addresses");
        self.size += block.len() as u64;
        let is_kept = |copy: &OpenCopy| copy.write(number, block, &AtomicBool::new(false)).is_some();
        if self.size > self.cache.limits.max_size.min(MAX_SIZE) || !self.copy.as_ref().is_some_and(is_kept) {
            self.let_go();
        }
    }

    /// The copy, if all bytes found room: complete, not yet proven. `None` as well if somebody has begun another meanwhile. Waits for the
    /// disk.
    pub fn finish(&mut self, modified: Option<SystemTime>) -> Option<OpenCopy> {
        if self.size == 0 && !self.copy.as_ref()?.write_empty() {
            return None;
        }
        let mut table = self.cache.table.lock();
        if table.held.contains(&self.key) {
            return None;
        }
        let mut open = self.copy.take()?;
        Arc::get_mut(&mut open.copy).expect("no table has it").end(self.size, modified);
        open.copy.opens.fetch_add(1, Ordering::Relaxed);
        table.held.put(self.key, Held::Loaded(open.copy.clone()));
        table.loaded += 1;
        Some(open)
    }

    fn let_go(&mut self) {
        // A copy that has written nothing must not delete the file: it may be that of another copy of the version.
        if let Some(copy) = self.copy.take().filter(|copy| copy.takes_room()) {
            copy.discard();
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.let_go();
    }
}
