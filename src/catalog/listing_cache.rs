//! `ListingCache`: the listings of one source that memory holds, each with its overlay, within a limit of bytes. It asks no source.
//!
//! A listing that memory has no room for stays in the database; a small record of it stays here, so that it is read from there as
//! long as it is fresh.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use lru::LruCache;
use tokio::time::Instant;

use super::Listing;
use super::listing::{ListingId, bytes_of};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;

/// About how many bytes the listings of all sources take in memory: 300,000 names.
const MAX_LISTINGS_BYTES: usize = 32 << 20;

/// The most bytes that a source takes for the records of listings that are not in memory: 30,000 directories.
const MAX_RECORDS_BYTES: usize = 8 << 20;

/// The bytes of a record beside its path and its overlay.
const RECORD_BYTES: usize = 200;

/// The memory that the catalogs of all sources share.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    used: AtomicUsize,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(MAX_LISTINGS_BYTES)
    }
}

impl Room {
    /// Room for listings of `limit` bytes.
    pub fn of(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }

    /// The part that a source keeps whatever the others take, so that its latest listings answer at once.
    fn own(&self) -> usize {
        self.limit / 32
    }
}

/// A listing in memory.
pub(super) struct CachedListing {
    pub(super) listing: Arc<Listing>,
    pub(super) record: Record,
}

/// The facts about a listing beside its entries.
pub(super) struct Record {
    /// `None`: in an earlier run.
    pub(super) obtained: Option<Instant>,
    pub(super) overlay: Overlay,
    pub(super) stored: Stored,
    /// The number of its entries.
    pub(super) names: usize,
    /// The listing, as long as a caller holds it.
    listing: Weak<Listing>,
    /// The bytes that this record takes.
    bytes: usize,
}

/// The place of a listing in the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// Its number in the database.
    pub(super) id: ListingId,
    /// [`crate::db::Database::losses`] before it was stored: where there are more by now, it may not be there.
    pub(super) losses: u64,
}

/// The overlay of a listing: entries of single names that were asked about later, and when; `None`: the name is gone.
pub(super) type Overlay = HashMap<LocalName, (Option<Entry>, Instant)>;

impl Record {
    /// The listing, if a caller still holds it.
    pub(super) fn listing(&self) -> Option<Arc<Listing>> {
        self.listing.upgrade()
    }
}

/// The listings and records of one source.
pub(super) struct ListingCache {
    cached: LruCache<RemotePath, CachedListing>,
    /// Bytes of `cached`.
    held: usize,
    room: Arc<Room>,
    /// Of the listings that are not in memory.
    records: LruCache<RemotePath, Record>,
    /// Bytes of `records`.
    recorded: usize,
}

impl ListingCache {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self { cached: LruCache::unbounded(), held: 0, room, records: LruCache::unbounded(), recorded: 0 }
    }

    /// The listing of `dir`, if it is in memory.
    pub(super) fn get(&mut self, dir: &RemotePath) -> Option<&mut CachedListing> {
        self.cached.get_mut(dir)
    }

    /// The record of the listing of `dir`, whether that is in memory or not.
    pub(super) fn record(&mut self, dir: &RemotePath) -> Option<&mut Record> {
        match self.cached.get_mut(dir) {
            Some(known) => Some(&mut known.record),
            None => self.records.get_mut(dir),
        }
    }

    /// The record of `dir`, if its listing is not in memory.
    pub(super) fn record_on_disk(&mut self, dir: &RemotePath) -> Option<&mut Record> {
        self.records.get_mut(dir)
    }

    /// Inserts a listing, and keeps the part of the former overlay that still tells more.
    pub(super) fn insert(&mut self, dir: RemotePath, listing: Arc<Listing>, stored: Stored, obtained: Option<Instant>) {
        let mut overlay = self.remove(&dir).map(|record| record.overlay).unwrap_or_default();
        overlay.retain(|name, (entry, at)| {
            // A listing without digests tells nothing about versions, so it does not replace a digest that is laid over it: during
            // an outage that may be the last that is known.
            let silent = entry.is_some() && listing.get(name).is_some_and(|listed| listed.digest.is_none());
            silent || obtained.is_some_and(|obtained| *at > obtained)
        });
        let names = listing.entries().len();
        let laid_over: usize = overlay.iter().map(|(name, (entry, _))| overlay_bytes(name, entry.as_ref())).sum();
        let bytes = RECORD_BYTES + dir.as_bytes().len() + laid_over;
        let record = Record { obtained, overlay, stored, names, listing: Arc::downgrade(&listing), bytes };
        self.hold(listing.bytes() + bytes);
        self.cached.put(dir, CachedListing { listing, record });
        self.make_room();
    }

    /// Lays an entry, as the source told it at this time, over the listing of `dir`, if that is known.
    pub(super) fn lay_over(&mut self, dir: &RemotePath, name: LocalName, entry: Option<Entry>, at: Instant) {
        let is_held = self.cached.contains(dir);
        let Some(record) = self.record(dir) else { return };
        let more = overlay_bytes(&name, entry.as_ref());
        if record.overlay.insert(name, (entry, at)).is_none() {
            record.bytes += more;
            if is_held {
                self.hold(more)
            } else {
                self.recorded += more
            }
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        while self.held > self.room.own() && self.room.is_over() {
            let Some((dir, CachedListing { listing, record })) = self.cached.pop_lru() else { break };
            self.give_back(listing.bytes() + record.bytes);
            self.recorded += record.bytes;
            self.records.put(dir, record);
        }
        while self.recorded > MAX_RECORDS_BYTES {
            let Some((_, record)) = self.records.pop_lru() else { break };
            self.recorded -= record.bytes;
        }
    }

    /// Drops the listing of `dir`.
    pub(super) fn remove(&mut self, dir: &RemotePath) -> Option<Record> {
        if let Some(record) = self.records.pop(dir) {
            self.recorded -= record.bytes;
            return Some(record);
        }
        let known = self.cached.pop(dir)?;
        self.give_back(known.listing.bytes() + known.record.bytes);
        Some(known.record)
    }

    /// Leaves everything to the end of the process, as the kernel's inodes are left to it: freeing takes longer the more there is.
    pub(super) fn abandon(&mut self) {
        let known = std::mem::replace(&mut self.cached, LruCache::unbounded());
        let records = std::mem::replace(&mut self.records, LruCache::unbounded());
        std::mem::forget((known, records));
        self.give_back(self.held);
        self.recorded = 0;
    }

    /// Bytes of the listings in memory.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    fn hold(&mut self, bytes: usize) {
        self.held += bytes;
        self.room.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&mut self, bytes: usize) {
        self.held -= bytes;
        self.room.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for ListingCache {
    fn drop(&mut self) {
        self.give_back(self.held);
    }
}

fn overlay_bytes(name: &LocalName, entry: Option<&Entry>) -> usize {
    RECORD_BYTES + entry.map_or(name.len(), |entry| bytes_of(name, entry))
}
