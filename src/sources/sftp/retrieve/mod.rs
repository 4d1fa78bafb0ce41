//! Retrieving bytes of one version: many reads under way at once, and after each the question which version it was.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
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
const MAX_READS: usize = 32;

/// How many reads all retrievals together have under way, as long as each has one.
const MAX_READS_OF_ALL: usize = 64;

/// Retrieves the wanted bytes, or fails without having written a byte of another version.
pub(super) async fn retrieve(
    connection: &Connection,
    retrieval: &Retrieval<'_>,
    out: &mut dyn Sink,
) -> Result<Retrieved> {
    let wanted = Stamp::parse(retrieval.digest).filter(|wanted| retrieval.size == Some(wanted.size));
    let wanted = Wanted { retrieval, stamp: wanted.ok_or_else(|| changed(retrieval))? };
    let mut reads = match wanted.read_kept(connection).await {
        Some(reads) => reads,
        None => wanted.read_opened(connection).await?,
    };
    while let Some(chunk) = reads.next().await {
        let (chunk, attrs) = match chunk {
            Ok(chunk) => chunk,
            // The file has become shorter.
            Err(failure) if failure.is_eof() => return Err(changed(retrieval)),
            Err(failure) => return Err(failed(retrieval, &failure)),
        };
        // Overwriting the file in place changes its time.
        wanted.same(&attrs)?;
        for bytes in chunk {
            out.write(bytes).await?;
        }
    }
    if !retrieval.is_whole() {
        connection.kept.keep(retrieval.path, wanted.stamp, reads.handle);
    }
    Ok(Retrieved { modified: Some(wanted.stamp.modified()) })
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
    /// Reads from a file that was left open, if its path still leads to this version. All questions leave at once: one round trip.
    async fn read_kept(self, connection: &'a Connection) -> Option<Reads<'a>> {
        let path = self.retrieval.path;
        let handle = connection.kept.get(path, self.stamp)?;
        let place = connection.real(OP, path, ErrorKind::Changed).await.ok()?;
        let (real, named) = (connection.client.real_path(&place), connection.client.lstat(&place));
        let named = async {
            connection.no_links(OP, path, &place, real, ErrorKind::Changed).await?;
            self.same(&named.await.map_err(|failure| failed(self.retrieval, &failure))?)
        };
        let reads = self.begin(connection, handle, named).await;
        if reads.is_err() {
            // What is opened anew tells why.
            connection.kept.forget(path);
        }
        reads.ok()
    }

    /// Opens the file and reads from it.
    async fn read_opened(self, connection: &'a Connection) -> Result<Reads<'a>> {
        let path = self.retrieval.path;
        let place = connection.real(OP, path, ErrorKind::Changed).await?;
        let real = connection.client.real_path(&place);
        let handle = match connection.client.open(&place).await {
            Ok(handle) => Arc::new(handle),
            Err(failure) => return Err(connection.error(OP, path, &failure).await),
        };
        self.begin(connection, handle, connection.no_links(OP, path, &place, real, ErrorKind::Changed)).await
    }

    /// Asks for bytes, and fails unless they are of this version and `named` finds that the path leads to them.
    async fn begin(
        self,
        connection: &'a Connection,
        handle: Arc<Handle>,
        named: impl Future<Output = Result<()>>,
    ) -> Result<Reads<'a>> {
        let in_one_read = self.retrieval.is_whole() && self.stamp.size <= u64::from(connection.client.max_read());
        if !in_one_read && self.retrieval.digest.unsettled_since().is_some() {
            // Bytes that are asked for at different times are of one version only if a change in between would show.
            tokio::time::sleep(self.stamp.settles_in(SystemTime::now())).await;
        }
        let mut reads = Reads::begin(&connection.client, handle, self.retrieval.range.clone());
        let first = reads.stat();
        reads.ask();
        named.await?;
        self.same(&first.await.map_err(|failure| failed(self.retrieval, &failure))?)?;
        Ok(reads)
    }

    /// Fails if these are not the attributes of the wanted version.
    fn same(self, attrs: &Attrs) -> Result<()> {
        if Stamp::of(attrs) == Some(self.stamp) { Ok(()) } else { Err(changed(self.retrieval)) }
    }
}

/// The reads of one retrieval, in order.
struct Reads<'a> {
    client: &'a Client,
    handle: Arc<Handle>,
    share: Share<'a>,
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

impl<'a> Reads<'a> {
    fn begin(client: &'a Client, handle: Arc<Handle>, range: Range<u64>) -> Self {
        let share = Share::of(client);
        Self { client, handle, share, rest: range, asked: VecDeque::new() }
    }

    fn stat(&self) -> Asked<Attrs> {
        self.client.fstat(&self.handle)
    }

    fn read(&self, range: Range<u64>) -> Read {
        let length = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        let bytes = self.client.read(&self.handle, range.start, length);
        Read { range, bytes, attrs: self.stat() }
    }

    /// Asks for as much as may be under way.
    fn ask(&mut self) {
        let window = self.share.part(MAX_READS_OF_ALL, MAX_READS);
        let most = u64::from(self.client.max_read());
        while self.asked.len() < window && !self.rest.is_empty() {
            let end = self.rest.end.min(self.rest.start + most);
            self.asked.push_back(self.read(self.rest.start..end));
            self.rest.start = end;
        }
    }

    /// The next bytes, and the attributes that the file had when all of them were read; `None` after the last.
    async fn next(&mut self) -> Option<Result<(Vec<Bytes>, Attrs), Failure>> {
        let read = self.asked.pop_front()?;
        Some(self.all_of(read).await)
    }

    async fn all_of(&mut self, mut read: Read) -> Result<(Vec<Bytes>, Attrs), Failure> {
        let mut chunk = Vec::with_capacity(1);
        loop {
            let bytes = read.bytes.await?;
            let start = read.range.start + bytes.len() as u64;
            if bytes.is_empty() || start > read.range.end {
                return Err(super::codec::Malformed("the server answered with another number of bytes").into());
            }
            chunk.push(bytes);
            if start == read.range.end {
                self.ask();
                return Ok((chunk, read.attrs.await?));
            }
            // Servers may answer with less; the rest is asked for again, and so are the attributes.
            read = self.read(start..read.range.end);
        }
    }
}

#[cfg(test)]
mod tests;
