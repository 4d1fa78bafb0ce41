//! Writing blocks into the file of a copy, or into memory where it has no room, and throwing them away.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::MutexGuard;
use rustix::fs::{FallocateFlags, fallocate};
use tracing::debug;

use super::{SAVE_AFTER_BYTES, State, Stored};
use crate::cache::OpenCopy;
use crate::cache::block::{BLOCK, hash};
use crate::cache::room::DISK_BLOCK;
use crate::cachedir::is_other_type;

impl OpenCopy {
    /// Writes the bytes of one block, hashed. `None` if there is no room, or if the block was given up before it was written: by then it may
    /// have been thrown away. Waits for the disk.
    pub fn write(&self, block: usize, bytes: &Bytes, given_up: &AtomicBool) -> Option<Stored> {
        let length = bytes.len() as u64;
        debug_assert!(
            length == length_of(&self.bytes_of(block)) || !self.is_listed(),
            "only the last block of what is gathered is shorter"
        );
        {
            let state = self.state.lock();
            if let Some(stored) = state.stored(block) {
                return Some(stored);
            }
            if self.is_apart() || state.is_shut() {
                return None;
            }
        }
        let reserved = self.cache.reserve(self, length)?;
        // Before the write, since the lock is kept from its end until the block is put: in between, another thread could make a hole of it.
        let hash = hash(bytes);
        let (file, mut state) = self.write_block(block, bytes)?;
        if !state.is_of(&file) {
            // It was thrown away meanwhile.
            return None;
        }
        if given_up.load(Ordering::SeqCst) {
            self.punch_unused(&state, &file, block);
            if state.writing == 0 {
                self.left(&mut state, &file);
            }
            return None;
        }
        if let Some(stored) = state.stored(block) {
            // Another thread has written the block meanwhile, in room that it has reserved.
            return Some(stored);
        }
        self.cache.written(reserved);
        if state.contents.put(block, hash) {
            return Some(Stored::DiskComplete);
        }
        if state.unsaved == 0 {
            self.cache.upkeep.note_growing(self.key);
        }
        state.unsaved += length;
        if state.unsaved >= SAVE_AFTER_BYTES {
            self.save(&mut state);
        }
        Some(Stored::Disk)
    }

    /// Makes the file of an empty version. `false` if there is no room for it. Waits for the disk.
    pub(in crate::cache) fn write_empty(&self) -> bool {
        let Some(reserved) = self.cache.reserve(self, 0) else { return false };
        let is_written = self.write_block(0, &[]).is_some();
        if is_written {
            self.cache.written(reserved);
        }
        is_written
    }

    /// Writes these bytes where a block belongs. The file that they went to, and the lock, held since the write ended; `None` if the disk did not
    /// take them.
    fn write_block(&self, block: usize, bytes: &[u8]) -> Option<(Arc<File>, MutexGuard<'_, State>)> {
        let written = self.begin_writing().and_then(|file| {
            let written = file.write_all_at(bytes, block as u64 * BLOCK);
            let mut state = self.state.lock();
            state.writing -= 1;
            if written.is_err() {
                self.punch_unused(&state, &file, block);
            }
            if state.writing == 0 && state.is_of(&file) {
                self.left(&mut state, &file);
            }
            written.map(|()| (file, state))
        });
        written.inspect_err(|e| self.cache.disk_failed(e)).ok()
    }

    /// The file, made if there is none. Until the write ends, changes of it are our own doing.
    fn begin_writing(&self) -> io::Result<Arc<File>> {
        // Compare before writing: what another program changed must not pass for our own change.
        let mut state = self.inspected();
        let file = match state.file.clone() {
            Some(file) => file,
            None => {
                // Without the lock, for which readers wait: the disk may hang.
                let made = MutexGuard::unlocked(&mut state, || self.make_file())?;
                state.contents.begin();
                state.file.get_or_insert_with(|| Arc::new(made)).clone()
            }
        };
        state.writing += 1;
        Ok(file)
    }

    fn make_file(&self) -> io::Result<File> {
        match self.cache.store.open_file(&self.key, &self.name, true) {
            Err(e) if is_other_type(&e) => {
                if let Some(discarded) = self.cache.store.discard(&self.key) {
                    self.cache.store.destroy(&discarded);
                }
                self.cache.store.open_file(&self.key, &self.name, true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // The directories were deleted, all of them or just this copy's.
                if self.cache.store.make_again() {
                    self.cache.forget_closed();
                    self.cache.index.make_again();
                }
                self.cache.store.open_file(&self.key, &self.name, true)
            }
            result => result,
        }
    }

    /// Gives back what a block takes on the disk that is not here, unless another thread may just be putting it there.
    fn punch_unused(&self, state: &State, file: &File, block: usize) {
        if state.writing == 0 && !state.contents.has(block) {
            self.punch(file, block);
        }
    }

    /// Gives back what a block takes on the disk.
    fn punch(&self, file: &File, block: usize) {
        let bytes = self.bytes_of(block);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(e) = fallocate(file, flags, bytes.start, length_of(&bytes)) {
            debug!("{}: block {block} keeps its room: {e}", self.path.display());
        }
    }

    /// Keeps the bytes of one block in memory for a while.
    pub fn spill(&self, block: usize, bytes: &Bytes) -> Stored {
        // A copy, because they may be a part of something larger, which would stay in memory with them.
        self.cache.spill.put(self.key, block, Bytes::copy_from_slice(bytes));
        Stored::Memory
    }

    /// Lets go of these blocks in memory.
    pub fn unspill(&self, blocks: Range<usize>) {
        blocks.for_each(|block| self.cache.spill.remove(&self.key, block));
    }

    /// Lets go of all blocks in memory.
    pub fn forget_memory(&self) {
        self.cache.spill.remove_all(&self.key);
    }

    /// Stores the bytes of one block, hashed, if there is room; else keeps them in memory for a while. Waits for the disk.
    #[cfg(test)]
    pub fn store(&self, block: usize, bytes: Bytes) -> Stored {
        let stored = self.write(block, &bytes, &AtomicBool::new(false));
        stored.unwrap_or_else(|| self.spill(block, &bytes))
    }

    /// Throws these blocks away: they may be of another version. Waits for the disk.
    pub fn discard_blocks(&self, blocks: Range<usize>) {
        self.unspill(blocks.clone());
        let mut state = self.state.lock();
        for block in blocks {
            if state.contents.has(block) {
                self.drop_block(&mut state, block);
            }
        }
        self.save(&mut state);
    }

    /// Throws a stored block away.
    pub(super) fn drop_block(&self, state: &mut State, block: usize) {
        state.contents.lose(block);
        // Before its bytes go, so that who reads them just then finds out.
        self.running.lost();
        if let Some(file) = state.file.clone() {
            self.punch(&file, block);
            if state.writing == 0 {
                self.left(state, &file);
            }
        }
        self.lease.shrink(length_of(&self.bytes_of(block)).next_multiple_of(DISK_BLOCK));
    }

    /// Throws all bytes away, also those in memory: they were not what they should be. Waits for the disk.
    pub fn discard(&self) {
        self.forget_memory();
        self.reset(&mut self.state.lock());
    }

    /// Its file goes, and all that is known of its bytes.
    pub(super) fn reset(&self, state: &mut State) {
        (state.file, state.unsaved) = (None, 0);
        self.unconfirmed.forget();
        state.contents.lose_all();
        self.running.lost();
        self.cache.delete_file(self);
    }
}

fn length_of(bytes: &Range<u64>) -> u64 {
    bytes.end - bytes.start
}
