//! `Connected`: a web server that answers, and what it has shown of itself. It knows URLs, and nothing of listings.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::sources::http::body;
use crate::sources::http::ranges::Ranges;
use crate::sources::http::redirect::Redirects;
use crate::sources::http::tags::Told;
use crate::sources::http::transport::{Answer, Transport};
use crate::sources::purpose::Purpose;
use crate::sources::stamp::Stamp;

#[derive(Debug)]
pub(super) struct Connected {
    /// For indexes: they and the login go to no other host.
    pub(super) indexes: Transport,
    /// For files, which may lie at another.
    pub(super) files: Transport,
    pub(super) place: Place,
}

/// The kind of place that the URL leads to.
#[derive(Debug)]
pub(super) enum Place {
    /// The URL ends in a slash.
    Directory(Url),
    File {
        url: Url,
        path: RemotePath,
    },
}

/// A server's answer about one of its files, and the address that gave it after redirections.
pub(super) struct Seen {
    pub(super) stamp: Stamp,
    /// When, by the server's clock, in seconds since 1970.
    observed: i64,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl Seen {
    pub(super) fn told(&self) -> Told {
        (self.stamp.clone(), self.observed)
    }
}

impl Connected {
    /// A connection that sends by `indexes`, and follows redirections of files.
    pub(super) fn new(indexes: Transport, url: Url) -> Self {
        let files = indexes.that(Redirects::Follow);
        Self { indexes, files, place: Place::Directory(url) }
    }

    /// Sends a request by one of its transports.
    pub(super) async fn send(
        &self,
        transport: &Transport,
        purpose: Purpose<'_>,
        request: http::request::Builder,
        ranges: &Ranges,
    ) -> Result<(Response, i64)> {
        let request =
            request.body(Bytes::new()).map_err(|e| purpose.protocol("the request is malformed").caused_by(e))?;
        let Answer { response, observed } = transport.send(purpose, request).await?;
        ranges.learn(&response);
        Ok((response, observed))
    }

    /// Asks what there is at a URL. A server that will not say, or says no size, is asked for the first byte: many refuse HEAD, in many
    /// ways, and answer GET. So is one that says the size 0: some give the length of what they send, and nothing is sent for HEAD.
    pub(super) async fn examine(&self, purpose: Purpose<'_>, url: &str, ranges: &Ranges) -> Result<Seen> {
        let seen = |(response, observed): (Response, i64)| {
            let mut stamp = Stamp::from_headers(response.headers());
            if response.status() == StatusCode::PARTIAL_CONTENT {
                stamp.size = body::content_range(response.headers()).and_then(|(_, total)| total);
            }
            Seen { stamp, observed, url: response.url().clone(), headers: response.headers().clone() }
        };
        match self.send(&self.files, purpose, http::Request::head(url), ranges).await {
            Ok(answer) if answer.0.headers().get(CONTENT_LENGTH).is_some_and(|size| size != "0") => {
                return Ok(seen(answer));
            }
            Ok(answer) if answer.0.url().path().ends_with('/') => return Ok(seen(answer)),
            Err(error) if !is_of_head_alone(&error) => return Err(error),
            _ => {}
        }
        match self.send(&self.files, purpose, http::Request::get(url).header(RANGE, "bytes=0-0"), ranges).await {
            // An empty file has no first byte.
            Err(error) if error.kind() == ErrorKind::Changed => {
                self.send(&self.files, purpose, http::Request::get(url), ranges).await.map(seen)
            }
            answer => answer.map(seen),
        }
    }
}

/// Whether a server may refuse HEAD so and answer GET: by 400, 403, 404, 405 or 501.
fn is_of_head_alone(error: &Error) -> bool {
    use ErrorKind::{NotFound, PermissionDenied, Protocol, Unsupported};
    matches!(error.kind(), Unsupported | Protocol | PermissionDenied | NotFound)
}
