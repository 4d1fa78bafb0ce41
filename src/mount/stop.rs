//! `Stop`: the signals that ask this process to end, heard from the beginning, so that none leaves a dead mount behind.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::warn;

use crate::children;

/// The exit code of a process that was asked to end before it had mounted anything.
const ENDED_EARLY: i32 = 1;

/// Whether this process was asked to end.
///
/// Until `Stop::hold`, a signal ends the process at once, whatever it is doing. From then on there may be something to take away first.
pub struct Stop {
    asked: watch::Receiver<bool>,
    held: Arc<Mutex<bool>>,
}

impl Stop {
    /// Begins to listen for SIGTERM, SIGINT and SIGHUP.
    pub fn listen(runtime: &Runtime) -> Self {
        let _guard = runtime.enter();
        let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let waits = signals.into_iter().filter_map(|signal| {
            let mut signal = signal.inspect_err(|e| warn!("a signal cannot be handled: {e}")).ok()?;
            Some(Box::pin(async move { signal.recv().await }))
        });
        let waits: Vec<_> = waits.collect();
        let (ask, asked) = watch::channel(false);
        let held = Arc::new(Mutex::new(false));
        if waits.is_empty() {
            return Self { asked, held };
        }
        let is_held = held.clone();
        runtime.spawn(async move {
            futures::future::select_all(waits).await;
            let held = is_held.lock();
            if !*held {
                children::end_all();
                std::process::exit(ENDED_EARLY);
            }
            drop(held);
            ask.send_replace(true);
        });
        Self { asked, held }
    }

    /// From now on, a signal no longer ends the process.
    pub(super) fn hold(&self) {
        *self.held.lock() = true;
    }

    /// Whether a signal has come since `Stop::hold`.
    pub(super) fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Returns when a signal has come since `Stop::hold`.
    pub(super) async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            // There are no signals that could be heard.
            std::future::pending().await
        }
    }
}
