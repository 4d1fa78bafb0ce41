//! `Listed`: a source whose listings come from the tier where another machine has asked for them lately, and are given to it where not. It
//! knows no content.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use lru::LruCache;
use parking_lot::Mutex;

use super::circle::{Access, LateCircle};
use super::claim::{Claim, Lease};
use super::listing::{LARGEST, SealedListing, Told};
use super::tier::Tier;
use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;
use crate::source::{
    Capabilities, Changes, Entry, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source,
};

/// How far the clocks of two machines may be apart. A listing counts as older by that than it seems to be.
const CLOCKS: Duration = Duration::from_secs(2);

/// How many directories are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// What time it is.
type Clock = dyn Fn() -> SystemTime + Send + Sync;

/// Asks the tier for a listing before `inner`, and gives it what `inner` says.
///
/// Only a listing that is complete is given, of which nothing had to be left out, and one that has names: that a directory is empty is
/// believed of its source alone. Whoever asks again for what this mount has had, and what is fresh still, wants to know what the source
/// says now.
pub struct Listed {
    inner: Arc<dyn Source>,
    tier: Arc<Tier>,
    circle: Arc<LateCircle>,
    fresh_for: Duration,
    now: Box<Clock>,
    /// The source has told this mount a listing.
    is_proven: AtomicBool,
    /// When that was asked for which this mount has had.
    known: Arc<Mutex<LruCache<RemotePath, SystemTime>>>,
}

impl Listed {
    /// Wraps `inner`, whose listings count for so long, and are shared in `circle`.
    pub fn new(
        inner: Arc<dyn Source>,
        tier: Arc<Tier>,
        circle: Arc<LateCircle>,
        fresh_for: Duration,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let known = Arc::new(Mutex::new(LruCache::new(REMEMBERED)));
        Self { inner, tier, circle, fresh_for, now: Box::new(now), is_proven: AtomicBool::new(false), known }
    }

    /// How old a listing is at most that was asked for at this time, if it is fresh.
    fn age(&self, asked: SystemTime) -> Option<Duration> {
        let age = (self.now)().checked_add(CLOCKS)?.duration_since(asked).ok()?;
        (age < self.fresh_for).then_some(age)
    }

    /// Whether this mount has had a listing that is fresh.
    fn asks_anew(&self, dir: &RemotePath) -> bool {
        let known = self.known.lock().get(dir).copied();
        known.is_some_and(|known| self.age(known).is_some())
    }

    /// What another machine was told, if it is fresh.
    async fn find(&self, dir: &RemotePath, listing: &SealedListing) -> Option<EntryStream<'static>> {
        let Told { asked, entries } = self.tier.find_listing(listing).await?;
        let age = self.age(asked)?;
        self.known.lock().put(dir.clone(), asked);
        self.tier.count_listing();
        Some(EntryStream::new(stream::iter(entries.into_iter().map(Ok))).aged(age))
    }

    async fn ask<'a>(&'a self, dir: &'a RemotePath, giving: Option<Giving>) -> Result<EntryStream<'a>> {
        let asked = (self.now)();
        let told = self.inner.list_path(dir).await?;
        let tells_all = told.tells_all();
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let seen = gathered.clone();
        let end = async move {
            self.is_proven.store(true, Ordering::Relaxed);
            self.known.lock().put(dir.clone(), asked);
            let Gathered { entries, bytes } = std::mem::take(&mut *gathered.lock());
            if let Some(giving) = giving
                && !entries.is_empty()
                && bytes <= LARGEST
                && tells_all()
            {
                self.tier.give_listing(giving.listing, Told { asked, entries }, self.fresh_for, giving.lease);
            }
            None
        };
        Ok(told.through(|entries| {
            let entries = entries.inspect(move |entry| seen.lock().add(entry));
            entries.chain(stream::once(end).filter_map(std::future::ready))
        }))
    }
}

/// What a listing is given with.
struct Giving {
    listing: SealedListing,
    lease: Option<Lease>,
}

/// What a source has told so far.
#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, entry: &Result<Entry>) {
        match entry {
            // A listing that fails is none.
            Err(_) => *self = Self { entries: Vec::new(), bytes: usize::MAX },
            Ok(entry) => {
                self.bytes = self.bytes.saturating_add(entry.bytes());
                if self.bytes <= LARGEST {
                    self.entries.push(entry.clone());
                } else {
                    self.entries = Vec::new();
                }
            }
        }
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl Source for Listed {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        self.inner.connect().await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn preconnect(&self, most: usize) {
        self.inner.preconnect(most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let Some(circle) = self.circle.get().cloned() else { return self.inner.list_path(dir).await };
        let listing = circle.listing(dir);
        // Whose account the source refuses is told nothing by others.
        let is_stranger = circle.access() == Access::Proven && !self.is_proven.load(Ordering::Relaxed);
        if is_stranger || circle.is_quarantined() || self.asks_anew(dir) {
            return self.ask(dir, circle.can_give().then_some(Giving { listing, lease: None })).await;
        }
        if let Some(found) = self.find(dir, &listing).await {
            return Ok(found);
        }
        if !circle.can_give() {
            return self.ask(dir, None).await;
        }
        let lease = match self.tier.claim_listing(&listing).await {
            Claim::Mine(lease) => Some(lease),
            Claim::There => match self.find(dir, &listing).await {
                Some(found) => return Ok(found),
                None => None,
            },
            Claim::Without => None,
        };
        self.ask(dir, Some(Giving { listing, lease })).await
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.inner.create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.inner.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        self.inner.retrieve_file(request, out).await
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}
