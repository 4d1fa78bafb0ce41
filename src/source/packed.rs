//! `Packed`: the entries of one directory in few bytes each. It knows how they are written, and no order.
//!
//! An entry is two texts: its name, and the rest. A text is its length and its bytes; a number has seven bits in each byte, the lowest
//! first. The path is left out where it is the directory's with the name, as nearly all are; of a digest that ends in a hash in
//! hexadecimal, the hash takes half as many bytes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Entry, EntryKind};
use crate::digest::{Digest, is_unsettled, push_hex};
use crate::path::RemotePath;

/// The bytes of one allocation, unless one entry alone has more.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 16;

/// The lowest bits tell the kind, the others what follows.
mod flag {
    pub(super) const KIND: u8 = 0b11;
    pub(super) const FILE: u8 = 0;
    pub(super) const DIRECTORY: u8 = 1;
    pub(super) const SYMLINK: u8 = 2;
    pub(super) const PATH: u8 = 1 << 2;
    pub(super) const SIZE: u8 = 1 << 3;
    pub(super) const MODIFIED: u8 = 1 << 4;
    pub(super) const PERMISSIONS: u8 = 1 << 5;
    pub(super) const DIGEST: u8 = 1 << 6;
    pub(super) const HEXADECIMAL: u8 = 1 << 7;
}

/// Entries of one directory, and texts beside them. Nothing is ever taken out.
#[derive(Debug, Clone)]
pub struct Packed {
    dir: RemotePath,
    chunks: Vec<Vec<u8>>,
}

/// So much of an entry as is read without making one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Whether it is a file.
    pub is_file: bool,
    /// Its bytes, where they are known.
    pub size: Option<u64>,
    /// Whether its digest is settled; `None` without a digest.
    pub is_settled: Option<bool>,
}

/// The place of an entry or a text.
#[derive(Debug, Clone, Copy)]
pub struct Place(u32);

impl Packed {
    /// No entries yet, of `dir`.
    pub fn new(dir: RemotePath) -> Self {
        Self { dir, chunks: Vec::new() }
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &Entry) -> Place {
        let (place, chunk) = room(&mut self.chunks, 64 + entry.bytes());
        write_entry(chunk, &self.dir, entry);
        place
    }

    /// Adds a text.
    pub fn push_text(&mut self, text: &[u8]) -> Place {
        let (place, chunk) = room(&mut self.chunks, 4 + text.len());
        write_text(chunk, text);
        place
    }

    /// Gives back what was reserved for more.
    pub fn shrink(&mut self) {
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
    }

    /// The places of all entries, if there are no other texts.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let mut rest = Reader(chunk);
            while !rest.0.is_empty() {
                let at = (number << CHUNK_BITS) + (chunk.len() - rest.0.len());
                places.push(Place(u32::try_from(at).expect("it has a place")));
                rest.text();
                rest.text();
            }
        }
        places
    }

    /// The text at `place`; of an entry, that is its name.
    pub fn text(&self, place: Place) -> &[u8] {
        self.reader(place).text()
    }

    /// The entry at `place`.
    pub fn entry(&self, place: Place) -> Entry {
        self.reader(place).entry(&self.dir)
    }

    /// So much of the entry at `place` as is read without making one.
    pub fn glance(&self, place: Place) -> Glance {
        let mut reader = self.reader(place);
        reader.text();
        let Told { kind, size, digest, .. } = Reader(reader.text()).told();
        // The text of one that is unsettled ends in a number, which is no hash after a colon.
        let is_settled = digest.map(|(text, hash)| !hash.is_empty() || !is_unsettled(text));
        Glance { is_file: kind == flag::FILE, size, is_settled }
    }

    /// Whether the entry at `place` is a directory.
    pub fn is_directory(&self, place: Place) -> bool {
        let mut reader = self.reader(place);
        reader.text();
        Reader(reader.text()).byte() & flag::KIND == flag::DIRECTORY
    }

    /// The path of the entry at `place`.
    pub fn path(&self, place: Place) -> RemotePath {
        let mut reader = self.reader(place);
        let name = reader.text();
        match Reader(reader.text()).path() {
            Some(path) => RemotePath::from_stored(path),
            None => child(&self.dir, name),
        }
    }

    /// Compares two entries by name, path, and whatever else is told of them.
    pub fn compare(&self, one: Place, other: Place) -> Ordering {
        let (mut one_reader, mut other_reader) = (self.reader(one), self.reader(other));
        one_reader.text().cmp(other_reader.text()).then_with(|| {
            let (one_rest, other_rest) = (one_reader.text(), other_reader.text());
            let paths = match (Reader(one_rest).path(), Reader(other_rest).path()) {
                (None, None) => Ordering::Equal,
                (Some(one), Some(other)) => one.cmp(other),
                _ => self.path(one).cmp(&self.path(other)),
            };
            paths.then_with(|| one_rest.cmp(other_rest))
        })
    }

    /// Whether the entry at `place` is the same as that at `other_place` of `other`.
    pub fn is_same(&self, place: Place, other: &Self, other_place: Place) -> bool {
        let (mut one, mut other) = (self.reader(place), other.reader(other_place));
        one.text() == other.text() && one.text() == other.text()
    }

    /// The bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| size_of::<Vec<u8>>() + chunk.capacity()).sum()
    }

    /// The directory whose entries these are.
    pub fn dir(&self) -> &RemotePath {
        &self.dir
    }

    fn reader(&self, Place(place): Place) -> Reader<'_> {
        let (chunk, at) = (place >> CHUNK_BITS, place as usize % CHUNK);
        Reader(&self.chunks[chunk as usize][at..])
    }
}

/// Where the next text begins, which has about so many bytes, and the chunk for it.
fn room(chunks: &mut Vec<Vec<u8>>, bytes: usize) -> (Place, &mut Vec<u8>) {
    if chunks.last().is_none_or(|chunk| chunk.len() + bytes > CHUNK) {
        // A small directory has no more than it needs, a large one whole chunks.
        chunks.push(if chunks.is_empty() { Vec::new() } else { Vec::with_capacity(CHUNK) });
    }
    let number = chunks.len() - 1;
    let chunk = &mut chunks[number];
    let place = (number << CHUNK_BITS) + chunk.len();
    (Place(u32::try_from(place).expect("the budget of a listing is less than 4 GiB")), chunk)
}

/// About how many bytes an entry of `dir` takes when it is packed.
pub fn packed_bytes(dir: &RemotePath, entry: &Entry) -> usize {
    const NUMBERS: usize = 16;
    let path = if is_child(dir, entry) { entry.path.as_bytes().len() } else { 0 };
    let half = entry.digest.as_ref().and_then(|digest| split_hash(digest.as_str()).1).map_or(0, |hash| hash.len());
    NUMBERS + entry.bytes() - path - half
}

/// Writes an entry of `dir`.
pub fn write_entry(out: &mut Vec<u8>, dir: &RemotePath, entry: &Entry) {
    write_text(out, &entry.name);
    let mut flags = match &entry.kind {
        EntryKind::File => flag::FILE,
        EntryKind::Directory => flag::DIRECTORY,
        EntryKind::Symlink { .. } => flag::SYMLINK,
    };
    // The length, which nearly always takes one byte, and the flags come to their places at the end.
    let at = out.len();
    out.extend([0; 2]);
    if !is_child(dir, entry) {
        flags |= flag::PATH;
        write_text(out, entry.path.as_bytes());
    }
    if let EntryKind::Symlink { target } = &entry.kind {
        write_text(out, target);
    }
    if let Some(permissions) = entry.permissions {
        flags |= flag::PERMISSIONS;
        write_number(out, permissions.into());
    }
    if let Some(size) = entry.size {
        flags |= flag::SIZE;
        write_number(out, size);
    }
    if let Some(modified) = entry.modified {
        flags |= flag::MODIFIED;
        let (distance, before) = match modified.duration_since(UNIX_EPOCH) {
            Ok(distance) => (distance, 0),
            Err(before) => (before.duration(), 1),
        };
        // The lowest bit tells the years before 1970.
        write_number(out, distance.as_secs() << 1 | before);
        write_number(out, distance.subsec_nanos().into());
    }
    if let Some(digest) = &entry.digest {
        flags |= flag::DIGEST;
        let (scheme, hash) = split_hash(digest.as_str());
        write_text(out, scheme.as_bytes());
        if let Some(hash) = hash {
            flags |= flag::HEXADECIMAL;
            write_text(out, &hash);
        }
    }
    out[at + 1] = flags;
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut number = Vec::with_capacity(10);
        write_number(&mut number, length as u64);
        out.splice(at..=at, number);
    }
}

/// Writes a text.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_number(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Writes a number.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The parts of an entry that are written after its name.
struct Told<'a> {
    path: Option<&'a [u8]>,
    kind: u8,
    target: &'a [u8],
    permissions: Option<u16>,
    size: Option<u64>,
    modified: Option<SystemTime>,
    /// The text, and the hash that is written after it.
    digest: Option<(&'a [u8], &'a [u8])>,
}

/// Reads texts, numbers and entries in the order in which they were written.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next text.
    pub fn text(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return number;
            }
            shift += 7;
        }
    }

    /// The next entry, which is one of `dir`.
    pub fn entry(&mut self, dir: &RemotePath) -> Entry {
        let name = self.text();
        let Told { path, kind, target, permissions, size, modified, digest } = Reader(self.text()).told();
        let path = path.map_or_else(|| child(dir, name), RemotePath::from_stored);
        let kind = match kind {
            flag::SYMLINK => EntryKind::Symlink { target: target.to_vec() },
            flag::DIRECTORY => EntryKind::Directory,
            _ => EntryKind::File,
        };
        let digest = digest.map(|(scheme, hash)| {
            let mut text = String::with_capacity(scheme.len() + hash.len() * 2);
            text.push_str(&String::from_utf8_lossy(scheme));
            push_hex(&mut text, hash);
            Digest::new(text)
        });
        Entry { name: name.to_vec(), path, kind, permissions, size, modified, digest }
    }

    /// The parts of the entry whose rest begins here.
    fn told(&mut self) -> Told<'a> {
        let flags = self.byte();
        let has = |flag| flags & flag != 0;
        let kind = flags & flag::KIND;
        Told {
            path: has(flag::PATH).then(|| self.text()),
            kind,
            target: if kind == flag::SYMLINK { self.text() } else { b"" },
            permissions: has(flag::PERMISSIONS).then(|| self.number() as u16),
            size: has(flag::SIZE).then(|| self.number()),
            modified: has(flag::MODIFIED).then(|| self.time()),
            digest: has(flag::DIGEST)
                .then(|| (self.text(), if has(flag::HEXADECIMAL) { self.text() } else { b"".as_slice() })),
        }
    }

    /// The path, if the rest of an entry that begins here tells one.
    fn path(&self) -> Option<&'a [u8]> {
        let mut rest = Reader(self.0);
        (rest.byte() & flag::PATH != 0).then(|| rest.text())
    }

    fn time(&mut self) -> SystemTime {
        let (seconds, nanoseconds) = (self.number(), self.number());
        let distance = Duration::new(seconds >> 1, u32::try_from(nanoseconds).expect("a second has fewer"));
        if seconds & 1 == 1 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }

    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().expect("what was written ends where it is read to");
        self.0 = rest;
        *byte
    }
}

/// Splits a digest into its beginning, up to the colon, and the hash after that, if that is one in lower-case hexadecimal.
fn split_hash(digest: &str) -> (&str, Option<Vec<u8>>) {
    let (scheme, text) = digest.split_at(digest.find(':').map_or(0, |colon| colon + 1));
    let digit = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
    let (pairs, odd) = text.as_bytes().as_chunks();
    let bytes = pairs.iter().map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok());
    match bytes.collect() {
        Some(hash) if odd.is_empty() && !text.is_empty() => (scheme, Some(hash)),
        _ => (digest, None),
    }
}

/// Whether the entry's path is that of `dir` with its name.
fn is_child(dir: &RemotePath, entry: &Entry) -> bool {
    let (path, name) = (entry.path.as_bytes(), entry.name.as_slice());
    let above = path.strip_suffix(name);
    if dir.is_root() {
        above == Some(b"")
    } else {
        above.and_then(|above| above.strip_suffix(b"/")) == Some(dir.as_bytes())
    }
}

fn child(dir: &RemotePath, name: &[u8]) -> RemotePath {
    let bytes = if dir.is_root() { Cow::from(name) } else { [dir.as_bytes(), b"/", name].concat().into() };
    RemotePath::from_stored(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let kinds = prop_oneof![
            Just(EntryKind::File),
            Just(EntryKind::Directory),
            any::<Vec<u8>>().prop_map(|target| EntryKind::Symlink { target }),
        ];
        let names = prop_oneof![any::<Vec<u8>>(), "[a-z/]{0,300}".prop_map(String::into_bytes)];
        let paths = prop_oneof![Just(None), any::<Vec<u8>>().prop_map(Some)];
        let times = prop::option::of((-9_000_000_000_000_i64..9_000_000_000_000, 0..1_000_000_000_u32));
        let digests = prop_oneof![
            any::<String>(),
            "stat:[0-9]{0,3};unsettled=[0-9a-f]{0,6}",
            "[a-z0-9]{0,3}:[0-9a-f]{0,6}[A-F]?",
            "md5:[0-9a-f]{32}"
        ];
        let digests = prop::option::of(digests.prop_map(Digest::new));
        let permissions = prop::option::of(0..=0o777_u16);
        (names, paths, kinds, permissions, any::<Option<u64>>(), times, digests).prop_map(
            |(name, path, kind, permissions, size, time, digest)| {
                let path = match path {
                    Some(path) => RemotePath::from_stored(&path),
                    None => child(&dir(), &name),
                };
                let modified = time.map(|(seconds, nanoseconds)| {
                    let distance = Duration::new(seconds.unsigned_abs(), nanoseconds);
                    if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
                });
                Entry { name, path, kind, permissions, size, modified, digest }
            },
        )
    }

    fn dir() -> RemotePath {
        RemotePath::parse(b"some/dir").expect("a path")
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_as_it_was(entries in prop::collection::vec(entries(), 0..40)) {
            for dir in [dir(), RemotePath::root()] {
                let mut packed = Packed::new(dir.clone());
                let places: Vec<_> = entries.iter().map(|entry| packed.push(entry)).collect();
                packed.shrink();
                prop_assert_eq!(packed.places().len(), entries.len());
                for ((place, walked), entry) in places.iter().zip(packed.places()).zip(&entries) {
                    prop_assert_eq!(&packed.entry(*place), entry);
                    prop_assert_eq!(packed.text(walked), entry.name.as_slice());
                    prop_assert_eq!(&packed.path(walked), &entry.path);
                    prop_assert_eq!(packed.is_directory(walked), entry.is_directory());
                    prop_assert_eq!(packed.glance(walked), Glance {
                        is_file: matches!(entry.kind, EntryKind::File),
                        size: entry.size,
                        is_settled: entry.digest.as_ref().map(|digest| digest.unsettled_since().is_none()),
                    });
                    prop_assert!(packed.is_same(*place, &packed, walked));
                    let mut alone = Packed::new(dir.clone());
                    alone.push(entry);
                    alone.shrink();
                    prop_assert!(alone.bytes() <= size_of::<Vec<u8>>() + packed_bytes(&dir, entry) + 32);
                }
            }
        }
    }

    #[test]
    fn a_large_directory_costs_little_more_than_its_names() {
        let mut packed = Packed::new(dir());
        let name = |n: usize| format!("some-file-name-{n:06}.txt").into_bytes();
        let places: Vec<_> = (0..100_000)
            .map(|n| {
                let (path, kind, permissions) = (child(&dir(), &name(n)), EntryKind::File, None);
                packed.push(&Entry {
                    name: name(n),
                    path,
                    kind,
                    permissions,
                    size: Some(1),
                    modified: None,
                    digest: None,
                })
            })
            .collect();
        assert!(packed.bytes() < 100_000 * 32, "{} bytes", packed.bytes());
        assert_eq!(packed.text(places[99_999]), name(99_999));
        // An entry for which no chunk has room has one of its own.
        let long = packed.push_text(&[b'x'; 3 * CHUNK]);
        let next = packed.push_text(b"next");
        assert_eq!((packed.text(long).len(), packed.text(next)), (3 * CHUNK, b"next".as_slice()));
    }
}
