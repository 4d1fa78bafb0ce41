//! `BlockMap`: which blocks of a copy are there, their hashes, and which were checked. It touches no file.

use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes of a block, the unit of retrieval and verification; the last block of a file may be shorter.
///
/// 128 KiB is the kernel's largest default read, so a random read touches at most two blocks.
pub const BLOCK: u64 = 128 * 1024;

/// Blocks whose hashes are stored as one row: 64 MiB of content are 16 KiB of hashes.
pub const PAGE: usize = 512;

/// BLAKE3 of a block: as hard to forge as SHA-256, and four times as fast on processors with instructions for the latter (128 KiB at
/// 4 GB/s instead of 1 GB/s on one core), ten times on others. Every byte is hashed before it is served.
pub type Hash = [u8; 32];

const MISSING: Hash = [0; 32];

/// How many blocks a file of `size` bytes has.
pub fn block_count(size: u64) -> usize {
    usize::try_from(size.div_ceil(BLOCK)).expect("a file has fewer blocks than there are addresses")
}

/// The blocks that hold these bytes.
pub fn blocks_of(bytes: &Range<u64>) -> Range<usize> {
    if bytes.is_empty() {
        return 0..0;
    }
    let first = usize::try_from(bytes.start / BLOCK).expect("a file has fewer blocks than there are addresses");
    first..block_count(bytes.end)
}

/// The bytes of these blocks in a file of `size` bytes.
pub fn bytes_of(blocks: &Range<usize>, size: u64) -> Range<u64> {
    blocks.start as u64 * BLOCK..(blocks.end as u64 * BLOCK).min(size)
}

/// The hash of a block's bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    blake3::hash(bytes).into()
}

/// What is known of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Not there.
    Missing,
    /// There; its bytes must be hashed before they are served.
    Unchecked(Hash),
    /// There, and its bytes were seen to agree with its hash in the life of this process.
    Checked,
}

/// The blocks of one copy.
#[derive(Debug, Default)]
pub struct BlockMap {
    hashes: Vec<Hash>,
    /// Apart from the hashes, so that looking far ahead of a reader takes nothing.
    states: Vec<State>,
    present: usize,
    changed_pages: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Unchecked,
    Checked,
}

impl BlockMap {
    /// A map of a file of `size` bytes, nothing of which is there.
    pub fn empty(size: u64) -> Self {
        let (hashes, states) = (vec![MISSING; block_count(size)], vec![State::Missing; block_count(size)]);
        Self { hashes, states, present: 0, changed_pages: BTreeSet::new() }
    }

    /// Restores one page as [`BlockMap::take_changed_pages`] gave it; nothing of it counts as checked.
    pub fn restore_page(&mut self, page: usize, bytes: &[u8]) {
        let (hashes, _) = bytes.as_chunks::<32>();
        for (block, hash) in (page * PAGE..self.hashes.len()).zip(hashes).filter(|(_, hash)| **hash != MISSING) {
            self.put(block, *hash, State::Unchecked);
        }
    }

    fn put(&mut self, block: usize, hash: Hash, state: State) {
        self.present += usize::from(self.is_missing(block));
        self.present -= usize::from(state == State::Missing);
        (self.hashes[block], self.states[block]) = (hash, state);
    }

    /// What is known of this block.
    pub fn get(&self, block: usize) -> Block {
        match self.states[block] {
            State::Missing => Block::Missing,
            State::Checked => Block::Checked,
            State::Unchecked => Block::Unchecked(self.hashes[block]),
        }
    }

    /// Whether this block is not there.
    pub fn is_missing(&self, block: usize) -> bool {
        self.states[block] == State::Missing
    }

    /// Notes that this block's bytes are there and have this hash.
    pub fn set(&mut self, block: usize, hash: Hash) {
        self.put(block, hash, State::Checked);
        self.changed_pages.insert(block / PAGE);
    }

    /// Notes that this block's bytes agree with its hash, if it is there still.
    pub fn set_checked(&mut self, block: usize) {
        if self.states[block] == State::Unchecked {
            self.states[block] = State::Checked;
        }
    }

    /// Notes that this block is not there, or not what it should be.
    pub fn clear(&mut self, block: usize) {
        self.put(block, MISSING, State::Missing);
        self.changed_pages.insert(block / PAGE);
    }

    /// Nothing counts as checked any more.
    pub fn uncheck_all(&mut self) {
        for state in self.states.iter_mut().filter(|state| **state == State::Checked) {
            *state = State::Unchecked;
        }
    }

    /// Every page waits to be stored.
    pub fn change_all(&mut self) {
        self.changed_pages = (0..self.hashes.len().div_ceil(PAGE)).collect();
    }

    /// Whether every block is there.
    pub fn is_full(&self) -> bool {
        self.present == self.hashes.len()
    }

    /// Whether every block is there and checked.
    pub fn is_checked(&self) -> bool {
        self.states.iter().all(|&state| state == State::Checked)
    }

    /// How many blocks are there.
    pub fn present(&self) -> usize {
        self.present
    }

    /// How many pages wait to be stored.
    pub fn changed_pages(&self) -> usize {
        self.changed_pages.len()
    }

    /// The pages that changed since the last call, as (number, bytes to store). The block `except` is stored as missing, and its
    /// page with the next call again.
    pub fn take_changed_pages(&mut self, except: Option<usize>) -> Vec<(usize, Vec<u8>)> {
        let again = except.map(|block| block / PAGE).into_iter().collect();
        let pages = std::mem::replace(&mut self.changed_pages, again);
        let page_bytes = |page: usize| {
            let blocks = page * PAGE..(page * PAGE + PAGE).min(self.hashes.len());
            let stored = |block| if Some(block) == except { MISSING } else { self.hashes[block] };
            blocks.flat_map(stored).collect()
        };
        pages.into_iter().map(|page| (page, page_bytes(page))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_blocks_agree() {
        assert_eq!(block_count(0), 0);
        assert_eq!(block_count(1), 1);
        assert_eq!(block_count(BLOCK), 1);
        assert_eq!(blocks_of(&(5..5)), 0..0);
        assert_eq!(blocks_of(&(BLOCK - 1..BLOCK + 1)), 0..2);
        assert_eq!(blocks_of(&(BLOCK..BLOCK + 1)), 1..2);
        assert_eq!(bytes_of(&(1..2), BLOCK + 7), BLOCK..BLOCK + 7);
    }

    #[test]
    fn a_restored_map_has_the_same_blocks_and_none_is_checked() {
        let size = 1000 * BLOCK;
        let mut map = BlockMap::empty(size);
        for block in [0, 511, 512, 999] {
            map.set(block, hash(&[1]));
        }
        map.clear(511);
        let mut restored = BlockMap::empty(size);
        for (page, bytes) in map.take_changed_pages(Some(999)) {
            restored.restore_page(page, &bytes);
        }
        assert_eq!(restored.present(), 2);
        assert_eq!(restored.get(512), Block::Unchecked(hash(&[1])));
        assert_eq!(restored.get(511), Block::Missing);
        assert_eq!(map.get(0), Block::Checked);
        assert_eq!(map.changed_pages(), 1, "the page with the excepted block is stored again");
        assert_eq!(map.get(999), Block::Checked);
    }
}
