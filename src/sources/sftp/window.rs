//! `Window`: how many bytes a connection has asked for and not got, so that it is never idle, and the line to it never flooded. It asks for
//! nothing.

use std::time::Duration;

/// Bytes at first.
const FIRST: usize = 4 << 20;

/// Bytes at least.
const LEAST: usize = 1 << 20;

/// Bytes at most: a little more than what 1 Gbit/s brings within 100 ms.
const MOST: usize = 13 << 20;

/// How long an answer may take, besides two round trips, on a line that is not flooded.
const QUEUE: Duration = Duration::from_millis(200);

/// Grows with answers that come soon, and shrinks with those that had to queue.
#[derive(Debug)]
pub(super) struct Window {
    bytes: usize,
    /// The shortest time that an answer took: about a round trip.
    fastest: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self { bytes: FIRST, fastest: Duration::MAX }
    }
}

impl Window {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A question was answered with so many bytes of a file, after this time.
    pub(super) fn answered(&mut self, bytes: usize, took: Duration) {
        self.fastest = self.fastest.min(took);
        let soon = (self.fastest * 2).saturating_add(QUEUE);
        if took < soon {
            self.bytes = (self.bytes + bytes).min(MOST);
        } else if took > soon * 2 {
            self.bytes = self.bytes.saturating_sub(bytes).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: usize = 255 << 10;

    /// A window after some seconds on a line with this round trip, which brings so many bytes a second.
    fn after(round_trip: u64, rate: usize) -> usize {
        let mut window = Window::default();
        let round_trip = Duration::from_millis(round_trip);
        window.answered(0, round_trip);
        for _ in 0..200 {
            let transfer = Duration::from_secs_f64(window.bytes() as f64 / rate as f64);
            window.answered(READ, round_trip.max(transfer));
        }
        window.bytes()
    }

    #[test]
    fn a_fast_line_with_a_long_round_trip_is_filled() {
        assert!(after(100, 125_000_000) >= 12_500_000);
        assert!(after(600, 10_000_000) >= 6_000_000, "by satellite");
    }

    #[test]
    fn a_slow_line_is_not_flooded() {
        assert_eq!(after(40, 500_000), LEAST);
        let window = after(40, 5_000_000);
        assert!((200_000..=3_000_000).contains(&window), "{window} bytes take about half a second");
    }
}
