//! `Unconfirmed`: whether the bytes of a copy still have to be confirmed. It asks nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{Cache, CachedFile, Key, OpenCopy};

/// The number of the latest retrieval whose bytes could come unconfirmed, of all copies.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// Says of which retrieval the bytes of a copy are, until they are confirmed. Meanwhile they are read, the index does not hear of them, so that
/// they count for nothing after a kill, and the kernel reads none of them without us.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(AtomicU64);

impl Unconfirmed {
    /// Whether they have to be confirmed.
    pub(super) fn is_owed(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    /// They are gone.
    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl OpenCopy {
    /// The bytes that come from now on have to be confirmed. Returns the number of their retrieval.
    pub fn begin_unconfirmed(&self) -> u64 {
        let number = LATEST.fetch_add(1, Ordering::Relaxed) + 1;
        self.unconfirmed.0.store(number, Ordering::SeqCst);
        number
    }
}

impl CachedFile {
    /// Whether bytes of it still have to be confirmed, of whatever retrieval.
    pub(in crate::cache) fn awaits_confirmation(&self) -> bool {
        self.unconfirmed.is_owed()
    }

    /// Whether the bytes of this retrieval still have to be confirmed.
    pub fn is_unconfirmed(&self, retrieval: u64) -> bool {
        self.unconfirmed.0.load(Ordering::SeqCst) == retrieval
    }
}

impl Cache {
    /// The bytes of this retrieval are confirmed: the index hears of the copy, if it is there still.
    pub fn confirmed(self: &Arc<Self>, key: &Key, retrieval: u64) {
        let Some(open) = self.open_loaded(key) else { return };
        let is_same = open.unconfirmed.0.compare_exchange(retrieval, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        // If the disk hangs now, the last close tells the index.
        if is_same
            && open.lease.bytes() > 0
            && let Ok(mut state) = self.disk.lock(&open.state)
        {
            open.save_in(&self.index, &mut state);
        }
    }
}
