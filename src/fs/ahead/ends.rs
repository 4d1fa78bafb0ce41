//! `Ends`: whether the end of a large file comes beside its beginning, for programs that read it first (archives, documents, videos,
//! `tail`). Pure decisions over numbered cases, by what programs have read before.
//!
//! | case | what is seen | decision |
//! |---|---|---|
//! | Z1 | the beginning of a large file is retrieved at its open | its end comes too |
//! | Z2 | the same; [`IN_DIRECTORY`] ends have come in its directory since a program read one there | only the beginning |
//! | Z3 | the same; [`IN_SOURCE`] ends have come from the source since a program read one | only the beginning |
//! | Z4 | a program reads the end of a file before what is in front of it, whether the end came ahead or not | both counts begin anew |
//!
//! An end counts as soon as it is asked for: programs may have many files open before they read any.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::path::RemotePath;

/// So many ends in one directory that no program read are enough.
const IN_DIRECTORY: usize = 4;

/// The same of all directories of a source: `head` of 20 files, each in a directory of its own, moves at most 5 MiB.
const IN_SOURCE: usize = 12;

/// Directories that are remembered in each source.
const DIRECTORIES: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");

/// How many ends have come since a program read one.
#[derive(Debug)]
pub(super) struct Ends {
    in_source: usize,
    in_directories: LruCache<RemotePath, usize>,
}

impl Default for Ends {
    fn default() -> Self {
        Self { in_source: 0, in_directories: LruCache::new(DIRECTORIES) }
    }
}

impl Ends {
    /// Cases Z1 to Z3: whether the end of a file in `dir` comes too.
    pub(super) fn may_come(&self, dir: &RemotePath) -> bool {
        let in_directory = self.in_directories.peek(dir).copied().unwrap_or_default();
        in_directory < IN_DIRECTORY && self.in_source < IN_SOURCE
    }

    /// The end of a file in `dir` was asked for.
    pub(super) fn came(&mut self, dir: &RemotePath) {
        self.in_source += 1;
        *self.in_directories.get_or_insert_mut(dir.clone(), || 0) += 1;
    }

    /// Case Z4: a program has read the end of a file in `dir`.
    pub(super) fn read(&mut self, dir: &RemotePath) {
        self.in_source = 0;
        self.in_directories.pop(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many ends come of so many files that are opened in each of these directories.
    fn opened(ends: &mut Ends, directories: impl IntoIterator<Item = usize>, files: usize) -> usize {
        let mut came = 0;
        for number in directories {
            let dir = directory(number);
            for _ in 0..files {
                if ends.may_come(&dir) {
                    ends.came(&dir);
                    came += 1;
                }
            }
        }
        came
    }

    fn directory(number: usize) -> RemotePath {
        RemotePath::parse(format!("{number}").as_bytes()).expect("a plain path")
    }

    #[test]
    fn cases_z1_and_z2_no_more_ends_come_where_no_program_reads_them() {
        let mut ends = Ends::default();
        assert_eq!(opened(&mut ends, [0], 20), IN_DIRECTORY);
        assert_eq!(opened(&mut ends, [1], 1), 1, "another directory has programs of its own");
    }

    #[test]
    fn case_z3_nor_from_a_source_of_which_no_program_reads_them() {
        assert_eq!(opened(&mut Ends::default(), 0..100, 1), IN_SOURCE);
    }

    #[test]
    fn case_z4_who_reads_an_end_finds_the_next_ones() {
        let mut ends = Ends::default();
        for _ in 0..20 {
            assert_eq!(opened(&mut ends, [0], 1), 1);
            ends.read(&directory(0));
        }
        opened(&mut ends, 0..100, 4);
        ends.read(&directory(7));
        assert_eq!(opened(&mut ends, [7], 20), IN_DIRECTORY, "though it came late before");
    }
}
