//! Files ahead: whoever opens the files of a directory one after another finds the next ones retrieved. `plan` decides which, and
//! `rows` in which order; this module takes their entries from the catalog and has `transfer` retrieve them. Failures are silent: the
//! open that comes asks itself. Of large files the ends come beside their beginnings, as `ends` decides.

mod collation;
mod ends;
mod order;
mod owed;
mod plan;
mod recent;
mod rows;
mod walk;
mod walks;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::debug;

use self::ends::Ends;
use self::order::{MOST_NAMES, Order};
use self::owed::Owed;
use self::plan::{Budget, Sibling, Siblings};
use self::recent::Recent;
use self::rows::{Planned, Rows};
use self::walks::Walks;
use crate::cache::block::BLOCK;
use crate::catalog::{Catalog, Listing};
use crate::error::Result;
use crate::fs::inode::{Space, space};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Capabilities;
use crate::source::packed::Glance;
use crate::version::{OpenVersion, SMALL, Transfer};

/// Directories whose readers are followed at once, in each source.
const DIRECTORIES: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");

/// How many of these, the latest, are followed in other orders than the listing's: each order takes up to 160 KB.
const ORDERED: usize = 8;

/// Files ahead are at most what the line brings in this time.
const LOOK_AHEAD: Duration = Duration::from_secs(2);

/// The retrieval of files of one source that are probably opened next.
pub struct Ahead {
    /// Of the inodes of its files.
    space: Space,
    catalog: Arc<Catalog>,
    transfer: Arc<Transfer>,
    /// The retrievals that may be under way. Some of the source's places are left to readers.
    places: Arc<Semaphore>,
    /// The directories that its readers walk through.
    pub walks: Arc<Walks>,
    directories: Mutex<LruCache<RemotePath, Followed>>,
    recent: Mutex<Recent>,
    owed: Mutex<Owed>,
    /// `None` where the bytes of the source are rationed.
    ends: Option<Mutex<Ends>>,
    /// Files that were retrieved ahead.
    pub fetched: AtomicU64,
    /// How many of these were opened then, or before they had come: never more than `fetched`, which is counted first.
    pub used: AtomicU64,
    /// Files whose ends were asked for when they were opened.
    pub ends_fetched: AtomicU64,
    /// How many of these ends were read before what is in front of them.
    pub ends_used: AtomicU64,
}

/// A directory whose reader is followed.
#[derive(Default)]
struct Followed {
    /// The number of names for which the numbers of the rows hold.
    names: usize,
    rows: Rows,
}

impl Ahead {
    /// Follows the readers of the source with this name that `catalog` and `transfer` belong to. `is_metered`: its bytes come at a limited
    /// rate, so that none are for a guess.
    pub fn new(name: &LocalName, catalog: Arc<Catalog>, transfer: Arc<Transfer>, is_metered: bool) -> Arc<Self> {
        let Capabilities { concurrency, .. } = transfer.capabilities();
        let places = Arc::new(Semaphore::new(concurrency - concurrency.div_ceil(4)));
        if concurrency == 1 {
            // A task that waited for a place would wait for ever.
            places.close();
        }
        Arc::new(Self {
            space: space(name, catalog.source_id()),
            walks: Walks::new(catalog.clone(), places.clone()),
            catalog,
            transfer,
            places,
            directories: Mutex::new(LruCache::new(DIRECTORIES)),
            recent: Mutex::default(),
            owed: Mutex::default(),
            ends: (!is_metered).then(Mutex::default),
            fetched: AtomicU64::default(),
            used: AtomicU64::default(),
            ends_fetched: AtomicU64::default(),
            ends_used: AtomicU64::default(),
        })
    }

    /// A program opens the file `name` of `dir`. `whole`: all of it is here.
    pub(super) fn opened(self: &Arc<Self>, dir: &RemotePath, name: &[u8], whole: bool) {
        // What is here was retrieved ahead, or long ago; a reader who finds everything is not followed.
        if whole && !self.directories.lock().contains(dir) {
            return;
        }
        let Some(listing) = self.catalog.listing_in_memory(dir) else { return };
        let Some(number) = listing.entries().find(name) else { return };
        let siblings = Listed { listing: &listing, ranges: self.transfer.capabilities().ranges };
        let budget = self.budget();
        let planned = {
            let mut directories = self.directories.lock();
            let followed = directories.get_or_insert_mut(dir.clone(), Followed::default);
            if followed.names != listing.entries().len() {
                *followed = Followed { names: listing.entries().len(), ..Followed::default() };
            }
            let opened = followed.rows.opened(number, whole, &siblings, budget);
            self.recent.lock().note(opened.told.used.into(), opened.told.in_vain as u64);
            {
                let mut owed = self.owed.lock();
                owed.note(&opened.told);
                owed.asked(opened.planned.iter().map(|planned| planned.bytes).sum());
            }
            self.used.fetch_add(opened.told.came.into(), Ordering::Relaxed);
            if opened.wants_orders && followed.names <= MOST_NAMES {
                self.order(dir.clone(), listing.clone());
            }
            opened.planned
        };
        for Planned { number, bytes, row } in planned {
            let (ahead, listing, dir) = (self.clone(), listing.clone(), dir.clone());
            tokio::spawn(async move {
                if !ahead.bring(&dir, &listing, number, &row).await {
                    ahead.owed.lock().not_retrieved(bytes, row.strong_count() == 0);
                }
            });
        }
    }

    /// The first block of a file in `dir` is being retrieved for a program that opens it: asks for its end too, where that is wanted.
    pub(super) fn begun(&self, dir: &RemotePath, version: &Arc<OpenVersion>) {
        let Some(ends) = self.ends.as_ref().filter(|_| !self.catalog.is_slow()) else { return };
        let mut ends = ends.lock();
        if ends.may_come(dir) && version.request_end() {
            ends.came(dir);
            self.ends_fetched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A program has read the end of a file in `dir` before what is in front of it.
    pub(super) fn end_read(&self, dir: &RemotePath, came_ahead: bool) {
        let Some(ends) = &self.ends else { return };
        let mut ends = ends.lock();
        self.ends_used.fetch_add(came_ahead.into(), Ordering::Relaxed);
        ends.read(dir);
    }

    /// Follows the reader of `dir` in other orders too, as soon as the files are in these.
    fn order(self: &Arc<Self>, dir: RemotePath, listing: Arc<Listing>) {
        let ahead = self.clone();
        tokio::task::spawn_blocking(move || {
            let orders = Order::all(listing.entries(), &ahead.space);
            if let Some(followed) = ahead.directories.lock().peek_mut(&dir)
                && followed.names == listing.entries().len()
            {
                followed.rows.follow(orders);
            }
            for (_, followed) in ahead.directories.lock().iter_mut().skip(ORDERED) {
                followed.rows.drop_orders();
            }
        });
    }

    fn budget(&self) -> Budget {
        let is_held_back =
            self.catalog.is_slow() || self.transfer.capabilities().proven_whole || !self.transfer.keeps_ahead();
        let line = if is_held_back { 0 } else { self.transfer.brings(LOOK_AHEAD) };
        let owed = self.owed.lock();
        Budget { line, ahead: owed.ahead(), lost: owed.lost(), is_doubted: self.recent.lock().is_doubted() }
    }

    /// Retrieves one file, unless its reader has gone elsewhere meanwhile. Whether it was retrieved.
    async fn bring(&self, dir: &RemotePath, listing: &Listing, number: usize, row: &Weak<()>) -> bool {
        let Ok(_place) = self.places.acquire().await else { return false };
        if row.strong_count() == 0 {
            return false;
        }
        let retrieved = self.retrieve(dir, listing, number).await;
        if let Err(error) = &retrieved {
            debug!("{dir}: not retrieved ahead: {error}");
        }
        let mut directories = self.directories.lock();
        let followed = directories.peek_mut(dir).filter(|_| row.strong_count() > 0);
        let is_retrieved = matches!(retrieved, Ok(true));
        if is_retrieved {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            // A reader that came meanwhile has made use of it.
            let is_used = followed.is_some_and(|followed| !followed.rows.came(number));
            self.used.fetch_add(is_used.into(), Ordering::Relaxed);
        } else if let Some(followed) = followed {
            followed.rows.forget(number);
        }
        is_retrieved
    }

    /// Whether something came.
    async fn retrieve(&self, dir: &RemotePath, listing: &Listing, number: usize) -> Result<bool> {
        let (name, entry) = listing.entries().at(number);
        let version = self.transfer.open(&super::open::version_of(&entry)?, &name).await;
        // Nothing is written into a file of which nobody knows how much is right.
        version.take_found().await;
        let retrieved = self.catalog.unless_refused(&entry, version.retrieve_ahead(listing.entries().len())).await?;
        if retrieved && version.version().size > SMALL {
            self.catalog.confirm(dir, &name, &entry);
        }
        Ok(retrieved)
    }
}

/// The entries of a directory, for the planner.
struct Listed<'a> {
    listing: &'a Listing,
    /// Whether the source serves parts of files.
    ranges: bool,
}

impl Siblings for Listed<'_> {
    fn count(&self) -> usize {
        self.listing.entries().len()
    }

    fn at(&self, number: usize) -> Option<Sibling> {
        let Glance { is_file, size, is_settled } = self.listing.entries().glance(number);
        if !is_file {
            return None;
        }
        let bytes = match (size, is_settled) {
            (Some(size), Some(_)) if size <= SMALL => Some(size),
            (Some(_), Some(true)) if self.ranges => Some(BLOCK),
            _ => None,
        };
        let name = self.listing.entries().name(number);
        let mut extension = DefaultHasher::new();
        name.rsplit(|&byte| byte == b'.').next().filter(|last| last.len() < name.len()).hash(&mut extension);
        Some(Sibling { bytes, extension: extension.finish() })
    }
}
