//! Extended attributes, which show users the state of a file and its source. They retrieve nothing.

use super::open::version_of;
use super::{FileSystem, Inode, MountedSource, Node, UnionDirectory};
use crate::error::Result;
use crate::source::connection::Health;

/// Every attribute begins with this.
pub const PREFIX: &str = "user.kitovufs.";

/// The attributes, in the order in which `all` shows those that have a value.
pub const NAMES: [&str; 9] =
    ["source", "path", "digest", "local_digest", "state", "missing", "checked", "fresh_for", "error"];

impl FileSystem {
    /// The value of the attribute `user.kitovufs.<name>`; `None` if this inode has none. `all` has a line for each of the others.
    pub async fn xattr(&self, inode: Inode, name: &str) -> Result<Option<Vec<u8>>> {
        if name != "all" {
            return self.one_xattr(inode, name).await;
        }
        let mut lines = Vec::new();
        for name in NAMES {
            if let Some(value) = self.one_xattr(inode, name).await? {
                lines.push([name.as_bytes(), b": ", &value].concat());
            }
        }
        Ok(Some(lines.join(&b'\n')).filter(|text| !text.is_empty()))
    }

    async fn one_xattr(&self, inode: Inode, name: &str) -> Result<Option<Vec<u8>>> {
        let node = self.node(inode)?;
        if let Node::Union { index, path, .. } = &*node {
            return Ok(self.union_xattr(&UnionDirectory::new(self, *index, path), name));
        }
        let Some((source, path)) = node.place() else { return Ok(None) };
        let source = &self.sources[source];
        let value = match name {
            "source" => Some(source.name.to_vec()),
            "path" => Some([b"/", path.as_bytes()].concat()),
            "error" => error_of(source),
            _ => file_xattr(source, &node, name).await?,
        };
        Ok(value)
    }

    /// The value for a directory that several sources make: their names or latest errors, a line for each.
    fn union_xattr(&self, directory: &UnionDirectory<'_>, name: &str) -> Option<Vec<u8>> {
        let sources = directory.sources().into_iter().map(|source| &self.sources[source]);
        let lines: Vec<Vec<u8>> = match name {
            "source" => sources.map(|source| source.name.to_vec()).collect(),
            "error" => sources.filter_map(error_of).collect(),
            _ => return None,
        };
        Some(lines.join(&b'\n')).filter(|text| !text.is_empty())
    }
}

async fn file_xattr(source: &MountedSource, node: &Node, name: &str) -> Result<Option<Vec<u8>>> {
    if let Node::Live { .. } = node {
        return Ok((name == "state").then(|| b"live".to_vec()));
    }
    let Node::File { dir, name: local_name, entry, .. } = node else { return Ok(None) };
    let text = match name {
        "digest" => entry.digest.as_ref().map(ToString::to_string),
        "checked" => source.catalog.checked_at(dir, local_name).map(|at| humantime::format_rfc3339(at).to_string()),
        "fresh_for" => Some(humantime::format_duration(source.catalog.fresh_for()).to_string()),
        "local_digest" | "state" | "missing" if entry.size.is_none() => (name == "state").then(|| "remote".to_owned()),
        "local_digest" => {
            let version = source.transfer.open(&version_of(entry)?, local_name).await;
            version.copy().local_digest().map(|digest| digest.to_string())
        }
        "missing" => {
            let version = source.transfer.open(&version_of(entry)?, local_name).await;
            Some(version.missing_bytes().to_string())
        }
        "state" => {
            let version = source.transfer.open(&version_of(entry)?, local_name).await;
            let down = matches!(source.connection.health().0, Health::Down(_));
            let newer = source.catalog.last_entry(dir, local_name).is_some_and(|known| known.digest != entry.digest);
            let state = match (version.is_whole().await, version.copy().is_begun()) {
                _ if newer => "stale",
                (true, _) if down => "offline",
                (true, _) => "cached",
                (false, true) => "partial",
                (false, false) => "remote",
            };
            Some(state.to_owned())
        }
        _ => None,
    };
    Ok(text.map(String::into_bytes))
}

fn error_of(source: &MountedSource) -> Option<Vec<u8>> {
    match source.connection.health().0 {
        Health::Down(error) => Some(error.to_string().into_bytes()),
        Health::Failing(error) => Some(error.to_string().into_bytes()),
        Health::Idle | Health::Up => None,
    }
}
