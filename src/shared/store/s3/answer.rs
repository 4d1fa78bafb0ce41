//! What an S3 service answers: refusals in words that say what to do, and pages of a listing. It sends nothing.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::Response;

use crate::error::{Error, ErrorKind};
use crate::shared::store::Stored;

/// The most bytes of a page of a listing, which has a thousand names.
pub(super) const MAX_PAGE_BYTES: u64 = 16 << 20;

/// The bytes of a refusal that are looked at.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;

/// Everything but RFC 3986's unreserved characters: right in a query, and for the signature of S3.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// A text as a value in a query.
pub(super) fn encoded(text: &str) -> String {
    percent_encode(text.as_bytes(), COMPONENT).to_string()
}

/// The path of a URL, as the signature wants it.
pub(super) fn encoded_path(path: &str) -> String {
    // It comes from a URL, where some of it is encoded already.
    percent_encode(&percent_decode_str(path).collect::<Vec<_>>(), PATH).to_string()
}

/// The body of an answer, but for what comes after so many bytes.
pub(super) async fn collect(mut response: Response, most: u64) -> reqwest::Result<Bytes> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut body = BytesMut::new();
    while body.len() < most
        && let Some(chunk) = response.chunk().await?
    {
        if body.is_empty() {
            // A value comes with its length, and is most of it.
            let rest = response.content_length().unwrap_or_default().min(most as u64);
            body.reserve(usize::try_from(rest).unwrap_or_default().max(chunk.len()));
        }
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
    }
    Ok(body.freeze())
}

/// A request that got no answer, or half of one. `shown` is the store, for people.
pub(super) fn no_answer(op: &'static str, shown: &str, cause: reqwest::Error) -> Error {
    let (kind, what) = if cause.is_timeout() {
        (ErrorKind::TimedOut, "the store has not answered in time; is it overloaded, or stopped?")
    } else if cause.is_connect() {
        (ErrorKind::Unreachable, advice(&cause))
    } else {
        (ErrorKind::Unreachable, "the store broke off its answer")
    };
    // The address says nothing that is not said already.
    Error::new(op, kind).on(shown).because(what).caused_by(cause.without_url())
}

/// What to do about a connection that cannot be made.
fn advice(cause: &reqwest::Error) -> &'static str {
    let mut cause = std::error::Error::source(cause);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return "nothing listens there; check that the store is up, and the port of `endpoint`";
        }
        match error.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(_)) => {
                return "the store's certificate is not trusted; if it is the right one, name its authority's as `ca_file`";
            }
            Some(_) => {
                return "no TLS with the store; check the port of `endpoint`, and whether it is https:// or http://";
            }
            None => {}
        }
        // `source` of such an I/O error skips the error that it holds.
        cause = match io.and_then(std::io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    "the store cannot be reached; check `endpoint`"
}

/// The error that an answer is: `NotFound` only where there is no such value.
pub(super) async fn refusal(op: &'static str, shown: &str, bucket: &str, response: Response) -> Error {
    let status = response.status();
    let region = response.headers().get("x-amz-bucket-region").and_then(|name| name.to_str().ok()).map(str::to_owned);
    // What cannot be read says nothing; the status is known.
    let body = collect(response, MAX_REFUSAL_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let [code, message] = ["Code", "Message"].map(|tag| element(&text, tag));
    let (kind, why) = judge(status, code.as_deref(), message.as_deref(), region.as_deref(), bucket);
    Error::new(op, kind).on(shown).because(why)
}

fn judge(
    status: StatusCode,
    code: Option<&str>,
    message: Option<&str>,
    region: Option<&str>,
    bucket: &str,
) -> (ErrorKind, String) {
    let advice = match code.unwrap_or_default() {
        "NoSuchBucket" => {
            Some((ErrorKind::InvalidConfig, format!("there is no bucket `{bucket}`; make it, or correct `store`")))
        }
        "InvalidAccessKeyId" => {
            Some((ErrorKind::Unauthenticated, "the store does not know this `access_key_id`".into()))
        }
        "SignatureDoesNotMatch" => {
            Some((ErrorKind::Unauthenticated, "`secret_access_key` is not the one of `access_key_id`".into()))
        }
        "RequestTimeTooSkewed" => {
            Some((ErrorKind::Unauthenticated, "the clocks of this machine and of the store differ; set them".into()))
        }
        "SlowDown" => Some((ErrorKind::RateLimited, "the store asks for fewer requests".into())),
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" => Some((
            ErrorKind::Other,
            "the store is full; make room there, or let it remove old objects by itself".into(),
        )),
        _ => None,
    };
    if let Some(advice) = advice {
        return advice;
    }
    let said = match (code, message) {
        (Some(code), Some(message)) => format!(" ({code}: {message})"),
        (Some(code), None) => format!(" ({code})"),
        _ => String::new(),
    };
    match status {
        StatusCode::NOT_FOUND => (ErrorKind::NotFound, format!("there is no such value{said}")),
        StatusCode::UNAUTHORIZED => {
            (ErrorKind::Unauthenticated, format!("the store wants `access_key_id` and `secret_access_key`{said}"))
        }
        StatusCode::FORBIDDEN => {
            let why =
                format!("this account may not; it must be allowed to get, put, delete and list in `{bucket}`{said}");
            (ErrorKind::PermissionDenied, why)
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            (ErrorKind::RateLimited, format!("the store asks for fewer requests{said}"))
        }
        status => match region {
            Some(region) if status.is_redirection() || status == StatusCode::BAD_REQUEST => {
                (ErrorKind::InvalidConfig, format!("the bucket is in the region {region}; write it as `region`"))
            }
            _ => {
                (ErrorKind::Protocol, format!("the store answers {status}{said}; is `endpoint` that of an S3 service?"))
            }
        },
    }
}

/// The text of the first element of this name, if there is one that is well formed.
fn element(xml: &str, wanted: &str) -> Option<String> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) if tag.name().as_ref() == wanted => {
                let text = reader.read_text(tag.name()).ok()?;
                return unescaped(&text);
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

fn unescaped(text: &str) -> Option<String> {
    Some(quick_xml::escape::unescape(text).ok()?.into_owned())
}

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Its values, by their whole keys.
    pub(super) stored: Vec<Stored>,
    /// What asks for the next page, if there is one.
    pub(super) next: Option<String>,
}

/// Reads a page of a listing whose keys are encoded as in URLs.
pub(super) fn parse(body: &[u8]) -> Result<Page, String> {
    let malformed = |what: &str| format!("the listing of the store cannot be read: {what}");
    let text = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text);
    let (mut page, mut is_listing, mut has_more) = (Page::default(), false, false);
    loop {
        match reader.read_event().map_err(|e| malformed(&e.to_string()))? {
            Event::Start(tag) => match tag.name().as_ref() {
                "ListBucketResult" => is_listing = true,
                "Contents" => {
                    let entry = reader.read_text(tag.name()).map_err(|e| malformed(&e.to_string()))?;
                    page.stored.extend(stored(&entry));
                }
                name @ ("NextContinuationToken" | "IsTruncated") => {
                    let is_token = name == "NextContinuationToken";
                    let text = reader.read_text(tag.name()).map_err(|e| malformed(&e.to_string()))?;
                    let text = unescaped(&text).ok_or_else(|| malformed("an entity is unknown"))?;
                    if is_token {
                        page.next = Some(text);
                    } else {
                        has_more = text.trim() == "true";
                    }
                }
                _ => {}
            },
            Event::End(tag) if tag.name().as_ref() == "ListBucketResult" => break,
            Event::Eof => return Err(malformed("it is cut short")),
            _ => {}
        }
    }
    if !is_listing {
        return Err(malformed("it is none"));
    }
    match (has_more, &page.next) {
        (true, None) => Err(malformed("it does not say where it goes on")),
        (false, _) => Ok(Page { next: None, ..page }),
        (true, Some(_)) => Ok(page),
    }
}

/// An entry of a listing; none if it cannot be one of ours.
fn stored(entry: &str) -> Option<Stored> {
    let key = element(entry, "Key")?;
    let name = percent_decode_str(&key).decode_utf8().ok()?.into_owned();
    let size = element(entry, "Size")?.trim().parse().ok()?;
    let used = element(entry, "LastModified").and_then(|text| text.trim().parse::<jiff::Timestamp>().ok());
    Some(Stored { name, size, used: used.map_or(SystemTime::UNIX_EPOCH, SystemTime::from), is_odd: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_values_and_where_it_goes_on() {
        let text = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b=</NextContinuationToken>\
             <Contents><Key>fleet%2Fv1/aa</Key><LastModified>2026-11-29T10:00:00.000Z</LastModified><Size>7</Size></Contents>\
             <Contents><Key>broken</Key><Size>many</Size></Contents></ListBucketResult>";
        let page = parse(text.as_bytes()).expect("it is a listing");
        let used = "2026-11-29T10:00:00Z".parse::<jiff::Timestamp>().expect("a time").into();
        let stored = vec![Stored { name: "fleet/v1/aa".into(), size: 7, used, is_odd: false }];
        assert_eq!(page, Page { stored, next: Some("a&b=".into()) });
        let last = text.replace("<IsTruncated>true", "<IsTruncated>false");
        assert_eq!(parse(last.as_bytes()).expect("it is a listing").next, None);
    }

    #[test]
    fn what_is_no_whole_listing_is_an_error() {
        for text in [
            "",
            "<html></html>",
            "<ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (status, code, region, kind, word) in [
            (404, Some("NoSuchBucket"), None, ErrorKind::InvalidConfig, "make it"),
            (404, Some("NoSuchKey"), None, ErrorKind::NotFound, "no such value"),
            (404, None, None, ErrorKind::NotFound, "no such value"),
            (403, Some("InvalidAccessKeyId"), None, ErrorKind::Unauthenticated, "`access_key_id`"),
            (403, Some("SignatureDoesNotMatch"), None, ErrorKind::Unauthenticated, "`secret_access_key`"),
            (403, Some("RequestTimeTooSkewed"), None, ErrorKind::Unauthenticated, "clocks"),
            (403, Some("AccessDenied"), None, ErrorKind::PermissionDenied, "get, put, delete and list"),
            (301, Some("PermanentRedirect"), Some("eu-west-1"), ErrorKind::InvalidConfig, "region eu-west-1"),
            (503, Some("SlowDown"), None, ErrorKind::RateLimited, "fewer requests"),
            (507, Some("QuotaExceeded"), None, ErrorKind::Other, "full"),
            (405, None, None, ErrorKind::Protocol, "`endpoint`"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let (judged, why) = judge(status, code, None, region, "fleet");
            assert!(judged == kind && why.contains(word), "{status} {code:?}: {judged:?} {why}");
        }
        let text = "<Error><Code>NoSuchBucket</Code><Message>The &quot;bucket&quot;</Message></Error>";
        assert_eq!(element(text, "Message").as_deref(), Some("The \"bucket\""));
        assert_eq!(element("503 Slow Down", "Code"), None);
    }
}
