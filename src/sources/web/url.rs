//! URLs of web directories.

use crate::source::url::{Typed, UrlSettings, Urls};

pub(super) static URLS: Urls =
    Urls { schemes: &[("https", "https://host/path/"), ("http", "http://host/path/")], read };

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    let url = typed.read_server_as(typed.scheme)?;
    let mut remote = UrlSettings::new(url.host_str().unwrap_or_default());
    remote.set_login(&url, typed)?;
    remote.set_url(url)?;
    Ok(remote)
}
