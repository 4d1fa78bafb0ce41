//! `Ledger`: how much room on the disk is taken, and how much of it is not written yet; leases take it and give it back. It evicts nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;

use super::Limits;

/// The bytes that take room.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Everything, written or not.
    taken: AtomicU64,
    /// Those that are not written yet, so that the disk still counts it as free.
    unwritten: AtomicU64,
}

/// Why there is no room for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The file alone, of so many bytes, is larger than `max_size`.
    File(u64),
    /// `max_size` is taken by copies that are open or pinned.
    MaxSize,
    /// Only so many bytes are free on the disk, and all of them are to stay free.
    MinFree(u64),
    /// The disk refuses to take bytes.
    Disk(String),
}

impl NoRoom {
    /// The reason in words, and what to do.
    pub(super) fn describe(&self, limits: &Limits) -> String {
        let (max, min) = (ByteSize::b(limits.max_size), ByteSize::b(limits.min_free));
        match self {
            Self::File(size) => format!("a file of {} is larger than max_size = {max}", ByteSize::b(*size)),
            Self::MaxSize => format!("max_size = {max} is taken by files that are open or pinned"),
            Self::MinFree(free) => {
                format!("{} are free on the disk, and min_free = {min} is to stay free", ByteSize::b(*free))
            }
            Self::Disk(why) => format!("the disk takes no bytes: {why}"),
        }
    }
}

impl Ledger {
    /// The bytes that are taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// A lease for `bytes` that are on the disk already.
    pub(super) fn lease(self: &Arc<Self>, bytes: u64) -> Lease {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Lease { ledger: self.clone(), bytes: AtomicU64::new(bytes) }
    }

    /// Counts `bytes` that are about to be written.
    pub(super) fn unwritten(self: &Arc<Self>, bytes: u64) -> Unwritten {
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        Unwritten { ledger: self.clone(), bytes }
    }

    /// How many of the bytes that the disk tells to be free nobody has taken yet.
    pub(super) fn free(&self, disk: impl FnOnce() -> u64) -> u64 {
        // In this order: what is written meanwhile would else be neither.
        let unwritten = self.unwritten.load(Ordering::Acquire);
        disk().saturating_sub(unwritten)
    }

    /// Whether `bytes` more fit within the limits, where `index` are for the index and `free` are free (see [`Ledger::free`]).
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
}

/// Room on the disk that one copy takes. It counts towards the limits until the lease is dropped, which is after the files are deleted.
#[derive(Debug)]
pub(super) struct Lease {
    ledger: Arc<Ledger>,
    bytes: AtomicU64,
}

impl Lease {
    /// How many bytes it is for.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes room for `bytes` more, which are about to be written.
    pub(super) fn grow(&self, bytes: u64) -> Reserved<'_> {
        self.ledger.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Reserved { lease: self, bytes, unwritten: Some(self.ledger.unwritten(bytes)) }
    }

    /// Gives back the room of `bytes` that are not on the disk any more; all there is, if that is less.
    pub(super) fn shrink(&self, bytes: u64) {
        let less = |taken: u64| Some(taken.saturating_sub(bytes));
        let before = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
        self.ledger.taken.fetch_sub(before.min(bytes), Ordering::Relaxed);
    }

    /// All its room, as a lease of its own.
    pub(super) fn take(&self) -> Self {
        Self { ledger: self.ledger.clone(), bytes: AtomicU64::new(self.bytes.swap(0, Ordering::Relaxed)) }
    }

    /// Takes over the room of another lease.
    pub(super) fn absorb(&self, mut other: Self) {
        self.bytes.fetch_add(std::mem::take(other.bytes.get_mut()), Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ledger.taken.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

/// Room for bytes that are about to be written. It is given back unless [`Reserved::written`] or [`Reserved::pending`] keeps it.
#[derive(Debug)]
#[must_use = "dropped, it is given back"]
pub(super) struct Reserved<'a> {
    lease: &'a Lease,
    bytes: u64,
    unwritten: Option<Unwritten>,
}

impl Reserved<'_> {
    /// The bytes are on the disk.
    pub(super) fn written(self) {
        drop(self.pending());
    }

    /// The room stays with the lease, and whoever writes the bytes says later that they are on the disk.
    pub(super) fn pending(mut self) -> Unwritten {
        self.unwritten.take().expect("it is taken once, here")
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.unwritten.take().is_some() {
            self.lease.shrink(self.bytes);
        }
    }
}

/// Bytes that have room and are not on the disk yet. They count as written when this is dropped.
#[derive(Debug)]
pub(super) struct Unwritten {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Unwritten {
    /// How many bytes they are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Others, of the same ledger, belong to them.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// So many of them, at most all, are on the disk by now.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.ledger.unwritten.fetch_sub(bytes, Ordering::Release);
        self.bytes -= bytes;
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.wrote(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_size: 1000, min_free: 100 };

    #[test]
    fn what_is_reserved_and_not_written_yet_is_not_free() {
        let ledger = Arc::new(Ledger::default());
        let lease = ledger.lease(0);
        assert_eq!(ledger.fits(300, 0, ledger.free(|| 400), &LIMITS), Ok(()));
        let reserved = lease.grow(300);
        assert_eq!(ledger.fits(1, 0, ledger.free(|| 400), &LIMITS), Err(NoRoom::MinFree(100)));
        let written_meanwhile = ledger.free(|| {
            reserved.written();
            400
        });
        assert_eq!(written_meanwhile, 100, "who asked the disk before it counted them");
        assert_eq!(ledger.fits(1, 0, ledger.free(|| 101), &LIMITS), Ok(()), "the disk counts them now");
        assert_eq!((ledger.taken(), lease.bytes()), (300, 300));
    }

    #[test]
    fn what_is_leaving_will_be_free() {
        let ledger = Arc::new(Ledger::default());
        let _lease = ledger.lease(1000);
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
        let ledger = Arc::new(Ledger::default());
        let lease = ledger.lease(7);
        drop(lease.grow(300));
        assert_eq!((ledger.taken(), lease.bytes()), (7, 7));
        assert_eq!(ledger.fits(993, 0, 1100, &LIMITS), Ok(()));
        assert_eq!(ledger.fits(993, 1, 1100, &LIMITS), Err(NoRoom::MaxSize));
    }

    #[test]
    fn a_lease_gives_its_room_back_when_it_is_dropped() {
        let ledger = Arc::new(Ledger::default());
        let lease = ledger.lease(100);
        lease.grow(300).written();
        assert_eq!((ledger.taken(), lease.bytes()), (400, 400));
        drop(lease);
        assert_eq!(ledger.taken(), 0);
    }

    #[test]
    fn a_lease_gives_no_more_back_than_it_has() {
        let ledger = Arc::new(Ledger::default());
        let (lease, _other) = (ledger.lease(100), ledger.lease(1000));
        lease.shrink(30);
        assert_eq!((ledger.taken(), lease.bytes()), (1070, 70));
        lease.shrink(300);
        assert_eq!((ledger.taken(), lease.bytes()), (1000, 0));
        drop(lease);
        assert_eq!(ledger.taken(), 1000);
    }

    #[test]
    fn room_that_is_handed_on_counts_once() {
        let ledger = Arc::new(Ledger::default());
        let (first, second) = (ledger.lease(100), ledger.lease(7));
        second.absorb(first);
        assert_eq!((ledger.taken(), second.bytes()), (107, 107));
        let leaving = second.take();
        assert_eq!((ledger.taken(), second.bytes(), leaving.bytes()), (107, 0, 107));
        drop(second);
        assert_eq!(ledger.taken(), 107, "what was taken out of it has its own lease");
        drop(leaving);
        assert_eq!(ledger.taken(), 0);
    }

    #[test]
    fn room_that_was_given_back_before_its_bytes_were_written_is_given_back_once() {
        let ledger = Arc::new(Ledger::default());
        let lease = ledger.lease(0);
        let reserved = lease.grow(300);
        drop(lease.take());
        drop(reserved);
        assert_eq!((ledger.taken(), ledger.free(|| 400)), (0, 400));
    }
}
