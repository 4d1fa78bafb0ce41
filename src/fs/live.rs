//! Live files: those that grow while programs read them. Their inode stays for the path, and what is told and read of them is what
//! the source says now. Nothing of them goes through the cache.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Attributes, FileSystem, Inode, MountedSource, Node, Open, Opened, SourceIndex};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Entry, RemoteDigest, Retrieval, Source as _};

/// For how long an answer about a live file is current.
pub(super) const CURRENT_FOR: Duration = Duration::from_secs(1);

/// How often bytes are asked for of a file that changes every time.
const ATTEMPTS: usize = 10;

/// A live file that is open.
pub(super) struct OpenLive {
    source: SourceIndex,
    entry: Entry,
}

impl OpenLive {
    pub(super) fn source(&self) -> SourceIndex {
        self.source
    }
}

/// The latest answers of sources about their live files.
#[derive(Debug, Default)]
pub(super) struct LatestAnswers(Mutex<HashMap<(SourceIndex, RemotePath), Arc<LatestAnswer>>>);

/// When the source was asked about one file, and what it said. It is locked while the source is asked.
type LatestAnswer = tokio::sync::Mutex<Option<(Instant, Result<RemoteDigest>)>>;

impl LatestAnswers {
    fn of(&self, source: SourceIndex, path: &RemotePath) -> Arc<LatestAnswer> {
        let mut answers = self.0.lock();
        // One that is not current is of no use, unless somebody is about to replace it.
        answers.retain(|_, answer| {
            Arc::strong_count(answer) > 1 || answer.try_lock().is_ok_and(|known| is_current(&known))
        });
        answers.entry((source, path.clone())).or_default().clone()
    }
}

fn is_current(known: &Option<(Instant, Result<RemoteDigest>)>) -> bool {
    known.as_ref().is_some_and(|(at, _)| at.elapsed() < CURRENT_FOR)
}

impl MountedSource {
    /// Whether this is a live file by its name. A source that cannot give a part of a file would give all of it for every read.
    fn is_live(&self, name: &[u8]) -> bool {
        let can_be = || {
            let capabilities = self.connection.capabilities();
            capabilities.ranges && !capabilities.proven_whole
        };
        self.live.is_match(OsStr::from_bytes(name)) && can_be()
    }
}

impl FileSystem {
    /// The node of a listed file, which is a live one if its name says so. What the kernel was told of that last is not forgotten.
    pub(super) fn or_live(&self, node: Node) -> Node {
        let Node::File { source, dir, name, mut entry } = node else { return node };
        if !self.sources[source].is_live(&name) {
            return Node::File { source, dir, name, entry };
        }
        let live = |entry| Node::Live { source, dir: dir.clone(), name: name.clone(), entry };
        let known = self.inodes.get(self.inodes.number(&live(entry.clone())));
        if let Some(Node::Live { entry: known, .. }) = known.as_deref() {
            let Entry { size, modified, digest, .. } = known.clone();
            entry = Entry { size, modified, digest, ..entry };
        }
        live(entry)
    }

    /// A node as it is now; none if there is no such file any more. While the source cannot be asked, a live file is as it was.
    pub(super) async fn current(&self, node: Node) -> Result<Option<Node>> {
        let Node::Live { source, dir, name, entry } = node else { return Ok(Some(node)) };
        let entry = match self.now(source, &entry, Asking::OnceASecond).await {
            Ok(entry) => entry,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind().is_outage() && entry.size.is_some() => entry,
            Err(error) => return Err(error),
        };
        Ok(Some(Node::Live { source, dir, name, entry }))
    }

    /// The attributes for `stat`. Only of a live file the source is asked; where it cannot say, they are as they were.
    pub async fn attributes_now(&self, inode: Inode) -> Result<Attributes> {
        let node = self.node(inode)?;
        if let Node::Live { .. } = &*node
            && let Ok(Some(node)) = self.current((*node).clone()).await
        {
            self.inodes.describe(inode, node);
        }
        self.attributes(inode)
    }

    /// Opens a live file.
    ///
    /// # Errors
    /// `Changed` if it is not there any more.
    pub(super) async fn open_live(&self, source: SourceIndex, entry: &Entry) -> Result<Opened> {
        let entry = match self.now(source, entry, Asking::OnceASecond).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new("open", ErrorKind::Changed).on(&entry.path).caused_by(error));
            }
            entry => entry?,
        };
        let handle = self.files.insert(Open::Live(OpenLive { source, entry }));
        Ok(Opened { handle, proven_file: None, keeps_pages: false, live: true })
    }

    /// Reads what the file holds now; shorter only at its end.
    pub(super) async fn read_live(&self, open: &OpenLive, bytes: Range<u64>) -> Result<Bytes> {
        let OpenLive { source, entry } = open;
        let mut asking = Asking::OnceASecond;
        for _ in 0..ATTEMPTS {
            let entry = self.now(*source, entry, asking).await?;
            match self.retrieve_live(*source, &entry, bytes.clone()).await {
                Err(error) if error.kind() == ErrorKind::Changed => asking = Asking::Anew,
                retrieved => return retrieved,
            }
        }
        let why = "it changes faster than it can be read";
        Err(Error::new("read", ErrorKind::ChangedDuringRead).on(&entry.path).because(why))
    }

    async fn retrieve_live(&self, source: SourceIndex, entry: &Entry, bytes: Range<u64>) -> Result<Bytes> {
        let Entry { path, size: Some(size), digest: Some(digest), .. } = entry else { return Err(untold(entry)) };
        let range = bytes.start..bytes.end.min(*size);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        // Nothing is waited for until another change would show: a file that grows all the time would never be read.
        let digest = Digest::new(digest.base());
        let retrieval = Retrieval::new(path, &digest, *size, range.clone());
        let (source, mut content) = (&self.sources[source], Vec::new());
        source.waits().during(source.connection.retrieve_file(&retrieval, &mut content)).await?;
        if content.len() as u64 != range.end - range.start {
            return Err(Error::new("read", ErrorKind::Changed)
                .on(path)
                .because("the source gave another number of bytes"));
        }
        Ok(content.into())
    }

    /// The entry of a live file with what the source says of it.
    async fn now(&self, index: SourceIndex, entry: &Entry, asking: Asking) -> Result<Entry> {
        let (source, answer) = (&self.sources[index], self.latest.of(index, &entry.path));
        let mut answer = answer.lock().await;
        if asking == Asking::Anew || !is_current(&answer) {
            let told = source.waits().during(source.connection.create_remote_digest(&entry.path)).await;
            *answer = Some((Instant::now(), told));
        }
        let told = answer.as_ref().map_or_else(|| Err(untold(entry)), |(_, told)| told.clone())?;
        if told.size.is_none() {
            return Err(untold(entry));
        }
        Ok(Entry {
            size: told.size,
            modified: told.modified.or(entry.modified),
            digest: Some(told.digest),
            ..entry.clone()
        })
    }
}

/// Whether a source is asked although it has just answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    OnceASecond,
    Anew,
}

fn untold(entry: &Entry) -> Error {
    let why = "the source tells no size of it, so it cannot be `live`";
    Error::new("live file", ErrorKind::Unsupported).on(&entry.path).because(why)
}
