//! `Transfer`: brings bytes of one source into the cache. Who has the same version open shares one `OpenVersion`.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::confirmations::Confirmations;
use super::evidence::Evidence;
use super::measure::Measured;
use super::pace::Pace;
use super::plan::{AHEAD, Line};
use super::{Memory, OpenVersion, Version};
use crate::cache::block::{BLOCK, block_count};
use crate::cache::{Cache, Key, OpenCopy};
use crate::digest::Digest;
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::count::Counters;
use crate::source::{Capabilities, LocalCopy, Source};

/// No more is requested ahead of a reader who goes forward than the line brings in this time.
const LOOK_AHEAD: Duration = Duration::from_secs(1);

/// That is so many blocks (1 MiB) at least, however slow the line and small the cache.
const AHEAD_AT_LEAST: usize = 8;

/// Hears of each copy that is found to have the hash that its digest is.
pub type Proven = dyn Fn(&LocalCopy<'_>) + Send + Sync;

/// Brings bytes of one source into the cache.
pub struct Transfer {
    pub(super) source: Arc<dyn Source>,
    source_id: Arc<str>,
    pub(super) counters: Arc<Counters>,
    pub(super) cache: Arc<Cache>,
    pub(super) memory: Arc<Memory>,
    pub(super) evidence: Evidence,
    pub(super) short_break: Duration,
    pub(super) proven: Option<Box<Proven>>,
    open: Mutex<HashMap<Key, Weak<OpenVersion>>>,
    pub(super) confirmations: Confirmations,
    pub(super) measured: Measured,
    pub(super) pace: Pace,
    /// Requests that are under way or wait for their turn.
    pub(super) in_flight: AtomicUsize,
}

impl Transfer {
    /// Brings bytes of `source`, known to the cache as `source_id`; bytes found wrong are failures in its `counters`.
    /// Reads that are under way do not notice a break of `short_break`. The source hears by itself of a copy whose digest it computes;
    /// `proven` hears of the others that are whole.
    pub fn new(
        source: Arc<dyn Source>,
        source_id: Arc<str>,
        counters: Arc<Counters>,
        cache: Arc<Cache>,
        memory: Arc<Memory>,
        short_break: Duration,
        proven: Option<Box<Proven>>,
    ) -> Arc<Self> {
        let evidence = Evidence::new(cache.clone(), source_id.clone());
        Arc::new(Self {
            source,
            source_id,
            counters,
            cache,
            memory,
            evidence,
            short_break,
            proven,
            open: Mutex::default(),
            confirmations: Confirmations::default(),
            measured: Measured::default(),
            pace: Pace::default(),
            in_flight: AtomicUsize::new(0),
        })
    }

    /// How many versions were opened since the mount that count though their digests differ (see `freshness`, C3 and C7).
    pub fn unconverged(&self) -> usize {
        self.evidence.unconverged()
    }

    /// The capabilities of the source.
    pub fn capabilities(&self) -> Capabilities {
        self.source.capabilities()
    }

    /// The bytes that one connection brings in this time, as far as it was measured; not so many that a small cache would be turned over.
    pub fn brings(&self, time: Duration) -> u64 {
        self.pace.brings(time).min(self.cache.limits().max_size / 8)
    }

    /// How many blocks ahead of a reader are requested at most, if they have a place on disk.
    pub(super) fn brings_ahead(&self, line: &Line) -> usize {
        let brings = line.brings(self.pace.brings(LOOK_AHEAD) / BLOCK);
        // Not so far that a small cache would be turned over by one reader.
        AHEAD.min(block_count(self.cache.limits().max_size / 8)).min(brings).max(AHEAD_AT_LEAST)
    }

    /// Whether the cache has room for what nobody reads yet.
    pub fn keeps_ahead(&self) -> bool {
        self.cache.ahead_in_memory(0).is_none()
    }

    /// The cache's key of a version.
    pub fn key(&self, path: &RemotePath, digest: &Digest) -> Key {
        Key::new(&self.source_id, path, digest)
    }

    /// Opens a version for reading. All who have it open share one; nothing is retrieved yet. `name` is its base name on disk. What is here under
    /// the same digest with another size is another version of a source that breaks its promise: then nothing is shared or kept.
    pub async fn open(self: &Arc<Self>, version: &Version, name: &LocalName) -> Arc<OpenVersion> {
        let key = self.key(&version.path, &version.digest);
        let open = self.open.lock().get(&key).and_then(Weak::upgrade);
        // Not under the lock: this may be the last that has it, and its end takes the lock.
        if let Some(open) = open.filter(|open| open.version.size == version.size) {
            open.doubt().await;
            return open;
        }
        let copy = self.open_copy(key, version, name).await;
        if copy.size() != version.size {
            let apart = self.cache.open_apart(key, name, version.size, version.modified);
            return Arc::new(OpenVersion::new(self.clone(), version.clone(), apart));
        }
        let opened = self.only_one(key, Arc::new(OpenVersion::new(self.clone(), version.clone(), copy)));
        // Not before: whoever doubts all that are open meets it.
        opened.doubt().await;
        opened
    }

    /// The one that is open, unless another task has opened the version meanwhile; the copy is the same one either way.
    fn only_one(&self, key: Key, opened: Arc<OpenVersion>) -> Arc<OpenVersion> {
        let mut open = self.open.lock();
        if let Some(first) = open.get(&key).and_then(Weak::upgrade) {
            return first;
        }
        if self.source.capabilities().proven_whole {
            // It was of an answer with which nothing of this one can be compared any more.
            opened.copy().forget_memory();
        }
        open.insert(key, Arc::downgrade(&opened));
        opened
    }

    /// Opens the copy of a version; on a thread that may wait for the disk, unless memory answers.
    async fn open_copy(&self, key: Key, version: &Version, name: &LocalName) -> OpenCopy {
        let Version { size, modified, .. } = *version;
        if let Some(known) = self.cache.open_known(key, name, size, modified) {
            return known;
        }
        let (cache, its_name) = (self.cache.clone(), name.clone());
        let opening = tokio::task::spawn_blocking(move || cache.open_copy(key, &its_name, size, modified));
        // The runtime refuses when it ends.
        opening.await.unwrap_or_else(|_| self.cache.open_apart(key, name, size, modified))
    }

    /// Doubts every version that is open now; others are doubted when they are opened.
    pub(super) async fn doubt_all(&self) {
        let open: Vec<_> = self.open.lock().values().filter_map(Weak::upgrade).collect();
        for version in open {
            version.doubt().await;
        }
    }

    /// Nobody has a version open any more, unless another task has opened it anew by now.
    pub(super) fn closed(&self, key: &Key) {
        let mut open = self.open.lock();
        if open.get(key).is_some_and(|version| version.strong_count() == 0) {
            open.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Limits;
    use crate::sources::memory::Memory as InMemory;

    #[tokio::test(start_paused = true)]
    async fn two_sizes_of_one_digest_share_nothing() {
        let dir = kit::reaper::temporary();
        let (cache, _) = Cache::open(dir.path(), Limits { max_size: 1 << 30, min_free: 0 }).expect("a cache");
        let (source, short_break) = (Arc::new(InMemory::new()), Duration::ZERO);
        let transfer = Transfer::new(source, "id".into(), Arc::default(), cache, Arc::default(), short_break, None);
        let (path, name) = (RemotePath::parse(b"file").expect("a path"), LocalName::from(b"file".as_slice()));
        let version = |size| Version { path: path.clone(), digest: Digest::new("v1"), size, modified: None };
        let small = transfer.open(&version(5), &name).await;
        for _ in 0..2 {
            let large = transfer.open(&version(3 * BLOCK), &name).await;
            assert_eq!((large.copy.size(), large.missing(0..3)), (3 * BLOCK, vec![0, 1, 2]));
            assert!(!Arc::ptr_eq(&small, &large));
        }
        assert!(Arc::ptr_eq(&small, &transfer.open(&version(5), &name).await));
        drop(small);
        // Its copy is remembered.
        assert_eq!(transfer.open(&version(3 * BLOCK), &name).await.missing(0..3), [0, 1, 2]);
    }
}
