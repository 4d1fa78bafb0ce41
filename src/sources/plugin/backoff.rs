//! `RestartBackoff`: how long a process that keeps dying waits before it is started again. It starts nothing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The first wait, and the longest: there is none before the second start, then they double.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A process that ran for so long was started successfully: the next start does not wait.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// The backoff of one plugin.
#[derive(Debug, Default)]
pub struct RestartBackoff(Mutex<(u32, Option<Instant>)>);

impl RestartBackoff {
    /// Returns when there may be another start, which there is then.
    pub async fn wait(&self) {
        tokio::time::sleep(self.next()).await;
        self.0.lock().1 = Some(Instant::now());
    }

    fn next(&self) -> Duration {
        let mut starts = self.0.lock();
        let (count, last) = &mut *starts;
        if last.is_none_or(|last| last.elapsed() > HEALTHY_AFTER) {
            *count = 0;
        }
        *count += 1;
        match count.checked_sub(3) {
            None => Duration::ZERO,
            Some(doubled) => (BACKOFF.0 * 2_u32.saturating_pow(doubled.min(16))).min(BACKOFF.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_keeps_dying_is_started_less_and_less_often() {
        let backoff = RestartBackoff::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            backoff.wait().await;
            waits.push(began.elapsed().as_millis());
        }
        assert_eq!(waits, [0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
        tokio::time::advance(HEALTHY_AFTER * 2).await;
        assert_eq!(backoff.next(), Duration::ZERO);
    }
}
