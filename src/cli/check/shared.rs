//! Tries what `[shared]` says: whether the store works, and the key of each source's circle can be had. It leaves nothing there.

use std::time::Instant;

use super::report::Report;
use crate::config::{Config, SharedConfig};
use crate::mount::share;
use crate::shared::{Services, try_leases, try_out};

/// The findings about what is shared.
pub(super) async fn check(shared: &SharedConfig, config: &Config) -> Report {
    let mut report = Report::about("shared", "shared");
    let Services { store, small, leases } = share::services(shared);
    for (remote, store) in [(&shared.store, store), (&shared.redis, small)] {
        let (Some(remote), Some(store)) = (remote, store) else { continue };
        let began = Instant::now();
        match try_out(&*store, shared.tuning.role).await {
            Ok(()) => report.passed(began, format!("{} works", remote.url)),
            Err(error) => report.fail(format!("{error}; sources are asked instead")),
        }
    }
    if let Some(leases) = leases {
        let began = Instant::now();
        match try_leases(&*leases).await {
            Ok(()) => report.passed(began, "who retrieves what can be agreed on"),
            Err(error) => report.fail(format!("{error}; several machines retrieve the same at once")),
        }
    }
    share::exposed_keys(shared).for_each(|exposed| report.note(exposed));
    for source in &config.sources {
        let Some(sharing) = &source.sharing else { continue };
        let (circle, name) = (share::circle(shared, sharing, source), source.name.escape_debug());
        let unlocked = tokio::task::spawn_blocking(move || circle.unlock()).await;
        match unlocked.unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic())) {
            Ok(()) => report.ok(format!("{name} has the key of its circle")),
            Err(error) => report.fail(format!("{name} shares nothing: {error}")),
        }
    }
    report
}
