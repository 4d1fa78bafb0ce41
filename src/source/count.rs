//! `Counted`: a source that counts what is asked of it, and how long its answers take. It changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::poll_fn;
use parking_lot::Mutex;

use super::operation::{Begun, Operation};
use super::waits::Waits;
use super::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::path::RemotePath;

/// Requests by kind, bytes and errors of one source since the mount. Readable at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls of `connect`.
    pub connect: Operation,
    /// Calls of `list_path`.
    pub list_path: Operation,
    /// Calls of `create_remote_digest`.
    pub create_remote_digest: Operation,
    /// Calls of `retrieve_file`.
    pub retrieve_file: Operation,
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

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl<S: Source> Source for Counted<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        let mut begun = self.counters.connect.begin();
        let connected = self.inner.connect().await;
        begun.end(&connected);
        self.counters.note(connected)
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn preconnect(&self, most: usize) {
        self.inner.preconnect(most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let mut begun = self.counters.list_path.begin();
        let entries = self.inner.list_path(dir).await;
        if entries.is_err() {
            begun.end(&entries);
        }
        // The answer is there when all of it is.
        Ok(self.counters.note(entries)?.through(|mut entries| {
            poll_fn(move |context| {
                let entry = ready!(entries.poll_next_unpin(context));
                match &entry {
                    Some(Ok(_)) => {}
                    Some(failed) => begun.end(failed),
                    None => begun.end(&Ok(())),
                }
                Poll::Ready(entry.map(|entry| self.counters.note(entry)))
            })
        }))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let mut begun = self.counters.create_remote_digest.begin();
        let digest = self.inner.create_remote_digest(file).await;
        begun.end(&digest);
        self.counters.note(digest)
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.inner.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let begun = self.counters.retrieve_file.begin();
        let mut counted = CountedSink { out, begun, bytes: &self.counters.bytes_retrieved, shown: 0 };
        let retrieved = self.inner.retrieve_file(request, &mut counted).await;
        counted.begun.end(&retrieved);
        self.counters.note(retrieved)
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

struct CountedSink<'a> {
    out: &'a mut dyn Sink,
    begun: Begun<'a>,
    bytes: &'a AtomicU64,
    /// How many of the bytes that are written next were counted when they were shown.
    shown: u64,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its sink can do")]
#[async_trait]
impl Sink for CountedSink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if !bytes.is_empty() {
            self.begun.answered();
        }
        let counted = self.shown.min(bytes.len() as u64);
        self.shown -= counted;
        self.bytes.fetch_add(bytes.len() as u64 - counted, Ordering::Relaxed);
        self.out.write(bytes).await
    }

    fn preview(&mut self, bytes: &mut Vec<Bytes>) -> bool {
        self.begun.answered();
        self.shown = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        self.bytes.fetch_add(self.shown, Ordering::Relaxed);
        self.out.preview(bytes)
    }

    fn withhold(&mut self) -> bool {
        self.out.withhold()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::TryStreamExt as _;

    use super::*;
    use crate::error::ErrorKind;
    use crate::source::fault::{Fault, Faults, Faulty, Method};
    use crate::sources::memory::Memory;

    fn counted() -> (Counted<Faulty>, Faults, Arc<Counters>) {
        let (memory, counters) = (Memory::new(), Arc::new(Counters::default()));
        memory.put("a", "hello");
        memory.put("b", "");
        let (faulty, faults) = Faulty::new(memory);
        (Counted::new(faulty, counters.clone()), faults, counters)
    }

    fn ended(operation: &Operation) -> Vec<(&'static str, u64)> {
        operation.outcomes().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_ends_with_its_stream() {
        let (source, faults, counters) = counted();
        let root = RemotePath::root();
        let listed = source.list_path(&root).await.expect("it is there").try_collect::<Vec<_>>().await;
        assert_eq!((listed.expect("it ends").len(), ended(&counters.list_path)), (2, vec![("ok", 1)]));
        drop(source.list_path(&root).await.expect("it is there"));
        faults.set(Method::ListPath, Fault::FailAfter(1, ErrorKind::Unreachable));
        source.list_path(&root).await.expect("it begins").try_collect::<Vec<_>>().await.expect_err("it breaks off");
        assert_eq!(ended(&counters.list_path), [("ok", 1), ("abandoned", 1), ("unreachable", 1)]);
        assert_eq!((counters.list_path.begun(), counters.errors.load(Ordering::Relaxed)), (3, 1));
    }

    /// A sink that takes a minute over whatever comes.
    struct Slow;

    #[async_trait]
    impl Sink for Slow {
        async fn write(&mut self, _: Bytes) -> Result<()> {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retrieval_is_answered_by_its_first_bytes_and_not_late_because_its_reader_is() {
        let (source, _, counters) = counted();
        let file = RemotePath::root().child(b"a").expect("a plain name");
        let digest = source.create_remote_digest(&file).await.expect("it is there").digest;
        source.retrieve_file(&Retrieval::new(&file, &digest, 5, 0..5), &mut Slow).await.expect("it is there");
        assert_eq!((ended(&counters.retrieve_file), counters.retrieve_file.latencies()[0]), (vec![("ok", 1)], 1));
        assert_eq!(counters.bytes_retrieved.load(Ordering::Relaxed), 5);
    }
}
