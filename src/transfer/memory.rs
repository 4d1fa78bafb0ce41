//! `Memory`: what requests under way may hold, one budget for all sources of a mount. It knows no requests.

use tokio::sync::{Semaphore, SemaphorePermit};

/// What all requests of a mount may hold in memory together, in bytes. Blocks without a place on disk (`cache`) come on top.
const IN_FLIGHT: u64 = 48 << 20;

/// The memory that requests under way hold: one budget for all sources of a mount.
#[derive(Debug)]
pub struct Memory(Semaphore);

impl Default for Memory {
    fn default() -> Self {
        Self(Semaphore::new(usize::try_from(IN_FLIGHT / 1024).expect("the budget fits in memory")))
    }
}

impl Memory {
    /// Waits until a request that holds `bytes` at most fits.
    pub(super) async fn reserve(&self, bytes: u64) -> SemaphorePermit<'_> {
        let units = u32::try_from(bytes.min(IN_FLIGHT).div_ceil(1024)).expect("the budget is counted in 32 bits");
        self.0.acquire_many(units).await.expect("the semaphore is never closed")
    }
}
