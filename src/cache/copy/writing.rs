//! Writing to a copy's file, and giving back what blocks take there. It decides not which blocks are kept.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use tracing::debug;

use super::{State, Stored};
use crate::cache::OpenCopy;
use crate::cache::block::{BLOCK, bytes_of};
use crate::cache::room::DISK_BLOCK;
use crate::cachedir::is_other_type;

impl OpenCopy {
    /// Keeps the bytes of one block in memory for a while.
    pub fn spill(&self, block: usize, bytes: &Bytes) -> Stored {
        // A copy, because they may be a part of something larger, which would stay in memory with them.
        self.cache.spill.put(self.key, block, Bytes::copy_from_slice(bytes));
        Stored::Memory
    }

    pub(super) fn may_write(&self) -> bool {
        !self.is_apart() && !self.state.lock().is_shut()
    }

    /// Makes the file of an empty version. `false` if there is no room for it. Waits for the disk.
    pub(in crate::cache) fn write_empty(&self) -> bool {
        let Some(reserved) = self.cache.reserve(self, 0) else { return false };
        let is_written = self.write_block(0, &[]).is_some();
        if is_written {
            reserved.written();
            self.cache.shortage.end();
        }
        is_written
    }

    /// The file that the block was written to; `None` if it could not be.
    pub(super) fn write_block(&self, block: usize, bytes: &[u8]) -> Option<Arc<File>> {
        self.open_stored();
        let file = {
            let mut state = self.state.lock();
            // Compare before writing: what another program changed must not pass for our own change.
            self.compare(&mut state);
            state.writing += usize::from(state.file.is_some());
            state.file.clone()
        };
        let file = match file {
            Some(file) => Ok(file),
            // Without the lock, for which readers wait: the disk may hang.
            None => self.open_for_writing().map(|file| {
                let mut state = self.state.lock();
                state.writing += 1;
                state.contents.begin();
                state.file.get_or_insert_with(|| Arc::new(file)).clone()
            }),
        };
        let written = file.and_then(|file| {
            let written = file.write_all_at(bytes, block as u64 * BLOCK);
            let written = written.inspect_err(|_| self.punch(&file, block));
            let mut state = self.state.lock();
            state.writing -= 1;
            if state.writing == 0 && state.file.as_ref().is_some_and(|now| Arc::ptr_eq(now, &file)) {
                self.left(&mut state, &file);
            }
            written.map(|()| file)
        });
        written.inspect_err(|e| self.cache.disk_failed(e)).ok()
    }

    /// Gives back what a block takes on the disk.
    fn punch(&self, file: &File, block: usize) {
        let bytes = bytes_of(&(block..block + 1), self.size);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(e) = fallocate(file, flags, bytes.start, bytes.end - bytes.start) {
            debug!("{}: block {block} keeps its room: {e}", self.path.display());
        }
    }

    fn open_for_writing(&self) -> std::io::Result<File> {
        match self.cache.store.open_file(&self.key, &self.name, true) {
            Err(e) if is_other_type(&e) => {
                if let Some(discarded) = self.cache.store.discard(&self.key) {
                    self.cache.store.destroy(&discarded);
                }
                self.cache.store.open_file(&self.key, &self.name, true)
            }
            result => result,
        }
    }

    /// Throws a stored block away.
    pub(super) fn drop_block(&self, state: &mut State, block: usize) {
        state.contents.lose(block);
        if let Some(file) = state.file.clone() {
            self.punch(&file, block);
            if state.writing == 0 {
                self.left(state, &file);
            }
        }
        let bytes = bytes_of(&(block..block + 1), self.size);
        self.lease.shrink((bytes.end - bytes.start).next_multiple_of(DISK_BLOCK));
    }
}
