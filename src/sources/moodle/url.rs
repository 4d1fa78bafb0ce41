//! URLs of Moodle sites.

use crate::source::settings::PASSWORD_VARIABLE;
use crate::source::url::{Typed, UrlSettings, Urls, percent_decoded};

pub(super) static URLS: Urls = Urls { schemes: &[("moodle", "moodle://host/path"), ("moodle+http", "")], read };

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    let url = typed.read_server_as(if typed.scheme == "moodle" { "https" } else { "http" })?;
    let mut remote = UrlSettings::new(url.host_str().unwrap_or_default());
    // Every site needs a login: without the variable, the source says so.
    if url.username().is_empty() {
        remote.set_variable("token", PASSWORD_VARIABLE);
    } else {
        remote.set("username", percent_decoded(url.username())?);
        remote.set_variable("password", PASSWORD_VARIABLE);
    }
    remote.set_url(url)?;
    Ok(remote)
}
