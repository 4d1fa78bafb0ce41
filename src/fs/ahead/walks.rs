//! Directories ahead: whoever walks through a tree finds the next directories listed. `walk` decides which; this module looks into the
//! catalog's listings and has it list others. Failures are silent: the reader who comes asks itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::debug;

use super::recent::Recent;
use super::walk::{Opens, Tree, Walk};
use crate::catalog::Catalog;
use crate::path::RemotePath;

/// Walks that are followed at once, in each source.
const MOST_WALKS: usize = 4;

/// The walks of all readers of one source.
pub struct Walks {
    catalog: Arc<Catalog>,
    /// The requests ahead that may be under way, those for files included.
    places: Arc<Semaphore>,
    state: Mutex<State>,
    /// Directories that were listed ahead.
    pub listed: AtomicU64,
    /// How many of these were opened then, or before they had come: never more than `listed`, which is counted first.
    pub used: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The latest last. Listings that have not begun are dropped with their walk.
    walks: Vec<Arc<Mutex<Walk>>>,
    recent: Recent,
}

impl Walks {
    /// Follows the readers of the source that `catalog` belongs to, whose requests ahead share `places`.
    pub(super) fn new(catalog: Arc<Catalog>, places: Arc<Semaphore>) -> Arc<Self> {
        let (state, listed, used) = Default::default();
        Arc::new(Self { catalog, places, state, listed, used })
    }

    /// A program opens `dir`, and its listing is asked for next. Whether [`Walks::arrived`] is to be called then.
    pub fn opened(self: &Arc<Self>, dir: &RemotePath) -> bool {
        let is_known = self.catalog.is_fresh(dir) || self.catalog.is_listed_ahead(dir);
        let walk = self.walk_to(dir);
        let opened = {
            let mut walk = walk.lock();
            let opened = walk.opened(dir, is_known, Instant::now(), &Known(&self.catalog));
            let is_used = opened == Opens::Ahead { came: true };
            self.used.fetch_add(is_used.into(), Ordering::Relaxed);
            opened
        };
        if matches!(opened, Opens::Ahead { .. }) {
            self.state.lock().recent.note(1, 0);
        }
        if opened == Opens::Known {
            return false;
        }
        self.go_on(&walk);
        true
    }

    /// The listing of `dir`, which a program has opened, has arrived.
    pub fn arrived(self: &Arc<Self>, dir: &RemotePath) {
        let walk = self.state.lock().walks.iter().rev().find(|walk| walk.lock().leads_to(dir)).cloned();
        if let Some(walk) = walk {
            walk.lock().arrived(dir, Some(Instant::now()), &Known(&self.catalog));
            self.go_on(&walk);
        }
    }

    /// The walk that `dir` belongs to, or else a new one.
    fn walk_to(&self, dir: &RemotePath) -> Arc<Mutex<Walk>> {
        let (mut state, now) = (self.state.lock(), Instant::now());
        let State { walks, recent } = &mut *state;
        walks.retain(|walk| {
            let in_vain = walk.lock().ended(now);
            recent.note(0, in_vain.unwrap_or_default());
            in_vain.is_none()
        });
        if let Some(walk) = walks.iter().rev().find(|walk| walk.lock().leads_to(dir)) {
            return walk.clone();
        }
        if walks.len() >= MOST_WALKS {
            let oldest = walks.remove(0);
            recent.note(0, oldest.lock().unused());
        }
        let walk = Arc::new(Mutex::new(Walk::new(dir.clone(), now)));
        walks.push(walk.clone());
        walk
    }

    /// Lists what comes next.
    fn go_on(self: &Arc<Self>, walk: &Arc<Mutex<Walk>>) {
        if !self.catalog.lists_ahead() {
            return;
        }
        let is_doubted = self.state.lock().recent.is_doubted();
        let planned = {
            let mut walk = walk.lock();
            if walk.ended(Instant::now()).is_some() {
                return;
            }
            walk.plan(is_doubted)
        };
        for dir in planned {
            let (walks, walk) = (self.clone(), Arc::downgrade(walk));
            tokio::spawn(async move { walks.list(&dir, &walk).await });
        }
    }

    /// Lists one directory, unless its reader has gone elsewhere meanwhile.
    async fn list(self: &Arc<Self>, dir: &RemotePath, walk: &Weak<Mutex<Walk>>) {
        let Ok(_place) = self.places.acquire().await else { return };
        if walk.strong_count() == 0 {
            return;
        }
        let listed = self.catalog.list_ahead(dir).await;
        let Some(walk) = walk.upgrade() else { return };
        match listed {
            Some(Ok(_)) => {
                let mut walk = walk.lock();
                self.listed.fetch_add(1, Ordering::Relaxed);
                // A reader that came meanwhile has made use of it.
                let is_used = !walk.came(dir);
                self.used.fetch_add(is_used.into(), Ordering::Relaxed);
                walk.arrived(dir, None, &Known(&self.catalog));
            }
            Some(Err(error)) => {
                debug!("{dir}: not listed ahead: {error}");
                let mut walk = walk.lock();
                walk.forget(dir);
                if error.kind().is_outage() || error.kind().is_temporary() {
                    walk.rest();
                }
            }
            None => walk.lock().forget(dir),
        }
        self.go_on(&walk);
    }
}

/// The listings that are in memory.
struct Known<'a>(&'a Catalog);

impl Tree for Known<'_> {
    fn subdirectories(&self, dir: &RemotePath, after: Option<&RemotePath>, most: usize) -> Vec<RemotePath> {
        let Some(listing) = self.0.listing_in_memory(dir) else { return Vec::new() };
        let entries = listing.entries();
        let first = after.and_then(|after| entries.find(after.name())).map_or(0, |number| number + 1);
        entries.directories(first).take(most).collect()
    }
}
