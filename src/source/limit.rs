//! `Limited`: a source with a limit of requests at once and of bytes a second. It knows no deadlines.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;

use super::rate::Rate;
use super::retry::Pauses;
use super::turns::{Turn, Turns, Urgency};
use super::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;

/// Lets only a limited number of remote operations of `inner` run at once, the most urgent first, and content arrive at a limited
/// rate.
///
/// A source that refuses a request because it is busy gets fewer at once ([`Turns`]), and the request again after a pause, in the same
/// turn, until it was busy for `timeout`. If it says how long it wants to be left alone, the caller decides.
///
/// When an operation ends with an outage, all operations that wait for a turn fail with its error, marked as remembered.
///
/// `connect` is not limited: it must work while every other operation waits for it.
pub struct Limited<S> {
    inner: S,
    requests: usize,
    turns: Arc<Turns>,
    rate: Option<Rate>,
    timeout: Duration,
}

impl<S: Source> Limited<S> {
    /// Wraps `inner`, already configured: at most `requests` at once (as many as it can by default), `rate` bytes a second. A busy source
    /// is waited for until `timeout`.
    pub fn new(inner: S, requests: Option<usize>, rate: Option<u64>, timeout: Duration) -> Self {
        let able = inner.capabilities().concurrency;
        let requests = requests.map_or(able, |requests| requests.min(able));
        let turns = Arc::new(Turns::new(requests));
        Self { inner, requests, turns, rate: rate.map(Rate::per_second), timeout }
    }

    /// Notes the result of a request, and returns it; none if the request is to be sent again, now.
    async fn settled<T>(&self, turn: &mut Turn<'_>, pauses: &mut Pauses, result: Result<T>) -> Option<Result<T>> {
        turn.note(&result);
        match result {
            Err(error) if is_busy(&error) => {
                if pauses.over(&error).await {
                    turn.ask_again();
                    return None;
                }
                let given_up = Err(error.remembered());
                turn.note(&given_up);
                Some(given_up)
            }
            result => Some(result),
        }
    }
}

/// Whether the source is busy and does not say for how long.
fn is_busy(error: &Error) -> bool {
    error.kind() == ErrorKind::RateLimited && error.wait().is_none()
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl<S: Source> Source for Limited<S> {
    fn capabilities(&self) -> Capabilities {
        Capabilities { concurrency: self.requests, ..self.inner.capabilities() }
    }

    async fn connect(&self) -> Result<()> {
        let mut pauses = Pauses::within(self.timeout);
        loop {
            match self.inner.connect().await {
                Err(error) if is_busy(&error) => {
                    if !pauses.over(&error).await {
                        return Err(error.remembered());
                    }
                }
                result => return result,
            }
        }
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn preconnect(&self, most: usize) {
        self.inner.preconnect(most.min(self.requests)).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let mut turn = self.turns.take(&Urgency::of_task()).await?;
        let mut pauses = Pauses::within(self.timeout);
        let entries = loop {
            let entries = self.turns.during(self.inner.list_path(dir)).await;
            if let Some(entries) = self.settled(&mut turn, &mut pauses, entries).await {
                break entries;
            }
        };
        // The turn ends with the stream.
        Ok(entries?.through(|entries| entries.inspect(move |entry| turn.note(entry))))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let mut turn = self.turns.take(&Urgency::interactive()).await?;
        let mut pauses = Pauses::within(self.timeout);
        loop {
            let digest = self.turns.during(self.inner.create_remote_digest(file)).await;
            if let Some(digest) = self.settled(&mut turn, &mut pauses, digest).await {
                return digest;
            }
        }
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.inner.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let mut turn = self.turns.take(&request.urgency).await?;
        let mut pauses = Pauses::within(self.timeout);
        // Bytes that come by a rate are in no hurry.
        let may_be_unconfirmed = request.may_be_unconfirmed && self.rate.is_none();
        let request = &Retrieval { may_be_unconfirmed, ..request.clone() };
        let mut out = RatedSink { out, rate: self.rate.as_ref(), begun: false };
        loop {
            let retrieved = self.turns.during(self.inner.retrieve_file(request, &mut out)).await;
            if out.begun {
                // Only the caller knows how to go on.
                turn.note(&retrieved);
                return retrieved;
            }
            if let Some(retrieved) = self.settled(&mut turn, &mut pauses, retrieved).await {
                return retrieved;
            }
        }
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

struct RatedSink<'a> {
    out: &'a mut dyn Sink,
    rate: Option<&'a Rate>,
    /// Whether bytes have arrived.
    begun: bool,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its sink can do")]
#[async_trait]
impl Sink for RatedSink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.begun |= !bytes.is_empty();
        if let Some(rate) = self.rate {
            rate.pass(bytes.len()).await;
        }
        self.out.write(bytes).await
    }

    fn preview(&mut self, bytes: &mut Vec<Bytes>) -> bool {
        self.rate.is_none() && self.out.preview(bytes)
    }

    fn withhold(&mut self) -> bool {
        self.out.withhold()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    use crate::source::fault::{Fault, Faults, Faulty, Method};
    use crate::sources::memory::Memory;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn limited() -> (Limited<Faulty>, Faults) {
        let memory = Memory::new();
        memory.put("a", "hello");
        let (source, faults) = Faulty::new(memory);
        (Limited::new(source, Some(16), None, TIMEOUT), faults)
    }

    /// How many of so many readers at once get an error, and how long they took together.
    async fn failed(source: &Limited<Faulty>, readers: usize) -> (usize, Duration) {
        let (file, began) = (RemotePath::parse(b"a").expect("a plain path"), Instant::now());
        let digests = (0..readers).map(|_| source.create_remote_digest(&file));
        let digests = futures::future::join_all(digests).await;
        (digests.iter().filter(|digest| digest.is_err()).count(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_source_is_asked_less_at_once_and_fails_nobody() {
        let (source, faults) = limited();
        faults.set(Method::CreateRemoteDigest, Fault::Crowded(2));
        let (failures, took) = failed(&source, 64).await;
        assert_eq!(failures, 0);
        // 64 requests of 100 ms, two at once at best, one at worst.
        assert!(took < TIMEOUT, "{took:?}");
        let refusals = faults.calls(Method::CreateRemoteDigest) - 64;
        assert!(refusals < 64, "{refusals} requests were one too many");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_stays_busy_fails_all_who_wait_after_the_timeout() {
        let (source, faults) = limited();
        faults.set_all(Fault::Fail(ErrorKind::RateLimited));
        let (failures, took) = failed(&source, 64).await;
        assert_eq!(failures, 64);
        assert!(took <= TIMEOUT && took > TIMEOUT - Duration::from_secs(4), "{took:?}");
        assert!(source.connect().await.expect_err("it is busy").is_remembered());
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_says_how_long_it_is_busy_is_not_asked_again_here() {
        let (source, faults) = limited();
        faults.set(Method::CreateRemoteDigest, Fault::Busy(Duration::from_secs(1)));
        assert_eq!(failed(&source, 1).await, (1, Duration::ZERO));
        assert_eq!(faults.calls(Method::CreateRemoteDigest), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retrieval_that_brought_bytes_is_left_to_its_caller() {
        let (source, faults) = limited();
        let file = RemotePath::parse(b"a").expect("a plain path");
        let digest = source.create_remote_digest(&file).await.expect("it answers").digest;
        faults.set_times(Method::RetrieveFile, Fault::FailAfter(2, ErrorKind::RateLimited), 1);
        let mut bytes = Vec::new();
        let request = Retrieval::new(&file, &digest, 5, 0..5);
        assert!(source.retrieve_file(&request, &mut bytes).await.is_err());
        assert_eq!(bytes, b"he");
    }

    struct Discard;

    #[async_trait]
    impl Sink for Discard {
        async fn write(&mut self, _: Bytes) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_comes_by_a_rate_is_confirmed() {
        let (file, digest) = (RemotePath::parse(b"a").expect("a plain path"), Digest::new("1"));
        for rate in [None, Some(1 << 20)] {
            let memory = Memory::new().unconfirmed();
            memory.put_as("a", "1", "hello");
            let source = Limited::new(memory, None, rate, TIMEOUT);
            let request = Retrieval { may_be_unconfirmed: true, ..Retrieval::new(&file, &digest, 5, 0..5) };
            let retrieved = source.retrieve_file(&request, &mut Discard).await.expect("nothing fails");
            assert_eq!(retrieved.is_unconfirmed, rate.is_none());
        }
    }

    #[tokio::test]
    async fn content_arrives_no_faster_than_the_rate() {
        let rate = Rate::per_second(1000 << 10);
        let mut out = RatedSink { out: &mut Discard, rate: Some(&rate), begun: false };
        let began = Instant::now();
        // The first second's worth may come at once; bytes beyond it wait, also in pieces larger than it.
        out.write(Bytes::from(vec![0; 1200 << 10])).await.expect("nothing fails");
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    }
}
