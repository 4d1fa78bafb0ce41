//! `Giving`: passes on what comes from the source, and keeps its blocks until they may be given. It asks nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::circle::Subject;
use super::sealed::Extent;
use super::tier::Tier;
use crate::cache::block::BLOCK;
use crate::error::Result;
use crate::source::Sink;

/// A block that came from the source, until its retrieval has ended.
pub(super) struct Held {
    pub(super) extent: Arc<Extent>,
    pub(super) number: usize,
    pub(super) content: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Passes on what comes from the source, and keeps its blocks for the tier.
pub(super) struct Giving<'a> {
    out: &'a mut dyn Sink,
    tier: &'a Arc<Tier>,
    subject: &'a Subject,
    /// The bytes that come next and are there already.
    skip: u64,
    /// The reader may be shown bytes ahead of their proof.
    pub(super) shows: bool,
    /// Blocks are kept, to be given when the retrieval has ended.
    pub(super) gives: bool,
    /// The offset in the file of the block that comes next.
    at: u64,
    /// The beginning of that block.
    block: BytesMut,
    extent: Option<Arc<Extent>>,
    blocks: Vec<Held>,
    /// Something has come.
    begun: &'a AtomicBool,
}

impl<'a> Giving<'a> {
    /// Passes on to `out` what comes of a version from this byte on, but for so many bytes, which are there already.
    pub(super) fn new(
        out: &'a mut dyn Sink,
        tier: &'a Arc<Tier>,
        subject: &'a Subject,
        (begins, skip): (u64, u64),
        begun: &'a AtomicBool,
    ) -> Self {
        let (block, blocks) = Default::default();
        Self { out, tier, subject, skip, shows: false, gives: false, at: begins, block, extent: None, blocks, begun }
    }

    /// The blocks that may be given if the retrieval has ended well.
    pub(super) fn into_blocks(self) -> Vec<Held> {
        self.blocks
    }

    fn keep(&mut self, mut bytes: &[u8]) {
        let Subject { circle, key, size } = self.subject;
        while !bytes.is_empty() && self.at < *size {
            let number = usize::try_from(self.at / BLOCK).expect("a file has fewer blocks than there are addresses");
            let known = self.extent.take().filter(|extent| extent.blocks.contains(&number));
            let extent = known.unwrap_or_else(|| Arc::new(circle.extent(key, *size, number)));
            let length = extent.length(number);
            let part = bytes.len().min(length - self.block.len());
            self.block.extend_from_slice(&bytes[..part]);
            bytes.advance(part);
            if self.block.len() == length {
                self.at += length as u64;
                let content = self.block.split().freeze();
                if let Some(room) = self.tier.hold(length) {
                    self.blocks.push(Held { extent: extent.clone(), number, content, _room: room });
                }
            }
            self.extent = Some(extent);
        }
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its sink can do")]
#[async_trait]
impl Sink for Giving<'_> {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.begun.store(true, Ordering::SeqCst);
        if self.gives {
            self.keep(&bytes);
        }
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        bytes.advance(usize::try_from(skipped).expect("it is no more than the bytes"));
        self.out.write(bytes).await
    }

    fn preview(&mut self, bytes: &mut Vec<Bytes>) -> bool {
        if !self.shows {
            return false;
        }
        self.begun.store(true, Ordering::SeqCst);
        self.out.preview(bytes)
    }

    fn withhold(&mut self) -> bool {
        self.out.withhold()
    }
}
