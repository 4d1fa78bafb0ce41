//! Files of which their source tells no size: the contract has none. The order of knowledge: listing, copy, retrieval.

use super::{FileSystem, Inode, MountedSource, Node, SourceIndex, UnknownSize};
use crate::cache::Facts;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind};

/// The number of attempts to measure a file that changes meanwhile.
const ATTEMPTS: usize = 2;

impl MountedSource {
    /// The entry with the size and time that were learned by retrieving its version, now or earlier.
    pub(super) async fn with_known_size(&self, entry: Entry) -> Entry {
        let Some(digest) = digest_of_unsized(&entry) else { return entry };
        match self.transfer.facts(&entry.path, digest).await {
            Some(facts) => with(entry, facts),
            None => entry,
        }
    }

    /// The entry with its size, so that `stat`, `tar` and `mmap` are right. `None`: the file was deleted meanwhile.
    async fn sized(&self, dir: &RemotePath, name: &LocalName, entry: Entry) -> Result<Option<Entry>> {
        let entry = self.with_known_size(entry).await;
        if entry.size.is_some() || self.unknown_size == UnknownSize::Defer {
            return Ok(Some(entry));
        }
        let mut current = Some(entry);
        for _ in 0..ATTEMPTS {
            // An entry that is no file, or has no digest, cannot be measured.
            let Some(asked @ Entry { kind: EntryKind::File, digest: Some(digest), path, size: None, .. }) = &current
            else {
                return Ok(current);
            };
            let error = match self.catalog.unless_refused(asked, self.transfer.measure(path, digest, name)).await {
                Ok(facts) => return Ok(current.map(|entry| with(entry, facts))),
                Err(error) => error,
            };
            if !matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) {
                return Err(error);
            }
            current = self.catalog.recheck(dir, name, asked).await?;
        }
        let error = Error::new("retrieve_file", ErrorKind::ChangedDuringRead);
        Err(current.map_or(error.clone(), |entry| error.on(entry.path)))
    }
}

impl FileSystem {
    /// The node with its size; see [`MountedSource::sized`].
    pub(super) async fn sized(&self, node: Node) -> Result<Option<Node>> {
        let Node::File { source: index, dir, name, entry } = node else { return Ok(Some(node)) };
        let source = &self.sources[index];
        let sized = source.waits().during(source.sized(&dir, &name, entry)).await;
        let entry = sized.inspect_err(|error| source.note_failure(error))?;
        Ok(entry.map(|entry| {
            let mut node = Node::of_entry(index, &dir, name, entry);
            self.complete(&mut node);
            node
        }))
    }

    /// Adds to a listed file the facts of its version that memory has: else one that somebody has open would seem empty to the kernel. Waits for
    /// nothing.
    pub(super) fn complete(&self, node: &mut Node) {
        let Node::File { source, entry, .. } = node else { return };
        let Some(digest) = digest_of_unsized(entry) else { return };
        if let Some(facts) = self.sources[*source].transfer.facts_in_memory(&entry.path, digest) {
            *entry = with(entry.clone(), facts);
        } else if let Some(known) = self.inodes.get(self.inodes.number(node))
            && let (Node::File { entry: Entry { size: Some(size), modified, .. }, .. }, Node::File { entry, .. }) =
                (&*known, node)
        {
            *entry = Entry { size: Some(*size), modified: entry.modified.or(*modified), ..entry.clone() };
        }
    }

    /// Retrieves a file of unknown size that is being opened. Its entry with its size, which the inode shows from now on.
    ///
    /// # Errors
    /// `Changed` if the version is no longer there: the caller should look the name up again.
    pub(super) async fn measured(
        &self,
        inode: Inode,
        index: SourceIndex,
        (dir, name, entry): (&RemotePath, &LocalName, &Entry),
    ) -> Result<Entry> {
        let source = &self.sources[index];
        let Some(digest) = &entry.digest else { return Ok(entry.clone()) };
        let measuring = source.transfer.measure(&entry.path, digest, name);
        let measured = source.catalog.unless_refused(entry, measuring).await;
        let facts = source.or_changed(measured, (dir, name, entry)).await?;
        let sized = with(entry.clone(), facts);
        self.inodes.describe(inode, Node::of_entry(index, dir, name.clone(), sized.clone()));
        Ok(sized)
    }
}

/// The digest of a file of which the source tells no size.
fn digest_of_unsized(entry: &Entry) -> Option<&Digest> {
    let is_unsized = matches!(entry.kind, EntryKind::File) && entry.size.is_none();
    entry.digest.as_ref().filter(|_| is_unsized)
}

fn with(entry: Entry, facts: Facts) -> Entry {
    Entry { size: Some(facts.size), modified: entry.modified.or(facts.modified), ..entry }
}
