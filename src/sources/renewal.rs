//! `Renewal`: how often a login is looked for anew. It knows no login.

use std::time::Duration;

use tokio::time::Instant;

/// How often at most a login is renewed because the server refuses it.
pub(super) const PAUSE: Duration = Duration::from_secs(60);

/// When a login was last renewed because a server refused it: a renewed one that is refused too is refused for good, for a while.
#[derive(Debug, Default)]
pub(super) struct Renewal(Option<Instant>);

impl Renewal {
    /// Whether it may be renewed now; notes that it is.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}
