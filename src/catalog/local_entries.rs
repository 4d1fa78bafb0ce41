//! `LocalEntries`: the entries of one directory with their local names, ordered by them. It decides no name.

use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;
use crate::source::packed::{Glance, Packed, Place};

/// The entries of a directory in few bytes for each name: an entry is made when it is asked for.
#[derive(Debug, Clone)]
pub struct LocalEntries {
    packed: Packed,
    /// By local name, which no two share.
    order: Vec<Pair>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    /// The local name; where it is the remote one, that is the entry's own place.
    name: Place,
    entry: Place,
}

impl LocalEntries {
    /// Nothing yet, of `dir`.
    pub fn new(dir: RemotePath) -> Self {
        Self { packed: Packed::new(dir), order: Vec::new() }
    }

    /// Entries at their places, each with the place of its local name; the names are distinct.
    pub(super) fn of(mut packed: Packed, places: Vec<(Place, Place)>) -> Self {
        packed.shrink();
        let mut order: Vec<_> = places.into_iter().map(|(name, entry)| Pair { name, entry }).collect();
        order.sort_unstable_by(|a, b| packed.text(a.name).cmp(packed.text(b.name)));
        Self { packed, order }
    }

    /// Adds an entry whose local name comes after all others.
    pub fn push(&mut self, name: &[u8], entry: &Entry) {
        debug_assert!(self.order.last().is_none_or(|last| self.packed.text(last.name) < name), "names are ordered");
        let place = self.packed.push(entry);
        let name = if *name == *entry.name { place } else { self.packed.push_text(name) };
        self.order.push(Pair { name, entry: place });
    }

    /// Describes an entry otherwise. Its local name stays.
    pub fn replace(&mut self, number: usize, entry: &Entry) {
        self.order[number].entry = self.packed.push(entry);
    }

    /// The directory whose entries these are.
    pub fn dir(&self) -> &RemotePath {
        self.packed.dir()
    }

    /// Gives back what was reserved for more.
    pub fn shrink(&mut self) {
        self.packed.shrink();
        self.order.shrink_to_fit();
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The local name with this number.
    pub fn name(&self, number: usize) -> &[u8] {
        self.packed.text(self.order[number].name)
    }

    /// The path of the entry with this number.
    pub fn path(&self, number: usize) -> RemotePath {
        self.packed.path(self.order[number].entry)
    }

    /// The paths of the directories from this number on.
    pub fn directories(&self, first: usize) -> impl Iterator<Item = RemotePath> {
        let entries = self.order.iter().skip(first).map(|pair| pair.entry);
        entries.filter(|&entry| self.packed.is_directory(entry)).map(|entry| self.packed.path(entry))
    }

    /// The entry with this number.
    pub fn entry(&self, number: usize) -> Entry {
        self.packed.entry(self.order[number].entry)
    }

    /// So much of the entry with this number as is read without making one.
    pub fn glance(&self, number: usize) -> Glance {
        self.packed.glance(self.order[number].entry)
    }

    /// The local name with this number, and its entry.
    pub fn at(&self, number: usize) -> (LocalName, Entry) {
        (self.name(number).into(), self.entry(number))
    }

    /// The number of a local name.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.order.binary_search_by(|pair| self.packed.text(pair.name).cmp(name)).ok()
    }

    /// The entry with this local name.
    pub fn get(&self, name: &[u8]) -> Option<Entry> {
        self.find(name).map(|number| self.entry(number))
    }

    /// All local names, each with its entry, in order.
    pub fn iter(&self) -> impl Iterator<Item = (LocalName, Entry)> {
        (0..self.len()).map(|number| self.at(number))
    }

    /// The bytes that this takes in memory.
    pub fn bytes(&self) -> usize {
        self.packed.bytes() + self.order.capacity() * size_of::<Pair>()
    }
}

impl PartialEq for LocalEntries {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.order.iter().zip(&other.order);
        self.packed.dir() == other.packed.dir()
            && self.len() == other.len()
            && pairs.all(|(one, another)| {
                self.packed.text(one.name) == other.packed.text(another.name)
                    && self.packed.is_same(one.entry, &other.packed, another.entry)
            })
    }
}

impl Eq for LocalEntries {}
