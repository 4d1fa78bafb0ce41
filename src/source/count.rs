//! `Counted`: a source that counts what is asked of it. It changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;

use super::waits::Waits;
use super::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::path::RemotePath;

/// Requests by kind, bytes and errors of one source since the mount. Readable at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls of `connect`.
    pub connect: AtomicU64,
    /// Calls of `list_path`.
    pub list_path: AtomicU64,
    /// Calls of `create_remote_digest`.
    pub create_remote_digest: AtomicU64,
    /// Calls of `retrieve_file`.
    pub retrieve_file: AtomicU64,
    /// Content bytes that arrived.
    pub bytes_retrieved: AtomicU64,
    /// Calls that failed, whatever the reason.
    pub errors: AtomicU64,
    /// The latest failure, in words.
    pub last_error: Mutex<Option<String>>,
    /// The calls and programs that wait for the source.
    pub waits: Waits,
}

impl Counters {
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.failed(error))
    }

    /// Counts a failure.
    pub fn failed(&self, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.keep_as_latest(error);
    }

    /// Keeps a failure as the latest: for failures that only the caller notices, such as bytes that do not match their digest.
    pub fn keep_as_latest(&self, error: &Error) {
        *self.last_error.lock() = Some(error.to_string());
    }
}

/// Counts calls of `inner` into [`Counters`].
pub struct Counted<S> {
    inner: S,
    counters: Arc<Counters>,
}

impl<S: Source> Counted<S> {
    /// Wraps `inner`, and counts into `counters`, which the caller keeps to read them.
    pub fn new(inner: S, counters: Arc<Counters>) -> Self {
        Self { inner, counters }
    }
}

fn up(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl<S: Source> Source for Counted<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        up(&self.counters.connect);
        self.counters.note(self.inner.connect().await)
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        up(&self.counters.list_path);
        let entries = self.counters.note(self.inner.list_path(dir).await)?;
        Ok(entries.through(|entries| entries.map(|entry| self.counters.note(entry))))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        up(&self.counters.create_remote_digest);
        self.counters.note(self.inner.create_remote_digest(file).await)
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.inner.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        up(&self.counters.retrieve_file);
        let mut counted = CountedSink { out, bytes: &self.counters.bytes_retrieved, shown: 0 };
        self.counters.note(self.inner.retrieve_file(request, &mut counted).await)
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

struct CountedSink<'a> {
    out: &'a mut dyn Sink,
    bytes: &'a AtomicU64,
    /// How many of the bytes that are written next were counted when they were shown.
    shown: u64,
}

#[async_trait]
impl Sink for CountedSink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let counted = self.shown.min(bytes.len() as u64);
        self.shown -= counted;
        self.bytes.fetch_add(bytes.len() as u64 - counted, Ordering::Relaxed);
        self.out.write(bytes).await
    }

    fn preview(&mut self, bytes: &[Bytes]) {
        self.shown = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        self.bytes.fetch_add(self.shown, Ordering::Relaxed);
        self.out.preview(bytes);
    }
}
