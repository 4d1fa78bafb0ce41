//! Transfer: brings the bytes that the cache lacks, each once, however many ask. It knows versions, no names and no freshness.

mod measure;
mod memory;
mod sink;
mod stream;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::cache::block::{BLOCK, block_count, blocks_of, bytes_of};
use crate::cache::{Cache, Key, OpenCopy};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::freshness::{Proof, proof};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::retry::retry;
use crate::source::turns::Urgency;
use crate::source::{Capabilities, LocalCopy, Retrieval, Source};
pub use measure::Facts;
use measure::Measured;
pub use memory::Memory;
use sink::BlockSink;
use stream::Streams;

/// Files up to this size, in bytes, come in one request, and wholly before they are opened.
pub const SMALL: u64 = 1 << 20;

/// How far ahead of a reader who has gone forward for long is retrieved at most, in blocks: 128 MiB.
const AHEAD: usize = 1024;

/// The part of the way ahead that one request covers: four at once are as fast as it gets (`s3`, `webdav`, at 0 and 20 ms).
const REQUESTS_AHEAD: usize = 4;

/// A request for less than this many blocks (1 MiB) costs more than its bytes.
const SHORTEST_REQUEST: usize = 8;

/// How far ahead at most when blocks cannot be kept on disk: they wait in memory, which all readers share.
const AHEAD_IN_MEMORY: usize = 8;

/// How often a read starts over because blocks were pushed out of memory before it had them all.
const READ_ATTEMPTS: usize = 8;

/// One version of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Where it is.
    pub path: RemotePath,
    /// Which one it is.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The time of its last change, where the source knows.
    pub modified: Option<SystemTime>,
}

/// Brings bytes of one source into the cache.
pub struct Transfer {
    source: Arc<dyn Source>,
    source_id: Arc<str>,
    cache: Arc<Cache>,
    memory: Arc<Memory>,
    open: Mutex<HashMap<Key, Weak<OpenVersion>>>,
    measured: Mutex<Measured>,
}

impl Transfer {
    /// Brings bytes of `source`, known to the cache as `source_id`.
    pub fn new(source: Arc<dyn Source>, source_id: Arc<str>, cache: Arc<Cache>, memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self { source, source_id, cache, memory, open: Mutex::default(), measured: Mutex::default() })
    }

    /// The cache's key of a version.
    pub fn key(&self, path: &RemotePath, digest: &Digest) -> Key {
        Key::new(&self.source_id, path, digest)
    }

    /// Opens a version for reading. All who have it open share one; nothing is retrieved yet. `name` is its base name on disk.
    pub fn open(self: &Arc<Self>, version: &Version, name: &LocalName) -> Arc<OpenVersion> {
        let key = self.key(&version.path, &version.digest);
        if let Some(open) = self.open.lock().get(&key).and_then(Weak::upgrade) {
            return open;
        }
        let copy = self.cache.open_copy(key, name, version.size, version.modified);
        let opened = Arc::new(OpenVersion {
            transfer: self.clone(),
            version: version.clone(),
            copy,
            state: Mutex::new(State::default()),
        });
        // Somebody may have been faster; the copy is the same one either way.
        let mut open = self.open.lock();
        match open.get(&key).and_then(Weak::upgrade) {
            Some(first) => first,
            None => {
                open.insert(key, Arc::downgrade(&opened));
                opened
            }
        }
    }
}

/// A version that somebody reads, and the requests under way for it.
pub struct OpenVersion {
    transfer: Arc<Transfer>,
    version: Version,
    copy: OpenCopy,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: Vec<Arc<Request>>,
    streams: Streams,
    /// The local digest of a first attempt that did not agree with the remote one.
    first_attempt: Option<Digest>,
    /// The time of the version's last change, where a retrieval of its bytes told one: plugins compute local digests from it.
    retrieved_modified: Option<SystemTime>,
}

/// A request for a run of blocks that is under way.
struct Request {
    blocks: Range<usize>,
    urgency: Urgency,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone)]
struct Progress {
    /// Blocks before this one can be read.
    upto: usize,
    /// Set at the end.
    result: Option<Result<()>>,
}

impl OpenVersion {
    /// Which version this is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Its local bytes.
    pub fn copy(&self) -> &OpenCopy {
        &self.copy
    }

    /// Whether all bytes are here and proven.
    pub fn is_whole(&self) -> bool {
        self.copy.is_whole(&self.transfer.cache)
    }

    /// The file, if the kernel may read it without us (see `Copy::proven_file`).
    pub fn proven_file(&self) -> Option<Arc<std::fs::File>> {
        self.copy.proven_file(&self.transfer.cache)
    }

    /// Reads these bytes, cut at the end of the file, retrieving what is missing.
    ///
    /// # Errors
    /// `Changed` or `ChangedDuringRead` if bytes of this version can no longer be had; failures of the source. Never other bytes.
    pub async fn read(self: &Arc<Self>, bytes: Range<u64>) -> Result<Bytes> {
        let bytes = bytes.start.min(self.version.size)..bytes.end.min(self.version.size);
        let blocks = blocks_of(&bytes);
        if !self.copy.is_proven() {
            self.request_ahead(&blocks);
        }
        for _ in 0..READ_ATTEMPTS {
            if let Some(bytes) = self.copy.read(&self.transfer.cache, bytes.clone()) {
                return Ok(bytes);
            }
            self.retrieve(blocks.clone()).await?;
        }
        Err(Error::new("read", ErrorKind::Cache)
            .on(&self.version.path)
            .because("there is neither disk nor memory to hold the file's blocks"))
    }

    /// Returns when these blocks can be read.
    async fn retrieve(self: &Arc<Self>, blocks: Range<usize>) -> Result<()> {
        loop {
            let (first, request) = {
                let mut state = self.state.lock();
                let Some(&first) = self.missing(blocks.clone()).first() else { return Ok(()) };
                if !state.covers(first) {
                    self.request(&mut state, &blocks, 0);
                }
                let request = state.requests.iter().find(|request| request.blocks.contains(&first)).cloned();
                (first, request.expect("what is missing was just requested"))
            };
            request.urgency.raise();
            let mut progress = request.progress.subscribe();
            let there = progress.wait_for(|progress| progress.upto > first || progress.result.is_some()).await;
            let result = there.map(|progress| progress.result.clone()).unwrap_or_default();
            if let Some(Err(error)) = result
                && self.missing(first..first + 1) == [first]
            {
                return Err(error);
            }
        }
    }

    fn missing(&self, blocks: Range<usize>) -> Vec<usize> {
        self.copy.missing(&self.transfer.cache, blocks)
    }

    /// Requests what a reader at `blocks` needs now and is likely to need next.
    fn request_ahead(self: &Arc<Self>, blocks: &Range<usize>) {
        let room = self.transfer.cache.limits().max_size;
        let limit = if self.version.size > room {
            AHEAD_IN_MEMORY
        } else {
            // Not so far that a small cache would be turned over by one reader.
            AHEAD.min(block_count(room / 8)).max(AHEAD_IN_MEMORY)
        };
        let mut state = self.state.lock();
        let ahead = state.streams.follow(blocks, limit);
        self.request(&mut state, blocks, ahead);
    }

    /// Requests every missing block of `blocks` that is not under way, and up to `ahead` blocks beyond where that is worth a request.
    fn request(self: &Arc<Self>, state: &mut State, blocks: &Range<usize>, ahead: usize) {
        let all = block_count(self.version.size);
        if self.version.size <= SMALL || !self.transfer.source.capabilities().ranges {
            if state.requests.is_empty() && !self.missing(0..all).is_empty() {
                self.launch(state, 0..all, Urgency::interactive());
            }
            return;
        }
        let longest = (ahead / REQUESTS_AHEAD).max(SHORTEST_REQUEST).max(blocks.len());
        let mut missing = self.missing(blocks.start..(blocks.end + ahead).min(all));
        missing.retain(|&block| !state.covers(block));
        for run in missing.chunk_by(|a, b| a + 1 == *b) {
            let run = run[0]..run[run.len() - 1] + 1;
            let waited_for = run.start < blocks.end;
            // A reader that goes forward frees one block at a time: no request for so little.
            let worth_it = waited_for || run.len() >= (ahead / 2).min(longest) || run.end == all;
            if worth_it {
                for start in run.clone().step_by(longest) {
                    let urgency = if start < blocks.end { Urgency::interactive() } else { Urgency::ahead() };
                    self.launch(state, start..(start + longest).min(run.end), urgency);
                }
            }
        }
    }

    fn launch(self: &Arc<Self>, state: &mut State, blocks: Range<usize>, urgency: Urgency) {
        let (progress, _) = watch::channel(Progress { upto: blocks.start, result: None });
        let request = Arc::new(Request { blocks, urgency, progress });
        state.requests.push(request.clone());
        let version = self.clone();
        // A task of its own: a reader that gives up must not take the bytes from the others.
        tokio::spawn(async move {
            let result = version.carry_out(&request).await;
            if let Err(error) = &result {
                debug!("{error}");
            }
            version.state.lock().requests.retain(|other| !Arc::ptr_eq(other, &request));
            request.progress.send_modify(|progress| progress.result = Some(result));
        });
    }

    async fn carry_out(self: &Arc<Self>, request: &Request) -> Result<()> {
        let sink = BlockSink {
            version: self,
            request,
            next: request.blocks.start,
            gathered: BytesMut::new(),
            complete: false,
        };
        let sink = tokio::sync::Mutex::new(sink);
        let Capabilities { ranges, buffer, .. } = self.transfer.source.capabilities();
        let asked = bytes_of(&request.blocks, self.version.size);
        let held = self.transfer.memory.reserve(buffer.min(asked.end - asked.start) + BLOCK).await;
        let result = retry(async || {
            let mut sink = sink.lock().await;
            sink.gathered.clear();
            if !ranges {
                sink.next = request.blocks.start;
            }
            let range = bytes_of(&(sink.next..request.blocks.end), self.version.size);
            if range.is_empty() {
                return Ok(());
            }
            let Version { path, digest, size, .. } = &self.version;
            let urgency = request.urgency.clone();
            let retrieval = Retrieval { path, digest, size: Some(*size), range: range.clone(), urgency };
            let retrieved = self.transfer.source.retrieve_file(&retrieval, &mut *sink).await?;
            if retrieved.modified.is_some() {
                self.state.lock().retrieved_modified = retrieved.modified;
            }
            sink.expect_end(&range)
        })
        .await;
        drop(held);
        let sink = sink.into_inner();
        match result {
            // What came before the source noticed may be of the new version: nobody must find it here.
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                self.copy.forget(&self.transfer.cache, request.blocks.start..sink.next);
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) if sink.complete => self.prove().await,
            Ok(()) => Ok(()),
        }
    }

    /// Every block is there: the local digest decides whether the copy counts (see `freshness`, cases C1 to C4).
    async fn prove(self: &Arc<Self>) -> Result<()> {
        let checking = self.clone();
        let sound = tokio::task::spawn_blocking(move || checking.copy.check_all(&checking.transfer.cache)).await;
        if !sound.unwrap_or(false) {
            // Readers find the damaged blocks missing, and request them.
            return Ok(());
        }
        let Self { transfer, version, copy, .. } = &**self;
        copy.dress(self.state.lock().retrieved_modified);
        let local_copy =
            LocalCopy { file: copy.path(), path: &version.path, retrieved_as: &version.digest, size: version.size };
        let local =
            transfer.source.create_local_digest(&local_copy).await.inspect_err(|_| copy.discard(&transfer.cache))?;
        let content_digest = transfer.source.capabilities().content_digest;
        let first_attempt = self.state.lock().first_attempt.replace(local.clone());
        let decision = proof(&version.digest, &local, first_attempt.as_ref(), content_digest);
        match decision {
            Proof::Whole => {
                copy.prove(&transfer.cache, local);
                // Whoever has read the last block has a copy that survives a kill.
                transfer.cache.settled().await;
            }
            Proof::Baseline => {
                warn!(
                    "{}: the remote digest {} never equals the local one, {local}; the pair counts as valid",
                    version.path, version.digest
                );
                copy.prove(&transfer.cache, local);
            }
            Proof::Again => {
                warn!(
                    "{}: the bytes have the digest {local}, not {}: retrieved once more",
                    version.path, version.digest
                );
                copy.discard(&transfer.cache);
            }
            Proof::Changed => {
                copy.discard(&transfer.cache);
                return Err(Error::new("retrieve_file", ErrorKind::ChangedDuringRead)
                    .on(&version.path)
                    .because(format!("the bytes have the digest {local}, not {}", version.digest)));
            }
        }
        Ok(())
    }
}

impl Drop for OpenVersion {
    fn drop(&mut self) {
        let key = self.copy.key();
        let mut open = self.transfer.open.lock();
        // Somebody may have opened the same version anew by now.
        if open.get(key).is_some_and(|version| version.strong_count() == 0) {
            open.remove(key);
        }
    }
}

impl State {
    fn covers(&self, block: usize) -> bool {
        self.requests.iter().any(|request| request.blocks.contains(&block))
    }
}
