//! `Limited`: a source with a limit of requests at once and of bytes a second. It knows no deadlines.

use std::num::NonZeroU32;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::turns::{Turns, Urgency};
use super::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};
use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;

/// Bytes are counted in units of this many, so that the fastest rate fits into 32 bits.
const UNIT: u32 = 1024;

/// Lets only a limited number of remote operations of `inner` run at once, the most urgent first, and content arrive at a limited
/// rate.
///
/// When an operation ends with an outage, all operations that wait for a turn fail with its error, marked as remembered.
///
/// `connect` is not limited: it must work while every other operation waits for it.
pub struct Limited<S> {
    inner: S,
    requests: usize,
    turns: Turns,
    rate: Option<DefaultDirectRateLimiter>,
}

impl<S: Source> Limited<S> {
    /// Wraps `inner`, already configured: at most `requests` at once (as many as it can by default), `rate` bytes a second.
    pub fn new(inner: S, requests: Option<usize>, rate: Option<u64>) -> Self {
        let able = inner.capabilities().concurrency;
        let requests = requests.map_or(able, |requests| requests.min(able));
        let turns = Turns::new(requests);
        let units = rate.map(|rate| u32::try_from(rate / u64::from(UNIT)).unwrap_or(u32::MAX));
        let quota = units.map(|units| Quota::per_second(NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN)));
        Self { inner, requests, turns, rate: quota.map(RateLimiter::direct) }
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl<S: Source> Source for Limited<S> {
    fn capabilities(&self) -> Capabilities {
        Capabilities { concurrency: self.requests, ..self.inner.capabilities() }
    }

    async fn connect(&self) -> Result<()> {
        self.inner.connect().await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let turn = self.turns.take(&Urgency::of_task()).await?;
        let entries = self.inner.list_path(dir).await;
        turn.note(&entries);
        // The turn ends with the stream.
        Ok(entries?.through(|entries| entries.inspect(move |entry| turn.note(entry))))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let turn = self.turns.take(&Urgency::interactive()).await?;
        let digest = self.inner.create_remote_digest(file).await;
        turn.note(&digest);
        digest
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.inner.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let turn = self.turns.take(&request.urgency).await?;
        let result = match &self.rate {
            Some(rate) => self.inner.retrieve_file(request, &mut RatedSink { out, rate }).await,
            None => self.inner.retrieve_file(request, out).await,
        };
        turn.note(&result);
        result
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

struct RatedSink<'a> {
    out: &'a mut dyn Sink,
    rate: &'a DefaultDirectRateLimiter,
}

#[async_trait]
impl Sink for RatedSink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut units = u32::try_from(bytes.len()).unwrap_or(u32::MAX).div_ceil(UNIT);
        while let Some(some) = NonZeroU32::new(units) {
            // More than a second's worth at once never fits the limiter.
            match self.rate.until_n_ready(some).await {
                Ok(()) => break,
                Err(governor::InsufficientCapacity(most)) => {
                    let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
                    let _ = self.rate.until_n_ready(most).await;
                    units -= most.get();
                }
            }
        }
        self.out.write(bytes).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    struct Discard;

    #[async_trait]
    impl Sink for Discard {
        async fn write(&mut self, _: Bytes) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn content_arrives_no_faster_than_the_rate() {
        let rate = RateLimiter::direct(Quota::per_second(NonZeroU32::new(1000).expect("not zero")));
        let mut out = RatedSink { out: &mut Discard, rate: &rate };
        let began = Instant::now();
        // The first second's worth may come at once; bytes beyond it wait, also in pieces larger than it.
        out.write(Bytes::from(vec![0; 1200 * UNIT as usize])).await.expect("nothing fails");
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    }
}
