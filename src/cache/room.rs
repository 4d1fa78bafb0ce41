//! The room of the cache: blocks get some within the limits, for which copies that were unused for longest are evicted, or there is a
//! shortage. It writes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use parking_lot::{Mutex, MutexGuard};
use tracing::{info, warn};

use super::ledger::{Lease, NoRoom, Reserved};
use super::table::{Held, Table};
use super::{COPY_OVERHEAD, Cache, CachedFile, Key, Limits};
use crate::disk::DISK_TIMEOUT;

/// The granularity in which disks give room.
pub(super) const DISK_BLOCK: u64 = 4096;

/// A copy that is out of sight, and whose files and row are to be deleted.
pub(super) struct TakenAway {
    key: Key,
    /// The room that it gives back.
    pub(super) lease: Lease,
}

/// The room that is left for pinned copies.
#[derive(Debug, Clone)]
pub struct KeepRoom {
    /// How many bytes.
    pub bytes: u64,
    /// It is the disk that has no more, rather than `max_size`.
    pub is_of_disk: bool,
    /// The setting that leaves no more, in words.
    pub why: String,
}

impl Cache {
    /// Takes a copy out of the cache. Its file is there until [`Cache::destroy`] has done its part without the lock, since the disk may hang;
    /// until then a new copy of the same version gets no room.
    pub(super) fn take_away(&self, table: &mut Table, key: &Key) -> Option<TakenAway> {
        let held = table.held.pop(key)?;
        table.loaded -= usize::from(matches!(held, Held::Loaded(_)));
        let lease = held.lease().take();
        table.leaving.insert(*key);
        table.leaving_bytes += lease.bytes();
        Some(TakenAway { key: *key, lease })
    }

    /// Deletes the files and rows of copies that were taken away, and gives back their room.
    pub(super) fn destroy(&self, copies: Vec<TakenAway>) {
        if copies.is_empty() {
            return;
        }
        self.index.delete(copies.iter().map(|copy| copy.key).collect());
        // A file that is open keeps its room when it is deleted.
        self.closing.all();
        for TakenAway { key, lease } in copies {
            let place = self.store.discard(&key);
            self.table.lock().leaving.remove(&key);
            if let Some(place) = place {
                self.store.destroy(&place);
            }
            let mut table = self.table.lock();
            table.leaving_bytes -= lease.bytes();
            drop(lease);
            table.gone += 1;
            self.left.notify_all();
        }
    }

    /// Takes all copies that are not open out of the cache: their files are gone.
    pub(super) fn forget_closed(&self) {
        let mut table = self.table.lock();
        let closed: Vec<_> = table.held.iter().filter(|(_, held)| !held.is_open()).map(|(key, _)| *key).collect();
        let taken = closed.iter().filter_map(|key| self.take_away(&mut table, key)).collect();
        drop(table);
        self.destroy(taken);
    }

    /// Takes a copy out of the cache and deletes its file.
    pub(super) fn remove(&self, mut table: MutexGuard<'_, Table>, key: &Key) {
        let taken = self.take_away(&mut table, key);
        drop(table);
        if let Some(copy) = taken {
            self.destroy(vec![copy]);
        }
    }

    /// Takes room for `bytes` more of a copy, evicting what was unused for longest. `None` if there is none to be had.
    pub(super) fn reserve<'a>(&'a self, copy: &'a CachedFile, bytes: u64) -> Option<Reserved<'a>> {
        if copy.size() > self.limits.max_size {
            // The file would evict every other copy and still not fit.
            self.shortage.feel(NoRoom::File(copy.size()), &self.limits);
            return None;
        }
        if self.table.lock().leaving.contains(copy.key()) {
            return None;
        }
        let blocks = bytes.next_multiple_of(DISK_BLOCK);
        let _taking = self.make_room(blocks + COPY_OVERHEAD)?;
        let first = if copy.lease.bytes() == 0 { COPY_OVERHEAD } else { 0 };
        Some(copy.lease.grow(blocks + first))
    }

    /// The bytes for which room was reserved are on the disk.
    pub(super) fn written(&self, reserved: Reserved<'_>) {
        reserved.written();
        self.shortage.end();
    }

    /// Bytes that are free for copies: the index will take some of those that the disk has. Waits for the disk.
    pub(super) fn free(&self) -> u64 {
        self.ledger.free(|| self.store.free().saturating_sub(self.index.growth()))
    }

    /// Evicts until `bytes` more fit within the limits, and keeps others from taking them while the guard is held. Waits for the disk.
    pub(super) fn make_room(&self, bytes: u64) -> Option<MutexGuard<'_, ()>> {
        let (mut evicted, mut waits) = (0, true);
        loop {
            let gone = self.table.lock().gone;
            let taking = self.disk.lock(&self.taking).ok()?;
            let (index, free) = (self.index.reserved(), self.free());
            let fits = self.ledger.fits(bytes, index, free, &self.limits);
            // The eviction thread removes what was over the limit at the start. A block need not wait for that if it evicts its own size.
            if fits.is_ok() || evicted >= bytes && self.upkeep.is_evicting() {
                return Some(taking);
            }
            drop(taking);
            let mut table = self.table.lock();
            if table.gone != gone {
                // A copy has given back its room since the check: check again.
                continue;
            }
            // Another thread deletes what will be enough: nothing more has to go for it, unless the disk hangs.
            if waits && self.ledger.will_fit(table.leaving_bytes, bytes, index, free, &self.limits) {
                waits = !self.left.wait_for(&mut table, DISK_TIMEOUT).timed_out();
                continue;
            }
            let Some(victim) = table.victim() else {
                fits.err().into_iter().for_each(|why| self.shortage.feel(why, &self.limits));
                return None;
            };
            evicted += table.held.peek(&victim).map_or(0, Held::bytes);
            self.remove(table, &victim);
            self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How much more can be kept for pins, if everything else makes room for that. Waits for the disk.
    pub fn room_to_keep(&self) -> KeepRoom {
        let kept = self.count().2;
        // Copies that are no pin's can go.
        let (free, others) = (self.free(), self.ledger.taken().saturating_sub(kept));
        let by_size = self.limits.max_size.saturating_sub(self.index.reserved()).saturating_sub(kept);
        let by_disk = free.saturating_add(others).saturating_sub(self.limits.min_free);
        let why = if by_size <= by_disk {
            format!("max_size = {}", ByteSize::b(self.limits.max_size))
        } else {
            NoRoom::MinFree(free).describe(&self.limits)
        };
        KeepRoom { bytes: by_size.min(by_disk).saturating_sub(COPY_OVERHEAD), is_of_disk: by_disk < by_size, why }
    }

    /// How many bytes more are kept once the whole copy of this version is, which has so many.
    pub fn cost_to_keep(&self, key: &Key, size: u64) -> u64 {
        let table = self.table.lock();
        let kept = table.held.peek(key).filter(|_| table.pinned.contains_key(key)).map_or(0, Held::bytes);
        (size.next_multiple_of(DISK_BLOCK) + COPY_OVERHEAD).saturating_sub(kept)
    }

    /// Deletes the file and the row of a copy that has no bytes any more.
    pub(super) fn delete_file(&self, copy: &CachedFile) {
        if copy.is_apart() {
            return;
        }
        self.index.delete(vec![*copy.key()]);
        if let Some(place) = self.store.discard(copy.key()) {
            self.store.destroy(&place);
        }
        drop(copy.lease.take());
    }

    /// The disk has refused bytes.
    pub(super) fn disk_failed(&self, error: &std::io::Error) {
        self.shortage.feel(NoRoom::Disk(error.to_string()), &self.limits);
    }

    /// How many blocks ahead of its reader a version of this size may bring while there is no room for them on the disk, and they wait in
    /// memory. `None` while there is.
    pub fn ahead_in_memory(&self, size: u64) -> Option<usize> {
        (size > self.limits.max_size || self.shortage.is_felt() || self.disk.rests()).then(|| self.spill.share())
    }

    /// Why the latest block found no room on the disk, if it did not: from here on files are read through, as if there were no cache.
    pub fn no_room(&self) -> Option<String> {
        self.disk.describe().or_else(|| self.shortage.why().map(|why| why.describe(&self.limits)))
    }
}

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
