//! `Tier`: what mounts of a circle ask of their store, and give it. Whatever the store does, the worst that comes of it is a miss.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::backend::{Answer, Backend, Reading};
use super::circle::Circle;
use super::claim::{Claim, Claims, Lease};
use super::counts::{Counts, up};
use super::gather::Gather;
use super::leases::Leases;
use super::sealed::{BLOCKS, EXTENT, Extent};
use super::store::Store;
use crate::cache::Key;
use crate::cache::block::{block_count, bytes_of};
use crate::source::rate::Rate;

/// The bytes that wait to be given; what comes beyond them is not given.
const GIVING_BYTES: usize = 64 << 20;

/// The bytes that came from sources and wait for the end of their retrieval; what comes beyond them is not given.
const HELD_BYTES: usize = 64 << 20;

/// The number of values that are given at once.
const GIVEN_AT_ONCE: usize = 2;

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

/// What the machines of a circle have in common.
#[derive(Clone, Default)]
pub struct Services {
    /// Where values lie.
    pub store: Option<Arc<dyn Store>>,
    /// Where those of files lie that it keeps, before the other.
    pub small: Option<Arc<dyn Store>>,
    /// Who retrieves what nobody has yet.
    pub leases: Option<Arc<dyn Leases>>,
}

/// What came of asking for blocks.
pub(super) enum Fetched {
    /// They are here.
    Contents(Vec<Bytes>),
    /// The store has them not.
    Missing,
    /// What the store has is not what was put there.
    Refused,
    /// The store has not answered yet, for longer than a reader waits.
    Late(Reading),
    /// The store is not asked, or does not work.
    Unasked,
}

/// The tier of one mount, for all its sources.
pub struct Tier {
    /// The stores. The first one that keeps a file has it.
    backends: Vec<Arc<Backend>>,
    claims: Option<Arc<Claims>>,
    tuning: Tuning,
    counts: Arc<Counts>,
    gather: Gather,
    room: Arc<Semaphore>,
    held: Arc<Semaphore>,
    turns: Semaphore,
    rate: Option<Rate>,
    has_told: AtomicBool,
}

impl Tier {
    /// The tier in `store`.
    #[cfg(test)]
    pub fn new(store: Arc<dyn Store>, tuning: Tuning) -> Arc<Self> {
        Self::with(Services { store: Some(store), ..Services::default() }, tuning)
    }

    /// The tier in these services.
    pub fn with(services: Services, tuning: Tuning) -> Arc<Self> {
        let counts = Arc::<Counts>::default();
        let stores = [services.small, services.store].into_iter().flatten();
        Arc::new(Self {
            backends: stores.map(|store| Backend::new(store, counts.clone())).collect(),
            claims: services.leases.map(|leases| Claims::new(leases, counts.clone())),
            tuning,
            counts,
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

    /// Whether a store is left alone at present, after failures.
    pub fn is_resting(&self) -> bool {
        self.backends.iter().any(|backend| backend.is_resting())
    }

    /// The store that has the values of a file of so many bytes.
    fn backend(&self, size: u64) -> Option<&Arc<Backend>> {
        self.backends.iter().find(|backend| backend.keeps(size))
    }

    /// The contents of these blocks of an extent.
    pub(super) async fn fetch(self: &Arc<Self>, extent: &Extent, blocks: &Range<usize>) -> Fetched {
        let Some(backend) = self.backend(extent.size).filter(|_| self.tuning.role != Role::Write) else {
            return Fetched::Unasked;
        };
        match backend.get(&extent.name, extent.place(blocks), blocks.len(), self.tuning.patience).await {
            Answer::Value(Some(value)) => self.open(extent, blocks, value).map_or(Fetched::Refused, Fetched::Contents),
            Answer::Value(None) => {
                up(&self.counts.misses, 1);
                Fetched::Missing
            }
            Answer::Late(reading) => Fetched::Late(reading),
            Answer::Failed => Fetched::Unasked,
        }
    }

    /// The contents in what a store has for these blocks; `None` if that is not what was put there.
    pub(super) fn open(self: &Arc<Self>, extent: &Extent, blocks: &Range<usize>, value: Bytes) -> Option<Vec<Bytes>> {
        let Some(contents) = extent.open(blocks, value) else {
            self.refuse("a value is not what was put there: it is damaged, or forged");
            self.remove(extent.size, vec![extent.name.clone()]);
            return None;
        };
        up(&self.counts.hits, 1);
        up(&self.counts.bytes_in, contents.iter().map(|content| content.len() as u64).sum());
        Some(contents)
    }

    /// Who retrieves an extent that the store has not had a moment ago. Waits for another machine that does.
    pub(super) async fn claim(&self, extent: &Extent) -> Claim {
        match (&self.claims, self.backend(extent.size)) {
            (Some(claims), Some(backend)) if self.gives(extent.size) => {
                claims.claim(&extent.name, backend, self.tuning.patience).await
            }
            _ => Claim::Without,
        }
    }

    /// Whether this mount retrieves an extent along with the one before it: the store has it not, and no other machine retrieves it. With
    /// its lease, if there are leases and it `may` have it.
    pub(super) async fn joins(&self, extent: &Extent, may: bool) -> Option<Option<Lease>> {
        let backend = self.backend(extent.size)?;
        match self.claims.as_ref().filter(|_| may && self.gives(extent.size)) {
            Some(claims) => claims.take(&extent.name, backend, self.tuning.patience).await.map(Some),
            None => (!backend.has(&extent.name, self.tuning.patience).await).then_some(None),
        }
    }

    /// Takes a block of a retrieval that has ended well, and gives the extent if it is whole now, unless its version is doubted meanwhile.
    pub(super) fn take(
        self: &Arc<Self>,
        extent: &Arc<Extent>,
        block: usize,
        content: Bytes,
        doubted: &Arc<AtomicBool>,
        lease: Option<&Arc<Lease>>,
    ) {
        if self.gives(extent.size)
            && let Some(contents) = self.gather.add(extent, block, content)
        {
            self.give(extent.clone(), contents, doubted.clone(), lease.cloned());
        }
    }

    /// Whether what comes from the source is given, of a file of so many bytes.
    pub(super) fn gives(&self, size: u64) -> bool {
        self.tuning.role != Role::Read && self.backend(size).is_some_and(|backend| !backend.is_resting())
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

    fn give(
        self: &Arc<Self>,
        extent: Arc<Extent>,
        contents: Vec<Bytes>,
        doubted: Arc<AtomicBool>,
        lease: Option<Arc<Lease>>,
    ) {
        let Some(room) = self.room(contents.iter().map(|content| content.len() as u64).sum()) else { return };
        let tier = self.clone();
        tokio::spawn(async move {
            tier.put(extent, contents, &doubted, lease.as_deref()).await;
            drop((room, lease));
        });
    }

    /// Gives the extents of a proven copy of a version, a file of `size` bytes, but for those that are `there`, one after another.
    pub(super) fn give_copy(
        self: &Arc<Self>,
        circle: &Arc<Circle>,
        version: Key,
        (file, size): (&Path, u64),
        there: &[usize],
        doubted: &Arc<AtomicBool>,
        lease: Option<Arc<Lease>>,
    ) {
        let first_blocks = (0..block_count(size)).step_by(BLOCKS);
        let missing: Vec<_> = first_blocks.filter(|first| !there.contains(first)).collect();
        if missing.is_empty() || !self.gives(size) {
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
                if !tier.put(extent, contents, &doubted, lease.as_deref()).await {
                    break;
                }
            }
            drop((room, lease));
        });
    }

    /// Seals an extent and puts it, unless its version is doubted. Whether others of that version can follow.
    async fn put(
        self: &Arc<Self>,
        extent: Arc<Extent>,
        contents: Vec<Bytes>,
        doubted: &AtomicBool,
        lease: Option<&Lease>,
    ) -> bool {
        let bytes: usize = contents.iter().map(Bytes::len).sum();
        let Some(backend) = self.backend(extent.size) else { return false };
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let sealing = extent.clone();
        let Ok(value) = tokio::task::spawn_blocking(move || sealing.seal(&contents)).await else { return false };
        if let Some(rate) = &self.rate {
            rate.pass(value.len()).await;
        }
        if doubted.load(Ordering::SeqCst) {
            return false;
        }
        let put = backend.put(&extent.name, value).await;
        if doubted.load(Ordering::SeqCst) {
            self.remove(extent.size, vec![extent.name.clone()]);
            return false;
        }
        if put == Some(true) {
            up(&self.counts.bytes_out, bytes as u64);
        }
        if let (Some(_), Some(lease)) = (put, lease) {
            lease.given();
        }
        put.is_some()
    }

    /// The bytes of a version that were shared are not, or perhaps not, those of the version: removes them.
    pub(super) fn revoke(self: &Arc<Self>, circle: &Circle, version: &Key, size: u64) {
        let extents = (0..block_count(size)).step_by(BLOCKS).take(MAX_REVOKED);
        let names: Vec<_> = extents.map(|block| circle.extent(version, size, block).name).collect();
        names.iter().for_each(|name| self.gather.discard(name));
        self.remove(size, names);
    }

    /// Counts a value that is not right, and says so once: whether it did.
    pub(super) fn refuse(&self, why: &str) -> bool {
        up(&self.counts.refused, 1);
        self.counts.note_error(why);
        let is_first = !self.has_told.swap(true, Ordering::Relaxed);
        if is_first {
            warn!("shared: {why}; the source is asked instead, and further ones are only counted");
        }
        is_first
    }

    /// Removes values of a file of so many bytes in the background, so that right ones can be given in their place.
    fn remove(self: &Arc<Self>, size: u64, names: Vec<String>) {
        if let Some(backend) = self.backend(size).filter(|_| self.tuning.role != Role::Read).cloned() {
            tokio::spawn(async move { backend.remove(names).await });
        }
    }

    /// Waits until nothing is being given.
    #[cfg(test)]
    pub(super) async fn settle(&self) {
        let all = u32::try_from(GIVING_BYTES).expect("it is small");
        drop(self.room.acquire_many(all).await.expect("it is never closed"));
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
