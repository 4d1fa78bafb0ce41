//! Retrieval from servers that tell of a file in one way and send it in another: WebDAV servers and web directories, whose tags may
//! not agree (see [`Tags`]).

use std::ops::Range;

use async_trait::async_trait;
use reqwest::Response;

use super::body::{self, Confirm, PIECE_BYTES, check, check_still, deliver};
use super::burst::Bursts;
use super::early::{Confirming, Early};
use super::ranges::Ranges;
use super::tags::{Tags, Told};
use crate::error::{ErrorKind, Result};
use crate::source::{Retrieval, Retrieved, Sink};
use crate::sources::purpose::Purpose;
use crate::sources::stamp::{Stamp, Wanted};

/// A source that is asked about a file by one request and for its bytes by another.
#[async_trait]
pub(in crate::sources) trait Versioned: Sync {
    /// The trust in its tags.
    fn tags(&self) -> &Tags;

    /// When its bytes are read.
    fn confirming(&self) -> Confirming;

    /// Those of its files of which bytes wait for a confirmation.
    fn bursts(&self) -> &Bursts;

    /// Whether it sends parts of files.
    fn ranges(&self) -> &Ranges;

    /// What it tells of the purpose's file.
    async fn told(&self, purpose: Purpose<'_>) -> Result<Told>;

    /// Its answer to a GET, made with [`body::ask_for`].
    async fn send(&self, purpose: Purpose<'_>, wanted: &Retrieval<'_>, by_tag: bool) -> Result<Response>;
}

/// An answer of the wanted version.
struct Answer {
    response: Response,
    /// The bytes that it has.
    sent: Range<u64>,
    stamp: Stamp,
    /// Whether it has the tag that the source tells.
    by_tag: bool,
}

/// Retrieves what is wanted, as [`body::Get::get`] must.
pub(in crate::sources) async fn get(
    source: &impl Versioned,
    purpose: Purpose<'_>,
    wanted: &Retrieval<'_>,
    confirmed: bool,
    out: &mut dyn Sink,
) -> Result<Retrieved> {
    let changed = || purpose.error(ErrorKind::Changed);
    let is_by_tag = !Wanted::parse(wanted.digest).is_without_tag();
    if source.tags().are_unstable() && is_by_tag {
        return Err(changed());
    }
    let question = source.bursts().question(wanted);
    let mut answered = answer(source, purpose, wanted, source.tags().are_told()).await?;
    if answered.is_none() && is_by_tag {
        let (first, again) = (source.told(purpose).await?, source.told(purpose).await?);
        if source.tags().judge(wanted, &first, &again) {
            answered = answer(source, purpose, wanted, false).await?;
            if answered.is_some() {
                source.tags().note_other_answers();
            }
        }
    }
    let Answer { response, sent, stamp, by_tag } = answered.ok_or_else(changed)?;
    if by_tag {
        question.confirmed();
    } else {
        drop(question);
    }
    let early = Early::of(source.confirming(), wanted, &stamp, by_tag, response.headers());
    let ask = |patience| source.bursts().confirmed(wanted, patience, confirm(source, purpose, wanted));
    let confirm = confirmed.then_some(Confirm { piece: PIECE_BYTES, ask, early: Some(early) });
    let is_unconfirmed = deliver(purpose, wanted, &sent, response, out, confirm).await?;
    Ok(Retrieved { modified: stamp.modified_time(), is_unconfirmed })
}

/// The answer to a request for the wanted bytes, which has the wanted tag if it is `by_tag`; none if tags speak against it.
async fn answer(
    source: &impl Versioned,
    purpose: Purpose<'_>,
    wanted: &Retrieval<'_>,
    by_tag: bool,
) -> Result<Option<Answer>> {
    let (tags, ranges) = (source.tags(), source.ranges());
    let mut asked = wanted.clone();
    if tags.are_unstable() {
        asked.range = 0..wanted.size.unwrap_or(u64::MAX);
    }
    let response = match source.send(purpose, &asked, by_tag).await {
        Err(error) if by_tag && error.kind() == ErrorKind::Changed => return Ok(None),
        response => response?,
    };
    ranges.learn(&response);
    let sent = ranges.sent(&asked, &response);
    asked.range = sent.clone();
    if by_tag && !body::is_of(wanted, &response) {
        return Ok(None);
    }
    if by_tag || tags.are_unstable() {
        let stamp = check(purpose, &asked, &response)?;
        // Who wants a whole copy takes one answer.
        let is_apart = Wanted::parse(wanted.digest).is_without_tag() && wanted.size.is_some();
        if is_apart && !tags.belong_together(wanted, &stamp) {
            return Err(purpose.error(ErrorKind::Changed).because("another mirror answers, whose bytes may be others"));
        }
        return Ok(Some(Answer { response, sent, stamp, by_tag }));
    }
    // Case G2: the server still tells of the wanted version, and the answer has the size and time of that.
    let (told, observed) = source.told(purpose).await?;
    let sent_as = Stamp::from_headers(response.headers());
    let is_another = sent_as.tag().is_some() && sent_as.modified.is_none();
    if is_another || check_still(purpose, wanted, &told).is_err() {
        return Ok(None);
    }
    let untagged = told.without_tag().digest(observed);
    let stamp = check(purpose, &Retrieval { digest: &untagged, ..asked }, &response)?;
    Ok(tags.belong_together(wanted, &stamp).then_some(Answer { response, sent, stamp, by_tag }))
}

/// Fails with `Changed` unless the file still has the wanted version.
async fn confirm(source: &impl Versioned, purpose: Purpose<'_>, wanted: &Retrieval<'_>) -> Result<()> {
    let told = source.told(purpose).await?;
    let still = check_still(purpose, wanted, &source.tags().known(&told.0));
    if still.is_err() {
        source.tags().judge(wanted, &told, &source.told(purpose).await?);
    }
    still
}
