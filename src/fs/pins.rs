//! Pinned places: their files are kept in the cache, and retrieved again when their source has changed. It shows nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::{Errand, FileSystem, Node, Tally};
use crate::cache::{Pin, PinId};
use crate::error::{Error, ErrorKind, Result};
use crate::path::Printable;

/// A pinned place is looked at again after so many times `fresh_for`, within bounds: listings that somebody needs are asked for more often.
const AGAIN: u32 = 10;
const AGAIN_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// The pauses are at least so many times as long as the looking took.
const REST: u32 = 20;

/// How long the keeper waits where there is no pin: until it is woken.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// The state of pinned places.
#[derive(Default)]
pub(super) struct Keeper {
    woken: Arc<Notify>,
    looked: Mutex<HashMap<PinId, Looked>>,
}

/// How a pinned place was when it was last looked at.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What was found and done.
    pub tally: Tally,
    /// When.
    pub at: SystemTime,
}

impl Keeper {
    /// Has pinned places looked at soon.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }
}

/// Keeps what is pinned, until the file system is gone.
pub async fn keep_pins(fs: Weak<FileSystem>) {
    loop {
        let Some(fs) = fs.upgrade() else { return };
        let begun = Instant::now();
        let pause = fs.keep_all().await.max(begun.elapsed() * REST);
        let woken = fs.keeper.woken.clone();
        drop(fs);
        let _ = timeout(pause, woken.notified()).await;
        // Changes come in crowds.
        tokio::time::sleep(AGAIN_BOUNDS.0).await;
    }
}

impl FileSystem {
    /// Pins a place: its files are kept from now on, as soon as [`FileSystem::keep`] or the keeper has retrieved them.
    ///
    /// # Errors
    /// It is not there, or can never be in the cache.
    pub async fn pin(&self, path: &[u8]) -> Result<Pin> {
        let node = self.node_at(path).await?;
        let refused = |why| Err(Error::new("pin", ErrorKind::Unsupported).on(Printable(path)).because(why));
        match node {
            Node::Live { .. } => refused("it is live, and never in the cache"),
            Node::Symlink { .. } => refused("it is a link: pin what it leads to"),
            _ => Ok(self.cache.pin(self.source_id_of(&node), path)),
        }
    }

    /// Unpins a place and everything below it. Returns the paths that were pinned.
    ///
    /// # Errors
    /// Nothing there is pinned, or only as a part of something larger.
    pub fn unpin(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let pins = self.cache.pins();
        let (below, others): (Vec<_>, Vec<_>) = pins.into_iter().partition(|pin| is_within(&pin.path, path));
        if below.is_empty() {
            let failed = Error::new("unpin", ErrorKind::NotFound).on(Printable(path));
            return Err(match others.iter().find(|pin| is_within(path, &pin.path)) {
                Some(pin) => failed.because(format!("it is pinned as a part of {}: unpin that", shown(&pin.path))),
                None => failed.because("it is not pinned"),
            });
        }
        below.iter().for_each(|pin| self.cache.unpin(pin.id));
        // What is pinned by another as well is kept for that.
        self.keeper.wake();
        Ok(below.into_iter().map(|pin| pin.path).collect())
    }

    /// The pinned places of this mount, and how each was when it was last looked at.
    pub fn pinned(&self) -> Vec<(Pin, Option<Looked>)> {
        let looked = self.keeper.looked.lock();
        let with_look = |pin: Pin| {
            let looked = looked.get(&pin.id).cloned();
            (pin, looked)
        };
        self.cache.pins().into_iter().map(with_look).collect()
    }

    /// Retrieves what is missing of a pinned place, and keeps it; what is no longer there is no longer kept.
    pub async fn keep(&self, pin: &Pin, tally: &Mutex<Tally>) {
        let kept = match self.node_at(&pin.path).await {
            // Another configuration uses this cache, and has something else there.
            Ok(node) if self.source_id_of(&node) != pin.source_id => return,
            Ok(node) => self.carry_out(Errand::Keep(pin.id), node, tally).await,
            Err(error) => {
                tally.lock().fail(error);
                HashSet::new()
            }
        };
        let tally = tally.lock().clone();
        // What found no room is not kept either: none of it would do.
        if tally.failed == tally.unfit {
            self.cache.keep_only(&kept, pin.id);
        }
        if tally.retrieved_bytes > 0 {
            info!("pinned {}: {} bytes were retrieved", shown(&pin.path), tally.retrieved_bytes);
        }
        self.keeper.looked.lock().insert(pin.id, Looked { tally, at: SystemTime::now() });
    }

    /// Has pinned places looked at soon.
    pub fn wake_keeper(&self) {
        self.keeper.wake();
    }

    /// Looks at every pinned place. Returns after how long to do so again.
    async fn keep_all(&self) -> Duration {
        let pins = self.cache.pins();
        for pin in &pins {
            let tally = Mutex::new(Tally::default());
            self.keep(pin, &tally).await;
            let Tally { failed, failures, .. } = &*tally.lock();
            if *failed > 0 {
                debug!("pinned {}: {}", shown(&pin.path), failures.join("; "));
            }
        }
        let sources = self.sources.iter().filter(|source| pins.iter().any(|pin| pin.source_id == *source.source_id));
        let fresh_for = sources.map(|source| source.catalog.fresh_for()).min();
        match (fresh_for, pins.is_empty()) {
            (_, true) => IDLE,
            (Some(fresh_for), _) => fresh_for.saturating_mul(AGAIN).clamp(AGAIN_BOUNDS.0, AGAIN_BOUNDS.1),
            // Folders that the configuration makes.
            (None, _) => AGAIN_BOUNDS.1,
        }
    }

    /// The identity of the source that a node is of; empty for a folder that the configuration makes.
    fn source_id_of(&self, node: &Node) -> &str {
        node.place().map_or("", |(source, _)| &self.sources[source].source_id)
    }
}

/// A pinned path as people read it.
fn shown(path: &[u8]) -> String {
    if path.is_empty() { "everything".into() } else { Printable(path).to_string() }
}

/// Whether a path is this one, or below it.
fn is_within(path: &[u8], above: &[u8]) -> bool {
    let rest = path.strip_prefix(above);
    above.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
