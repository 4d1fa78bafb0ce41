//! Sources that speak HTTP: S3, WebDAV and web directories. What they share is below; each protocol has its own file.
//!
//! They do not go through OpenDAL: its paths lose blanks at either end, its S3 listings lose them in names, its WebDAV
//! listings panic or fail on answers that the standard allows, and its errors hide the HTTP status.

mod body;
mod http;
mod login;
mod s3;
mod version;
mod web;
mod webdav;
mod xml;

pub use s3::S3;
pub use web::Web;
pub use webdav::Webdav;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::path::{Printable, RemotePath};
use crate::source::Settings;

/// Everything but RFC 3986's unreserved characters: right in a path, in a query, and for the signature of S3.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path of several components.
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

fn encode_path(path: &[u8]) -> String {
    percent_encode(path, PATH).to_string()
}

/// The path of a listed name; none, and a line in the log, for a name that must not be followed.
fn child(dir: &RemotePath, name: &[u8]) -> Option<RemotePath> {
    let refused = match dir.child(name) {
        Ok(_) if name.contains(&b'/') => "it holds a slash".to_owned(),
        Ok(path) => return Some(path),
        Err(bad) => bad.to_string(),
    };
    tracing::warn!("{dir}: the name {:?} is left out: {refused}", Printable(name).to_string());
    None
}

/// Joins the parts of a path, each with or without slashes at its ends.
fn join(parts: &[&str]) -> String {
    let parts = parts.iter().map(|part| part.trim_matches('/')).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("/")
}

/// Where a source is reached, as the setting `key` says: an `http` or `https` URL without credentials, query or fragment.
fn endpoint(key: &str, text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|e| format!("`{key}` is no URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("`{key}` must begin with https:// or http:// and name a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{key}` must not hold credentials; they have settings of their own"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{key}` must not hold a query or a fragment"));
    }
    Ok(url)
}

/// Reads `root`, in which no component may lead elsewhere.
fn read_root(reader: &mut crate::config::settings::Reader<'_>) -> RemotePath {
    let text = reader.string("root").unwrap_or_default();
    let text = text.trim_matches('/');
    RemotePath::parse(text.as_bytes()).unwrap_or_else(|bad| {
        reader.problem(Some("root"), format!("`root` cannot be used: {bad}"));
        RemotePath::root()
    })
}

/// Warns once where credentials travel in the clear.
fn warn_if_clear(settings: &Settings, endpoint: &url::Url, secret: bool) {
    let local = matches!(endpoint.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if secret && endpoint.scheme() == "http" && !local {
        tracing::warn!("source {}: credentials travel unencrypted to {}", settings.name, endpoint.as_str());
    }
}
