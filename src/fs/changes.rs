//! Changes that a source reports by itself, as far as they concern the tree.

use super::{FileSystem, Inode, Node, SourceIndex};
use crate::error::{Error, ErrorKind, Result};
use crate::name::LocalName;
use crate::path::{Printable, RemotePath};

/// Names that the kernel must no longer follow without asking, each with its directory's number.
pub type Names = Vec<(Inode, LocalName)>;

/// What a source has told of a place, asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It is a directory of so many names.
    Directory(usize),
    /// It is the same version of a file.
    Same,
    /// It is another version of a file.
    Newer,
    /// It is gone.
    Gone,
}

impl FileSystem {
    /// Expires what is known of a file or a directory that its source has reported as changed: the next lookup or listing asks the
    /// source anew. Returns the names that the kernel must no longer follow without asking, each with its directory's number.
    pub fn changed(&self, source: SourceIndex, path: &RemotePath) -> Names {
        let names = self.sources[source].catalog.expire(path);
        self.keeper.wake();
        names.into_iter().map(|(dir, name)| (self.directory(source, dir), name)).collect()
    }

    /// Asks the source now about a file, or about a directory and the names in it; `forget` has the kernel ask anew, too.
    ///
    /// # Errors
    /// The source could not be asked.
    pub async fn refresh(&self, path: &[u8], forget: impl AsyncFnOnce(Names)) -> Result<Refreshed> {
        let node = match self.node_at(path).await {
            // That may have been said long ago.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.forget_refusal(path).await;
                self.node_at(path).await?
            }
            node => node?,
        };
        let Some((index, remote)) = node.place() else {
            let place = if path.is_empty() { b"/" } else { path };
            return Err(Error::new("refresh", ErrorKind::Unsupported)
                .on(Printable(place))
                .because(self.is_of_no_source(&node)));
        };
        forget(self.changed(index, remote)).await;
        let source = &self.sources[index];
        let (refreshed, unconfirmed) = match &node {
            Node::File { dir, name, entry, .. } | Node::Live { dir, name, entry, .. } => {
                let answer = source.catalog.find(dir, name).await?;
                let refreshed = match answer.value {
                    None => Refreshed::Gone,
                    Some((_, now)) if now.digest == entry.digest => Refreshed::Same,
                    Some(_) => Refreshed::Newer,
                };
                (refreshed, answer.unconfirmed)
            }
            // A link tells nothing but itself.
            Node::Symlink { .. } => (Refreshed::Same, false),
            _ => {
                let answer = source.catalog.list(remote).await?;
                (Refreshed::Directory(answer.value.entries().len()), answer.unconfirmed)
            }
        };
        if unconfirmed {
            let why = "the source does not answer: what it told before is shown";
            return Err(Error::new("refresh", ErrorKind::Unreachable).on(remote).because(why));
        }
        Ok(refreshed)
    }

    /// Has the source be asked again for a file that it has refused.
    async fn forget_refusal(&self, path: &[u8]) {
        let at = path.iter().rposition(|&byte| byte == b'/');
        let (dir, name) = at.map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]));
        if let Ok(node) = self.node_at(dir).await
            && let Some((index, dir)) = node.place()
        {
            self.sources[index].catalog.forget_refusal(dir, name);
        }
    }

    /// Why this directory cannot be asked for at a source, and what can.
    fn is_of_no_source(&self, node: &Node) -> String {
        let path: &[LocalName] = match node {
            Node::Group { path } => path,
            Node::Union { .. } => return "several sources make it: refresh a folder of one of them".into(),
            _ => &[],
        };
        match self.layout.children(path, &self.sources).first() {
            Some((name, _)) => format!("it is of no source: refresh a folder in it, such as {}", Printable(name)),
            None => "it is of no source, and empty".into(),
        }
    }

    fn directory(&self, source: SourceIndex, path: RemotePath) -> Inode {
        match self.inodes.get(Inode::ROOT).as_deref() {
            // The only source may be the root itself.
            Some(Node::Directory { .. }) if path.is_root() => Inode::ROOT,
            _ => self.inodes.number(&Node::Directory { source, path, entry: None }),
        }
    }
}
