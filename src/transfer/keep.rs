//! Asking the disk, on threads that may wait for it, and keeping what arrived in memory while it hangs. It asks no source.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::time::timeout;

use super::OpenVersion;
use crate::cache::{Cache, Copy, DISK_PATIENCE, Stored};

impl OpenVersion {
    /// Asks the disk something on a thread that may wait for it. `None` if it does not answer in time, and while it is left alone for that.
    pub(super) async fn ask_disk<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Copy, &Cache) -> T + Send + 'static,
    ) -> Option<T> {
        let cache = &self.transfer.cache;
        let asked = cache.ask_disk()?;
        let version = self.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let answer = ask(&version.copy, &version.transfer.cache);
            drop(asked);
            answer
        });
        let answered = timeout(DISK_PATIENCE, asking).await;
        if answered.is_err() {
            cache.disk_hangs();
        }
        answered.ok().and_then(Result::ok)
    }

    /// Stores one block. A disk that does not answer in time is left alone for a while.
    pub(super) async fn keep(self: &Arc<Self>, block: usize, bytes: Bytes) -> Stored {
        let given_up = Arc::new(AtomicBool::new(false));
        let (writing, is_given_up) = (bytes.clone(), given_up.clone());
        let stored = self.ask_disk(move |copy, cache| copy.write(cache, block, &writing, &is_given_up)).await;
        if stored.is_none() {
            given_up.store(true, Ordering::SeqCst);
        }
        stored.flatten().unwrap_or_else(|| self.copy.spill(&self.transfer.cache, block, &bytes))
    }

    /// Reads from the copy, as [`Copy::read`] does; from memory only while the disk hangs.
    pub(super) async fn read_copy(self: &Arc<Self>, bytes: Range<u64>) -> Option<Bytes> {
        let wanted = bytes.clone();
        match self.ask_disk(move |copy, cache| copy.read(cache, wanted)).await {
            Some(read) => read,
            // The disk is not asked for it.
            None => self.copy.read(&self.transfer.cache, bytes),
        }
    }
}
