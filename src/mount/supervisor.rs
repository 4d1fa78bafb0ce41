//! The service manager that started this process, systemd or one like it, and what it is told: sd_notify(3). Where there is none, nobody is
//! told.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tracing::debug;

/// Tells that the folder answers, and from now on, as often as the manager wants, that the runtime works.
pub(super) fn ready(runtime: &Runtime, status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    runtime.spawn(async move {
        let mut beats = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
        loop {
            beats.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    });
}

/// Tells that the folder is being unmounted.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        debug!("the service manager is not told: {e}");
    }
}
