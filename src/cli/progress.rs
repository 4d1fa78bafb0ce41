//! How far a command is, on standard error: a bar and a line that change on a terminal, a line once in a while elsewhere. It knows no command.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use bytesize::ByteSize;

use super::output::{err, errln};
use crate::path::PrintableLines;

/// How often progress is told, on a terminal and elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// How many columns the bar has between its ends.
const BAR: usize = 20;

/// The columns of a terminal that does not tell how many it has.
const COLUMNS: u16 = 80;

/// The work of a command, or a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One line about a command's progress.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// How much of the work is done, if it is known how much there is.
    percent: Option<u64>,
    text: String,
}

impl Line {
    /// A line about work of which nobody knows how much there is.
    pub fn endless(text: String) -> Self {
        Self { percent: None, text }
    }

    /// A line about so many parts of that many.
    #[cfg(feature = "shared")]
    pub fn part(done: u64, all: u64, text: String) -> Self {
        Self { percent: Some(done.saturating_mul(100).checked_div(all).unwrap_or(100)), text }
    }

    /// The line on a terminal of so many columns: one that is longer would leave its beginning there.
    fn on_terminal(&self, columns: u16) -> String {
        let bar = self.percent.map(|percent| {
            let full = usize::try_from(percent.min(100)).map_or(BAR, |percent| percent * BAR / 100);
            format!("[{:<BAR$}] ", "=".repeat(full))
        });
        let line = bar.into_iter().chain([self.text.clone()]).collect::<String>();
        line.chars().take(usize::from(columns).saturating_sub(1)).collect()
    }
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
    pub fn show(&mut self, line: impl FnOnce(Duration) -> Line) {
        if self.left() > Duration::ZERO {
            return;
        }
        self.clear();
        let line = line(self.begun.elapsed());
        if self.is_terminal {
            let columns = ratatui::crossterm::terminal::size().map_or(COLUMNS, |(columns, _)| columns);
            err!("{}", line.on_terminal(columns));
        } else {
            errln!("{}", line.text);
        }
        self.wait();
    }

    /// Waits for the end of work, and meanwhile tells how far it is.
    #[cfg(feature = "shared")]
    pub async fn of<T>(work: impl Future<Output = T>, mut line: impl FnMut() -> Line) -> T {
        let (mut progress, mut work) = (Self::begin(), std::pin::pin!(work));
        loop {
            match tokio::time::timeout(progress.left(), &mut work).await {
                Ok(done) => {
                    progress.clear();
                    return done;
                }
                Err(_) => progress.show(|_| line()),
            }
        }
    }

    /// Takes away the line that changes, so that others can be written.
    pub fn clear(&self) {
        if self.is_terminal {
            err!("\r\x1b[K");
        }
    }
}

/// How far work is after so long, of which so many bytes arrived in this time.
pub fn described(done: Amount, all: Amount, arrived: u64, after: Duration) -> Line {
    let bytes = done.bytes.min(all.bytes);
    let percent = bytes.saturating_mul(100).checked_div(all.bytes).unwrap_or(100);
    let rate = u64::try_from(u128::from(arrived) * 1000 / after.as_millis().max(1)).unwrap_or(u64::MAX);
    let left = (all.bytes - bytes).checked_div(rate).map(Duration::from_secs);
    let left = left.map(|left| format!(", {} left", humantime::format_duration(left))).unwrap_or_default();
    let [bytes, size, rate] = [bytes, all.bytes, rate].map(ByteSize::b);
    let text = format!("{percent:3} %  {} of {} files, {bytes} of {size}, {rate}/s{left}", done.files, all.files);
    Line { percent: Some(percent), text }
}

/// Tells something that is no progress.
pub fn tell(text: &str) {
    errln!("kitovufs: {}", PrintableLines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_how_much_is_left_and_for_how_long() {
        let all = Amount { files: 2, bytes: 4 << 20 };
        let told = described(Amount::default(), all, 0, Duration::ZERO).text;
        assert_eq!(told, "  0 %  0 of 2 files, 0 B of 4.0 MiB, 0 B/s");
        let told = described(Amount { files: 1, bytes: 2 << 20 }, all, 1 << 20, Duration::from_secs(2));
        assert_eq!(told.text, " 50 %  1 of 2 files, 2.0 MiB of 4.0 MiB, 512.0 KiB/s, 4s left");
        assert!(described(Amount::default(), Amount::default(), 0, Duration::ZERO).text.starts_with("100 %"));
    }

    #[test]
    fn a_terminal_shows_a_bar_and_no_more_than_it_has_room_for() {
        let line = |percent| Line { percent, text: "so far".into() };
        assert_eq!(line(Some(0)).on_terminal(80), "[                    ] so far");
        assert_eq!(line(Some(52)).on_terminal(80), "[==========          ] so far");
        assert_eq!(line(Some(100)).on_terminal(27), "[====================] so ");
        assert_eq!(Line::part(13, 25, "so far".into()), line(Some(52)));
        assert_eq!(Line::part(0, 0, "so far".into()), line(Some(100)));
        assert_eq!((line(None).on_terminal(80), line(None).on_terminal(0)), ("so far".into(), String::new()));
    }
}
