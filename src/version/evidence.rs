//! `Evidence`: what the proofs of one source's copies have shown so far. It decides nothing (see `freshness`).

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cache::{Cache, Key};
use crate::digest::Digest;
use crate::error::Error;
use crate::freshness::{Promise, asked_again_after};

/// How many damaged versions are remembered. One that is forgotten is retrieved again, and found damaged again.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Of how many versions it is remembered that the kernel may have wrong pages: more than are opened again while it has them.
const RETRACTED: usize = 65_536;

/// How many versions whose digests never agree are counted.
const COUNTED: usize = 65_536;

/// The evidence that the proofs of one source's copies have given so far.
#[derive(Debug)]
pub(super) struct Evidence {
    cache: Arc<Cache>,
    source_id: Arc<str>,
    /// A digest that has the form of a hash was the hash of its bytes, in this run or an earlier one.
    proved: AtomicBool,
    damaged: Mutex<LruCache<Key, Damage>>,
    unconverged: Mutex<HashSet<Key>>,
    /// Copies of which the kernel may have pages that were read before their bytes turned out wrong.
    retracted: Mutex<LruCache<Key, ()>>,
}

/// A version whose bytes were not those that its digest says.
#[derive(Debug)]
struct Damage {
    error: Error,
    local: Digest,
    times: u32,
    until: Instant,
}

impl Evidence {
    /// The evidence of earlier runs.
    pub(super) fn new(cache: Arc<Cache>, source_id: Arc<str>) -> Self {
        let proved = AtomicBool::new(cache.has_hashes(&source_id));
        let damaged = Mutex::new(LruCache::new(REMEMBERED));
        let retracted = Mutex::new(LruCache::unbounded());
        Self { cache, source_id, proved, damaged, unconverged: Mutex::default(), retracted }
    }

    /// What digests of this source say of their bytes.
    pub(super) fn promise(&self, content_digest: bool, has_form: bool) -> Promise {
        match (content_digest, has_form) {
            (true, _) => Promise::Hash,
            (false, true) => Promise::Form { proved: self.proved.load(Ordering::Relaxed) },
            (false, false) => Promise::Nothing,
        }
    }

    /// A digest was the hash of its bytes. `true` if it is the first one.
    pub(super) fn proved_true(&self) -> bool {
        if self.proved.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.cache.note_hashes(&self.source_id);
        true
    }

    /// These bytes count though the digests differ.
    pub(super) fn count_unconverged(&self, key: Key) {
        let mut unconverged = self.unconverged.lock();
        if unconverged.len() < COUNTED {
            unconverged.insert(key);
        }
    }

    /// They do so no longer.
    pub(super) fn uncount(&self, key: &Key) {
        self.unconverged.lock().remove(key);
    }

    /// How many versions were opened since the mount that count though their digests differ.
    pub(super) fn unconverged(&self) -> usize {
        self.unconverged.lock().len()
    }

    /// Notes that a version is damaged: its bytes had the digest `local`.
    pub(super) fn note_damage(&self, key: Key, local: Digest, error: &Error) {
        let mut damaged = self.damaged.lock();
        let times = damaged.get(&key).map_or(1, |damage| damage.times.saturating_add(1));
        let until = Instant::now() + asked_again_after(times);
        damaged.put(key, Damage { error: error.clone(), local, times, until });
    }

    /// A version is not damaged, or no longer.
    pub(super) fn discard_damage(&self, key: &Key) {
        self.damaged.lock().pop(key);
    }

    /// Why a version is not retrieved now, if it is not.
    pub(super) fn refusal(&self, key: &Key) -> Option<Error> {
        let damaged = self.damaged.lock();
        damaged.peek(key).filter(|damage| Instant::now() < damage.until).map(|damage| damage.error.clone())
    }

    /// The digest of a damaged version's bytes when they came last; they need not come twice to be found the same.
    pub(super) fn damage(&self, key: &Key) -> Option<Digest> {
        self.damaged.lock().peek(key).map(|damage| damage.local.clone())
    }

    /// Notes that bytes were read which turned out wrong.
    pub(super) fn note_retraction(&self, key: Key) {
        let mut retracted = self.retracted.lock();
        retracted.put(key, ());
        if retracted.len() > RETRACTED {
            retracted.pop_lru();
        }
    }

    /// Whether that was noted.
    pub(super) fn is_retracted(&self, key: &Key) -> bool {
        self.retracted.lock().contains(key)
    }

    /// The kernel has dropped such pages.
    pub(super) fn forget_retraction(&self, key: &Key) {
        self.retracted.lock().pop(key);
    }
}
