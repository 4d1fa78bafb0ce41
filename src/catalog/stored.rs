//! Listings that the database has and memory has not: they are read from there while they are fresh. It asks no source.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::listing::ListingId;
use super::{Answer, Catalog, Listing, Policy, State, off_worker};
use crate::freshness::{BeforeAsking, before_asking};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;

/// A listing of so many names that is not in memory is not loaded for the sake of one of them.
pub(super) const FEW: usize = 1_000;

/// A fresh listing that is in the database only.
struct Stored {
    id: ListingId,
    obtained: Instant,
    valid_for: Duration,
    names: usize,
}

impl Catalog {
    /// The listing as last known, from memory, from the database, or from an earlier run.
    pub(super) async fn known_listing(self: &Arc<Self>, dir: &RemotePath) -> Option<Arc<Listing>> {
        let record = self.state.lock().remembered.record(dir).map(|record| (record.id, record.listing()));
        let expected = match record {
            Some((_, Some(listing))) => return Some(listing),
            record => record.map(|(id, _)| id),
        };
        let (id, listing) = self.load(dir, expected).await?;
        let mut state = self.state.lock();
        let obtained = match state.remembered.record(dir).map(|record| (record.id, record.obtained)) {
            Some((known, obtained)) if known == id => obtained,
            // A newer answer has come meanwhile.
            Some(_) => return Some(listing),
            // It is from an earlier run.
            None => None,
        };
        state.remembered.insert(dir.clone(), listing.clone(), id, obtained);
        Some(listing)
    }

    /// The fresh listing that memory has no room for.
    pub(super) async fn reload(self: &Arc<Self>, dir: &RemotePath) -> Option<Answer<Arc<Listing>>> {
        let obtained = self.state.lock().stored(dir, self.policy)?.obtained;
        let (catalog, wanted) = (self.clone(), dir.clone());
        let load = || async move { catalog.known_listing(&wanted).await };
        let listing = self.reloads.join(dir.clone(), load).await??;
        // It may have been reported as changed meanwhile, or be another one than was thought.
        let is_same = self.state.lock().remembered.record(dir).is_some_and(|record| record.obtained == Some(obtained));
        let age = is_same.then(|| obtained.elapsed());
        match before_asking(Some(age), self.policy.fresh_for) {
            BeforeAsking::Serve(valid_for) => Some(Answer { value: listing, valid_for, stale: false }),
            BeforeAsking::Ask => None,
        }
    }

    /// One name of a large fresh listing that memory has no room for.
    pub(super) async fn stored_entry(
        self: &Arc<Self>,
        dir: &RemotePath,
        name: &[u8],
    ) -> Option<Answer<Option<(LocalName, Entry)>>> {
        let Stored { id, valid_for, names, .. } = self.state.lock().stored(dir, self.policy)?;
        if names <= FEW {
            return None;
        }
        let (db, name) = (self.db.clone(), name.to_vec());
        let load = move || {
            let read = || db.read(|db| Listing::load_entry(db, id, &name)).flatten();
            read().or_else(|| {
                db.settle();
                read()
            })
        };
        let value = off_worker(dir, load).await.ok().flatten()?;
        Some(Answer { value, valid_for, stale: false })
    }

    /// What is stored of `dir`: the listing with the number `expected`, which may be on its way to the database, or else the latest.
    async fn load(
        self: &Arc<Self>,
        dir: &RemotePath,
        expected: Option<ListingId>,
    ) -> Option<(ListingId, Arc<Listing>)> {
        let (catalog, wanted) = (self.clone(), dir.clone());
        let load = move || {
            let read = || catalog.db.read(|db| Listing::load(db, &catalog.source_id, &wanted)).flatten();
            let loaded = read();
            if expected.is_none() || loaded.as_ref().map(|(id, _)| *id) == expected {
                return loaded;
            }
            catalog.db.settle();
            read()
        };
        let loaded = off_worker(dir, load).await.inspect_err(|e| warn!("{e}")).ok().flatten();
        loaded.map(|(id, listing)| (id, Arc::new(listing)))
    }
}

impl State {
    /// The listing of `dir`, if it is fresh and not in memory.
    fn stored(&mut self, dir: &RemotePath, policy: Policy) -> Option<Stored> {
        let record = self.remembered.record_alone(dir)?;
        let obtained = record.obtained?;
        match before_asking(Some(Some(obtained.elapsed())), policy.fresh_for) {
            BeforeAsking::Serve(valid_for) => Some(Stored { id: record.id, obtained, valid_for, names: record.names }),
            BeforeAsking::Ask => None,
        }
    }
}
