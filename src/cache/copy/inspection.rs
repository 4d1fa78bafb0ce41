//! Inspection: is a copy's file as it was left, and are its bytes those that were stored? What is not goes into quarantine, and is
//! had anew. It stores no bytes.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{debug, warn};

use super::{Copy, State};
use crate::cache::Cache;
use crate::cache::block::{Block, block_count, bytes_of};
use crate::cache::index::Fingerprint;
use crate::cache::store::Store;

impl Copy {
    pub(super) fn checked(&self, cache: &Cache, block: usize) {
        cache.counters.verified.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.map.set_checked(block);
        if state.suspect && state.proven.is_some() && state.map.is_checked() {
            // Every byte is what it was: only the file's times were touched. The modification time may carry the digest.
            state.suspect = false;
            self.accept_file(&mut state);
            self.save(cache, &mut state);
            debug!("{}: proven again", self.path.display());
        }
    }

    pub(super) fn damaged(&self, cache: &Cache, block: usize, why: &str) {
        let mut state = self.state.lock();
        if state.map.is_missing(block) {
            return;
        }
        self.quarantine(cache, &mut state, &format!("block {block} is damaged ({why}) and will be retrieved again"));
        self.drop_block(cache, &mut state, block);
        self.running.lost();
        state.proven = None;
        state.fingerprint = None;
        self.save(cache, &mut state);
    }

    /// Counts and says once that the copy's file is not as it was left, until it is proven again.
    fn quarantine(&self, cache: &Cache, state: &mut State, what: &str) {
        if !state.suspect {
            state.suspect = true;
            cache.counters.quarantined.fetch_add(1, Ordering::Relaxed);
            warn!("cache: {}: {what}", self.path.display());
        }
    }

    /// Opens the file if it should be there, and compares it with how it was left.
    pub(super) fn inspect(&self, cache: &Cache) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.file.is_none() && state.map.present() > 0 {
            match Store::open_file(&self.path, false) {
                Ok(file) => state.file = Some(Arc::new(file)),
                Err(e) => return self.lost(cache, state, &e.to_string()),
            }
        }
        let (Some(file), Some(left)) = (&state.file, state.fingerprint) else { return };
        match file.metadata() {
            Ok(meta) if meta.nlink() == 0 => self.lost(cache, state, "the file was deleted"),
            Ok(meta) if Fingerprint::of(&meta) == left => {}
            Ok(meta) => {
                state.map.uncheck_all();
                state.fingerprint = Some(Fingerprint::of(&meta));
                self.quarantine(cache, state, "the file was changed by somebody else; every block is checked again");
            }
            Err(e) => self.lost(cache, state, &e.to_string()),
        }
    }

    fn lost(&self, cache: &Cache, state: &mut State, why: &str) {
        self.quarantine(cache, state, &format!("the copy is lost ({why}) and will be retrieved again"));
        self.reset(cache, state);
    }

    /// Hashes every block of a complete copy that was not checked yet, since only sound blocks may be proven together. `false`
    /// if one is damaged, so that the copy is not complete after all. Reads the whole file: call it where blocking is allowed.
    pub fn check_all(&self, cache: &Cache) -> bool {
        let unchecked: Vec<usize> = {
            let state = self.state.lock();
            let all = 0..block_count(self.size);
            all.filter(|&block| matches!(state.map.get(block), Block::Unchecked(_))).collect()
        };
        for block in unchecked {
            let _ = self.read_block(cache, block, bytes_of(&(block..block + 1), self.size));
        }
        let mut state = self.state.lock();
        if !state.map.is_full() {
            state.held_back = None;
        }
        state.map.is_full()
    }

    /// Takes the file as it is now for what it should be, with the remote's modification time.
    pub(super) fn accept_file(&self, state: &mut State) {
        let Some(file) = &state.file else { return };
        if let Some(modified) = state.modified
            && file.metadata().and_then(|meta| meta.modified()).ok() != Some(modified)
        {
            let _ = file.set_modified(modified);
        }
        state.fingerprint = file.metadata().ok().map(|meta| Fingerprint::of(&meta));
    }
}
