//! How far a command is, on standard error: a line that changes on a terminal, a line once in a while elsewhere. It knows no command.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use bytesize::ByteSize;

use crate::path::PrintableLines;

/// How often progress is told, on a terminal and elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// The work of a command, or a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Tells how far a command is.
pub struct Progress {
    is_terminal: bool,
    begun: Instant,
    next: Instant,
}

impl Progress {
    /// Begins now.
    pub fn begin() -> Self {
        let (is_terminal, begun) = (io::stderr().is_terminal(), Instant::now());
        let mut progress = Self { is_terminal, begun, next: begun };
        progress.wait();
        progress
    }

    fn wait(&mut self) {
        self.next = Instant::now() + if self.is_terminal { ON_TERMINAL } else { ELSEWHERE };
    }

    /// For how long nothing need be told.
    pub fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Tells a line if it is time for one; `line` gets to know for how long the work goes on.
    pub fn show(&mut self, line: impl FnOnce(Duration) -> String) {
        if self.left() > Duration::ZERO {
            return;
        }
        self.clear();
        eprint!("{}{}", line(self.begun.elapsed()), if self.is_terminal { "" } else { "\n" });
        self.wait();
    }

    /// Takes away the line that changes, so that others can be written.
    pub fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// How far work is after so long, of which so many bytes arrived in this time.
pub fn described(done: Amount, all: Amount, arrived: u64, after: Duration) -> String {
    let bytes = done.bytes.min(all.bytes);
    let percent = bytes.saturating_mul(100).checked_div(all.bytes).unwrap_or(100);
    let rate = u64::try_from(u128::from(arrived) * 1000 / after.as_millis().max(1)).unwrap_or(u64::MAX);
    let left = (all.bytes - bytes).checked_div(rate).map(Duration::from_secs);
    let left = left.map(|left| format!(", {} left", humantime::format_duration(left))).unwrap_or_default();
    let [bytes, size, rate] = [bytes, all.bytes, rate].map(ByteSize::b);
    format!("{percent:3} %  {} of {} files, {bytes} of {size}, {rate}/s{left}", done.files, all.files)
}

/// Tells something that is no progress.
pub fn tell(text: &str) {
    eprintln!("kitovufs: {}", PrintableLines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_how_much_is_left_and_for_how_long() {
        let all = Amount { files: 2, bytes: 4 << 20 };
        let told = described(Amount::default(), all, 0, Duration::ZERO);
        assert_eq!(told, "  0 %  0 of 2 files, 0 B of 4.0 MiB, 0 B/s");
        let told = described(Amount { files: 1, bytes: 2 << 20 }, all, 1 << 20, Duration::from_secs(2));
        assert_eq!(told, " 50 %  1 of 2 files, 2.0 MiB of 4.0 MiB, 512.0 KiB/s, 4s left");
        assert!(described(Amount::default(), Amount::default(), 0, Duration::ZERO).starts_with("100 %"));
    }
}
