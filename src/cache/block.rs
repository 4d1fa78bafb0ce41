//! `BlockMap`: which blocks of a copy are there, their hashes, and which were checked. It touches no file.

use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes of a block, the unit of retrieval and verification; the last block of a file may be shorter.
///
/// 128 KiB is the kernel's largest default read, so a random read touches at most two blocks.
pub const BLOCK: u64 = 128 * 1024;

/// Files up to this size, in bytes, come in one request, and wholly before they are opened.
pub const SMALL: u64 = 1 << 20;

/// The largest size of a file in bytes that Linux can show (`off_t`, 8 EiB less one).
pub const MAX_SIZE: u64 = i64::MAX.cast_unsigned();

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

/// The state of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Not there.
    Missing,
    /// There; its bytes must be hashed before they are served.
    Unchecked(Hash),
    /// There, and its bytes were seen to agree with its hash in the life of this process.
    Checked,
}

/// The blocks of one copy. It takes memory for the pages that were begun, not for the size that a source tells.
#[derive(Debug, Default)]
pub struct BlockMap {
    /// How many blocks the file has.
    blocks: usize,
    /// The pages that were begun, with their numbers, in order.
    pages: Vec<(usize, Page)>,
    present: usize,
    checked: usize,
    changed_pages: BTreeSet<usize>,
}

/// [`PAGE`] blocks; the last page of a file may have fewer.
#[derive(Debug)]
struct Page {
    hashes: Vec<Hash>,
    /// Apart from the hashes, so that looking far ahead of a reader takes nothing.
    states: Vec<State>,
}

impl Page {
    fn empty(blocks: usize) -> Self {
        Self { hashes: vec![MISSING; blocks], states: vec![State::Missing; blocks] }
    }
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
        Self { blocks: block_count(size), ..Self::default() }
    }

    fn page(&self, page: usize) -> Option<&Page> {
        let at = self.pages.binary_search_by_key(&page, |(number, _)| *number).ok()?;
        Some(&self.pages[at].1)
    }

    fn page_mut(&mut self, page: usize) -> Option<&mut Page> {
        let at = self.pages.binary_search_by_key(&page, |(number, _)| *number).ok()?;
        Some(&mut self.pages[at].1)
    }

    /// The blocks of a page.
    fn blocks_of_page(&self, page: usize) -> Range<usize> {
        let first = page.saturating_mul(PAGE);
        first.min(self.blocks)..first.saturating_add(PAGE).min(self.blocks)
    }

    fn begun_page(&mut self, page: usize) -> &mut Page {
        let blocks = self.blocks_of_page(page).len();
        let at = match self.pages.binary_search_by_key(&page, |(number, _)| *number) {
            Ok(at) => at,
            Err(at) => {
                self.pages.insert(at, (page, Page::empty(blocks)));
                at
            }
        };
        &mut self.pages[at].1
    }

    /// Restores one page as [`BlockMap::take_changed_pages`] gave it; nothing of it counts as checked.
    pub fn restore_page(&mut self, page: usize, bytes: &[u8]) {
        let (hashes, _) = bytes.as_chunks::<32>();
        for (block, hash) in self.blocks_of_page(page).zip(hashes).filter(|(_, hash)| **hash != MISSING) {
            self.put(block, *hash, State::Unchecked);
        }
    }

    fn put(&mut self, block: usize, hash: Hash, state: State) {
        let page = self.begun_page(block / PAGE);
        let at = block % PAGE;
        page.hashes[at] = hash;
        let before = std::mem::replace(&mut page.states[at], state);
        let count = |wanted: fn(State) -> bool| (usize::from(wanted(state)), usize::from(wanted(before)));
        let (is, was) = count(|state| state != State::Missing);
        self.present = self.present + is - was;
        let (is, was) = count(|state| state == State::Checked);
        self.checked = self.checked + is - was;
    }

    fn state(&self, block: usize) -> State {
        self.page(block / PAGE).map_or(State::Missing, |page| page.states[block % PAGE])
    }

    /// The state of this block.
    pub fn get(&self, block: usize) -> Block {
        let Some(page) = self.page(block / PAGE) else { return Block::Missing };
        match page.states[block % PAGE] {
            State::Missing => Block::Missing,
            State::Checked => Block::Checked,
            State::Unchecked => Block::Unchecked(page.hashes[block % PAGE]),
        }
    }

    /// The hash of this block, if it is there.
    pub fn hash(&self, block: usize) -> Option<Hash> {
        let page = self.page(block / PAGE)?;
        (page.states[block % PAGE] != State::Missing).then(|| page.hashes[block % PAGE])
    }

    /// Whether this block is not there.
    pub fn is_missing(&self, block: usize) -> bool {
        self.state(block) == State::Missing
    }

    /// Notes that this block's bytes are there and have this hash.
    pub fn set(&mut self, block: usize, hash: Hash) {
        self.put(block, hash, State::Checked);
        self.changed_pages.insert(block / PAGE);
    }

    /// Notes that this block's bytes agree with its hash, if it is there still.
    pub fn set_checked(&mut self, block: usize) {
        let Some(page) = self.page_mut(block / PAGE) else { return };
        let state = &mut page.states[block % PAGE];
        if *state == State::Unchecked {
            *state = State::Checked;
            self.checked += 1;
        }
    }

    /// Notes that this block is not there, or not what it should be.
    pub fn clear(&mut self, block: usize) {
        self.put(block, MISSING, State::Missing);
        self.changed_pages.insert(block / PAGE);
    }

    /// The file has only the blocks of `size` bytes, beyond which none was set.
    pub fn end(&mut self, size: u64) {
        self.blocks = block_count(size);
        let last = self.pages.last().map(|(number, _)| self.blocks_of_page(*number).len());
        if let (Some(length), Some((_, page))) = (last, self.pages.last_mut()) {
            page.hashes.truncate(length);
            page.states.truncate(length);
            page.hashes.shrink_to_fit();
            page.states.shrink_to_fit();
        }
    }

    /// Nothing counts as checked any more.
    pub fn uncheck_all(&mut self) {
        let states = self.pages.iter_mut().flat_map(|(_, page)| &mut page.states);
        for state in states.filter(|state| **state == State::Checked) {
            *state = State::Unchecked;
        }
        self.checked = 0;
    }

    /// Every page waits to be stored.
    pub fn change_all(&mut self) {
        self.changed_pages = self.pages.iter().map(|(page, _)| *page).collect();
    }

    /// Whether every block is there.
    pub fn is_full(&self) -> bool {
        self.present == self.blocks
    }

    /// Whether every block is there and checked.
    pub fn is_checked(&self) -> bool {
        self.checked == self.blocks
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
            let hash = |block| {
                if Some(block) == except {
                    MISSING
                } else {
                    self.page(page).map_or(MISSING, |page| page.hashes[block % PAGE])
                }
            };
            self.blocks_of_page(page).flat_map(hash).collect()
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
    #[test]
    fn a_map_takes_memory_for_what_is_there_not_for_what_a_source_tells() {
        let mut map = BlockMap::empty(MAX_SIZE);
        assert!(map.is_missing(block_count(MAX_SIZE) - 1) && !map.is_full() && map.pages.is_empty());
        let blocks = [0, 1 << 40, block_count(MAX_SIZE) - 1];
        for block in blocks {
            map.set(block, hash(&[1]));
        }
        assert_eq!((map.present(), map.pages.len()), (3, 3));
        let mut restored = BlockMap::empty(MAX_SIZE);
        for (page, bytes) in map.take_changed_pages(None) {
            assert!(bytes.len() <= PAGE * 32);
            restored.restore_page(page, &bytes);
        }
        assert!(blocks.iter().all(|&block| restored.get(block) == Block::Unchecked(hash(&[1]))));
        restored.restore_page(usize::MAX, &[1; 64]);
        assert_eq!(restored.present(), 3, "a page beyond the end has no blocks");
        assert_eq!(BlockMap::empty(1).begun_page(0).hashes.capacity(), 1, "a small file takes little");
    }

    #[test]
    fn a_map_that_ends_is_one_of_its_size() {
        let mut map = BlockMap::empty(MAX_SIZE);
        (0..PAGE + 2).for_each(|block| map.set(block, hash(&[1])));
        assert!(!map.is_full());
        map.end((PAGE as u64 + 2) * BLOCK - 5);
        assert!(map.is_full() && map.is_checked() && !map.is_missing(PAGE + 1));
        assert_eq!(map.pages[1].1.hashes.capacity(), 2, "a small file takes little");
        let stored: Vec<_> = map.take_changed_pages(None).iter().map(|(page, bytes)| (*page, bytes.len())).collect();
        assert_eq!(stored, [(0, PAGE * 32), (1, 2 * 32)]);
    }

    #[test]
    fn what_is_there_and_checked_is_counted() {
        let mut map = BlockMap::empty(1000 * BLOCK);
        for block in 0..1000 {
            assert!(!map.is_full() && !map.is_checked());
            map.set(block, hash(&[1]));
            map.set(block, hash(&[1]));
        }
        assert!(map.is_full() && map.is_checked());
        map.uncheck_all();
        assert!(map.is_full() && !map.is_checked());
        for block in 0..1000 {
            map.set_checked(block);
            map.set_checked(block);
        }
        assert!(map.is_checked());
        map.clear(7);
        map.set_checked(7);
        assert_eq!((map.present(), map.is_checked()), (999, false));
    }
}
