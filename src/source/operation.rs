//! `Operation`: how the requests of one method of the contract ended, and how long their answers took. It knows no source.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{ErrorKind, Result};

/// The upper bounds of the buckets of a histogram of latencies, in seconds; what takes longer has a bucket of its own.
pub const BOUNDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The outcome of a request that succeeded.
const OK: &str = "ok";

/// The outcome of a request whose answer nobody wants any more, as when a program is interrupted or a reader stops.
const ABANDONED: &str = "abandoned";

/// What came of the requests of one method since the mount. Readable at any time; noting takes no lock.
#[derive(Debug, Default)]
pub struct Operation {
    begun: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
    ok: AtomicU64,
    abandoned: AtomicU64,
    failed: [AtomicU64; ErrorKind::ALL.len()],
}

impl Operation {
    /// Notes that a request begins. Unless it is told how the request ended, it was abandoned.
    pub(super) fn begin(&self) -> Begun<'_> {
        up(&self.begun);
        Begun { operation: self, since: Instant::now(), is_answered: false, has_ended: false }
    }

    /// The number of requests that were begun.
    pub fn begun(&self) -> u64 {
        read(&self.begun)
    }

    /// The number of requests by how they ended, without those that never happened: `ok`, `abandoned`, or the name of an error's kind.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let failed = ErrorKind::ALL.iter().zip(&self.failed).map(|(kind, count)| (kind.name(), count));
        let all = [(OK, &self.ok), (ABANDONED, &self.abandoned)].into_iter().chain(failed);
        all.map(|(outcome, count)| (outcome, read(count))).filter(|(_, count)| *count > 0)
    }

    /// The number of answers by how long they took: a count for each of [`BOUNDS`], and one for what took longer.
    pub fn latencies(&self) -> Vec<u64> {
        self.buckets.iter().map(read).collect()
    }

    /// The time that all these answers took together, in seconds.
    pub fn seconds(&self) -> f64 {
        Duration::from_micros(read(&self.microseconds)).as_secs_f64()
    }

    fn note_latency(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        up(&self.buckets[BOUNDS.partition_point(|bound| *bound < seconds)]);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }
}

fn up(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    operation: &'a Operation,
    since: Instant,
    is_answered: bool,
    has_ended: bool,
}

impl Begun<'_> {
    /// Notes that the answer is there, or begins to be: what follows takes as long as it is long, or as its reader is slow.
    pub(super) fn answered(&mut self) {
        if !self.is_answered {
            self.is_answered = true;
            self.operation.note_latency(self.since.elapsed());
        }
    }

    /// Notes how the request ended. What follows the end does not count.
    pub(super) fn end<T>(&mut self, result: &Result<T>) {
        self.end_as(match result {
            Ok(_) => &self.operation.ok,
            Err(error) => &self.operation.failed[error.kind() as usize],
        });
    }

    fn end_as(&mut self, outcome: &AtomicU64) {
        self.answered();
        if !self.has_ended {
            self.has_ended = true;
            up(outcome);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.end_as(&self.operation.abandoned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn ended(operation: &Operation) -> Vec<(&'static str, u64)> {
        operation.outcomes().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_in_the_bucket_of_the_time_that_it_took() {
        let operation = Operation::default();
        for (milliseconds, bucket) in [(1, 0), (2, 1), (1000, 9), (1001, 10), (30_000, 13), (31_000, 14)] {
            let before = operation.latencies();
            let mut begun = operation.begin();
            tokio::time::advance(Duration::from_millis(milliseconds)).await;
            begun.answered();
            tokio::time::advance(Duration::from_secs(3600)).await;
            begun.end(&Ok(()));
            let changed: Vec<_> = operation.latencies().iter().zip(before).map(|(now, before)| now - before).collect();
            assert_eq!((changed[bucket], changed.iter().sum::<u64>()), (1, 1), "{milliseconds} ms: {changed:?}");
        }
        assert!((operation.seconds() - 63.004).abs() < 0.001, "{}", operation.seconds());
        assert_eq!((operation.begun(), ended(&operation)), (6, vec![("ok", 6)]));
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_has_one_outcome() {
        let operation = Operation::default();
        drop(operation.begin());
        let mut begun = operation.begin();
        begun.end(&Err::<(), _>(Error::new("list_path", ErrorKind::TimedOut)));
        begun.end(&Ok(()));
        drop(begun);
        assert_eq!(ended(&operation), [("abandoned", 1), ("timed_out", 1)]);
        assert_eq!(operation.latencies().iter().sum::<u64>(), 2);
    }
}
