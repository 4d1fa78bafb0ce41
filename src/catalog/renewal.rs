//! Renewing a listing: the source is asked, what it tells is gathered, and becomes the known listing. Which answer serves is decided by
//! `freshness`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt as _;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::kept::{keep_observations, keep_unlisted};
use super::listing::{ListingId, from_nanoseconds, to_nanoseconds};
use super::listing_cache::{Overlay, Stored};
use super::localize::{Localized, localize};
use super::{Answer, Catalog, Listing, overlay};
use crate::error::{Error, ErrorKind, Result};
use crate::freshness::{AfterFailure, Emptying, WAIT_BEFORE_EMPTYING, before_emptying};
use crate::omitted::Omitted;
use crate::path::RemotePath;
use crate::source::budget::{check_held, gathering};
use crate::source::one_name::in_large_directory;
use crate::source::packed::Packed;
use crate::source::retry::retry;

/// A directory of so many names is handled within a fraction of a millisecond.
const FEW_NAMES: usize = 256;

impl Catalog {
    /// Asks the source, and falls back on the known listing as `freshness` says.
    pub(super) async fn renew(self: &Arc<Self>, dir: &RemotePath) -> Result<Answer<Arc<Listing>>> {
        let (asked, answer) = self.ask_source(dir).await;
        self.settle(dir, asked, answer).await
    }

    /// Makes the answer of the source the known listing, or falls back on that.
    pub(super) async fn settle(
        self: &Arc<Self>,
        dir: &RemotePath,
        asked: Instant,
        answer: Result<Localized>,
    ) -> Result<Answer<Arc<Listing>>> {
        let error = match answer {
            Ok(localized) => {
                let age = localized.age;
                // The answer to another machine is as old as its question, and says nothing of this login.
                let asked = asked.checked_sub(age).unwrap_or(asked);
                self.accepted.fetch_or(age.is_zero(), Ordering::Relaxed);
                // A change that was reported after the question may be missing in the answer.
                let current = self.state.lock().is_current(asked);
                if localized.omitted.is_incomplete() {
                    // Into memory, where the names are that stay.
                    self.last_listing(dir).await;
                }
                let (catalog, place) = (self.clone(), dir.clone());
                // An incomplete one takes over names from the one before.
                let names = if localized.omitted.is_incomplete() { usize::MAX } else { localized.named.len() };
                let accept = move || catalog.accept(&place, localized, current.then_some(asked));
                let listing = for_names(names, dir, accept).await?;
                let valid_for = if current { self.policy.fresh_for.saturating_sub(age) } else { Duration::ZERO };
                return Ok(Answer { value: listing, valid_for, unconfirmed: false });
            }
            // The root of a source is never absent: that is an outage or a wrong setting, not an empty tree.
            Err(error) if error.kind() == ErrorKind::NotFound && dir.is_root() => {
                Error::new("list_path", ErrorKind::Unreachable).on(dir).caused_by(error)
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::NotFound {
            self.drop_listing(dir);
            return Err(error);
        }
        let known = self.last_listing(dir).await;
        match self.after_failure(known.is_some(), error.kind()) {
            AfterFailure::Fail => Err(error),
            AfterFailure::Serve => {
                debug!("{dir}: served as last known: {error}");
                let listing = known.expect("only a known listing is served");
                Ok(self.unconfirmed(listing))
            }
        }
    }

    /// Asks the source, and once more before all names of a directory go. With the answer comes when it was asked for.
    async fn ask_source(self: &Arc<Self>, dir: &RemotePath) -> (Instant, Result<Localized>) {
        let mut answers = 0;
        loop {
            let asked = Instant::now();
            let answer = retry(|| gathering(self.retrieve_listing(dir))).await;
            let age = answer.as_ref().map_or(Duration::ZERO, |localized| localized.age);
            // Another machine has asked before the source reported a change: whoever asks once more is answered by the source itself.
            if !age.is_zero() && self.state.lock().changed.is_some_and(|changed| changed + age >= asked) {
                continue;
            }
            answers += 1;
            let leaves_none = match &answer {
                Ok(localized) => localized.named.is_empty(),
                Err(error) => error.kind() == ErrorKind::NotFound && !dir.is_root(),
            };
            if !leaves_none {
                return (asked, answer);
            }
            let known = self.last_listing(dir).await.map_or(0, |known| known.entries().len());
            match before_emptying(known, answers) {
                Emptying::Believe => return (asked, answer),
                Emptying::AskAgain => {
                    info!("{dir}: {known} names would go, so the source is asked again");
                    tokio::time::sleep(WAIT_BEFORE_EMPTYING).await;
                }
            }
        }
    }

    async fn retrieve_listing(&self, dir: &RemotePath) -> Result<Localized> {
        match self.gather(dir, None).await? {
            Gathered::All(localized) | Gathered::Alone(localized) => Ok(localized),
        }
    }

    /// Gathers the names of `dir`; if it is only for the sake of one of them, perhaps no more than those that begin with that.
    pub(super) async fn gather(&self, dir: &RemotePath, one_name: Option<&[u8]>) -> Result<Gathered> {
        let list = self.source.list_path(dir);
        let mut listing = match one_name {
            Some(name) if self.is_known_to_be_large(dir) => in_large_directory(name, list).await?,
            _ => list.await?,
        };
        if let Some(name) = one_name {
            listing.want_only(name);
        }
        let (mut entries, mut names) = (Packed::new(dir.clone()), 0);
        while let Some(mut entry) = listing.try_next().await? {
            // As the database keeps it, so that a listing is the same whether it comes from there or not.
            entry.modified = entry.modified.map(|time| from_nanoseconds(to_nanoseconds(time)));
            entries.push(&entry);
            names += 1;
            // Let other tasks run where all entries are here already.
            tokio::task::consume_budget().await;
        }
        let verbatim = self.source.capabilities().verbatim_names;
        if let Some(told) = listing.told_alone() {
            let mut entries = Packed::new(dir.clone());
            told.iter().for_each(|entry| _ = entries.push(entry));
            return Ok(Gathered::Alone(localize(entries, Omitted::default(), verbatim)));
        }
        let (omitted, age) = (listing.omitted(), listing.age());
        let localized = for_names(names, dir, move || localize(entries, omitted, verbatim)).await?;
        let localized = Localized { age, ..localized };
        let localized = localized.if_usable(dir).inspect_err(|error| self.span.in_scope(|| warn!("{error}")))?;
        check_held(localized.named.len(), localized.named.bytes()).map_err(|exceeded| exceeded.error(dir))?;
        Ok(Gathered::All(localized))
    }

    /// Makes a complete listing the known one. A large one takes a while, in which the state is not locked.
    fn accept(&self, dir: &RemotePath, localized: Localized, obtained: Option<Instant>) -> Arc<Listing> {
        let Localized { mut named, omitted, .. } = localized;
        let known = self.state.lock().listings.get(dir).map(|known| {
            let record = &known.record;
            (known.listing.clone(), record.stored, record.overlay.clone(), record.obtained)
        });
        self.alone.lock().pop(dir);
        let losses = self.db.losses();
        let (mut unchanged, mut learned, mut kept) = (None, Overlay::new(), Overlay::new());
        let mut is_amended = false;
        if let Some((before, stored, overlay, last_obtained)) = known {
            keep_observations(&before, &overlay, &mut named);
            if omitted.is_incomplete() {
                kept = keep_unlisted(&before, &overlay, &mut named, last_obtained.unwrap_or(Instant::now()));
            }
            if *before.entries() == named && before.is_incomplete() == omitted.is_incomplete() {
                is_amended = overlay::is_amended(&before, &overlay);
                (unchanged, learned) = (Some((before, stored)), overlay);
            }
        }
        let is_new = unchanged.is_none();
        let is_stored = unchanged.as_ref().is_some_and(|(_, stored)| stored.losses == losses) && !is_amended;
        let (listing, id) = match unchanged {
            Some((listing, stored)) => (listing, stored.id),
            None => (Arc::new(Listing::new(named, omitted.is_incomplete())), ListingId::new()),
        };
        {
            let mut state = self.state.lock();
            state.listings.insert(dir.clone(), listing.clone(), Stored { id, losses }, obtained);
            kept.iter().for_each(|(name, (entry, at))| state.listings.lay_over(dir, name.clone(), entry.clone(), *at));
        }
        learned.extend(kept);
        if is_new {
            self.left_out.fetch_add(omitted.count() as u64, Ordering::Relaxed);
            if let Some(told) = omitted.told() {
                self.span.in_scope(|| warn!("{dir}: {told}"));
            }
        }
        if !is_stored {
            let (stored, source_id, dir) = (listing.clone(), self.source_id.clone(), dir.clone());
            self.db.write(move |db| {
                stored.store(db, &source_id, &dir, id)?;
                overlay::tidy(db, &source_id, &dir, id)?;
                overlay::store_all(db, &source_id, &dir, &stored, &learned)
            });
        }
        listing
    }

    fn drop_listing(&self, dir: &RemotePath) {
        self.alone.lock().pop(dir);
        self.state.lock().listings.remove(dir);
        let (source_id, dir) = (self.source_id.clone(), dir.clone());
        self.db.write(move |db| Listing::delete(db, &source_id, &dir));
    }
}

/// The names of a directory that a source has told.
pub(super) enum Gathered {
    All(Localized),
    /// Those that begin with the one that is wanted.
    Alone(Localized),
}

/// Runs work that takes long for a large directory on a thread that holds up no task. For a small one, the way there takes longer.
pub(super) async fn for_names<T: Send + 'static>(
    names: usize,
    dir: &RemotePath,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if names <= FEW_NAMES { Ok(work()) } else { off_worker(dir, work).await }
}

/// Runs work on a thread that may wait.
pub(super) async fn off_worker<T: Send + 'static>(
    dir: &RemotePath,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let lost = |e| Error::new("list_path", ErrorKind::Other).on(dir).because("the listing was abandoned").caused_by(e);
    tokio::task::spawn_blocking(work).await.map_err(lost)
}
