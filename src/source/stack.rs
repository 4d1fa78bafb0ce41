//! The wrappers that a mounted source has around it, in their order.

use std::sync::Arc;
use std::time::Duration;

use super::Source;
use super::connection::Connection;
use super::count::{Counted, Counters};
use super::deadline::Deadline;
use super::limit::Limited;
use super::retry::short_break;

/// The limits of a source.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// No request waits longer than this without progress.
    pub timeout: Duration,
    /// The most requests that are under way at once; `None`: as many as the source serves well.
    pub max_requests: Option<usize>,
    /// The most bytes of content that arrive in a second; `None`: no limit.
    pub max_bandwidth: Option<u64>,
}

/// Wraps `source`, from the inside out, in a deadline, counters, limits and a [`Connection`]. `name` is for log lines.
///
/// Counters are outside of the deadline, so that a timeout counts as the failure that it is.
pub fn stack(source: impl Source, name: &str, bounds: Bounds) -> (Arc<Connection>, Arc<Counters>) {
    let Bounds { timeout, max_requests, max_bandwidth } = bounds;
    let counters = Arc::new(Counters::default());
    let counted = Counted::new(Deadline::new(source, timeout, counters.clone()), counters.clone());
    let limited = Limited::new(counted, max_requests, max_bandwidth, timeout);
    (Connection::new(Box::new(limited), name, short_break(timeout)), counters)
}
