//! What a plugin has told in the life of its process: paths in its own words, and what whole trees it has listed. It asks nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::wire::{Entry, Kind, Text};
use crate::path::RemotePath;

/// For so many files it is remembered that their digest was asked for; for others it is asked again.
const DIGESTED: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// What was told in the life of one process.
#[derive(Debug)]
pub struct Told {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    directories: HashMap<RemotePath, Spelling>,
    trees: HashMap<RemotePath, Arc<Tree>>,
    looks: HashMap<RemotePath, Look>,
    digested: LruCache<RemotePath, ()>,
    /// When the plugin last said that something has changed.
    changed: Option<Instant>,
}

/// What a listing told that was only made to find out whether it can be made.
#[derive(Debug)]
pub struct Look {
    /// Everything below the directory.
    pub entries: BTreeMap<RemotePath, Entry>,
    /// When it was asked for.
    pub told_at: Instant,
}

/// How the paths in one directory are written.
#[derive(Debug, Clone, Default)]
pub struct Spelling {
    /// Without a slash in front.
    relative: bool,
    /// What is written otherwise, by the path.
    odd: HashMap<RemotePath, Text>,
}

impl Default for Told {
    fn default() -> Self {
        let digested = LruCache::new(DIGESTED);
        let (directories, trees, looks) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { state: Mutex::new(State { directories, trees, looks, digested, changed: None }) }
    }
}

impl Told {
    /// How paths in this directory are written, if it was listed.
    pub fn spelling_in(&self, dir: &RemotePath, path: &RemotePath) -> Option<Text> {
        self.state.lock().directories.get(dir).map(|spelling| spelling.of(path))
    }

    /// Notes that a directory was listed, one level.
    pub fn learn_directory(&self, dir: &RemotePath, spelling: Spelling) {
        self.state.lock().directories.insert(dir.clone(), spelling);
    }

    /// The whole tree that was listed from `top`.
    pub fn tree(&self, top: &RemotePath) -> Option<Arc<Tree>> {
        self.state.lock().trees.get(top).cloned()
    }

    /// What a tree tells of this path.
    pub fn leaf(&self, path: &RemotePath) -> Option<Entry> {
        let state = self.state.lock();
        state.trees.values().find_map(|tree| tree.leaf(path).map(|(entry, _)| entry.clone()))
    }

    /// Notes a whole tree.
    pub fn learn_tree(&self, top: &RemotePath, tree: Tree) -> Arc<Tree> {
        let tree = Arc::new(tree);
        self.state.lock().trees.insert(top.clone(), Arc::clone(&tree));
        tree
    }

    /// Keeps what a look into a directory told, for who wants to list it next.
    pub fn keep_look(&self, dir: &RemotePath, look: Look) {
        self.state.lock().looks.insert(dir.clone(), look);
    }

    /// What a look into this directory told, if it still counts. It is given once.
    pub fn take_look(&self, dir: &RemotePath, fresh_for: Duration) -> Option<Look> {
        let mut state = self.state.lock();
        let look = state.looks.remove(dir)?;
        let is_current = state.changed.is_none_or(|changed| changed < look.told_at);
        (is_current && look.told_at.elapsed() < fresh_for).then_some(look)
    }

    /// Whether a tree still counts for this directory, and has not been told for it yet; from now on it has.
    pub fn serve(&self, tree: &Tree, dir: &RemotePath, fresh_for: Duration) -> bool {
        let is_current = self.state.lock().changed.is_none_or(|changed| changed < tree.told_at);
        is_current && tree.serve(dir, fresh_for)
    }

    /// Trees that were told so far no longer count.
    pub fn expire(&self) {
        self.state.lock().changed = Some(Instant::now());
    }

    /// Takes everything back that was told of directories and trees.
    pub fn forget(&self) {
        let mut state = self.state.lock();
        state.directories.clear();
        state.trees.clear();
        state.looks.clear();
    }

    /// Takes back that a directory was listed.
    pub fn forget_directory(&self, dir: &RemotePath) {
        self.state.lock().directories.remove(dir);
    }

    /// Notes that the digest of this file was asked for.
    pub fn learn_digest(&self, file: &RemotePath) {
        self.state.lock().digested.put(file.clone(), ());
    }

    /// Whether the digest of this file was asked for.
    pub fn is_digested(&self, file: &RemotePath) -> bool {
        self.state.lock().digested.contains(file)
    }
}

impl Spelling {
    /// How the paths of one listing are written, mostly.
    pub fn learn(paths: impl Iterator<Item = (RemotePath, Text)>) -> Self {
        let mut spelling = Self::default();
        for (index, (path, text)) in paths.enumerate() {
            if index == 0 {
                spelling.relative = text == Text::of(path.as_bytes());
            }
            if spelling.of(&path) != text {
                spelling.odd.insert(path, text);
            }
        }
        spelling
    }

    fn of(&self, path: &RemotePath) -> Text {
        match self.odd.get(path) {
            Some(text) => text.clone(),
            None if self.relative => Text::of(path.as_bytes()),
            None => absolute(path),
        }
    }
}

/// The path as the root is written, with a slash in front.
pub fn absolute(path: &RemotePath) -> Text {
    Text::of(&[b"/", path.as_bytes()].concat())
}

/// Everything below one directory, as a plugin without `one_level` lists it.
#[derive(Debug)]
pub struct Tree {
    leaves: BTreeMap<RemotePath, Entry>,
    /// What leaves are that nobody called anything.
    others: Kind,
    told_at: Instant,
    served: Mutex<HashSet<RemotePath>>,
}

impl Tree {
    /// A tree of these leaves, told just now.
    pub fn new(leaves: BTreeMap<RemotePath, Entry>, told_at: Instant) -> Self {
        Self { leaves, others: Kind::File, told_at, served: Mutex::default() }
    }

    /// The same, with leaves of unknown kind being this.
    pub fn of_kind(mut self, others: Kind) -> Self {
        self.others = others;
        self
    }

    /// Of the leaves that nobody called anything, the one nearest to the root.
    pub fn undecided(&self) -> Option<(&RemotePath, &Text)> {
        let unknown = self.leaves.iter().filter(|(_, entry)| entry.kind.is_none());
        unknown.min_by_key(|(path, _)| path.components().count()).map(|(path, entry)| (path, &entry.path))
    }

    fn serve(&self, dir: &RemotePath, fresh_for: Duration) -> bool {
        self.told_at.elapsed() < fresh_for && self.served.lock().insert(dir.clone())
    }

    /// Whether this very answer was made after `instant`.
    pub fn is_after(&self, instant: Instant) -> bool {
        self.told_at >= instant
    }

    /// The leaf at this path and whether it is a file or a directory.
    pub fn leaf(&self, path: &RemotePath) -> Option<(&Entry, Kind)> {
        self.leaves.get(path).map(|entry| (entry, entry.kind.unwrap_or(self.others)))
    }

    /// Whether anything lies below this path.
    pub fn has_below(&self, dir: &RemotePath) -> bool {
        self.below(dir).next().is_some()
    }

    /// The longest way to `path` that ends in a leaf which is a directory and has not been gone yet.
    pub fn way_to(&self, path: &RemotePath, from: &RemotePath) -> Option<RemotePath> {
        let bytes = path.as_bytes();
        let ends = (0..bytes.len()).rev().filter(|&end| bytes[end] == b'/');
        let ways = std::iter::once(bytes.len()).chain(ends).map(|end| RemotePath::from_stored(&bytes[..end]));
        ways.take_while(|way| way.as_bytes().len() > from.as_bytes().len())
            .find(|way| matches!(self.leaf(way), Some((_, Kind::Directory))))
    }

    /// What lies directly in this directory: leaves, and the directories that deeper ones imply.
    pub fn children(&self, dir: &RemotePath) -> Vec<(RemotePath, Option<(&Entry, Kind)>)> {
        let (mut children, mut implied) = (Vec::new(), BTreeSet::new());
        let start = if dir.is_root() { 0 } else { dir.as_bytes().len() + 1 };
        for (path, entry) in self.below(dir) {
            match path.as_bytes()[start..].iter().position(|&byte| byte == b'/') {
                None => children.push((path.clone(), Some((entry, entry.kind.unwrap_or(self.others))))),
                Some(end) => {
                    implied.insert(RemotePath::from_stored(&path.as_bytes()[..start + end]));
                }
            }
        }
        // A leaf that is a directory and has something below it is one directory.
        for (path, _) in children.iter().filter(|(_, leaf)| matches!(leaf, Some((_, Kind::Directory)))) {
            implied.remove(path);
        }
        children.extend(implied.into_iter().map(|path| (path, None)));
        children
    }

    fn below(&self, dir: &RemotePath) -> impl Iterator<Item = (&RemotePath, &Entry)> {
        let mut prefix = dir.as_bytes().to_vec();
        if !dir.is_root() {
            prefix.push(b'/');
        }
        let from = RemotePath::from_stored(&prefix);
        let range = self.leaves.range((Bound::Included(from), Bound::Unbounded));
        range.take_while(move |(path, _)| path.as_bytes().starts_with(&prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::parse(text.as_bytes()).expect("a plain path")
    }

    fn tree(paths: &[&str]) -> Tree {
        let entry = |text: &str| Entry {
            path: Text::Plain(text.into()),
            kind: None,
            size: None,
            modified: None,
            digest: None,
            executable: false,
        };
        let leaves = paths.iter().map(|text| (path(text), entry(text))).collect();
        Tree::new(leaves, Instant::now())
    }

    fn children(tree: &Tree, dir: &str) -> Vec<String> {
        let children = tree.children(&path(dir)).into_iter();
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
        let tree = tree(&["/Maths", "/Maths/Physics"]).of_kind(Kind::Directory);
        assert_eq!(children(&tree, ""), ["/Maths"]);
        let root = RemotePath::root();
        assert_eq!(tree.way_to(&path("Maths/Physics/x/y"), &root), Some(path("Maths/Physics")));
        assert_eq!(tree.way_to(&path("Maths/Week 1"), &root), Some(path("Maths")));
        assert_eq!(tree.way_to(&path("Maths/Week 1"), &path("Maths")), None);
        assert_eq!(tree.undecided().map(|(path, _)| path.clone()), Some(path("Maths")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_once_for_each_directory_while_it_counts() {
        let (tree, a, fresh_for) = (tree(&["/a/b"]), path("a"), Duration::from_secs(30));
        assert!(tree.serve(&a, fresh_for) && !tree.serve(&a, fresh_for));
        assert!(tree.serve(&RemotePath::root(), fresh_for));
        tokio::time::advance(fresh_for).await;
        assert!(!tree.serve(&path("b"), fresh_for));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_given_once_and_only_while_it_counts() {
        let (told, a, fresh_for) = (Told::default(), path("a"), Duration::from_secs(30));
        let look = || told.keep_look(&path("a"), Look { entries: BTreeMap::new(), told_at: Instant::now() });
        let taken = || told.take_look(&a, fresh_for).is_some();
        look();
        assert!(taken() && !taken());
        look();
        tokio::time::advance(fresh_for).await;
        assert!(!taken(), "too old");
        look();
        told.expire();
        assert!(!taken(), "the plugin said that something has changed");
        look();
        told.forget();
        assert!(!taken(), "it was taken back");
    }

    #[test]
    fn paths_are_handed_back_as_they_were_written() {
        let written = [("/a", "a"), ("/b", "b"), ("/c", "/c/")];
        let told = Told::default();
        let spelling = Spelling::learn(written.iter().map(|(at, text)| (path(at), Text::Plain((*text).into()))));
        told.learn_directory(&RemotePath::root(), spelling);
        let spelled = |text| told.spelling_in(&RemotePath::root(), &path(text));
        for (at, text) in written.into_iter().chain([("/new", "new")]) {
            assert_eq!(spelled(at), Some(Text::Plain(text.into())));
        }
    }
}
