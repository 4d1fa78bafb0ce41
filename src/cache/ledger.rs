//! `Ledger`: how much room on the disk is taken, and how much of it is not written yet. It evicts nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;

use super::{Cache, Limits};
use crate::room::{self, Room};

/// What takes room, in bytes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Everything, written or not.
    taken: AtomicU64,
    /// What is not written yet, so that the disk still counts it as free.
    unwritten: AtomicU64,
}

/// Why there is no room for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The file alone, of so many bytes, is larger than `max_size`.
    File(u64),
    /// `max_size` is taken by copies that are open.
    MaxSize,
    /// Only so many bytes are free on the disk, and all of them are to stay free.
    MinFree(u64),
    /// The disk refuses to take bytes.
    Disk(String),
}

impl NoRoom {
    /// What there is to know, and to do.
    pub(super) fn describe(&self, limits: &Limits) -> String {
        let (max, min) = (ByteSize::b(limits.max_size), ByteSize::b(limits.min_free));
        match self {
            Self::File(size) => format!("a file of {} is larger than max_size = {max}", ByteSize::b(*size)),
            Self::MaxSize => format!("max_size = {max} is taken by files that are open"),
            Self::MinFree(free) => {
                format!("{} are free on the disk, and min_free = {min} is to stay free", ByteSize::b(*free))
            }
            Self::Disk(why) => format!("the disk takes no bytes: {why}"),
        }
    }
}

impl Ledger {
    /// What is taken, in bytes.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// These bytes are on the disk already, from before.
    pub(super) fn found(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// These bytes are not on the disk any more.
    pub(super) fn gone(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Of what `charge` counts, `bytes` are not on the disk any more; all of it, if it has been given back by now.
    pub(super) fn give_back(&self, charge: &AtomicU64, bytes: u64) {
        let less = |charge: u64| Some(charge.saturating_sub(bytes));
        let before = charge.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
        self.gone(before.min(bytes));
    }

    /// How many of the bytes that the disk tells to be free nobody has taken yet.
    pub(super) fn free(&self, disk: impl FnOnce() -> u64) -> u64 {
        // In this order: what is written meanwhile would else be neither.
        let unwritten = self.unwritten.load(Ordering::Acquire);
        disk().saturating_sub(unwritten)
    }

    /// Whether `bytes` more fit within the limits, where the index takes `index` and `free` are free (see [`Ledger::free`]).
    pub(super) fn fits(&self, bytes: u64, index: u64, free: u64, limits: &Limits) -> Result<(), NoRoom> {
        self.fits_without(0, bytes, index, free, limits)
    }

    /// Whether they fit once `leaving` bytes, of what is taken now, are gone; false where none are leaving.
    pub(super) fn will_fit(&self, leaving: u64, bytes: u64, index: u64, free: u64, limits: &Limits) -> bool {
        leaving > 0 && self.fits_without(leaving, bytes, index, free, limits).is_ok()
    }

    fn fits_without(&self, leaving: u64, bytes: u64, index: u64, free: u64, limits: &Limits) -> Result<(), NoRoom> {
        let taken = self.taken().saturating_sub(leaving);
        if taken.saturating_add(index).saturating_add(bytes) > limits.max_size {
            return Err(NoRoom::MaxSize);
        }
        if free.saturating_add(leaving) < limits.min_free.saturating_add(bytes) {
            return Err(NoRoom::MinFree(free));
        }
        Ok(())
    }

    /// How many bytes too many there are.
    pub(super) fn surplus(&self, index: u64, free: u64, limits: &Limits) -> u64 {
        let beyond = self.taken().saturating_add(index).saturating_sub(limits.max_size);
        beyond.max(limits.min_free.saturating_sub(free))
    }

    /// Takes `bytes` for what `charge` counts.
    pub(super) fn take<'a>(&'a self, charge: &'a AtomicU64, bytes: u64) -> Reserved<'a> {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        charge.fetch_add(bytes, Ordering::Relaxed);
        Reserved { ledger: self, charge, bytes, written: false }
    }
}

/// Room for bytes that are about to be written. It is given back unless [`Reserved::written`] says that they are.
#[derive(Debug)]
#[must_use = "dropped, it is given back"]
pub(super) struct Reserved<'a> {
    ledger: &'a Ledger,
    charge: &'a AtomicU64,
    bytes: u64,
    written: bool,
}

impl Reserved<'_> {
    /// The bytes are on the disk.
    pub(super) fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.ledger.unwritten.fetch_sub(self.bytes, Ordering::Release);
        if !self.written {
            self.ledger.give_back(self.charge, self.bytes);
        }
    }
}

/// Room for files on the cache's disk that are no copies. It counts towards the limits as long as it lives; whoever holds it deletes
/// the files first.
#[derive(Debug)]
pub struct Lease {
    cache: Arc<Cache>,
    bytes: u64,
    written: u64,
}

impl Cache {
    /// Takes room for `bytes`, evicting what was unused for longest. `None` if there is none to be had.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let mut lease = Lease { cache: self.clone(), bytes: 0, written: 0 };
        lease.grow(bytes).then_some(lease)
    }
}

impl Lease {
    /// How many bytes it is for.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes room for `bytes` more. `false` if there is none to be had.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let Some(_taking) = self.cache.make_room(bytes) else { return false };
        let ledger = &self.cache.ledger;
        ledger.taken.fetch_add(bytes, Ordering::Relaxed);
        ledger.unwritten.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        true
    }

    /// Notes that so many bytes of it are on the disk by now, which the disk therefore no longer counts as free.
    pub fn note_written(&mut self, bytes: u64) {
        let written = bytes.clamp(self.written, self.bytes);
        self.cache.ledger.unwritten.fetch_sub(written - self.written, Ordering::Relaxed);
        self.written = written;
    }
}

impl Room for Arc<Cache> {
    fn lease(&self, bytes: u64) -> Option<Box<dyn room::Lease>> {
        Some(Box::new(Cache::lease(self, bytes)?))
    }
}

impl room::Lease for Lease {
    fn grow(&mut self, bytes: u64) -> bool {
        Self::grow(self, bytes)
    }

    fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.written);
        (self.bytes, self.written) = (self.bytes - bytes, self.written - bytes);
        self.cache.ledger.gone(bytes);
    }

    fn note_written(&mut self, bytes: u64) {
        Self::note_written(self, bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.cache.ledger.unwritten.fetch_sub(self.bytes - self.written, Ordering::Relaxed);
        self.cache.ledger.gone(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_size: 1000, min_free: 100 };

    #[test]
    fn what_is_reserved_and_not_written_yet_is_not_free() {
        let (ledger, charge) = (Ledger::default(), AtomicU64::new(0));
        assert_eq!(ledger.fits(300, 0, ledger.free(|| 400), &LIMITS), Ok(()));
        let reserved = ledger.take(&charge, 300);
        assert_eq!(ledger.fits(1, 0, ledger.free(|| 400), &LIMITS), Err(NoRoom::MinFree(100)));
        let written_meanwhile = ledger.free(|| {
            reserved.written();
            400
        });
        assert_eq!(written_meanwhile, 100, "who asked the disk before it counted them");
        assert_eq!(ledger.fits(1, 0, ledger.free(|| 101), &LIMITS), Ok(()), "the disk counts them now");
        assert_eq!((ledger.taken(), charge.into_inner()), (300, 300));
    }

    #[test]
    fn what_is_leaving_will_be_free() {
        let (ledger, charge) = (Ledger::default(), AtomicU64::new(0));
        ledger.take(&charge, 1000).written();
        assert_eq!(ledger.fits(10, 0, 200, &LIMITS), Err(NoRoom::MaxSize));
        assert!(ledger.will_fit(10, 10, 0, 200, &LIMITS) && !ledger.will_fit(9, 10, 0, 200, &LIMITS));
        assert!(
            ledger.will_fit(100, 10, 0, 10, &LIMITS) && !ledger.will_fit(99, 10, 0, 10, &LIMITS),
            "on the disk too"
        );
        assert!(!ledger.will_fit(0, 0, 0, 200, &LIMITS), "nothing is");
    }

    #[test]
    fn room_for_bytes_that_were_not_written_is_given_back() {
        let (ledger, charge) = (Ledger::default(), AtomicU64::new(7));
        drop(ledger.take(&charge, 300));
        assert_eq!((ledger.taken(), charge.load(Ordering::Relaxed)), (0, 7));
        assert_eq!(ledger.fits(1000, 0, 1100, &LIMITS), Ok(()));
        assert_eq!(ledger.fits(999, 2, 1100, &LIMITS), Err(NoRoom::MaxSize));
    }

    #[test]
    fn a_lease_counts_as_long_as_it_lives() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let limits = Limits { max_size: 10 << 20, min_free: 0 };
        let (cache, _) = Cache::open(dir.path(), limits).expect("a cache");
        let before = cache.bytes();
        let mut lease = cache.lease(1 << 20).expect("there is room");
        assert!(lease.grow(1 << 20) && !lease.grow(10 << 20));
        lease.note_written(1 << 20);
        assert_eq!((lease.bytes(), cache.bytes() - before), (2 << 20, 2 << 20));
        assert_eq!(cache.ledger.unwritten.load(Ordering::Relaxed), 1 << 20);
        assert!(cache.lease(9 << 20).is_none());
        room::Lease::shrink(&mut lease, 1 << 19);
        assert_eq!((lease.bytes(), cache.bytes() - before), (3 << 19, 3 << 19));
        drop(lease);
        assert_eq!((cache.bytes(), cache.ledger.unwritten.load(Ordering::Relaxed)), (before, 0));
    }
}
