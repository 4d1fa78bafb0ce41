//! Carrying out a request: its bytes are cut into blocks as they arrive, and put into the copy as fast as its readers want them. It decides
//! not which requests are made.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tracing::debug;

use super::pace::Stopwatch;
use super::request::Request;
use super::{OpenVersion, Version};
use crate::cache::Stored;
use crate::cache::block::{BLOCK, bytes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::source::retry::retry_read;
use crate::source::{Capabilities, Retrieval, Sink};

/// A request that stands in the way of others ends after this many blocks (32 MiB), which are worth what a request costs.
const FAIR_SHARE: usize = 256;

impl OpenVersion {
    /// Asks the source for what a request is for, and again for what is missing when the connection breaks; proves a copy that is complete
    /// with it.
    pub(super) async fn carry_out(self: &Arc<Self>, request: &Request) -> Result<()> {
        let (first, end) = (request.first, request.end());
        let sink = tokio::sync::Mutex::new(BlockSink::new(self, request, end));
        let Capabilities { ranges, buffer, .. } = self.transfer.source.capabilities();
        let asked = bytes_of(&(first..end), self.version.size);
        let held = self.transfer.memory.reserve(buffer.min(asked.end - asked.start) + BLOCK).await;
        let progress = || request.progress.borrow().upto as u64;
        let retrieving = retry_read(self.transfer.short_break, progress, async || {
            let mut sink = sink.lock().await;
            sink.begin(if ranges { None } else { Some(first) });
            let range = bytes_of(&(sink.next..end), self.version.size);
            if range.is_empty() {
                return Ok(());
            }
            let Version { path, digest, size, .. } = &self.version;
            let (urgency, opened) = (request.urgency.clone(), self.opened);
            let retrieval = Retrieval { path, digest, size: Some(*size), range: range.clone(), urgency, opened };
            let retrieved = self.transfer.source.retrieve_file(&retrieval, &mut *sink).await?;
            if retrieved.modified.is_some() {
                self.state.lock().retrieved_modified = retrieved.modified;
            }
            sink.expect_end(&range)
        });
        let result = tokio::select! {
            result = retrieving => result,
            () = request.is_cut_off() => {
                debug!("{}: the request for blocks {first} to {end} was cut off", self.version.path);
                Ok(())
            }
        };
        drop(held);
        let sink = sink.into_inner();
        sink.stopwatch.stop();
        match result {
            // Blocks that came before the source noticed the change may be of the new version: they must not be served.
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                let came = first..sink.next;
                // A reader that finds them missing before this request ends waits for its end, and makes no request of its own.
                request.progress.send_modify(|progress| progress.upto = first);
                self.tell_disk(|copy| copy.discard_blocks(came)).await;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) if sink.complete => self.judge().await,
            Ok(()) => Ok(()),
        }
    }

    /// Stores one block. A disk that does not answer in time is left alone for a while.
    async fn keep(self: &Arc<Self>, block: usize, bytes: Bytes) -> Stored {
        let given_up = Arc::new(AtomicBool::new(false));
        let (writing, is_given_up) = (bytes.clone(), given_up.clone());
        let stored = self.ask_disk(move |copy| copy.write(block, &writing, &is_given_up)).await;
        if stored.is_none() {
            given_up.store(true, Ordering::SeqCst);
        }
        stored.flatten().unwrap_or_else(|| self.copy.spill(block, &bytes))
    }
}

/// Cuts what arrives into blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The beginning of the block that comes next.
    begun: BytesMut,
}

impl Blocks {
    /// The next block, of `length` bytes, once they are there; they are taken from `arrived`.
    pub(super) fn next(&mut self, arrived: &mut Bytes, length: u64) -> Option<Bytes> {
        let length = usize::try_from(length).expect("a block fits in memory");
        if self.begun.is_empty() && arrived.len() >= length {
            // As it came, without copying it.
            return Some(arrived.split_to(length));
        }
        let lacking = length - self.begun.len();
        self.begun.reserve(lacking);
        self.begun.extend_from_slice(&arrived.split_to(arrived.len().min(lacking)));
        (self.begun.len() == length).then(|| self.rest())
    }

    /// The beginning of the next block. The one after it begins anew.
    pub(super) fn rest(&mut self) -> Bytes {
        self.begun.split().freeze()
    }

    fn begun(&self) -> u64 {
        self.begun.len() as u64
    }
}

/// Puts what arrives into the copy, block by block.
struct BlockSink<'a> {
    version: &'a Arc<OpenVersion>,
    request: &'a Request,
    /// The block after the last one that the source was asked for.
    end: usize,
    /// The block that comes next.
    next: usize,
    blocks: Blocks,
    /// Whether a block of this request was the copy's last missing one.
    complete: bool,
    stopwatch: Stopwatch<'a>,
}

impl<'a> BlockSink<'a> {
    fn new(version: &'a Arc<OpenVersion>, request: &'a Request, end: usize) -> Self {
        Self {
            version,
            request,
            end,
            next: request.first,
            blocks: Blocks::default(),
            complete: false,
            stopwatch: Stopwatch::start(&version.transfer.pace),
        }
    }

    /// The source is asked for what is left, or for everything from block `from` on.
    fn begin(&mut self, from: Option<usize>) {
        self.blocks = Blocks::default();
        self.next = from.unwrap_or(self.next);
        self.stopwatch = Stopwatch::start(&self.version.transfer.pace);
    }

    /// Fails unless everything that was asked for has arrived.
    fn expect_end(&self, asked: &Range<u64>) -> Result<()> {
        if self.next == self.end {
            return Ok(());
        }
        let got = self.next as u64 * BLOCK + self.blocks.begun() - asked.start;
        Err(Error::new("retrieve_file", ErrorKind::Protocol)
            .on(&self.version.version.path)
            .because(format!("the source delivered {got} of {} bytes", asked.end - asked.start)))
    }

    /// Returns when the next block is wanted; never, if the request is cut off here.
    async fn until_wanted(&mut self) {
        let request = self.request;
        let is_in_the_way = || request.urgency.is_turn_wanted() || self.version.transfer.memory.is_wanted();
        if self.next >= request.first + FAIR_SHARE && is_in_the_way() {
            request.cut_off().await;
        }
        let in_memory = || self.version.ahead_in_memory().is_some();
        if !request.wants(self.next, in_memory()) {
            self.stopwatch.pause();
            request.until_wanted(self.next, in_memory, is_in_the_way).await;
            self.stopwatch.resume();
        }
    }
}

#[async_trait]
impl Sink for BlockSink<'_> {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.stopwatch.arrived(bytes.len() as u64, self.request.urgency.turn_began());
        loop {
            if self.next == self.end {
                return if bytes.is_empty() {
                    Ok(())
                } else {
                    Err(Error::new("retrieve_file", ErrorKind::Protocol)
                        .on(&self.version.version.path)
                        .because("the source delivered more bytes than were asked for"))
                };
            }
            let range = bytes_of(&(self.next..self.next + 1), self.version.version.size);
            let Some(block) = self.blocks.next(&mut bytes, range.end - range.start) else { return Ok(()) };
            self.until_wanted().await;
            let stored = self.version.keep(self.next, block).await;
            self.complete |= stored == Stored::DiskComplete;
            if stored != Stored::Memory {
                self.version.hash_along(self.next);
            }
            self.next += 1;
            if !self.complete {
                let upto = self.next;
                self.request.progress.send_modify(|progress| progress.upto = upto);
            }
            if self.next < self.end && self.next >= self.request.end() {
                // Others bring what follows: not one byte more.
                self.request.cut_off().await;
            }
        }
    }
}
