//! `Tags`: how far the entity tags of a server tell versions of its files apart. It asks nothing.
//!
//! | case | what was seen | what a version is | how its bytes come |
//! |---|---|---|---|
//! | G1 | an answer to GET has the tag that was told of the file | its tag | in parts |
//! | G2 | it has another or none, while the file's tag, asked for twice, is still the wanted one | its tag | in parts, of which each has the file's size and time, and all the same tag or none |
//! | G3 | asked for twice, or in two answers of G2, the tag differs, while the size and a time long past are the same | its size and time | in one answer, since two may be of two mirrors; the copy is whole before it is read |
//!
//! A version that only size and time tell, as those of G3, comes in answers that have all the same tag or none, in every case. At another
//! tag what has come is thrown away, and its readers get an error.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use tracing::info;

use crate::digest::Digest;
use crate::path::RemotePath;
use crate::source::Retrieval;
use crate::source::settings::Notes;
use crate::sources::stamp::{Match, Stamp, Wanted};

/// Files whose answers' tags are remembered, those of the latest answers.
const MAX_ANSWERS: NonZeroUsize = NonZeroUsize::new(1024).expect("more than none");

/// The trust in a server's tags, which only sinks.
#[derive(Debug)]
pub(in crate::sources) struct Tags {
    case: AtomicU8,
    /// The version of a file that was retrieved last, and the tag that its answers have, where its digest has none or another.
    answers: Mutex<LruCache<RemotePath, (Digest, Option<String>)>>,
    notes: Notes,
}

/// What the source says of a file, and when, by its clock in seconds since 1970.
pub(in crate::sources) type Told = (Stamp, i64);

impl Tags {
    const G2: u8 = 2;
    const G3: u8 = 3;

    /// Full trust. When it sinks, the log says so, and `notes`.
    pub(in crate::sources) fn new(notes: Notes) -> Self {
        Self { case: AtomicU8::new(1), answers: Mutex::new(LruCache::new(MAX_ANSWERS)), notes }
    }

    /// Case G1: answers to GET must have the tag that was told.
    pub(in crate::sources) fn are_told(&self) -> bool {
        self.case.load(Ordering::Relaxed) < Self::G2
    }

    /// Case G3: tags say nothing.
    pub(in crate::sources) fn are_unstable(&self) -> bool {
        self.case.load(Ordering::Relaxed) >= Self::G3
    }

    /// The part of a stamp that identifies a version.
    pub(in crate::sources) fn known(&self, stamp: &Stamp) -> Stamp {
        if self.are_unstable() && stamp.size.is_some() && stamp.modified.is_some() {
            stamp.without_tag()
        } else {
            stamp.clone()
        }
    }

    /// Judges by what the source said of a file twice in a row, after an answer that did not have the wanted tag. Whether the answer may
    /// be of the wanted version nevertheless.
    pub(in crate::sources) fn judge(&self, wanted: &Retrieval<'_>, first: &Told, again: &Told) -> bool {
        let version = Wanted::parse(wanted.digest);
        if again.0.differs_only_by_tag(&first.0) && again.0.is_settled(again.1) {
            self.sink(Self::G3);
            return false;
        }
        let is_wanted = [first, again].iter().all(|told| version.compare(&told.0) == Match::Same);
        is_wanted && !version.is_without_tag() && again.0.modified.is_some()
    }

    /// Notes that an answer without the wanted tag was of the wanted version: case G2.
    pub(in crate::sources) fn note_other_answers(&self) {
        self.sink(Self::G2);
    }

    /// Whether an answer belongs to the earlier ones about the same version. If not, those are forgotten with the bytes that they brought.
    pub(in crate::sources) fn belong_together(&self, wanted: &Retrieval<'_>, answer: &Stamp) -> bool {
        let mut answers = self.answers.lock();
        let latest = answers.get_or_insert_mut(wanted.path.clone(), || (wanted.digest.clone(), answer.tag()));
        if latest.0 != *wanted.digest {
            *latest = (wanted.digest.clone(), answer.tag());
        }
        let same = latest.1 == answer.tag();
        if !same {
            answers.pop(wanted.path);
        }
        drop(answers);
        // What may have changed meanwhile says nothing of the server.
        if !same && wanted.digest.unsettled_since().is_none() {
            self.sink(Self::G3);
        }
        same
    }

    fn sink(&self, to: u8) {
        if self.case.fetch_max(to, Ordering::Relaxed) >= to {
            return;
        }
        let what = if to == Self::G2 {
            "the server sends files under other entity tags than it tells of them: what it sends counts by size and time"
        } else {
            "the server's entity tags change while the files do not: versions are told apart by size and time"
        };
        info!("{what}");
        self.notes.add(what.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn told(tag: &str, modified: i64) -> Told {
        (Stamp::new(Some(tag), Some(3), Some(modified)), NOW)
    }

    /// The case after a file was told of so, then answered otherwise, and told of so twice; and whether to ask again.
    fn judged(before: &Told, first: &Told, again: &Told) -> (u8, bool) {
        let (tags, path, digest) = (Tags::new(Notes::default()), RemotePath::root(), before.0.digest(NOW));
        let asks_again = tags.judge(&Retrieval::new(&path, &digest, 3, 0..3), first, again);
        (tags.case.load(Ordering::Relaxed), asks_again)
    }

    #[test]
    fn cases_g1_to_g3() {
        let old = NOW - 1000;
        let [a, b, c] = ["a", "b", "c"].map(|tag| told(tag, old));
        assert_eq!(judged(&a, &b, &b), (1, false), "it has changed");
        assert_eq!(judged(&a, &a, &a), (1, true), "an answer by size and time will tell");
        assert_eq!(judged(&a, &b, &c), (3, false));
        assert_eq!(judged(&a, &a, &b), (3, false));
        assert_eq!(judged(&a, &a, &told("b", NOW - 9)), (1, false), "it changes now");
        assert_eq!(judged(&told("a", NOW), &told("b", NOW), &told("c", NOW)), (1, false), "it may change now");
        let timeless = |tag| (Stamp::new(Some(tag), Some(3), None), NOW);
        assert_eq!(judged(&timeless("a"), &timeless("b"), &timeless("c")), (1, false));
        assert_eq!(judged(&timeless("a"), &timeless("a"), &timeless("a")), (1, false));
    }

    #[test]
    fn parts_under_different_tags_are_of_no_one_version() {
        let notes = Notes::default();
        let (tags, path, [a, b]) =
            (Tags::new(notes.clone()), RemotePath::root(), ["a", "b"].map(|tag| told(tag, NOW - 1000)));
        let digest = a.0.digest(NOW);
        let wanted = Retrieval::new(&path, &digest, 3, 0..3);
        assert!(tags.judge(&wanted, &a, &a) && tags.are_told());
        tags.note_other_answers();
        assert!(!tags.are_told());
        assert!(tags.belong_together(&wanted, &b.0) && tags.belong_together(&wanted, &b.0));
        let newer = told("n", NOW - 500).0.digest(NOW);
        assert!(
            tags.belong_together(&Retrieval::new(&path, &newer, 3, 0..3), &a.0),
            "another version may have another"
        );
        assert!(!tags.are_unstable() && tags.known(&a.0) == a.0);
        assert!(!tags.belong_together(&Retrieval::new(&path, &newer, 3, 0..3), &b.0));
        assert!(tags.are_unstable() && tags.known(&a.0) == tags.known(&b.0));
        assert!(
            tags.belong_together(&wanted, &b.0) && !tags.belong_together(&wanted, &a.0),
            "a retrieval goes on elsewhere"
        );
        assert!(tags.belong_together(&wanted, &a.0) && tags.belong_together(&wanted, &a.0), "another has begun");
        assert_eq!(notes.take().len(), 2, "each is told once");
    }

    #[test]
    fn however_many_files_are_retrieved_meanwhile_parts_are_compared() {
        let (tags, path, [a, b]) =
            (Tags::new(Notes::default()), RemotePath::root(), ["a", "b"].map(|tag| told(tag, NOW - 1000)));
        let digest = a.0.digest(NOW);
        let wanted = Retrieval::new(&path, &digest, 3, 0..3);
        for number in 0..2 * MAX_ANSWERS.get() {
            assert!(tags.belong_together(&wanted, &a.0));
            let other = RemotePath::parse(format!("{number}").as_bytes()).expect("a path");
            assert!(tags.belong_together(&Retrieval::new(&other, &digest, 3, 0..3), &b.0));
        }
        assert!(!tags.belong_together(&wanted, &b.0));
    }
}
