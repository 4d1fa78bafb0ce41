//! URLs of WebDAV servers.

use crate::source::url::{Typed, UrlSettings, Urls};

pub(super) static URLS: Urls = Urls {
    schemes: &[("webdavs", "webdavs://host/path"), ("webdav", "webdav://host/path"), ("davs", ""), ("dav", "")],
    read,
};

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    let url = typed.read_server_as(if typed.scheme.ends_with('s') { "https" } else { "http" })?;
    let mut remote = UrlSettings::new(url.host_str().unwrap_or_default());
    remote.set("endpoint", url.origin().ascii_serialization());
    remote.set_root(url.path())?;
    remote.set_login(&url, typed)?;
    Ok(remote)
}
