//! `Pool`: the control connections of one source that wait for the next request. It knows no request.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::reply::Failure;
use super::session::{Session, Target};

/// Servers close idle connections. One that was used this recently is taken to work, and gets no request that finds out.
const UNPROBED_IDLE_TIME: Duration = Duration::from_secs(2);
/// How long an idle connection may take to answer, before a new one replaces it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to one server. One that is taken and not given back is closed.
pub(super) struct Pool {
    target: Target,
    idle: Mutex<Vec<(Session, Instant)>>,
}

impl Pool {
    pub(super) fn new(target: Target) -> Self {
        Self { target, idle: Mutex::default() }
    }

    /// A connection that works.
    pub(super) async fn take(&self) -> Result<Session, Failure> {
        loop {
            let Some((mut session, since)) = self.idle.lock().pop() else { break };
            let alive = since.elapsed() < UNPROBED_IDLE_TIME
                || tokio::time::timeout(PROBE_TIMEOUT, session.is_alive()).await.unwrap_or(false);
            if alive {
                return Ok(session);
            }
            // Those that have been idle for longer will not answer either.
            self.idle.lock().retain(|(_, other)| *other > since);
        }
        Session::open(&self.target).await
    }

    /// Keeps a connection that waits for the next command.
    pub(super) fn give_back(&self, session: Session) {
        self.idle.lock().push((session, Instant::now()));
    }

    /// Keeps the connection after this failure, if it can be used again.
    pub(super) fn give_back_after(&self, session: Session, failure: &Failure) {
        if failure.leaves_connection() {
            self.give_back(session);
        }
    }
}
