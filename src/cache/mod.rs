//! The cache: local bytes of versions, on disk, verified, within limits. It knows no sources; `transfer` fills it.
//!
//! Lock order: `Copy::state` is taken with or without `Cache::room`, never the other way round. Files are deleted without either.

pub mod block;
mod copy;
mod gather;
#[cfg(test)]
mod hostile_tests;
mod index;
mod ledger;
mod shortage;
mod spill;
mod staging;
mod store;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use lru::LruCache;
use parking_lot::{Condvar, Mutex, MutexGuard};
use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};

pub use copy::{Copy, Stored};
pub use gather::Gathering;

use crate::db::Database;
use crate::digest::{Digest, hex};
use crate::disk::{DISK_TIMEOUT, Disk};
use crate::error::Result;
use crate::name::LocalName;
use crate::path::RemotePath;
use index::Index;
use ledger::{Lease, Ledger, NoRoom, Reserved};
use shortage::Shortage;
use spill::Spill;
use store::Store;
use upkeep::Upkeep;

/// What a copy takes besides its blocks: its own directory.
const COPY_OVERHEAD: u64 = 4096;

/// How long the disk may take to make everything durable at the end. A sound one writes what it has in memory in some seconds.
const FINISH_TIMEOUT: Duration = Duration::from_secs(20);

/// The granularity in which disks give room.
const DISK_BLOCK: u64 = 4096;

/// The share of the cache's room that the journal of the index may take, and its bounds in bytes.
const JOURNAL_SHARE: u64 = 64;
const JOURNAL: (u32, u32) = (256 << 10, 16 << 20);

/// More than all copies can take, in bytes.
const MAX_USED: u64 = 1 << 60;

/// How many closed copies keep their block maps in memory, so that what was checked once stays checked.
const MAPS_IN_MEMORY: usize = 65_536;

/// Identifies one version of one file of one source: SHA-256 over the three.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of a version. `source_id` is the source's identity, not its folder name.
    pub fn new(source_id: &str, path: &RemotePath, digest: &Digest) -> Self {
        let mut hash = Sha256::new();
        for part in [source_id.as_bytes(), path.as_bytes(), digest.as_str().as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// How much room the cache may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes on disk at most, index included.
    pub max_size: u64,
    /// Bytes that stay free on the disk.
    pub min_free: u64,
}

/// What a copy tells of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of the version.
    pub size: u64,
    /// The time of its last change, as far as it is known.
    pub modified: Option<SystemTime>,
    /// Whether the copy was proven.
    pub whole: bool,
}

/// What happened in the cache since the mount. Readable at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Opens that found a whole copy.
    pub hits: AtomicU64,
    /// Opens that did not.
    pub misses: AtomicU64,
    /// Copies removed for room.
    pub evicted: AtomicU64,
    /// Blocks of stored copies that were hashed and agreed.
    pub verified: AtomicU64,
    /// Bytes that were hashed, where a hash of the content proves a copy, while others were still arriving.
    pub hashed_along: AtomicU64,
    /// Bytes that were left to hash when the last one had arrived.
    pub hashed_after: AtomicU64,
    /// Copies whose file was found altered or damaged.
    pub quarantined: AtomicU64,
}

/// The local bytes of versions.
#[derive(Debug)]
pub struct Cache {
    store: Store,
    index: Index,
    disk: Arc<Disk>,
    limits: Limits,
    /// What is taken on the disk. Grows only under `taking`.
    ledger: Arc<Ledger>,
    room: Mutex<Room>,
    /// Locked while somebody asks the disk how much is free and takes some of that.
    taking: Mutex<()>,
    /// Told when copies that were taken away have given back their room.
    left: Condvar,
    spill: Spill,
    upkeep: Upkeep,
    counters: Counters,
    shortage: Shortage,
    /// Whoever locks it makes the disk hang.
    #[cfg(test)]
    pub(crate) gate: parking_lot::RwLock<()>,
    /// Said once, until a file can be opened again: one cannot be.
    file_warned: AtomicBool,
}

/// Everything that takes room, the most recently used first.
#[derive(Debug)]
struct Room {
    held: LruCache<Key, Held>,
    /// How many of them are loaded.
    loaded: usize,
    /// Copies that were taken away and whose files are not out of sight yet.
    leaving: HashSet<Key>,
    /// Bytes of copies that were taken away and have not given back their room yet.
    leaving_bytes: u64,
    /// How many copies that were taken away have given it back.
    gone: u64,
}

impl Room {
    /// The copy to evict next: what was unused for longest.
    fn victim(&self) -> Option<Key> {
        let evictable = |held: &Held| held.bytes() > 0 && !held.is_open();
        self.held.iter().rev().find(|(_, held)| evictable(held)).map(|(key, _)| *key)
    }
}

#[derive(Debug)]
enum Held {
    /// On disk and in the index only.
    Stored { name: LocalName, lease: Lease },
    /// In memory too; on disk as far as its lease says.
    Loaded(Arc<Copy>),
}

impl Held {
    fn is_open(&self) -> bool {
        matches!(self, Self::Loaded(copy) if copy.opens.load(Ordering::Relaxed) > 0)
    }

    fn lease(&self) -> &Lease {
        match self {
            Self::Stored { lease, .. } => lease,
            Self::Loaded(copy) => &copy.lease,
        }
    }

    /// Bytes that it takes on the disk.
    fn bytes(&self) -> u64 {
        self.lease().bytes()
    }
}

/// A copy that is out of sight, and whose files and row are to be deleted.
struct TakenAway {
    key: Key,
    /// The room that it gives back.
    lease: Lease,
}

/// A copy that somebody has open, and that is therefore never evicted.
#[derive(Debug)]
pub struct OpenCopy {
    cache: Arc<Cache>,
    copy: Arc<Copy>,
}

impl std::ops::Deref for OpenCopy {
    type Target = Copy;

    fn deref(&self) -> &Copy {
        &self.copy
    }
}

/// Everything that was there when the last process ended; `ledger` learns what it takes. What a killed process had begun is removed; with an
/// index that does not know every copy, nothing is.
fn restore(store: &Store, index: &Index, db: &Database, ledger: &Arc<Ledger>) -> LruCache<Key, Held> {
    let known = index.known().or_else(|| {
        // Damage is met here first, and mended behind the writes.
        index.flush();
        index.known()
    });
    let is_complete = known.is_some() && db.begun() == 0;
    let known = known.unwrap_or_default();
    let keys: HashSet<Key> = known.iter().map(|copy| copy.key).collect();
    let is_known = |key: &Key| keys.contains(key);
    let mut swept = store.sweep(if is_complete { Some(&is_known) } else { None });
    let mut held = LruCache::unbounded();
    for copy in known {
        if swept.is_gone(&copy.key) {
            index.delete(vec![copy.key]);
            continue;
        }
        // A growing copy may have more on disk than the index knows.
        let growing = if copy.whole { None } else { store.allocated(&copy.key, &copy.name) };
        let charge = growing.map_or(copy.charge, |bytes| COPY_OVERHEAD.saturating_add(bytes));
        if ledger.taken().saturating_add(charge) > MAX_USED {
            // No disk is so large: the numbers are made up.
            index.delete(vec![copy.key]);
            continue;
        }
        swept.found.remove(&copy.key);
        held.put(copy.key, Held::Stored { name: copy.name, lease: ledger.lease(charge) });
    }
    if !is_complete {
        for (key, name) in swept.found.into_iter().filter_map(|(key, file)| Some((key, file?))) {
            let charge = COPY_OVERHEAD.saturating_add(store.allocated(&key, &name).unwrap_or(0));
            index.found(&key, &name, charge);
            held.put(key, Held::Stored { name, lease: ledger.lease(charge) });
        }
    }
    held
}

impl Drop for OpenCopy {
    fn drop(&mut self) {
        self.cache.close(&self.copy);
    }
}

impl Cache {
    /// Opens the cache directory, which no other process may hold, and removes what a killed process left half done.
    pub fn open(dir: &Path, limits: Limits) -> Result<(Arc<Self>, Arc<Database>)> {
        let store = Store::open(dir)?;
        let journal = u32::try_from(limits.max_size / JOURNAL_SHARE).unwrap_or(u32::MAX).clamp(JOURNAL.0, JOURNAL.1);
        let db = Arc::new(Database::open(dir, journal)?);
        let (index, disk) = (Index::new(db.clone()), db.disk().clone());
        let ledger = Arc::new(Ledger::default());
        let held = restore(&store, &index, &db, &ledger);
        let room = Room { held, loaded: 0, leaving: HashSet::new(), leaving_bytes: 0, gone: 0 };
        let (upkeep, woken) = Upkeep::new();
        let cache = Arc::new(Self {
            store,
            index,
            disk,
            limits,
            ledger,
            room: Mutex::new(room),
            taking: Mutex::default(),
            left: Condvar::new(),
            spill: Spill::default(),
            upkeep,
            counters: Counters::default(),
            shortage: Shortage::default(),
            #[cfg(test)]
            gate: parking_lot::RwLock::default(),
            file_warned: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&cache);
        db.on_replaced(move || {
            if let Some(cache) = weak.upgrade() {
                cache.index_again();
            }
        });
        cache.keep_up(woken);
        Ok((cache, db))
    }

    #[cfg(test)]
    pub(crate) fn db(&self) -> &Database {
        self.index.db()
    }

    /// The cache directory.
    pub fn dir(&self) -> &Path {
        self.store.dir().path()
    }

    /// The disk that the cache lies on.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes on disk, index included.
    pub fn bytes(&self) -> u64 {
        self.ledger.taken() + self.index.bytes()
    }

    /// How many copies there are, partial ones included.
    pub fn copies(&self) -> usize {
        self.room.lock().held.iter().filter(|(_, held)| held.bytes() > 0).count()
    }

    /// Whether a digest of a source that has the form of a hash was ever the hash of its bytes.
    pub fn has_hashes(&self, source_id: &str) -> bool {
        self.index.has_hashes(source_id)
    }

    /// Notes that one was.
    pub fn note_hashes(&self, source_id: &str) {
        self.index.note_hashes(source_id);
    }

    /// Opens the copy of a version, empty if there is none. `name` is the base name that its file gets.
    pub fn open_copy(
        self: &Arc<Self>,
        key: Key,
        name: &LocalName,
        size: u64,
        modified: Option<SystemTime>,
    ) -> OpenCopy {
        loop {
            let stored = match self.room.lock().held.get(&key) {
                Some(Held::Loaded(copy)) => {
                    copy.opens.fetch_add(1, Ordering::Relaxed);
                    return OpenCopy { cache: self.clone(), copy: copy.clone() };
                }
                Some(Held::Stored { name, lease }) => Some((name.clone(), lease.bytes() > 0)),
                None => None,
            };
            // Loading reads the index: not under the lock. Of two that load at once, the second drops what it has loaded.
            let is_stored = stored.is_some();
            let record = if is_stored { self.index.load(&key) } else { Ok(None) };
            let (name, has_file) = stored.unwrap_or_else(|| (name.clone(), false));
            let Ok(record) = record else {
                let apart = Copy::new(self, key, name, size, modified, None, false).apart();
                return OpenCopy { cache: self.clone(), copy: Arc::new(apart) };
            };
            let copy = Copy::new(self, key, name, size, modified, record, has_file);
            let mut room = self.room.lock();
            let lease = match room.held.peek(&key) {
                Some(Held::Stored { lease, .. }) if is_stored => Some(lease.take()),
                None if !is_stored => None,
                // It was loaded, stored or evicted meanwhile.
                _ => continue,
            };
            lease.into_iter().for_each(|lease| copy.lease.absorb(lease));
            room.held.put(key, Held::Loaded(Arc::new(copy)));
            room.loaded += 1;
        }
    }

    /// Takes a copy out of the cache. Its file is there until [`Cache::destroy`] has done its part without the lock, since the disk may hang;
    /// until then a new copy of the same version gets no room.
    fn take_away(&self, room: &mut Room, key: &Key) -> Option<TakenAway> {
        let held = room.held.pop(key)?;
        room.loaded -= usize::from(matches!(held, Held::Loaded(_)));
        let lease = held.lease().take();
        room.leaving.insert(*key);
        room.leaving_bytes += lease.bytes();
        Some(TakenAway { key: *key, lease })
    }

    /// Deletes the files and rows of copies that were taken away, and gives back their room.
    fn destroy(&self, copies: Vec<TakenAway>) {
        self.index.delete(copies.iter().map(|copy| copy.key).collect());
        for TakenAway { key, lease } in copies {
            let place = self.store.discard(&key);
            self.room.lock().leaving.remove(&key);
            if let Some(place) = place {
                self.store.destroy(&place);
            }
            let mut room = self.room.lock();
            room.leaving_bytes -= lease.bytes();
            drop(lease);
            room.gone += 1;
            self.left.notify_all();
        }
    }

    fn remove(&self, mut room: MutexGuard<'_, Room>, key: &Key) {
        let taken = self.take_away(&mut room, key);
        drop(room);
        if let Some(copy) = taken {
            self.destroy(vec![copy]);
        }
    }

    /// What the copy of a version tells of it. `None` if there is no copy.
    pub fn facts(&self, key: &Key) -> Option<Facts> {
        match self.room.lock().held.peek(key)? {
            Held::Loaded(copy) => return copy.facts(),
            Held::Stored { .. } => {}
        }
        self.index.facts(key).ok().flatten()
    }

    /// The size of the file of a copy of which nothing else is known. Waits for the disk.
    pub fn found_size(&self, key: &Key) -> Option<u64> {
        let name = match self.room.lock().held.peek(key)? {
            Held::Stored { name, .. } => name.clone(),
            Held::Loaded(_) => return None,
        };
        if self.index.facts(key) != Ok(None) {
            return None;
        }
        Some(self.store.open_file(key, &name, false).ok()?.metadata().ok()?.len())
    }

    fn close(&self, copy: &Arc<Copy>) {
        if copy.is_apart() {
            return;
        }
        let mut room = self.room.lock();
        if copy.opens.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let file = copy.close(&self.index);
        if copy.lease.bytes() == 0 {
            // A file of which nothing could be written goes; most were never made.
            let taken = file.as_ref().and_then(|_| self.take_away(&mut room, copy.key()));
            if taken.is_none() && room.held.pop(copy.key()).is_some() {
                room.loaded -= 1;
            }
            drop(room);
            self.destroy(taken.into_iter().collect());
            return;
        }
        // Only the room and the handle that is dropped have it; else somebody is about to store it with its lease.
        let is_idle = Arc::strong_count(copy) == 2;
        if room.loaded > MAPS_IN_MEMORY && is_idle {
            room.held.put(*copy.key(), Held::Stored { name: copy.name().clone(), lease: copy.lease.take() });
            room.loaded -= 1;
        }
        if copy.was_used() {
            self.index.used(copy.key());
        }
    }

    /// Takes room for `bytes` more of a copy, evicting what was unused for longest. `None` if there is none to be had.
    fn reserve<'a>(&'a self, copy: &'a Copy, bytes: u64) -> Option<Reserved<'a>> {
        if copy.size() > self.limits.max_size {
            // It would push out everything else and still not fit.
            self.shortage.feel(NoRoom::File(copy.size()), &self.limits);
            return None;
        }
        if self.room.lock().leaving.contains(copy.key()) {
            return None;
        }
        self.take_room(&copy.lease, bytes)
    }

    /// Takes room for `bytes` more of what has this lease. `None` if there is none to be had.
    fn take_room<'a>(&'a self, lease: &'a Lease, bytes: u64) -> Option<Reserved<'a>> {
        let blocks = bytes.next_multiple_of(DISK_BLOCK);
        let _taking = self.make_room(blocks + COPY_OVERHEAD)?;
        let first = if lease.bytes() == 0 { COPY_OVERHEAD } else { 0 };
        Some(lease.grow(blocks + first))
    }

    /// Bytes that are free for copies: the journal of the index takes some of those that the disk has. Waits for the disk.
    fn free(&self) -> u64 {
        self.ledger.free(|| self.store.free().saturating_sub(self.index.growth()))
    }

    /// Evicts until `bytes` more fit within the limits, and keeps others from taking them while the guard is held. Waits for the disk.
    fn make_room(&self, bytes: u64) -> Option<MutexGuard<'_, ()>> {
        let (mut evicted, mut waits) = (0, true);
        loop {
            let gone = self.room.lock().gone;
            let taking = self.disk.lock(&self.taking).ok()?;
            let (index, free) = (self.index.bytes(), self.free());
            let fits = self.ledger.fits(bytes, index, free, &self.limits);
            // What was too much already is evicted elsewhere: nobody waits for that, if it does not grow.
            if fits.is_ok() || evicted >= bytes && self.upkeep.is_evicting() {
                return Some(taking);
            }
            drop(taking);
            let mut room = self.room.lock();
            if room.gone != gone {
                // There may be more room by now.
                continue;
            }
            // Another thread deletes what will be enough: nothing more has to go for it, unless the disk hangs.
            if waits && self.ledger.will_fit(room.leaving_bytes, bytes, index, free, &self.limits) {
                waits = !self.left.wait_for(&mut room, DISK_TIMEOUT).timed_out();
                continue;
            }
            let Some(victim) = room.victim() else {
                fits.err().into_iter().for_each(|why| self.shortage.feel(why, &self.limits));
                return None;
            };
            evicted += room.held.peek(&victim).map_or(0, Held::bytes);
            self.remove(room, &victim);
            self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Deletes the file and the row of a copy that has no bytes any more.
    fn delete_file(&self, copy: &Copy) {
        if copy.is_apart() {
            return;
        }
        self.index.delete(vec![*copy.key()]);
        if let Some(place) = self.store.discard(copy.key()) {
            self.store.destroy(&place);
        }
        drop(copy.lease.take());
    }

    fn disk_failed(&self, error: &std::io::Error) {
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

    fn file_failed(&self, path: &Path, error: &std::io::Error) {
        if self.file_warned.swap(true, Ordering::Relaxed) {
            debug!("cache: {}: cannot be read: {error}", path.display());
        } else {
            warn!("cache: {}: cannot be read, and is read through until it can: {error}", path.display());
        }
    }

    fn files_opened(&self) {
        self.file_warned.store(false, Ordering::Relaxed);
    }

    /// Stores what is known of every copy in an index that was begun anew: of those in memory everything, of others that they are there.
    fn index_again(&self) {
        let (mut loaded, room) = (Vec::new(), self.room.lock());
        for (key, held) in room.held.iter().rev() {
            match held {
                Held::Stored { name, lease } => self.index.found(key, name, lease.bytes()),
                Held::Loaded(copy) => loaded.push(copy.clone()),
            }
        }
        drop(room);
        for copy in loaded {
            copy.save_again(&self.index);
        }
    }

    /// Returns when what was proven so far survives a kill, or the disk hangs.
    pub fn settle(&self) {
        self.index.settle();
    }

    /// Stores the index and makes everything durable: once, at a clean end. Gives up after [`FINISH_TIMEOUT`].
    pub fn finish(self: &Arc<Self>) {
        let (cache, (done, wait)) = (self.clone(), mpsc::channel());
        let finish = move || {
            cache.store.announce_end();
            cache.index.flush();
            cache.store.sync();
            drop(cache);
            let _ = done.send(());
        };
        let finishing = std::thread::Builder::new().name("finish".into()).spawn(finish);
        if finishing.is_err() || wait.recv_timeout(FINISH_TIMEOUT).is_err() {
            self.disk.hangs();
            warn!("cache: the disk does not answer at the end: what was stored last may be retrieved again");
        }
    }
}
