//! `Limited`: a source that is asked only so much at once. It knows no priorities.

use async_trait::async_trait;
use futures::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Capabilities, EntryStream, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink, Source,
};
use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;

/// Lets at most `capabilities().concurrency` remote operations of `inner` run at once; others wait their turn.
///
/// `connect` is not limited: it must work while every other operation waits for it.
pub struct Limited<S> {
    inner: S,
    turns: Semaphore,
}

impl<S: Source> Limited<S> {
    /// Wraps `inner`, already configured.
    pub fn new(inner: S) -> Self {
        let turns = Semaphore::new(inner.capabilities().concurrency.max(1));
        Self { inner, turns }
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the semaphore is never closed")
    }
}

#[async_trait]
impl<S: Source> Source for Limited<S> {
    async fn configure(&mut self, settings: &Settings) -> Result<(), Vec<Problem>> {
        self.inner.configure(settings).await?;
        self.turns = Semaphore::new(self.inner.capabilities().concurrency.max(1));
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        self.inner.connect().await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let turn = self.turn().await;
        let entries = self.inner.list_path(dir).await?;
        // The turn ends with the stream.
        Ok(entries
            .map(move |entry| {
                let _ = &turn;
                entry
            })
            .boxed())
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let _turn = self.turn().await;
        self.inner.create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.inner.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let _turn = self.turn().await;
        self.inner.retrieve_file(request, out).await
    }
}
