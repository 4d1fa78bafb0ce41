//! `Voice`: what a plugin says to people, on its way to the log: no more than anybody can read, and without what it was told in confidence.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, error, info, trace, warn};

use crate::path::Printable;
use crate::revealed::Revealed;

/// So many lines in so long a time.
const LINES: u32 = 100;
const TIME: Duration = Duration::from_secs(10);

/// Bytes of a line that are shown.
const LONGEST: usize = 1000;

/// Shorter secrets than this would blot out ordinary words.
const SHORTEST_SECRET: usize = 4;

/// The log of one plugin.
#[derive(Debug)]
pub struct Voice {
    source: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    secrets: Vec<Revealed>,
    since: Instant,
    said: u32,
}

impl Voice {
    /// The log of the plugin that serves this source.
    pub fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            state: Mutex::new(State { secrets: Vec::new(), since: Instant::now(), said: 0 }),
        }
    }

    /// From now on these are never shown.
    pub fn conceal(&self, secrets: Vec<Revealed>) {
        let mut state = self.state.lock();
        state.secrets.extend(secrets.into_iter().filter(|secret| secret.expose().len() >= SHORTEST_SECRET));
        state.secrets.dedup();
    }

    /// A plugin's words, fit for a message: one line, not too long, without secrets.
    pub fn fit(&self, words: &str) -> String {
        let mut words = words.trim().to_owned();
        for secret in &self.state.lock().secrets {
            words = words.replace(secret.expose(), "[secret]");
        }
        let end = words.floor_char_boundary(LONGEST);
        Printable(&words.as_bytes()[..end]).to_string()
    }

    /// A line of the plugin's standard error.
    pub fn heard(&self, line: &[u8]) {
        self.say("warn", &String::from_utf8_lossy(line));
    }

    /// Something that the plugin wants logged at this level.
    pub fn say(&self, level: &str, words: &str) {
        let words = self.fit(words);
        if words.is_empty() || !self.may_speak() {
            return;
        }
        let source = &self.source;
        match level {
            "error" => error!("plugin {source}: {words}"),
            "info" => info!("plugin {source}: {words}"),
            "debug" => debug!("plugin {source}: {words}"),
            "trace" => trace!("plugin {source}: {words}"),
            _ => warn!("plugin {source}: {words}"),
        }
    }

    fn may_speak(&self) -> bool {
        let mut state = self.state.lock();
        if state.since.elapsed() >= TIME {
            let left_out = state.said.saturating_sub(LINES);
            if left_out > 0 {
                warn!("plugin {}: {left_out} more lines were left out", self.source);
            }
            (state.since, state.said) = (Instant::now(), 0);
        }
        state.said = state.said.saturating_add(1);
        state.said <= LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_flows_again_later() {
        let voice = Voice::new("s");
        assert_eq!((0..1000).filter(|_| voice.may_speak()).count(), LINES as usize);
        tokio::time::advance(TIME).await;
        assert!(voice.may_speak());
    }

    #[test]
    fn what_was_told_in_confidence_is_never_repeated() {
        let voice = Voice::new("s");
        voice.conceal(vec![Revealed::new("hunter2"), Revealed::new("x")]);
        assert_eq!(voice.fit(" login xx:hunter2@host\nfailed\n"), "login xx:[secret]@host␊failed");
        assert_eq!(voice.fit(&"ü".repeat(5000)).len(), LONGEST);
    }
}
