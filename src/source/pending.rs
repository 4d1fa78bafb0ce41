//! `Pending`: a source whose settings cannot be used yet, because something outside of the configuration is not there: an environment
//! variable, the file of a secret, a directory. It becomes that source once it is.

use std::sync::OnceLock;

use async_trait::async_trait;

use super::{
    Capabilities, Changes, EntryStream, Kind, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink,
    Source,
};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;

/// The abilities of a source that is not there: none, but for the requests at once that are allowed from its beginning.
const CAPABILITIES: Capabilities = Capabilities {
    digest_from_listing: false,
    ranges: false,
    content_digest: false,
    proven_whole: false,
    unconfirmed: false,
    verbatim_names: false,
    names_alone: false,
    buffer: 0,
    concurrency: 4,
};

/// Tells a problem, and where its setting stands.
type Describe = dyn Fn(&Problem) -> String + Send + Sync;

/// Configures the source anew whenever it is to be connected, until that works. Until then it is unreachable.
pub struct Pending {
    kind: &'static dyn Kind,
    settings: Settings,
    describe: Box<Describe>,
    source: OnceLock<Box<dyn Source>>,
}

impl Pending {
    /// A source of this type that could not be configured. `describe` is for the error while it cannot.
    pub fn new(kind: &'static dyn Kind, settings: Settings, describe: Box<Describe>) -> Self {
        Self { kind, settings, describe, source: OnceLock::new() }
    }

    fn get(&self, op: &'static str) -> Result<&dyn Source> {
        self.source.get().map(|source| &**source).ok_or_else(|| Error::new(op, ErrorKind::Unreachable))
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl Source for Pending {
    fn capabilities(&self) -> Capabilities {
        self.source.get().map_or(CAPABILITIES, |source| source.capabilities())
    }

    async fn connect(&self) -> Result<()> {
        if self.source.get().is_none() {
            let unusable = |problems: Vec<Problem>| {
                let problems: Vec<_> = problems.iter().map(&self.describe).collect();
                Error::new("configure", ErrorKind::Unreachable).because(problems.join("; "))
            };
            let source = self.kind.configure(&self.settings).await.map_err(unusable)?;
            // Nobody else sets it: calls of `connect` follow each other.
            let _ = self.source.set(source);
        }
        self.get("connect")?.connect().await
    }

    async fn disconnect(&self) {
        if let Some(source) = self.source.get() {
            source.disconnect().await;
        }
    }

    async fn preconnect(&self, most: usize) {
        if let Some(source) = self.source.get() {
            source.preconnect(most).await;
        }
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        self.get("list_path")?.list_path(dir).await
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.get("create_remote_digest")?.create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.get("create_local_digest")?.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        self.get("retrieve_file")?.retrieve_file(request, out).await
    }

    fn changes(&self) -> Option<Changes> {
        self.source.get().and_then(|source| source.changes())
    }
}
