//! `Answered`: what a site answered when it was asked for a file, with what that tells about the bytes. It knows no version.

use std::ops::Range;

use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use reqwest::{Response, StatusCode};
use url::Url;

use super::answer::Refused;
use super::ledger::Tag;
use super::refusal::Route;
use super::session::Session;
use super::site::{Asked, Site};
use crate::error::{ErrorKind, Result};
use crate::revealed::Revealed;
use crate::sources::http::body::content_range;
use crate::sources::http::transport::{Answer, failure, whole};
use crate::sources::purpose::Purpose;
use crate::sources::stamp::Stamp;

/// Bytes that are read at most of an answer that is not the file.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// An answer with bytes of a file.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) response: Response,
    /// Which bytes of the file the body holds.
    pub(super) sent: Range<u64>,
    /// All bytes of the file.
    pub(super) size: u64,
    /// None for what is made when it is asked for.
    pub(super) tag: Option<Tag>,
    /// Seconds since 1970; only the site's own word, not that of a server in front of it.
    pub(super) modified: Option<i64>,
}

impl Answered {
    /// Asks for a file, or for these bytes of it; what comes may be all of them. `is_html`: a page is what is expected.
    ///
    /// # Errors
    /// The answer is not the file: refusals come with a status of success, and so does a page that asks for a login.
    pub(super) async fn ask(
        purpose: Purpose<'_>,
        session: &Session,
        url: &Url,
        is_html: bool,
        wanted: Option<&Range<u64>>,
    ) -> Result<Self> {
        let ask = async |token: &Revealed| Self::ask_with(purpose, session.site(), token, url, is_html, wanted).await;
        let token = session.token();
        let asked = match ask(&token).await? {
            Err(refused) if session.renew(purpose, &refused, &token).await? => ask(&session.token()).await?,
            asked => asked,
        };
        asked.map_err(|refused| Route::Download.refusal(purpose, &refused))
    }

    /// The same, or the site's refusal.
    async fn ask_with(
        purpose: Purpose<'_>,
        site: &Site,
        token: &Revealed,
        url: &Url,
        is_html: bool,
        wanted: Option<&Range<u64>>,
    ) -> Result<Asked<Self>> {
        let range = wanted.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let (Answer { response, observed }, is_elsewhere) =
            site.download(purpose, token, url, range.as_deref()).await?;
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_page = text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
        let is_file = match is_elsewhere {
            // Other hosts have other habits.
            true => is_html || !is_page,
            false => response.headers().contains_key(CONTENT_DISPOSITION),
        };
        let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let (true, Some(length)) = (is_file, length) else { return refusal(purpose, response).await.map(Err) };
        let (sent, size) = match (response.status(), content_range(response.headers())) {
            (StatusCode::OK, None) => (0..length, length),
            (StatusCode::PARTIAL_CONTENT, Some((sent, Some(size))))
                if Some(&sent) == wanted && sent.end - sent.start == length && sent.end <= size =>
            {
                (sent, size)
            }
            (status, _) => {
                let why = format!("the answer has the status {} and not the bytes asked for", status.as_u16());
                return Err(purpose.protocol(why));
            }
        };
        let sha1 = text(ETAG).and_then(sha1_of).filter(|_| !is_elsewhere);
        let mut stamp = Stamp::from_headers(response.headers());
        stamp.size = Some(size);
        let named = response.headers().contains_key(ETAG) || (is_elsewhere && stamp.modified.is_some());
        let modified = stamp.modified.filter(|_| sha1.is_some());
        let tag = match sha1 {
            Some(sha1) => Some(Tag::Sha1(sha1)),
            None => named.then(|| Tag::Other(stamp.digest(observed))),
        };
        Ok(Ok(Self { response, sent, size, tag, modified }))
    }

    /// Collects the body.
    pub(super) async fn collect(self, purpose: Purpose<'_>) -> Result<Vec<u8>> {
        let bytes = whole(purpose, self.response).await?;
        if bytes.len() as u64 == self.sent.end - self.sent.start {
            return Ok(bytes);
        }
        Err(purpose.error(ErrorKind::Unreachable).because("the connection ended early"))
    }
}

/// The SHA-1 that a strong tag is.
fn sha1_of(tag: &str) -> Option<String> {
    let hex = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
    let is_sha1 = hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    is_sha1.then(|| hex.to_ascii_lowercase())
}

/// The refusal that came instead of a file.
async fn refusal(purpose: Purpose<'_>, mut response: Response) -> Result<Refused> {
    let mut body = Vec::new();
    while body.len() < MAX_REFUSAL_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(failure(purpose, error)),
        }
    }
    serde_json::from_slice(&body).map_err(|_| purpose.protocol("the site sent something else than the file"))
}
