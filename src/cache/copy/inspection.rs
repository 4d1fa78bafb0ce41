//! Inspection: compares a copy's file with how it was left, and its bytes with their hashes. Blocks that differ are dropped, so that they
//! are retrieved again.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::MutexGuard;
use tracing::{debug, warn};

use super::{CachedFile, State};
use crate::cache::OpenCopy;
use crate::cache::block::block_count;
use crate::cache::index::Fingerprint;
use crate::cachedir::is_other_type;
use crate::disk::Asked;

impl OpenCopy {
    pub(super) fn checked(&self, block: usize) {
        self.cache.counters.verified.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.contents.checked(block) {
            self.proven_again(&mut state);
        }
    }

    /// Only the file's times were touched. The modification time may carry the digest, so it is set again.
    fn proven_again(&self, state: &mut State) {
        self.accept_file(state);
        self.save(state);
        debug!("{}: proven again", self.path.display());
    }

    pub(super) fn damaged(&self, block: usize, why: &str) {
        let mut state = self.state.lock();
        if !state.contents.has(block) {
            return;
        }
        self.quarantine(&mut state, &format!("block {block} is damaged ({why}) and will be retrieved again"));
        self.drop_block(&mut state, block);
        self.save(&mut state);
    }

    /// Counts and says once that the copy's file is not as it was left, until it is proven again.
    fn quarantine(&self, state: &mut State, what: &str) {
        if state.contents.suspect() {
            self.cache.counters.quarantined.fetch_add(1, Ordering::Relaxed);
            warn!("cache: {}: {what}", self.path.display());
        }
    }

    /// Opens the file if it should be there, and compares it with how it was left; not while the disk is left alone.
    pub(super) fn inspect(&self) {
        if !self.disk.rests() {
            drop(self.inspected());
        }
    }

    /// The state, once the file that should be there was opened and compared with how it was left.
    pub(super) fn inspected(&self) -> MutexGuard<'_, State> {
        #[cfg(test)]
        drop(self.cache.gate.read());
        let is_due = |state: &State| state.file.is_none() && state.contents.is_begun() && !state.is_shut();
        let mut state = self.state.lock();
        if is_due(&state) {
            // Without the lock, for which readers wait: the disk may hang.
            let open = || self.cache.store.open_file(&self.key, &self.name, false);
            let opened = MutexGuard::unlocked(&mut state, open);
            match opened {
                _ if !is_due(&state) => {}
                Ok(file) => {
                    state.file = Some(Arc::new(file));
                    state.shut = None;
                    self.cache.files_opened();
                }
                Err(e) if e.kind() == ErrorKind::NotFound || is_other_type(&e) => self.lost(&mut state, &e.to_string()),
                Err(e) => self.shut(&mut state, &e),
            }
        }
        self.compare(&mut state);
        state
    }

    fn compare(&self, state: &mut State) {
        let Some(file) = state.file.clone() else { return };
        if state.writing > 0 {
            // Compared before they began, and noted when they end.
            return;
        }
        match (file.metadata(), state.contents.left()) {
            (Ok(meta), _) if meta.nlink() == 0 => self.lost(state, "the file was deleted"),
            (Ok(meta), Some(left)) if Fingerprint::of(&meta) == left => {}
            (Ok(_), None) => {
                state.contents.uncheck();
                self.left(state, &file);
            }
            (Ok(meta), Some(_)) => self.changed(state, &file, &meta),
            (Err(e), _) => self.shut(state, &e),
        }
    }

    /// Another program changed the file: every block is hashed again before it is served.
    fn changed(&self, state: &mut State, file: &File, meta: &Metadata) {
        state.contents.uncheck();
        self.running.lost();
        self.quarantine(state, "the file was changed by somebody else; every block is checked again");
        if meta.len() > self.size
            && let Err(e) = file.set_len(self.size)
        {
            warn!("cache: {}: what was appended to it cannot be cut off: {e}", self.path.display());
        }
        self.left(state, file);
        if state.contents.clear_of_suspicion() {
            self.proven_again(state);
        }
    }

    /// The file cannot be had just now, which says nothing about its bytes: readers get theirs from the source, and it is tried again.
    pub(super) fn shut(&self, state: &mut State, why: &io::Error) {
        state.file = None;
        state.shut = Some(Instant::now());
        self.cache.file_failed(&self.path, why);
    }

    pub(super) fn lost(&self, state: &mut State, why: &str) {
        self.quarantine(state, &format!("the copy is lost ({why}) and will be retrieved again"));
        self.reset(state);
    }

    /// Whether the file is not in its place, or cannot be had there just now: who was handed its path found nothing, or something else. What of
    /// it was lost is to be retrieved again. Waits for the disk.
    pub fn is_out_of_place(&self) -> bool {
        self.has_left(&mut self.inspected())
    }

    /// The same of a copy that was inspected.
    pub(super) fn has_left(&self, state: &mut State) -> bool {
        let Some(file) = state.file.clone() else { return true };
        let has_left = self.cache.store.leads_elsewhere(&self.key, &self.name, &file);
        if has_left {
            self.lost(state, "its name leads to another file");
        }
        has_left
    }

    /// Hashes every block of a complete copy that was not checked yet, since only sound blocks may be proven together. `false`
    /// if one is damaged, so that the copy is not complete after all. Reads the whole file, and waits for the disk.
    pub fn check_all(&self, asked: &Asked) -> bool {
        self.inspect();
        for block in 0..block_count(self.size) {
            self.check(block..block + 1);
            asked.step();
        }
        self.state.lock().contents.is_checked()
    }

    /// Hashes every block that is here, also those that were checked before. Returns how many were damaged or lost; they are here no longer.
    /// Reads the whole file, and waits for the disk.
    pub fn verify(&self, asked: &Asked) -> usize {
        let blocks = 0..block_count(self.size);
        let missing = self.missing(blocks.clone()).len();
        self.inspected().contents.uncheck();
        for block in blocks.clone() {
            self.check(block..block + 1);
            asked.step();
        }
        self.missing(blocks).len().saturating_sub(missing)
    }

    /// Hashes those of these blocks that were not checked yet.
    pub(super) fn check(&self, blocks: Range<usize>) {
        let unchecked = self.state.lock().contents.unchecked(blocks);
        for block in unchecked {
            let _ = self.read_stored(block, self.bytes_of(block));
        }
    }
}

impl CachedFile {
    /// Notes how a file was left to which this process has written. It gets a time that the clock does not show, so that whoever writes to
    /// it within the same tick of the clock leaves another.
    pub(super) fn left(&self, state: &mut State, file: &File) {
        if let Err(e) = file.set_modified(state.modified.unwrap_or(UNIX_EPOCH)) {
            debug!("{}: cannot set the modification time: {e}", self.path.display());
        }
        state.contents.leave(file.metadata().ok().map(|meta| Fingerprint::of(&meta)));
    }

    /// Takes the file as it is now for what it should be, with the remote's modification time; as it was left, if it has that already.
    pub(super) fn accept_file(&self, state: &mut State) {
        let Some(file) = state.file.clone() else { return };
        if state.modified.is_some_and(|modified| state.is_left_with(modified)) {
            return;
        }
        let remembered = state.modified;
        // The time of the retrieval, if the remote tells none.
        state.modified = remembered.or_else(|| Some(SystemTime::now()));
        self.left(state, &file);
        state.modified = remembered;
    }
}
