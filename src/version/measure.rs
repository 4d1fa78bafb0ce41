//! Measuring: a version is retrieved whole before anything is said of it, once, however many ask. Its bytes stay as a copy.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use tracing::debug;

use super::request::Blocks;
use super::{Transfer, Version};
use crate::cache::block::BLOCK;
use crate::cache::{Cache, Facts, Gathering, Key, OpenCopy};
use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::flight::Flights;
use crate::name::LocalName;
use crate::path::RemotePath;
#[cfg(doc)]
use crate::source::Capabilities;
use crate::source::retry::retry_read;
use crate::source::{Retrieval, Sink};

/// How many versions' facts are remembered beyond the copies that tell them: those of evicted or too large files.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

pub(super) struct Measured {
    under_way: Arc<Flights<Key, Result<Facts>>>,
    known: Mutex<LruCache<Key, Facts>>,
}

impl Default for Measured {
    fn default() -> Self {
        Self { under_way: Arc::default(), known: Mutex::new(LruCache::new(REMEMBERED)) }
    }
}

impl Transfer {
    /// The facts of a version that memory has: from its copy, or from having measured it.
    pub fn facts_in_memory(&self, path: &RemotePath, digest: &Digest) -> Option<Facts> {
        let key = self.key(path, digest);
        self.remembered(&key).or_else(|| self.cache.facts_known(&key).flatten())
    }

    /// The same, or those that the index of the cache has; memory has them from then on.
    pub async fn facts(&self, path: &RemotePath, digest: &Digest) -> Option<Facts> {
        self.known(self.key(path, digest), false).await
    }

    /// Whether the cache has a whole copy of a version, as far as its index tells.
    pub async fn is_kept(&self, path: &RemotePath, digest: &Digest) -> bool {
        self.known(self.key(path, digest), true).await.is_some()
    }

    fn remembered(&self, key: &Key) -> Option<Facts> {
        self.measured.known.lock().get(key).copied()
    }

    /// The facts of a version; if `whole`, only those of a whole copy.
    async fn known(&self, key: Key, whole: bool) -> Option<Facts> {
        if whole {
            return self.facts_of_copy(key).await.filter(|facts| facts.whole);
        }
        match self.remembered(&key) {
            Some(facts) => Some(facts),
            None => self.facts_of_copy(key).await,
        }
    }

    /// The facts that a copy tells; on a thread that may wait for the disk, unless memory answers.
    async fn facts_of_copy(&self, key: Key) -> Option<Facts> {
        if let Some(known) = self.cache.facts_known(&key) {
            return known;
        }
        let cache = self.cache.clone();
        let facts = tokio::task::spawn_blocking(move || cache.facts(&key)).await.ok().flatten()?;
        self.measured.known.lock().put(key, facts);
        Some(facts)
    }

    /// Retrieves a version whole to learn its size. `name` is its copy's base name on disk.
    ///
    /// # Errors
    /// `Changed` or `NotFound` if the version is no longer there; failures of the source.
    pub async fn measure(self: &Arc<Self>, path: &RemotePath, digest: &Digest, name: &LocalName) -> Result<Facts> {
        self.gathered(path, digest, name, false).await
    }

    /// Retrieves a version whole, and proves it, before anything of it is read (see [`Capabilities::proven_whole`]). What the cache cannot
    /// hold is left to those who read it.
    ///
    /// # Errors
    /// As [`Transfer::measure`]; `Protocol` if it has another `size` than the source told.
    pub async fn bring(
        self: &Arc<Self>,
        path: &RemotePath,
        digest: &Digest,
        name: &LocalName,
        size: u64,
    ) -> Result<()> {
        if size > self.cache.limits().max_size {
            return Ok(());
        }
        let facts = self.gathered(path, digest, name, true).await?;
        if facts.size == size {
            return Ok(());
        }
        let why = format!("the source told {size} bytes and delivered {}", facts.size);
        Err(Error::new("retrieve_file", ErrorKind::Protocol).on(path).because(why))
    }

    /// The facts that [`Transfer::known`] has, or else those that a retrieval tells.
    async fn gathered(
        self: &Arc<Self>,
        path: &RemotePath,
        digest: &Digest,
        name: &LocalName,
        whole: bool,
    ) -> Result<Facts> {
        let key = self.key(path, digest);
        if let Some(facts) = self.known(key, whole).await {
            return Ok(facts);
        }
        if let Some(error) = self.evidence.refusal(&key) {
            return Err(error);
        }
        let answer = self.measured.under_way.join(key, || {
            let (transfer, path, digest, name) = (self.clone(), path.clone(), digest.clone(), name.clone());
            async move {
                if let Some(facts) = transfer.known(key, whole).await {
                    return Ok(facts);
                }
                let result = transfer.gather(key, &path, &digest, &name).await;
                match &result {
                    Ok(facts) => _ = transfer.measured.known.lock().put(key, *facts),
                    Err(error) => debug!("{error}"),
                }
                result
            }
        });
        answer.await.unwrap_or_else(|| {
            Err(Error::new("retrieve_file", ErrorKind::Other).on(path).because("the retrieval was abandoned"))
        })
    }

    /// Retrieves the bytes into a copy and proves it. Where the cache has no room for them, they are counted and let go.
    async fn gather(self: &Arc<Self>, key: Key, path: &RemotePath, digest: &Digest, name: &LocalName) -> Result<Facts> {
        let version = |size, modified| Version { path: path.clone(), digest: digest.clone(), size, modified };
        let cache = self.cache.clone();
        let found = self.cache.disk().ask(move |_| cache.found_size(&key)).await;
        if let Ok(Some(size)) = found {
            let opened = self.open(&version(size, None), name).await;
            opened.take_found().await;
            if let Some(facts) = opened.copy.facts().filter(|facts| facts.whole) {
                return Ok(facts);
            }
        }
        let mut first_attempt = None;
        // The proof may want the bytes a second time; not a third.
        for _ in 0..2 {
            let (size, modified, copy) = self.retrieve_unsized(key, path, digest, name).await?;
            let facts = Facts { size, modified, whole: copy.is_some() };
            let Some(copy) = copy else { return Ok(facts) };
            let opened = self.open(&version(size, modified), name).await;
            drop(copy);
            opened.state.lock().first_attempt = first_attempt;
            opened.judge(true).await?;
            if opened.copy.is_proven() {
                return Ok(facts);
            }
            first_attempt = opened.state.lock().first_attempt.take();
        }
        Err(Error::new("retrieve_file", ErrorKind::ChangedDuringRead)
            .on(path)
            .because("its bytes could not be kept as they came"))
    }

    /// Retrieves the bytes, however many there are. Tells their number, the time of the last change, and the copy if all of them found room.
    async fn retrieve_unsized(
        &self,
        key: Key,
        path: &RemotePath,
        digest: &Digest,
        name: &LocalName,
    ) -> Result<(u64, Option<SystemTime>, Option<OpenCopy>)> {
        let _held = self.memory.reserve(self.source.capabilities().buffer + BLOCK).await;
        let sink = tokio::sync::Mutex::new(GatheringSink::new(&self.cache, key, name));
        let retrieval = Retrieval::of_unknown_size(path, digest);
        // Each attempt begins anew, so none gets further than another.
        let retrieving = retry_read(
            self.short_break,
            || 0,
            async || {
                let mut sink = sink.lock().await;
                sink.begin().await;
                self.source.retrieve_file(&retrieval, &mut *sink).await
            },
        );
        let retrieved = retrieving.await;
        let mut sink = sink.into_inner();
        match retrieved {
            Ok(retrieved) => {
                let (size, copy) = sink.finish(retrieved.modified).await;
                Ok((size, retrieved.modified, copy))
            }
            Err(error) => {
                sink.let_go().await;
                Err(error)
            }
        }
    }
}

/// Hands what arrives to the disk, as long as that answers in time; then the bytes are only counted.
struct GatheringSink {
    disk: Arc<Disk>,
    /// Shared with what is being written: an attempt that was given up ends before the next one begins.
    gathering: Option<Arc<Mutex<Gathering>>>,
    blocks: Blocks,
    size: u64,
}

impl GatheringSink {
    fn new(cache: &Arc<Cache>, key: Key, name: &LocalName) -> Self {
        let gathering = Arc::new(Mutex::new(cache.gather(key, name)));
        Self { disk: cache.disk().clone(), gathering: Some(gathering), blocks: Blocks::default(), size: 0 }
    }

    async fn on_disk<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut Gathering) -> T + Send + 'static,
    ) -> Option<T> {
        let gathering = self.gathering.clone()?;
        let done = self.disk.ask(move |_| act(&mut gathering.lock())).await.ok();
        if done.is_none() {
            self.let_go().await;
        }
        done
    }

    /// Gives up the bytes that came. Their file is deleted on a thread that may wait for the disk.
    async fn let_go(&mut self) {
        if let Some(gathering) = self.gathering.take() {
            self.disk.tell(move || drop(gathering)).await;
        }
    }

    /// The source begins with the first byte.
    async fn begin(&mut self) {
        (self.size, self.blocks) = (0, Blocks::default());
        self.on_disk(Gathering::begin).await;
    }

    /// How many bytes there were, and the copy if all of them found room.
    async fn finish(mut self, modified: Option<SystemTime>) -> (u64, Option<OpenCopy>) {
        let last = self.blocks.rest();
        let finish = move |gathering: &mut Gathering| {
            if !last.is_empty() {
                gathering.write(&last);
            }
            gathering.finish(modified)
        };
        let copy = self.on_disk(finish).await;
        self.let_go().await;
        (self.size, copy.flatten())
    }
}

#[async_trait]
impl Sink for GatheringSink {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        while self.gathering.is_some()
            && let Some(block) = self.blocks.next(&mut bytes, BLOCK)
        {
            self.on_disk(move |gathering| gathering.write(&block)).await;
        }
        Ok(())
    }
}
