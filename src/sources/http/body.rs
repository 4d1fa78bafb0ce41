//! Retrieval over HTTP: asks for bytes of one version and lets through only an answer that provably is that.

use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::OptionFuture;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, IF_MATCH, RANGE, SERVER, TRANSFER_ENCODING,
};
use reqwest::{Response, StatusCode};
use url::Url;

use super::burst::Patience;
use super::early::{AT_ONCE, Early};
use super::transport::{failure, tells_its_end};
use crate::error::{ErrorKind, Result};
use crate::source::{Retrieval, Retrieved, Sink};
use crate::sources::purpose::Purpose;
use crate::sources::stamp::{Match, Stamp, Wanted, settle, settles_in};

/// Bytes that are confirmed at once, while the next as many come in: few, so that many requests at a time hold little.
pub(in crate::sources) const PIECE_BYTES: u64 = 1 << 20;
/// Bytes that wait at most until it is certain that they are of the wanted version.
pub(in crate::sources) const MAX_HELD_BYTES: u64 = 2 * PIECE_BYTES;
/// A file that is not larger is retrieved twice rather than waited for.
const TWICE_BYTES: u64 = 2 << 20;
/// How long bytes wait for a piece to be full, so that a reader over a slow line sees them.
const CONFIRM_INTERVAL: Duration = AT_ONCE;

/// Adds to a GET what makes the server answer with the wanted bytes of the wanted version or not at all; the latter if the server knows
/// the tag (`by_tag`).
pub(in crate::sources) fn ask_for(
    request: http::request::Builder,
    retrieval: &Retrieval<'_>,
    by_tag: bool,
) -> http::request::Builder {
    let mut request = request;
    if !retrieval.is_whole() {
        let Range { start, end } = retrieval.range;
        request = request.header(RANGE, format!("bytes={start}-{}", end - 1));
    }
    if let Some(tag) = Wanted::parse(retrieval.digest).if_match().filter(|_| by_tag) {
        request = request.header(IF_MATCH, tag);
    }
    request
}

/// Whether an answer is of the wanted version by its headers.
pub(in crate::sources) fn is_of(wanted: &Retrieval<'_>, response: &Response) -> bool {
    Wanted::parse(wanted.digest).compare(&Stamp::from_headers(response.headers())) == Match::Same
}

/// Checks that an answer has exactly the wanted bytes of the wanted version. Servers ignore `If-Match` and `Range`
/// (`rclone serve s3` the first, the simplest ones the second), so nothing is taken on trust.
pub(in crate::sources) fn check(purpose: Purpose<'_>, retrieval: &Retrieval<'_>, response: &Response) -> Result<Stamp> {
    let seen = Stamp::from_headers(response.headers());
    let other = purpose.error(ErrorKind::Changed);
    match Wanted::parse(retrieval.digest).compare(&seen) {
        Match::Same => {}
        Match::Other => return Err(other),
        Match::Unknown if seen.identifies() => {
            return Err(purpose.protocol("the answer does not say which version it is of"));
        }
        Match::Unknown => return Err(purpose.protocol(unidentified(response.url(), response.headers()))),
    }
    let Range { start, end } = retrieval.range;
    let (expected, total) = match (response.status(), content_range(response.headers())) {
        // `rclone serve s3` sends the right part with the status of the whole; what counts is which bytes they are.
        (StatusCode::OK | StatusCode::PARTIAL_CONTENT, Some((range, total))) => {
            if range != (start..end) {
                let (a, b) = (range.start, range.end);
                return Err(purpose.protocol(format!("asked for bytes {start} to {end}, got {a} to {b}")));
            }
            (end - start, total)
        }
        (StatusCode::PARTIAL_CONTENT, None) => {
            return Err(purpose.protocol("the answer does not say which part of the file it is"));
        }
        (StatusCode::OK, None) if retrieval.is_whole() => (end - start, seen.size),
        (StatusCode::OK, None) => return Err(purpose.protocol("the server ignores ranges: it sent the whole file")),
        (status, _) => return Err(purpose.protocol(format!("the server answered {}", status.as_u16()))),
    };
    if !retrieval.allows_size(total) {
        return Err(other);
    }
    let announced = response.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    if retrieval.size.is_some() && announced.is_some_and(|announced| announced != expected) {
        return Err(purpose.protocol(format!("asked for {expected} bytes, the answer has another number")));
    }
    Ok(seen)
}

/// Whether an answer is a page for people.
fn is_page(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// Whether an answer is one of lighttpd, as far as it says so.
fn is_of_lighttpd(headers: &HeaderMap) -> bool {
    headers.get(SERVER).is_some_and(|name| name.as_bytes().starts_with(b"lighttpd"))
}

/// Why an answer from this address, with these headers, is of no version: it tells neither an entity tag nor a time.
///
/// No question asked beside it tells the version in its place. lighttpd sends a file that it has open already for up to a second after
/// another has taken its name, whose tag it tells meanwhile; a cache in front of a server sends it for longer.
pub(in crate::sources) fn unidentified(url: &Url, headers: &HeaderMap) -> String {
    let host = url.host_str().unwrap_or_default();
    if is_page(headers) {
        return format!("it looks like a login page of {host}: a page that tells neither an entity tag nor a time");
    }
    let advice = if is_of_lighttpd(headers) {
        "; lighttpd tells both once each file has a type: mimetype.assign += (\"\" => \"application/octet-stream\")"
    } else {
        ""
    };
    format!("{host} tells neither an entity tag nor a time, so that nothing tells its versions apart{advice}")
}

/// Fails with `Changed` unless what the source says `now` is still of the wanted version.
pub(in crate::sources) fn check_still(purpose: Purpose<'_>, retrieval: &Retrieval<'_>, now: &Stamp) -> Result<()> {
    let same = Wanted::parse(retrieval.digest).compare(now) == Match::Same;
    if same && retrieval.allows_size(now.size) { Ok(()) } else { Err(purpose.error(ErrorKind::Changed)) }
}

/// How a source confirms what has arrived.
pub(in crate::sources) struct Confirm<C> {
    /// Bytes that are confirmed at once, while the next as many come in.
    pub(in crate::sources) piece: u64,
    /// Makes sure once more which version it is, as soon as the bytes need it.
    pub(in crate::sources) ask: C,
    /// What is known of the answer, where its bytes may be read before they are confirmed.
    pub(in crate::sources) early: Option<Early>,
}

/// Delivers the wanted part of a checked body, which holds the bytes `sent`.
///
/// Headers vouch for what the file was when the server opened it; a file that is overwritten in place gets other bytes below them. So
/// where a file can be overwritten, the bytes that have arrived wait, in pieces, until `confirm` has asked once more which version it is; a
/// small answer may be read before ([`Early`]). Returns whether its bytes are unconfirmed ([`Retrieved::is_unconfirmed`]).
pub(in crate::sources) async fn deliver<F: Future<Output = Result<()>> + Send>(
    purpose: Purpose<'_>,
    retrieval: &Retrieval<'_>,
    sent: &Range<u64>,
    mut response: Response,
    out: &mut dyn Sink,
    confirm: Option<Confirm<impl Fn(Patience) -> F + Send>>,
) -> Result<bool> {
    let (wanted, chunked) = (&retrieval.range, response.headers().contains_key(TRANSFER_ENCODING));
    let tells_its_end = tells_its_end(&response);
    let mut at = sent.start;
    let began = Instant::now();
    let (chunks, since, patience) = (Vec::new(), began, Duration::ZERO);
    let mut held = Held { chunks, bytes: 0, since, before: None, confirm, patience, is_shown: false };
    // Bytes after the wanted part are not waited for.
    while at < wanted.end || sent.end == wanted.end {
        let Some(mut chunk) = response.chunk().await.map_err(|e| failure(purpose, e))? else { break };
        let len = chunk.len() as u64;
        if len > sent.end - at {
            return Err(purpose.protocol("the answer is longer than it said"));
        }
        let before = usize::try_from(wanted.start.saturating_sub(at).min(len)).unwrap_or(chunk.len());
        let beyond = usize::try_from((at + len).saturating_sub(wanted.end).min(len)).unwrap_or(chunk.len());
        at += len;
        chunk.truncate(chunk.len() - beyond);
        held.push(chunk.split_off(before.min(chunk.len())), out).await?;
    }
    if retrieval.size.is_none() {
        if !tells_its_end {
            return Err(purpose.protocol("the answer tells neither its length nor its end, so it may be cut short"));
        }
    } else if at < wanted.end {
        let missing = wanted.end - at;
        return Err(if chunked {
            // Such a body tells its own end, so this is all there is.
            purpose.error(ErrorKind::Changed).because(format!("the file has become {missing} bytes shorter"))
        } else {
            purpose.error(ErrorKind::Unreachable).because(format!("the connection ended {missing} bytes early"))
        });
    }
    let took = began.elapsed();
    if retrieval.may_be_unconfirmed && retrieval.is_whole() && held.is_early(took) && held.before.is_none() {
        held.confirm = None;
        return held.all(out).await.map(|()| true);
    }
    held.preview(took, out);
    held.all(out).await.map(|()| false)
}

/// Bytes that have arrived and may not be seen yet: without a confirmation, the last chunk, so that an error after it comes first.
struct Held<C, F> {
    chunks: Vec<Bytes>,
    bytes: u64,
    since: Instant,
    /// The piece before, which is being confirmed.
    before: Option<(Vec<Bytes>, Pin<Box<F>>)>,
    confirm: Option<Confirm<C>>,
    /// Half the time that a piece took to arrive: by then the question about it must be asked, so that the piece after it need not wait.
    patience: Duration,
    /// Whether the bytes are being read already.
    is_shown: bool,
}

impl<C: Fn(Patience) -> F + Send, F: Future<Output = Result<()>> + Send> Held<C, F> {
    async fn push(&mut self, chunk: Bytes, out: &mut dyn Sink) -> Result<()> {
        let piece = self.confirm.as_ref().map_or(0, |confirm| confirm.piece);
        let full = self.bytes + chunk.len() as u64 > piece;
        if full || self.since.elapsed() > CONFIRM_INTERVAL {
            self.begin(out).await?;
        }
        self.bytes += chunk.len() as u64;
        self.chunks.push(chunk);
        if let Some((_, confirmed)) = &mut self.before
            && let Poll::Ready(confirmed) = futures::poll!(confirmed)
        {
            confirmed?;
            let proven = self.before.take().map(|(chunks, _)| chunks).unwrap_or_default();
            return pass_on(proven, out).await;
        }
        if self.confirm.is_some() { out.write(Bytes::new()).await } else { Ok(()) }
    }

    /// Passes on the piece before this one, and begins to confirm this one.
    async fn begin(&mut self, out: &mut dyn Sink) -> Result<()> {
        if let Some((proven, confirmed)) = self.before.take() {
            confirmed.await?;
            pass_on(proven, out).await?;
        }
        let chunks = std::mem::take(&mut self.chunks);
        self.patience = self.patience.max(self.since.elapsed() / 2);
        (self.bytes, self.since) = (0, Instant::now());
        match &self.confirm {
            None => pass_on(chunks, out).await,
            Some(_) if chunks.is_empty() => Ok(()),
            Some(confirm) => {
                let patience = if self.is_shown { Patience::Read } else { Patience::Held(self.patience) };
                self.before = Some((chunks, Box::pin((confirm.ask)(patience))));
                Ok(())
            }
        }
    }

    /// Whether the bytes of an answer that came within this time may be read before they are confirmed.
    fn is_early(&self, took: Duration) -> bool {
        self.confirm.as_ref().and_then(|confirm| confirm.early).is_some_and(|early| early.allows(took))
    }

    /// Shows all bytes of an answer that came within this time before they are confirmed, if that is safe.
    fn preview(&mut self, took: Duration, out: &mut dyn Sink) {
        if self.is_early(took) {
            // In so short a time no part of them has been passed on.
            self.is_shown = out.preview(&mut self.chunks);
        }
    }

    /// Passes on everything. The question about the last piece does not wait for the answer about the one before.
    async fn all(mut self, out: &mut dyn Sink) -> Result<()> {
        let before = self.before.take();
        self.begin(out).await?;
        let (last, confirmed) = self.before.take().unzip();
        let before = async {
            let Some((proven, confirmed)) = before else { return Ok(()) };
            confirmed.await?;
            pass_on(proven, out).await
        };
        let (before, last_confirmed) = tokio::join!(before, OptionFuture::from(confirmed));
        before?;
        last_confirmed.transpose()?;
        pass_on(last.unwrap_or_default(), out).await
    }
}

async fn pass_on(chunks: Vec<Bytes>, out: &mut dyn Sink) -> Result<()> {
    for chunk in chunks {
        out.write(chunk).await?;
    }
    Ok(())
}

/// Whether a version was changed so lately that another change may not show, and is small enough to be retrieved twice instead of waited for:
/// a file that changes all the time can be read too.
fn is_proven_by_repetition(retrieval: &Retrieval<'_>) -> bool {
    let small = retrieval.is_whole() && retrieval.size.is_some_and(|size| size <= TWICE_BYTES);
    small && !settles_in(retrieval.digest).is_zero()
}

/// The bytes, if they were the same twice.
fn same_twice(purpose: Purpose<'_>, first: &[u8], again: Vec<u8>) -> Result<Bytes> {
    if first == again { Ok(again.into()) } else { Err(purpose.error(ErrorKind::Changed)) }
}

/// A source whose server may send bytes of another version than its answer says.
#[async_trait]
pub(in crate::sources) trait Get {
    /// Retrieves what is wanted. If it is not `confirmed`, the caller must prove the bytes otherwise.
    async fn get(
        &self,
        purpose: Purpose<'_>,
        wanted: &Retrieval<'_>,
        confirmed: bool,
        out: &mut dyn Sink,
    ) -> Result<Retrieved>;
}

/// Retrieves bytes of one version, confirmed or proven by repetition.
pub(in crate::sources) async fn retrieve(
    source: &(impl Get + Sync),
    wanted: &Retrieval<'_>,
    out: &mut dyn Sink,
) -> Result<Retrieved> {
    let purpose = Purpose { op: "retrieve_file", path: wanted.path };
    if is_proven_by_repetition(wanted) {
        let (mut first, mut again) = (Vec::new(), Vec::new());
        source.get(purpose, wanted, false, &mut first).await?;
        let retrieved = source.get(purpose, wanted, false, &mut again).await?;
        out.write(same_twice(purpose, &first, again)?).await?;
        return Ok(retrieved);
    }
    // Bytes are of one version only if a change between them would show.
    settle(wanted.digest).await;
    source.get(purpose, wanted, true, out).await
}

/// `bytes 0-9/100` as the range `0..10` and the total, if told.
pub(in crate::sources) fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = first.trim().parse().ok()?..last.trim().parse::<u64>().ok()?.checked_add(1)?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((range, total))
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Has previews shown to its reader, or looks away.
    struct Looking(bool);

    #[async_trait]
    impl Sink for Looking {
        async fn write(&mut self, _bytes: Bytes) -> Result<()> {
            Ok(())
        }

        fn preview(&mut self, _bytes: &mut Vec<Bytes>) -> bool {
            self.0
        }
    }

    #[tokio::test]
    async fn only_bytes_that_the_reader_has_wait_long_for_their_confirmation() {
        for (is_shown, expected) in [(true, Patience::Read), (false, Patience::Held(Duration::ZERO))] {
            let asked = Mutex::new(None);
            let ask = |patience| {
                *asked.lock() = Some(patience);
                std::future::ready(Ok(()))
            };
            let confirm = Confirm { piece: PIECE_BYTES, ask, early: Some(Early::SAFE) };
            let chunks = vec![Bytes::from_static(b"bytes")];
            let (since, patience) = (Instant::now() + Duration::from_secs(60), Duration::ZERO);
            let mut held =
                Held { chunks, bytes: 5, since, before: None, confirm: Some(confirm), patience, is_shown: false };
            let mut out = Looking(is_shown);
            held.preview(Duration::ZERO, &mut out);
            held.all(&mut out).await.expect("the bytes are confirmed");
            assert_eq!(*asked.lock(), Some(expected));
        }
    }
}
