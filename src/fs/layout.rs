//! `Layout`: the names in the mount's root, and the directories that lead to unions deeper down. It asks no source.

use super::{Modes, MountedSource, Node, SourceIndex, Union, UnionIndex};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;

/// The tree below the mount's root. No two things are in one place, and nothing is inside a union.
#[derive(Debug)]
pub struct Layout {
    root: Node,
    shown: Vec<SourceIndex>,
    unions: Vec<Union>,
    /// The permissions and owners of the directories that are no source's.
    pub(super) modes: Modes,
}

impl Layout {
    /// The only source is the root itself.
    pub fn one_source() -> Self {
        Self { root: top_of(0), shown: Vec::new(), unions: Vec::new(), modes: Modes::default() }
    }

    /// The sources `shown` by their names, and folders that are put together from sources.
    pub fn of(shown: Vec<SourceIndex>, unions: Vec<Union>, modes: Modes) -> Self {
        Self { root: Node::Root, shown, unions, modes }
    }

    /// The mount's root.
    pub(super) fn root(&self) -> Node {
        self.root.clone()
    }

    /// The union with this number, which comes from [`Layout::children`].
    pub(super) fn union(&self, index: UnionIndex) -> &Union {
        &self.unions[index]
    }

    /// The folder with this path, counted from the root, that the configuration makes or a union has.
    pub(super) fn folder(&self, path: &[LocalName]) -> Node {
        if path.is_empty() {
            return self.root();
        }
        match self.unions.iter().position(|union| path.starts_with(&union.path)) {
            Some(index) => Node::Union { index, path: path.into(), modified: None },
            None => Node::Group { path: path.into() },
        }
    }

    /// The places at which unions show directories of a source.
    pub(super) fn shown_in_unions(&self, source: SourceIndex) -> Vec<ShownInUnion> {
        let of = |(index, union): (UnionIndex, &Union)| {
            let parts = union.parts.iter().filter(move |part| part.source == source);
            let shown = parts.map(|part| ShownInUnion { part: part.path.clone(), index, path: union.path.clone() });
            shown.collect::<Vec<_>>()
        };
        self.unions.iter().enumerate().flat_map(of).collect()
    }

    /// The children of the directory `path`, counted from the root, in the order of names.
    pub(super) fn children(&self, path: &[LocalName], sources: &[MountedSource]) -> Vec<(LocalName, Node)> {
        let mut children: Vec<(LocalName, Node)> = Vec::new();
        if path.is_empty() {
            children.extend(self.shown.iter().map(|&source| (sources[source].name.clone(), top_of(source))));
        }
        for (index, union) in self.unions.iter().enumerate() {
            let Some([name, further @ ..]) = union.path.strip_prefix(path) else { continue };
            let here = union.path[..=path.len()].into();
            let node = match further {
                [] => Node::Union { index, path: here, modified: None },
                _ => Node::Group { path: here },
            };
            children.push((name.clone(), node));
        }
        children.sort_by(|a, b| a.0.cmp(&b.0));
        // Several unions may be below one directory.
        children.dedup_by(|a, b| a.0 == b.0);
        children
    }
}

/// A directory of a source that a union shows, with all that is below it.
#[derive(Debug)]
pub(super) struct ShownInUnion {
    part: Vec<LocalName>,
    index: UnionIndex,
    path: Vec<LocalName>,
}

impl ShownInUnion {
    /// The node that stands there for a directory of the source. `None` if that is not below the one that is shown; names that are shown
    /// differently from what the source calls them lead nowhere.
    pub(super) fn node(&self, dir: &RemotePath, entry: &Option<Entry>) -> Option<Node> {
        let mut names = dir.as_bytes().split(|&byte| byte == b'/');
        if !self.part.iter().all(|name| names.next().is_some_and(|own| own == &**name)) {
            return None;
        }
        let path = self.path.iter().cloned().chain(names.map(LocalName::from)).collect();
        Some(Node::Union { index: self.index, path, modified: entry.as_ref().and_then(|entry| entry.modified) })
    }
}

fn top_of(source: SourceIndex) -> Node {
    Node::Directory { source, path: RemotePath::root(), entry: None }
}
