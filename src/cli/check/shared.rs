//! Tries what `[shared]` says: whether the store works, and the key of each source's circle can be had. It leaves nothing there.

use std::time::Instant;

use super::Report;
use crate::config::{Config, SharedConfig};
use crate::mount::share;
use crate::shared::try_out;

/// The findings about what is shared.
pub(super) async fn check(shared: &SharedConfig, config: &Config) -> Report {
    let mut report = Report::about("shared");
    let began = Instant::now();
    match try_out(&*share::store(shared), shared.tuning.role).await {
        Ok(()) => report.passed(began, &format!("{} works", shared.store)),
        Err(error) => report.fail(&format!("{error}; sources are asked instead")),
    }
    for source in &config.sources {
        let Some(sharing) = &source.sharing else { continue };
        let (circle, name) = (share::circle(shared, sharing, source), source.name.escape_debug());
        let unlocked = tokio::task::spawn_blocking(move || circle.unlock()).await;
        match unlocked.unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic())) {
            Ok(()) => report.say(&format!("  ok      {name} has the key of its circle")),
            Err(error) => report.fail(&format!("{name} shares nothing: {error}")),
        }
    }
    report
}
