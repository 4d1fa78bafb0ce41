//! `Pace`: what a request costs a source, measured in the bytes that would have arrived meanwhile. It decides nothing.

use std::time::Duration;

use parking_lot::Mutex;

/// How many of the latest waits are looked at. The shortest of them counts: one that fell into a reconnection, or behind others, says
/// nothing of the source.
const WAITS: usize = 4;

/// After so many bytes what was measured before counts half.
const MEMORY: u64 = 64 << 20;

/// Bytes a second, as long as nothing was measured: little, so that nothing is held for costly because of it.
const FIRST_GUESS: f64 = 16e6;

/// How long a source lets wait for the first bytes of an answer, and how fast the others come.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Measured>);

#[derive(Debug, Default)]
struct Measured {
    waits: [Option<Duration>; WAITS],
    latest: usize,
    bytes: u64,
    time: Duration,
}

impl Pace {
    /// The first bytes of an answer came after this time.
    pub(super) fn waited(&self, wait: Duration) {
        let mut measured = self.0.lock();
        let latest = measured.latest;
        measured.waits[latest] = Some(wait);
        measured.latest = (latest + 1) % WAITS;
    }

    /// So many bytes came within this time, and were taken at once.
    pub(super) fn delivered(&self, bytes: u64, time: Duration) {
        let mut measured = self.0.lock();
        if measured.bytes > MEMORY {
            measured.bytes /= 2;
            measured.time /= 2;
        }
        measured.bytes += bytes;
        measured.time += time;
    }

    /// How many bytes arrive, on one connection, in the time that a new request takes to begin.
    pub(super) fn cost(&self) -> u64 {
        let measured = self.0.lock();
        let wait = measured.waits.iter().flatten().min().copied().unwrap_or_default();
        measured.brings(wait)
    }

    /// How many bytes arrive, on one connection, in this time.
    pub(super) fn brings(&self, time: Duration) -> u64 {
        self.0.lock().brings(time)
    }
}

impl Measured {
    fn brings(&self, time: Duration) -> u64 {
        let rate = match self.time {
            Duration::ZERO => FIRST_GUESS,
            time => self.bytes as f64 / time.as_secs_f64(),
        };
        // A cast of a float never wraps.
        (time.as_secs_f64() * rate) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_costs_what_arrives_while_it_begins() {
        let pace = Pace::default();
        assert_eq!(pace.cost(), 0, "nothing is known to be costly");
        for wait in [5_000, 600, 700] {
            pace.waited(Duration::from_millis(wait));
        }
        pace.delivered(100_000_000, Duration::from_millis(200));
        assert_eq!(pace.cost(), 300_000_000);
        for _ in 0..WAITS {
            pace.waited(Duration::from_millis(1));
        }
        assert_eq!(pace.cost(), 500_000);
    }

    #[test]
    fn what_was_measured_long_ago_counts_ever_less() {
        let pace = Pace::default();
        pace.waited(Duration::from_secs(1));
        pace.delivered(1_000_000, Duration::from_secs(10));
        for _ in 0..100 {
            pace.delivered(10_000_000, Duration::from_secs(1));
        }
        assert!((9_900_000..=10_000_000).contains(&pace.cost()), "{}", pace.cost());
    }
}
