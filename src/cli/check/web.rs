//! Tries what `[web]` says: whether its address can be listened on, and its token be had. It answers nobody.

use std::io::ErrorKind;

use super::report::Report;
use crate::cli::status;
use crate::config::WebConfig;
use crate::web;

/// The findings about the page.
pub(super) async fn check(config: &WebConfig) -> Report {
    let mut report = Report::about("web", "web");
    let listen = config.listen;
    match web::try_address(config) {
        Ok(()) => report.ok(format!("{listen} can be listened on")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_ours(config) => {
            report.ok(format!("a mount of yours listens on {listen}"));
        }
        Err(error) => report.fail(format!("listen = \"{listen}\": {error}; name another address or port in [web]")),
    }
    if let Some(token) = &config.token {
        match web::try_token(token).await {
            Ok(()) => report.ok("the token is there"),
            Err(error) => report.fail(error.to_string()),
        }
    }
    report
}

/// Whether one of this user's mounts has its page there.
fn is_ours(config: &WebConfig) -> bool {
    let url = web::url_of(config.listen);
    let mounts = status::ours("check").unwrap_or_default();
    mounts.iter().filter_map(|mounted| status::of(mounted).ok()).any(|status| status.web == url)
}
