//! Retrieval from a Moodle site: which version an answer is of, and what to do about one that does not say.
//!
//! | digest | from | an answer is of that version if |
//! |---|---|---|
//! | `stat:` (size, time) | the listing | it tells that time and a SHA-1; later, the same SHA-1 |
//! | | | where the web server tells tags of its own: the listing says the same after it; later, it tells the same tag |
//! | `html:` (time) | the listing, of what is generated | the listing says the same after it, and the bytes are those seen before |
//! | `sha1:` | what was made here of a discussion | it is made of an answer that makes the same |
//! | `sha1:`, `etag:` | the file itself, where listings do not show every change | it tells, or has, the same |
//! | `link:` | the listing | the listing says the same |

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Moodle;
use super::answered::Answered;
use super::courses::Account;
use super::ledger::Tag;
use super::session::Session;
use super::stream::{Stream, go_on};
use super::tree::{Body, File, HTML, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{RemoteDigest, Retrieval, Sink};
use crate::sources::purpose::Purpose;
use crate::sources::stamp;

/// The most, in bytes, that is generated for a page or a chapter. It is held whole, since only all of it proves it.
const MAX_PAGE_BYTES: u64 = 16 << 20;

/// A site that lets the account in.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) who: Account,
}

/// One request of a mount.
pub(super) struct Request<'a> {
    pub(super) moodle: &'a Moodle,
    pub(super) connected: Arc<Connected>,
    pub(super) purpose: Purpose<'a>,
}

/// How an answer shows that it is of the wanted version.
enum Wanted {
    /// As the listing tells.
    Listed,
    /// By the tag that an earlier answer with the file had.
    Tagged(Tag),
}

impl Request<'_> {
    fn error(&self, kind: ErrorKind) -> Error {
        self.purpose.error(kind)
    }

    /// The file as the site lists it now: one request, for its activity alone.
    pub(super) async fn current(&self) -> Result<File> {
        let Some(place) = Place::of(self.purpose.path) else {
            let is_root = self.purpose.path.is_root();
            let is_incomplete = self.moodle.courses.is_incomplete();
            return Err(if is_root { self.error(ErrorKind::IsADirectory) } else { self.absence(is_incomplete) });
        };
        let Connected { session, who } = &*self.connected;
        let tree = self.moodle.courses.contents(session, who, self.purpose, place).await?;
        match tree.file(self.purpose.path) {
            Some(file) => Ok(file.clone()),
            None if tree.directory(self.purpose.path).is_some() => Err(self.error(ErrorKind::IsADirectory)),
            None => Err(self.absence(tree.is_incomplete())),
        }
    }

    /// The error of what an answer has not: it may be there if the answer had parts that could not be read.
    fn absence(&self, is_incomplete: bool) -> Error {
        let why = "the site lists something that cannot be read, so that it may be there";
        if is_incomplete { self.purpose.protocol(why) } else { self.error(ErrorKind::NotFound) }
    }

    /// Asks a file itself which version it is.
    pub(super) async fn examine(&self, file: &File) -> Result<RemoteDigest> {
        let Body::Site { url, is_html } = &file.body else { return Err(self.error(ErrorKind::Other)) };
        let ask = |range| Answered::ask(self.purpose, &self.connected.session, url, *is_html, range);
        let answered = match ask(Some(&(0..1))).await {
            // An empty file has no first byte.
            Err(error) if error.kind() == ErrorKind::Changed => ask(None).await,
            answered => answered,
        };
        let answered = answered.map_err(|error| self.not_kept(error))?;
        let size = answered.size;
        let tag = match answered.tag.clone() {
            Some(tag) => tag,
            None => Tag::measured(&self.page(answered).await?),
        };
        Ok(RemoteDigest { digest: tag.digest(), size: Some(size), modified: file.modified })
    }

    /// All bytes of what the site makes when it is asked.
    async fn page(&self, answered: Answered) -> Result<Vec<u8>> {
        if answered.sent != (0..answered.size) {
            return Err(self.purpose.protocol("the site sent a part of something, and not what it is a part of"));
        }
        if answered.size > MAX_PAGE_BYTES {
            let why =
                format!("the site made a page of {} bytes, and more than {MAX_PAGE_BYTES} are not read", answered.size);
            return Err(self.error(ErrorKind::Unsupported).because(why));
        }
        answered.collect(self.purpose).await
    }

    /// The error of a file that is listed and that the site does not send.
    fn not_kept(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::NotFound => {
                self.error(ErrorKind::Other).because("the site lists this file and does not have it")
            }
            _ => error,
        }
    }

    /// Retrieves bytes of a version.
    pub(super) async fn retrieve(&self, retrieval: &Retrieval<'_>, out: &mut dyn Sink) -> Result<()> {
        let part = (!retrieval.is_whole()).then_some(&retrieval.range);
        let streams = &self.moodle.streams;
        let waiting = part.and_then(|_| streams.of(retrieval.path, retrieval.digest));
        let mut turn = match &waiting {
            Some(waiting) => Some(waiting.lock().await),
            None => None,
        };
        if let (Some(turn), Some(part)) = (turn.as_mut(), part)
            && go_on(turn, self.purpose, part, out).await?
        {
            return Ok(());
        }
        let mut stream = self.stream(retrieval, part).await?;
        let is_cut = part.is_some_and(|part| stream.bytes() != *part);
        let range = part.cloned().unwrap_or_else(|| stream.bytes());
        stream.deliver(self.purpose, &range, out).await?;
        match turn {
            Some(mut turn) => *turn = Some(stream),
            None if is_cut => streams.keep(retrieval.path, retrieval.digest, stream),
            None => {}
        }
        Ok(())
    }

    /// Asks for a version, or a part of it: bytes that are of that version, perhaps more than were asked for.
    async fn stream(&self, retrieval: &Retrieval<'_>, part: Option<&Range<u64>>) -> Result<Stream> {
        let (file, wanted) = self.wanted(retrieval).await?;
        let (url, is_html) = match &file.body {
            Body::Site { url, is_html } => (url, *is_html),
            Body::Made(text) => return Ok(Stream::whole(Bytes::from(text.clone()))),
        };
        let is_page = retrieval.digest.as_str().starts_with(HTML);
        let range = part.filter(|_| !is_page);
        let answered = match Answered::ask(self.purpose, &self.connected.session, url, is_html, range).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                self.confirm(retrieval, &wanted).await?;
                return Err(self.not_kept(error));
            }
            answered => answered?,
        };
        let is_listed = matches!(wanted, Wanted::Listed);
        if !retrieval.allows_size(Some(answered.size))
            || (is_listed && file.size.is_some_and(|size| size != answered.size))
        {
            return Err(self.contradicted(retrieval, &wanted).await);
        }
        if is_page || (answered.tag.is_none() && !is_listed) {
            let bytes = self.page(answered).await?;
            self.judge_page(retrieval, &wanted, &bytes).await?;
            return Ok(Stream::whole(bytes.into()));
        }
        self.judge(retrieval, &wanted, &file, &answered).await?;
        Ok(Stream::new(answered))
    }

    /// The file as the latest listing describes it, or as a new one does if that is older than the wanted version; and how an answer
    /// shows that it is of that version.
    async fn wanted(&self, retrieval: &Retrieval<'_>) -> Result<(File, Wanted)> {
        let known = Place::of(retrieval.path).and_then(|place| self.moodle.courses.known(place));
        let known = known.and_then(|tree| tree.file(retrieval.path).cloned());
        if let Some(known) = known
            && let Some(wanted) = self.how(&known, retrieval)
        {
            return Ok((known, wanted));
        }
        let current = self.current().await?;
        match self.how(&current, retrieval) {
            Some(wanted) => Ok((current, wanted)),
            None => Err(self.error(ErrorKind::Changed)),
        }
    }

    /// None if the file, as it was listed, has another version.
    fn how(&self, file: &File, retrieval: &Retrieval<'_>) -> Option<Wanted> {
        let trusted = file.digest.as_ref().and_then(|listed| self.moodle.ledger.trusted(retrieval.path, listed));
        match trusted {
            Some(listed) if listed.base() == retrieval.digest.base() => Some(Wanted::Listed),
            Some(_) => None,
            None if file.digest.as_ref().is_some_and(|listed| listed.base() == retrieval.digest.base()) => None,
            None => Some(Wanted::Tagged(Tag::of(retrieval.digest))),
        }
    }

    /// Fails unless an answer with a tag is of the wanted version.
    async fn judge(&self, retrieval: &Retrieval<'_>, wanted: &Wanted, file: &File, answered: &Answered) -> Result<()> {
        let Some(tag) = &answered.tag else { return Err(self.contradicted(retrieval, wanted).await) };
        if let Wanted::Tagged(wanted) = wanted {
            return if wanted.is_same(tag) { Ok(()) } else { Err(self.error(ErrorKind::Changed)) };
        }
        let ledger = &self.moodle.ledger;
        match (ledger.tag(retrieval.path, retrieval.digest), tag) {
            (Some(seen), tag) if seen.is_same(tag) => return Ok(()),
            (Some(_), _) => return Err(self.contradicted(retrieval, wanted).await),
            (None, Tag::Sha1(_)) => {
                let modified = answered.modified.and_then(stamp::time);
                if modified.is_none() || modified != file.modified {
                    return Err(self.contradicted(retrieval, wanted).await);
                }
            }
            // The time is that of the site's storage, which may have had these bytes before.
            (None, Tag::Other(_)) => self.confirm(retrieval, wanted).await?,
        }
        ledger.learn(retrieval.path, retrieval.digest, tag.clone());
        Ok(())
    }

    /// Fails unless all bytes of something without a tag are of the wanted version.
    async fn judge_page(&self, retrieval: &Retrieval<'_>, wanted: &Wanted, bytes: &[u8]) -> Result<()> {
        let (ledger, tag) = (&self.moodle.ledger, Tag::measured(bytes));
        match wanted {
            Wanted::Tagged(wanted) if wanted.is_same(&tag) => Ok(()),
            Wanted::Tagged(_) => Err(self.error(ErrorKind::Changed)),
            // A page that was not edited may still differ, because filters make it anew.
            Wanted::Listed if ledger.tag(retrieval.path, retrieval.digest).is_some_and(|seen| !seen.is_same(&tag)) => {
                Err(self.contradicted(retrieval, &Wanted::Listed).await)
            }
            Wanted::Listed => {
                self.confirm(retrieval, wanted).await?;
                ledger.learn(retrieval.path, retrieval.digest, tag);
                Ok(())
            }
        }
    }

    /// Fails with `NotFound` unless the site still lists the file, and with `Changed` if a version that was listed no longer is.
    async fn confirm(&self, retrieval: &Retrieval<'_>, wanted: &Wanted) -> Result<()> {
        let listed = self.current().await?.digest;
        let is_same = listed.is_some_and(|listed| listed.base() == retrieval.digest.base());
        if is_same || matches!(wanted, Wanted::Tagged(_)) { Ok(()) } else { Err(self.error(ErrorKind::Changed)) }
    }

    /// The error of an answer that is not what was listed. If it is still listed, the list cannot tell: the file is asked itself from now on.
    async fn contradicted(&self, retrieval: &Retrieval<'_>, wanted: &Wanted) -> Error {
        if matches!(wanted, Wanted::Listed) {
            match self.current().await {
                Ok(File { digest: Some(listed), .. }) if listed.base() == retrieval.digest.base() => {
                    tracing::debug!("{}: the list does not tell its versions apart", retrieval.path);
                    self.moodle.ledger.doubt(retrieval.path, &listed);
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        self.error(ErrorKind::Changed)
    }
}
