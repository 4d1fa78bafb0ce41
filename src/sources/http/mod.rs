//! What the sources that speak HTTP share: S3 and Google's buckets, Azure, WebDAV, web directories and Moodle. It knows none of them.
//!
//! The protocols do not go through OpenDAL: its paths lose blanks at either end, its S3 listings lose them in names, its WebDAV
//! listings panic or fail on answers that the standard allows, and its errors hide the HTTP status.

mod authorization;
pub(super) mod body;
pub(super) mod burst;
mod challenge;
mod digest_session;
pub(super) mod early;
pub(super) mod login;
pub(super) mod login_check;
pub(super) mod preconnected;
pub(super) mod ranges;
pub(super) mod redirect;
pub(super) mod tags;
pub(super) mod transport;
pub(super) mod versioned;
pub(super) mod xml;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::source::Settings;
use crate::source::settings::Reader;

/// Bytes that the HTTP client holds of one answer: what was received and not taken yet, and the last chunk that was.
pub(super) const CLIENT_BUFFER_BYTES: u64 = 512 * 1024;

/// Everything but RFC 3986's unreserved characters: right in a path, in a query, and for the signature of S3.
pub(super) const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path of several components.
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

pub(super) fn encode_path(path: &[u8]) -> String {
    percent_encode(path, PATH).to_string()
}

/// Joins the parts of a path, each with or without slashes at its ends.
pub(super) fn join(parts: &[&str]) -> String {
    let parts = parts.iter().map(|part| part.trim_matches('/')).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("/")
}

/// The endpoint that the setting `key` says; none if it is empty or wrong, which is noted.
pub(super) fn read_endpoint(reader: &mut Reader<'_>, key: &str, written: &str) -> Option<url::Url> {
    let url = (!written.is_empty()).then(|| endpoint(key, written))?;
    url.map_err(|why| reader.problem(Some(key), why)).ok()
}

/// The address of a source, as the setting `key` says: an `http` or `https` URL without credentials, query or fragment.
pub(super) fn endpoint(key: &str, text: &str) -> Result<url::Url, String> {
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

/// Warns once where credentials travel in the clear.
pub(super) fn warn_if_clear(settings: &Settings, endpoint: &url::Url, secret: bool) {
    if secret && endpoint.scheme() == "http" {
        super::warn_of_clear_text(settings, endpoint.host_str().unwrap_or_default(), "https://");
    }
}
