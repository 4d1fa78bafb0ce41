//! `Rate`: so many bytes a second. It knows not whose.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, InsufficientCapacity, Quota, RateLimiter};

/// Bytes are counted in units of this many, so that the fastest rate fits into 32 bits.
const UNIT: u32 = 1024;

/// A rate that bytes are held to.
pub struct Rate(DefaultDirectRateLimiter);

impl Rate {
    /// So many bytes a second.
    pub fn per_second(bytes: u64) -> Self {
        let units = u32::try_from(bytes / u64::from(UNIT)).unwrap_or(u32::MAX);
        Self(RateLimiter::direct(Quota::per_second(NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN))))
    }

    /// Waits until so many bytes may pass.
    pub async fn pass(&self, bytes: usize) {
        let mut units = u32::try_from(bytes).unwrap_or(u32::MAX).div_ceil(UNIT);
        while let Some(some) = NonZeroU32::new(units) {
            // More than a second's worth at once never fits the limiter.
            match self.0.until_n_ready(some).await {
                Ok(()) => break,
                Err(InsufficientCapacity(most)) => {
                    let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
                    let _ = self.0.until_n_ready(most).await;
                    units -= most.get();
                }
            }
        }
    }
}
