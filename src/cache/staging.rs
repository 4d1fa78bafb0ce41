//! `StagingLease`: room for files on the cache's disk that are no copies, such as those that a plugin is writing. It knows no files.

use std::sync::Arc;

use super::Cache;
use super::ledger::{Lease, Unwritten};
use crate::room::{self, Room};

/// Room for files on the cache's disk that are no copies. It counts towards the limits as long as it lives; whoever holds it deletes
/// the files first.
#[derive(Debug)]
pub struct StagingLease {
    cache: Arc<Cache>,
    unwritten: Unwritten,
    lease: Lease,
}

impl Cache {
    /// Takes room for `bytes`, evicting what was unused for longest. `None` if there is none to be had.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Option<StagingLease> {
        let (lease, unwritten) = (self.ledger.lease(0), self.ledger.unwritten(0));
        let mut lease = StagingLease { cache: self.clone(), lease, unwritten };
        lease.grow(bytes).then_some(lease)
    }
}

impl StagingLease {
    /// How many bytes it is for.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.lease.bytes()
    }

    fn written(&self) -> u64 {
        self.lease.bytes() - self.unwritten.bytes()
    }

    /// Takes room for `bytes` more. `false` if there is none to be had.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let Some(_taking) = self.cache.make_room(bytes) else { return false };
        self.unwritten.absorb(self.lease.grow(bytes).pending());
        true
    }

    /// Notes that so many bytes of it are on the disk by now, which the disk therefore no longer counts as free.
    pub fn note_written(&mut self, bytes: u64) {
        self.unwritten.wrote(bytes.saturating_sub(self.written()));
    }
}

impl Room for Arc<Cache> {
    fn lease(&self, bytes: u64) -> Option<Box<dyn room::Lease>> {
        Some(Box::new(Cache::lease(self, bytes)?))
    }
}

impl room::Lease for StagingLease {
    fn grow(&mut self, bytes: u64) -> bool {
        Self::grow(self, bytes)
    }

    fn shrink(&mut self, bytes: u64) {
        self.lease.shrink(bytes.min(self.written()));
    }

    fn note_written(&mut self, bytes: u64) {
        Self::note_written(self, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Limits;

    /// Bytes of a disk that are free, as that tells.
    const ALL: u64 = 1 << 30;

    #[test]
    fn a_lease_counts_as_long_as_it_lives() {
        let dir = kit::reaper::temporary();
        let limits = Limits { max_size: 10 << 20, min_free: 0 };
        let (cache, _) = Cache::open(dir.path(), limits).expect("a cache");
        let before = cache.bytes();
        let mut lease = cache.lease(1 << 20).expect("there is room");
        assert!(lease.grow(1 << 20) && !lease.grow(10 << 20));
        lease.note_written(1 << 20);
        assert_eq!((lease.bytes(), cache.bytes() - before), (2 << 20, 2 << 20));
        let unwritten = || ALL - cache.ledger.free(|| ALL);
        assert_eq!(unwritten(), 1 << 20);
        assert!(cache.lease(9 << 20).is_none());
        room::Lease::shrink(&mut lease, 1 << 19);
        assert_eq!((lease.bytes(), cache.bytes() - before), (3 << 19, 3 << 19));
        drop(lease);
        assert_eq!((cache.bytes(), unwritten()), (before, 0));
    }
}
