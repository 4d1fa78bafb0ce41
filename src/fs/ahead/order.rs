//! `ByInode`: the files of a directory in the order of their inode numbers, in which `cp -r` opens them. It knows no reader.

use super::plan::{Sibling, Siblings};
use crate::catalog::LocalEntries;
use crate::fs::inode::{Space, file_number};
use crate::source::EntryKind;

/// Directories with more names are not put in this order: it would take longer than it saves.
pub(super) const MOST_NAMES: usize = 20_000;

/// The files of a listing in the order of their inode numbers.
pub(super) struct ByInode {
    /// Their numbers in the listing.
    numbers: Vec<u32>,
    /// The place of each number of the listing; [`NO_FILE`] of what is none.
    places: Vec<u32>,
}

/// No listing has as many names as a `u32` counts.
const NO_FILE: u32 = u32::MAX;

impl ByInode {
    /// The order of the files of `entries`, which the source with this space listed. Takes a microsecond and more for each.
    pub(super) fn of(entries: &LocalEntries, space: &Space) -> Self {
        let inode = |number| {
            let entry = entries.entry(number);
            matches!(entry.kind, EntryKind::File).then(|| file_number(space, entry))
        };
        let mut files: Vec<_> = (0..entries.len()).filter_map(|number| Some((inode(number)?, number as u32))).collect();
        files.sort_unstable();
        let numbers: Vec<_> = files.into_iter().map(|(_, number)| number).collect();
        let mut places = vec![NO_FILE; entries.len()];
        (0..).zip(&numbers).for_each(|(place, &number)| places[number as usize] = place);
        Self { numbers, places }
    }

    /// The place of the file with this number.
    pub(super) fn place(&self, number: usize) -> Option<usize> {
        self.places.get(number).filter(|&&place| place != NO_FILE).map(|&place| place as usize)
    }

    /// The number of the file at this place.
    pub(super) fn number(&self, place: usize) -> usize {
        self.numbers[place] as usize
    }
}

/// Files in this order, for the planner.
pub(super) struct Ordered<'a, S> {
    pub(super) order: &'a ByInode,
    pub(super) siblings: &'a S,
}

impl<S: Siblings> Siblings for Ordered<'_, S> {
    fn count(&self) -> usize {
        self.order.numbers.len()
    }

    fn at(&self, place: usize) -> Option<Sibling> {
        self.siblings.at(self.order.number(place))
    }
}
