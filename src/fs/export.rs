//! Export: an inode is found by its number alone, though the kernel has forgotten it or the daemon was restarted. NFS servers ask so, and
//! whoever opens a file by its handle (`open_by_handle_at(2)`): the kernel looks `.` up in the inode, and `..` for a directory's parent.
//!
//! Numbers are hashes of what the inodes stand for ([`Inodes`](super::Inodes)), so nothing is written for it: what the listings that were
//! stored tell is hashed until the number comes out. No source is asked. What no listing has told is not found, and a version that is not
//! the latest that was told neither: its handle is stale.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{FileSystem, Inode, Lookup, Node, SourceIndex};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;

/// For how long a number that led nowhere is not searched for again: a client that has a stale handle asks often, and each search goes
/// through all stored names.
const VAIN_FOR: Duration = Duration::from_secs(10);

/// How many such numbers are remembered.
const VAIN: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// The numbers that led nowhere lately, by when that was found.
#[derive(Debug)]
pub(super) struct Vain {
    numbers: Mutex<LruCache<u64, Instant>>,
    /// One search at a time.
    searching: tokio::sync::Mutex<()>,
}

impl Default for Vain {
    fn default() -> Self {
        Self { numbers: Mutex::new(LruCache::new(VAIN)), searching: tokio::sync::Mutex::default() }
    }
}

impl Vain {
    fn has(&self, inode: Inode) -> bool {
        self.numbers.lock().get(&inode.0).is_some_and(|since| since.elapsed() < VAIN_FOR)
    }
}

impl FileSystem {
    /// Looks `.` or `..` up in an inode that the kernel may have forgotten; the kernel gets a reference to what is found. `None` for any
    /// other name.
    pub(super) async fn lookup_exported(&self, inode: Inode, name: &[u8]) -> Option<Lookup> {
        let found = match name {
            b"." => self.known(inode).await,
            b".." => self.known(inode).await.map(|node| self.parent(&node)),
            _ => return None,
        };
        let found = match found {
            Some(node) if self.is_top(&node) => Some(self.describe(Inode::ROOT, &node, Duration::ZERO)),
            Some(node) => {
                let inode = self.inodes.refer(&node);
                Some(self.describe(inode, &node, Duration::ZERO))
            }
            None => None,
        };
        Some(Lookup { found, valid_for: Duration::ZERO })
    }

    /// The node of this number.
    async fn known(&self, inode: Inode) -> Option<Node> {
        if let Some(node) = self.inodes.get(inode) {
            return Some((*node).clone());
        }
        if self.vain.has(inode) {
            return None;
        }
        let _one_at_a_time = self.vain.searching.lock().await;
        if self.vain.has(inode) {
            return None;
        }
        if let Some(node) = self.made(inode) {
            return Some(node);
        }
        for source in 0..self.sources.len() {
            if let Some(node) = self.stored(inode, source).await {
                return Some(node);
            }
        }
        self.vain.numbers.lock().put(inode.0, Instant::now());
        None
    }

    /// The folder of this number that the configuration makes, or a source's own.
    fn made(&self, inode: Inode) -> Option<Node> {
        let mut folders: Vec<Vec<LocalName>> = vec![Vec::new()];
        while let Some(folder) = folders.pop() {
            for (name, node) in self.layout.children(&folder, &self.sources) {
                if self.inodes.number(&node) == inode {
                    return Some(node);
                }
                if let Node::Group { .. } = node {
                    folders.push(folder.iter().cloned().chain([name]).collect());
                }
            }
        }
        None
    }

    /// The node of this number, of all that the stored listings of a source tell.
    async fn stored(&self, inode: Inode, source: SourceIndex) -> Option<Node> {
        let (numbers, live) = (self.inodes.numbers(), self.sources[source].live.clone());
        let unions = self.layout.shown_in_unions(source);
        let select = move |dir: &RemotePath, name: LocalName, entry: Entry| {
            let node = match Node::of_entry(source, dir, name, entry) {
                Node::File { source, dir, name, entry } if live.is_match(OsStr::from_bytes(&name)) => {
                    Node::Live { source, dir, name, entry }
                }
                node => node,
            };
            let in_unions = match &node {
                Node::Directory { path, entry, .. } => {
                    unions.iter().filter_map(|shown| shown.node(path, entry)).collect()
                }
                _ => Vec::new(),
            };
            in_unions.into_iter().chain([node]).find(|node| numbers.of(node) == inode)
        };
        self.sources[source].catalog.find_stored(select).await
    }

    fn parent(&self, node: &Node) -> Node {
        match node {
            Node::Root => Node::Root,
            Node::Group { path } | Node::Union { path, .. } => {
                self.layout.folder(&path[..path.len().saturating_sub(1)])
            }
            Node::Directory { source, path, .. } => match path.parent() {
                Some(parent) => self.directory_node(*source, parent),
                None => self.layout.root(),
            },
            Node::File { source, dir, .. } | Node::Live { source, dir, .. } => {
                self.directory_node(*source, dir.clone())
            }
            Node::Symlink { source, entry, .. } => {
                self.directory_node(*source, entry.path.parent().unwrap_or_else(RemotePath::root))
            }
        }
    }

    /// A directory of a source, with what is known of it.
    fn directory_node(&self, source: SourceIndex, path: RemotePath) -> Node {
        let bare = Node::Directory { source, path, entry: None };
        let known = self.inodes.get(self.inodes.number(&bare));
        known.map_or(bare, |node| (*node).clone())
    }

    fn is_top(&self, node: &Node) -> bool {
        self.inodes.number(node) == self.inodes.number(&self.layout.root())
    }
}
