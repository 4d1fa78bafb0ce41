//! `BlockSink`: cuts what arrives into blocks and puts them into the copy, as fast as its readers want it. It asks for nothing.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::OpenVersion;
use super::request::Request;
use crate::cache::Stored;
use crate::cache::block::{BLOCK, bytes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::source::Sink;

/// A request that others wait for goes on to this many blocks (32 MiB), so that it was worth its while, and no further.
const FAIR: usize = 256;

/// After so many bytes the pace is noted.
const NOTED: u64 = 4 << 20;

/// Cuts what arrives into blocks and puts them into the copy.
pub(super) struct BlockSink<'a> {
    version: &'a Arc<OpenVersion>,
    request: &'a Request,
    /// The block after the last one that the source was asked for.
    end: usize,
    /// The block that the gathered bytes begin.
    pub(super) next: usize,
    gathered: BytesMut,
    /// Whether a block of this request was the copy's last missing one.
    pub(super) complete: bool,
    /// When the source was asked, or the latest of what it sends was noted.
    since: Instant,
    /// Bytes that came since; `None` until the first.
    came: Option<u64>,
    /// For how long since then nobody wanted more.
    paused: Duration,
    /// Since when nobody does.
    pausing: Option<Instant>,
}

impl<'a> BlockSink<'a> {
    pub(super) fn new(version: &'a Arc<OpenVersion>, request: &'a Request, end: usize) -> Self {
        Self {
            version,
            request,
            end,
            next: request.first,
            gathered: BytesMut::new(),
            complete: false,
            since: Instant::now(),
            came: None,
            paused: Duration::ZERO,
            pausing: None,
        }
    }

    /// The source is asked for what is left, or for everything from block `from` on.
    pub(super) fn begin(&mut self, from: Option<usize>) {
        self.gathered.clear();
        self.next = from.unwrap_or(self.next);
        (self.since, self.came, self.paused) = (Instant::now(), None, Duration::ZERO);
    }

    /// Fails unless everything that was asked for has arrived.
    pub(super) fn expect_end(&self, asked: &Range<u64>) -> Result<()> {
        if self.next == self.end {
            return Ok(());
        }
        let got = self.next as u64 * BLOCK + self.gathered.len() as u64 - asked.start;
        Err(Error::new("retrieve_file", ErrorKind::Protocol)
            .on(&self.version.version.path)
            .because(format!("the source delivered {got} of {} bytes", asked.end - asked.start)))
    }

    fn resumed(&mut self) {
        self.paused += self.pausing.take().map(|since| since.elapsed()).unwrap_or_default();
    }

    /// Notes how fast bytes came.
    pub(super) fn note_pace(&mut self) {
        self.resumed();
        if let Some(came) = self.came.filter(|came| *came > 0) {
            let time = self.since.elapsed().saturating_sub(self.paused);
            self.version.transfer.pace.delivered(came, time);
            (self.since, self.came, self.paused) = (Instant::now(), Some(0), Duration::ZERO);
        }
    }

    fn arrived(&mut self, bytes: u64) {
        match &mut self.came {
            Some(came) => *came += bytes,
            None => {
                let asked = self.request.urgency.turn_began().map_or(self.since, |turn| turn.max(self.since));
                self.version.transfer.pace.waited(asked.elapsed());
                (self.since, self.came) = (Instant::now(), Some(0));
            }
        }
        if self.came > Some(NOTED) {
            self.note_pace();
        }
    }

    /// Returns when the next block is wanted; never, if the request is cut off here.
    async fn until_wanted(&mut self) {
        let request = self.request;
        let is_in_the_way = || request.urgency.is_turn_wanted() || self.version.transfer.memory.is_wanted();
        if self.next >= request.first + FAIR && is_in_the_way() {
            request.cut_off().await;
        }
        let in_memory = || self.version.ahead_in_memory().is_some();
        if !request.wants(self.next, in_memory()) {
            self.pausing = Some(Instant::now());
            request.until_wanted(self.next, in_memory, is_in_the_way).await;
            self.resumed();
        }
    }
}

#[async_trait]
impl Sink for BlockSink<'_> {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.arrived(bytes.len() as u64);
        loop {
            if self.next == self.end {
                return if self.gathered.is_empty() && bytes.is_empty() {
                    Ok(())
                } else {
                    Err(Error::new("retrieve_file", ErrorKind::Protocol)
                        .on(&self.version.version.path)
                        .because("the source delivered more bytes than were asked for"))
                };
            }
            let range = bytes_of(&(self.next..self.next + 1), self.version.version.size);
            let length = usize::try_from(range.end - range.start).expect("a block fits in memory");
            let block = if self.gathered.is_empty() && bytes.len() >= length {
                // As it came, without copying it.
                bytes.split_to(length)
            } else {
                self.gathered.reserve(length - self.gathered.len());
                self.gathered.extend_from_slice(&bytes.split_to(bytes.len().min(length - self.gathered.len())));
                if self.gathered.len() < length {
                    return Ok(());
                }
                self.gathered.split().freeze()
            };
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
