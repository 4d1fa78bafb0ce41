//! `Memory`: what requests under way may hold, one budget for all sources of a mount. It knows no requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The bytes that all requests of a mount may hold in memory together. Blocks without a place on disk (`cache`) come on top.
const IN_FLIGHT: u64 = 48 << 20;

/// The memory that requests under way hold: one budget for all sources of a mount.
#[derive(Debug)]
pub struct Memory {
    free: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Memory {
    fn default() -> Self {
        let units = usize::try_from(IN_FLIGHT / 1024).expect("the budget fits in memory");
        Self { free: Semaphore::new(units), waiting: AtomicUsize::new(0) }
    }
}

impl Memory {
    /// Waits until a request that holds `bytes` at most fits.
    pub(super) async fn reserve(&self, bytes: u64) -> SemaphorePermit<'_> {
        let units = u32::try_from(bytes.min(IN_FLIGHT).div_ceil(1024)).expect("the budget is counted in 32 bits");
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let held = self.free.acquire_many(units).await.expect("the semaphore is never closed");
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        held
    }

    /// Whether requests wait for what others hold: who can end early should.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}
