//! The pattern in which a reader opens the files of one directory, and which of them it probably opens next. Pure decisions over
//! numbered cases: files are known by their places in an order. That is the listing's, which `readdir` shows, or another; `rows`
//! follows several.
//!
//! | case | the reader opens | decision |
//! |---|---|---|
//! | N1 | a first file | nothing ahead |
//! | N2 | the next file, or the next with the same extension | the row grows; from the third file on, what follows is retrieved ahead |
//! | N3 | a file that was retrieved ahead | it is used, and the row grows |
//! | N4 | the same file again, or one shortly before it | nothing changes: it looks twice, or several readers share the row |
//! | N5 | any other file | the row is broken, and what was retrieved ahead was in vain |
//! | N6 | a file that is wholly here, and was not retrieved ahead | nothing ahead until one is missing: the next ones are probably here too |

use std::collections::BTreeMap;

/// As many files in a row are a pattern.
const ROW: usize = 3;

/// Siblings that are looked at in search of the next file, at most.
const LOOKED_AT: usize = 256;

/// A reader so many files behind another one shares its row.
const NEIGHBOURS: usize = 16;

/// Bytes ahead that may be in vain, however little was read.
pub(super) const IN_VAIN: u64 = 8 << 20;

/// Files ahead at most.
const MOST: usize = 64;

/// The same where files ahead are seldom used.
const MOST_DOUBTED: usize = 2;

/// A file, as the planner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sibling {
    /// The bytes that are retrieved ahead of it; `None` if it is not worth that.
    pub(super) bytes: Option<u64>,
    /// A hash of its extension.
    pub(super) extension: u64,
}

/// The entries of a directory by number; `None` is no file.
pub(super) trait Siblings {
    /// The number of entries.
    fn count(&self) -> usize;
    /// The entry with this number.
    fn at(&self, number: usize) -> Option<Sibling>;
}

/// The limits of what may be ahead of a reader.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// The bytes that the line brings in the time that is looked ahead.
    pub(super) line: u64,
    /// Bytes that are ahead of readers in all directories of the source, or were and have not been used.
    pub(super) ahead: u64,
    /// Bytes of these that were in vain for sure.
    pub(super) lost: u64,
    /// Whether files ahead are seldom used.
    pub(super) is_doubted: bool,
}

/// What an open tells about the files ahead of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether the file was one of them.
    pub(super) used: bool,
    /// Whether it had come by then, and was not still on its way.
    pub(super) came: bool,
    /// How many of them were in vain.
    pub(super) in_vain: usize,
    /// The bytes of the one that was used, or of those that were in vain.
    pub(super) bytes: u64,
    /// Whether the reader has left the row.
    pub(super) broken: bool,
}

impl Told {
    /// Case N6: whether more is to be retrieved ahead. `whole`: all of the file that is opened is here.
    pub(super) fn asks_for_more(&self, whole: bool) -> bool {
        self.used || !whole
    }
}

/// A file ahead of its reader.
#[derive(Debug, Clone, Copy)]
struct Planned {
    bytes: u64,
    came: bool,
}

/// How the files of a directory are opened.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    last: Option<usize>,
    row: usize,
    /// Whether the reader leaves out files with another extension.
    by_extension: bool,
    /// What is ahead of the reader, by number.
    ahead: BTreeMap<usize, Planned>,
    /// Bytes ahead that were used.
    used: u64,
}

impl Pattern {
    /// Cases N1 to N5: the file with this number is opened.
    pub(super) fn opened(&mut self, number: usize, siblings: &impl Siblings) -> Told {
        let Some(last) = self.last.replace(number) else {
            self.row = 1;
            return Told::default();
        };
        if let Some(Planned { bytes, came }) = self.ahead.remove(&number) {
            self.used += bytes;
            self.row += 1;
            self.last = Some(last.max(number));
            return Told { used: true, came, bytes, ..Told::default() };
        }
        if (last.saturating_sub(NEIGHBOURS)..=last).contains(&number) && (self.row >= ROW || number == last) {
            self.last = Some(last);
            return Told::default();
        }
        let is_near = (last..=last + LOOKED_AT).contains(&number);
        let is_next = |by_extension| {
            is_near && following(last, by_extension, siblings).next().is_some_and(|(next, _)| next == number)
        };
        let is_next_of_all = is_next(false);
        let is_next_alike = (self.by_extension || !is_next_of_all) && is_next(true);
        if is_next_of_all || is_next_alike {
            self.by_extension = is_next_alike;
            self.row += 1;
            return Told::default();
        }
        let (in_vain, bytes) = (self.ahead.len(), self.held());
        *self = Self { last: Some(number), row: 1, ..Self::default() };
        Told { in_vain, bytes, broken: true, ..Told::default() }
    }

    /// Bytes that are ahead of the reader.
    fn held(&self) -> u64 {
        self.ahead.values().map(|planned| planned.bytes).sum()
    }

    /// Bytes that are ahead of the reader for the file with this number.
    pub(super) fn bytes_ahead(&self, number: usize) -> u64 {
        self.ahead.get(&number).map_or(0, |planned| planned.bytes)
    }

    /// How many files have been opened in a row, once they are a pattern.
    pub(super) fn row(&self) -> Option<usize> {
        Some(self.row).filter(|&row| row >= ROW)
    }

    /// The files that are to be retrieved now, in order. They count as ahead.
    pub(super) fn plan(&mut self, siblings: &impl Siblings, budget: Budget) -> Vec<usize> {
        let Some(last) = self.last.filter(|_| self.row().is_some()) else { return Vec::new() };
        let most = if budget.is_doubted { MOST_DOUBTED } else { MOST };
        let window = most.min(1 << self.row.min(16));
        if window == MOST && self.ahead.len() > MOST - MOST / 4 {
            // Some at once, since finding the next one takes a look at all that are ahead.
            return Vec::new();
        }
        let mut held = self.held();
        let may_be_in_vain = IN_VAIN.max(self.used / 10);
        // A reader of one directory after the other leaves some behind in each: all rows together have twice as much room, of which each
        // takes half of the rest.
        let left = (2 * may_be_in_vain).saturating_sub(budget.ahead.saturating_sub(held));
        let room = budget.line.min(may_be_in_vain.saturating_sub(budget.lost)).min(left / 2);
        let mut planned = Vec::new();
        for (number, sibling) in following(last, self.by_extension, siblings).take(window) {
            let Some(bytes) = sibling.bytes.filter(|_| !self.ahead.contains_key(&number)) else { continue };
            if held + bytes > room || self.ahead.len() >= window {
                break;
            }
            held += bytes;
            self.ahead.insert(number, Planned { bytes, came: false });
            planned.push(number);
        }
        planned
    }

    /// The file with this number has been retrieved. Whether it is ahead of the reader still.
    pub(super) fn came(&mut self, number: usize) -> bool {
        self.ahead.get_mut(&number).map(|planned| planned.came = true).is_some()
    }

    /// The file with this number was not retrieved after all.
    pub(super) fn forget(&mut self, number: usize) {
        self.ahead.remove(&number);
    }
}

/// The files after this one, all or those with its extension.
fn following(last: usize, by_extension: bool, siblings: &impl Siblings) -> impl Iterator<Item = (usize, Sibling)> {
    let extension = siblings.at(last).map(|sibling| sibling.extension);
    let end = siblings.count().min(last + 1 + LOOKED_AT);
    let files = (last + 1..end).filter_map(|number| Some((number, siblings.at(number)?)));
    files.filter(move |(_, sibling)| !by_extension || Some(sibling.extension) == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Budget = Budget { line: u64::MAX, ahead: 0, lost: 0, is_doubted: false };

    /// Files by size and extension.
    struct Files(Vec<Option<Sibling>>);

    impl Siblings for Files {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn at(&self, number: usize) -> Option<Sibling> {
            self.0[number]
        }
    }

    fn files(count: usize, bytes: u64) -> Files {
        Files(vec![Some(Sibling { bytes: Some(bytes), extension: 0 }); count])
    }

    fn open(pattern: &mut Pattern, numbers: impl IntoIterator<Item = usize>, files: &Files) -> Vec<usize> {
        let mut planned = Vec::new();
        for number in numbers {
            pattern.opened(number, files);
            planned.extend(pattern.plan(files, OPEN));
        }
        planned
    }

    #[test]
    fn cases_n1_and_n2_the_third_file_in_a_row_begins() {
        let (files, mut pattern) = (files(100, 4096), Pattern::default());
        assert_eq!(open(&mut pattern, [0, 1], &files), [] as [usize; 0]);
        assert_eq!(open(&mut pattern, [2], &files), (3..11).collect::<Vec<_>>());
    }

    #[test]
    fn case_n2_directories_are_passed_over() {
        let (mut files, mut pattern) = (files(100, 4096), Pattern::default());
        files.0[1] = None;
        files.0[4] = None;
        assert_eq!(open(&mut pattern, [0, 2, 3], &files), (5..13).collect::<Vec<_>>());
    }

    #[test]
    fn case_n2_a_subset_by_extension() {
        let (mut files, mut pattern) = (files(100, 4096), Pattern::default());
        files.0.iter_mut().step_by(2).for_each(|file| *file = Some(Sibling { bytes: Some(1), extension: 7 }));
        let planned = open(&mut pattern, [0, 2, 4], &files);
        assert_eq!(planned, (6..22).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn case_n3_each_file_is_planned_once() {
        let (files, mut pattern) = (files(200, 4096), Pattern::default());
        assert_eq!(open(&mut pattern, 0..200, &files), (3..200).collect::<Vec<_>>());
    }

    #[test]
    fn case_n4_looking_twice_or_sharing_the_row_changes_nothing() {
        let (files, mut pattern) = (files(200, 4096), Pattern::default());
        open(&mut pattern, [0, 0, 1, 1, 2], &files);
        assert_eq!(pattern.opened(1, &files), Told::default());
        assert_eq!(pattern.opened(3, &files), Told { used: true, bytes: 4096, ..Told::default() });
        assert!(!pattern.came(3), "the reader was faster");
        assert!(pattern.came(4));
        assert_eq!(pattern.opened(4, &files), Told { used: true, came: true, bytes: 4096, ..Told::default() });
    }

    #[test]
    fn case_n5_what_is_ahead_of_a_broken_row_was_in_vain() {
        let (files, mut pattern) = (files(200, 4096), Pattern::default());
        open(&mut pattern, [0, 1, 2], &files);
        assert_eq!(pattern.opened(150, &files), Told { in_vain: 8, bytes: 8 * 4096, broken: true, ..Told::default() });
        assert_eq!(pattern.plan(&files, OPEN), [] as [usize; 0]);
    }

    #[test]
    fn case_n6_what_is_here_is_not_looked_for() {
        let (files, mut pattern) = (files(200, 4096), Pattern::default());
        let mut opened = |number, whole| {
            let told = pattern.opened(number, &files);
            if told.asks_for_more(whole) { pattern.plan(&files, OPEN) } else { Vec::new() }
        };
        (0..50).for_each(|number| assert_eq!(opened(number, true), [] as [usize; 0], "{number}"));
        assert_eq!(opened(50, false).len(), 64);
        // Those came ahead, and more follow them once a quarter was opened.
        (51..66).for_each(|number| assert_eq!(opened(number, true), [] as [usize; 0], "{number}"));
        assert_eq!(opened(66, true), (115..131).collect::<Vec<_>>());
    }

    #[test]
    fn random_order_brings_nothing() {
        let (files, mut pattern) = (files(200, 4096), Pattern::default());
        assert_eq!(open(&mut pattern, (0..200).map(|at| at * 77 % 200), &files), [] as [usize; 0]);
    }

    #[test]
    fn no_more_is_ahead_than_may_be_in_vain_or_than_the_line_brings() {
        let (files, mut pattern) = (files(200, 1 << 20), Pattern::default());
        assert_eq!(open(&mut pattern, 0..20, &files), (3..28).collect::<Vec<_>>());
        let mut slow = Pattern::default();
        (0..3).for_each(|number| _ = slow.opened(number, &files));
        assert_eq!(slow.plan(&files, Budget { line: 2 << 20, ..OPEN }), [3, 4]);
    }

    #[test]
    fn what_was_in_vain_or_is_ahead_in_other_directories_leaves_less_room() {
        let files = files(200, 1 << 20);
        let ahead = |ahead: u64, lost: u64| {
            let mut pattern = Pattern::default();
            (0..3).for_each(|number| _ = pattern.opened(number, &files));
            pattern.plan(&files, Budget { ahead: ahead << 20, lost: lost << 20, ..OPEN }).len()
        };
        assert_eq!([ahead(0, 0), ahead(8, 0), ahead(14, 0), ahead(16, 0), ahead(100, 0)], [8, 4, 1, 0, 0]);
        assert_eq!([ahead(8, 8), ahead(3, 3), ahead(100, 100)], [0, 5, 0]);
    }

    #[test]
    fn little_is_ahead_where_it_is_seldom_used() {
        let (files, mut pattern) = (files(200, 4096), Pattern::default());
        (0..3).for_each(|number| _ = pattern.opened(number, &files));
        assert_eq!(pattern.plan(&files, Budget { is_doubted: true, ..OPEN }), [3, 4]);
    }
}
