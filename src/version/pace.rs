//! `Pace`: what a request costs a source, measured in the bytes that would have arrived meanwhile. It decides nothing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many of the latest waits are looked at. The shortest of them counts: one that fell into a reconnection, or behind others, says
/// nothing of the source.
const WAITS: usize = 4;

/// After so many bytes what was measured before counts half.
const MEMORY: u64 = 64 << 20;

/// What a request has delivered is noted each time that this many bytes have come.
const SAMPLE: u64 = 4 << 20;

/// Less than a sample that is handed on within this time of the first bytes came with them, as all of a small file does, and says nothing of
/// the line.
const AT_ONCE: Duration = Duration::from_millis(1);

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
    fn waited(&self, wait: Duration) {
        let mut measured = self.0.lock();
        let latest = measured.latest;
        measured.waits[latest] = Some(wait);
        measured.latest = (latest + 1) % WAITS;
    }

    /// So many bytes came within this time, and were taken at once.
    fn delivered(&self, bytes: u64, time: Duration) {
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

/// Times one request: the wait for its first bytes, and the others as they come.
#[derive(Debug)]
pub(super) struct Stopwatch<'a> {
    pace: &'a Pace,
    /// When the source was asked, or the latest of what it sends was noted.
    since: Instant,
    /// Bytes that came since; `None` until the first.
    came: Option<u64>,
    /// For how long since then nobody wanted more.
    paused: Duration,
    /// Since when nobody does.
    pausing: Option<Instant>,
}

impl<'a> Stopwatch<'a> {
    /// The source is asked now.
    pub(super) fn start(pace: &'a Pace) -> Self {
        Self { pace, since: Instant::now(), came: None, paused: Duration::ZERO, pausing: None }
    }

    /// Bytes came, of a request whose turn began at `turn_began`, if it had to wait for that.
    pub(super) fn arrived(&mut self, bytes: u64, turn_began: Option<Instant>) {
        match &mut self.came {
            Some(came) => *came += bytes,
            None => {
                let asked = turn_began.map_or(self.since, |turn| turn.max(self.since));
                self.pace.waited(asked.elapsed());
                (self.since, self.came) = (Instant::now(), Some(0));
            }
        }
        if self.came > Some(SAMPLE) {
            self.note();
        }
    }

    /// Nobody wants more for now.
    pub(super) fn pause(&mut self) {
        self.pausing = Some(Instant::now());
    }

    /// More is wanted.
    pub(super) fn resume(&mut self) {
        self.paused += self.pausing.take().map(|since| since.elapsed()).unwrap_or_default();
    }

    fn note(&mut self) {
        self.resume();
        if let Some(came) = self.came.filter(|came| *came > 0) {
            let time = self.since.elapsed().saturating_sub(self.paused);
            if came > SAMPLE || time >= AT_ONCE {
                self.pace.delivered(came, time);
            }
            (self.since, self.came, self.paused) = (Instant::now(), Some(0), Duration::ZERO);
        }
    }

    /// The request has ended.
    pub(super) fn stop(mut self) {
        self.note();
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
    #[tokio::test(start_paused = true)]
    async fn a_stopwatch_counts_no_time_in_which_nobody_wants_more() {
        let pace = Pace::default();
        let mut stopwatch = Stopwatch::start(&pace);
        tokio::time::advance(Duration::from_secs(2)).await;
        stopwatch.arrived(1_000_000, None);
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(1)).await;
            stopwatch.arrived(1_000_000, None);
            stopwatch.pause();
            tokio::time::advance(Duration::from_secs(60)).await;
            stopwatch.resume();
        }
        stopwatch.stop();
        assert_eq!(pace.cost(), 2_000_000, "a megabyte a second for the two seconds before the first bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn small_files_that_come_at_once_say_nothing_of_the_line() {
        let pace = Pace::default();
        for _ in 0..10_000 {
            let mut stopwatch = Stopwatch::start(&pace);
            stopwatch.arrived(0, None);
            tokio::time::advance(Duration::from_micros(5)).await;
            stopwatch.arrived(4096, None);
            stopwatch.stop();
        }
        assert_eq!(pace.brings(Duration::from_secs(1)), FIRST_GUESS as u64);
        let mut stopwatch = Stopwatch::start(&pace);
        stopwatch.arrived(0, None);
        tokio::time::advance(Duration::from_secs(1)).await;
        stopwatch.arrived(100_000, None);
        stopwatch.stop();
        assert_eq!(pace.brings(Duration::from_secs(1)), 100_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopwatch_counts_no_wait_for_the_turn() {
        let pace = Pace::default();
        let mut stopwatch = Stopwatch::start(&pace);
        tokio::time::advance(Duration::from_secs(60)).await;
        let turn = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        stopwatch.arrived(1, Some(turn));
        assert_eq!(pace.cost(), FIRST_GUESS as u64);
    }
}
