//! `Tier`: what mounts of a circle ask of their store, and give it. Whatever the store does, the worst that comes of it is a miss.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::breaker::Breaker;
use super::circle::Circle;
use super::gather::Gather;
use super::sealed::{BLOCKS, EXTENT, Extent};
use super::store::Store;
use crate::cache::Key;
use crate::cache::block::{block_count, bytes_of};
use crate::error::Error;
use crate::source::rate::Rate;

/// The bytes that wait to be given; what comes beyond them is not given.
const GIVING_BYTES: usize = 64 << 20;

/// The bytes that came from sources and wait for the end of their retrieval; what comes beyond them is not given.
const HELD_BYTES: usize = 64 << 20;

/// The number of values that are given at once.
const GIVEN_AT_ONCE: usize = 2;

/// The time in which a value must be given.
const GIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// The least and the most that a read waits for the store before the source is asked, where nothing else is configured; in between, it
/// is so many times what such reads take.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(30)..=Duration::from_millis(250);
const USUAL_TIMES: u32 = 3;

/// What a mount does with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It asks the store, and gives it what came from the source.
    #[default]
    ReadWrite,
    /// It only asks.
    Read,
    /// It only gives, as a machine does that reads everything for the others.
    Write,
}

/// How the tier is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tuning {
    /// What this mount does.
    pub role: Role,
    /// How long a read waits for the store; `None`: by what such reads take.
    pub patience: Option<Duration>,
    /// The most bytes of values that are given in a second; `None`: no limit.
    pub max_upload: Option<u64>,
}

/// What came of asking. Readable at any time.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reads of an extent that the store answered.
    pub hits: AtomicU64,
    /// Those for which it had nothing.
    pub misses: AtomicU64,
    /// Content bytes that came from it.
    pub bytes_in: AtomicU64,
    /// Content bytes that were given to it.
    pub bytes_out: AtomicU64,
    /// Values that were not what belongs there, or not the bytes of the version.
    pub refused: AtomicU64,
    /// Reads that the store did not answer in time, so that the source was asked.
    pub hedged: AtomicU64,
    /// The latest failure, in words.
    pub last_error: Mutex<Option<String>>,
}

/// The tier of one mount, for all its sources.
pub struct Tier {
    store: Arc<dyn Store>,
    tuning: Tuning,
    breaker: Breaker,
    /// How long the store takes to answer, on average.
    usual: Mutex<Option<Duration>>,
    counts: Counts,
    gather: Gather,
    room: Arc<Semaphore>,
    held: Arc<Semaphore>,
    turns: Semaphore,
    rate: Option<Rate>,
    has_told: AtomicBool,
}

impl Tier {
    /// The tier in `store`.
    pub fn new(store: Arc<dyn Store>, tuning: Tuning) -> Arc<Self> {
        Arc::new(Self {
            store,
            tuning,
            breaker: Breaker::default(),
            usual: Mutex::default(),
            counts: Counts::default(),
            gather: Gather::default(),
            room: Arc::new(Semaphore::new(GIVING_BYTES)),
            held: Arc::new(Semaphore::new(HELD_BYTES)),
            turns: Semaphore::new(GIVEN_AT_ONCE),
            rate: tuning.max_upload.map(Rate::per_second),
            has_told: AtomicBool::new(false),
        })
    }

    /// What came of it so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether the store is left alone at present, after failures.
    pub fn is_resting(&self) -> bool {
        self.breaker.is_open()
    }

    /// The time that a read waits for the store.
    fn patience(&self) -> Duration {
        let usual = || self.usual.lock().map_or(*WAIT.end(), |usual| usual * USUAL_TIMES);
        self.tuning.patience.unwrap_or_else(|| usual().clamp(*WAIT.start(), *WAIT.end()))
    }

    /// The contents of these blocks of an extent; `None` if the source is to be asked.
    pub(super) async fn fetch(self: &Arc<Self>, extent: &Extent, blocks: &Range<usize>) -> Option<Vec<Bytes>> {
        if self.tuning.role == Role::Write || self.breaker.is_open() {
            return None;
        }
        let patience = self.patience();
        let began = Instant::now();
        let place = extent.place(blocks);
        let value = match timeout(patience, self.store.get(&extent.name, place)).await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => {
                self.failed(&error.to_string());
                return None;
            }
            Err(_) => {
                up(&self.counts.hedged, 1);
                self.failed(&format!("the store has not answered within {}", humantime::format_duration(patience)));
                return None;
            }
        };
        self.breaker.worked();
        self.note_usual(began.elapsed());
        let Some(value) = value else {
            up(&self.counts.misses, 1);
            return None;
        };
        let Some(contents) = extent.open(blocks, value) else {
            self.refuse("a value is not what was put there: it is damaged, or forged");
            self.remove(vec![extent.name.clone()]);
            return None;
        };
        up(&self.counts.hits, 1);
        up(&self.counts.bytes_in, contents.iter().map(|content| content.len() as u64).sum());
        Some(contents)
    }

    /// Takes a block of a retrieval that has ended well, and gives the extent if it is whole now, unless its version is doubted meanwhile.
    pub(super) fn take(
        self: &Arc<Self>,
        extent: &Arc<Extent>,
        block: usize,
        content: Bytes,
        doubted: &Arc<AtomicBool>,
    ) {
        if self.gives()
            && let Some(contents) = self.gather.add(extent, block, content)
        {
            self.give(extent.clone(), contents, doubted.clone());
        }
    }

    /// Whether what comes from the source is given.
    pub(super) fn gives(&self) -> bool {
        self.tuning.role != Role::Read && !self.breaker.is_open()
    }

    /// Room for so many bytes until their retrieval has ended; `None` if there is none now.
    pub(super) fn hold(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.held.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let room = u32::try_from(bytes).ok().and_then(|bytes| self.room.clone().try_acquire_many_owned(bytes).ok());
        if room.is_none() {
            debug!("{bytes} bytes are not shared: too many wait for the store");
        }
        room
    }

    fn give(self: &Arc<Self>, extent: Arc<Extent>, contents: Vec<Bytes>, doubted: Arc<AtomicBool>) {
        let Some(room) = self.room(contents.iter().map(|content| content.len() as u64).sum()) else { return };
        let tier = self.clone();
        tokio::spawn(async move {
            tier.put(extent, contents, &doubted).await;
            drop(room);
        });
    }

    /// Gives the extents of a proven copy of a version, but for those that are `there`, one after another.
    pub(super) fn give_copy(
        self: &Arc<Self>,
        circle: &Arc<Circle>,
        version: Key,
        size: u64,
        file: &Path,
        there: &[usize],
        doubted: &Arc<AtomicBool>,
    ) {
        let first_blocks = (0..block_count(size)).step_by(BLOCKS);
        let missing: Vec<_> = first_blocks.filter(|first| !there.contains(first)).collect();
        if missing.is_empty() || !self.gives() {
            return;
        }
        let Some(room) = self.room(size.min(EXTENT)) else { return };
        let (tier, circle, file, doubted) = (self.clone(), circle.clone(), file.to_owned(), doubted.clone());
        tokio::spawn(async move {
            for first in missing {
                let extent = Arc::new(circle.extent(&version, size, first));
                let (file, blocks) = (file.clone(), extent.blocks.clone());
                let reading = tokio::task::spawn_blocking(move || read_blocks(&file, blocks, size));
                let Ok(Ok(contents)) = reading.await else {
                    debug!("a copy is shared no further: it cannot be read any more");
                    break;
                };
                if !tier.put(extent, contents, &doubted).await {
                    break;
                }
            }
            drop(room);
        });
    }

    /// Seals an extent and puts it, unless its version is doubted. Whether others of that version can follow.
    async fn put(self: &Arc<Self>, extent: Arc<Extent>, contents: Vec<Bytes>, doubted: &AtomicBool) -> bool {
        let bytes: usize = contents.iter().map(Bytes::len).sum();
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let sealing = extent.clone();
        let Ok(value) = tokio::task::spawn_blocking(move || sealing.seal(&contents)).await else { return false };
        if let Some(rate) = &self.rate {
            rate.pass(value.len()).await;
        }
        if doubted.load(Ordering::SeqCst) {
            return false;
        }
        let result = timeout(GIVE_TIMEOUT, self.store.put_if_absent(&extent.name, value)).await;
        match &result {
            Ok(Ok(is_new)) => {
                self.breaker.worked();
                up(&self.counts.bytes_out, if *is_new { bytes as u64 } else { 0 });
            }
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("the store has not taken a value in time"),
        }
        if doubted.load(Ordering::SeqCst) {
            self.remove(vec![extent.name.clone()]);
            return false;
        }
        matches!(result, Ok(Ok(_)))
    }

    /// The bytes of a version that were shared are not, or perhaps not, those of the version: removes them.
    pub(super) fn revoke(self: &Arc<Self>, circle: &Circle, version: &Key, size: u64) {
        let extents = (0..block_count(size)).step_by(BLOCKS).take(MAX_REVOKED);
        let names: Vec<_> = extents.map(|block| circle.extent(version, size, block).name).collect();
        names.iter().for_each(|name| self.gather.discard(name));
        self.remove(names);
    }

    /// Counts a value that is not right, and says so once: whether it did.
    pub(super) fn refuse(&self, why: &str) -> bool {
        up(&self.counts.refused, 1);
        *self.counts.last_error.lock() = Some(why.to_owned());
        let is_first = !self.has_told.swap(true, Ordering::Relaxed);
        if is_first {
            warn!("shared: {why}; the source is asked instead, and further ones are only counted");
        }
        is_first
    }

    /// Removes values in the background, so that right ones can be given in their place.
    fn remove(self: &Arc<Self>, names: Vec<String>) {
        if self.tuning.role == Role::Read {
            return;
        }
        let tier = self.clone();
        tokio::spawn(async move {
            for name in names {
                match timeout(GIVE_TIMEOUT, tier.store.delete(&name)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return tier.failed(&error.to_string()),
                    Err(_) => return tier.failed("the store has not removed a value in time"),
                }
            }
        });
    }

    /// Waits until nothing is being given.
    #[cfg(test)]
    pub(super) async fn settle(&self) {
        let all = u32::try_from(GIVING_BYTES).expect("it is small");
        drop(self.room.acquire_many(all).await.expect("it is never closed"));
    }

    fn failed(&self, why: &str) {
        *self.counts.last_error.lock() =
            Some(Error::new("shared", crate::error::ErrorKind::Other).because(why).to_string());
        if self.breaker.failed() {
            warn!("shared: {why}; the store is left alone for 30 s, and sources are asked instead");
        } else {
            debug!("shared: {why}");
        }
    }

    fn note_usual(&self, took: Duration) {
        let mut usual = self.usual.lock();
        *usual = Some(usual.map_or(took, |before| (before * 7 + took) / 8));
    }
}

/// The number of extents of one version that are removed at once: 64 GiB. What is left is refused by each reader for itself.
const MAX_REVOKED: usize = 1 << 14;

/// The contents of blocks of a file of `size` bytes.
fn read_blocks(file: &Path, blocks: Range<usize>, size: u64) -> std::io::Result<Vec<Bytes>> {
    let file = File::open(file)?;
    let read = |number: usize| {
        let place = bytes_of(&(number..number + 1), size);
        let mut content = vec![0; usize::try_from(place.end - place.start).expect("a block fits in memory")];
        file.read_exact_at(&mut content, place.start)?;
        Ok(content.into())
    };
    blocks.map(read).collect()
}

fn up(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
