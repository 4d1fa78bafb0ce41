//! `Shortage`: whether blocks find room on the disk at present, and why not. It looks for none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::Limits;
use super::ledger::NoRoom;

/// How often the log tells of it at most.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// Whether the latest block that wanted room got some.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    is_felt: AtomicBool,
    why: Mutex<Why>,
}

#[derive(Debug, Default)]
struct Why {
    reason: Option<NoRoom>,
    told: Option<Instant>,
}

impl Shortage {
    /// Whether there was no room for the latest block.
    pub(super) fn is_felt(&self) -> bool {
        self.is_felt.load(Ordering::Relaxed)
    }

    /// Why there was none.
    pub(super) fn why(&self) -> Option<NoRoom> {
        self.why.lock().reason.clone()
    }

    /// There was no room for a block. The log tells it, once in a while.
    pub(super) fn feel(&self, reason: NoRoom, limits: &Limits) {
        let mut why = self.why.lock();
        self.is_felt.store(true, Ordering::Relaxed);
        if why.told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
            why.told = Some(Instant::now());
            warn!(
                "cache: no room: {}; files are read through, and are not there in an outage",
                reason.describe(limits)
            );
        }
        why.reason = Some(reason);
    }

    /// A block was written.
    pub(super) fn end(&self) {
        if self.is_felt() {
            self.is_felt.store(false, Ordering::Relaxed);
            if self.why.lock().reason.take().is_some() {
                info!("cache: there is room again");
            }
        }
    }
}
