//! `Room`: room on the cache's disk for files that are no copies, as their writers see it. It knows no cache.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// Gives room on a disk within limits.
pub trait Room: Send + Sync {
    /// Takes room for `bytes`. `None` if there is none to be had.
    fn lease(&self, bytes: u64) -> Option<Box<dyn Lease>>;
}

/// Room that is taken as long as this lives.
pub trait Lease: Send {
    /// Takes room for `bytes` more. `false` if there is none to be had.
    fn grow(&mut self, bytes: u64) -> bool;

    /// Gives back the room of `bytes` that were written and are not on the disk any more.
    fn shrink(&mut self, bytes: u64);

    /// Notes that `bytes` of it are on the disk by now.
    fn note_written(&mut self, bytes: u64);
}

/// Room for sources that are configured before there is a cache. Clones are one.
#[derive(Clone, Default)]
pub struct Rooms {
    most: Option<u64>,
    given: Arc<OnceLock<Box<dyn Room>>>,
}

impl Rooms {
    /// There will be a room of `most` bytes.
    pub fn within(most: u64) -> Self {
        Self { most: Some(most), given: Arc::default() }
    }

    /// The bytes that there may be at most, where that is known.
    pub fn most(&self) -> Option<u64> {
        self.most
    }

    /// From now on it is there. Only the first one counts.
    pub fn give(&self, room: impl Room + 'static) {
        let _ = self.given.set(Box::new(room));
    }

    /// The room; `None` where no cache accounts for any.
    pub fn get(&self) -> Option<&dyn Room> {
        self.given.get().map(|room| &**room)
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("most", &self.most).finish_non_exhaustive()
    }
}
