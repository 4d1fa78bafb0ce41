//! `Contents`: which blocks of a copy are there, and what was proven of them. It has transitions only, and touches no file.
//!
//! | stage | blocks | served | becomes |
//! |---|---|---|---|
//! | found | there may be a file; none of it counts | nothing | growing at the first write, whole if its digest proves it |
//! | growing | one is missing at least | those that are there | complete with the last one |
//! | complete | all are there, not proven | all but the last one that came | whole by its proof, growing if a block is lost |
//! | whole | all are there, proven | all | growing if a block is lost |
//!
//! At any stage the contents may be *suspect*: the file was not as it was left. They are until they are proven again.

use std::ops::Range;

use crate::cache::block::{Block, BlockMap, Hash, block_count};
use crate::cache::index::{Fingerprint, Record};
use crate::digest::Digest;

/// The state of a copy's bytes.
#[derive(Debug)]
pub(super) struct Contents {
    size: u64,
    map: BlockMap,
    stage: Stage,
    suspect: bool,
    /// The file as this process left it. `None` before it was opened for the first time.
    left: Option<Fingerprint>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Found,
    Growing,
    /// `last` is the block that completed the map; an empty file has none.
    Complete {
        last: Option<usize>,
    },
    /// `digest` is the local digest that proved the copy.
    Whole {
        digest: Digest,
    },
}

impl Contents {
    /// Those of a new copy of `size` bytes. An empty file is complete from the beginning.
    pub(super) fn empty(size: u64) -> Self {
        let stage = if size == 0 { Stage::Complete { last: None } } else { Stage::Growing };
        Self { size, map: BlockMap::empty(size), stage, suspect: false, left: None }
    }

    /// Those that an earlier process left, as far as the index tells of a version of `size` bytes. `has_file` says whether something of it
    /// is on the disk.
    pub(super) fn restored(size: u64, record: Option<Record>, has_file: bool) -> Self {
        let mut contents = Self::empty(size);
        if let Some(record) = record.filter(|record| record.size == size) {
            record.pages.iter().for_each(|(page, bytes)| contents.map.restore_page(*page, bytes));
            match record.local_digest {
                Some(digest) if contents.map.is_full() => {
                    contents.stage = Stage::Whole { digest };
                    contents.left = record.fingerprint;
                }
                // The process was killed between the last block and the proof: retrieving one block again leads to the proof.
                _ if contents.map.is_full() && size > 0 => contents.map.clear(0),
                _ => {}
            }
        }
        if has_file && contents.stage == Stage::Growing && contents.map.present() == 0 {
            contents.stage = Stage::Found;
        }
        contents
    }

    /// Whether there is a file of which nothing is known.
    pub(super) fn is_found(&self) -> bool {
        self.stage == Stage::Found
    }

    /// Whether some blocks are there.
    pub(super) fn is_begun(&self) -> bool {
        self.map.present() > 0
    }

    /// Whether the copy was proven.
    pub(super) fn is_whole(&self) -> bool {
        self.digest().is_some()
    }

    /// The local digest that proved the copy.
    pub(super) fn digest(&self) -> Option<&Digest> {
        match &self.stage {
            Stage::Whole { digest } => Some(digest),
            Stage::Found | Stage::Growing | Stage::Complete { .. } => None,
        }
    }

    /// Whether the file was not as it was left, and the copy has not been proven since.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Whether every block is there and was seen to agree with its hash in the life of this process.
    pub(super) fn is_checked(&self) -> bool {
        self.map.is_checked()
    }

    /// The same, of a file that ends where the version does.
    pub(super) fn is_sound(&self) -> bool {
        self.left.is_some_and(|left| left.length() == self.size) && self.map.is_checked()
    }

    /// Whether nothing of the copy has to be retrieved, checked or proven any more.
    pub(super) fn is_whole_and_sound(&self) -> bool {
        self.is_whole() && !self.suspect && self.is_sound()
    }

    /// The state of a block, be it held back or not.
    pub(super) fn block(&self, block: usize) -> Block {
        self.map.get(block)
    }

    /// The hash of a block, if it is in the file.
    pub(super) fn hash(&self, block: usize) -> Option<Hash> {
        self.map.hash(block)
    }

    /// Whether a block is in the file, be it held back or not.
    pub(super) fn has(&self, block: usize) -> bool {
        !self.map.is_missing(block)
    }

    /// Whether a block is not served before the copy is proven, since it was the last one that came.
    pub(super) fn is_held_back(&self, block: usize) -> bool {
        self.stage == Stage::Complete { last: Some(block) }
    }

    /// Whether a block is in the file and may be served.
    pub(super) fn may_serve(&self, block: usize) -> bool {
        self.has(block) && !self.is_held_back(block)
    }

    /// Those of these blocks that were not checked yet.
    pub(super) fn unchecked(&self, blocks: Range<usize>) -> Vec<usize> {
        blocks.filter(|&block| matches!(self.map.get(block), Block::Unchecked(_))).collect()
    }

    /// The file as it was left.
    pub(super) fn left(&self) -> Option<Fingerprint> {
        self.left
    }

    /// Notes how the file was left.
    pub(super) fn leave(&mut self, left: Option<Fingerprint>) {
        self.left = left;
    }

    /// The file is written to for the first time.
    pub(super) fn begin(&mut self) {
        if self.is_found() {
            self.stage = Stage::Growing;
        }
    }

    /// A block was written that has this hash. Whether the copy is complete with it.
    pub(super) fn put(&mut self, block: usize, hash: Hash) -> bool {
        self.map.set(block, hash);
        let complete = self.map.is_full();
        self.stage = if complete { Stage::Complete { last: Some(block) } } else { Stage::Growing };
        complete
    }

    /// The version has `size` bytes, which was not known before. With every block there the contents are complete.
    pub(super) fn end(&mut self, size: u64) {
        self.size = size;
        self.map.end(size);
        if self.map.is_full() {
            self.stage = Stage::Complete { last: block_count(size).checked_sub(1) };
        }
    }

    /// A block's bytes agree with its hash. Whether that ends a suspicion: every byte of a whole copy is what it was.
    pub(super) fn checked(&mut self, block: usize) -> bool {
        self.map.set_checked(block);
        self.clear_of_suspicion()
    }

    /// Whether every byte of a suspect whole copy is what it was; then it is suspect no longer.
    pub(super) fn clear_of_suspicion(&mut self) -> bool {
        let clears = self.suspect && self.is_whole() && self.is_sound();
        self.suspect &= !clears;
        clears
    }

    /// The file is not as it was left. Whether that is news.
    pub(super) fn suspect(&mut self) -> bool {
        !std::mem::replace(&mut self.suspect, true)
    }

    /// Every block is to be hashed before it is served again.
    pub(super) fn uncheck(&mut self) {
        self.map.uncheck_all();
    }

    /// A block is gone, or is not what it should be.
    pub(super) fn lose(&mut self, block: usize) {
        self.map.clear(block);
        self.stage = Stage::Growing;
    }

    /// The file is gone with every block. A suspicion stays.
    pub(super) fn lose_all(&mut self) {
        *self = Self { suspect: self.suspect, ..Self::empty(self.size) };
    }

    /// `digest` proved the copy. `false`, and nothing changes, if a block is missing or unchecked: nobody knows what was proven.
    pub(super) fn mark_whole(&mut self, digest: Digest) -> bool {
        let sound = self.is_sound();
        if sound {
            self.stage = Stage::Whole { digest };
            self.suspect = false;
        }
        sound
    }

    /// Every block waits to be stored in the index.
    pub(super) fn change_all(&mut self) {
        self.map.change_all();
    }

    /// Whether blocks wait to be stored in the index.
    pub(super) fn is_changed(&self) -> bool {
        self.map.changed_pages() > 0
    }

    /// The changes since the last call, as a record for the index.
    pub(super) fn take_record(&mut self) -> Record {
        // A block that is held back is stored as missing: after a kill it is retrieved again, which leads to the proof.
        let last = if let Stage::Complete { last } = self.stage { last } else { None };
        let pages = self.map.take_changed_pages(last);
        let local_digest = self.digest().cloned();
        // The fingerprint of a partial copy tells nothing after a restart, when every block is checked anyway.
        let fingerprint = self.left.filter(|_| local_digest.is_some());
        Record { size: self.size, local_digest, fingerprint, pages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::block::{BLOCK, hash};

    /// The fingerprint of a file of so many blocks.
    fn file_of(blocks: u64) -> Option<Fingerprint> {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(blocks * BLOCK).expect("it grows");
        Some(Fingerprint::of(&file.metadata().expect("it is open")))
    }

    fn digest() -> Digest {
        Digest::new("1")
    }

    /// Contents of three blocks, those below `upto` of which were written in order.
    fn written(upto: usize) -> Contents {
        let mut contents = Contents::empty(3 * BLOCK);
        contents.leave(file_of(3));
        for block in 0..upto {
            assert_eq!(contents.put(block, hash(&[1])), block == 2);
        }
        contents
    }

    fn whole() -> Contents {
        let mut contents = written(3);
        assert!(contents.mark_whole(digest()));
        contents
    }

    fn served(contents: &Contents) -> Vec<usize> {
        (0..3).filter(|&block| contents.may_serve(block)).collect()
    }

    /// The contents as the next process finds them, if something of the file is on the disk.
    fn after_a_kill(contents: &mut Contents) -> Contents {
        Contents::restored(3 * BLOCK, Some(contents.take_record()), true)
    }

    #[test]
    fn a_new_copy_has_nothing() {
        let contents = Contents::empty(3 * BLOCK);
        assert!(!contents.is_begun() && !contents.is_found() && !contents.is_whole() && !contents.is_suspect());
        assert!(served(&contents).is_empty());
    }

    #[test]
    fn a_growing_copy_serves_what_it_has() {
        assert_eq!(served(&written(2)), [0, 1]);
    }

    #[test]
    fn the_block_that_completes_a_copy_is_held_back_until_the_proof() {
        let mut contents = written(3);
        assert!(contents.has(2) && contents.is_held_back(2) && !contents.is_whole());
        assert_eq!(served(&contents), [0, 1]);
        assert!(contents.mark_whole(digest()));
        assert_eq!((served(&contents), contents.digest()), (vec![0, 1, 2], Some(&digest())));
    }

    #[test]
    fn a_growing_copy_cannot_be_proven() {
        let mut contents = written(2);
        assert!(!contents.mark_whole(digest()) && !contents.is_whole());
    }

    #[test]
    fn a_copy_with_an_unchecked_block_cannot_be_proven() {
        let mut contents = written(3);
        contents.uncheck();
        contents.checked(0);
        contents.checked(1);
        assert!(!contents.mark_whole(digest()) && contents.is_held_back(2));
        contents.checked(2);
        assert!(contents.mark_whole(digest()));
    }

    #[test]
    fn a_copy_whose_file_has_another_length_cannot_be_proven() {
        let mut contents = written(3);
        contents.leave(file_of(2));
        assert!(!contents.mark_whole(digest()) && contents.is_held_back(2));
    }

    #[test]
    fn a_complete_copy_that_loses_a_block_grows_again_and_holds_back_the_next_last() {
        let mut contents = written(3);
        contents.lose(0);
        assert_eq!(served(&contents), [1, 2]);
        assert!(contents.put(0, hash(&[1])) && contents.is_held_back(0));
        assert_eq!(served(&contents), [1, 2]);
    }

    #[test]
    fn a_whole_copy_that_loses_a_block_must_be_proven_again() {
        let mut contents = whole();
        contents.lose(1);
        assert!(!contents.is_whole() && !contents.mark_whole(digest()));
        assert!(contents.put(1, hash(&[1])));
        assert!(!contents.is_whole() && contents.is_held_back(1) && contents.mark_whole(digest()));
    }

    #[test]
    fn a_block_of_a_whole_copy_that_is_written_anew_must_be_proven() {
        let mut contents = whole();
        assert!(contents.put(1, hash(&[2])));
        assert!(!contents.is_whole() && contents.is_held_back(1));
    }

    #[test]
    fn contents_that_end_are_complete_and_hold_back_the_last_block() {
        for most in [3 * BLOCK, 1000 * BLOCK, u64::MAX >> 1] {
            let mut contents = Contents::empty(most);
            (0..3).for_each(|block| _ = contents.put(block, hash(&[1])));
            contents.leave(file_of(3));
            contents.end(3 * BLOCK);
            assert!(contents.is_held_back(2) && contents.is_checked());
            assert!(contents.mark_whole(digest()));
            assert_eq!(served(&after_a_kill(&mut contents)), [0, 1, 2]);
        }
    }

    #[test]
    fn contents_that_end_and_lack_a_block_go_on_growing() {
        let mut contents = Contents::empty(1000 * BLOCK);
        [0, 2].into_iter().for_each(|block| _ = contents.put(block, hash(&[1])));
        contents.leave(file_of(3));
        contents.end(3 * BLOCK);
        assert!(!contents.is_held_back(2) && !contents.mark_whole(digest()));
        assert!(contents.put(1, hash(&[1])) && contents.mark_whole(digest()));
    }

    #[test]
    fn contents_that_end_without_a_byte_are_complete() {
        let mut contents = Contents::empty(1000 * BLOCK);
        contents.leave(file_of(0));
        contents.end(0);
        assert!(contents.is_checked() && contents.mark_whole(digest()));
    }

    #[test]
    fn a_suspicion_is_news_once() {
        let mut contents = whole();
        assert!(contents.suspect() && !contents.suspect() && contents.is_suspect());
        assert!(contents.is_whole(), "its blocks are served once they are checked");
    }

    #[test]
    fn a_suspicion_ends_with_the_last_checked_block_of_a_whole_copy() {
        let mut contents = whole();
        contents.uncheck();
        contents.suspect();
        assert!(!contents.checked(0) && !contents.checked(1) && contents.is_suspect());
        assert_eq!(contents.unchecked(0..3), [2]);
        assert!(contents.checked(2) && !contents.is_suspect() && contents.is_whole());
        assert!(!contents.checked(2), "it has ended");
    }

    #[test]
    fn a_suspicion_of_a_copy_that_is_not_whole_ends_with_its_proof() {
        let mut contents = written(3);
        contents.uncheck();
        contents.suspect();
        (0..3).for_each(|block| assert!(!contents.checked(block)));
        assert!(contents.is_suspect() && contents.mark_whole(digest()) && !contents.is_suspect());
    }

    #[test]
    fn a_copy_that_is_lost_begins_anew_under_suspicion() {
        let mut contents = whole();
        contents.suspect();
        contents.lose_all();
        assert!(!contents.is_begun() && !contents.is_whole() && contents.left().is_none() && contents.is_suspect());
    }

    #[test]
    fn an_empty_file_is_complete_and_holds_nothing_back() {
        let mut contents = Contents::empty(0);
        assert!(contents.is_checked() && !contents.is_whole() && !contents.mark_whole(digest()), "there is no file");
        contents.leave(file_of(0));
        assert!(contents.mark_whole(digest()) && contents.is_whole());
        contents.lose_all();
        assert!(!contents.is_whole() && !contents.is_found());
        let restored = Contents::restored(0, None, true);
        assert!(!restored.is_found(), "there is nothing to find");
    }

    #[test]
    fn after_a_kill_a_growing_copy_has_its_blocks_unchecked() {
        let restored = after_a_kill(&mut written(2));
        assert_eq!((served(&restored), restored.unchecked(0..3)), (vec![0, 1], vec![0, 1]));
        assert!(!restored.is_found() && restored.left().is_none());
    }

    #[test]
    fn after_a_kill_before_the_proof_the_last_block_is_missing() {
        let mut contents = written(3);
        let restored = after_a_kill(&mut contents);
        assert_eq!((served(&restored), restored.has(2)), (vec![0, 1], false));
        assert!(contents.is_changed(), "it is stored with the next record");
    }

    #[test]
    fn after_a_kill_an_unproven_full_record_lacks_a_block() {
        let record = Record { local_digest: None, ..whole().take_record() };
        let restored = Contents::restored(3 * BLOCK, Some(record), true);
        assert_eq!(served(&restored), [1, 2]);
    }

    #[test]
    fn after_a_kill_a_whole_copy_is_whole_and_unchecked() {
        let restored = after_a_kill(&mut whole());
        assert!(restored.is_whole() && !restored.is_checked() && restored.left().is_some());
        assert_eq!(restored.digest(), Some(&digest()));
    }

    #[test]
    fn a_digest_in_the_index_proves_no_copy_that_lacks_a_block() {
        let mut growing = written(2);
        let record = Record { local_digest: Some(digest()), ..growing.take_record() };
        let restored = Contents::restored(3 * BLOCK, Some(record), true);
        assert!(!restored.is_whole());
        assert_eq!(served(&restored), [0, 1]);
    }

    #[test]
    fn a_record_of_another_size_counts_for_nothing() {
        let restored = Contents::restored(2 * BLOCK, Some(whole().take_record()), true);
        assert!(restored.is_found() && !restored.is_begun() && !restored.is_whole());
        assert!(!Contents::restored(2 * BLOCK, None, false).is_found(), "there is no file");
    }

    #[test]
    fn a_found_file_is_one_no_longer_once_it_is_written_to() {
        let mut contents = Contents::restored(3 * BLOCK, None, true);
        assert!(contents.is_found());
        assert!(served(&contents).is_empty());
        contents.begin();
        assert!(!contents.is_found());
        contents.put(0, hash(&[1]));
        contents.begin();
        assert_eq!(served(&contents), [0]);
    }

    #[test]
    fn only_what_changed_is_stored() {
        let mut contents = written(2);
        assert!(contents.is_changed());
        assert_eq!(contents.take_record().pages.len(), 1);
        assert!(!contents.is_changed());
        assert!(contents.take_record().pages.is_empty());
        contents.change_all();
        assert_eq!(contents.take_record().pages.len(), 1);
    }
}
