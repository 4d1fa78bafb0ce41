//! From remote names to local ones that Linux accepts. Nothing computes backwards: the catalog stores the pair.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::LocalEntries;
use crate::error::{Error, ErrorKind, Result};
use crate::name::NAME_MAX;
use crate::omitted::Omitted;
use crate::path::RemotePath;
use crate::source::packed::{Packed, Place};

/// The most bytes of a character in UTF-8.
const MAX_CHARACTER_BYTES: usize = 4;

/// The entries of one directory with their local names.
#[derive(Debug)]
pub struct Localized {
    /// Those that are shown.
    pub named: LocalEntries,
    /// What is left out: by the source, and names that lead out of the directory and are never followed.
    pub omitted: Omitted,
    /// How long ago the source was asked, if another machine has.
    pub age: Duration,
}

impl Localized {
    /// Fails if the source listed something, and nothing of it can be shown: that is no empty directory.
    pub fn if_usable(self, dir: &RemotePath) -> Result<Self> {
        match self.omitted.told().filter(|_| self.named.is_empty()) {
            Some(told) => {
                let why = format!("nothing of the listing can be used: {told}");
                Err(Error::new("list_path", ErrorKind::Protocol).on(dir).because(why))
            }
            None => Ok(self),
        }
    }
}

/// Gives each entry of one directory its local name: distinct, legal, the remote's own bytes wherever Linux allows them.
///
/// Names that would lead out of the directory (`..`, absolute ones) are refused. `verbatim` keeps control characters, for sources
/// whose names are file names already; elsewhere they become their Unicode pictures. The result does not depend on the order in
/// which entries arrived, and takes time in proportion to them, however they are named. `omitted` is what the source has left out.
pub fn localize(mut entries: Packed, mut omitted: Omitted, verbatim: bool) -> Localized {
    let mut places = entries.places();
    places.retain(|&place| {
        let name = entries.text(place);
        let checked = RemotePath::root().child(&without_nul(name));
        checked.inspect_err(|why| omitted.refuse(name, why)).is_ok()
    });
    // The order in which equal names are numbered.
    places.sort_unstable_by(|&a, &b| entries.compare(a, b));
    // What is told twice is there once. A store may have a file and a directory of one path.
    places.dedup_by(|&mut next, &mut before| {
        let is_same_kind = entries.is_directory(next) == entries.is_directory(before);
        is_same_kind && entries.text(next) == entries.text(before) && entries.path(next) == entries.path(before)
    });

    let mut named: Vec<(Place, Place)> = Vec::with_capacity(places.len());
    let mut mapped = Vec::new();
    // Names that need no change keep it, whatever another name becomes. Equal ones stand side by side.
    for place in places {
        let name = entries.text(place);
        let is_taken = named.last().is_some_and(|&(last, _)| entries.text(last) == name);
        if is_taken || legal(name, verbatim) != name {
            mapped.push(place);
        } else {
            named.push((place, place));
        }
    }
    if !mapped.is_empty() {
        let mut taken = Taken::default();
        named.iter().for_each(|&(name, _)| _ = taken.take(entries.text(name)));
        for place in mapped {
            let name = taken.nearest(legal(entries.text(place), verbatim));
            named.push((entries.push_text(&name), place));
        }
    }
    Localized { named: LocalEntries::of(entries, named), omitted, age: Duration::ZERO }
}

/// Whether a file of this name keeps it and no other name becomes this one, whatever else the directory has.
pub(super) fn stays(name: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(name) else { return false };
    let is_picture = |c| c == '\u{ff0f}' || ('\u{2400}'..='\u{2421}').contains(&c);
    // Neither is it numbered, nor long enough to be shortened.
    legal(name, false) == name && !text.contains(is_picture) && !text.contains(" (") && name.len() < NAME_MAX - 8
}

/// The names of one directory that are given already. It keeps hashes of them: where two names share one, a number is left out.
#[derive(Default)]
struct Taken {
    hasher: RandomState,
    names: HashSet<u64>,
    /// The last number that was tried of each name, so that equal names cost one attempt each.
    numbers: HashMap<u64, usize>,
}

impl Taken {
    /// Whether this name was free. It is not any more.
    fn take(&mut self, name: &[u8]) -> bool {
        self.names.insert(self.hasher.hash_one(name))
    }

    /// This name or, if it is taken, with the first number with which it is free.
    fn nearest(&mut self, name: Vec<u8>) -> Vec<u8> {
        if self.take(&name) {
            return name;
        }
        let stays = self.hasher.hash_one(what_stays(&name));
        loop {
            let number = self.numbers.entry(stays).or_insert(1);
            *number += 1;
            let numbered = numbered(&name, *number);
            if self.take(&numbered) {
                return numbered;
            }
        }
    }
}

/// Replaces each NUL, which gets a picture later, so that the check finds the other faults of the name.
fn without_nul(name: &[u8]) -> Vec<u8> {
    name.iter().map(|&b| if b == 0 { b'0' } else { b }).collect()
}

/// The name with `/`, NUL and, unless `verbatim`, control characters replaced, cut to [`NAME_MAX`].
fn legal(name: &[u8], verbatim: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let c = match c {
                '/' => '\u{ff0f}',
                '\0' => '\u{2400}',
                '\u{1}'..='\u{1f}' if !verbatim => {
                    char::from_u32(0x2400 + c as u32).expect("the pictures follow the order of ASCII")
                }
                '\u{7f}' if !verbatim => '\u{2421}',
                other => other,
            };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    if out.len() > NAME_MAX { shorten(name, &out) } else { out }
}

/// The start of a name that is too long, a hash of all of it, and its extension.
fn shorten(original: &[u8], name: &[u8]) -> Vec<u8> {
    let hash = crate::digest::hex(&Sha256::digest(original)[..4]);
    let (_, extension) = split_extension(name);
    let tail = [b"~", hash.as_bytes(), extension].concat();
    [cut(name, NAME_MAX - tail.len()), &tail].concat()
}

/// `name (n).ext`, cut to fit.
fn numbered(name: &[u8], n: usize) -> Vec<u8> {
    let (stem, extension) = split_extension(name);
    let tail = [format!(" ({n})").as_bytes(), extension].concat();
    [cut(stem, NAME_MAX - tail.len()), &tail].concat()
}

/// The part of a name that [`numbered`] keeps whatever the number: names that share it may become the same.
fn what_stays(name: &[u8]) -> Vec<u8> {
    let (stem, extension) = split_extension(name);
    // A number has at most 16 digits here: there are not as many names.
    [cut(stem, NAME_MAX - extension.len() - " ()".len() - 16 - MAX_CHARACTER_BYTES), extension].concat()
}

/// Stem and extension with its dot; an extension has 1 to 16 bytes, and a leading dot starts none.
fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&b| b == b'.') {
        Some(dot) if dot > 0 && (2..=17).contains(&(name.len() - dot)) => name.split_at(dot),
        _ => (name, b""),
    }
}

/// At most `len` bytes from the start, never half of a character.
fn cut(name: &[u8], len: usize) -> &[u8] {
    if name.len() <= len {
        return name;
    }
    let mut end = len;
    while end > 0 && len - end < MAX_CHARACTER_BYTES - 1 && name[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Entry, EntryKind};

    fn localized(names: impl IntoIterator<Item = impl AsRef<[u8]>>, verbatim: bool) -> Localized {
        let mut entries = Packed::new(RemotePath::root());
        for (number, name) in names.into_iter().enumerate() {
            let path = RemotePath::parse(number.to_string().as_bytes()).expect("a plain path");
            entries.push(&Entry { path, ..entry(name.as_ref()) });
        }
        localize(entries, Omitted::default(), verbatim)
    }

    fn entry(name: &[u8]) -> Entry {
        Entry {
            name: name.to_vec(),
            path: RemotePath::root(),
            kind: EntryKind::File,
            permissions: None,
            size: Some(0),
            modified: None,
            digest: None,
        }
    }

    fn names(input: &[&[u8]], verbatim: bool) -> Vec<Vec<u8>> {
        localized(input, verbatim).named.iter().map(|(name, _)| name.to_vec()).collect()
    }

    #[test]
    fn names_that_linux_allows_are_kept_byte_for_byte() {
        let long = [b'x'; 255];
        for name in [b"-rf".as_slice(), b"a\xff\xfe", b" both ends ", b"\xe4\xbd\xa0", &long] {
            assert_eq!(names(&[name], false), [name]);
        }
        assert_eq!(names(&[b"a\nb"], true), [b"a\nb"]);
    }

    #[test]
    fn what_linux_forbids_is_mapped() {
        assert_eq!(names(&[b"AC/DC"], true), ["AC\u{ff0f}DC".as_bytes()]);
        assert_eq!(names(&[b"a\0b"], true), ["a\u{2400}b".as_bytes()]);
        assert_eq!(names(&[b"line\r\nbreak\x7f"], false), ["line\u{240d}\u{240a}break\u{2421}".as_bytes()]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_left_out() {
        let bad = [b"..".as_slice(), b".", b"", b"/etc/passwd", b"a/../b"];
        let shown = localized(bad.iter().chain([&b"ok".as_slice()]), false);
        assert_eq!(shown.named.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>(), [b"ok"]);
        let words = "5 names are left out: \"..\" (";
        assert!(shown.omitted.told().is_some_and(|told| told.starts_with(words) && told.ends_with(", …")));
        let names = (0..100_000).map(|number| format!("/{number}\x1b{}", "x".repeat(1000)));
        let told = localized(names, false).omitted.told().expect("none is followed");
        assert!(told.len() < 400 && told.starts_with("100000 names") && told.contains("␛"), "{told}");
    }

    #[test]
    fn a_long_name_keeps_start_and_extension() {
        let name = format!("{}.pdf", "ä".repeat(200));
        let short = names(&[name.as_bytes()], false).remove(0);
        let text = String::from_utf8(short).expect("no character is cut");
        assert!(text.len() <= NAME_MAX && text.starts_with("ää") && text.ends_with(".pdf"), "{text}");
        let other = format!("{}b.pdf", "ä".repeat(200));
        assert_eq!(names(&[name.as_bytes(), other.as_bytes()], false).len(), 2);
    }

    #[test]
    fn what_is_told_twice_is_shown_once_but_for_a_file_and_a_directory_of_one_path() {
        let mut entries = Packed::new(RemotePath::root());
        let path = |name: &[u8]| RemotePath::parse(name).expect("a plain path");
        for (name, kind) in [
            (b"a", EntryKind::File),
            (b"b", EntryKind::File),
            (b"a", EntryKind::Directory),
            (b"a", EntryKind::File),
            (b"a", EntryKind::Directory),
        ] {
            entries.push(&Entry { path: path(name), kind, size: Some(entries.places().len() as u64), ..entry(name) });
        }
        let shown = localize(entries, Omitted::default(), false).named;
        assert_eq!(shown.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>(), [&b"a"[..], b"a (2)", b"b"]);
    }

    #[test]
    fn duplicates_are_numbered_in_remote_order_and_never_take_a_real_name() {
        assert_eq!(
            names(&[b"a/b.txt", "a\u{ff0f}b.txt".as_bytes(), "a\u{ff0f}b (2).txt".as_bytes()], false),
            ["a\u{ff0f}b (2).txt", "a\u{ff0f}b (3).txt", "a\u{ff0f}b.txt"].map(str::as_bytes),
        );
        assert_eq!(names(&[b"x", b"x"], false), [b"x".to_vec(), b"x (2)".to_vec()]);
    }

    /// Names all of which become others: equal ones, and long ones that are the same once they are numbered.
    #[test]
    fn names_that_must_all_be_numbered_cost_no_more_each_than_few() {
        let long = |n: usize| format!("{}{:06}", "x".repeat(249), n / 2).into_bytes();
        let makes: [fn(usize) -> Vec<u8>; 2] = [|_| b"same.txt".to_vec(), |n| format!("same ({n}).txt").into_bytes()];
        let cases = [(0..400_000).map(makes[0]).collect(), (0..100_000).map(long).collect::<Vec<_>>()];
        let real = (0..200_000).map(makes[0]).chain((0..200_000).map(makes[1])).collect();
        for names in cases.into_iter().chain([real]) {
            let (count, began) = (names.len(), std::time::Instant::now());
            let localized = localized(&names, false);
            let mut named: Vec<_> = localized.named.iter().map(|(name, _)| name).collect();
            named.dedup();
            assert_eq!(named.len(), count);
            // Quadratic, it takes minutes on a fast machine; linear, a few seconds on a slow one that does much else.
            assert!(began.elapsed().as_secs() < 60, "{count} names took {:?}", began.elapsed());
        }
    }
}
