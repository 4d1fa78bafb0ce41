//! `Shared`: a source whose content comes from the tier where that has it, and is given to it where not. It knows no store.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::sealed::{EXTENT, Extent};
use super::tier::{Access, Tier};
use crate::cache::Key;
use crate::cache::block::{BLOCK, blocks_of};
use crate::content::Algorithm;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};

/// Begins digests that are made of size and times alone.
const STAT: &str = "stat:";

/// How many versions are remembered. One that is forgotten is asked about anew.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Asks the tier for content before `inner`, and gives it what `inner` brings.
///
/// Nothing is given of a retrieval that has not ended well. Of a version whose digest is a hash of its content, nothing is given before
/// the whole copy is proven: by [`Source::create_local_digest`], or by whoever calls [`Shared::confirm`].
///
/// What is shared is only what a digest tells apart for good: of a settled digest, with a known size, and not of a source that cannot tell by
/// itself which version its bytes are of. A version whose bytes turned out wrong is retrieved from the source alone.
pub struct Shared<S> {
    inner: S,
    tier: Arc<Tier>,
    source_id: Arc<str>,
    weak: bool,
    versions: Mutex<LruCache<Key, Version>>,
}

/// What is known of a version.
#[derive(Clone, Default)]
struct Version {
    /// The source gave bytes of it to this mount.
    is_proven: bool,
    /// Bytes of it came from the tier.
    is_used: bool,
    /// The first blocks of extents that the tier had.
    there: Vec<usize>,
    /// Bytes of it were wrong.
    doubted: Arc<AtomicBool>,
}

impl<S: Source> Shared<S> {
    /// Wraps `inner`, whose identity is `source_id`; with `weak`, also what size and time alone tell apart is shared.
    pub fn new(inner: S, tier: Arc<Tier>, source_id: Arc<str>, weak: bool) -> Self {
        Self { inner, tier, source_id, weak, versions: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// The version that is asked for, and its size, if its content may be shared.
    fn shareable(&self, request: &Retrieval<'_>) -> Option<(Key, u64)> {
        let Retrieval { path, digest, size, range, .. } = request;
        let size = (*size)?;
        let is_aligned = range.start.is_multiple_of(BLOCK) && (range.end.is_multiple_of(BLOCK) || range.end == size);
        let is_strong = self.weak || !digest.as_str().starts_with(STAT);
        let is_told = !self.inner.capabilities().proven_whole;
        let may = is_aligned && is_strong && is_told && digest.unsettled_since().is_none();
        may.then(|| (Key::new(&self.source_id, path, digest), size))
    }

    fn version(&self, key: &Key) -> Version {
        self.versions.lock().get_or_insert(*key, Version::default).clone()
    }

    fn known(&self, key: &Key) -> Option<Version> {
        self.versions.lock().peek(key).cloned()
    }

    fn note(&self, key: &Key, note: impl FnOnce(&mut Version)) {
        note(self.versions.lock().get_or_insert_mut(*key, Version::default));
    }

    /// Whether only a whole copy proves what the bytes of this version are.
    fn is_proven_as_a_whole(&self, digest: &Digest) -> bool {
        self.inner.capabilities().content_digest || Algorithm::of(digest).is_some()
    }

    /// The whole copy has the digest that the source tells: its content may be shared.
    pub fn confirm(&self, copy: &LocalCopy<'_>) {
        let whole = Retrieval::new(copy.path, copy.retrieved_as, copy.size, 0..copy.size);
        let Some((key, size)) = self.shareable(&whole) else { return };
        let Version { is_proven, there, doubted, .. } = self.version(&key);
        // What never came from the source in the life of this mount has been given already, or came from the tier.
        if is_proven && self.is_proven_as_a_whole(copy.retrieved_as) && !doubted.load(Ordering::SeqCst) {
            self.tier.give_copy(key, size, copy.file, &there, &doubted);
        }
    }

    /// Bytes of a version that are shared may be wrong.
    fn doubt(&self, key: &Key, size: u64) {
        self.note(key, |version| version.doubted.store(true, Ordering::SeqCst));
        self.tier.revoke(key, size);
    }

    /// Writes what the tier has of the beginning of the request, and returns how far that is.
    async fn write_shared(&self, key: &Key, size: u64, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<u64> {
        let wanted = blocks_of(&request.range);
        let (mut next, mut at) = (wanted.start, request.range.start);
        while next < wanted.end {
            let extent = self.tier.extent(key, size, next);
            let blocks = next..extent.blocks.end.min(wanted.end);
            let Some(contents) = self.tier.fetch(&extent, &blocks).await else { break };
            self.note(key, |version| {
                version.is_used = true;
                if !version.there.contains(&extent.blocks.start) {
                    version.there.push(extent.blocks.start);
                }
            });
            for content in contents {
                at += content.len() as u64;
                out.write(content).await?;
            }
            next = blocks.end;
        }
        Ok(at)
    }

    /// Retrieves what begins at `from` from the source, and gives it to the tier.
    async fn retrieve_rest(
        &self,
        key: &Key,
        size: u64,
        from: u64,
        request: &Retrieval<'_>,
        out: &mut dyn Sink,
    ) -> Result<Retrieved> {
        let Version { doubted, .. } = self.version(key);
        let mut rest = request.clone();
        // A source without ranges sends all of it, of which the beginning is there already.
        if self.inner.capabilities().ranges {
            rest.range.start = from;
        }
        let (skip, at) = (from - rest.range.start, rest.range.start);
        let shows = from == request.range.start;
        let gives = self.tier.gives() && !doubted.load(Ordering::SeqCst) && !self.is_proven_as_a_whole(request.digest);
        let blocks = Vec::new();
        let block = BytesMut::new();
        let mut giving =
            Giving { out, tier: &self.tier, key, size, skip, shows, gives, at, block, extent: None, blocks };
        let result = self.inner.retrieve_file(&rest, &mut giving).await;
        let Giving { blocks, .. } = giving;
        match &result {
            Ok(_) => {
                self.note(key, |version| version.is_proven = true);
                for Held { extent, number, content, .. } in blocks {
                    self.tier.take(&extent, number, content, &doubted);
                }
            }
            // What came before the source noticed may be of another version.
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                self.doubt(key, size);
            }
            Err(_) => {}
        }
        result
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl<S: Source> Source for Shared<S> {
    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        Capabilities { buffer: inner.buffer.max(EXTENT), ..inner }
    }

    async fn connect(&self) -> Result<()> {
        self.inner.connect().await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        self.inner.list_path(dir).await
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.inner.create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        let local = self.inner.create_local_digest(copy).await?;
        let key = Key::new(&self.source_id, copy.path, copy.retrieved_as);
        if local == *copy.retrieved_as {
            self.confirm(copy);
        } else if let Some(Version { is_used, doubted, .. }) = self.known(&key) {
            if is_used && !doubted.load(Ordering::SeqCst) {
                self.tier.refuse("bytes that came from other machines are not those of the version");
            }
            self.doubt(&key, copy.size);
        }
        Ok(local)
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let Some((key, size)) = self.shareable(request) else { return self.inner.retrieve_file(request, out).await };
        let Version { is_proven, doubted, .. } = self.version(&key);
        let may = is_proven || self.tier.access() == Access::Same;
        let mut from = request.range.start;
        if may && !doubted.load(Ordering::SeqCst) {
            from = self.write_shared(&key, size, request, out).await?;
            if from == request.range.end {
                return Ok(Retrieved::default());
            }
        }
        self.retrieve_rest(&key, size, from, request, out).await
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

/// A block that came from the source, until its retrieval has ended.
struct Held {
    extent: Arc<Extent>,
    number: usize,
    content: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Passes on what comes from the source, and keeps its blocks for the tier.
struct Giving<'a> {
    out: &'a mut dyn Sink,
    tier: &'a Arc<Tier>,
    key: &'a Key,
    size: u64,
    /// The bytes that come next and are there already.
    skip: u64,
    /// A reader who has nothing yet may be shown bytes ahead of their proof.
    shows: bool,
    /// What comes may be given when the retrieval has ended.
    gives: bool,
    /// Where in the file the block that comes next begins.
    at: u64,
    /// The beginning of that block.
    block: BytesMut,
    extent: Option<Arc<Extent>>,
    blocks: Vec<Held>,
}

impl Giving<'_> {
    fn keep(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.at < self.size {
            let number = usize::try_from(self.at / BLOCK).expect("a file has fewer blocks than there are addresses");
            let (tier, key, size) = (self.tier, self.key, self.size);
            let known = self.extent.take().filter(|extent| extent.blocks.contains(&number));
            let extent = known.unwrap_or_else(|| Arc::new(tier.extent(key, size, number)));
            let length = extent.length(number);
            let part = bytes.len().min(length - self.block.len());
            self.block.extend_from_slice(&bytes[..part]);
            bytes.advance(part);
            if self.block.len() == length {
                self.at += length as u64;
                let content = self.block.split().freeze();
                if let Some(room) = tier.hold(length) {
                    self.blocks.push(Held { extent: extent.clone(), number, content, _room: room });
                }
            }
            self.extent = Some(extent);
        }
    }
}

#[async_trait]
impl Sink for Giving<'_> {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.gives {
            self.keep(&bytes);
        }
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        bytes.advance(usize::try_from(skipped).expect("it is no more than the bytes"));
        self.out.write(bytes).await
    }

    fn preview(&mut self, bytes: &[Bytes]) {
        if self.shows {
            self.out.preview(bytes);
        }
    }
}
