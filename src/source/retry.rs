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

/// Whether to ask again: not what timed out, having used up its deadline, and not a source that is known to be down.
fn worth_it(error: &Error) -> bool {
    error.kind().is_temporary() && error.kind() != ErrorKind::TimedOut && !error.is_remembered()
}

/// Does `operation`, and again while it fails with something that may pass.
pub async fn retry<T, F: Future<Output = Result<T>>>(operation: impl FnMut() -> F) -> Result<T> {
    operation.retry(policy()).when(worth_it).notify(|error, wait| debug!("asking again in {wait:?}: {error}")).await
}
