//! The URL of a bucket, as the settings say it. It sends no request.

use crate::source::settings::Reader;
use crate::sources::http::{endpoint, join};

/// The same URL in another region, where regions have hosts of their own.
pub(super) fn in_region(url: &str, from: &str, to: &str) -> String {
    url.replacen(&format!("s3.{from}.amazonaws.com"), &format!("s3.{to}.amazonaws.com"), 1)
}

/// The bucket's URL; none, and a problem noted, if there can be none.
pub(in crate::sources) fn bucket_url(
    reader: &mut Reader<'_>,
    bucket: &str,
    written: Option<String>,
    region: &str,
    virtual_host: bool,
) -> Option<url::Url> {
    if bucket.is_empty() {
        return None;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !bucket.bytes().all(plain) || bucket.starts_with('.') {
        reader.problem(Some("bucket"), "`bucket` is the bucket's name alone: letters, digits, `-`, `.` and `_`");
        return None;
    }
    let amazon = format!("https://s3.{region}.amazonaws.com");
    let text = match written {
        None => amazon,
        Some(text) if text.trim_end_matches('/') == "https://s3.amazonaws.com" => amazon,
        Some(text) if text.contains("://") => text,
        Some(text) => format!("https://{text}"),
    };
    let key = Some("endpoint");
    let mut url = match endpoint("endpoint", &text) {
        Ok(url) => url,
        Err(why) => {
            reader.problem(key, why);
            return None;
        }
    };
    if virtual_host {
        let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
        if url.set_host(Some(&host)).is_err() {
            reader.problem(key, "a bucket cannot be part of this host's name; set enable_virtual_host_style = false");
            return None;
        }
    } else {
        url.set_path(&join(&[url.path(), bucket]));
    }
    Some(url)
}
