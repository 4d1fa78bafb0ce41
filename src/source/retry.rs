//! When to ask again: one policy for every remote operation that may be repeated. It knows no operation.
//!
//! **A read of a file while its source does not answer.** A server that restarts is no error for a program that already reads:
//!
//! | case | the outage | the file was opened | decision |
//! |---|---|---|---|
//! | B1 | unreachable, for less than [`short_break`] | before it began | wait for its end |
//! | B2 | unreachable, for longer | | fail |
//! | B3 | unreachable | since it began | fail: the source is known to be down |
//! | B4 | no answer within the timeout, or credentials not accepted | | fail |

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder, Retryable as _};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::error::{Error, ErrorKind, Result};

/// At most two repetitions, after about 100 and 400 ms: they bridge a hiccup and delay the report of an outage little.
fn policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_factor(4.0)
        .with_max_times(2)
        .with_jitter()
}

/// The longest wait between two attempts to read on.
const MAX_READ_RETRY_WAIT: Duration = Duration::from_secs(1);

/// The longest wait until a busy source is asked again.
const MAX_BUSY_WAIT: Duration = Duration::from_secs(2);

/// The longest wait that a source asks for and a request waits; for a longer one the request fails.
pub(super) const MAX_REQUESTED_WAIT: Duration = Duration::from_secs(10);

/// How long a server takes to restart.
const SHORT_BREAK: Duration = Duration::from_secs(10);

/// How long a read that is under way waits for a source that has become unreachable: never longer than for one that hangs.
pub fn short_break(timeout: Duration) -> Duration {
    SHORT_BREAK.min(timeout)
}

/// Cases B1 to B4: for how much longer a read waits for the end of an outage of this kind, which has lasted for `down`; `open` is how
/// long ago its file was opened. `None`: it fails.
pub(super) fn wait_for_end(kind: ErrorKind, down: Duration, open: Duration, short_break: Duration) -> Option<Duration> {
    let left = short_break.saturating_sub(down);
    (kind == ErrorKind::Unreachable && open >= down && !left.is_zero()).then_some(left)
}

/// Calls `read`, and again while it fails with something that may pass, until `short_break` after the first failure.
///
/// A read that got further than any before it, as `progress` tells (in any unit that grows), begins another break: a long read may
/// meet many breaks, and still ends over a line that breaks again and again. A read that makes no progress fails, however long each
/// attempt takes.
pub async fn retry_read<T, F: Future<Output = Result<T>>>(
    short_break: Duration,
    progress: impl Fn() -> u64,
    mut read: impl FnMut() -> F,
) -> Result<T> {
    let policy = policy().with_factor(2.0).with_max_delay(MAX_READ_RETRY_WAIT).without_max_times();
    let mut waits = policy.build();
    // When the read failed first in this break, and how far it had come.
    let mut failed: Option<(Instant, u64)> = None;
    loop {
        let error = match read().await {
            Err(error) if worth_it(&error) => error,
            result => return result,
        };
        let (now, reached) = (Instant::now(), progress());
        let first = match failed {
            Some((first, furthest)) if reached <= furthest => first,
            _ => {
                waits = policy.build();
                failed = Some((now, reached));
                now
            }
        };
        let wait = waits.next().unwrap_or(MAX_READ_RETRY_WAIT).max(error.wait().unwrap_or_default());
        if now - first + wait > short_break {
            return Err(error);
        }
        debug!("reading on in {wait:?}: {error}");
        sleep(wait).await;
    }
}

/// Whether to ask again: not after a timeout, which has used up its deadline, and not a source that is known to be down.
fn worth_it(error: &Error) -> bool {
    error.kind().is_temporary() && error.kind() != ErrorKind::TimedOut && !error.is_remembered()
}

/// The pauses of one request to a source that is busy and does not say for how long: until `timeout` after its first refusal.
pub struct Pauses {
    timeout: Duration,
    refused: Option<Instant>,
    waits: backon::ExponentialBackoff,
}

impl Pauses {
    /// The pauses of a request that has not been sent yet.
    pub fn within(timeout: Duration) -> Self {
        let waits = policy().with_factor(2.0).with_max_delay(MAX_BUSY_WAIT).without_max_times().build();
        Self { timeout, refused: None, waits }
    }

    /// Returns whether to ask again, after a pause. If not, the source was busy for as long as a request waits: no one else need ask.
    pub async fn over(&mut self, error: &Error) -> bool {
        let wait = self.waits.next().unwrap_or(MAX_BUSY_WAIT);
        let refused = *self.refused.get_or_insert_with(Instant::now);
        if refused.elapsed() + wait > self.timeout {
            return false;
        }
        debug!("asking again in {wait:?}: {error}");
        sleep(wait).await;
        true
    }
}

/// Calls `operation`, and again while it fails with something that may pass.
pub async fn retry<T, F: Future<Output = Result<T>>>(operation: impl FnMut() -> F) -> Result<T> {
    operation
        .retry(policy())
        .when(worth_it)
        .adjust(|error, wait| match (error.wait(), wait) {
            // A wait that is longer than a person would accept becomes the failure itself.
            (Some(asked), Some(wait)) => (asked <= MAX_REQUESTED_WAIT).then_some(asked.max(wait)),
            (_, wait) => wait,
        })
        .notify(|error, wait| debug!("asking again in {wait:?}: {error}"))
        .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Tries an operation that always fails with `error`; returns the number of attempts and the time.
    async fn tries(error: Error) -> (u32, Duration) {
        let (tries, began) = (Cell::new(0), Instant::now());
        let result: Result<()> = retry(async || {
            tries.set(tries.get() + 1);
            Err(error.clone())
        })
        .await;
        assert!(result.is_err());
        (tries.get(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_repeated() {
        assert_eq!(tries(Error::new("x", ErrorKind::Unreachable)).await.0, 3);
        for kind in [ErrorKind::TimedOut, ErrorKind::NotFound, ErrorKind::Unauthenticated, ErrorKind::Changed] {
            assert_eq!(tries(Error::new("x", kind)).await.0, 1, "{kind:?}");
        }
        assert_eq!(tries(Error::new("x", ErrorKind::Unreachable).remembered()).await.0, 1);
    }

    #[test]
    fn cases_b1_to_b4() {
        let [one, five, nine, ten] = [1, 5, 9, 10].map(Duration::from_secs);
        assert_eq!(wait_for_end(ErrorKind::Unreachable, one, five, ten), Some(nine));
        assert_eq!(wait_for_end(ErrorKind::Unreachable, ten, Duration::from_secs(60), ten), None);
        assert_eq!(wait_for_end(ErrorKind::Unreachable, five, one, ten), None);
        for kind in [ErrorKind::TimedOut, ErrorKind::Unauthenticated] {
            assert_eq!(wait_for_end(kind, one, five, ten), None);
        }
        assert_eq!(short_break(Duration::from_secs(30)), ten);
        assert_eq!(short_break(five), five);
    }

    /// A read that fails `failures` times, each time after `after` and having got `gets` further; returns its result and the time.
    async fn read(failures: u32, after: Duration, gets: u64, error: Error) -> (Result<()>, Duration) {
        let (failed, began) = (Cell::new(0), Instant::now());
        let read = async || {
            sleep(after).await;
            failed.set(failed.get() + 1);
            if failed.get() > failures { Ok(()) } else { Err(error.clone()) }
        };
        let progress = || u64::from(failed.get()) * gets;
        (retry_read(SHORT_BREAK, progress, read).await, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_goes_on_after_a_short_break_and_fails_after_a_long_one() {
        let broken = Error::new("x", ErrorKind::Unreachable);
        read(9, Duration::ZERO, 0, broken.clone()).await.0.expect("it is over in time");
        let (result, took) = read(u32::MAX, Duration::ZERO, 0, broken.clone()).await;
        assert!(result.is_err() && took > SHORT_BREAK - MAX_READ_RETRY_WAIT * 2 && took <= SHORT_BREAK, "{took:?}");
        read(50, Duration::from_secs(1), 1, broken.clone()).await.0.expect("it gets on, from break to break");
        assert!(read(u32::MAX, Duration::from_secs(1), 0, broken.clone()).await.1 <= SHORT_BREAK + MAX_READ_RETRY_WAIT);
        assert_eq!(read(1, Duration::ZERO, 0, broken.remembered()).await.1, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_gets_nowhere_ends_however_long_each_attempt_takes() {
        let slow = SHORT_BREAK * 3 / 2;
        let (result, took) = read(u32::MAX, slow, 0, Error::new("x", ErrorKind::Unreachable)).await;
        assert!(result.is_err() && took <= 2 * slow + MAX_READ_RETRY_WAIT, "{took:?}");
        let busy = Error::new("x", ErrorKind::RateLimited).retry_after(SHORT_BREAK / 2);
        let (result, took) = read(u32::MAX, SHORT_BREAK / 2, 0, busy).await;
        assert!(result.is_err() && took <= 2 * SHORT_BREAK, "{took:?}");
        let for_ever = Error::new("x", ErrorKind::RateLimited).retry_after(Duration::MAX);
        let (result, took) = read(u32::MAX, SHORT_BREAK / 2, 0, for_ever).await;
        assert!(result.is_err() && took <= 2 * SHORT_BREAK, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_left_alone_for_as_long_as_it_asks() {
        let busy = |seconds| Error::new("x", ErrorKind::RateLimited).retry_after(Duration::from_secs(seconds));
        let (count, took) = tries(busy(3)).await;
        assert!(count == 3 && took >= Duration::from_secs(6), "{count} tries in {took:?}");
        assert_eq!(tries(busy(3600)).await.0, 1);
    }
}
