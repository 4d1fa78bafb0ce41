//! Durations as messages tell them. It measures none.

use std::fmt;
use std::time::Duration;

/// Shows a duration in milliseconds, or from 10 s on in seconds: nobody reads finer ones, and measured ones have nanoseconds.
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_nanos().div_ceil(1_000_000);
        let finest = if self.0 < Duration::from_secs(10) { 1 } else { 1000 };
        let rounded = u64::try_from(milliseconds / finest * finest).map_or(Duration::MAX, Duration::from_millis);
        humantime::format_duration(rounded).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_no_finer_than_anybody_reads() {
        for (duration, shown) in [
            (Duration::new(0, 31_586_316), "32ms"),
            (Duration::from_nanos(1), "1ms"),
            (Duration::ZERO, "0s"),
            (Duration::from_millis(1500), "1s 500ms"),
            (Duration::from_millis(999_999), "16m 39s"),
            (Duration::from_secs(30), "30s"),
        ] {
            assert_eq!(Shown(duration).to_string(), shown);
        }
    }
}
