//! `Samples`: the status of a mount as all clients share it. It knows no client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::status::Status;

/// For how long a sample is as good as a new one: a little less than the second after which clients want the next.
const MAX_AGE: Duration = Duration::from_millis(900);

/// The status as it was a moment ago.
pub(super) struct Sample {
    pub(super) status: Arc<Status>,
    /// The same as JSON.
    pub(super) json: Bytes,
    /// The same as a server-sent event.
    pub(super) event: Bytes,
}

/// Takes samples as they are wanted.
pub(super) struct Samples {
    take: Box<dyn Fn() -> Status + Send + Sync>,
    latest: Mutex<Option<(Instant, Arc<Sample>)>>,
}

impl Samples {
    /// Samples that `take` takes.
    pub(super) fn of(take: impl Fn() -> Status + Send + Sync + 'static) -> Self {
        Self { take: Box::new(take), latest: Mutex::default() }
    }

    /// The latest sample, or a new one.
    pub(super) fn now(&self) -> Arc<Sample> {
        // Whoever comes meanwhile waits for the sample that is being taken. It waits for no source.
        let mut latest = self.latest.lock();
        if let Some((taken, sample)) = &*latest
            && taken.elapsed() < MAX_AGE
        {
            return sample.clone();
        }
        let status = (self.take)();
        let json = serde_json::to_string(&status).expect("a status is numbers, lists and text");
        let event = Bytes::from(format!("data: {json}\n\n"));
        let sample = Arc::new(Sample { status: Arc::new(status), json: json.into(), event });
        *latest = Some((Instant::now(), sample.clone()));
        sample
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::status::tests::complete;

    #[tokio::test(start_paused = true)]
    async fn many_clients_share_one_sample_a_second() {
        let taken = Arc::new(AtomicU64::new(0));
        let counted = taken.clone();
        let samples = Samples::of(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            complete()
        });
        // Ten clients, whose seconds begin at different times.
        for _ in 0..10 * 60 {
            samples.now();
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let taken = taken.load(Ordering::Relaxed);
        assert!((60..=67).contains(&taken), "{taken} samples in a minute");
        let sample = samples.now();
        assert_eq!(sample.event, format!("data: {}\n\n", std::str::from_utf8(&sample.json).expect("text")));
    }
}
