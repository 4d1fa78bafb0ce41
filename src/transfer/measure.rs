//! Measuring: a version is retrieved whole before anything is said of it, once, however many ask. Its bytes stay as a copy.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use tokio::sync::watch;
use tracing::debug;

use super::{Transfer, Version};
use crate::cache::block::BLOCK;
use crate::cache::{Facts, Gathering, Key};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::name::LocalName;
use crate::path::RemotePath;
#[cfg(doc)]
use crate::source::Capabilities;
use crate::source::retry::retry;
use crate::source::{Retrieval, Sink};

/// How many versions' facts are remembered beyond the copies that tell them: those of evicted or too large files.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// A measurement under way; `None` until its answer is there.
type UnderWay = watch::Receiver<Option<Result<Facts>>>;

pub(super) struct Measured {
    under_way: HashMap<Key, UnderWay>,
    known: LruCache<Key, Facts>,
}

impl Default for Measured {
    fn default() -> Self {
        Self { under_way: HashMap::new(), known: LruCache::new(REMEMBERED) }
    }
}

impl Transfer {
    /// What is known of a version without asking its source: from its copy, or from having measured it.
    pub fn facts(&self, path: &RemotePath, digest: &Digest) -> Option<Facts> {
        let key = self.key(path, digest);
        let known = self.measured.lock().known.get(&key).copied();
        known.or_else(|| self.cache.facts(&key))
    }

    /// Retrieves a version whole to learn its size. `name` is its copy's base name on disk.
    ///
    /// # Errors
    /// `Changed` or `NotFound` if the version is no longer there; failures of the source.
    pub async fn measure(self: &Arc<Self>, path: &RemotePath, digest: &Digest, name: &LocalName) -> Result<Facts> {
        match self.facts(path, digest) {
            Some(facts) => Ok(facts),
            None => self.gathered(path, digest, name).await,
        }
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
        let facts = match self.cache.facts(&self.key(path, digest)) {
            Some(facts) if facts.whole => facts,
            _ => self.gathered(path, digest, name).await?,
        };
        if facts.size == size {
            return Ok(());
        }
        let why = format!("the source told {size} bytes and delivered {}", facts.size);
        Err(Error::new("retrieve_file", ErrorKind::Protocol).on(path).because(why))
    }

    async fn gathered(self: &Arc<Self>, path: &RemotePath, digest: &Digest, name: &LocalName) -> Result<Facts> {
        let key = self.key(path, digest);
        let mut answer = {
            let mut measured = self.measured.lock();
            match measured.under_way.get(&key) {
                Some(under_way) => under_way.clone(),
                None => {
                    let (done, under_way) = watch::channel(None);
                    measured.under_way.insert(key, under_way.clone());
                    // A task of its own: the answer is worth having even if whoever asked first is gone.
                    tokio::spawn(self.clone().measure_once(key, path.clone(), digest.clone(), name.clone(), done));
                    under_way
                }
            }
        };
        let answer = answer.wait_for(Option::is_some).await.map(|answer| answer.clone());
        answer.ok().flatten().unwrap_or_else(|| {
            Err(Error::new("retrieve_file", ErrorKind::Other).on(path).because("the retrieval was abandoned"))
        })
    }

    async fn measure_once(
        self: Arc<Self>,
        key: Key,
        path: RemotePath,
        digest: Digest,
        name: LocalName,
        done: watch::Sender<Option<Result<Facts>>>,
    ) {
        let result = self.gather(key, &path, &digest, &name).await;
        let mut measured = self.measured.lock();
        measured.under_way.remove(&key);
        match &result {
            Ok(facts) => _ = measured.known.put(key, *facts),
            Err(error) => debug!("{error}"),
        }
        drop(measured);
        done.send_replace(Some(result));
    }

    /// Retrieves the bytes into a copy and proves it. Where the cache has no room for them, they are counted and let go.
    async fn gather(self: &Arc<Self>, key: Key, path: &RemotePath, digest: &Digest, name: &LocalName) -> Result<Facts> {
        let mut first_attempt = None;
        // The proof may want the bytes a second time; not a third.
        for _ in 0..2 {
            let _held = self.memory.reserve(self.source.capabilities().buffer + BLOCK).await;
            let sink = tokio::sync::Mutex::new(GatheringSink(self.cache.gather(key, name)));
            let retrieved = retry(async || {
                let mut sink = sink.lock().await;
                sink.0.restart();
                self.source.retrieve_file(&Retrieval::of_unknown_size(path, digest), &mut *sink).await
            })
            .await?;
            let (size, copy) = sink.into_inner().0.finish(retrieved.modified);
            let facts = Facts { size, modified: retrieved.modified, whole: copy.is_some() };
            if copy.is_none() {
                return Ok(facts);
            }
            let version = Version { path: path.clone(), digest: digest.clone(), size, modified: retrieved.modified };
            let opened = self.open(&version, name);
            drop(copy);
            opened.state.lock().first_attempt = first_attempt;
            opened.prove().await?;
            if opened.copy.is_proven() {
                return Ok(facts);
            }
            first_attempt = opened.state.lock().first_attempt.take();
        }
        Err(Error::new("retrieve_file", ErrorKind::ChangedDuringRead)
            .on(path)
            .because("its bytes could not be kept as they came"))
    }
}

struct GatheringSink(Gathering);

#[async_trait]
impl Sink for GatheringSink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.write(&bytes);
        Ok(())
    }
}
