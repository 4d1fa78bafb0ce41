//! `Shortage`: whether blocks find room on the disk at present, and why not. It looks for none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::index::Record;
use super::ledger::NoRoom;
use super::{Cache, Facts, Key, Limits};
use crate::db::Hangs;

/// How often the log tells of it at most.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// For how long a disk that did not answer in time is left alone: a disk that spins up or a network share that comes back takes some
/// seconds, and each attempt may hold a reader up for [`DISK_PATIENCE`].
const REST: Duration = Duration::from_secs(30);

/// How long a read, a write or a question to the index may take. A sound disk takes milliseconds, a busy one a second; whoever reads waits that long once.
pub const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// What became of the latest block that wanted room.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    is_felt: AtomicBool,
    why: Mutex<Why>,
    /// Until when a disk that did not answer is left alone.
    resting: Mutex<Option<Instant>>,
    /// How many questions it has not answered yet.
    unanswered: Arc<AtomicUsize>,
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

    /// Whether the disk may be asked: not while it rests, and not while it still owes the answer for which it does.
    pub(super) fn may_ask_disk(&self) -> bool {
        let Some(until) = *self.resting.lock() else { return true };
        Instant::now() >= until && self.unanswered.load(Ordering::Relaxed) == 0
    }

    /// The disk has not answered in time.
    pub(super) fn disk_hangs(&self, limits: &Limits) {
        *self.resting.lock() = Some(Instant::now() + REST);
        let why = format!(
            "it has not answered for {} s, and is left alone for {} s",
            DISK_PATIENCE.as_secs(),
            REST.as_secs()
        );
        self.feel(NoRoom::Disk(why), limits);
    }

    /// A block was written.
    pub(super) fn end(&self) {
        // One that comes late does not make a disk that hangs a sound one.
        if self.is_felt() && self.may_ask_disk() {
            *self.resting.lock() = None;
            self.is_felt.store(false, Ordering::Relaxed);
            if self.why.lock().reason.take().is_some() {
                info!("cache: there is room again");
            }
        }
    }
}

/// A question that the disk has not answered yet. It ends with this.
#[derive(Debug)]
pub struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn new(unanswered: Arc<AtomicUsize>) -> Self {
        unanswered.fetch_add(1, Ordering::Relaxed);
        Self(unanswered)
    }
}

#[cfg(test)]
impl Default for Asked {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cache {
    /// Leave to ask the disk something, which lasts until the disk has answered. `None` while a disk that hangs is left alone: blocks then
    /// wait in memory for their readers, as if it were full, and those on the disk are had from the source.
    pub fn ask_disk(&self) -> Option<Asked> {
        self.shortage.may_ask_disk().then(|| Asked::new(self.shortage.unanswered.clone()))
    }

    /// The disk has not answered within [`DISK_PATIENCE`].
    pub fn disk_hangs(&self) {
        self.shortage.disk_hangs(&self.limits);
    }

    /// Whether a disk that hangs is left alone.
    pub(super) fn disk_rests(&self) -> bool {
        !self.shortage.may_ask_disk()
    }

    pub(super) fn load(&self, key: &Key) -> Result<Option<Record>, Hangs> {
        self.patiently(|asked| self.index.load(key, asked))
    }

    pub(super) fn stored_facts(&self, key: &Key) -> Result<Option<Facts>, Hangs> {
        self.patiently(|asked| self.index.facts(key, asked))
    }

    fn patiently<T>(&self, ask: impl FnOnce(Asked) -> Result<T, Hangs>) -> Result<T, Hangs> {
        let asked = self.ask_disk().ok_or(Hangs)?;
        ask(asked).inspect_err(|_| self.disk_hangs())
    }
}
