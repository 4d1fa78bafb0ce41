//! `Listing`: the entries of one answer to `list_path`, packed while they arrive. It asks nothing, and knows no tree.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::wire::{Entry, Kind, Text, Time};
use crate::digest::Digest;
use crate::path::RemotePath;
use crate::source::budget::Exceeded;
use crate::source::packed::Reader;
use crate::source::{self, EntryKind, LeftOut};
use crate::sources::heap::{Heap, Pack, Place};

/// The entries of one answer within the budget of a listing. Of several entries with one path, the last counts.
#[derive(Debug, Default)]
pub struct Listing {
    entries: Heap<Entry>,
    /// Hashes of the paths so far, which take less than the paths.
    seen: HashSet<u64>,
    hasher: RandomState,
    may_repeat: bool,
    /// What the answer leaves out.
    pub left_out: LeftOut,
}

impl Listing {
    /// Adds an entry, whose path has been [checked](path_below). Returns whether it is the first one with its path.
    ///
    /// # Errors
    /// If there are more than one listing may have. Repeated entries count too: a plugin cannot repeat them for ever.
    pub fn push(&mut self, path: &RemotePath, entry: &Entry) -> Result<bool, Exceeded> {
        self.entries.push(entry)?;
        let is_new = self.seen.insert(self.hasher.hash_one(path));
        self.may_repeat |= !is_new;
        Ok(is_new)
    }

    /// What the entries take of the budget, in bytes.
    pub fn taken(&self) -> usize {
        self.entries.taken()
    }

    /// The entries with their paths as they arrived, earlier ones of the same path included.
    pub fn iter(&self) -> impl Iterator<Item = (RemotePath, Entry)> {
        self.entries.iter().map(with_path)
    }

    /// Takes the entries out, each path once.
    pub fn into_entries(self) -> Box<dyn Iterator<Item = (RemotePath, Entry)> + Send> {
        if self.may_repeat {
            let Sorted { entries, order, .. } = self.sorted();
            return Box::new(order.into_iter().map(move |place| with_path(entries.at(place))));
        }
        // Memory is given back while the entries are taken out.
        Box::new(self.entries.into_iter().map(with_path))
    }

    /// The same, in the order of their paths, each path once.
    pub fn sorted(self) -> Sorted {
        let Self { entries, seen, left_out, .. } = self;
        drop(seen);
        let mut order: Vec<_> = entries.places().map(|place| (path_of(&entries.at(place)), place)).collect();
        order.sort_unstable();
        order.dedup_by(|later, earlier| {
            let is_repeated = later.0 == earlier.0;
            if is_repeated {
                std::mem::swap(later, earlier);
            }
            is_repeated
        });
        let order = order.into_iter().map(|(_, place)| place).collect();
        Sorted { entries, order, left_out }
    }
}

/// Entries in the order of their paths, each path once.
#[derive(Debug)]
pub struct Sorted {
    entries: Heap<Entry>,
    order: Vec<Place>,
    /// What the answer leaves out.
    pub left_out: LeftOut,
}

impl Sorted {
    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (RemotePath, Entry)> {
        self.order.iter().map(|&place| self.at(place))
    }

    /// The entry at `place`.
    pub fn at(&self, place: Place) -> (RemotePath, Entry) {
        with_path(self.entries.at(place))
    }

    /// The entry of this path.
    pub fn get(&self, path: &RemotePath) -> Option<Entry> {
        let found = self.order.binary_search_by(|&place| path_of(&self.entries.at(place)).cmp(path));
        found.ok().map(|index| self.entries.at(self.order[index]))
    }

    /// The entries below this directory, with their places.
    pub fn below(&self, dir: &RemotePath) -> impl Iterator<Item = (Place, RemotePath, Entry)> {
        let mut prefix = dir.as_bytes().to_vec();
        if !dir.is_root() {
            prefix.push(b'/');
        }
        let start = self.order.partition_point(|&place| path_of(&self.entries.at(place)).as_bytes() < &prefix[..]);
        let entries = self.order[start..].iter().map(|&place| {
            let (path, entry) = self.at(place);
            (place, path, entry)
        });
        entries.take_while(move |(_, path, _)| path.as_bytes().starts_with(&prefix))
    }
}

/// The path of an entry as a plugin writes it, if it lies below `dir`.
///
/// # Errors
/// Why the entry is left out.
pub fn path_below(dir: &RemotePath, written: &Text) -> Result<RemotePath, String> {
    let bytes = written.bytes().ok_or("it is not valid base64")?;
    let path = RemotePath::parse(&bytes).map_err(|bad| bad.to_string())?;
    let is_below = match path.as_bytes().strip_prefix(dir.as_bytes()) {
        Some(rest) => !rest.is_empty() && (dir.is_root() || rest[0] == b'/'),
        None => false,
    };
    if is_below { Ok(path) } else { Err("it is not in the directory that was listed".into()) }
}

fn with_path(entry: Entry) -> (RemotePath, Entry) {
    (path_of(&entry), entry)
}

fn path_of(entry: &Entry) -> RemotePath {
    let path = entry.path.bytes().and_then(|bytes| RemotePath::parse(&bytes).ok());
    path.expect("only entries whose path was checked are kept")
}

/// The bits that an entry of a plugin has beside those of a packed entry.
mod flag {
    pub(super) const KIND_IS_KNOWN: u64 = 1;
    pub(super) const IN_BASE64: u64 = 2;
}

impl Pack for Entry {
    fn pack(&self, out: &mut Vec<u8>) {
        let kind_is_known = if self.kind.is_some() { flag::KIND_IS_KNOWN } else { 0 };
        let in_base64 = if matches!(self.path, Text::Coded { .. }) { flag::IN_BASE64 } else { 0 };
        (kind_is_known | in_base64).pack(out);
        let name = self.path.bytes().expect("only entries whose path was checked are kept");
        let kind = match self.kind {
            Some(Kind::Directory) => EntryKind::Directory,
            _ => EntryKind::File,
        };
        let permissions = self.permission_bits();
        let modified = self.modified.as_ref().and_then(Time::time);
        let digest = self.digest.clone().map(Digest::new);
        source::Entry {
            path: RemotePath::from_stored(&name),
            name,
            kind,
            permissions,
            size: self.size,
            modified,
            digest,
        }
        .pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        let flags = u64::unpack(packed);
        let entry = source::Entry::unpack(packed);
        let path = if flags & flag::IN_BASE64 == 0 { Text::of(&entry.name) } else { Text::coded(&entry.name) };
        let kind = if entry.kind == EntryKind::Directory { Kind::Directory } else { Kind::File };
        Self {
            path,
            kind: (flags & flag::KIND_IS_KNOWN != 0).then_some(kind),
            size: entry.size,
            modified: entry.modified.map(Time::of),
            digest: entry.digest.map(|digest| digest.as_str().to_owned()),
            permissions: entry.permissions.map(u32::from),
            executable: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::{Value, json};

    use super::*;

    fn listing(entries: Vec<Value>) -> Listing {
        let mut listing = Listing::default();
        for entry in entries {
            let entry: Entry = serde_json::from_value(entry).expect("an entry");
            let path = path_below(&RemotePath::root(), &entry.path).expect("it is below the root");
            listing.push(&path, &entry).expect("there is room");
        }
        listing
    }

    #[test]
    fn entries_come_back_as_they_were_told() {
        let entries = [
            json!({"path": "/a", "kind": "file", "permissions": 488, "size": 7, "digest": "x-1"}),
            json!({"path": "b", "kind": "directory", "modified": "-1.250000000"}),
            json!({"path": {"base64": "L2M="}, "modified": "1700000000.123456789"}),
            json!({"path": {"base64": "/w=="}, "digest": "md5:00ff"}),
        ];
        let told: Vec<Entry> = entries.iter().map(|entry| Entry::deserialize(entry).expect("an entry")).collect();
        let listing = listing(entries.to_vec());
        assert_eq!(listing.iter().map(|(_, entry)| entry).collect::<Vec<_>>(), told);
        assert_eq!(listing.into_entries().map(|(_, entry)| entry).collect::<Vec<_>>(), told);
    }

    #[test]
    fn the_last_of_several_entries_with_one_path_counts() {
        let entries = [("/b", 1), ("/a", 2), ("b", 3), ("/a-b", 4), ("/b/c", 5)];
        let entries = || listing(entries.iter().map(|(path, size)| json!({"path": path, "size": size})).collect());
        let sizes = |entries: &mut dyn Iterator<Item = (RemotePath, Entry)>| {
            entries.map(|(path, entry)| (path.to_string(), entry.size.expect("it has one"))).collect::<Vec<_>>()
        };
        let expected = [("/a", 2), ("/a-b", 4), ("/b", 3), ("/b/c", 5)].map(|(path, size)| (path.to_owned(), size));
        assert_eq!(sizes(&mut entries().sorted().iter()), expected);
        assert_eq!(sizes(&mut entries().into_entries()), expected);
        let path = |text: &str| RemotePath::parse(text.as_bytes()).expect("a path");
        assert_eq!(entries().sorted().get(&path("b")).and_then(|entry| entry.size), Some(3));
        let sorted = entries().sorted();
        let below: Vec<_> = sorted.below(&path("b")).map(|(place, path, _)| (path, sorted.at(place).1.size)).collect();
        assert_eq!(below, [(path("b/c"), Some(5))]);
    }
}
