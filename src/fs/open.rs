//! Opening: from a name's version to bytes that may be read. It decides by digests, and reads nothing that it does not need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::timeout;
use tracing::debug;

use super::{FileSystem, Inode, MountedSource, Node, Open, OpenFile, Opened, SourceIndex};
use crate::cache::block::BLOCK;
use crate::error::{Error, ErrorKind, Result};
use crate::freshness::{
    AfterFailure, AtOpen, BeforeOpening, Here, OPEN_ATTEMPTS, after_failed_open, at_open, before_opening,
};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::{Entry, Source as _};
use crate::version::{OpenVersion, SMALL, Version};

/// Files of no more bytes, which the kernel reads at once, it does not read without us.
const READ_WITH_US: u64 = BLOCK;

impl FileSystem {
    /// Opens a version for reading: compares the version in the cache with the one at the source (see `freshness`, cases O1 to
    /// O11).
    ///
    /// # Errors
    /// `Changed` if the name leads to another version by now, or nowhere: the caller should look the name up again.
    pub async fn open(&self, inode: Inode) -> Result<Opened> {
        let node = self.node(inode)?;
        let (index, opened) = match &*node {
            Node::File { source, dir, name, entry } => {
                let opening = self.open_file(inode, *source, (dir, name, entry));
                (*source, self.sources[*source].waits().during(opening).await)
            }
            Node::Live { source, entry, .. } => (*source, self.open_live(*source, entry).await),
            Node::Root | Node::Group { .. } | Node::Union { .. } | Node::Directory { .. } => {
                return Err(self.refuse("open", &node, ErrorKind::IsADirectory));
            }
            Node::Symlink { .. } => return Err(self.refuse("open", &node, ErrorKind::Unsupported)),
        };
        opened.inspect_err(|error| {
            if error.kind() != ErrorKind::Changed {
                self.sources[index].note_failure(error);
            }
        })
    }

    async fn open_file(
        &self,
        inode: Inode,
        index: SourceIndex,
        (dir, name, entry): (&RemotePath, &LocalName, &Entry),
    ) -> Result<Opened> {
        let source = &self.sources[index];
        let current = source.catalog.find(dir, name).await?;
        let listed = current.value.map(|(_, listed)| listed);
        let same = listed.as_ref().is_some_and(|listed| listed.digest == entry.digest);
        let proven_whole = source.connection.capabilities().proven_whole;
        let version = match before_opening(same, entry.size.is_some(), proven_whole) {
            BeforeOpening::LookUpAgain => {
                source.prepare_again(dir, name, listed.as_ref().unwrap_or(entry)).await;
                return Err(changed(entry));
            }
            BeforeOpening::Measure => version_of(&self.measured(inode, index, (dir, name, entry)).await?)?,
            BeforeOpening::RetrieveWhole => {
                let version = version_of(entry)?;
                let bringing = source.transfer.bring(&version.path, &version.digest, name, version.size);
                let retrieved = source.catalog.unless_refused(entry, bringing).await;
                source.or_changed(retrieved, (dir, name, entry)).await?;
                version
            }
            BeforeOpening::Open => version_of(entry)?,
        };
        let is_small = version.size <= READ_WITH_US;
        let version = source.transfer.open(&version, name).await;
        let reading = version.be_read();
        version.take_found().await;
        let (whole, sound) = version.whole_and_sound_file().await;
        let counters = self.cache.counters();
        let counter = if whole { &counters.hits } else { &counters.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(ahead) = &source.ahead {
            ahead.opened(dir, name, whole);
        }
        // A checked file needs no more looks at its bytes.
        if sound.is_none() {
            Opening { source, dir, name, entry, version: &version }.begin(whole, current.unconfirmed).await?;
        }
        let proven_file = match sound {
            // Of a small file the kernel keeps the pages, which costs less than to hand it the file at each open.
            _ if is_small => None,
            Some(sound) => sound.proven_file(),
            None => version.proven_file().await,
        };
        let (keeps_pages, retractions) = (version.are_pages_right(), version.retractions());
        let (dir, name, entry) = (dir.clone(), name.clone(), entry.clone());
        let open = OpenFile {
            source: index,
            dir,
            name,
            entry,
            version,
            _reading: reading,
            retractions,
            drops_pages: AtomicBool::default(),
        };
        Ok(Opened { handle: self.files.insert(Open::Version(open)), proven_file, keeps_pages, live: false })
    }
}

impl MountedSource {
    /// The result of a retrieval; of a version that is gone, that its name must be looked up again.
    pub(super) async fn or_changed<T>(
        &self,
        retrieved: Result<T>,
        (dir, name, entry): (&RemotePath, &LocalName, &Entry),
    ) -> Result<T> {
        match retrieved {
            Err(error) if is_gone(&error) => {
                let current = self.catalog.recheck(dir, name, entry).await?;
                if let Some(current) = current {
                    self.bring_current(dir, name, current).await;
                }
                Err(changed(entry).caused_by(error))
            }
            retrieved => retrieved,
        }
    }

    /// Sees to it that the next open of a name finds a version that is there, for at most the source's `patience`.
    async fn prepare_again(&self, dir: &RemotePath, name: &LocalName, entry: &Entry) {
        if let Some(current) = self.catalog.recheck_briefly(dir, name, entry).await {
            self.bring_current(dir, name, current).await;
        }
    }

    /// Retrieves of the current version of a file what an open retrieves, and of the next one if that is gone by then. The kernel, which has
    /// to look the name up again, opens once more, and not twice. A failure is left to that open, and so is what takes longer than `patience`.
    async fn bring_current(&self, dir: &RemotePath, name: &LocalName, mut current: Entry) {
        let bringing = async {
            // The caller has asked for the first version.
            for _ in 1..OPEN_ATTEMPTS {
                let Ok(version) = version_of(&current) else { return };
                let version = self.transfer.open(&version, name).await;
                let asked = self.catalog.unless_refused(&current, version.bring_beginning()).await;
                if !asked.is_err_and(|error| is_gone(&error)) {
                    return;
                }
                match self.catalog.recheck(dir, name, &current).await {
                    Ok(Some(now)) => current = now,
                    _ => return,
                }
            }
        };
        if timeout(self.catalog.patience(), bringing).await.is_err() {
            debug!("{dir}: an open goes on before the version of a file has come");
        }
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound)
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
    source: &'a MountedSource,
    dir: &'a RemotePath,
    name: &'a LocalName,
    entry: &'a Entry,
    version: &'a Arc<OpenVersion>,
}

impl Opening<'_> {
    /// Cases O5 to O11. `unconfirmed`: the source could not be asked for the listing just now, or did not answer.
    async fn begin(&self, whole: bool, unconfirmed: bool) -> Result<()> {
        let Self { source, dir, name, version, .. } = self;
        let small = version.version().size <= SMALL;
        let here = Here { whole, suspect: version.copy().is_suspect(), can_begin: version.can_begin() };
        let asked = match at_open(small, here, source.catalog.is_checked(dir, name)) {
            AtOpen::Serve => return Ok(()),
            // The kernel may then read it without us.
            AtOpen::ReadAll if whole => return self.or_changed(version.have_all().await).await,
            AtOpen::ReadAll => {
                let retrieved = source.catalog.unless_refused(self.entry, version.have_all()).await;
                return self.or_changed(retrieved).await;
            }
            AtOpen::RetrieveFirst => self.retrieve_first().await,
            AtOpen::AskDigest => self.ask_digest().await,
        };
        let Err(error) = asked else { return Ok(()) };
        let (begun, is_of_account) = (version.copy().is_begun(), source.catalog.is_of_account());
        match after_failed_open(error.kind(), unconfirmed, begun, is_of_account) {
            AfterFailure::Fail => Err(error),
            AfterFailure::Serve => Ok(()),
        }
    }

    /// Retrieves the first block, which is probably read next, and tells as well as its digest whether the version is there still.
    async fn retrieve_first(&self) -> Result<()> {
        let beginning = async {
            self.version.request_beginning();
            if let Some(ahead) = &self.source.ahead {
                ahead.begun(self.dir, self.version);
            }
            self.version.begin().await
        };
        self.or_changed(self.source.catalog.unless_refused(self.entry, beginning).await).await?;
        self.source.catalog.confirm(self.dir, self.name, self.entry);
        Ok(())
    }

    async fn ask_digest(&self) -> Result<()> {
        let known = async { self.version.copy().is_begun().then(|| self.entry.clone()) };
        let current = self.source.catalog.check(self.dir, self.name, self.entry, known).await?;
        match current.value {
            Some(current) if current.digest == self.entry.digest => Ok(()),
            _ => Err(changed(self.entry)),
        }
    }

    async fn or_changed(&self, retrieved: Result<()>) -> Result<()> {
        self.source.or_changed(retrieved, (self.dir, self.name, self.entry)).await
    }
}
