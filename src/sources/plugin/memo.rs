//! `Memo`: what the listings of one session told: how the plugin writes its paths, and whole trees. It asks nothing.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::listing::Listing;
use super::tree::Tree;
use super::wire::{Entry, Text};
use crate::path::RemotePath;

/// For as many files it is remembered that their digest was asked for; for others it is asked again.
const MAX_DIGESTED: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// What the listings of one session told.
#[derive(Debug)]
pub struct Memo {
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

/// A listing that was made to find out whether a path is a directory.
#[derive(Debug)]
pub struct Look {
    /// Everything below the directory.
    pub entries: Listing,
    /// When it was asked for.
    pub told_at: Instant,
}

/// How the paths in one directory are written.
#[derive(Debug, Clone, Default)]
pub struct Spelling {
    /// Without a slash in front.
    relative: bool,
    /// Paths that are written otherwise.
    odd: HashMap<RemotePath, Text>,
}

impl Default for Memo {
    fn default() -> Self {
        let digested = LruCache::new(MAX_DIGESTED);
        let (directories, trees, looks) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { state: Mutex::new(State { directories, trees, looks, digested, changed: None }) }
    }
}

impl Memo {
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

    /// The leaf at this path in any tree.
    pub fn leaf(&self, path: &RemotePath) -> Option<Entry> {
        let state = self.state.lock();
        state.trees.values().find_map(|tree| tree.told_leaf(path))
    }

    /// Notes a whole tree.
    pub fn learn_tree(&self, top: &RemotePath, tree: Tree) -> Arc<Tree> {
        let tree = Arc::new(tree);
        self.state.lock().trees.insert(top.clone(), Arc::clone(&tree));
        tree
    }

    /// Keeps a look for the next listing of the directory.
    pub fn keep_look(&self, dir: &RemotePath, look: Look) {
        self.state.lock().looks.insert(dir.clone(), look);
    }

    /// Takes the look into this directory, if it is still fresh.
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

    /// Discards all directories and trees.
    pub fn discard(&self) {
        let mut state = self.state.lock();
        state.directories.clear();
        state.trees.clear();
        state.looks.clear();
    }

    /// Discards the paths of one directory.
    pub fn discard_directory(&self, dir: &RemotePath) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::parse(text.as_bytes()).expect("a plain path")
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_given_once_and_only_while_it_counts() {
        let (memo, a, fresh_for) = (Memo::default(), path("a"), Duration::from_secs(30));
        let look = || memo.keep_look(&path("a"), Look { entries: Listing::default(), told_at: Instant::now() });
        let taken = || memo.take_look(&a, fresh_for).is_some();
        look();
        assert!(taken() && !taken());
        look();
        tokio::time::advance(fresh_for).await;
        assert!(!taken(), "too old");
        look();
        memo.expire();
        assert!(!taken(), "the plugin said that something has changed");
        look();
        memo.discard();
        assert!(!taken(), "it was taken back");
    }

    #[test]
    fn paths_are_handed_back_as_they_were_written() {
        let written = [("/a", "a"), ("/b", "b"), ("/c", "/c/")];
        let memo = Memo::default();
        let spelling = Spelling::learn(written.iter().map(|(at, text)| (path(at), Text::Plain((*text).into()))));
        memo.learn_directory(&RemotePath::root(), spelling);
        let spelled = |text| memo.spelling_in(&RemotePath::root(), &path(text));
        for (at, text) in written.into_iter().chain([("/new", "new")]) {
            assert_eq!(spelled(at), Some(Text::Plain(text.into())));
        }
    }
}
