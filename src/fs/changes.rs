//! Changes that a source reports by itself, as far as they concern the tree.

use super::{FileSystem, Inode, Node, SourceIndex};
use crate::name::LocalName;
use crate::path::RemotePath;

impl FileSystem {
    /// Expires what is known of a file or a directory that its source has reported as changed: the next lookup or listing asks the
    /// source anew. Returns the names that the kernel must no longer follow without asking, each with its directory's number.
    pub fn changed(&self, source: SourceIndex, path: &RemotePath) -> Vec<(Inode, LocalName)> {
        let names = self.sources[source].catalog.expire(path);
        names.into_iter().map(|(dir, name)| (self.directory(source, dir), name)).collect()
    }

    fn directory(&self, source: SourceIndex, path: RemotePath) -> Inode {
        match self.inodes.get(Inode::ROOT).as_deref() {
            // The only source may be the root itself.
            Some(Node::Directory { .. }) if path.is_root() => Inode::ROOT,
            _ => self.inodes.number(&Node::Directory { source, path, entry: None }),
        }
    }
}
