//! URLs of SSH servers.

use crate::source::url::{Typed, UrlSettings, Urls, percent_decoded};

pub(super) static URLS: Urls = Urls { schemes: &[("sftp", "sftp://user@host/path")], read };

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    let url = typed.read_server_as("sftp")?;
    // Brackets are a URL's way to write an IPv6 address, and percent signs its way to write other names.
    let host = percent_decoded(url.host_str().unwrap_or_default().trim_matches(['[', ']']))?;
    let mut remote = UrlSettings::new(&host);
    remote.set("host", host);
    remote.set_port(&url);
    remote.set_root(url.path())?;
    remote.set_login(&url, typed)?;
    Ok(remote)
}
