//! `Sftp`: a directory of an SSH server as a source. It only asks: no request that it can make changes anything there.
//!
//! The protocol is spoken by a client of our own (`client`): others decode names or handles as text and lose those that are
//! none. It runs over an SSH client inside (`inside`) or over the program `ssh` (`program`).

mod auth;
mod client;
mod codec;
mod config;
mod connection;
mod failure;
mod growth;
mod host_key;
mod inside;
mod kept;
mod known_hosts;
mod links;
mod listing;
mod pool;
mod program;
mod retrieve;
mod stamp;
mod url;
mod window;
mod wire;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use self::codec::FileType;
use self::config::Config;
use self::connection::Connection;
use self::pool::Pool;
use self::stamp::Stamp;
use super::current::{Current, not_connected};
use super::purpose::Purpose;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::url::Urls;
use crate::source::{
    Capabilities, EntryStream, Kind, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink, Source,
};

/// A directory of an SSH server as a source: `type = "sftp"`.
///
/// Keys: `host` (required), `port`, `username`, `password`, `key` with `passphrase`, `agent` (its socket), `known_hosts`, `root`
/// (relative to the home directory there, which is the default, or absolute), `links`, and `ssh_config`: `true`, or a file, to let the
/// program `ssh` connect as its configuration says.
#[derive(Debug)]
pub struct Sftp {
    config: Config,
    /// Whether logging in never asks anybody, so that it may be done more than once.
    may_grow: bool,
    connections: Current<Pool>,
    /// Held while a lost connection is replaced, so that one is enough.
    replacing: tokio::sync::Mutex<()>,
}

/// The type `sftp`.
pub struct SftpKind;

#[async_trait]
impl Kind for SftpKind {
    fn type_name(&self) -> &'static str {
        "sftp"
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    fn connects_early(&self, settings: &Settings) -> bool {
        !settings.may_ask() && !config::asks_for_program(settings)
    }

    fn names_account(&self, _settings: &Settings) -> bool {
        // Without a name, it is that of this user, or of `ssh_config`.
        true
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let config = Config::read(settings)?;
        let may_grow = self.connects_early(settings);
        Ok(Box::new(Sftp {
            config,
            may_grow,
            connections: Current::default(),
            replacing: tokio::sync::Mutex::default(),
        }))
    }
}

impl Sftp {
    /// The connection that answers everything.
    async fn connection(&self, op: &'static str, path: &RemotePath) -> Result<Arc<Connection>> {
        Ok(Arc::clone(&self.connections(op, path).await?.main))
    }

    /// The connections. If the first was lost while it was idle, as servers end idle ones, all are replaced.
    async fn connections(&self, op: &'static str, path: &RemotePath) -> Result<Arc<Pool>> {
        let purpose = Purpose { op, path };
        let current = || {
            let pool = self.connections.get(purpose)?;
            Ok::<_, Error>((pool.main.client.lost().is_none(), pool))
        };
        if let (true, pool) = current()? {
            return Ok(pool);
        }
        let _alone = self.replacing.lock().await;
        if let (true, pool) = current()? {
            return Ok(pool);
        }
        let fresh = Pool::open(&self.config, self.may_grow).await?;
        match self.connections.replace(Arc::clone(&fresh)) {
            Some(lost) => lost.close().await,
            // Disconnected meanwhile.
            None => {
                fresh.close().await;
                return Err(not_connected(purpose));
            }
        }
        Ok(fresh)
    }
}

#[async_trait]
impl Source for Sftp {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            digest_from_listing: true,
            ranges: true,
            content_digest: false,
            proven_whole: false,
            unconfirmed: false,
            verbatim_names: true,
            names_alone: true,
            // All together hold no more than eight; one alone has up to 13 MiB under way.
            buffer: pool::OF_EACH,
            concurrency: 64,
        }
    }

    async fn connect(&self) -> Result<()> {
        let fresh = Pool::open(&self.config, self.may_grow).await?;
        let former = self.connections.set(fresh);
        if let Some(former) = former {
            former.close().await;
        }
        Ok(())
    }

    async fn disconnect(&self) {
        let former = self.connections.take();
        if let Some(former) = former {
            former.close().await;
        }
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let connection = self.connection("list_path", dir).await?;
        listing::list(connection, dir).await
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        const OP: &str = "create_remote_digest";
        let connection = self.connection(OP, file).await?;
        let place = connection.real(OP, file, ErrorKind::Changed).await?;
        let (real, attrs) = (connection.client.real_path(&place), connection.client.lstat(&place));
        let attrs = match attrs.await {
            Ok(attrs) => attrs,
            Err(failure) => return Err(connection.error(OP, file, &failure).await),
        };
        connection.no_links(OP, file, &place, real, ErrorKind::Changed).await?;
        let refused = |kind| Error::new(OP, kind).on(file);
        match attrs.file_type() {
            FileType::Directory => return Err(refused(ErrorKind::IsADirectory)),
            FileType::Regular => {}
            _ => return Err(refused(ErrorKind::Unsupported).because("not a regular file")),
        }
        let why = "the server does not tell size and time, so that versions cannot be told apart";
        let stamp = Stamp::of(&attrs).ok_or_else(|| refused(ErrorKind::Unsupported).because(why))?;
        let digest = stamp.digest(SystemTime::now());
        Ok(RemoteDigest { digest, size: Some(stamp.size), modified: Some(stamp.modified()) })
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        super::same_size(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let connections = self.connections("retrieve_file", request.path).await?;
        retrieve::retrieve(&connections, request, out).await
    }
}
