//! Retrieving bytes of one version: many reads under way at once, and after each the question which version it was.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;

use super::client::{Asked, Handle};
use super::codec::Attrs;
use super::connection::Connection;
use super::failure::Failure;
use super::pool::{Lease, Pool};
use super::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Retrieval, Retrieved, Sink};

const OP: &str = "retrieve_file";

/// For fewer bytes than this no retrieval changes its connection: opening the file there costs two round trips.
const WORTH_MOVING: u64 = 1 << 20;

/// Retrieves the wanted bytes, or fails without having written a byte of another version.
pub(super) async fn retrieve(pool: &Arc<Pool>, retrieval: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
    let wanted = Stamp::parse(retrieval.digest).filter(|wanted| retrieval.size == Some(wanted.size));
    let wanted = Wanted { retrieval, stamp: wanted.ok_or_else(|| changed(retrieval))? };
    let Range { start: mut at, end } = retrieval.range;
    let mut lease = pool.lease(retrieval.path, wanted.stamp, end.saturating_sub(at));
    loop {
        match wanted.bring(&mut lease, &mut at, out).await {
            Ok(()) => return Ok(Retrieved::confirmed(Some(wanted.stamp.modified()))),
            // What an additional connection owed, the first one brings.
            Err(Stop::Lost(_)) if lease.fall_back() => {}
            Err(Stop::Lost(error) | Stop::Failed(error)) => return Err(error),
        }
    }
}

/// Why a retrieval stopped.
enum Stop {
    /// The connection is lost.
    Lost(Error),
    /// Another one would be of no use.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn changed(retrieval: &Retrieval<'_>) -> Error {
    Error::new(OP, ErrorKind::Changed).on(retrieval.path)
}

fn failed(retrieval: &Retrieval<'_>, failure: &Failure) -> Error {
    failure.error(OP, retrieval.path)
}

/// What is to be retrieved.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    retrieval: &'a Retrieval<'a>,
    /// The version.
    stamp: Stamp,
}

impl<'a> Wanted<'a> {
    /// Writes all bytes from `at` on, over the connection of the lease or one with fewer retrievals, and notes how far it came.
    async fn bring(self, lease: &mut Lease, at: &mut u64, out: &mut dyn Sink) -> Result<(), Stop> {
        let mut reads = self.reads(lease, *at..self.retrieval.range.end).await?;
        loop {
            let moves = reads.rest() >= WORTH_MOVING && lease.move_on();
            let elsewhere = if moves { reads.leave() } else { 0..0 };
            if moves {
                let (came, others) =
                    tokio::join!(self.deliver(&mut reads, lease, at, out, usize::MAX), self.reads(lease, elsewhere));
                came?;
                reads = others?;
            } else if !self.deliver(&mut reads, lease, at, out, 1).await? {
                break;
            }
        }
        if !self.retrieval.is_whole() {
            reads.connection.kept.keep(self.retrieval.path, self.stamp, reads.handle);
        }
        Ok(())
    }

    /// Writes the next answers, at most `most`. False if there are no more.
    async fn deliver(
        self,
        reads: &mut Reads,
        lease: &Lease,
        at: &mut u64,
        out: &mut dyn Sink,
        most: usize,
    ) -> Result<bool, Stop> {
        for _ in 0..most {
            let Some(chunk) = reads.next(lease.reads()).await else { return Ok(false) };
            let (chunk, attrs) = match chunk {
                Ok(chunk) => chunk,
                // The file has become shorter.
                Err(failure) if failure.is_eof() => return Err(changed(self.retrieval).into()),
                Err(failure) => return Err(self.stop(&reads.connection, failed(self.retrieval, &failure))),
            };
            // Overwriting the file in place changes its time.
            self.same(&attrs)?;
            let (since, from) = (Instant::now(), *at);
            for bytes in chunk {
                *at += bytes.len() as u64;
                out.write(bytes).await?;
            }
            lease.came(&reads.connection, *at - from, since.elapsed());
        }
        Ok(true)
    }

    /// An error, and whether it is that the connection is lost.
    fn stop(self, connection: &Connection, error: Error) -> Stop {
        if connection.client.lost().is_some() { Stop::Lost(error) } else { Stop::Failed(error) }
    }

    /// Asks for bytes over the connection of the lease.
    async fn reads(self, lease: &Lease, range: Range<u64>) -> Result<Reads, Stop> {
        let (connection, window) = (lease.connection(), lease.reads());
        if let Some(reads) = self.read_kept(connection, &range, window).await {
            return Ok(reads);
        }
        let opened = self.read_opened(connection, &range, window).await;
        opened.map_err(|error| self.stop(connection, error))
    }

    /// Reads from a file that was left open, if its path still leads to this version. All questions leave at once: one round trip.
    async fn read_kept(self, connection: &Arc<Connection>, range: &Range<u64>, window: usize) -> Option<Reads> {
        let path = self.retrieval.path;
        let handle = connection.kept.get(path, self.stamp)?;
        let place = connection.real(OP, path, ErrorKind::Changed).await.ok()?;
        let (real, named) = (connection.client.real_path(&place), connection.client.lstat(&place));
        let named = async {
            connection.no_links(OP, path, &place, real, ErrorKind::Changed).await?;
            self.same(&named.await.map_err(|failure| failed(self.retrieval, &failure))?)
        };
        let reads = self.begin(connection, handle, range, window, named).await;
        if reads.is_err() {
            // What is opened anew tells why.
            connection.kept.forget(path);
        }
        reads.ok()
    }

    /// Opens the file and reads from it.
    async fn read_opened(self, connection: &Arc<Connection>, range: &Range<u64>, window: usize) -> Result<Reads> {
        let path = self.retrieval.path;
        let place = connection.real(OP, path, ErrorKind::Changed).await?;
        let real = connection.client.real_path(&place);
        let handle = match connection.client.open(&place).await {
            Ok(handle) => Arc::new(handle),
            Err(failure) => return Err(connection.error(OP, path, &failure).await),
        };
        let named = connection.no_links(OP, path, &place, real, ErrorKind::Changed);
        self.begin(connection, handle, range, window, named).await
    }

    /// Asks for bytes, and fails unless they are of this version and `named` finds that the path leads to them.
    async fn begin(
        self,
        connection: &Arc<Connection>,
        handle: Arc<Handle>,
        range: &Range<u64>,
        window: usize,
        named: impl Future<Output = Result<()>>,
    ) -> Result<Reads> {
        let in_one_read = self.retrieval.is_whole() && self.stamp.size <= u64::from(connection.client.max_read());
        if !in_one_read && self.retrieval.digest.unsettled_since().is_some() {
            // Bytes that are asked for at different times are of one version only if a change in between would show.
            tokio::time::sleep(self.stamp.settles_in(SystemTime::now())).await;
        }
        let mut reads = Reads::begin(connection, handle, range.clone());
        let first = reads.stat();
        reads.ask(window);
        named.await?;
        self.same(&first.await.map_err(|failure| failed(self.retrieval, &failure))?)?;
        Ok(reads)
    }

    /// Fails if these are not the attributes of the wanted version.
    fn same(self, attrs: &Attrs) -> Result<()> {
        if Stamp::of(attrs) == Some(self.stamp) { Ok(()) } else { Err(changed(self.retrieval)) }
    }
}

/// The reads of one retrieval over one connection, in order.
struct Reads {
    connection: Arc<Connection>,
    handle: Arc<Handle>,
    /// Not asked for yet.
    rest: Range<u64>,
    asked: VecDeque<Read>,
}

/// A read, and the attributes after it: servers answer about one file in the order of the questions.
struct Read {
    range: Range<u64>,
    bytes: Asked<Bytes>,
    attrs: Asked<Attrs>,
}

impl Reads {
    fn begin(connection: &Arc<Connection>, handle: Arc<Handle>, range: Range<u64>) -> Self {
        Self { connection: Arc::clone(connection), handle, rest: range, asked: VecDeque::new() }
    }

    fn stat(&self) -> Asked<Attrs> {
        self.connection.client.fstat(&self.handle)
    }

    fn read(&self, range: Range<u64>) -> Read {
        let length = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        let bytes = self.connection.client.read(&self.handle, range.start, length);
        Read { range, bytes, attrs: self.stat() }
    }

    /// How many bytes are not asked for yet.
    fn rest(&self) -> u64 {
        self.rest.end.saturating_sub(self.rest.start)
    }

    /// What is not asked for yet is left to others.
    fn leave(&mut self) -> Range<u64> {
        let end = self.rest.start;
        std::mem::replace(&mut self.rest, end..end)
    }

    /// Asks for as much as may be under way.
    fn ask(&mut self, window: usize) {
        let most = u64::from(self.connection.client.max_read());
        while self.asked.len() < window && !self.rest.is_empty() {
            let end = self.rest.end.min(self.rest.start + most);
            self.asked.push_back(self.read(self.rest.start..end));
            self.rest.start = end;
        }
    }

    /// The next bytes, and the attributes that the file had when all of them were read; `None` after the last.
    async fn next(&mut self, window: usize) -> Option<Result<(Vec<Bytes>, Attrs), Failure>> {
        let read = self.asked.pop_front()?;
        Some(self.all_of(read, window).await)
    }

    async fn all_of(&mut self, mut read: Read, window: usize) -> Result<(Vec<Bytes>, Attrs), Failure> {
        let mut chunk = Vec::with_capacity(1);
        loop {
            let bytes = read.bytes.await?;
            let start = read.range.start + bytes.len() as u64;
            if bytes.is_empty() || start > read.range.end {
                return Err(super::codec::Malformed("the server answered with another number of bytes").into());
            }
            chunk.push(bytes);
            if start == read.range.end {
                self.ask(window);
                return Ok((chunk, read.attrs.await?));
            }
            // Servers may answer with less; the rest is asked for again, and so are the attributes.
            read = self.read(start..read.range.end);
        }
    }
}

#[cfg(test)]
mod tests;
