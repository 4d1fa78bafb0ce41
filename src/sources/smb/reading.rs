//! Reading one version of a file from a share. It runs as a task of its own, so that its handle is always closed.

use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use smb2::CompoundOp;
use smb2::types::{Command, FileId};
use tokio::sync::mpsc;

use super::requests::{self, Access, SAME};
use super::session::Session;
use super::stamp::Stamp;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Retrieval, Retrieved};
use crate::sources::purpose::Purpose;

/// How many bytes one answer carries, and how many requests are under way for a retrieval: 4 MiB fill 200 MiB/s at 20 ms.
const CHUNK_BYTES: u32 = 512 * 1024;
const READS_AT_ONCE: usize = 8;

/// Bytes that wait at most until it is certain that they are of the wanted version.
pub(super) const PIECE_BYTES: u64 = 2 << 20;
/// How long bytes wait for a piece to be full, so that a reader over a slow line sees them.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(500);

/// A part of a reading's result: bytes of the version in order, and at the end what was learned. No bytes are a sign of life.
pub(super) enum Part {
    Bytes(Bytes),
    Done(Retrieved),
}

/// The channel to the retrieval that waits for them.
pub(super) type Parts = mpsc::Sender<Result<Part>>;

/// Which bytes of which version; what a task can own of a [`Retrieval`].
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    digest: Digest,
    size: Option<u64>,
    range: Range<u64>,
}

impl From<&Retrieval<'_>> for Wanted {
    fn from(request: &Retrieval<'_>) -> Self {
        Self { digest: request.digest.clone(), size: request.size, range: request.range.clone() }
    }
}

/// Asks what a file is: whether a directory, and its stamp when the server's clock said at least so much.
pub(super) async fn ask(session: &Session, purpose: Purpose<'_>) -> Result<(bool, Stamp, u64)> {
    let observed = session.now();
    let open = requests::open(session.place(purpose)?, Access::Ask);
    let (query, close) = (requests::query(SAME), requests::close(SAME));
    let operations = [
        session.operation(Command::Create, &open, 1),
        session.operation(Command::QueryInfo, &query, 1),
        session.operation(Command::Close, &close, 1),
    ];
    let answers = session.compound(purpose, &operations).await?;
    if let Err(error) = requests::opened(purpose, &answers[0]) {
        return Err(match error.kind() {
            ErrorKind::NotFound => session.missing(purpose, error).await,
            _ => error,
        });
    }
    // The server may leave out what follows a failure.
    if !answers[2].header.status.is_success() {
        session.close(purpose, &answers[0]).await;
    }
    let (directory, stamp) = requests::stamp_from_query(purpose, &answers[1], session.indexed)?;
    Ok((directory, requests::stamp_from_close(purpose, stamp, &answers[2])?, observed))
}

/// Reads what is wanted into `out`, until its receiver is dropped.
pub(super) async fn read(session: &Session, purpose: Purpose<'_>, wanted: &Wanted, out: &Parts) {
    let last = match read_into(session, purpose, wanted, out).await {
        Ok(None) => return,
        Ok(Some(retrieved)) => Ok(Part::Done(retrieved)),
        Err(error) => Err(error),
    };
    // It fails if the receiver was dropped, which needs no answer.
    let _ = out.send(last).await;
}

/// None if the receiver was dropped before the end.
async fn read_into(session: &Session, purpose: Purpose<'_>, wanted: &Wanted, out: &Parts) -> Result<Option<Retrieved>> {
    let reading = Reading { session, purpose, wanted };
    let first = reading.pieces(wanted.range.start).next().ok_or_else(|| reading.changed())?;
    let observed = session.now();
    let open = requests::open(session.place(purpose)?, Access::Read);
    let (query, read) = (requests::query(SAME), requests::read(SAME, first.0, first.1));
    let operations: [CompoundOp<'_>; 3] = [
        session.operation(Command::Create, &open, 1),
        session.operation(Command::QueryInfo, &query, 1),
        session.operation(Command::Read, &read, first.1),
    ];
    let mut answers = session.compound(purpose, &operations).await?;
    let handle = match requests::opened(purpose, &answers[0]) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(session.missing(purpose, error).await),
        handle => handle?,
    };
    let told = requests::stamp_from_query(purpose, &answers[1], session.indexed);
    let bytes = answers.pop().map(|answer| requests::bytes(purpose, answer));
    let result = async {
        let stamp = reading.same_version(told?.1).await?;
        let settling = stamp.unsettled_for(observed);
        let bytes = if settling.is_zero() {
            bytes.ok_or_else(|| reading.changed())??
        } else {
            // Changes from now on show in the file's times.
            tokio::time::sleep(settling).await;
            reading.ask(stamp.index).await?;
            reading.piece(handle, first.0, first.1).await?
        };
        reading.rest(handle, stamp.index, reading.checked(bytes, first.1)?, out).await
    }
    .await;
    match result {
        Ok(Rest::Unwanted) | Err(_) => {
            let _ = session.request(purpose, Command::Close, &requests::close(handle), 1).await;
            result.map(|_| None)
        }
        Ok(Rest::Last(held)) => {
            let modified = reading.confirm_and_close(handle).await?;
            Ok(pass_on(held, out).await.map(|()| Retrieved::confirmed(modified)))
        }
    }
}

/// How far a reading came.
enum Rest {
    /// These bytes are the last; they wait until the version is confirmed.
    Last(Vec<Bytes>),
    Unwanted,
}

/// None if the receiver was dropped.
async fn pass_on(held: Vec<Bytes>, out: &Parts) -> Option<()> {
    for bytes in held {
        out.send(Ok(Part::Bytes(bytes))).await.ok()?;
    }
    Some(())
}

struct Reading<'a> {
    session: &'a Session,
    purpose: Purpose<'a>,
    wanted: &'a Wanted,
}

impl Reading<'_> {
    /// Offset and length of the requests for everything from `start` on.
    fn pieces(&self, start: u64) -> impl Iterator<Item = (u64, u32)> + use<> {
        let (end, step) = (self.wanted.range.end, self.session.clamp_read(CHUNK_BYTES));
        let length = move |at: u64| u32::try_from(end - at).unwrap_or(u32::MAX).min(step);
        std::iter::successors(Some(start), move |at| Some(at + u64::from(length(*at))))
            .take_while(move |at| *at < end)
            .map(move |at| (at, length(at)))
    }

    /// Reads everything after `first`. Overwriting the file in place meanwhile changes its time: the bytes that have arrived wait, in
    /// pieces, until the server was asked for the file's version once more.
    async fn rest(&self, handle: FileId, index: Option<u64>, first: Bytes, out: &Parts) -> Result<Rest> {
        let mut pieces = self.pieces(self.wanted.range.start + first.len() as u64);
        let mut under_way = FuturesOrdered::new();
        let (mut bytes, mut since) = (first.len() as u64, Instant::now());
        let mut held = vec![first];
        loop {
            while under_way.len() < READS_AT_ONCE
                && let Some((at, length)) = pieces.next()
            {
                under_way.push_back(self.piece(handle, at, length));
            }
            let Some(next) = under_way.next().await else { return Ok(Rest::Last(held)) };
            let next = next?;
            let passed = if bytes + next.len() as u64 > PIECE_BYTES || since.elapsed() > CONFIRM_INTERVAL {
                self.ask(index).await?;
                (bytes, since) = (0, Instant::now());
                pass_on(std::mem::take(&mut held), out).await
            } else {
                out.send(Ok(Part::Bytes(Bytes::new()))).await.ok()
            };
            if passed.is_none() {
                return Ok(Rest::Unwanted);
            }
            bytes += next.len() as u64;
            held.push(next);
        }
    }

    async fn piece(&self, handle: FileId, at: u64, length: u32) -> Result<Bytes> {
        let read = requests::read(handle, at, length);
        let answer = self.session.request(self.purpose, Command::Read, &read, length).await?;
        self.checked(requests::bytes(self.purpose, answer)?, length)
    }

    /// Fewer bytes than asked for are the end of a file that has become shorter.
    fn checked(&self, bytes: Bytes, length: u32) -> Result<Bytes> {
        if bytes.len() as u64 == u64::from(length) { Ok(bytes) } else { Err(self.changed()) }
    }

    /// Closes the handle; the modification time. Fails with `Changed` unless it was the wanted version to the end.
    async fn confirm_and_close(&self, handle: FileId) -> Result<Option<SystemTime>> {
        let (query, close) = (requests::query(handle), requests::close(SAME));
        let operations =
            [self.session.operation(Command::QueryInfo, &query, 1), self.session.operation(Command::Close, &close, 1)];
        let answers = self.session.compound(self.purpose, &operations).await?;
        if !answers[1].header.status.is_success() {
            let _ = self.session.request(self.purpose, Command::Close, &requests::close(handle), 1).await;
        }
        let stamp = requests::stamp_from_query(self.purpose, &answers[0], self.session.indexed)?.1;
        let stamp = requests::stamp_from_close(self.purpose, stamp, &answers[1])?;
        if self.is_wanted(&stamp) { Ok(stamp.modified_time()) } else { Err(self.changed()) }
    }

    /// Fails with `Changed` unless the open file is the wanted version.
    async fn same_version(&self, stamp: Stamp) -> Result<Stamp> {
        // Times are asked for once more: a query may give older ones than the digest has.
        if self.is_wanted(&stamp) { Ok(stamp) } else { self.ask(stamp.index).await }
    }

    /// Fails with `Changed` unless the name has the wanted version, and it is the file with this index.
    async fn ask(&self, index: Option<u64>) -> Result<Stamp> {
        let stamp = ask(self.session, self.purpose).await?.1;
        if self.is_wanted(&stamp) && stamp.index == index { Ok(stamp) } else { Err(self.changed()) }
    }

    fn is_wanted(&self, stamp: &Stamp) -> bool {
        stamp.is_of(&self.wanted.digest) && Some(stamp.size) == self.wanted.size
    }

    fn changed(&self) -> Error {
        self.purpose.error(ErrorKind::Changed)
    }
}
