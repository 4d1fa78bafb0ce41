//! `BlockSink`: cuts what arrives into blocks and puts them into the copy. It asks for nothing.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{OpenVersion, Request};
use crate::cache::Stored;
use crate::cache::block::{BLOCK, bytes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::source::Sink;

/// Cuts what arrives into blocks and puts them into the copy.
pub(super) struct BlockSink<'a> {
    pub(super) version: &'a Arc<OpenVersion>,
    pub(super) request: &'a Request,
    /// The block that the gathered bytes begin.
    pub(super) next: usize,
    pub(super) gathered: BytesMut,
    /// Whether a block of this request was the copy's last missing one.
    pub(super) complete: bool,
}

impl BlockSink<'_> {
    /// Fails unless everything that was asked for has arrived.
    pub(super) fn expect_end(&self, asked: &Range<u64>) -> Result<()> {
        if self.next == self.request.blocks.end {
            return Ok(());
        }
        let got = self.next as u64 * BLOCK + self.gathered.len() as u64 - asked.start;
        Err(Error::new("retrieve_file", ErrorKind::Protocol)
            .on(&self.version.version.path)
            .because(format!("the source delivered {got} of {} bytes", asked.end - asked.start)))
    }
}

#[async_trait]
impl Sink for BlockSink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.gathered.extend_from_slice(&bytes);
        loop {
            if self.next == self.request.blocks.end {
                return if self.gathered.is_empty() {
                    Ok(())
                } else {
                    Err(Error::new("retrieve_file", ErrorKind::Protocol)
                        .on(&self.version.version.path)
                        .because("the source delivered more bytes than were asked for"))
                };
            }
            let range = bytes_of(&(self.next..self.next + 1), self.version.version.size);
            let length = usize::try_from(range.end - range.start).expect("a block fits in memory");
            if self.gathered.len() < length {
                return Ok(());
            }
            let block = self.gathered.split_to(length).freeze();
            let stored = self.version.copy.store(&self.version.transfer.cache, self.next, block);
            self.complete |= stored == Stored::DiskComplete;
            if stored != Stored::Memory {
                self.version.hash_along(self.next);
            }
            self.next += 1;
            if !self.complete {
                let upto = self.next;
                self.request.progress.send_modify(|progress| progress.upto = upto);
            }
        }
    }
}
