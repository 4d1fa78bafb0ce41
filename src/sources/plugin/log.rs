//! `PluginLog`: the stderr log of a plugin, and what it logs by itself: rate-limited, and without secrets that it was given.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, error, info, trace, warn};

use crate::path::Printable;
use crate::revealed::Revealed;

/// As many lines are logged within the window; the others are counted.
const MAX_LINES: u32 = 100;
const LINES_WINDOW: Duration = Duration::from_secs(10);

/// Longer lines are cut.
const MAX_LINE_BYTES: usize = 1000;

/// Shorter secrets are not redacted: ordinary text contains them.
const MIN_SECRET_BYTES: usize = 4;

/// The log of one plugin.
#[derive(Debug)]
pub struct PluginLog {
    source: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    secrets: Vec<Revealed>,
    since: Instant,
    lines: u32,
}

impl PluginLog {
    /// The log of the plugin that serves this source.
    pub fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            state: Mutex::new(State { secrets: Vec::new(), since: Instant::now(), lines: 0 }),
        }
    }

    /// Redacts these from now on.
    pub fn add_secrets(&self, secrets: Vec<Revealed>) {
        let mut state = self.state.lock();
        state.secrets.extend(secrets.into_iter().filter(|secret| secret.expose().len() >= MIN_SECRET_BYTES));
        state.secrets.dedup();
    }

    /// Text of a plugin as one line of a message: cut, and without secrets.
    pub fn redact(&self, text: &str) -> String {
        self.redact_line(text.trim())
    }

    /// The same with the blanks at both ends.
    pub fn redact_line(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.state.lock().secrets {
            text = text.replace(secret.expose(), "[secret]");
        }
        let end = text.floor_char_boundary(MAX_LINE_BYTES);
        Printable(&text.as_bytes()[..end]).to_string()
    }

    /// Logs a line of standard error.
    pub fn write_stderr(&self, line: &[u8]) {
        self.write("warn", &String::from_utf8_lossy(line));
    }

    /// Logs a line at the level that the plugin names.
    pub fn write(&self, level: &str, text: &str) {
        let text = self.redact(text);
        if text.is_empty() || !self.is_below_limit() {
            return;
        }
        let source = &self.source;
        match level {
            "error" => error!("plugin {source}: {text}"),
            "info" => info!("plugin {source}: {text}"),
            "debug" => debug!("plugin {source}: {text}"),
            "trace" => trace!("plugin {source}: {text}"),
            _ => warn!("plugin {source}: {text}"),
        }
    }

    fn is_below_limit(&self) -> bool {
        let mut state = self.state.lock();
        if state.since.elapsed() >= LINES_WINDOW {
            let left_out = state.lines.saturating_sub(MAX_LINES);
            if left_out > 0 {
                warn!("plugin {}: {left_out} more lines were left out", self.source);
            }
            (state.since, state.lines) = (Instant::now(), 0);
        }
        state.lines = state.lines.saturating_add(1);
        state.lines <= MAX_LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_flows_again_later() {
        let log = PluginLog::new("s");
        assert_eq!((0..1000).filter(|_| log.is_below_limit()).count(), MAX_LINES as usize);
        tokio::time::advance(LINES_WINDOW).await;
        assert!(log.is_below_limit());
    }

    #[test]
    fn what_was_told_in_confidence_is_never_repeated() {
        let log = PluginLog::new("s");
        log.add_secrets(vec![Revealed::new("hunter2"), Revealed::new("x")]);
        assert_eq!(log.redact(" login xx:hunter2@host\nfailed\n"), "login xx:[secret]@host␊failed");
        assert_eq!(log.redact(&"ü".repeat(5000)).len(), MAX_LINE_BYTES);
    }
}
