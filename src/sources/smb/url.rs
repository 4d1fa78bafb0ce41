//! URLs of shares.

use crate::source::settings::PASSWORD_VARIABLE;
use crate::source::url::{Typed, UrlSettings, Urls, percent_decoded};

pub(super) static URLS: Urls = Urls { schemes: &[("smb", "smb://host/share/path")], read };

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    let url = typed.read_server_as("smb")?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the URL names no host: smb://host/share/path")?;
    let path = percent_decoded(url.path())?;
    let (share, root) = path.trim_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
    if share.is_empty() {
        return Err("the URL names no share: smb://host/share/path".into());
    }
    let mut remote = UrlSettings::new(share);
    remote.set("hostname", percent_decoded(host)?.trim_matches(['[', ']']));
    remote.set_port(&url);
    remote.set("share", share);
    if !root.is_empty() {
        remote.set("root", format!("/{root}"));
    }
    let user = percent_decoded(url.username())?;
    if user.is_empty() {
        remote.set("guest", true);
        return Ok(remote);
    }
    match user.split_once(';') {
        Some((domain, user)) => {
            remote.set("domain", domain);
            remote.set("username", user);
        }
        None => remote.set("username", user),
    }
    // An smb login needs one: without the variable, the source says so.
    remote.set_variable("password", PASSWORD_VARIABLE);
    Ok(remote)
}
