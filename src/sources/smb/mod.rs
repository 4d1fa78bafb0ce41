//! `Smb`: a share of a Windows or Samba server (SMB 2 and 3) as a source. It only asks.

mod failure;
mod keyring;
mod listing;
mod reading;
mod requests;
mod session;
mod settings;
mod stamp;
mod url;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use self::reading::Part;
use self::session::{Login, Session};
use self::settings::{Config, User};
use super::alone;
use super::current::not_connected;
use super::purpose::Purpose;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::keyring::Table;
use crate::source::url::Urls;
use crate::source::{
    Capabilities, EntryStream, Kind, LeftOut, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink,
    Source,
};

/// How many answers wait in the channel to the caller.
const MAX_WAITING_ANSWERS: usize = 2;

/// A share as a source: `type = "smb"`.
///
/// Keys: `hostname` (or `host`) and `share` (required), `port`, `root`, `username` with `password` and, if there is one,
/// `domain`; or `guest = true`. Logins are NTLMv2. What an account asks is signed, and encrypted where server or share
/// require it; a guest's is neither.
///
/// A digest is size, times and, where listings have it, the file's index. A listing may give the digest of before while
/// a client has a file open and changes it (Samba keeps the old times, Windows the old size too); what is asked of a single file,
/// and what was read, is checked against the server's own view of the file, so that then a retrieval fails with `Changed`.
/// Symbolic links are what the server makes of them: Samba follows them. Folders on other servers (DFS) are not followed.
pub struct Smb {
    config: Config,
    /// Locked during a login, so that all other requests wait for that one.
    connected: Mutex<Option<Connected>>,
}

struct Connected {
    login: Login,
    /// The latest session, or why there is none.
    session: Result<Arc<Session>>,
}

/// The type `smb`.
pub struct SmbKind;

#[async_trait]
impl Kind for SmbKind {
    fn type_name(&self) -> &'static str {
        "smb"
    }

    fn keyring_user(&self, key: &str, table: Table<'_>) -> Result<String, String> {
        Ok(keyring::user(key, table))
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    fn connects_early(&self, settings: &Settings) -> bool {
        !settings.may_ask()
    }

    fn names_account(&self, _settings: &Settings) -> bool {
        // Without a name, it is a guest.
        true
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        Ok(Box::new(Smb { config: Config::read(settings)?, connected: Mutex::default() }))
    }
}

impl Smb {
    /// The session, a new one if the latest has ended: servers end those that were idle.
    async fn session(&self, purpose: Purpose<'_>) -> Result<Arc<Session>> {
        let mut slot = self.connected.lock().await;
        let Some(connected) = slot.as_mut() else {
            return Err(not_connected(purpose));
        };
        match &connected.session {
            Ok(session) if session.is_alive() => return Ok(Arc::clone(session)),
            // Servers lock accounts after several failed logins: only the next `connect` tries again.
            Err(error) if error.kind() == ErrorKind::Unauthenticated => return Err(error.clone()),
            _ => {}
        }
        tracing::debug!("{}: the session has ended: a new login", self.config.address());
        connected.session = Session::open(&self.config, &connected.login).await.map(Arc::new);
        connected.session.clone()
    }
}

#[async_trait]
impl Source for Smb {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            digest_from_listing: true,
            ranges: true,
            content_digest: false,
            proven_whole: false,
            unconfirmed: false,
            verbatim_names: false,
            names_alone: true,
            // 8 reads of 512 KiB, and what waits to be confirmed.
            buffer: (4 << 20) + reading::PIECE_BYTES,
            concurrency: 8,
        }
    }

    async fn connect(&self) -> Result<()> {
        let login = match &self.config.user {
            User::Guest => Login::Guest,
            User::Account { username, domain, password } => {
                let (username, domain, password) = (username.clone(), domain.clone(), password.clone());
                let password = tokio::task::spawn_blocking(move || password.reveal()).await;
                let password = password.map_err(|lost| Error::new("connect", ErrorKind::Other).caused_by(lost))??;
                Login::Account { username, domain, password }
            }
        };
        let mut slot = self.connected.lock().await;
        let session = Session::open(&self.config, &login).await?;
        *slot = Some(Connected { login, session: Ok(Arc::new(session)) });
        Ok(())
    }

    async fn disconnect(&self) {
        let connected = self.connected.lock().await.take();
        if let Some(Connected { session: Ok(session), .. }) = connected
            && session.is_alive()
        {
            session.disconnect_tree().await;
        }
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let purpose = Purpose { op: "list_path", path: dir };
        let session = self.session(purpose).await?;
        let asked = session.clone();
        let ask = move |name| listing::look_up(asked.clone(), dir.clone(), name).boxed();
        if let Some(answered) = alone::without_listing(&ask).await {
            return Ok(answered);
        }
        let (began, lost) = (Instant::now(), listing::lost(purpose));
        let (sender, mut receiver) = mpsc::channel(MAX_WAITING_ANSWERS);
        let (op, path) = (purpose.op, dir.clone());
        let left_out = LeftOut::default();
        let noted = left_out.clone();
        tokio::spawn(async move { listing::list(&session, Purpose { op, path: &path }, &sender, &noted).await });
        // A directory that cannot be opened is told at once.
        let first = receiver.recv().await.unwrap_or_else(|| Err(lost.clone()))?;
        let state = (Some(Ok(first)), Some(receiver), lost);
        let batches = futures::stream::unfold(state, |(first, receiver, lost)| async move {
            let mut receiver = receiver?;
            let batch = match first {
                Some(first) => first,
                None => receiver.recv().await.unwrap_or_else(|| Err(lost.clone())),
            };
            match batch {
                Ok(Some(entries)) => Some((Ok(entries), (None, Some(receiver), lost))),
                Ok(None) => None,
                Err(error) => Some((Err(error), (None, None, lost))),
            }
        });
        Ok(alone::listing(began, batches, left_out, ask))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let purpose = Purpose { op: "create_remote_digest", path: file };
        let session = self.session(purpose).await?;
        let (directory, stamp, observed) = reading::ask(&session, purpose).await?;
        if directory {
            return Err(purpose.error(ErrorKind::IsADirectory));
        }
        Ok(RemoteDigest { digest: stamp.digest(observed), size: Some(stamp.size), modified: stamp.modified_time() })
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        super::same_size(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let purpose = Purpose { op: "retrieve_file", path: request.path };
        let session = self.session(purpose).await?;
        let lost = purpose.error(ErrorKind::Other).because("the reading ended early");
        let (op, path, wanted) = (purpose.op, request.path.clone(), request.into());
        let (sender, mut receiver) = mpsc::channel(MAX_WAITING_ANSWERS);
        tokio::spawn(async move { reading::read(&session, Purpose { op, path: &path }, &wanted, &sender).await });
        loop {
            match receiver.recv().await {
                Some(Ok(Part::Bytes(bytes))) => out.write(bytes).await?,
                Some(Ok(Part::Done(retrieved))) => return Ok(retrieved),
                Some(Err(error)) => return Err(error),
                None => return Err(lost),
            }
        }
    }
}
