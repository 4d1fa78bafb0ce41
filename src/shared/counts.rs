//! `Counts`: what came of sharing, for who asks. It decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind};

/// What came of asking. Readable at any time.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reads of an extent that the store answered.
    pub hits: AtomicU64,
    /// Those for which it had nothing.
    pub misses: AtomicU64,
    /// Content bytes that came from it.
    pub bytes_in: AtomicU64,
    /// Content bytes that were given to it.
    pub bytes_out: AtomicU64,
    /// Values that were not what belongs there, or not the bytes of the version.
    pub refused: AtomicU64,
    /// Reads that the store did not answer in time, so that the source was asked too.
    pub hedged: AtomicU64,
    /// Extents that this mount retrieved for the others, because it had their leases.
    pub leases_won: AtomicU64,
    /// Extents for which it waited, because another machine was retrieving them.
    pub leases_waited: AtomicU64,
    /// Reads that it answered and that were compared with the source.
    pub audited: AtomicU64,
    /// Those of them for which another machine had given wrong bytes.
    pub lies: AtomicU64,
    /// Listings that came from it.
    pub listings: AtomicU64,
    /// The latest failure, in words.
    pub last_error: Mutex<Option<String>>,
    /// Why a value was refused that was refused last.
    pub last_refusal: Mutex<Option<String>>,
}

impl Counts {
    /// Keeps a failure.
    pub(super) fn note_error(&self, why: &str) {
        *self.last_error.lock() = Some(Error::new("shared", ErrorKind::Other).because(why).to_string());
    }
}

/// Adds to a counter.
pub(super) fn up(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
