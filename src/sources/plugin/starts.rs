//! `Starts`: when a process may be started again, so that one that keeps dying does not keep the computer busy.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Waits before a further start: none before the second, then doubling from one to the other.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A process that lived so long has not died of being started.
const LONG: Duration = Duration::from_secs(30);

/// The starts of one plugin.
#[derive(Debug, Default)]
pub struct Starts(Mutex<(u32, Option<Instant>)>);

impl Starts {
    /// Returns when there may be another start, which there is then.
    pub async fn wait(&self) {
        tokio::time::sleep(self.next()).await;
        self.0.lock().1 = Some(Instant::now());
    }

    fn next(&self) -> Duration {
        let mut starts = self.0.lock();
        let (count, last) = &mut *starts;
        if last.is_none_or(|last| last.elapsed() > LONG) {
            *count = 0;
        }
        *count += 1;
        match count.checked_sub(3) {
            None => Duration::ZERO,
            Some(doubled) => (WAITS.0 * 2_u32.saturating_pow(doubled.min(16))).min(WAITS.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_keeps_dying_is_started_less_and_less_often() {
        let starts = Starts::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            starts.wait().await;
            waits.push(began.elapsed().as_millis());
        }
        assert_eq!(waits, [0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
        tokio::time::advance(LONG * 2).await;
        assert_eq!(starts.next(), Duration::ZERO);
    }
}
