//! URLs of FTP servers.

use crate::source::url::{Typed, UrlSettings, Urls};

pub(super) static URLS: Urls = Urls { schemes: &[("ftps", "ftps://host/path"), ("ftp", "ftp://host/path")], read };

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    // A scheme of which the URL crate knows that it has hosts.
    let url = typed.read_server_as("ftp")?;
    // Brackets belong to a URL, not to an address.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let mut remote = UrlSettings::new(host);
    remote.set("host", host);
    remote.set_port(&url);
    if typed.scheme == "ftps" {
        remote.set("tls", true);
    }
    remote.set_root(url.path())?;
    remote.set_login(&url, typed)?;
    Ok(remote)
}
