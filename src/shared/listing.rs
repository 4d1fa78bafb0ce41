//! `SealedListing`: a listing of one directory as a value of the store, and when its source was asked for it. It stores nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::seal::Seal;
use crate::digest::Digest;
use crate::path::{Exact, RemotePath};
use crate::source::{Entry, EntryKind};

/// The most bytes of a listing that is shared.
pub(super) const LARGEST: usize = 1 << 20;

/// The place of the listing of one directory.
pub(super) struct SealedListing {
    /// The name of its value.
    pub(super) name: String,
    seal: Seal,
    dir: RemotePath,
}

/// What the source said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// When it was asked, by the clock of who asked.
    pub(super) asked: SystemTime,
    /// Everything that it named.
    pub(super) entries: Vec<Entry>,
}

/// It as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Since 1970.
    asked: Duration,
    entries: Vec<WrittenEntry>,
}

#[derive(Serialize, Deserialize)]
struct WrittenEntry {
    #[serde(rename = "n")]
    name: Exact,
    /// Where it is not the name in the directory.
    #[serde(rename = "p", skip_serializing_if = "Option::is_none", default)]
    path: Option<Exact>,
    #[serde(rename = "k")]
    kind: WrittenKind,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    permissions: Option<u16>,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none", default)]
    size: Option<u64>,
    /// Before 1970 or since, seconds and nanoseconds.
    #[serde(rename = "m", skip_serializing_if = "Option::is_none", default)]
    modified: Option<(bool, u64, u32)>,
    #[serde(rename = "d", skip_serializing_if = "Option::is_none", default)]
    digest: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum WrittenKind {
    #[serde(rename = "f")]
    File,
    #[serde(rename = "d")]
    Directory,
    #[serde(rename = "l")]
    Symlink(Exact),
}

impl SealedListing {
    pub(super) fn new(seal: Seal, name: String, dir: RemotePath) -> Self {
        Self { name, seal, dir }
    }

    /// The value; `None` if it were too large.
    pub(super) fn seal(&self, told: &Told) -> Option<Bytes> {
        let asked = told.asked.duration_since(UNIX_EPOCH).ok()?;
        let entries = told.entries.iter().map(|entry| self.written(entry)).collect();
        let text = serde_json::to_vec(&Written { asked, entries }).ok()?;
        let mut value = BytesMut::new();
        self.seal.seal(0, &text, &mut value);
        (value.len() <= LARGEST).then(|| value.freeze())
    }

    /// What the source said; `None` if the value is not what was sealed there.
    pub(super) fn open(&self, value: Bytes) -> Option<Told> {
        let text = self.seal.open(0, BytesMut::from(value))?;
        let Written { asked, entries } = serde_json::from_slice(&text).ok()?;
        let entries = entries.into_iter().map(|entry| self.read(entry)).collect::<Option<_>>()?;
        Some(Told { asked: UNIX_EPOCH.checked_add(asked)?, entries })
    }

    fn written(&self, entry: &Entry) -> WrittenEntry {
        let Entry { name, path, kind, permissions, size, modified, digest } = entry;
        let is_child = self.dir.child(name).is_ok_and(|child| child == *path);
        WrittenEntry {
            name: Exact::of(name),
            path: (!is_child).then(|| Exact::of(path.as_bytes())),
            kind: match kind {
                EntryKind::File => WrittenKind::File,
                EntryKind::Directory => WrittenKind::Directory,
                EntryKind::Symlink { target } => WrittenKind::Symlink(Exact::of(target)),
            },
            permissions: *permissions,
            size: *size,
            modified: modified.map(|modified| match modified.duration_since(UNIX_EPOCH) {
                Ok(since) => (false, since.as_secs(), since.subsec_nanos()),
                Err(before) => (true, before.duration().as_secs(), before.duration().subsec_nanos()),
            }),
            digest: digest.as_ref().map(|digest| digest.as_str().to_owned()),
        }
    }

    fn read(&self, written: WrittenEntry) -> Option<Entry> {
        let WrittenEntry { name, path, kind, permissions, size, modified, digest } = written;
        let name = name.bytes().to_vec();
        let path = match path {
            Some(path) => RemotePath::parse(path.bytes()).ok()?,
            None => self.dir.child(&name).ok()?,
        };
        let kind = match kind {
            WrittenKind::File => EntryKind::File,
            WrittenKind::Directory => EntryKind::Directory,
            WrittenKind::Symlink(target) => EntryKind::Symlink { target: target.bytes().to_vec() },
        };
        let modified = match modified {
            None => None,
            Some((_, _, 1_000_000_000..)) => return None,
            Some((false, seconds, nanos)) => Some(UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?),
            Some((true, seconds, nanos)) => Some(UNIX_EPOCH.checked_sub(Duration::new(seconds, nanos))?),
        };
        Some(Entry { name, path, kind, permissions, size, modified, digest: digest.map(Digest::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::{Access, Circle, CircleKey};

    fn circle(digit: &str, source_id: &'static str) -> Circle {
        Circle::new(&CircleKey::parse(&digit.repeat(64)).expect("a key"), Access::Same, source_id)
    }

    fn dir() -> RemotePath {
        RemotePath::parse(b"/a/b").expect("a path")
    }

    fn told() -> Told {
        let entry = |name: &[u8]| Entry {
            name: name.to_vec(),
            path: dir().child(name).expect("a name"),
            kind: EntryKind::File,
            permissions: None,
            size: None,
            modified: None,
            digest: None,
        };
        let at = |seconds| UNIX_EPOCH.checked_add(Duration::new(seconds, 7)).expect("a time");
        let before = UNIX_EPOCH.checked_sub(Duration::new(9, 1)).expect("a time");
        let elsewhere = RemotePath::parse(b"/id/7").expect("a path");
        let entries = vec![
            entry(b"plain"),
            Entry { size: Some(u64::MAX), modified: Some(at(1 << 33)), ..entry(b"\xff\xfe") },
            Entry { permissions: Some(0o640), digest: Some(Digest::new("etag:\"1\"")), ..entry("ü".as_bytes()) },
            Entry { kind: EntryKind::Directory, path: elsewhere, modified: Some(before), ..entry(b"dir") },
            Entry { kind: EntryKind::Symlink { target: b"../\xff".to_vec() }, ..entry(b"link") },
        ];
        Told { asked: at(1_900_000_000), entries }
    }

    #[test]
    fn what_a_source_said_survives_the_way_and_shows_nothing() {
        let listing = circle("1", "s").listing(&dir());
        let value = listing.seal(&told()).expect("it is small");
        assert_eq!(circle("1", "s").listing(&dir()).open(value.clone()), Some(told()));
        for shown in [b"plain".as_slice(), b"etag"] {
            assert!(!value.windows(shown.len()).any(|part| part == shown));
        }
        let none = Told { entries: Vec::new(), ..told() };
        assert_eq!(listing.open(listing.seal(&none).expect("it is small")), Some(none));
    }

    #[test]
    fn what_is_altered_or_in_anothers_place_is_refused() {
        let listing = circle("1", "s").listing(&dir());
        let value = listing.seal(&told()).expect("it is small");
        for place in 0..value.len() {
            let mut altered = value.to_vec();
            altered[place] ^= 1 << (place % 8);
            assert_eq!(listing.open(altered.into()), None, "byte {place}");
        }
        for length in [0, 12, 28, value.len() - 1] {
            assert_eq!(listing.open(value.slice(..length)), None);
        }
        let root = RemotePath::root();
        for other in
            [circle("2", "s").listing(&dir()), circle("1", "t").listing(&dir()), circle("1", "s").listing(&root)]
        {
            assert_eq!(other.open(value.clone()), None);
            assert_ne!(other.name, listing.name);
        }
    }

    #[test]
    fn one_that_is_large_is_not_shared() {
        let listing = circle("1", "s").listing(&dir());
        let many = Told { entries: vec![told().entries[2].clone(); 40_000], ..told() };
        assert_eq!(listing.seal(&many), None);
    }
}
