//! Listings that the database has and memory has not: they are read from there while they are fresh. It asks no source.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::listing::ListingId;
use super::listing_cache::Stored;
use super::renewal::off_worker;
use super::{Answer, Catalog, Listing, Policy, State};
use crate::freshness::{BeforeAsking, before_asking};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;

/// The most names of a listing that is loaded from the database for the sake of one of them.
pub(super) const SMALL_LISTING_NAMES: usize = 1_000;

/// A fresh listing that is in the database only.
pub(super) struct OnDisk {
    id: ListingId,
    obtained: Instant,
    valid_for: Duration,
    names: usize,
}

impl Catalog {
    /// The listing as last known, from memory, from the database, or from an earlier run.
    pub(super) async fn last_listing(self: &Arc<Self>, dir: &RemotePath) -> Option<Arc<Listing>> {
        let held = self.state.lock().listings.record(dir).and_then(|record| record.listing());
        if held.is_some() {
            return held;
        }
        let losses = self.db.losses();
        let (id, listing) = self.load(dir).await?;
        let mut state = self.state.lock();
        let obtained = match state.listings.record(dir).map(|record| (record.stored.id, record.obtained)) {
            Some((known, obtained)) if known == id => obtained,
            // A newer answer has come meanwhile, or could not be stored.
            Some(_) => return Some(listing),
            // It is from an earlier run.
            None => None,
        };
        state.listings.insert(dir.clone(), listing.clone(), Stored { id, losses }, obtained);
        Some(listing)
    }

    /// The fresh listing that memory has no room for.
    pub(super) async fn reload(self: &Arc<Self>, dir: &RemotePath) -> Option<Answer<Arc<Listing>>> {
        let obtained = self.state.lock().stored(dir, self.policy)?.obtained;
        let (catalog, wanted) = (self.clone(), dir.clone());
        let load = || async move { catalog.last_listing(&wanted).await };
        let listing = self.reloads.join(dir.clone(), load).await??;
        // It may have been reported as changed meanwhile, or be another one than was thought.
        let is_same = self.state.lock().listings.record(dir).is_some_and(|record| {
            let is_held = record.listing().is_some_and(|held| Arc::ptr_eq(&held, &listing));
            is_held && record.obtained == Some(obtained)
        });
        let age = is_same.then(|| obtained.elapsed());
        match before_asking(Some(age), self.policy.fresh_for) {
            BeforeAsking::Serve(valid_for) => Some(Answer { value: listing, valid_for, unconfirmed: false }),
            BeforeAsking::Ask => None,
        }
    }

    /// One name of a large fresh listing that memory has no room for.
    pub(super) async fn stored_entry(
        self: &Arc<Self>,
        dir: &RemotePath,
        name: &[u8],
    ) -> Option<Answer<Option<(LocalName, Entry)>>> {
        let OnDisk { id, valid_for, names, .. } = self.state.lock().stored(dir, self.policy)?;
        if names <= SMALL_LISTING_NAMES {
            return None;
        }
        let (db, name) = (self.db.clone(), name.to_vec());
        let load = move || db.ask(move |db| Listing::load_entry(db, id, &name)).ok().flatten().flatten();
        let value = off_worker(dir, load).await.ok().flatten()?;
        Some(Answer { value, valid_for, unconfirmed: false })
    }

    /// The first result of `select` for what the stored listings tell, fresh or not, each with its directory and local name. `None` also
    /// while the disk hangs.
    pub async fn find_stored<T: Send + 'static>(
        &self,
        select: impl FnMut(&RemotePath, LocalName, Entry) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let (db, source_id) = (self.db.clone(), self.source_id.clone());
        let find = move || db.ask(move |db| Listing::find(db, &source_id, select)).ok().flatten().flatten();
        off_worker(&RemotePath::root(), find).await.inspect_err(|e| warn!("{e}")).ok().flatten()
    }

    /// Loads the listing of `dir` that is stored, or on its way to the database. `None` also while the disk hangs.
    async fn load(&self, dir: &RemotePath) -> Option<(ListingId, Arc<Listing>)> {
        let (db, source_id, wanted) = (self.db.clone(), self.source_id.clone(), dir.clone());
        let load = move || db.ask(move |db| Listing::load(db, &source_id, &wanted)).ok().flatten().flatten();
        let loaded = off_worker(dir, load).await.inspect_err(|e| warn!("{e}")).ok().flatten();
        loaded.map(|(id, listing)| (id, Arc::new(listing)))
    }
}

impl State {
    /// The listing of `dir`, if it is fresh and not in memory.
    pub(super) fn stored(&mut self, dir: &RemotePath, policy: Policy) -> Option<OnDisk> {
        let record = self.listings.record_on_disk(dir)?;
        let obtained = record.obtained?;
        match before_asking(Some(Some(obtained.elapsed())), policy.fresh_for) {
            BeforeAsking::Serve(valid_for) => {
                Some(OnDisk { id: record.stored.id, obtained, valid_for, names: record.names })
            }
            BeforeAsking::Ask => None,
        }
    }
}
