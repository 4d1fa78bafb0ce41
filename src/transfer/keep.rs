//! Asking the disk about a version's copy, and keeping what arrived in memory while it hangs. It asks no source.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::OpenVersion;
use crate::cache::{OpenCopy, Stored};
use crate::disk::Asked;

impl OpenVersion {
    /// Asks the disk something (see [`Disk::ask`](crate::disk::Disk::ask)). `None` while it hangs.
    pub(super) async fn ask_disk<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&OpenCopy) -> T + Send + 'static,
    ) -> Option<T> {
        self.ask_disk_much(|copy, _| ask(copy)).await
    }

    /// The same for what takes long, and tells of its steps.
    pub(super) async fn ask_disk_much<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&OpenCopy, &Asked) -> T + Send + 'static,
    ) -> Option<T> {
        let version = self.clone();
        let asking = move |asked: &Asked| ask(&version.copy, asked);
        self.transfer.cache.disk().ask(asking).await.ok()
    }

    /// Has the disk do something before it is asked anything else (see [`Disk::tell`](crate::disk::Disk::tell)).
    pub(super) async fn tell_disk(self: &Arc<Self>, order: impl FnOnce(&OpenCopy) + Send + 'static) {
        let version = self.clone();
        self.transfer.cache.disk().tell(move || order(&version.copy)).await;
    }

    /// Stores one block. A disk that does not answer in time is left alone for a while.
    pub(super) async fn keep(self: &Arc<Self>, block: usize, bytes: Bytes) -> Stored {
        let given_up = Arc::new(AtomicBool::new(false));
        let (writing, is_given_up) = (bytes.clone(), given_up.clone());
        let stored = self.ask_disk(move |copy| copy.write(block, &writing, &is_given_up)).await;
        if stored.is_none() {
            given_up.store(true, Ordering::SeqCst);
        }
        stored.flatten().unwrap_or_else(|| self.copy.spill(block, &bytes))
    }

    /// Reads from the copy, as [`OpenCopy::read`] does; from memory only while the disk hangs.
    pub(super) async fn read_copy(self: &Arc<Self>, bytes: Range<u64>) -> Option<Bytes> {
        let wanted = bytes.clone();
        match self.ask_disk(move |copy| copy.read(wanted)).await {
            Some(read) => read,
            None => self.copy.read_memory(&bytes),
        }
    }
}
