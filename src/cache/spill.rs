//! `Spill`: blocks that found no room on disk, for the moment until their readers have them. It knows no files.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use super::Key;
use super::block::BLOCK;

/// How many bytes blocks take in memory at most.
const LIMIT: usize = 16 << 20;

/// Bytes that the tables need for a block, besides its own.
const OVERHEAD: usize = 256;

/// The most recently used blocks without a place on disk.
#[derive(Debug)]
pub struct Spill(Mutex<Blocks>);

#[derive(Debug)]
struct Blocks {
    /// Those that a reader has not read to their end.
    waiting: LruCache<(Key, usize), Bytes>,
    /// Those that were: they go first, the one read first before the others, since reads that arrive out of order may want them still.
    read: LruCache<(Key, usize), Bytes>,
    bytes: usize,
    /// The blocks of each version.
    versions: HashMap<Key, HashSet<usize>>,
}

impl Default for Spill {
    fn default() -> Self {
        let (waiting, read) = (LruCache::unbounded(), LruCache::unbounded());
        Self(Mutex::new(Blocks { waiting, read, bytes: 0, versions: HashMap::new() }))
    }
}

impl Blocks {
    fn take(&mut self, key: Key, block: usize) {
        let at = (key, block);
        if let Some(bytes) = self.waiting.pop(&at).or_else(|| self.read.pop(&at)) {
            self.gone(at, &bytes);
        }
    }

    fn gone(&mut self, (key, block): (Key, usize), bytes: &Bytes) {
        self.bytes -= bytes.len() + OVERHEAD;
        if let Entry::Occupied(mut blocks) = self.versions.entry(key) {
            blocks.get_mut().remove(&block);
            if blocks.get().is_empty() {
                blocks.remove();
            }
        }
    }
}

impl Spill {
    /// Keeps a block, pushing out those that were read, and then those unused for longest.
    pub fn put(&self, key: Key, block: usize, bytes: Bytes) {
        let mut held = self.0.lock();
        held.take(key, block);
        held.bytes += bytes.len() + OVERHEAD;
        held.versions.entry(key).or_default().insert(block);
        held.waiting.put((key, block), bytes);
        while held.bytes > LIMIT {
            let dropped = held.read.pop_lru().or_else(|| held.waiting.pop_lru());
            let Some((at, dropped)) = dropped else { break };
            held.gone(at, &dropped);
        }
    }

    /// How many blocks ahead of its reader each version may have here, so that none is pushed out before it was read: half of what there
    /// is room for, the rest being for blocks that were read in part.
    pub fn share(&self) -> usize {
        let versions = self.0.lock().versions.len().max(1);
        LIMIT / BLOCK as usize / 2 / versions
    }

    /// The block was read to its end.
    pub fn was_read(&self, key: &Key, block: usize) {
        let (held, at) = (&mut *self.0.lock(), (*key, block));
        if let Some(bytes) = held.waiting.pop(&at) {
            held.read.put(at, bytes);
        }
    }

    /// The block, if it is still held.
    pub fn get(&self, key: &Key, block: usize) -> Option<Bytes> {
        let (held, at) = (&mut *self.0.lock(), (*key, block));
        held.waiting.get(&at).or_else(|| held.read.peek(&at)).cloned()
    }

    /// Lets go of a block.
    pub fn remove(&self, key: &Key, block: usize) {
        self.0.lock().take(*key, block);
    }

    /// Lets go of all blocks of a version.
    pub fn remove_all(&self, key: &Key) {
        let held = &mut *self.0.lock();
        for block in held.versions.get(key).cloned().unwrap_or_default() {
            held.take(*key, block);
        }
    }

    /// Whether nothing is held, as is usual.
    pub fn is_empty(&self) -> bool {
        self.0.lock().versions.is_empty()
    }

    /// Whether the block is still held.
    pub fn contains(&self, key: &Key, block: usize) -> bool {
        let (held, at) = (self.0.lock(), (*key, block));
        held.waiting.contains(&at) || held.read.contains(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_blocks_go_first() {
        let spill = Spill::default();
        let key = Key([0; 32]);
        let block = Bytes::from(vec![0; LIMIT / 4 - OVERHEAD]);
        for number in 0..4 {
            spill.put(key, number, block.clone());
        }
        assert!(spill.get(&key, 0).is_some());
        spill.put(key, 4, block);
        assert!(spill.contains(&key, 0) && !spill.contains(&key, 1) && spill.contains(&key, 4));
    }

    #[test]
    fn small_blocks_are_not_more_than_there_is_room_for_them_in_tables() {
        let spill = Spill::default();
        for number in 0..LIMIT / OVERHEAD {
            spill.put(Key([0; 32]), number, Bytes::from_static(b"small"));
        }
        assert!(!spill.contains(&Key([0; 32]), 0) && spill.contains(&Key([0; 32]), LIMIT / OVERHEAD - 1));
    }

    #[test]
    fn a_version_goes_with_all_its_blocks_and_leaves_others_alone() {
        let spill = Spill::default();
        let (one, other) = (Key([1; 32]), Key([2; 32]));
        for number in 0..4 {
            spill.put(one, number, Bytes::from_static(b"one"));
            spill.put(other, number, Bytes::from_static(b"other"));
            spill.was_read(&one, number / 2);
        }
        spill.remove_all(&one);
        assert!((0..4).all(|number| !spill.contains(&one, number) && spill.contains(&other, number)));
        spill.remove_all(&other);
        assert!(spill.is_empty());
    }

    #[test]
    fn blocks_that_were_read_go_before_those_that_wait() {
        let spill = Spill::default();
        let key = Key([0; 32]);
        let block = Bytes::from(vec![0; LIMIT / 4 - OVERHEAD]);
        for number in 0..4 {
            spill.put(key, number, block.clone());
        }
        assert!(spill.get(&key, 3).is_some());
        spill.was_read(&key, 3);
        spill.put(key, 4, block);
        assert!((0..5).all(|number| spill.contains(&key, number) == (number != 3)));
    }

    #[test]
    fn versions_share_what_there_is() {
        let spill = Spill::default();
        assert_eq!(spill.share(), 64);
        let block = Bytes::from(vec![0; BLOCK as usize]);
        for version in 0..8 {
            for number in 0..3 {
                spill.put(Key([version; 32]), number, block.clone());
                spill.put(Key([version; 32]), number, block.clone());
            }
        }
        assert_eq!(spill.share(), 8);
        for version in 0..8 {
            for number in 0..3 {
                assert_eq!(spill.share(), 64 / usize::from(8 - version));
                spill.remove(&Key([version; 32]), number);
            }
        }
        assert_eq!((spill.share(), spill.is_empty()), (64, true));
    }
}
