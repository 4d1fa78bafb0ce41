//! Opening: from a name's version to bytes that may be read. It decides by digests, and reads nothing that it does not need.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{FileSystem, Folder, FolderIndex, Inode, Node, OpenFile, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;
use crate::transfer::{OpenVersion, SMALL, Version};

impl FileSystem {
    /// Opens a version for reading: compares what the cache has with what the source has (see `freshness`).
    ///
    /// # Errors
    /// `Changed` if the name leads to another version by now, or nowhere: whoever asked should look the name up again.
    pub async fn open(&self, inode: Inode) -> Result<Opened> {
        let node = self.node(inode)?;
        let (folder_index, dir, name, entry) = match &*node {
            Node::File { folder, dir, name, entry } => (*folder, dir, name, entry),
            Node::Root | Node::Group { .. } | Node::Union { .. } | Node::Directory { .. } => {
                return Err(self.refuse("open", &node, ErrorKind::IsADirectory));
            }
            Node::Symlink { .. } => return Err(self.refuse("open", &node, ErrorKind::Unsupported)),
        };
        let folder = &self.folders[folder_index];
        let opening = self.open_file(inode, &node, (folder_index, dir, name, entry));
        let opened = folder.waits().during(opening).await;
        opened.inspect_err(|error| {
            if error.kind() != ErrorKind::Changed {
                folder.failed(error);
            }
        })
    }

    async fn open_file(
        &self,
        inode: Inode,
        node: &Node,
        (folder_index, dir, name, entry): (FolderIndex, &RemotePath, &LocalName, &Entry),
    ) -> Result<Opened> {
        let folder = &self.folders[folder_index];
        let current = folder.catalog.find(dir, name).await?;
        if current.value.is_none_or(|(_, current)| current.digest != entry.digest) {
            return Err(changed(entry));
        }
        let sized = self.measured(inode, node, folder).await?;
        let version = folder.transfer.open(&version_of(sized.as_ref().unwrap_or(entry))?, name);
        version.take_found().await;
        let whole = version.is_whole().await;
        let counters = self.cache.counters();
        let counter = if whole { &counters.hits } else { &counters.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        let opening = Opening { folder, dir, name, entry, version: &version };
        if version.version().size <= SMALL {
            opening.begin_small().await?;
        } else if !whole || version.copy().is_suspect() {
            opening.begin_large(current.stale).await?;
        }
        let proven_file = version.proven_file().await;
        let (keeps_pages, retractions) = (version.are_pages_right(), version.retractions());
        let (dir, name, entry) = (dir.clone(), name.clone(), entry.clone());
        let open = OpenFile { folder: folder_index, dir, name, entry, version, retractions };
        Ok(Opened { handle: self.files.insert(open), proven_file, keeps_pages })
    }
}

/// The version that an entry tells of, once it tells digest and size.
pub(super) fn version_of(entry: &Entry) -> Result<Version> {
    let Entry { path, digest: Some(digest), size: Some(size), modified, .. } = entry else {
        return Err(Error::new("open", ErrorKind::Unsupported)
            .on(&entry.path)
            .because("the source told neither digest nor size of this file"));
    };
    Ok(Version { path: path.clone(), digest: digest.clone(), size: *size, modified: *modified })
}

fn changed(entry: &Entry) -> Error {
    Error::new("open", ErrorKind::Changed).on(&entry.path)
}

/// A version on its way to being read, while its name can still be looked up again.
struct Opening<'a> {
    folder: &'a Folder,
    dir: &'a RemotePath,
    name: &'a LocalName,
    entry: &'a Entry,
    version: &'a Arc<OpenVersion>,
}

impl Opening<'_> {
    /// Retrieves a small file, or checks the copy of it. The kernel may then read it without us.
    async fn begin_small(&self) -> Result<()> {
        match self.version.read(0..SMALL).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.or_changed(error).await),
        }
    }

    /// Asks whether a large file that is not here, or perhaps damaged, is still the same: with its first block, if that is missing, so that
    /// the question brings what is probably read next. `stale`: the source could not be asked just now, or did not answer.
    async fn begin_large(&self, stale: bool) -> Result<()> {
        let Folder { catalog, .. } = self.folder;
        // Once in a while is enough, unless bytes that were here must be had anew.
        if catalog.is_checked(self.dir, self.name) && !self.version.copy().is_suspect() {
            return Ok(());
        }
        let result = if self.version.can_begin() {
            match self.version.begin().await {
                Ok(()) => {
                    catalog.confirm(self.dir, self.name, self.entry);
                    Ok(())
                }
                Err(error) => Err(self.or_changed(error).await),
            }
        } else {
            let known = async { self.version.copy().is_begun().then(|| self.entry.clone()) };
            let current = catalog.check(self.dir, self.name, self.entry, known).await;
            current.and_then(|current| match current.value {
                Some(current) if current.digest == self.entry.digest => Ok(()),
                _ => Err(changed(self.entry)),
            })
        };
        match result {
            // What is there of a partial copy can be read during an outage too.
            Err(error) if error.kind().is_outage() && stale && self.version.copy().is_begun() => Ok(()),
            result => result,
        }
    }

    /// What a failure to retrieve means: of a version that is gone, that the name must be looked up again.
    async fn or_changed(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) {
            return error;
        }
        self.recheck().await.err().unwrap_or_else(|| changed(self.entry))
    }

    async fn recheck(&self) -> Result<Option<Entry>> {
        self.folder.catalog.recheck(self.dir, self.name, self.entry).await
    }
}
