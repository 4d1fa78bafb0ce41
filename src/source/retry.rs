//! When to ask again: one policy for every remote operation that may be repeated. It knows no operation.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tracing::debug;

use crate::error::{Error, ErrorKind, Result};

/// At most two repetitions, after about 100 and 400 ms: a hiccup is bridged, an outage is told soon.
fn policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_factor(4.0)
        .with_max_times(2)
        .with_jitter()
}

/// The longest wait that a source can ask for and somebody waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether to ask again: not what timed out, having used up its deadline, and not a source that is known to be down.
fn worth_it(error: &Error) -> bool {
    error.kind().is_temporary() && error.kind() != ErrorKind::TimedOut && !error.is_remembered()
}

/// Does `operation`, and again while it fails with something that may pass.
pub async fn retry<T, F: Future<Output = Result<T>>>(operation: impl FnMut() -> F) -> Result<T> {
    operation
        .retry(policy())
        .when(worth_it)
        .adjust(|error, wait| match (error.wait(), wait) {
            // Who is told to wait longer than a person would is told of the failure instead.
            (Some(asked), Some(wait)) => (asked <= PATIENCE).then_some(asked.max(wait)),
            (_, wait) => wait,
        })
        .notify(|error, wait| debug!("asking again in {wait:?}: {error}"))
        .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    /// How often an operation is tried that always fails so, and for how long.
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

    #[tokio::test(start_paused = true)]
    async fn a_source_is_left_alone_for_as_long_as_it_asks() {
        let busy = |seconds| Error::new("x", ErrorKind::RateLimited).retry_after(Duration::from_secs(seconds));
        let (count, took) = tries(busy(3)).await;
        assert!(count == 3 && took >= Duration::from_secs(6), "{count} tries in {took:?}");
        assert_eq!(tries(busy(3600)).await.0, 1);
    }
}
