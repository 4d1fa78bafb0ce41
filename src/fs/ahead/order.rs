//! `Order`: the files of a directory in another order than the listing's. It knows no reader.

use super::collation::{Key, collated, natural};
use super::plan::{Sibling, Siblings};
use crate::catalog::LocalEntries;
use crate::fs::inode::{Space, file_number};

/// Directories with more names are not put in these orders: it would take longer than it saves.
pub(super) const MOST_NAMES: usize = 20_000;

/// Some files of a listing in an order. Takes eight bytes for each name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Their numbers in the listing.
    numbers: Vec<u32>,
    /// The place of each number of the listing; [`NO_FILE`] of what is none.
    places: Vec<u32>,
}

/// No listing has as many names as a `u32` counts.
const NO_FILE: u32 = u32::MAX;

impl Order {
    /// The orders of the files of `entries`, which the source with this space listed, that programs go by; only those that differ from
    /// the listing's own and from each other. Takes some microseconds for each file.
    pub(super) fn all(entries: &LocalEntries, space: &Space) -> Vec<Self> {
        let files = || (0..entries.len()).filter(|&number| entries.glance(number).is_file).map(|number| number as u32);
        let sorted_by = |key: fn(&[u8]) -> Key| {
            let mut numbers: Vec<_> = files().collect();
            numbers.sort_by_cached_key(|&number| key(entries.name(number as usize)));
            numbers
        };
        // In which `cp -r` and `tar` of a whole folder open them.
        let mut by_inode: Vec<_> = files().collect();
        by_inode.sort_by_cached_key(|&number| file_number(space, entries.entry(number as usize)));
        let mut orders: Vec<Self> = Vec::new();
        for numbers in [sorted_by(natural), sorted_by(collated), by_inode] {
            if !numbers.is_sorted() && orders.iter().all(|order| order.numbers != numbers) {
                orders.push(Self::of(entries.len(), numbers));
            }
        }
        orders
    }

    /// The files with these numbers, of a listing of so many names.
    pub(super) fn of(names: usize, numbers: Vec<u32>) -> Self {
        let mut places = vec![NO_FILE; names];
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

/// Files in this order, or in the listing's own, for the planner.
pub(super) struct Ordered<'a, S> {
    pub(super) order: Option<&'a Order>,
    pub(super) siblings: &'a S,
}

impl<S: Siblings> Siblings for Ordered<'_, S> {
    fn count(&self) -> usize {
        self.order.map_or_else(|| self.siblings.count(), |order| order.numbers.len())
    }

    fn at(&self, place: usize) -> Option<Sibling> {
        self.siblings.at(self.order.map_or(place, |order| order.number(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::fs::inode::space;
    use crate::path::RemotePath;
    use crate::source::{Entry, EntryKind};

    /// The orders of these files, of which the last is a directory instead.
    fn orders(mut names: Vec<String>) -> Vec<Vec<String>> {
        names.sort_unstable();
        let mut entries = LocalEntries::new(RemotePath::root());
        for name in &names {
            let kind = if Some(name) == names.last() { EntryKind::Directory } else { EntryKind::File };
            let entry = Entry {
                name: name.clone().into_bytes(),
                path: RemotePath::root().child(name.as_bytes()).expect("a name"),
                kind,
                permissions: None,
                size: Some(1),
                modified: None,
                digest: Some(Digest::new("1")),
            };
            entries.push(name.as_bytes(), &entry);
        }
        let orders = Order::all(&entries, &space(&b"docs".as_slice().into(), "source"));
        for order in &orders {
            assert_eq!(order.place(names.len() - 1), None, "it is no file");
            (0..order.numbers.len()).for_each(|place| assert_eq!(order.place(order.number(place)), Some(place)));
        }
        orders.into_iter().map(|order| order.numbers.iter().map(|&at| names[at as usize].clone()).collect()).collect()
    }

    #[test]
    fn only_orders_that_differ_are_kept() {
        let padded = orders((0..100).map(|number| format!("IMG_{number:04}.JPG")).collect());
        assert_eq!(padded.len(), 1, "by inode number");
        let numbered = orders((1..=100).map(|number| format!("img{number}")).collect());
        assert_eq!(numbered.len(), 2, "natural, too");
        assert_eq!(numbered[0][..3], ["img1", "img2", "img3"]);
        let mixed = orders(["B2", "a10", "a_9", "z"].map(str::to_owned).into());
        assert_eq!(mixed[..2], [["a_9", "a10", "B2"], ["a10", "a_9", "B2"]]);
    }
}
