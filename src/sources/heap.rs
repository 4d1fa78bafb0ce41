//! `Heap`: what an answer lists, packed while it is read. It knows no format.

use crate::path::RemotePath;
use crate::source::Entry;
use crate::source::budget::{Budget, Exceeded};
use crate::source::packed::{Reader, write_entry, write_number, write_text};

/// Bytes of one allocation, unless one item alone has more.
const CHUNK_BYTES: usize = 1 << 16;

/// A value that can be written in few bytes and read again.
pub(super) trait Pack: Sized {
    /// Writes it after what is there.
    fn pack(&self, out: &mut Vec<u8>);

    /// Reads the next one.
    fn unpack(packed: &mut Reader<'_>) -> Self;
}

/// Where an item is: later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

/// Many items within the budget of one listing. Those that were taken out take no room any more.
#[derive(Debug)]
pub(super) struct Heap<T> {
    chunks: Vec<Vec<u8>>,
    /// The item that is being packed.
    packed: Vec<u8>,
    budget: Budget,
    item: std::marker::PhantomData<fn() -> T>,
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), packed: Vec::new(), budget: Budget::default(), item: std::marker::PhantomData }
    }
}

impl<T: Pack> Heap<T> {
    /// Adds an item.
    ///
    /// # Errors
    /// If there are more than one listing may have.
    pub(super) fn push(&mut self, item: &T) -> Result<(), Exceeded> {
        let Self { packed, chunks, .. } = self;
        packed.clear();
        item.pack(packed);
        self.budget.packed(packed.len())?;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() + packed.len() <= CHUNK_BYTES => chunk.extend_from_slice(packed),
            // A small answer has no more than it needs, a large one whole chunks.
            None => chunks.push(packed.clone()),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES.max(packed.len()));
                chunk.extend_from_slice(packed);
                chunks.push(chunk);
            }
        }
        Ok(())
    }

    /// The items that `change` makes of these.
    ///
    /// # Errors
    /// As above.
    pub(super) fn filter_map(self, change: impl FnMut(T) -> Option<T>) -> Result<Self, Exceeded> {
        let mut changed = Self::default();
        for item in self.into_iter().filter_map(change) {
            changed.push(&item)?;
        }
        Ok(changed)
    }

    /// What the items take of the budget, in bytes.
    pub(super) fn taken(&self) -> usize {
        self.budget.taken()
    }

    /// Where all items are.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            let mut packed = Reader(chunk);
            std::iter::from_fn(move || {
                let at = chunk.len() - packed.0.len();
                (at < chunk.len()).then(|| T::unpack(&mut packed))?;
                Some(Place(
                    u32::try_from(number * CHUNK_BYTES + at).expect("the budget of a listing is less than 4 GiB"),
                ))
            })
        })
    }

    /// The item at `place`.
    pub(super) fn at(&self, Place(place): Place) -> T {
        let (chunk, at) = (place as usize / CHUNK_BYTES, place as usize % CHUNK_BYTES);
        T::unpack(&mut Reader(&self.chunks[chunk][at..]))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.chunks.iter().flat_map(|chunk| {
            let mut packed = Reader(chunk);
            std::iter::from_fn(move || (!packed.0.is_empty()).then(|| T::unpack(&mut packed)))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

impl<T: Pack> IntoIterator for Heap<T> {
    type Item = T;
    type IntoIter = Taking<T>;

    fn into_iter(self) -> Taking<T> {
        Taking { chunk: Vec::new(), at: 0, chunks: self.chunks.into_iter(), item: self.item }
    }
}

/// Takes the items out of a heap.
#[derive(Debug)]
pub(super) struct Taking<T> {
    chunk: Vec<u8>,
    at: usize,
    chunks: std::vec::IntoIter<Vec<u8>>,
    item: std::marker::PhantomData<fn() -> T>,
}

impl<T: Pack> Iterator for Taking<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.at == self.chunk.len() {
            (self.chunk, self.at) = (self.chunks.next()?, 0);
        }
        let mut packed = Reader(&self.chunk[self.at..]);
        let item = T::unpack(&mut packed);
        self.at = self.chunk.len() - packed.0.len();
        Some(item)
    }
}

impl Pack for u64 {
    fn pack(&self, out: &mut Vec<u8>) {
        write_number(out, *self);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        packed.number()
    }
}

impl Pack for i64 {
    fn pack(&self, out: &mut Vec<u8>) {
        self.cast_unsigned().pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        packed.number().cast_signed()
    }
}

impl Pack for bool {
    fn pack(&self, out: &mut Vec<u8>) {
        u64::from(*self).pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        packed.number() == 1
    }
}

impl Pack for Vec<u8> {
    fn pack(&self, out: &mut Vec<u8>) {
        write_text(out, self);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        packed.text().to_vec()
    }
}

impl Pack for String {
    fn pack(&self, out: &mut Vec<u8>) {
        write_text(out, self.as_bytes());
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        String::from_utf8_lossy(packed.text()).into_owned()
    }
}

impl<T: Pack> Pack for Option<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        self.is_some().pack(out);
        self.iter().for_each(|item| item.pack(out));
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        bool::unpack(packed).then(|| T::unpack(packed))
    }
}

impl<A: Pack, B: Pack> Pack for (A, B) {
    fn pack(&self, out: &mut Vec<u8>) {
        self.0.pack(out);
        self.1.pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        (A::unpack(packed), B::unpack(packed))
    }
}

impl Pack for Entry {
    fn pack(&self, out: &mut Vec<u8>) {
        write_entry(out, &RemotePath::root(), self);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        packed.entry(&RemotePath::root())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::budget::{MAX_ITEM_BYTES, MAX_NAMES};

    type Item = ((Vec<u8>, String), (Option<u64>, (Option<i64>, bool)));

    proptest! {
        #[test]
        fn what_is_put_on_the_heap_comes_back_in_order(items: Vec<Item>, long in 0..2 * CHUNK_BYTES) {
            let mut heap = Heap::default();
            let long: Item = ((vec![7; long], String::new()), Default::default());
            let all: Vec<_> = items.iter().chain([&long]).chain(&items).cloned().collect();
            all.iter().try_for_each(|item| heap.push(item)).expect("it is little");
            prop_assert_eq!(heap.iter().collect::<Vec<_>>(), all.clone());
            prop_assert_eq!(heap.places().map(|place| heap.at(place)).collect::<Vec<_>>(), all.clone());
            prop_assert!(heap.places().is_sorted());
            prop_assert_eq!(heap.into_iter().collect::<Vec<_>>(), all);
        }
    }

    #[test]
    fn what_an_answer_lists_costs_its_bytes_and_ends_with_the_budget() {
        let mut heap = Heap::default();
        let name = "file-name-123456.txt".to_owned();
        let listed = (0..).find(|_| heap.push(&name).is_err());
        assert_eq!(listed, Some(MAX_NAMES));
        let held: usize = heap.chunks.iter().map(Vec::capacity).sum();
        assert!(held <= MAX_NAMES * (name.len() + 1) + 2 * CHUNK_BYTES, "{held}");
        let mut heap = Heap::default();
        let listed = (0..).find(|_| heap.push(&vec![0; MAX_ITEM_BYTES]).is_err());
        assert!(listed.expect("it ends") < 56);
    }
}
