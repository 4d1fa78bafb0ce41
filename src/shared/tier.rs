//! `Tier`: what mounts of a circle ask of their store, and give it. Whatever the store does, the worst that comes of it is a miss.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::backend::{Answer, Backend, Patience, Reading};
use super::circle::Circle;
use super::claim::{Claim, Claims, Lease, Size};
use super::counts::{Counts, up};
use super::gather::Gather;
use super::leases::Leases;
use super::listing::{LARGEST, SealedListing, Told};
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

/// How long a lease is kept for the next request that brings a part of its extent: for so long at least, or for the patience if that is
/// configured and longer, and at most twice.
const KEPT_FOR: Duration = Duration::from_millis(250);

/// How many values that were refused may be on their way out.
const REFUSED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

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
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// What this mount does.
    pub role: Role,
    /// How long a read waits for the store; `None`: by what such reads take.
    pub patience: Option<Duration>,
    /// The most bytes of values that are given in a second; `None`: no limit.
    pub max_upload: Option<u64>,
    /// The share of what comes from the store that is retrieved from the source too, and compared: 0 to 1.
    pub audit: f64,
    /// The most bytes of a version whose digest is a hash of its content for it to come from others who could lie: nothing of it is read
    /// before all of it is here and proven.
    pub prove_first: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { role: Role::default(), patience: None, max_upload: None, audit: 0.0, prove_first: 64 << 20 }
    }
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

/// How one of the services is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works, as far as is known.
    Ok,
    /// It is asked, and for half a minute nothing is given to it: why.
    TakesNothing(String),
    /// It is left alone for half a minute: why.
    Resting(String),
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
    /// Which of them are there: that of small files, and that of all.
    has: [bool; 2],
    claims: Option<Arc<Claims>>,
    /// Leases of extents that come in several requests, by their names.
    kept: Mutex<HashMap<String, Arc<Lease>>>,
    tuning: Tuning,
    counts: Arc<Counts>,
    gather: Gather,
    room: Arc<Semaphore>,
    held: Arc<Semaphore>,
    turns: Semaphore,
    rate: Option<Rate>,
    has_told: AtomicBool,
    /// Values that were refused, until they are removed, so that right ones are put after that.
    refused: Mutex<LruCache<String, Arc<OnceCell<()>>>>,
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
        let has = [services.small.is_some(), services.store.is_some()];
        let stores = [services.small, services.store].into_iter().flatten();
        Arc::new(Self {
            backends: stores.map(|store| Backend::new(store, counts.clone())).collect(),
            has,
            claims: services.leases.map(|leases| Claims::new(leases, counts.clone(), tuning.patience)),
            kept: Mutex::default(),
            tuning,
            counts,
            gather: Gather::default(),
            room: Arc::new(Semaphore::new(GIVING_BYTES)),
            held: Arc::new(Semaphore::new(HELD_BYTES)),
            turns: Semaphore::new(GIVEN_AT_ONCE),
            rate: tuning.max_upload.map(Rate::per_second),
            has_told: AtomicBool::new(false),
            refused: Mutex::new(LruCache::new(REFUSED)),
        })
    }

    /// What came of it so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How the store is, and the service of small files and leases, as far as they are configured.
    pub fn health(&self) -> [Option<Health>; 2] {
        let mut backends = self.backends.iter();
        let [small, store] = self.has.map(|has| if has { backends.next() } else { None });
        let health = |backend: &Arc<Backend>| {
            let why = || backend.last_error().unwrap_or_default();
            match () {
                () if backend.is_resting() => Health::Resting(why()),
                () if backend.takes_nothing() => Health::TakesNothing(why()),
                () => Health::Ok,
            }
        };
        let resting = self.claims.as_ref().and_then(|claims| claims.resting()).map(Health::Resting);
        let small = small.map(health).map(|small| if small == Health::Ok { resting.unwrap_or(small) } else { small });
        [store.map(health), small]
    }

    /// Whether every store is left alone at present, after failures.
    pub fn is_resting(&self) -> bool {
        self.backends.iter().all(|backend| backend.is_resting())
    }

    /// The store that has the values of a file of so many bytes.
    fn backend(&self, size: u64) -> Option<&Arc<Backend>> {
        self.backends.iter().find(|backend| backend.keeps(size))
    }

    /// The contents of these blocks of an extent, for which the source takes `source` at least, as far as is known.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        extent: &Extent,
        blocks: &Range<usize>,
        source: Duration,
        mending: Option<&Arc<AtomicBool>>,
    ) -> Fetched {
        let Some(backend) = self.backend(extent.size).filter(|_| self.tuning.role != Role::Write) else {
            return Fetched::Unasked;
        };
        let patience = Patience { configured: self.tuning.patience, source };
        match backend.get(&extent.name, extent.place(blocks), blocks.len(), patience).await {
            Answer::Value(Some(value)) => {
                self.open(extent, blocks, value, mending).map_or(Fetched::Refused, Fetched::Contents)
            }
            Answer::Value(None) => {
                up(&self.counts.misses, 1);
                Fetched::Missing
            }
            Answer::Late(reading) => Fetched::Late(reading),
            Answer::Failed => Fetched::Unasked,
        }
    }

    /// The contents in what a store has for these blocks; `None` if that is not what was put there. Such a value is removed, and `mending`,
    /// which says whether the version is doubted, keeps the blocks of it that are right, so that it can be given again.
    pub(super) fn open(
        self: &Arc<Self>,
        extent: &Extent,
        blocks: &Range<usize>,
        value: Bytes,
        mending: Option<&Arc<AtomicBool>>,
    ) -> Option<Vec<Bytes>> {
        let Some(contents) = extent.open(blocks, value) else {
            self.refuse("a value is not what was put there: it is damaged, or forged");
            self.mend(extent, mending.cloned());
            return None;
        };
        up(&self.counts.hits, 1);
        up(&self.counts.bytes_in, contents.iter().map(|content| content.len() as u64).sum());
        Some(contents)
    }

    /// The store has given late what the source had not given yet, of a file of so many bytes.
    pub(super) fn note_worth(&self, size: u64) {
        if let Some(backend) = self.backend(size) {
            backend.was_worth_waiting_for();
        }
    }

    /// Removes a value of which a block is wrong. The others come from it, so that the extent is whole once the source has brought what is
    /// wrong: who reads on finds the value gone, and has the rest from the source.
    fn mend(self: &Arc<Self>, extent: &Extent, doubted: Option<Arc<AtomicBool>>) {
        let Some(backend) = self.backend(extent.size).filter(|_| self.tuning.role != Role::Read).cloned() else {
            return;
        };
        {
            let mut refused = self.refused.lock();
            if refused.contains(&extent.name) {
                // That is under way.
                return;
            }
            refused.put(extent.name.clone(), Arc::default());
        }
        let (tier, extent) = (self.clone(), Arc::new(extent.clone()));
        tokio::spawn(async move {
            if let Some(doubted) = doubted
                && let Some(value) = backend.look_into(&extent.name, extent.place(&extent.blocks)).await
            {
                for block in extent.blocks.clone() {
                    let place = extent.place(&(block..block + 1));
                    let [start, end] = [place.start, place.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
                    let part = value.slice(start.min(value.len())..end.min(value.len()));
                    if let Some(content) = extent.open(&(block..block + 1), part).and_then(|mut all| all.pop()) {
                        tier.take(&extent, block, content, &doubted, None);
                    }
                }
            }
            tier.clear(&backend, &extent.name).await;
        });
    }

    /// Removes a value that was refused, if it has not been yet, before a right one is put in its place.
    async fn clear(&self, backend: &Backend, name: &str) {
        let Some(removal) = self.refused.lock().peek(name).cloned() else { return };
        removal.get_or_init(|| backend.remove(vec![name.to_owned()])).await;
        self.refused.lock().pop(name);
    }

    /// Whether it is agreed on who retrieves what.
    pub(super) fn has_leases(&self) -> bool {
        self.claims.is_some()
    }

    /// See [`Tuning::prove_first`].
    pub(super) fn proves_first(&self) -> u64 {
        self.tuning.prove_first
    }

    /// Keeps the lease of an extent of which one request brings a part, for those that bring the others: until it is whole, or none of them
    /// is under way for a while.
    pub(super) fn keep(self: &Arc<Self>, extent: &Extent, lease: &Arc<Lease>) {
        self.kept.lock().insert(extent.name.clone(), lease.clone());
        let (tier, name, lease) = (Arc::downgrade(self), extent.name.clone(), Arc::downgrade(lease));
        let kept_for = self.tuning.patience.map_or(KEPT_FOR, |patience| patience.max(KEPT_FOR));
        tokio::spawn(async move {
            let mut was_idle = false;
            loop {
                tokio::time::sleep(kept_for).await;
                let Some(tier) = tier.upgrade() else { return };
                let mut kept = tier.kept.lock();
                let Some(held) = kept.get(&name).filter(|held| std::ptr::eq(Arc::as_ptr(held), lease.as_ptr())) else {
                    return;
                };
                // Who retrieves a part holds it too.
                let is_idle = Arc::strong_count(held) == 1;
                if is_idle && was_idle {
                    kept.remove(&name);
                    return;
                }
                was_idle = is_idle;
            }
        });
    }

    /// The lease of an extent that is kept.
    pub(super) fn kept(&self, extent: &Extent) -> Option<Arc<Lease>> {
        self.kept.lock().get(&extent.name).cloned()
    }

    /// Whether what has just come from the store is to be compared with the source.
    pub(super) fn audits(&self) -> bool {
        let mut random = [0; 4];
        // Without randomness everything is compared that may be. A member that knew which values are could lie about the others.
        let drawn = match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 0.0,
        };
        self.tuning.audit > 0.0 && drawn <= self.tuning.audit
    }

    /// Notes that what came from the store was compared with the source, and was the same.
    pub(super) fn count_audit(&self) {
        up(&self.counts.audited, 1);
    }

    /// Somebody who has the key has given other bytes than these, which the source has for these blocks. Whoever has signed such bytes is
    /// believed no more; where nobody signs, nobody is.
    pub(super) async fn accuse(
        self: &Arc<Self>,
        circle: &Circle,
        extent: &Extent,
        blocks: &Range<usize>,
        right: &[u8],
    ) {
        up(&self.counts.audited, 1);
        up(&self.counts.lies, 1);
        *self.counts.last_refusal.lock() = Some("another machine has given wrong bytes, as the source shows".into());
        if !circle.has_signatures() {
            circle.quarantine();
            return;
        }
        let Some(backend) = self.backend(extent.size) else { return };
        let Some(value) = backend.look_into(&extent.name, extent.place(blocks)).await else { return };
        extent.accuse(blocks, &value, right);
    }

    /// Who retrieves an extent that the store has not had a moment ago. Waits for another machine that does. The source takes `source` for
    /// it at least, as far as is known.
    pub(super) async fn claim(&self, extent: &Extent, source: Duration) -> Claim {
        match (&self.claims, self.backend(extent.size)) {
            (Some(claims), Some(backend)) if self.gives(extent.size) => {
                claims.claim(&extent.name, backend, Size::of_file(extent.size), source).await
            }
            _ => Claim::Without,
        }
    }

    /// Whether this mount retrieves an extent along with the one before it: the store has it not, and no other machine retrieves it. With
    /// its lease, if there are leases and it `may` have it.
    pub(super) async fn joins(&self, extent: &Extent, may: bool) -> Option<Option<Arc<Lease>>> {
        let backend = self.backend(extent.size)?;
        if let Some(lease) = self.kept(extent) {
            return Some(Some(lease));
        }
        match self.claims.as_ref().filter(|_| may && self.gives(extent.size)) {
            Some(claims) => {
                let taken = claims.take(&extent.name, backend, Size::of_file(extent.size)).await;
                taken.map(|lease| lease.map(Arc::new))
            }
            None => (!backend.has(&extent.name, Patience::short(self.tuning.patience)).await).then_some(None),
        }
    }

    /// What another machine was told of a directory, if the store has it.
    pub(super) async fn find_listing(self: &Arc<Self>, listing: &SealedListing) -> Option<Told> {
        let backend = self.backends.first().filter(|_| self.tuning.role != Role::Write)?;
        let place = 0..LARGEST as u64;
        let patience = Patience::short(self.tuning.patience);
        let Answer::Value(Some(value)) = backend.get(&listing.name, place, 1, patience).await else {
            return None;
        };
        let told = listing.open(value);
        if told.is_none() {
            // Another takes its place.
            self.refuse("a listing is not what was put there: it is damaged, or forged");
        }
        told
    }

    /// Counts a listing that was taken.
    pub(super) fn count_listing(&self) {
        up(&self.counts.listings, 1);
    }

    /// Who asks for a listing that the store has not had a moment ago. Waits for another machine that does.
    pub(super) async fn claim_listing(&self, listing: &SealedListing) -> Claim {
        match (&self.claims, self.backends.first()) {
            (Some(claims), Some(backend)) if self.gives(0) => {
                claims.claim(&listing.name, backend, Size::Small, Duration::ZERO).await
            }
            _ => Claim::Without,
        }
    }

    /// Gives a listing that counts for so long, in the background.
    pub(super) fn give_listing(
        self: &Arc<Self>,
        listing: SealedListing,
        told: Told,
        fresh_for: Duration,
        lease: Option<Lease>,
    ) {
        let Some(backend) = self.backends.first().filter(|_| self.gives(0)).cloned() else { return };
        let Some(room) = self.room(LARGEST as u64) else { return };
        tokio::spawn(async move {
            let sealing = tokio::task::spawn_blocking(move || (listing.seal(&told), listing.name));
            if let Ok((Some(value), name)) = sealing.await {
                backend.put_over(&name, value, fresh_for).await;
            }
            drop((room, lease));
        });
    }

    /// Takes a block of a retrieval that has ended well, and gives the extent if it is whole now, unless its version is doubted meanwhile.
    /// Whether it is whole.
    pub(super) fn take(
        self: &Arc<Self>,
        extent: &Arc<Extent>,
        block: usize,
        content: Bytes,
        doubted: &Arc<AtomicBool>,
        lease: Option<&Arc<Lease>>,
    ) -> bool {
        let Some(contents) = self.gives(extent.size).then(|| self.gather.add(extent, block, content)).flatten() else {
            return false;
        };
        let kept = self.kept.lock().remove(&extent.name);
        self.give(extent.clone(), contents, doubted.clone(), lease.cloned().or(kept));
        true
    }

    /// Whether what comes from the source is given, of a file of so many bytes.
    pub(super) fn gives(&self, size: u64) -> bool {
        self.tuning.role != Role::Read && self.backend(size).is_some_and(|backend| !backend.takes_nothing())
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
        self.clear(backend, &extent.name).await;
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
        *self.counts.last_refusal.lock() = Some(why.to_owned());
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
