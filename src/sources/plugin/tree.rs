//! `Tree`: everything below one directory, as a plugin without `one_level` lists it. It asks nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::listing::{Listing, Sorted};
use super::wire::{Entry, Kind, Text};
use crate::path::RemotePath;
use crate::source::LeftOut;
use crate::sources::heap::Place;

/// Everything below one directory: leaves, and the directories that their paths imply.
#[derive(Debug)]
pub struct Tree {
    leaves: Sorted,
    /// The kind of leaves that were listed without one.
    others: Kind,
    /// When it was asked for.
    pub told_at: Instant,
    served: Mutex<HashSet<RemotePath>>,
}

impl Tree {
    /// A tree of these leaves, told at `told_at`.
    pub fn new(leaves: Listing, told_at: Instant) -> Self {
        Self { leaves: leaves.sorted(), others: Kind::File, told_at, served: Mutex::default() }
    }

    /// The same, with leaves of unknown kind being this.
    pub fn of_kind(mut self, others: Kind) -> Self {
        self.others = others;
        self
    }

    /// Of the leaves that were listed without a kind, the one nearest to the root.
    pub fn undecided(&self) -> Option<(RemotePath, Text)> {
        let unknown = self.leaves.iter().filter(|(_, entry)| entry.kind.is_none());
        unknown.min_by_key(|(path, _)| path.components().count()).map(|(path, entry)| (path, entry.path))
    }

    /// Whether the tree is fresh, and has not been told for `dir` yet; from now on it has.
    pub fn serve(&self, dir: &RemotePath, fresh_for: Duration) -> bool {
        self.told_at.elapsed() < fresh_for && self.served.lock().insert(dir.clone())
    }

    /// What the answer leaves out.
    pub fn left_out(&self) -> LeftOut {
        self.leaves.left_out.clone()
    }

    /// The leaf at this path, as a file or a directory.
    pub fn leaf(&self, path: &RemotePath) -> Option<Entry> {
        self.leaves.get(path).map(|entry| self.decided(entry))
    }

    /// The leaf at this path as the plugin told it.
    pub fn told_leaf(&self, path: &RemotePath) -> Option<Entry> {
        self.leaves.get(path)
    }

    /// Whether there is a leaf that is a directory at this path.
    pub fn is_directory(&self, path: &RemotePath) -> bool {
        self.leaf(path).is_some_and(|entry| entry.kind == Some(Kind::Directory))
    }

    /// Whether anything lies below this path.
    pub fn has_below(&self, dir: &RemotePath) -> bool {
        self.leaves.below(dir).next().is_some()
    }

    /// The longest way to `path` that ends in a leaf which is a directory and has not been gone yet.
    pub fn way_to(&self, path: &RemotePath, from: &RemotePath) -> Option<RemotePath> {
        let bytes = path.as_bytes();
        let ends = (0..bytes.len()).rev().filter(|&end| bytes[end] == b'/');
        let ways = std::iter::once(bytes.len()).chain(ends).map(|end| RemotePath::from_stored(&bytes[..end]));
        ways.take_while(|way| way.as_bytes().len() > from.as_bytes().len()).find(|way| self.is_directory(way))
    }

    /// The direct children of this directory.
    pub fn children(self: &Arc<Self>, dir: &RemotePath) -> Children {
        let (mut leaves, mut directories, mut implied) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let start = if dir.is_root() { 0 } else { dir.as_bytes().len() + 1 };
        for (place, path, entry) in self.leaves.below(dir) {
            if let Some(end) = path.as_bytes()[start..].iter().position(|&byte| byte == b'/') {
                implied.insert(RemotePath::from_stored(&path.as_bytes()[..start + end]));
                continue;
            }
            leaves.push(place);
            if self.decided(entry).kind == Some(Kind::Directory) {
                directories.insert(path);
            }
        }
        // A leaf that is a directory and has something below it is one directory.
        let implied: Vec<_> = implied.difference(&directories).cloned().collect();
        Children { tree: Arc::clone(self), leaves: leaves.into_iter(), implied: implied.into_iter() }
    }

    fn decided(&self, entry: Entry) -> Entry {
        Entry { kind: Some(entry.kind.unwrap_or(self.others)), ..entry }
    }
}

/// The direct children of a directory of a tree: leaves, and the directories that deeper ones imply, which have no entry.
#[derive(Debug, Clone)]
pub struct Children {
    tree: Arc<Tree>,
    leaves: std::vec::IntoIter<Place>,
    implied: std::vec::IntoIter<RemotePath>,
}

impl Iterator for Children {
    type Item = (RemotePath, Option<Entry>);

    fn next(&mut self) -> Option<Self::Item> {
        match self.leaves.next() {
            Some(place) => {
                let (path, entry) = self.tree.leaves.at(place);
                Some((path, Some(self.tree.decided(entry))))
            }
            None => self.implied.next().map(|path| (path, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::parse(text.as_bytes()).expect("a plain path")
    }

    fn tree(paths: &[&str]) -> Arc<Tree> {
        let mut leaves = Listing::default();
        for text in paths {
            let entry = serde_json::from_value(json!({ "path": text })).expect("an entry");
            leaves.push(&path(text), &entry).expect("there is room");
        }
        Arc::new(Tree::new(leaves, Instant::now()))
    }

    fn children(tree: &Arc<Tree>, dir: &str) -> Vec<String> {
        let children = tree.children(&path(dir));
        children.map(|(path, leaf)| format!("{path}{}", if leaf.is_some() { "" } else { "/" })).collect()
    }

    #[tokio::test]
    async fn directories_are_implied_by_component_not_by_text() {
        let tree = tree(&["/a/b/c", "/a-b/x", "/a.txt", "/a/d"]);
        assert_eq!(children(&tree, ""), ["/a.txt", "/a/", "/a-b/"]);
        assert_eq!(children(&tree, "a"), ["/a/d", "/a/b/"]);
        assert!(tree.has_below(&path("a/b")) && !tree.has_below(&path("a/d")) && !tree.has_below(&path("a.t")));
    }

    #[tokio::test]
    async fn a_name_that_holds_a_slash_is_found_on_the_way() {
        let tree = Arc::into_inner(tree(&["/Maths", "/Maths/Physics"])).expect("nobody else has it");
        let tree = Arc::new(tree.of_kind(Kind::Directory));
        assert_eq!(children(&tree, ""), ["/Maths"]);
        let root = RemotePath::root();
        assert_eq!(tree.way_to(&path("Maths/Physics/x/y"), &root), Some(path("Maths/Physics")));
        assert_eq!(tree.way_to(&path("Maths/Week 1"), &root), Some(path("Maths")));
        assert_eq!(tree.way_to(&path("Maths/Week 1"), &path("Maths")), None);
        assert_eq!(tree.undecided().map(|(path, _)| path), Some(path("Maths")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_once_for_each_directory_while_it_counts() {
        let (tree, a, fresh_for) = (tree(&["/a/b"]), path("a"), Duration::from_secs(30));
        assert!(tree.serve(&a, fresh_for) && !tree.serve(&a, fresh_for));
        assert!(tree.serve(&RemotePath::root(), fresh_for));
        tokio::time::advance(fresh_for).await;
        assert!(!tree.serve(&path("b"), fresh_for));
    }
}
