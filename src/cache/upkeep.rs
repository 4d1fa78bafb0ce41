//! `Upkeep`: what the cache does by itself: maps of growing copies are stored, and what is over the limit is evicted. It serves nobody.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::{info, warn};

use super::closing::Closing;
use super::table::Held;
use super::{Cache, Key};

/// For how long bytes of a growing copy may be on the disk before its map is stored: a kill loses no more, and a copy that grows
/// slowly costs the index one row in this time.
const STORE_AFTER: Duration = Duration::from_secs(1);

/// How many copies are evicted at once: few enough that readers who need the lock on the room wait for some milliseconds only.
const BATCH: usize = 64;

/// Which copies grow.
#[derive(Debug)]
pub(super) struct Upkeep {
    growing: Mutex<HashSet<Key>>,
    wake: Sender<()>,
    /// Copies are being evicted that were too many at the start.
    evicting: AtomicBool,
}

impl Upkeep {
    /// Its other half goes to [`Cache::keep_up`].
    pub(super) fn new() -> (Self, Receiver<()>) {
        let (wake, woken) = channel();
        (Self { growing: Mutex::default(), wake, evicting: AtomicBool::new(false) }, woken)
    }

    /// Whether copies are being evicted that were too many at the start.
    pub(super) fn is_evicting(&self) -> bool {
        self.evicting.load(Ordering::Relaxed)
    }

    /// The map of this copy is to be stored soon.
    pub(super) fn note_growing(&self, key: Key) {
        let mut growing = self.growing.lock();
        if growing.insert(key) && growing.len() == 1 {
            // No thread listens if it could not be started; then a copy is stored after some bytes, and when it is closed.
            let _ = self.wake.send(());
        }
    }
}

impl Cache {
    /// Starts the threads for all this. They end with the cache.
    pub(super) fn keep_up(self: &Arc<Self>, woken: Receiver<()>, to_close: Receiver<()>) {
        let cache = Arc::downgrade(self);
        start("cache upkeep", move || store_maps(&cache, &woken));
        let closing = Arc::downgrade(&self.closing);
        start("cache closing", move || Closing::go_on(&closing, &to_close));
        if self.surplus() > 0 {
            self.upkeep.evicting.store(true, Ordering::Relaxed);
            let cache = Arc::downgrade(self);
            start("cache eviction", move || evict_surplus(&cache));
        }
    }

    fn store_growing(&self) {
        let growing = std::mem::take(&mut *self.upkeep.growing.lock());
        for key in growing {
            let copy = match self.table.lock().held.peek(&key) {
                Some(Held::Loaded(copy)) => copy.clone(),
                // It was stored when it was closed.
                _ => continue,
            };
            copy.save_growth(&self.index);
        }
    }

    fn surplus(&self) -> u64 {
        self.ledger.surplus(self.index.reserved(), self.free(), &self.limits)
    }

    /// Evicts some copies if there is too much: those unused for longest. How many.
    fn evict_some(&self) -> usize {
        let (surplus, mut evicted, mut bytes) = (self.surplus(), Vec::new(), 0);
        {
            let mut table = self.table.lock();
            while evicted.len() < BATCH && bytes < surplus {
                let Some(copy) = table.victim().and_then(|victim| self.take_away(&mut table, &victim)) else { break };
                bytes += copy.lease.bytes();
                evicted.push(copy);
            }
        }
        let count = evicted.len();
        self.destroy(evicted);
        self.counters.evicted.fetch_add(count as u64, Ordering::Relaxed);
        count
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(e) = thread::Builder::new().name(name.into()).spawn(work) {
        warn!("the thread for {name} cannot be started: {e}");
    }
}

fn store_maps(cache: &Weak<Cache>, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        thread::sleep(STORE_AFTER);
        let Some(cache) = cache.upgrade() else { return };
        cache.store_growing();
    }
}

/// The limits may have been lowered since the last mount.
fn evict_surplus(cache: &Weak<Cache>) {
    let mut evicted = 0;
    while let Some(cache) = cache.upgrade() {
        match cache.evict_some() {
            0 => {
                cache.upkeep.evicting.store(false, Ordering::Relaxed);
                break;
            }
            some => evicted += some,
        }
    }
    if evicted > 0 {
        info!("cache: {evicted} copies were evicted, for it took more than its limits");
    }
}
