//! `Growth`: over how many connections bytes are retrieved, decided by whether they came faster over more of them. It connects nothing and
//! reads no clock.
//!
//! | case | what was measured | decision |
//! |---|---|---|
//! | G1 | fewer than two long retrievals, or fewer than connections | nothing: more would stay idle |
//! | G2 | a first rate, which is measured on while they are made | four connections: making one takes as long as making three |
//! | G3 | faster than over one connection, by a quarter | they stay |
//! | G4 | not so much faster | back to as many as before, and nothing is tried for a minute |
//! | G5 | the server refuses another connection | nothing more is tried |

use std::time::Duration;

use tokio::time::Instant;

/// How many connections there are at most.
pub(super) const MOST: usize = 4;

/// The least that a first measurement takes: so many bytes, and so long. Connections that are tried cost little, and take a while to be made.
const TRIED: (u64, Duration) = (2 << 20, Duration::from_millis(100));

/// The least of the one that judges whether more connections stay.
const JUDGED: (u64, Duration) = (4 << 20, Duration::from_millis(250));

/// How many times faster bytes must come for more connections to stay.
const GAIN: f64 = 1.25;

/// For how long nothing is tried after more connections were of no use.
const AGAIN: Duration = Duration::from_secs(60);

/// Measures how fast bytes come.
#[derive(Debug, Default)]
pub(super) struct Growth {
    measuring: Option<Measured>,
    /// Fewer connections than now, and what came over them.
    before: Option<(usize, Measured)>,
    not_before: Option<Instant>,
    is_refused: bool,
}

/// How many bytes have come in which time.
#[derive(Debug, Clone, Copy)]
struct Measured {
    since: Instant,
    until: Instant,
    bytes: u64,
}

impl Measured {
    fn came(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        self.until = now;
    }

    /// The time until now does not count.
    fn skip_to(&mut self, now: Instant) {
        self.since += now - self.until;
        self.until = now;
    }

    fn is_enough(self, (bytes, time): (u64, Duration)) -> bool {
        self.bytes >= bytes && self.until - self.since >= time
    }

    /// Bytes a second.
    fn rate(self) -> f64 {
        self.bytes as f64 / (self.until - self.since).as_secs_f64()
    }
}

impl Growth {
    /// Bytes came for one of so many long retrievals, over so many connections. Answers how many connections there should be.
    pub(super) fn came(&mut self, bytes: u64, now: Instant, retrievals: usize, connections: usize) -> usize {
        if retrievals < connections.max(2) {
            self.measuring = None;
            return connections;
        }
        let Some(measured) = &mut self.measuring else {
            self.measuring = Some(Measured { since: now, until: now, bytes: 0 });
            return connections;
        };
        measured.came(bytes, now);
        let measured = *measured;
        if !measured.is_enough(if self.before.is_some() { JUDGED } else { TRIED }) {
            return connections;
        }
        self.measuring = None;
        self.decide(measured, now, connections)
    }

    /// Bytes came while more connections are being made; `was_held` if their reader did not take them at once, which says nothing of the line.
    pub(super) fn came_meanwhile(&mut self, bytes: u64, now: Instant, was_held: bool) {
        let Some((_, before)) = &mut self.before else { return };
        if was_held {
            before.skip_to(now);
        } else {
            before.came(bytes, now);
        }
    }

    fn decide(&mut self, measured: Measured, now: Instant, connections: usize) -> usize {
        if let Some((fewer, before)) = self.before.take()
            && connections > fewer
            && measured.rate() < before.rate() * GAIN
        {
            self.not_before = Some(now + AGAIN);
            return fewer;
        }
        if connections >= MOST || self.is_refused || self.not_before.is_some_and(|time| now < time) {
            return connections;
        }
        self.before = Some((connections, measured));
        MOST
    }

    /// The reader was the limit just now, or the connections are others: what was measured says nothing.
    pub(super) fn measure_anew(&mut self) {
        self.measuring = None;
    }

    /// The server refused another connection.
    pub(super) fn refused(&mut self) {
        self.is_refused = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A source in a test: the time, and how many connections there are.
    struct Test(Growth, Instant, usize);

    impl Test {
        fn new() -> Self {
            Self(Growth::default(), Instant::now(), 1)
        }

        /// For a second, so many MiB come for so many retrievals. Answers how many connections there should be then.
        fn second(&mut self, mib: u64, retrievals: usize) -> usize {
            let Self(growth, now, connections) = self;
            for _ in 0..100 {
                *now += Duration::from_millis(10);
                let wanted = growth.came(mib * MIB / 100, *now, retrievals, *connections);
                if wanted != *connections {
                    *connections = wanted;
                    break;
                }
            }
            *connections
        }
    }

    #[test]
    fn case_g1_one_retrieval_needs_no_second_connection() {
        let mut test = Test::new();
        assert_eq!(test.second(100, 1), 1);
        assert_eq!(test.second(100, 2), 4);
        assert_eq!(test.second(100, 3), 4, "a connection is idle");
    }

    #[test]
    fn cases_g2_and_g3_four_connections_stay_where_they_bring_more() {
        for faster in [100, 50, 32] {
            let mut test = Test::new();
            assert_eq!([test.second(25, 5), test.second(faster, 5), test.second(faster, 5)], [4, 4, 4]);
        }
    }

    #[test]
    fn case_g3_what_was_gained_is_not_judged_again() {
        let mut test = Test::new();
        assert_eq!([test.second(25, 5), test.second(100, 5), test.second(10, 5)], [4, 4, 4]);
    }

    #[test]
    fn case_g4_where_the_line_is_the_limit_one_connection_is_enough() {
        let mut test = Test::new();
        assert_eq!([test.second(50, 5), test.second(55, 5)], [4, 1]);
        for _ in 0..59 {
            assert_eq!(test.second(50, 5), 1);
        }
        assert_eq!([test.second(50, 5), test.second(50, 5)], [1, 4], "after a minute it may be otherwise");
    }

    #[test]
    fn case_g5_a_server_that_refuses_is_left_alone() {
        let mut test = Test::new();
        assert_eq!(test.second(25, 5), 4);
        test.2 = 1;
        test.0.refused();
        for _ in 0..100 {
            assert_eq!(test.second(25, 5), 1);
        }
    }

    #[test]
    fn what_comes_while_connections_are_made_counts_as_before_them() {
        let mut test = Test::new();
        assert_eq!(test.second(50, 5), 4);
        for _ in 0..100 {
            // The line had only been slow to begin.
            test.1 += Duration::from_millis(10);
            test.0.came_meanwhile(MIB, test.1, false);
            test.1 += Duration::from_millis(50);
            test.0.came_meanwhile(MIB, test.1, true);
        }
        assert_eq!(test.second(100, 5), 1);
    }

    #[test]
    fn few_bytes_are_no_measurement() {
        let mut test = Test::new();
        assert_eq!([test.second(1, 5), test.second(1, 5)], [1, 1]);
    }
}
