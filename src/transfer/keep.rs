//! Keeping what arrived: on the disk, by threads that may wait for it, or in memory while the disk hangs. It asks for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::time::timeout;

use super::OpenVersion;
use crate::cache::{DISK_PATIENCE, Stored};

impl OpenVersion {
    /// Stores one block. A disk that does not answer in time is left alone for a while.
    pub(super) async fn keep(self: &Arc<Self>, block: usize, bytes: Bytes) -> Stored {
        let cache = &self.transfer.cache;
        let Some(asked) = cache.ask_disk() else { return self.copy.spill(cache, block, &bytes) };
        let given_up = Arc::new(AtomicBool::new(false));
        let (version, block_bytes, is_given_up) = (self.clone(), bytes.clone(), given_up.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let stored = version.copy.write(&version.transfer.cache, block, &block_bytes, &is_given_up);
            drop(asked);
            stored
        });
        let answered = timeout(DISK_PATIENCE, writing).await;
        if answered.is_err() {
            given_up.store(true, Ordering::SeqCst);
            cache.disk_hangs();
        }
        answered.ok().and_then(Result::ok).flatten().unwrap_or_else(|| self.copy.spill(cache, block, &bytes))
    }
}
