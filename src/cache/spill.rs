//! `Spill`: blocks that found no room on disk, for the moment until their readers have them. It knows no files.

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use super::Key;

/// How many bytes of blocks are held in memory at most.
const LIMIT: usize = 16 << 20;

/// The most recently used blocks without a place on disk.
#[derive(Debug)]
pub struct Spill(Mutex<Blocks>);

#[derive(Debug)]
struct Blocks {
    blocks: LruCache<(Key, usize), Bytes>,
    bytes: usize,
}

impl Default for Spill {
    fn default() -> Self {
        Self(Mutex::new(Blocks { blocks: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Spill {
    /// Keeps a block, pushing out those unused for longest.
    pub fn put(&self, key: Key, block: usize, bytes: Bytes) {
        let mut held = self.0.lock();
        held.bytes += bytes.len();
        if let Some(before) = held.blocks.put((key, block), bytes) {
            held.bytes -= before.len();
        }
        while held.bytes > LIMIT {
            let Some((_, dropped)) = held.blocks.pop_lru() else { break };
            held.bytes -= dropped.len();
        }
    }

    /// The block, if it is still held.
    pub fn get(&self, key: &Key, block: usize) -> Option<Bytes> {
        self.0.lock().blocks.get(&(*key, block)).cloned()
    }

    /// Lets go of a block.
    pub fn remove(&self, key: &Key, block: usize) {
        let mut held = self.0.lock();
        if let Some(dropped) = held.blocks.pop(&(*key, block)) {
            held.bytes -= dropped.len();
        }
    }

    /// Whether nothing is held, as is usual.
    pub fn is_empty(&self) -> bool {
        self.0.lock().blocks.is_empty()
    }

    /// Whether the block is still held.
    pub fn contains(&self, key: &Key, block: usize) -> bool {
        self.0.lock().blocks.contains(&(*key, block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_blocks_go_first() {
        let spill = Spill::default();
        let key = Key([0; 32]);
        let block = Bytes::from(vec![0; LIMIT / 4]);
        for number in 0..4 {
            spill.put(key, number, block.clone());
        }
        assert!(spill.get(&key, 0).is_some());
        spill.put(key, 4, block);
        assert!(spill.contains(&key, 0) && !spill.contains(&key, 1) && spill.contains(&key, 4));
    }
}
