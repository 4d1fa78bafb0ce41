//! The conformance suite: checks every sentence of the contract that can be seen from outside on a real remote.
//! It knows no kind of source: [`RemoteEditor`] is how it changes what the source shows.
//!
//! ```
//! use std::path::Path;
//!
//! use kitovufs::source::Source;
//! use kitovufs::source::conformance::{self, RemoteEditor};
//!
//! /// For a test of your source: `remote` writes where `source` reads.
//! async fn keeps_the_contract(source: &dyn Source, remote: &dyn RemoteEditor, scratch: &Path) {
//!     let report = conformance::run(source, remote, scratch).await;
//!     assert!(report.passed(), "{report}");
//! }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use parking_lot::Mutex;

use super::retry::retry;
use super::{Entry, EntryKind, LocalCopy, RemoteDigest, Retrieval, Retrieved, Source};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;

/// The far side of a source, as its owner changes it.
#[async_trait]
pub trait RemoteEditor: Send + Sync {
    /// Puts or replaces a file, as a version that every digest can tell from the one before (a later time, if times count).
    /// False if this kind of remote cannot hold such a name.
    async fn put(&self, path: &str, content: &[u8]) -> bool;
    /// Removes a file.
    async fn remove(&self, path: &str);
    /// Makes a directory with nothing in it. False if this kind of remote has none.
    async fn mkdir(&self, path: &str) -> bool;
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The property that was checked, in words.
    pub name: String,
    /// The result of a source that keeps the contract.
    pub expected: String,
    /// The result of this source.
    pub seen: String,
}

impl Check {
    /// Whether the source keeps this part of the contract.
    pub fn passed(&self) -> bool {
        self.expected == self.seen
    }
}

/// Everything that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which it was checked.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether the source keeps the contract.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(Check::passed)
    }

    fn check(&mut self, name: impl Into<String>, expected: impl fmt::Debug, seen: impl fmt::Debug) {
        let (expected, seen) = (format!("{expected:?}"), format!("{seen:?}"));
        self.checks.push(Check { name: name.into(), expected, seen });
    }
}

/// One line per check; a line of a failed one tells what was expected and what was seen.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            if check.passed() {
                writeln!(f, "ok      {}", check.name)?;
            } else {
                writeln!(
                    f,
                    "FAILED  {}\n        expected {}\n        seen     {}",
                    check.name, check.expected, check.seen
                )?;
            }
        }
        Ok(())
    }
}

/// Names that lose something on the way through a careless client.
const NAMES: [&str; 22] = [
    "a b",
    " leading",
    "trailing ",
    "100%",
    "a+b",
    "ü",
    "e\u{301}",
    "x?y#z",
    "%41",
    "%2F",
    "a&b;c=d",
    "q'\"q",
    "<x>",
    "*[x]",
    "a:b@c",
    "~t",
    "..dots",
    "...",
    "back\\slash",
    "🦀",
    "tab\there",
    "new\nline",
];
/// More than one piece for every source.
const LARGE: usize = 3 * 1024 * 1024 + 17;

/// Checks a configured source against an empty remote that shows through it. `scratch` is a directory for local copies.
pub async fn run(source: &dyn Source, remote: &dyn RemoteEditor, scratch: &Path) -> Report {
    let mut report = Report::default();
    report.check("connects", Ok::<_, ErrorKind>(()), kind(source.connect().await));
    let suite = Suite { source, remote, scratch };
    suite.listings(&mut report).await;
    suite.bytes(&mut report).await;
    suite.copies(&mut report).await;
    suite.changes(&mut report).await;
    suite.absence(&mut report).await;
    suite.names(&mut report).await;
    source.disconnect().await;
    report.check("connects again", Ok::<_, ErrorKind>(()), kind(source.connect().await));
    report.check("lists after it connected again", true, suite.list("").await.is_ok());
    source.disconnect().await;
    report
}

struct Suite<'a> {
    source: &'a dyn Source,
    remote: &'a dyn RemoteEditor,
    scratch: &'a Path,
}

impl Suite<'_> {
    async fn listings(&self, report: &mut Report) {
        for (path, content) in [("plain", "content"), ("empty", ""), ("dir/inner", "inside"), ("dir/deep/er", "x")] {
            self.remote.put(path, content.as_bytes()).await;
        }
        let root = kind(self.list_sized("").await).map(|entries| shape(&entries));
        let expected = [("dir", "directory", None), ("empty", "file", Some(0)), ("plain", "file", Some(7))];
        report.check(
            "a listing has every entry with kind, and it, the digest or the bytes have the size",
            Ok::<_, ErrorKind>(owned(&expected)),
            root,
        );
        let dir = kind(self.list_sized("dir").await).map(|entries| shape(&entries));
        let expected = [("deep", "directory", None), ("inner", "file", Some(6))];
        report.check("a listing has one level", Ok::<_, ErrorKind>(owned(&expected)), dir);
        if self.remote.mkdir("hollow").await {
            let hollow = kind(self.list("hollow").await).map(|entries| entries.len());
            report.check("an empty directory is empty", Ok::<_, ErrorKind>(0), hollow);
        }
        let listed = self.list("").await.ok().and_then(|mut entries| entries.remove(b"plain".as_slice()));
        let (first, second) = (self.digest("plain").await, self.digest("plain").await);
        let digest = |answer: &Result<RemoteDigest>| answer.as_ref().ok().map(|answer| answer.digest.clone());
        report.check("an unchanged file keeps its digest", digest(&first), digest(&second));
        let size = first.as_ref().ok().and_then(|answer| answer.size);
        report.check("a digest comes with the size, if the source knows sizes", size.map(|_| 7), size);
        let listed = listed.and_then(|entry| entry.digest);
        // A source that promises no digests in listings may have some nevertheless.
        let promised = self.source.capabilities().digest_from_listing || listed.is_some();
        let expected = digest(&first).filter(|_| promised);
        report.check("a listing's digest is that of create_remote_digest", expected, listed);
        report.check("a directory has no digest", true, self.digest("dir").await.is_err());
    }

    async fn bytes(&self, report: &mut Report) {
        let content = pattern(LARGE, 1);
        self.remote.put("large", &content).await;
        let Ok(RemoteDigest { digest, .. }) = self.digest("large").await else {
            return report.check("a large file has a digest", true, false);
        };
        let size = LARGE as u64;
        let whole = self.retrieve("large", &digest, size, 0..size).await.map(|bytes| bytes == content);
        report.check("a whole file arrives byte for byte", Ok::<_, ErrorKind>(true), kind(whole));
        if !self.source.capabilities().ranges {
            return;
        }
        for range in [0..1, 0..4096, 1_000_000..2_500_000, size - 1..size, size - 70_000..size] {
            let (start, end) = (range.start as usize, range.end as usize);
            let part = self.retrieve("large", &digest, size, range.clone()).await;
            let same = part.map(|bytes| bytes == content[start..end]);
            report.check(format!("bytes {start} to {end} arrive"), Ok::<_, ErrorKind>(true), kind(same));
        }
    }

    async fn copies(&self, report: &mut Report) {
        for (name, content) in [("plain", b"content".as_slice()), ("empty", b"")] {
            let Ok(remote) = self.digest(name).await else {
                report.check(format!("{name} has a digest"), true, false);
                continue;
            };
            let size = content.len() as u64;
            let told = self.retrieve_all(&parse(name), &remote).await.ok().and_then(|(_, told)| told.modified);
            let modified = told.or(remote.modified);
            let local = self.local_digest(name, content, &remote.digest, size, modified).await;
            let expected = Ok::<_, ErrorKind>(remote.digest.clone());
            report.check(format!("a copy of {name} has the remote digest"), expected, kind(local));
            let longer = [content, b"x"].concat();
            let damaged = self.local_digest(name, &longer, &remote.digest, size, modified).await;
            report.check(format!("a longer copy of {name} does not"), true, damaged.is_ok_and(|d| d != remote.digest));
            if self.source.capabilities().content_digest && !content.is_empty() {
                let other = pattern(content.len(), 9);
                let damaged = self.local_digest(name, &other, &remote.digest, size, modified).await;
                let differs = damaged.is_ok_and(|digest| digest != remote.digest);
                report.check(format!("a damaged copy of {name} does not"), true, differs);
            }
        }
    }

    async fn changes(&self, report: &mut Report) {
        let (old, new) = (pattern(100_000, 2), pattern(100_000, 3));
        self.remote.put("changing", &old).await;
        let before = self.digest("changing").await;
        self.remote.put("changing", &new).await;
        let after = self.digest("changing").await;
        let (Ok(before), Ok(after)) = (before, after) else {
            return report.check("a changed file has a digest", true, false);
        };
        report.check("a change of the same size gives another digest", true, before.digest != after.digest);
        let (path, size) = (parse("changing"), old.len() as u64);
        let ranges = [0..size, 10..20];
        let parts = if self.source.capabilities().ranges { ranges.as_slice() } else { &ranges[..1] };
        for range in parts {
            let out = Mutex::new(Vec::new());
            let request = Retrieval::new(&path, &before.digest, size, range.clone());
            // As for the mount, a connection that the server has just closed is no answer.
            let asked = retry(async || {
                let mut seen = Vec::new();
                let result = self.source.retrieve_file(&request, &mut seen).await.map(drop);
                out.lock().push(seen);
                result
            });
            let (result, out) = (kind(asked.await), out.into_inner());
            report.check(
                format!("an outdated digest is refused ({range:?})"),
                Err::<(), _>(ErrorKind::Changed),
                result,
            );
            let wanted = &old[range.start as usize..range.end as usize];
            let is_old = out.iter().all(|seen| wanted.starts_with(seen));
            report.check(format!("and no byte of another version comes ({range:?})"), true, is_old);
        }
        let bytes = self.retrieve("changing", &after.digest, size, 0..size).await.map(|bytes| bytes == new);
        report.check("the new version can be retrieved", Ok::<_, ErrorKind>(true), kind(bytes));
    }

    async fn absence(&self, report: &mut Report) {
        let expected = Err::<(), _>(ErrorKind::NotFound);
        self.remote.put("doomed", b"x").await;
        let Ok(RemoteDigest { digest, .. }) = self.digest("doomed").await else {
            return report.check("a file has a digest", true, false);
        };
        self.remote.remove("doomed").await;
        report.check("a deleted file has no digest", expected, kind(self.digest("doomed").await.map(drop)));
        let bytes = self.retrieve("doomed", &digest, 1, 0..1).await;
        report.check("a deleted file cannot be retrieved", expected, kind(bytes.map(drop)));
        let listed = kind(self.list("").await).map(|entries| entries.contains_key(b"doomed".as_slice()));
        report.check("a deleted file is not listed", Ok::<_, ErrorKind>(false), listed);
        report.check("a missing directory is not found", expected, kind(self.list("nothing/here").await.map(drop)));
        report.check("a missing file is not found", expected, kind(self.digest("nothing").await.map(drop)));
    }

    async fn names(&self, report: &mut Report) {
        let mut held = Vec::new();
        for name in NAMES {
            // Each has its own content, so that a mix-up shows.
            if self.remote.put(&format!("names/{name}"), name.as_bytes()).await {
                held.push(name);
            }
        }
        let entries = self.list("names").await;
        let mut expected: Vec<_> = held.iter().map(|name| (*name).to_owned()).collect();
        expected.sort();
        let names = kind(entries)
            .map(|entries| entries.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>());
        report.check("all names are listed as they are", Ok::<_, ErrorKind>(expected), names);
        for name in held {
            let path = format!("names/{name}");
            let bytes = match self.digest(&path).await {
                Ok(answer) => self.retrieve(&path, &answer.digest, name.len() as u64, 0..name.len() as u64).await,
                Err(error) => Err(error),
            };
            let bytes = kind(bytes).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            report.check(format!("the file {name:?} has its own content"), Ok::<_, ErrorKind>(name.to_owned()), bytes);
        }
        if self.remote.put("names/in a dir/100% +ü/x", b"y").await {
            let inner = kind(self.list("names/in a dir/100% +ü").await).map(|entries| entries.len());
            report.check("directories of such names can be listed", Ok::<_, ErrorKind>(1), inner);
        }
    }

    async fn list(&self, dir: &str) -> Result<BTreeMap<Vec<u8>, Entry>> {
        let dir = parse(dir);
        let entries = self.source.list_path(&dir).await?.try_collect::<Vec<_>>().await?;
        Ok(entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
    }

    /// The listing with sizes, which a mount too takes from the digest where the listing has none, and from the bytes where neither
    /// has.
    async fn list_sized(&self, dir: &str) -> Result<BTreeMap<Vec<u8>, Entry>> {
        let mut entries = self.list(dir).await?;
        for entry in entries.values_mut() {
            if matches!(entry.kind, EntryKind::File) && entry.size.is_none() {
                let remote = self.source.create_remote_digest(&entry.path).await?;
                entry.size = remote.size;
                if entry.size.is_none() {
                    let (bytes, _) = self.retrieve_all(&entry.path, &remote).await?;
                    entry.size = Some(bytes.len() as u64);
                }
            }
        }
        Ok(entries)
    }

    async fn digest(&self, path: &str) -> Result<RemoteDigest> {
        self.source.create_remote_digest(&parse(path)).await
    }

    async fn retrieve(&self, path: &str, digest: &Digest, size: u64, range: Range<u64>) -> Result<Vec<u8>> {
        let (path, mut out) = (parse(path), Vec::new());
        self.source.retrieve_file(&Retrieval::new(&path, digest, size, range), &mut out).await?;
        Ok(out)
    }

    async fn retrieve_all(&self, path: &RemotePath, remote: &RemoteDigest) -> Result<(Vec<u8>, Retrieved)> {
        let mut bytes = Vec::new();
        let all = match remote.size {
            // An empty range cannot be requested.
            Some(0) => return Ok((bytes, Retrieved::default())),
            Some(size) => Retrieval::new(path, &remote.digest, size, 0..size),
            None => Retrieval::of_unknown_size(path, &remote.digest),
        };
        let told = self.source.retrieve_file(&all, &mut bytes).await?;
        Ok((bytes, told))
    }

    /// The digest of a copy that was made as the mount makes one: with the remote's time.
    async fn local_digest(
        &self,
        name: &str,
        content: &[u8],
        digest: &Digest,
        size: u64,
        modified: Option<SystemTime>,
    ) -> Result<Digest> {
        let (file, path) = (self.scratch.join(name), parse(name));
        let failed = |e| Error::new("write a local copy", ErrorKind::Cache).caused_by(e);
        std::fs::write(&file, content).map_err(failed)?;
        if let Some(modified) = modified {
            let written = std::fs::File::options().write(true).open(&file).map_err(failed)?;
            written.set_modified(modified).map_err(failed)?;
        }
        let copy = LocalCopy { file: &file, path: &path, retrieved_as: digest, size };
        self.source.create_local_digest(&copy).await
    }
}

fn kind<T>(result: Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

fn parse(path: &str) -> RemotePath {
    RemotePath::parse(path.as_bytes()).expect("the suite's own paths are good")
}

type Shape = Vec<(String, &'static str, Option<u64>)>;

fn shape(entries: &BTreeMap<Vec<u8>, Entry>) -> Shape {
    let shape = |entry: &Entry| {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        match entry.kind {
            EntryKind::Directory => (name, "directory", None),
            EntryKind::File => (name, "file", entry.size),
            EntryKind::Symlink { .. } => (name, "link", None),
        }
    };
    entries.values().map(shape).collect()
}

fn owned(entries: &[(&str, &'static str, Option<u64>)]) -> Shape {
    entries.iter().map(|(name, kind, size)| ((*name).to_owned(), *kind, *size)).collect()
}

/// Bytes without a short period, so that a shifted or repeated piece shows.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[cfg(test)]
mod tests;
