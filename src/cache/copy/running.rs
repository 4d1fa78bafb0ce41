//! The running hash of a copy: of its bytes from the beginning on, computed while they arrive. It decides nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::cache::OpenCopy;
use crate::cache::block::block_count;
use crate::content::{Algorithm, Hasher};
use crate::disk::Asked;

/// How far the hash of a copy's bytes is. It follows what arrives by reading it from the file, where the kernel still has it in memory:
/// so the order in which blocks come does not matter, and nobody who brings bytes waits for it.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Locked while a thread hashes.
    hash: Mutex<Option<Begun>>,
    /// The first block that is not hashed yet; [`DONE`] when the hash was asked for.
    next: AtomicUsize,
    /// A thread hashes, or is about to.
    following: AtomicBool,
    /// How often blocks that may have been hashed, or were being read, were thrown away.
    losses: AtomicU64,
}

/// How often a thread that waits for the hash checks whether another makes progress with it.
const PROGRESS_CHECK: Duration = Duration::from_millis(100);

/// No block: nothing is left to hash, until blocks are lost.
const DONE: usize = usize::MAX;

#[derive(Debug)]
struct Begun {
    hasher: Hasher,
    /// As of the beginning.
    losses: u64,
}

impl Running {
    /// Blocks were thrown away: what will be in their place may be other bytes.
    pub(super) fn lost(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
        self.next.store(0, Ordering::SeqCst);
    }

    /// How often blocks were thrown away. Who reads the file without the copy's lock looks before and after that.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// The hash, once nobody else goes on with it; as long as somebody does, the disk answers.
    fn lock(&self, asked: &Asked) -> MutexGuard<'_, Option<Begun>> {
        let mut seen = self.next.load(Ordering::SeqCst);
        loop {
            if let Some(hash) = self.hash.try_lock_for(PROGRESS_CHECK) {
                return hash;
            }
            let next = self.next.load(Ordering::SeqCst);
            if std::mem::replace(&mut seen, next) != next {
                asked.step();
            }
        }
    }
}

impl OpenCopy {
    /// Whether the hash can go on now that this block is here. Whoever hears `true` must call [`OpenCopy::hash_arrived`]; others will not.
    pub fn is_hash_due(&self, arrived: usize) -> bool {
        let running = &self.running;
        running.next.load(Ordering::SeqCst) == arrived && !running.following.swap(true, Ordering::SeqCst)
    }

    /// Hashes on to the first block that is not here. Reads the file: call it where blocking is allowed.
    pub fn hash_arrived(&self, algorithm: Algorithm) {
        let running = &self.running;
        loop {
            self.hash_on(algorithm, &mut running.hash.lock(), &self.cache.counters.hashed_along, || ());
            running.following.store(false, Ordering::SeqCst);
            // `is_hash_due` may have returned false to a writer while `following` was still set: check again, or its block is hashed only
            // when the copy is complete.
            let next = running.next.load(Ordering::SeqCst);
            let more = next < block_count(self.size) && self.state.lock().contents.has(next);
            if !more || running.following.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// The hash of all bytes of a complete copy, for which only what is not hashed yet is read. `None` if a block is missing or damaged.
    /// Waits for the disk, and for who hashes already.
    pub fn content_hash(&self, algorithm: Algorithm, asked: &Asked) -> Option<String> {
        let running = &self.running;
        let mut hash = running.lock(asked);
        self.hash_on(algorithm, &mut hash, &self.cache.counters.hashed_after, || asked.step());
        let all = block_count(self.size);
        // A follower that comes late finds nothing to do.
        let complete = running.next.compare_exchange(all, DONE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !complete {
            running.next.store(0, Ordering::SeqCst);
        }
        let begun = hash.take()?;
        (complete && begun.losses == running.losses()).then(|| begun.hasher.finish())
    }

    fn hash_on(&self, algorithm: Algorithm, hash: &mut Option<Begun>, counter: &AtomicU64, step: impl Fn()) {
        let running = &self.running;
        loop {
            let losses = running.losses();
            if hash.as_ref().is_some_and(|begun| begun.losses != losses) {
                running.next.store(0, Ordering::SeqCst);
                *hash = None;
            }
            let block = running.next.load(Ordering::SeqCst);
            if block != DONE {
                hash.get_or_insert_with(|| Begun { hasher: Hasher::new(algorithm), losses });
            }
            if block >= block_count(self.size) || !self.state.lock().contents.has(block) {
                return;
            }
            let Some(bytes) = self.read_stored(block, self.bytes_of(block)) else {
                // It begins anew if blocks were thrown away meanwhile.
                if running.losses() != losses {
                    continue;
                }
                return;
            };
            let Some(begun) = hash else { return };
            begun.hasher.update(&bytes);
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            step();
            running.next.store(block + 1, Ordering::SeqCst);
        }
    }
}
