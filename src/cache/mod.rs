//! The cache: local bytes of versions, on disk, verified, within limits. It knows no sources; `version` fills it.
//!
//! Lock order: `CachedFile::state` is taken with or without `Cache::table`, never the other way round. Files are deleted without either.

pub mod block;
mod closing;
mod copy;
mod gather;
#[cfg(test)]
mod hostile_tests;
mod index;
mod key;
mod ledger;
mod pins;
mod restore;
mod room;
mod spill;
mod staging;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use tracing::{debug, warn};

pub use copy::{CachedFile, Sound, Stored};
pub use gather::Gathering;
pub use key::Key;
pub use pins::{Dropped, Pin, PinId};
pub use room::KeepRoom;
pub use table::OpenCopy;

use crate::db::Database;
use crate::disk::Disk;
use crate::error::Result;
use closing::Closing;
use index::Index;
use ledger::Ledger;
use restore::restore;
use room::Shortage;
use spill::Spill;
use store::Store;
use table::{Held, Table};
use upkeep::Upkeep;

/// The bytes that a copy takes besides its blocks: its own directory.
const COPY_OVERHEAD: u64 = 4096;

/// How long the disk may take to make everything durable at the end. A sound one writes what it has in memory in some seconds.
const FINISH_TIMEOUT: Duration = Duration::from_secs(20);

/// The share of the cache's room that the journal of the index may take, and its bounds in bytes. Twice as much is kept for it, since what is
/// in the journal goes to the database.
const JOURNAL_SHARE: u64 = 64;
const JOURNAL: (u32, u32) = (64 << 10, 16 << 20);

/// How much room the cache may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes on disk at most, index included.
    pub max_size: u64,
    /// Bytes that stay free on the disk.
    pub min_free: u64,
}

/// The facts that a copy tells of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of the version.
    pub size: u64,
    /// The time of its last change, as far as it is known.
    pub modified: Option<SystemTime>,
    /// Whether the copy was proven.
    pub whole: bool,
}

/// Counts of events in the cache since the mount. Readable at any time.
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
    /// The room that is taken on the disk. Grows only under `taking`.
    ledger: Arc<Ledger>,
    table: Mutex<Table>,
    /// Locked before the table where both are.
    pins: Mutex<Vec<Pin>>,
    /// The highest number that a pin has had.
    last_pin: AtomicI64,
    /// Locked while somebody asks the disk how much is free and takes some of that.
    taking: Mutex<()>,
    /// Told when copies that were taken away have given back their room.
    left: Condvar,
    spill: Spill,
    upkeep: Upkeep,
    closing: Arc<Closing>,
    counters: Counters,
    shortage: Shortage,
    /// Whoever locks it makes the disk hang.
    #[cfg(test)]
    pub(crate) gate: parking_lot::RwLock<()>,
    /// Said once, until a file can be opened again: one cannot be.
    file_warned: AtomicBool,
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
        let ((upkeep, woken), (closing, to_close)) = (Upkeep::new(), Closing::new());
        let cache = Arc::new(Self {
            store,
            index,
            disk,
            limits,
            ledger,
            table: Mutex::new(Table::new(held)),
            pins: Mutex::default(),
            last_pin: AtomicI64::default(),
            taking: Mutex::default(),
            left: Condvar::new(),
            spill: Spill::default(),
            upkeep,
            closing,
            counters: Counters::default(),
            shortage: Shortage::default(),
            #[cfg(test)]
            gate: parking_lot::RwLock::default(),
            file_warned: AtomicBool::new(false),
        });
        cache.restore_pins();
        let weak = Arc::downgrade(&cache);
        db.on_replaced(move || {
            if let Some(cache) = weak.upgrade() {
                cache.index_again();
            }
        });
        cache.keep_up(woken, to_close);
        Ok((cache, db))
    }

    #[cfg(test)]
    pub(crate) fn db(&self) -> &Database {
        self.index.db()
    }

    /// The cache directory.
    pub fn dir(&self) -> &Path {
        self.store.dir()
    }

    /// The disk that the cache lies on.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The counts of events so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes on disk, index included.
    pub fn bytes(&self) -> u64 {
        self.ledger.taken() + self.index.bytes()
    }

    /// Those of them that the index takes, its journal included.
    pub fn index_bytes(&self) -> u64 {
        self.index.bytes()
    }

    #[cfg(test)]
    pub(crate) fn copies(&self) -> usize {
        self.count().0
    }

    /// Whether a digest of a source that has the form of a hash was ever the hash of its bytes.
    pub fn has_hashes(&self, source_id: &str) -> bool {
        self.index.has_hashes(source_id)
    }

    /// Notes that one was.
    pub fn note_hashes(&self, source_id: &str) {
        self.index.note_hashes(source_id);
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
        let (mut loaded, table) = (Vec::new(), self.table.lock());
        for (key, held) in table.held.iter().rev() {
            match held {
                Held::Stored { name, lease } => self.index.found(key, name, lease.bytes()),
                Held::Loaded(copy) => loaded.push(copy.clone()),
            }
        }
        drop(table);
        for copy in loaded {
            copy.save_again(&self.index);
        }
        self.store_pins();
    }

    /// Returns when what was proven so far survives a kill.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        self.index.flush();
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
