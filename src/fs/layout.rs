//! `Layout`: the names in the mount's root, and the directories that lead to unions deeper down. It asks no source.

use super::{Modes, MountedSource, Node, SourceIndex, Union, UnionIndex};
use crate::name::LocalName;
use crate::path::RemotePath;

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

fn top_of(source: SourceIndex) -> Node {
    Node::Directory { source, path: RemotePath::root(), entry: None }
}
