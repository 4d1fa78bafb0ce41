//! `Memory`: a source held in memory, for tests. It knows no wrapper: faults and counts are `source::fault`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, hex};
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::one_name::OneName;
use crate::source::{
    Capabilities, Entry, EntryKind, EntryStream, LeftOut, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source,
};

/// How many bytes one `write` to a sink carries.
const CHUNK: usize = 64 * 1024;

/// How many names of a directory come at once, where names are told alone.
const PAGE: usize = 1_000;

/// A source in memory. Clones share one tree, so a test keeps a clone and changes what the source shows.
///
/// Names may be anything, also what no path may hold (`..`, `/abs`, bytes that are no text): an entry whose name
/// [`RemotePath::child`] refuses carries the raw name and, as its path, the directory's own.
#[derive(Debug, Clone)]
pub struct Memory {
    tree: Arc<Mutex<Tree>>,
    capabilities: Capabilities,
    sizes: bool,
    /// Local digests are hashes of the bytes, whatever the capabilities promise.
    hashes: bool,
}

/// Directory path → raw name → what it is. The root's table is always there.
type Tree = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Node>>;

#[derive(Debug, Clone)]
enum Node {
    File { content: Bytes, digest: Digest, modified: SystemTime },
    Directory { modified: SystemTime },
    Symlink { target: Vec<u8>, modified: SystemTime },
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty source that can do everything.
    pub fn new() -> Self {
        Self {
            tree: Arc::new(Mutex::new(Tree::from([(Vec::new(), BTreeMap::new())]))),
            capabilities: Capabilities {
                digest_from_listing: true,
                ranges: true,
                content_digest: true,
                proven_whole: false,
                unconfirmed: false,
                verbatim_names: false,
                names_alone: false,
                buffer: CHUNK as u64,
                concurrency: 16,
            },
            sizes: true,
            hashes: false,
        }
    }

    /// The same source, which compares hashes but does not promise that its digests are some.
    #[must_use]
    pub fn without_promise(mut self) -> Self {
        self.capabilities.content_digest = false;
        self.hashes = true;
        self
    }

    /// It tells digests that are no hashes, and leaves it to others to confirm bytes where it may.
    #[must_use]
    pub fn unconfirmed(mut self) -> Self {
        (self.capabilities.unconfirmed, self.capabilities.content_digest) = (true, false);
        self
    }

    /// The same source, with other capabilities.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The same source, whose listings and digests tell no sizes.
    #[must_use]
    pub fn without_sizes(mut self) -> Self {
        self.sizes = false;
        self
    }

    /// The modification time of everything that was put without one.
    pub fn default_modified() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)
    }

    /// Puts or replaces a file; directories above it appear by themselves.
    pub fn put(&self, path: &str, content: impl Into<Bytes>) {
        self.put_at(path, content, Self::default_modified());
    }

    /// Puts or replaces a file that was last changed at `modified`.
    pub fn put_at(&self, path: &str, content: impl Into<Bytes>, modified: SystemTime) {
        let (dir, name) = split(path.as_bytes());
        self.put_raw(dir, name, content, modified);
    }

    /// Puts or replaces a file whose digest is no hash of its bytes.
    pub fn put_as(&self, path: &str, digest: &str, content: impl Into<Bytes>) {
        let (dir, name) = split(path.as_bytes());
        let (digest, modified) = (Digest::new(digest), Self::default_modified());
        self.insert(dir, name, Node::File { content: content.into(), digest, modified });
    }

    /// Puts or replaces a file under a name of any bytes in the directory `dir`.
    pub fn put_raw(&self, dir: &[u8], name: &[u8], content: impl Into<Bytes>, modified: SystemTime) {
        let content = content.into();
        let digest = digest_of(&content);
        self.insert(dir, name, Node::File { content, digest, modified });
    }

    /// Makes a directory; those above it appear by themselves.
    pub fn mkdir(&self, path: &str) {
        self.mkdir_bytes(path.as_bytes());
    }

    /// Puts or replaces a symbolic link.
    pub fn symlink(&self, path: &str, target: &str) {
        let (dir, name) = split(path.as_bytes());
        let node = Node::Symlink { target: target.as_bytes().to_vec(), modified: Self::default_modified() };
        self.insert(dir, name, node);
    }

    /// Removes a file, a link, or a directory with everything in it.
    pub fn remove(&self, path: &str) {
        let (dir, name) = split(path.as_bytes());
        let mut tree = self.tree.lock();
        if let Some(names) = tree.get_mut(dir) {
            names.remove(name);
        }
        let below = join(path.as_bytes(), b"");
        tree.retain(|dir, _| dir != path.as_bytes() && !dir.starts_with(&below));
    }

    /// The digest that this source gives for `content`.
    pub fn digest_of(content: &[u8]) -> Digest {
        digest_of(content)
    }

    fn insert(&self, dir: &[u8], name: &[u8], node: Node) {
        self.mkdir_bytes(dir);
        self.tree.lock().entry(dir.to_vec()).or_default().insert(name.to_vec(), node);
    }

    fn mkdir_bytes(&self, path: &[u8]) {
        if path.is_empty() {
            return;
        }
        let (dir, name) = split(path);
        self.mkdir_bytes(dir);
        let mut tree = self.tree.lock();
        tree.entry(dir.to_vec())
            .or_default()
            .entry(name.to_vec())
            .or_insert_with(|| Node::Directory { modified: Self::default_modified() });
        tree.entry(path.to_vec()).or_default();
    }

    /// Finds a node. A raw name may hold `/`, so every place where the path can be split is tried.
    fn find(&self, path: &RemotePath) -> Option<Node> {
        let tree = self.tree.lock();
        let bytes = path.as_bytes();
        let slashes = (0..bytes.len()).rev().filter(|&at| bytes[at] == b'/');
        let splits = slashes.map(|at| (&bytes[..at], &bytes[at + 1..])).chain([(b"".as_slice(), bytes)]);
        splits.into_iter().find_map(|(dir, name)| tree.get(dir)?.get(name).cloned())
    }

    fn find_file(&self, op: &'static str, path: &RemotePath) -> Result<(Bytes, Digest, SystemTime)> {
        match self.find(path) {
            Some(Node::File { content, digest, modified, .. }) => Ok((content, digest, modified)),
            Some(Node::Directory { .. }) => Err(Error::new(op, ErrorKind::IsADirectory).on(path)),
            Some(Node::Symlink { .. }) => Err(Error::new(op, ErrorKind::Unsupported).on(path)),
            None if path.is_root() => Err(Error::new(op, ErrorKind::IsADirectory).on(path)),
            None => Err(Error::new(op, ErrorKind::NotFound).on(path)),
        }
    }

    fn entry(&self, dir: &RemotePath, name: &[u8], node: &Node) -> Entry {
        let path = dir.child(name).unwrap_or_else(|_| dir.clone());
        let (kind, size, modified, digest) = match node {
            Node::File { content, digest, modified } => (
                EntryKind::File,
                self.sizes.then_some(content.len() as u64),
                *modified,
                self.capabilities.digest_from_listing.then(|| digest.clone()),
            ),
            Node::Directory { modified } => (EntryKind::Directory, None, *modified, None),
            Node::Symlink { target, modified } => {
                (EntryKind::Symlink { target: target.clone() }, None, *modified, None)
            }
        };
        Entry { name: name.to_vec(), path, kind, permissions: None, size, modified: Some(modified), digest }
    }
}

#[async_trait]
impl Source for Memory {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn connect(&self) -> Result<()> {
        Ok(())
    }

    async fn disconnect(&self) {}

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let mut entries: Vec<_> = match self.tree.lock().get(dir.as_bytes()) {
            Some(names) => names.iter().map(|(name, node)| Ok(self.entry(dir, name, node))).collect(),
            None => Vec::new(),
        };
        if entries.is_empty() && !dir.is_root() {
            match self.find(dir) {
                Some(Node::Directory { .. }) => {}
                Some(_) => return Err(Error::new("list_path", ErrorKind::NotADirectory).on(dir)),
                None => return Err(Error::new("list_path", ErrorKind::NotFound).on(dir)),
            }
        }
        if !self.capabilities.names_alone || entries.len() <= PAGE {
            return Ok(EntryStream::new(futures::stream::iter(entries)));
        }
        let one_name = OneName::default();
        let all: Vec<Entry> = entries.iter().flatten().cloned().collect();
        let (rest, of_stream) = (entries.split_off(PAGE), one_name.clone());
        let rest = futures::stream::once(async move {
            let Some(name) = one_name.take_wanted() else { return futures::stream::iter(rest) };
            one_name.tell(all.into_iter().filter(|entry| entry.name.starts_with(&name)).collect());
            futures::stream::iter(Vec::new())
        });
        let entries = futures::stream::iter(entries).chain(rest.flatten());
        Ok(EntryStream::for_one_name(entries, LeftOut::default(), of_stream))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let (content, digest, modified) = self.find_file("create_remote_digest", file)?;
        Ok(RemoteDigest { digest, size: self.sizes.then_some(content.len() as u64), modified: Some(modified) })
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        let failed = |e| Error::new("create_local_digest", ErrorKind::Cache).on(copy.path).caused_by(e);
        let content = std::fs::read(copy.file).map_err(failed)?;
        if self.hashes || self.capabilities.content_digest || content.len() as u64 != copy.size {
            return Ok(digest_of(&content));
        }
        Ok(copy.retrieved_as.clone())
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let (content, digest, modified) = self.find_file("retrieve_file", request.path)?;
        let end = request.size.map_or(content.len() as u64, |_| request.range.end);
        let (Ok(start), Ok(end)) = (usize::try_from(request.range.start), usize::try_from(end)) else {
            return Err(Error::new("retrieve_file", ErrorKind::Unsupported).on(request.path));
        };
        if digest != *request.digest || end > content.len() {
            return Err(Error::new("retrieve_file", ErrorKind::Changed).on(request.path));
        }
        let mut at = start;
        while at < end {
            let next = end.min(at + CHUNK);
            out.write(content.slice(at..next)).await?;
            at = next;
        }
        let is_unconfirmed = self.capabilities.unconfirmed && request.may_be_unconfirmed;
        Ok(Retrieved { modified: Some(modified), is_unconfirmed })
    }
}

fn digest_of(content: &[u8]) -> Digest {
    Digest::new(format!("sha256:{}", hex(&Sha256::digest(content))))
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(source: &Memory, dir: &RemotePath) -> Vec<(Vec<u8>, RemotePath)> {
        let entries = source.list_path(dir).await.expect("the directory is there").collect::<Vec<_>>().await;
        entries.into_iter().map(|entry| entry.map(|e| (e.name, e.path)).expect("no faults here")).collect()
    }

    #[tokio::test]
    async fn names_may_be_anything() {
        let source = Memory::new();
        let dir = RemotePath::root().child(b"d").expect("a plain name");
        let modified = Memory::default_modified();
        for name in [b"..".as_slice(), b"/abs", b"a/b", b"\xff"] {
            source.put_raw(b"d", name, "x", modified);
        }
        let inside = |name: &[u8]| dir.child(name).expect("a good name");
        let expected = vec![
            (b"..".to_vec(), dir.clone()),
            (b"/abs".to_vec(), dir.clone()),
            (b"a/b".to_vec(), inside(b"a/b")),
            (b"\xff".to_vec(), inside(b"\xff")),
        ];
        assert_eq!(names(&source, &dir).await, expected);
        source.create_remote_digest(&inside(b"a/b")).await.expect("a name with a slash can be asked for");
    }

    #[tokio::test]
    async fn removing_a_directory_removes_what_is_below() {
        let source = Memory::new();
        source.put("a/b/c", "x");
        source.put("ab", "y");
        source.remove("a");
        let below = RemotePath::parse(b"a/b").expect("a plain path");
        assert_eq!(source.list_path(&below).await.err().map(|e| e.kind()), Some(ErrorKind::NotFound));
        assert_eq!(names(&source, &RemotePath::root()).await.len(), 1);
    }
}
