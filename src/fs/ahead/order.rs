//! `ByInode`: the files of a directory in the order of their inode numbers, in which `cp -r` opens them. It knows no reader.

use super::plan::{Sibling, Siblings};
use crate::catalog::LocalEntries;
use crate::fs::inode::{Space, file_number};
use crate::source::EntryKind;

/// Directories with more names are not put in this order: it would take longer than it saves.
pub(super) const MOST_NAMES: usize = 20_000;

/// The numbers of the files in the listing, in the order of their inode numbers.
pub(super) struct ByInode(Vec<u32>);

impl ByInode {
    /// The order of the files of `entries`, which the source with this space listed. Takes a microsecond and more for each.
    pub(super) fn of(entries: &LocalEntries, space: &Space) -> Self {
        let inode = |number| {
            let entry = entries.entry(number);
            matches!(entry.kind, EntryKind::File).then(|| file_number(space, entry))
        };
        // No listing has as many names as a `u32` counts.
        let mut files: Vec<_> = (0..entries.len()).filter_map(|number| Some((inode(number)?, number as u32))).collect();
        files.sort_unstable();
        Self(files.into_iter().map(|(_, number)| number).collect())
    }

    /// The place of the file with this number.
    pub(super) fn place(&self, number: usize) -> Option<usize> {
        self.0.iter().position(|&other| other as usize == number)
    }

    /// The number of the file at this place.
    pub(super) fn number(&self, place: usize) -> usize {
        self.0[place] as usize
    }
}

/// Files in this order, for the planner.
pub(super) struct Ordered<'a, S> {
    pub(super) order: &'a ByInode,
    pub(super) siblings: &'a S,
}

impl<S: Siblings> Siblings for Ordered<'_, S> {
    fn count(&self) -> usize {
        self.order.0.len()
    }

    fn at(&self, place: usize) -> Option<Sibling> {
        self.siblings.at(self.order.number(place))
    }
}
