//! What the kernel's memory tells of a copy's file. Nothing here waits for the disk: where that would have to be asked, there is no answer,
//! and the caller asks it as ever.

use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::{Sound, State};
use crate::cache::OpenCopy;
use crate::cache::block::{Block, blocks_of};
use crate::cache::index::Fingerprint;
use crate::cache::store::Store;
use crate::digest::Digest;

impl OpenCopy {
    /// The state, once the file was opened, and compared with how it was left.
    fn remembered(&self) -> Option<MutexGuard<'_, State>> {
        if self.disk.rests() {
            return None;
        }
        #[cfg(test)]
        drop(self.cache.gate.try_read()?);
        let mut state = self.state.try_lock()?;
        let left = state.contents.left()?;
        if state.writing > 0 || state.is_shut() {
            return None;
        }
        let file = match &state.file {
            Some(file) => file.clone(),
            None => Arc::new(self.cache.store.open_remembered(&self.key, &self.name)?),
        };
        let meta = file.metadata().ok()?;
        if meta.nlink() == 0 || Fingerprint::of(&meta) != left {
            return None;
        }
        if state.file.is_none() {
            (state.file, state.shut) = (Some(file), None);
            self.cache.files_opened();
        }
        Some(state)
    }

    /// The file of a copy that is whole, if no block of it has to be checked any more ([`OpenCopy::sound_file`]).
    pub fn remembered_sound_file(&self) -> Option<Sound> {
        self.sound(&*self.remembered()?)
    }

    /// Reads these bytes, if their blocks were checked and the kernel has them, or they wait in memory.
    pub fn read_remembered(&self, bytes: &Range<u64>) -> Option<Bytes> {
        self.read_checked(bytes).or_else(|| (!self.cache.spill.is_empty()).then(|| self.read_memory(bytes)).flatten())
    }

    /// Marks a complete copy as whole ([`OpenCopy::mark_whole`]). `false`, and nothing has changed, where that takes the disk.
    pub fn mark_whole_remembered(&self, local_digest: &Digest) -> bool {
        let Some(mut state) = self.remembered() else { return false };
        let has_time = state.modified.is_some_and(|modified| state.is_left_with(modified));
        let there = self.cache.store.look_remembered(&self.key, &self.name).map(|there| Fingerprint::of(&there));
        if !has_time
            || there.is_none()
            || there != state.contents.left()
            || !state.contents.mark_whole(local_digest.clone())
        {
            return false;
        }
        self.save_proven(&mut state);
        true
    }

    fn read_checked(&self, bytes: &Range<u64>) -> Option<Bytes> {
        let state = self.remembered()?;
        let is_there = |block| state.contents.may_serve(block) && state.contents.block(block) == Block::Checked;
        if !blocks_of(bytes).all(is_there) {
            return None;
        }
        let (file, losses) = (state.file.clone()?, self.running.losses());
        drop(state);
        // A block that was thrown away meanwhile may have been read as a hole.
        Store::read_remembered(&file, bytes).filter(|_| losses == self.running.losses())
    }
}
