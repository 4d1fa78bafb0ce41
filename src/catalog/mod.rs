//! The catalog: the listings and digests that one source told, and for how long they count. It keeps no bytes of files.
//!
//! Every answer obeys `freshness`. A listing is replaced only by a complete newer one; until then an overlay holds the entries of
//! single files that the source was asked about later (at an open). One request per directory is under way at a time; callers that
//! come meanwhile get its answer.

#[cfg(all(test, feature = "shared"))]
mod aged_tests;
mod ahead;
mod expire;
mod kept;
mod listing;
mod listing_cache;
mod local_entries;
pub mod localize;
mod lookup;
mod overlay;
mod patience;
mod refusals;
mod renewal;
mod stored;
#[cfg(test)]
mod tests;

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{Span, debug};

pub use listing::Listing;
pub use listing_cache::Room;
pub use local_entries::LocalEntries;
use patience::{Asked, Slowness};

use self::kept::unlisted;
use self::listing_cache::ListingCache;
use crate::db::Database;
use crate::error::{ErrorKind, Result};
use crate::flight::Flights;
use crate::freshness::{AfterFailure, BeforeAsking, Offline, after_failure, after_failure_to_find, before_asking};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::retry::retry;
use crate::source::{Entry, EntryKind, RemoteDigest, Source};

/// For how long the kernel may keep an answer that is served although it could not be renewed: short, so that the return of the
/// source is noticed.
const UNCONFIRMED_VALID_FOR: Duration = Duration::from_secs(1);

/// The rules by which one source's answers age.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The time for which an answer counts as current.
    pub fresh_for: Duration,
    /// The longest that the source may take to confirm a known answer before that is served.
    pub patience: Duration,
    /// The use of known answers while the source cannot be asked.
    pub offline: Offline,
    /// Whether the source's settings say whose login it is.
    pub names_account: bool,
}

/// Something the catalog says, and for how much longer it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The known entry or listing.
    pub value: T,
    /// For how long it may be used without asking again.
    pub valid_for: Duration,
    /// Whether it is served although the source could not be asked, or has not answered yet.
    pub unconfirmed: bool,
}

/// The listings and digests that one source told. Cheap to share.
pub struct Catalog {
    source: Arc<dyn Source>,
    source_id: Arc<str>,
    policy: Policy,
    db: Arc<Database>,
    /// Listings that are being retrieved.
    under_way: Arc<Flights<RemotePath, Result<Answer<Arc<Listing>>>>>,
    /// Those of them that were begun before a reader asked.
    ahead: ahead::Begun,
    /// Single files that are being asked for.
    checks: Arc<Checks>,
    /// Lookups in directories of which no listing is known.
    lookups: Arc<lookup::Lookups>,
    /// What was told of single names of such directories.
    alone: Mutex<lookup::Alone>,
    /// Listings that are being read from the database.
    reloads: Arc<Flights<RemotePath, Option<Arc<Listing>>>>,
    slowness: Mutex<Slowness>,
    refusals: Mutex<refusals::Refusals>,
    /// Names that listings have left out; those of a listing that has not changed count once.
    left_out: AtomicU64,
    /// Whether the source has accepted the login since the mount.
    accepted: AtomicBool,
    span: Span,
    state: Mutex<State>,
}

type Checks = Flights<(RemotePath, LocalName), Result<Option<Entry>>>;

struct State {
    listings: ListingCache,
    /// When the source last said by itself that something has changed.
    changed: Option<Instant>,
}

impl Catalog {
    /// A catalog of `source`, whose answers are stored in `db` under `source_id`, and held in memory as far as `room` lasts. `span` names
    /// the source in the log.
    pub fn new(
        source: Arc<dyn Source>,
        source_id: Arc<str>,
        policy: Policy,
        db: Arc<Database>,
        room: Arc<Room>,
        span: Span,
    ) -> Arc<Self> {
        let state = Mutex::new(State { listings: ListingCache::new(room), changed: None });
        let (under_way, ahead, checks, lookups, reloads, slowness, refusals, left_out, accepted) = Default::default();
        let alone = Mutex::new(lookup::none_alone());
        Arc::new(Self {
            source,
            source_id,
            policy,
            db,
            under_way,
            ahead,
            checks,
            lookups,
            alone,
            reloads,
            slowness,
            refusals,
            left_out,
            accepted,
            span,
            state,
        })
    }

    /// The identity of the source.
    pub fn source_id(&self) -> &Arc<str> {
        &self.source_id
    }

    /// The complete listing of `dir`, with its overlay of single files that were asked about later.
    ///
    /// # Errors
    /// `NotFound` only if the source said so; a failure of the source, if nothing is known or `offline` says to fail.
    pub async fn list(self: &Arc<Self>, dir: &RemotePath) -> Result<Answer<Arc<Listing>>> {
        let mut answer = self.plain_listing(dir).await?;
        // While the source cannot be asked, what it told last is all that is known.
        let counts_for = if answer.unconfirmed { Duration::MAX } else { self.policy.fresh_for };
        if let Some(newer) = self.state.lock().with_overlay(dir, &answer.value, counts_for) {
            answer.value = newer;
        }
        Ok(answer)
    }

    async fn plain_listing(self: &Arc<Self>, dir: &RemotePath) -> Result<Answer<Arc<Listing>>> {
        if let Some(answer) = self.state.lock().fresh_listing(dir, self.policy) {
            return Ok(answer);
        }
        if let Some(answer) = self.reload(dir).await {
            return Ok(answer);
        }
        if let Some(answer) = self.looked_up(dir).await {
            return Ok(answer);
        }
        let mut joined = self.ahead.want(dir);
        loop {
            let question = || self.clone().question(dir.clone());
            match self.ask(&self.under_way, dir.clone(), question, joined, self.last_listing(dir)).await {
                // It began when nobody waited, and may have failed of something that is over.
                Asked::Answered(Err(_)) if joined.take().is_some() => {}
                Asked::Answered(answer) => return answer,
                Asked::Overdue(known) => return Ok(self.unconfirmed(known)),
            }
        }
    }

    /// The listing of `dir`, unless it has arrived meanwhile from the source.
    async fn question(self: Arc<Self>, dir: RemotePath) -> Result<Answer<Arc<Listing>>> {
        let arrived = self.state.lock().fresh_listing(&dir, self.policy);
        if let Some(answer) = arrived {
            return Ok(answer);
        }
        match self.reload(&dir).await {
            Some(answer) => Ok(answer),
            None => self.renew(&dir).await,
        }
    }

    /// The entry called `name` in `dir`; `None` if a complete listing is without it, or the source knows no such file.
    ///
    /// # Errors
    /// Those of [`Catalog::list`]. A file whose listing carries no digest is asked for its digest.
    pub async fn find(self: &Arc<Self>, dir: &RemotePath, name: &[u8]) -> Result<Answer<Option<(LocalName, Entry)>>> {
        let known = self.state.lock().overlay_entry(dir, name, self.policy);
        if let Some(answer) = known {
            return Ok(answer);
        }
        let listed = match self.stored_entry(dir, name).await {
            Some(answer) => answer,
            None => self.look_up(dir, name).await?,
        };
        if let Some(answer) = self.state.lock().overlay_entry(dir, name, self.policy) {
            return Ok(answer);
        }
        let Answer { value: found, valid_for, unconfirmed } = listed;
        match found {
            Some((name, entry)) if entry.digest.is_none() && matches!(entry.kind, EntryKind::File) => {
                let known = self.overlay_or_stored(dir, &name, &entry);
                let error = match self.check(dir, &name, &entry, known).await {
                    Ok(Answer { value, valid_for, unconfirmed }) => {
                        let value = value.map(|entry| (name, entry));
                        return Ok(Answer { value, valid_for, unconfirmed });
                    }
                    Err(error) => error,
                };
                let known = self.overlay_or_stored(dir, &name, &entry).await;
                match self.after_failure(known.is_some(), error.kind()) {
                    AfterFailure::Fail => Err(error),
                    AfterFailure::Serve => Ok(self.unconfirmed(known.map(|known| (name, known)))),
                }
            }
            // The source may have told more of the name since it listed the directory.
            Some((name, entry)) if unconfirmed => {
                let mut state = self.state.lock();
                let told = state.listings.record(dir).and_then(|known| Some(known.overlay.get(&name)?.0.clone()));
                let value = told.unwrap_or(Some(entry)).map(|entry| (name, entry));
                Ok(Answer { value, valid_for, unconfirmed })
            }
            None if unconfirmed && !self.is_slow() => self.find_unconfirmed(dir, name).await,
            value => Ok(Answer { value, valid_for, unconfirmed }),
        }
    }

    /// The entry called `name`, which the last known listing of `dir` is without: the source could not be asked for a newer one, and is
    /// asked about this name alone.
    async fn find_unconfirmed(
        self: &Arc<Self>,
        dir: &RemotePath,
        name: &[u8],
    ) -> Result<Answer<Option<(LocalName, Entry)>>> {
        let Some(entry) = unlisted(dir, name) else { return Ok(self.unconfirmed(None)) };
        let name = LocalName::from(name);
        match self.check(dir, &name, &entry, ready(None)).await {
            Ok(Answer { value, valid_for, unconfirmed }) => {
                Ok(Answer { value: value.map(|entry| (name, entry)), valid_for, unconfirmed })
            }
            Err(error) => match after_failure_to_find(error.kind()) {
                AfterFailure::Serve => Ok(self.unconfirmed(None)),
                AfterFailure::Fail => Err(error),
            },
        }
    }

    /// Asks the source about one file as [`Catalog::recheck`] does, unless it has refused it lately, or returns `known` if that takes too long.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn check(
        self: &Arc<Self>,
        dir: &RemotePath,
        name: &LocalName,
        entry: &Entry,
        known: impl Future<Output = Option<Entry>>,
    ) -> Result<Answer<Option<Entry>>> {
        let question = || {
            let (catalog, dir, name, entry) = (self.clone(), dir.clone(), name.clone(), entry.clone());
            async move { catalog.unless_refused(&entry, catalog.recheck(&dir, &name, &entry)).await }
        };
        match self.ask(&self.checks, (dir.clone(), name.clone()), question, None, known).await {
            Asked::Answered(answer) => {
                answer.map(|value| Answer { value, valid_for: self.policy.fresh_for, unconfirmed: false })
            }
            Asked::Overdue(known) => Ok(self.unconfirmed(Some(known))),
        }
    }

    fn unconfirmed<T>(&self, value: T) -> Answer<T> {
        Answer { value, valid_for: UNCONFIRMED_VALID_FOR.min(self.policy.fresh_for), unconfirmed: true }
    }

    /// Empties the catalog, and leaves the memory to the end of the process.
    pub fn abandon(&self) {
        self.state.lock().listings.abandon();
    }

    /// The number of names that listings have left out since the mount, each time that the log told of them.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// For how long an answer counts as current.
    pub fn fresh_for(&self) -> Duration {
        self.policy.fresh_for
    }

    /// The longest that the source may take to confirm what is known.
    pub fn patience(&self) -> Duration {
        self.policy.patience
    }

    /// The use of known answers while the source cannot be asked.
    pub fn offline(&self) -> Offline {
        self.policy.offline
    }

    /// Whether what is known cannot be another account's: the settings say whose login it is, or it was accepted since the mount.
    pub fn is_of_account(&self) -> bool {
        self.policy.names_account || self.accepted.load(Ordering::Relaxed)
    }

    fn after_failure(&self, known: bool, kind: ErrorKind) -> AfterFailure {
        after_failure(known, kind, self.policy.offline, self.is_of_account())
    }

    /// Whether this name was asked for alone, not just listed, within `fresh_for`.
    pub fn is_checked(&self, dir: &RemotePath, name: &[u8]) -> bool {
        self.state.lock().overlay_entry(dir, name, self.policy).is_some()
    }

    /// The last known entry under this name, fresh or not, without asking.
    pub fn last_entry(&self, dir: &RemotePath, name: &[u8]) -> Option<Entry> {
        let mut state = self.state.lock();
        if let Some((entry, _)) = state.listings.record(dir)?.overlay.get(name) {
            return entry.clone();
        }
        state.listings.get(dir)?.listing.get(name)
    }

    /// The listing of `dir`, if it is fresh and in memory.
    pub fn listing_in_memory(&self, dir: &RemotePath) -> Option<Arc<Listing>> {
        self.state.lock().fresh_listing(dir, self.policy).map(|answer| answer.value)
    }

    /// When the source was last asked about this name, alone or by listing its directory; `None`: not since the mount.
    pub fn checked_at(&self, dir: &RemotePath, name: &[u8]) -> Option<SystemTime> {
        let mut state = self.state.lock();
        let record = state.listings.record(dir)?;
        let at = record.overlay.get(name).map(|(_, at)| *at).or(record.obtained)?;
        SystemTime::now().checked_sub(at.elapsed())
    }

    /// Asks the source which version of one file there is now, and remembers the answer. `None`: it is gone.
    pub async fn recheck(&self, dir: &RemotePath, name: &LocalName, entry: &Entry) -> Result<Option<Entry>> {
        let asked = Instant::now();
        let checked = match retry(|| self.source.create_remote_digest(&entry.path)).await {
            // The listing's size and time stay where the version is the same: times may be coarser elsewhere.
            Ok(remote) if entry.digest.as_ref().is_some_and(|digest| digest.is_same_observation(&remote.digest)) => {
                Some(entry.clone())
            }
            Ok(RemoteDigest { digest, size, modified }) => {
                Some(Entry { size, modified, digest: Some(digest), ..entry.clone() })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // Listings without kinds show directories as files until one of them is looked up.
            Err(error) if error.kind() == ErrorKind::IsADirectory && entry.digest.is_none() => {
                Some(Entry { kind: EntryKind::Directory, size: None, ..entry.clone() })
            }
            Err(error) => return Err(error),
        };
        self.accepted.store(true, Ordering::Relaxed);
        self.forget_alone(dir, name);
        self.store_overlay(dir, name, checked.as_ref());
        let mut state = self.state.lock();
        // A change that was reported after the question may be missing in the answer: that is known then, and not current.
        let at = if state.is_current(asked) {
            Instant::now()
        } else {
            asked.checked_sub(self.policy.fresh_for).unwrap_or(asked)
        };
        state.listings.lay_over(dir, name.clone(), checked.clone(), at);
        drop(state);
        Ok(checked)
    }

    /// Asks as [`Catalog::recheck`] does, and waits for the answer for at most the source's `patience`.
    /// A later answer is remembered too.
    pub async fn recheck_briefly(self: &Arc<Self>, dir: &RemotePath, name: &LocalName, entry: &Entry) -> Option<Entry> {
        let (catalog, place, name, entry) = (self.clone(), dir.clone(), name.clone(), entry.clone());
        let question = tokio::spawn(async move { catalog.recheck(&place, &name, &entry).await });
        let answer = timeout(self.policy.patience, question).await.ok()?.ok()?;
        answer.inspect_err(|error| debug!("{dir}: {error}")).ok().flatten()
    }

    /// Notes that the source has just shown otherwise that this entry is as it was.
    pub fn confirm(&self, dir: &RemotePath, name: &LocalName, entry: &Entry) {
        self.state.lock().listings.lay_over(dir, name.clone(), Some(entry.clone()), Instant::now());
    }
}

impl State {
    /// Whether the answer to a question that was asked then has every change that was reported.
    fn is_current(&self, asked: Instant) -> bool {
        self.changed.is_none_or(|changed| changed < asked)
    }

    fn fresh_listing(&mut self, dir: &RemotePath, policy: Policy) -> Option<Answer<Arc<Listing>>> {
        let known = self.listings.get(dir)?;
        match before_asking(Some(known.record.obtained.map(|at| at.elapsed())), policy.fresh_for) {
            BeforeAsking::Serve(valid_for) => {
                Some(Answer { value: known.listing.clone(), valid_for, unconfirmed: false })
            }
            BeforeAsking::Ask => None,
        }
    }

    /// The overlay's entry of this name, if that is still fresh.
    fn overlay_entry(
        &mut self,
        dir: &RemotePath,
        name: &[u8],
        policy: Policy,
    ) -> Option<Answer<Option<(LocalName, Entry)>>> {
        let (name, (entry, at)) = self.listings.record(dir)?.overlay.get_key_value(name)?;
        match before_asking(Some(Some(at.elapsed())), policy.fresh_for) {
            BeforeAsking::Serve(valid_for) => {
                let value = entry.clone().map(|entry| (name.clone(), entry));
                Some(Answer { value, valid_for, unconfirmed: false })
            }
            BeforeAsking::Ask => None,
        }
    }

    /// `listing`, which is that of `dir`, with its overlay; `None` if that tells nothing else. What was told of a version longer ago than it
    /// `counts_for` is left out where the listing says nothing of versions: then the name is looked up again.
    fn with_overlay(&mut self, dir: &RemotePath, listing: &Listing, counts_for: Duration) -> Option<Arc<Listing>> {
        let record = self.listings.record(dir).filter(|record| !record.overlay.is_empty())?;
        let told = |name: &LocalName, listed: &Entry| {
            let (told, at) = record.overlay.get(name)?;
            let is_of_version = listed.digest.is_none() && told.as_ref().is_some_and(|told| told.digest.is_some());
            (!is_of_version || at.elapsed() < counts_for).then_some(told.as_ref())
        };
        let is_new = |name: &LocalName, listed: &Entry| told(name, listed).is_some_and(|told| told != Some(listed));
        // Most of it may only confirm what is listed.
        if !record.overlay.keys().any(|name| listing.get(name).is_some_and(|listed| is_new(name, &listed))) {
            return None;
        }
        let mut entries = LocalEntries::new(dir.clone());
        for (name, listed) in listing.entries().iter() {
            let entry = told(&name, &listed).unwrap_or(Some(&listed));
            entry.into_iter().for_each(|entry| entries.push(&name, entry));
        }
        entries.shrink();
        Some(Arc::new(Listing::new(entries, listing.is_incomplete())))
    }
}
