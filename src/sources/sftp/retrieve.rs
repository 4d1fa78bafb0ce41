//! Retrieving bytes of one version: many reads under way at once, and the last bytes only when all were of that version.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;

use super::client::{Asked, Client, Handle};
use super::codec::Attrs;
use super::connection::Connection;
use super::failure::Failure;
use super::share::Share;
use super::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Retrieval, Retrieved, Sink};

const OP: &str = "retrieve_file";

/// How many reads one retrieval has under way at most: with 255 KiB each, 8 MiB.
const READS: usize = 32;

/// How many reads all retrievals together have under way, as long as each has one.
const ALL_READS: usize = 64;

/// Retrieves the wanted bytes, or fails without having written a byte of another version.
pub(super) async fn retrieve(
    connection: &Connection,
    retrieval: &Retrieval<'_>,
    out: &mut dyn Sink,
) -> Result<Retrieved> {
    let changed = || Error::new(OP, ErrorKind::Changed).on(retrieval.path);
    let wanted =
        Stamp::parse(retrieval.digest).filter(|wanted| retrieval.size == Some(wanted.size)).ok_or_else(changed)?;
    let place = connection.place(retrieval.path);
    let real = connection.client.real_path(&place);
    let handle = match connection.client.open(&place).await {
        Ok(handle) => handle,
        Err(failure) => return Err(connection.error(OP, retrieval.path, &failure).await),
    };
    let in_one_read = retrieval.is_whole() && wanted.size <= u64::from(connection.client.max_read());
    if !in_one_read {
        // Bytes that are asked for at different times are of one version only if a change in between would show.
        tokio::time::sleep(wanted.settles_in(SystemTime::now())).await;
    }
    let mut reads = Reads::begin(&connection.client, &handle, retrieval.range.clone());
    let first = reads.stat();
    reads.ask();
    let same = |attrs: Attrs| if Stamp::of(&attrs) == Some(wanted) { Ok(()) } else { Err(changed()) };
    let failed = |failure: Failure| failure.error(OP, retrieval.path);
    connection.no_links(OP, retrieval.path, real, ErrorKind::Changed).await?;
    same(first.await.map_err(failed)?)?;
    let mut held = Bytes::new();
    while let Some(chunk) = reads.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            // The file has become shorter.
            Err(failure) if failure.is_eof() => return Err(changed()),
            Err(failure) => return Err(failed(failure)),
        };
        let ready = std::mem::replace(&mut held, chunk);
        if !ready.is_empty() {
            out.write(ready).await?;
        }
    }
    // Whoever waits for the last bytes gets them only if all bytes were of this version.
    same(reads.last_stat().await.map_err(failed)?)?;
    out.write(held).await?;
    Ok(Retrieved { modified: Some(wanted.modified()) })
}

/// The reads of one retrieval, in order.
struct Reads<'a> {
    client: &'a Client,
    handle: &'a Handle,
    share: Share<'a>,
    /// Not asked for yet.
    rest: Range<u64>,
    asked: VecDeque<(u64, u32, Asked<Bytes>)>,
    /// The attributes after everything that was asked for: servers answer about one file in the order of the questions.
    last: Option<Asked<Attrs>>,
}

impl<'a> Reads<'a> {
    fn begin(client: &'a Client, handle: &'a Handle, range: Range<u64>) -> Self {
        let share = Share::of(client);
        Self { client, handle, share, rest: range, asked: VecDeque::new(), last: None }
    }

    fn stat(&self) -> Asked<Attrs> {
        self.client.fstat(self.handle)
    }

    fn read(&self, offset: u64, len: u32) -> (u64, u32, Asked<Bytes>) {
        (offset, len, self.client.read(self.handle, offset, len))
    }

    /// Asks for as much as may be under way.
    fn ask(&mut self) {
        let window = self.share.part(ALL_READS, READS);
        let most = self.client.max_read();
        while self.asked.len() < window && !self.rest.is_empty() {
            let len = u32::try_from(self.rest.end - self.rest.start).unwrap_or(most).min(most);
            self.asked.push_back(self.read(self.rest.start, len));
            self.rest.start += u64::from(len);
        }
        if self.rest.is_empty() && self.last.is_none() {
            self.last = Some(self.stat());
        }
    }

    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        let (offset, len, answer) = self.asked.pop_front()?;
        let bytes = match answer.await {
            Ok(bytes) => bytes,
            Err(failure) => return Some(Err(failure)),
        };
        let Some(missing) = u32::try_from(bytes.len()).ok().filter(|got| *got > 0).and_then(|got| len.checked_sub(got))
        else {
            return Some(Err(super::codec::Malformed("the server answered with another number of bytes").into()));
        };
        if missing > 0 {
            // Servers may answer with less; the rest is asked for again, and so are the attributes.
            let again = self.read(offset + u64::from(len - missing), missing);
            self.asked.push_front(again);
            self.last = None;
        }
        self.ask();
        Some(Ok(bytes))
    }

    /// The attributes after the last byte.
    async fn last_stat(self) -> Result<Attrs, Failure> {
        match self.last {
            Some(last) => last.await,
            None => self.stat().await,
        }
    }
}

#[cfg(test)]
mod tests;
