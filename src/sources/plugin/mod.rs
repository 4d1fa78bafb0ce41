//! `Plugin`: an external program as a source (`docs/plugin-protocol.md`). It keeps the program running, and knows no service.

mod backoff;
mod calls;
pub mod check;
mod connection;
mod failure;
mod hash;
mod info;
mod listing;
mod log;
mod memo;
mod pipes;
mod process;
mod program;
mod retrieve;
mod schema;
mod session;
mod staging;
mod tree;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio::sync::mpsc;

use self::backoff::RestartBackoff;
use self::failure::Failure;
pub use self::info::Info;
use self::log::PluginLog;
pub use self::process::Launch;
pub use self::program::find_program;
use self::retrieve::{CHUNK, Delivery, retrieve};
use self::session::{Session, parent, understood};
use self::staging::Staging;
use self::wire::{Abilities, Digested, Entry, Kind, Refusal, Text};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::settings::Reader;
use crate::source::{
    self, Capabilities, Changes, EntryKind, EntryStream, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved,
    Settings, Sink, Source,
};

/// How long `create_local_digest` may tell nothing before the plugin is taken for hung.
const LOCAL_DIGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes a second: `create_local_digest` may take the time that this speed needs for the copy, and [`LOCAL_DIGEST_TIMEOUT`].
const MIN_DIGEST_SPEED: u64 = 4 << 20;

/// How many reports of changes may wait to be read.
const MAX_UNREAD_CHANGES: usize = 1024;

/// A type of sources that are external programs.
pub struct PluginKind {
    type_name: &'static str,
    /// From a source's table to how its plugin is started; none if that is a problem, which is noted. Keys that it does not read are
    /// the plugin's.
    launcher: fn(&mut Reader<'_>) -> Option<Launch>,
}

/// A program as a source: `type = "plugin"`.
///
/// Keys: `command` (required): the program and its arguments. Everything else goes to the plugin.
pub static KIND: PluginKind = PluginKind::new("plugin", program::command);

impl PluginKind {
    /// The type of this name, whose plugins are started in this way.
    pub const fn new(type_name: &'static str, launcher: fn(&mut Reader<'_>) -> Option<Launch>) -> Self {
        Self { type_name, launcher }
    }

    /// How the plugin of this table is started, and what it is told.
    ///
    /// # Errors
    /// Everything that is wrong with the table.
    pub fn read(&self, settings: &Settings) -> Result<(Launch, Info), Vec<Problem>> {
        let mut reader = settings.reader();
        let launch = (self.launcher)(&mut reader);
        let info = Info::read(&mut reader);
        let launch = reader.finish_with(launch)?;
        let (withheld, longest_file) = (settings.withheld.clone(), settings.rooms.most());
        Ok((Launch { withheld, longest_file, ..launch }, info))
    }
}

#[async_trait]
impl source::Kind for PluginKind {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let (launch, info) = self.read(settings)?;
        let mut plugin = Plugin::new(launch, info, settings);
        plugin.start_first(&settings.name).await?;
        Ok(Box::new(plugin))
    }
}

/// A program as a source.
struct Plugin {
    launch: Launch,
    info: Info,
    log: Arc<PluginLog>,
    staging: Arc<Staging>,
    fresh_for: Duration,
    /// The process that serves; none before the first call and between `disconnect` and `connect`.
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    abilities: RwLock<Abilities>,
    connected: AtomicBool,
    backoff: RestartBackoff,
    /// The channel of reported changes: its sender, and its receiver until that is taken.
    changes: (mpsc::Sender<RemotePath>, Mutex<Option<Changes>>),
}

impl Plugin {
    fn new(launch: Launch, info: Info, settings: &Settings) -> Self {
        let (reports, changes) = mpsc::channel(MAX_UNREAD_CHANGES);
        Self {
            launch,
            info,
            log: Arc::new(PluginLog::new(&settings.name)),
            staging: Arc::new(Staging::new(&settings.scratch, settings.rooms.clone())),
            fresh_for: settings.fresh_for,
            session: tokio::sync::Mutex::new(None),
            abilities: RwLock::default(),
            connected: AtomicBool::new(false),
            backoff: RestartBackoff::default(),
            changes: (reports, Mutex::new(Some(changes))),
        }
    }

    /// RestartBackoff the plugin for the first time, and gives it its settings where none of them has to be asked for.
    ///
    /// # Errors
    /// What the plugin, or its schema, says against them. A plugin that cannot be started, or does not answer, is none: it must not keep
    /// the others from being mounted.
    async fn start_first(&mut self, name: &str) -> Result<(), Vec<Problem>> {
        let session = match self.start().await {
            Ok(session) => session,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return Err(vec![Problem::new(None, error.to_string())]);
            }
            Err(error) => {
                tracing::warn!("source {}: {error}", name);
                return Ok(());
            }
        };
        // Commands that tell secrets wait until the source connects, and so does what needs the secrets.
        if self.info.asks() {
            *self.session.get_mut() = None;
            return Ok(());
        }
        let told = self.info.reveal().await.map_err(|e| vec![Problem::new(None, e.to_string())])?;
        self.log.add_secrets(told.1);
        if let Some(schema) = &session.hello.schema {
            match schema::problems(schema, &told.0) {
                Ok(problems) if problems.is_empty() => {}
                Ok(problems) => return Err(problems),
                Err(why) => tracing::warn!("source {}: the plugin's schema cannot be used: {why}", name),
            }
        }
        match session.configure(told.0).await {
            Ok(()) => *self.session.get_mut() = Some(Arc::new(session)),
            // Nor must one that cannot tell yet: a keyring that is locked now may be open later.
            Err(failure) if failure.is_refusal() && !failure.is("crashed") => return Err(vec![self.problem(failure)]),
            Err(failure) => {
                tracing::warn!("source {}: {}", name, failure.error("configure", &self.log))
            }
        }
        Ok(())
    }

    /// RestartBackoff a process and hears what it can.
    async fn start(&self) -> Result<Session> {
        self.backoff.wait().await;
        let session = Session::start(&self.launch, &self.log, self.changes.0.clone(), self.fresh_for).await?;
        *self.abilities.write() = session.hello.capabilities.clone();
        Ok(session)
    }

    /// Gives a new process its settings.
    async fn configure_session(&self, session: &Session) -> Result<(), Failure> {
        let (info, secrets) = self.info.reveal().await?;
        self.log.add_secrets(secrets);
        session.configure(info).await
    }

    /// The process that serves, a new one if there is none.
    async fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut serving = self.session.lock().await;
        if let Some(session) = serving.as_ref().filter(|session| !session.connection.is_closed()) {
            return Ok(Arc::clone(session));
        }
        *serving = None;
        let session = self.start().await?;
        self.configure_session(&session).await?;
        if self.connected.load(Ordering::Relaxed) {
            session.connect().await?;
        }
        Ok(Arc::clone(serving.insert(Arc::new(session))))
    }

    /// Does something with the plugin about a path that a listing told. With a plugin that dies of it, once more with a new one; with one
    /// that does not know the path, once more after another listing.
    async fn with<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        op: &'static str,
        path: &RemotePath,
        mut work: impl FnMut(Arc<Session>, Option<Text>) -> F,
    ) -> Result<T> {
        let (mut died, mut told_again) = (false, false);
        loop {
            let session = self.session().await.map_err(|failure| self.failed(op, path, failure))?;
            let written = if op == "list_path" { Ok(None) } else { session.reach(path).await.map(Some) };
            let result = match written {
                Ok(written) => work(Arc::clone(&session), written).await,
                Err(failure) => Err(failure),
            };
            match result {
                Ok(answer) => return Ok(answer),
                Err(Failure::Lost(why)) if !died => {
                    tracing::debug!("{op} {path}: once more with a new process: {why}");
                    died = true;
                }
                Err(failure) if failure.is("unknown_path") && !told_again => {
                    session.discard_path(path);
                    told_again = true;
                }
                Err(failure) => {
                    if failure.is("crashed") {
                        self.log.write("warn", "the plugin is started anew, as it asks to be");
                        session.end(true).await;
                    }
                    return Err(self.failed(op, path, failure));
                }
            }
        }
    }

    fn failed(&self, op: &'static str, path: &RemotePath, failure: Failure) -> Error {
        let error = failure.error(op, &self.log);
        if path.is_root() { error } else { error.on(path) }
    }

    async fn remote_digest(session: &Session, file: &RemotePath, written: &Text) -> Result<Digested, Failure> {
        match session.digest(file, written).await {
            // Of a path that no listing called a file, only trying tells.
            Err(failure) if failure.may_mean_directory() && session.is_listable(file, written).await => {
                let data = wire::Reason { kind: "is_a_directory".into(), ..wire::Reason::default() };
                Err(Failure::Refused(Refusal { data, ..Refusal::default() }))
            }
            result => result,
        }
    }

    fn problem(&self, failure: Failure) -> Problem {
        let (key, what) = match &failure {
            Failure::Refused(refusal) => (refusal.data.key.clone(), refusal.data.problem.clone()),
            _ => (None, None),
        };
        let told = failure.error("configure", &self.log).to_string();
        match (key, what.as_deref()) {
            (Some(key), Some("missing")) => Problem::new(None, format!("`{key}` is missing ({told})")),
            (key, _) => Problem::new(key.as_deref(), told),
        }
    }
}

#[async_trait]
impl Source for Plugin {
    fn capabilities(&self) -> Capabilities {
        let abilities = self.abilities.read();
        Capabilities {
            digest_from_listing: abilities.digest_from_listing,
            ranges: abilities.ranges,
            content_digest: abilities.content_digest.is_some(),
            proven_whole: !abilities.conditional && !abilities.ranges,
            unconfirmed: false,
            verbatim_names: false,
            names_alone: false,
            buffer: CHUNK,
            concurrency: abilities.concurrency(),
        }
    }

    fn changes(&self) -> Option<Changes> {
        if self.abilities.read().notify { self.changes.1.lock().take() } else { None }
    }

    async fn connect(&self) -> Result<()> {
        let failed = |failure: Failure| failure.error("connect", &self.log);
        let session = self.session().await.map_err(failed)?;
        if let Err(failure) = session.connect().await {
            if failure.is("crashed") {
                session.end(false).await;
            }
            return Err(failed(failure));
        }
        self.connected.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn disconnect(&self) {
        self.connected.store(false, Ordering::Relaxed);
        let session = self.session.lock().await.take();
        if let Some(session) = session {
            session.end(true).await;
        }
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let (listed, left_out) =
            self.with("list_path", dir, |session, _| async move { session.list(dir).await }).await?;
        let with_digests = self.abilities.read().digest_from_listing;
        let entries = listed.map(move |(path, entry)| Ok(shown(path, entry, with_digests)));
        Ok(EntryStream::noting(futures::stream::iter(entries), left_out))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let digested = self.with("create_remote_digest", file, |session, written| async move {
            Self::remote_digest(&session, file, &written.unwrap_or_else(|| memo::absolute(file))).await
        });
        let Digested { digest, size, modified } = digested.await?;
        Ok(RemoteDigest { digest: Digest::new(digest), size, modified: modified.and_then(|time| time.time()) })
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        const OP: &str = "create_local_digest";
        let hash = self.abilities.read().content_digest;
        if let Some(algorithm) = hash {
            return hash::of_file(algorithm, copy).await;
        }
        let place = Text::of(std::os::unix::ffi::OsStrExt::as_bytes(copy.file.as_os_str()));
        let most = LOCAL_DIGEST_TIMEOUT + Duration::from_secs(copy.size / MIN_DIGEST_SPEED);
        for attempt in 0..2 {
            let session = self.session().await.map_err(|failure| self.failed(OP, copy.path, failure))?;
            let known =
                session.memo.tree(&RemotePath::root()).and_then(|tree| tree.leaf(copy.path).map(|entry| entry.path));
            let written = known.or_else(|| session.memo.spelling_in(&parent(copy.path), copy.path));
            let written = written.unwrap_or_else(|| memo::absolute(copy.path));
            let params = json!({"file": place, "path": written, "digest": copy.retrieved_as.as_str()});
            match session.ask_patiently(OP, params, (LOCAL_DIGEST_TIMEOUT, most)).await.and_then(understood::<Digested>)
            {
                Ok(digested) => return Ok(Digest::new(digested.digest)),
                Err(failure) if failure.is_unknown_method() => return super::same_size(copy).await,
                Err(Failure::Lost(_)) if attempt == 0 => {}
                Err(failure) => {
                    if failure.is("crashed") {
                        session.end(true).await;
                    }
                    return Err(self.failed(OP, copy.path, failure));
                }
            }
        }
        Err(Error::new(OP, ErrorKind::Unreachable).on(copy.path))
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        const OP: &str = "retrieve_file";
        let delivery = tokio::sync::Mutex::new(Delivery::new(request, out));
        let delivery = &delivery;
        let filled = self.with(OP, request.path, |session, written| async move {
            let written = written.unwrap_or_else(|| memo::absolute(request.path));
            if !session.memo.is_digested(request.path) {
                let now = session.digest(request.path, &written).await?;
                if now.digest != request.digest.as_str() {
                    return Err(Error::new(OP, ErrorKind::Changed).into());
                }
            }
            let wanted = request.size.map(|_| request.range.end - request.range.start);
            let file = self.staging.leased(wanted).await?;
            retrieve(&session, request, &written, file, &mut *delivery.lock().await).await
        });
        Ok(Retrieved::confirmed(filled.await?.modified.and_then(|time| time.time())))
    }
}

/// An entry as the mount wants it; without one, a directory that longer paths imply.
fn shown(path: RemotePath, entry: Option<Entry>, with_digests: bool) -> source::Entry {
    let name = path.name().to_vec();
    match entry {
        Some(entry) if entry.kind != Some(Kind::Directory) => source::Entry {
            name,
            path,
            kind: EntryKind::File,
            permissions: entry.permission_bits(),
            size: entry.size,
            modified: entry.modified.and_then(|time| time.time()),
            digest: entry.digest.filter(|digest| with_digests && !digest.is_empty()).map(Digest::new),
        },
        entry => {
            let permissions = entry.as_ref().and_then(Entry::permission_bits);
            let modified = entry.and_then(|entry| entry.modified).and_then(|time| time.time());
            source::Entry { name, path, kind: EntryKind::Directory, permissions, size: None, modified, digest: None }
        }
    }
}
