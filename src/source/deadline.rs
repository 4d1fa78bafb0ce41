//! `Deadline`: a source each of whose calls ends, after its timeout without progress, and with an error if it panics. It retries nothing.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::budget::{Budget, Exceeded, MAX_LISTING_TIME, await_turn};
use super::count::Counters;
use super::waits::{Arrived, SILENT_SINCE, Silence};
use super::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};
use crate::digest::Digest;
use crate::duration::Shown;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;

/// Ends calls of `inner` with `TimedOut` when nothing happens for `timeout`: no answer, no next entry, no next bytes.
///
/// A retrieval that moves on may take as long as it likes; a listing as long as its [`Budget`] lasts, and another call as long as a listing (see
/// [`note_progress`](super::waits::note_progress)). The local digest is no remote operation and has no deadline.
pub struct Deadline<S> {
    inner: S,
    timeout: Duration,
    counters: Arc<Counters>,
}

impl<S: Source> Deadline<S> {
    /// Wraps `inner`; no remote operation waits longer than `timeout` without progress. Calls that wait are noted in `counters`.
    pub fn new(inner: S, timeout: Duration, counters: Arc<Counters>) -> Self {
        Self { inner, timeout, counters }
    }

    /// The source without deadlines.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    async fn within<T>(
        &self,
        op: &'static str,
        path: Option<&RemotePath>,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let silent_since = silent_from_now();
        let _under_way = self.counters.waits.call(op, path, &silent_since);
        timeout(MAX_LISTING_TIME, self.watch(op, silent_since, call)).await.unwrap_or_else(|_| {
            let why = format!("the answer has not ended after {}", Shown(MAX_LISTING_TIME));
            Err(Error::new(op, ErrorKind::TimedOut).because(why))
        })?
    }

    /// Returns the result of `call`.
    ///
    /// # Errors
    /// It has been silent for too long, or has panicked, which must not end the task of whoever made it.
    async fn watch<T>(&self, op: &'static str, silent_since: Silence, call: impl Future<Output = T>) -> Result<T> {
        let call = AssertUnwindSafe(SILENT_SINCE.scope(Arc::clone(&silent_since), call)).catch_unwind();
        tokio::pin!(call);
        loop {
            let now = Instant::now();
            // While the sink handles the bytes, the call does not wait for the source.
            let deadline = silent_since.lock().unwrap_or(now) + self.timeout;
            if deadline <= now {
                let why = format!("no progress for {}", Shown(self.timeout));
                return Err(Error::new(op, ErrorKind::TimedOut).because(why));
            }
            tokio::select! {
                result = &mut call => return result.map_err(|_| Error::of_panic(op)),
                () = sleep_until(deadline) => {}
            }
        }
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl<S: Source> Source for Deadline<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        self.within("connect", None, self.inner.connect()).await
    }

    async fn disconnect(&self) {
        // `disconnect` of a source that is silent is given up.
        let _ = timeout(self.timeout, self.inner.disconnect()).await;
    }

    async fn preconnect(&self, most: usize) {
        self.inner.preconnect(most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let end = Instant::now() + MAX_LISTING_TIME;
        let silent_since = silent_from_now();
        let under_way = self.counters.waits.call("list_path", Some(dir), &silent_since);
        let listing = self.watch("list_path", silent_since.clone(), self.inner.list_path(dir));
        let entries = timeout_at(end, listing).await.unwrap_or_else(|_| Err(Exceeded::Time.error(dir)))??;
        *silent_since.lock() = None;
        Ok(entries.through(|entries| {
            let listing = (entries, Budget::default(), silent_since, under_way);
            stream::unfold(Some(listing), move |listing| async move {
                let (mut entries, mut budget, silent_since, under_way) = listing?;
                *silent_since.lock() = Some(Instant::now());
                let next = self.watch("list_path", silent_since.clone(), entries.next());
                let entry = match timeout_at(end, next).await {
                    Ok(Ok(entry)) => entry?,
                    Ok(Err(error)) => Err(error.on(dir)),
                    Err(_) => Err(Exceeded::Time.error(dir)),
                };
                *silent_since.lock() = None;
                let afforded = entry.and_then(|entry| match budget.entry(dir, &entry) {
                    Ok(()) => Ok(entry),
                    Err(exceeded) => Err(exceeded.error(dir)),
                });
                let afforded = match timeout_at(end, await_turn(budget.taken())).await {
                    Ok(()) => afforded,
                    Err(_) => Err(Exceeded::Time.error(dir)),
                };
                let goes_on = afforded.is_ok();
                Some((afforded, goes_on.then_some((entries, budget, silent_since, under_way))))
            })
        }))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let digest = self.within("create_remote_digest", Some(file), self.inner.create_remote_digest(file)).await;
        digest.map_err(|e| e.on(file))
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.inner.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let silent_since = silent_from_now();
        let arrived = Arrived::default();
        let _under_way = self.counters.waits.retrieval(request, &silent_since, &arrived);
        let mut watched = WatchedSink { out, silent_since: &silent_since, arrived: &arrived };
        let call = self.inner.retrieve_file(request, &mut watched);
        let result = self.watch("retrieve_file", Arc::clone(&silent_since), call).await;
        result.map_err(|e| e.on(request.path))?
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

fn silent_from_now() -> Silence {
    Arc::new(Mutex::new(Some(Instant::now())))
}

struct WatchedSink<'a> {
    out: &'a mut dyn Sink,
    silent_since: &'a Mutex<Option<Instant>>,
    arrived: &'a AtomicU64,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its sink can do")]
#[async_trait]
impl Sink for WatchedSink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.arrived.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        *self.silent_since.lock() = None;
        let result = self.out.write(bytes).await;
        *self.silent_since.lock() = Some(Instant::now());
        result
    }

    fn preview(&mut self, bytes: &mut Vec<Bytes>) -> bool {
        let is_shown = self.out.preview(bytes);
        *self.silent_since.lock() = Some(Instant::now());
        is_shown
    }

    fn withhold(&mut self) -> bool {
        self.out.withhold()
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;
    use crate::source::budget::MAX_NAMES;
    use crate::source::fault::{Fault, Faulty, Method};
    use crate::sources::memory::Memory;

    async fn names(source: &dyn Source) -> Result<usize, String> {
        let root = RemotePath::root();
        let listing = source.list_path(&root).await.map_err(|e| e.to_string())?;
        listing.try_fold(0, |count, _| async move { Ok(count + 1) }).await.map_err(|e| e.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_ends_with_its_budget() {
        let bare = Memory::new();
        let capabilities = Capabilities { digest_from_listing: false, ..bare.capabilities() };
        let memory = bare.with_capabilities(capabilities);
        (0..=MAX_NAMES).for_each(|n| memory.put(&n.to_string(), ""));
        let source = Deadline::new(memory.clone(), Duration::from_secs(1), Arc::default());
        let why = names(&source).await.expect_err("there are too many");
        assert!(why.contains("more than 500000 names"), "{why}");
        memory.remove("0");
        assert_eq!(names(&source).await, Ok(MAX_NAMES));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panics_is_an_error_of_its_own() {
        let memory = Memory::new();
        memory.put("file", "content");
        let (faulty, faults) = Faulty::new(memory);
        let source = Deadline::new(faulty, Duration::from_secs(1), Arc::default());
        for method in [Method::Connect, Method::ListPath, Method::CreateRemoteDigest] {
            faults.set_times(method, Fault::Panic, 1);
        }
        let path = RemotePath::parse(b"file").expect("a path");
        let connected = source.connect().await.expect_err("it panics");
        assert_eq!(connected.kind(), ErrorKind::Other);
        assert!(names(&source).await.expect_err("it panics").contains("please report it"));
        source.create_remote_digest(&path).await.expect_err("it panics");
        source.connect().await.expect("it works");
        assert_eq!(names(&source).await, Ok(1));
        source.create_remote_digest(&path).await.expect("it works");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_whose_answer_drips_in_without_end_is_given_up() {
        let deadline = Deadline::new(Memory::new(), Duration::from_secs(30), Arc::default());
        let began = Instant::now();
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_secs(29)).await;
                super::super::waits::note_progress();
            }
        };
        let error = deadline.within::<()>("create_remote_digest", None, drip).await.expect_err("it does not end");
        assert!(error.kind() == ErrorKind::TimedOut && error.to_string().contains("has not ended"), "{error}");
        assert_eq!(began.elapsed(), MAX_LISTING_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lively_listing_without_end_is_given_up() {
        let memory = Memory::new();
        (0..20).for_each(|n| memory.put(&n.to_string(), ""));
        let (faulty, faults) = Faulty::new(memory);
        faults.set(Method::ListPath, Fault::HangAfter(10));
        let why =
            names(&Deadline::new(faulty, MAX_LISTING_TIME * 2, Arc::default())).await.expect_err("it does not end");
        assert!(why.contains("longer than 600 s"), "{why}");
    }
}
