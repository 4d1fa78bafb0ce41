//! `Ftp`: a directory of an FTP server as a source, with or without TLS. It only asks: MLSD, MLST and RETR, or what older servers know.

mod facts;
mod links;
mod list;
mod pool;
mod reply;
mod session;
mod url;
mod wire;

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use self::facts::{Item, Listed};
use self::pool::Pool;
use self::reply::{Failure, Reply};
use self::session::{Abilities, Seen, Session, Target};
use super::authorities::Authorities;
use super::current::Current;
use super::heap::Heap;
use super::links::Links;
use super::purpose::Purpose;
use super::stamp::{self, Match, Stamp, Wanted};
use super::warn_of_clear_text;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::revealed::Revealed;
use crate::secret::Secret;
use crate::source::url::Urls;
use crate::source::{
    Capabilities, Entry, EntryKind, EntryStream, Kind, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved,
    Settings, Sink, Source,
};

const PORT: u16 = 21;
/// Username and password for servers that want no account, by custom.
const ANONYMOUS: (&str, &str) = ("anonymous", "anonymous@");
/// Bytes that one transfer retrieves. They are held until it is certain that they are of the wanted version.
const PIECE_BYTES: u64 = 8 << 20;

/// A directory of an FTP server as a source: `type = "ftp"`.
///
/// Keys: `host` (required), `port`, `root`, `username` with `password` (else anonymous), `tls` (explicit: `AUTH TLS`), `links`. Paths start
/// where the server puts the user; a `root` that begins with a slash starts at the server's own root.
pub struct Ftp {
    config: Config,
    connected: Current<Connected>,
    no_machine_listings: AtomicBool,
    no_ranges: AtomicBool,
}

struct Config {
    host: String,
    port: u16,
    root: String,
    username: Option<String>,
    password: Option<Secret>,
    tls: bool,
    links: Links,
    authorities: Authorities,
}

struct Connected {
    pool: Pool,
    abilities: Abilities,
    /// The root's path at the server, without a slash at its end.
    root: Vec<u8>,
}

impl Connected {
    fn place(&self, path: &RemotePath) -> Vec<u8> {
        let mut place = self.root.clone();
        if !path.is_root() || place.is_empty() {
            place.push(b'/');
        }
        place.extend_from_slice(path.as_bytes());
        place
    }
}

/// The type `ftp`.
pub struct FtpKind;

#[async_trait]
impl Kind for FtpKind {
    fn type_name(&self) -> &'static str {
        "ftp"
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    fn connects_early(&self, settings: &Settings) -> bool {
        !settings.may_ask()
    }

    fn names_account(&self, _settings: &Settings) -> bool {
        // Without a name, it is nobody: `anonymous`.
        true
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let mut reader = settings.reader();
        let host = reader.required_string("host", "ftp.example.org");
        let port = reader.integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT);
        let root = reader.string("root").unwrap_or_default();
        let username = reader.string("username");
        let password = reader.secret("password");
        let tls = reader.boolean("tls").unwrap_or_default();
        let links = Links::read(&mut reader);
        let authorities = Authorities::read(&mut reader);
        if password.is_some() && username.is_none() {
            reader.problem(Some("password"), "`password` needs `username`");
        }
        if let Err(bad) = RemotePath::parse(root.trim_matches('/').as_bytes()) {
            reader.problem(Some("root"), format!("`root` cannot be used: {bad}"));
        }
        if host.contains(['/', ' ', '@']) {
            reader.problem(Some("host"), "`host` is the server's name alone; port and root have settings of their own");
        }
        if password.is_some() && !tls {
            warn_of_clear_text(settings, &host, "tls = true");
        }
        reader.finish()?;
        Ok(Box::new(Ftp {
            config: Config { host, port, root, username, password, tls, links, authorities },
            connected: Current::default(),
            no_machine_listings: AtomicBool::new(false),
            no_ranges: AtomicBool::new(false),
        }))
    }
}

impl Ftp {
    /// What the server is known to be able to when it lists: some know MLST and not MLSD.
    fn abilities_to_list(&self, connected: &Connected) -> Abilities {
        let no_machine_listings = self.no_machine_listings.load(Ordering::Relaxed);
        Abilities { machine_listings: connected.abilities.machine_listings && !no_machine_listings }
    }

    /// Notes that the server knows no MLSD.
    fn note_no_machine_listings(&self) {
        if !self.no_machine_listings.swap(true, Ordering::Relaxed) {
            let host = &self.config.host;
            tracing::warn!(
                "{host} knows no MLSD: its listings tell names only, and every file is asked for its size and time"
            );
        }
    }

    /// The result of a request for a path that was made on this connection.
    async fn settle<T>(
        &self,
        purpose: Purpose<'_>,
        connected: &Connected,
        mut session: Session,
        result: Result<T, Failure>,
    ) -> Result<T> {
        let failure = match result {
            Ok(value) => {
                connected.pool.give_back(session);
                return Ok(value);
            }
            Err(failure) => failure,
        };
        match failure {
            Failure::Refused(reply) if reply.is_about_path() => {
                match absence(connected, &mut session, self.abilities_to_list(connected), purpose, reply).await {
                    Ok(error) => {
                        connected.pool.give_back(session);
                        Err(error)
                    }
                    Err(failure) => {
                        connected.pool.give_back_after(session, &failure);
                        Err(failure.error(purpose))
                    }
                }
            }
            failure => {
                connected.pool.give_back_after(session, &failure);
                Err(failure.error(purpose))
            }
        }
    }

    /// What the links of a directory lead to, by their names, if links are followed and that is something.
    async fn followed(
        &self,
        purpose: Purpose<'_>,
        connected: &Connected,
        items: &Heap<Item>,
    ) -> Result<HashMap<Vec<u8>, Seen>> {
        let mut followed = HashMap::new();
        if self.config.links != Links::Follow || items.iter().all(|item| item.link.is_none()) {
            return Ok(followed);
        }
        let mut session = connected.pool.take().await.map_err(|failure| failure.error(purpose))?;
        for Item { name, link, .. } in items.iter() {
            let Some(target) = link else { continue };
            let Ok(path) = purpose.path.child(&name) else { continue };
            if links::may_follow(&connected.root, purpose.path, &target) {
                match session.follow(&connected.place(&path), connected.abilities).await {
                    Ok(seen) => followed.extend(seen.map(|seen| (name, seen))),
                    Err(failure) => {
                        connected.pool.give_back_after(session, &failure);
                        return Err(failure.error(purpose));
                    }
                }
            }
        }
        connected.pool.give_back(session);
        Ok(followed)
    }

    async fn stat(&self, purpose: Purpose<'_>, connected: &Connected) -> Result<Seen> {
        let mut session = connected.pool.take().await.map_err(|failure| failure.error(purpose))?;
        let seen = session.stat(&connected.place(purpose.path), connected.abilities).await;
        let seen = self.settle(purpose, connected, session, seen).await?;
        if seen.directory { Err(purpose.error(ErrorKind::IsADirectory)) } else { Ok(seen) }
    }

    /// Reads a piece of the wanted version: what the file is once the bytes are here is what they are of.
    async fn piece(
        &self,
        purpose: Purpose<'_>,
        connected: &Connected,
        request: &Retrieval<'_>,
        piece: &Range<u64>,
        alive: &mut dyn Sink,
    ) -> Result<(bytes::Bytes, Stamp)> {
        let place = connected.place(request.path);
        let is_wanted =
            |seen: &Stamp| Wanted::parse(request.digest).compare(seen) == Match::Same && request.allows_size(seen.size);
        let mut session = connected.pool.take().await.map_err(|failure| failure.error(purpose))?;
        let ranges = !self.no_ranges.load(Ordering::Relaxed);
        let size = request.size.unwrap_or(request.range.end);
        let mut bytes = session.read(&place, piece, size, ranges, alive).await;
        if ranges && piece.start > 0 && matches!(&bytes, Err(Failure::Refused(reply)) if reply.is_unknown_command()) {
            self.no_ranges.store(true, Ordering::Relaxed);
            bytes = session.read(&place, piece, size, false, alive).await;
        }
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(failure) => {
                let Err(error) = self.settle::<Infallible>(purpose, connected, session, Err(failure)).await;
                // It may have been replaced between being gone and being looked for.
                let replaced = error.kind() == ErrorKind::PermissionDenied
                    && self.stat(purpose, connected).await.is_ok_and(|seen| !is_wanted(&seen.stamp));
                return Err(if replaced { purpose.error(ErrorKind::Changed) } else { error });
            }
        };
        let seen = session.stat(&place, connected.abilities).await;
        let seen = self.settle(purpose, connected, session, seen).await?.stamp;
        if !is_wanted(&seen) {
            return Err(purpose.error(ErrorKind::Changed));
        }
        let missing = (piece.end - piece.start).saturating_sub(bytes.len() as u64);
        if missing > 0 {
            let short = format!("the transfer ended {missing} bytes early");
            return Err(purpose.error(ErrorKind::Unreachable).because(short));
        }
        Ok((bytes, seen))
    }
}

/// The error of a refused path. Only a listing without the name proves that it is not there.
async fn absence(
    connected: &Connected,
    session: &mut Session,
    abilities: Abilities,
    purpose: Purpose<'_>,
    reply: Reply,
) -> Result<Error, Failure> {
    let components: Vec<_> = purpose.path.components().collect();
    let mut missing = components.as_slice();
    while let Some((name, above)) = missing.split_last() {
        let parent = RemotePath::parse(&above.join(b"/".as_slice())).unwrap_or_else(|_| RemotePath::root());
        match session.list(&connected.place(&parent), abilities).await {
            Ok(Listed { items, left_out, .. }) => {
                let found = items.iter().find(|item| item.name == *name);
                let whole = missing.len() == components.len();
                return Ok(match found {
                    None if left_out.is_incomplete() => {
                        let why =
                            "the server refuses it, and the listing of its directory has lines that cannot be read";
                        purpose.protocol(why)
                    }
                    None => purpose.error(ErrorKind::NotFound),
                    Some(item) if whole && item.directory && purpose.op != "list_path" => {
                        purpose.error(ErrorKind::IsADirectory)
                    }
                    Some(item) if !item.directory && item.link.is_none() && (!whole || purpose.op == "list_path") => {
                        purpose.error(ErrorKind::NotADirectory)
                    }
                    Some(_) => Failure::Refused(reply).error(purpose),
                });
            }
            Err(Failure::Refused(refused)) if refused.is_refusal() => missing = above,
            Err(failure) => return Err(failure),
        }
    }
    let gone = "the server does not give the root: is `root` right?";
    Ok(purpose.error(ErrorKind::Unreachable).because(gone))
}

#[async_trait]
impl Source for Ftp {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            digest_from_listing: !self.no_machine_listings.load(Ordering::Relaxed),
            ranges: !self.no_ranges.load(Ordering::Relaxed),
            content_digest: false,
            proven_whole: false,
            unconfirmed: false,
            verbatim_names: true,
            // A refusal of MLST proves no absence, what it gives may be what a link leads to, and the connection of a listing is busy.
            names_alone: false,
            buffer: PIECE_BYTES,
            // Public servers allow few connections from one address.
            concurrency: 4,
        }
    }

    async fn connect(&self) -> Result<()> {
        let root = RemotePath::root();
        let purpose = Purpose { op: "connect", path: &root };
        let Config { host, port, username, password, tls, .. } = &self.config;
        let password = password.clone().map(|secret| tokio::task::spawn_blocking(move || secret.reveal()));
        let password = match password {
            Some(revealing) => revealing.await.map_err(|lost| purpose.error(ErrorKind::Other).caused_by(lost))??,
            None if username.is_none() => Revealed::new(ANONYMOUS.1),
            None => Revealed::new(""),
        };
        let username = username.clone().unwrap_or_else(|| ANONYMOUS.0.to_owned());
        let tls = if *tls { Some(Arc::new(client_config(purpose, &self.config.authorities)?)) } else { None };
        let pool = Pool::new(Target { host: host.clone(), port: *port, username, password, tls });
        let lost = |failure: Failure| failure.error(purpose);
        let mut session = pool.take().await.map_err(lost)?;
        let written = self.config.root.trim_end_matches('/');
        let mut place = if written.starts_with('/') { Vec::new() } else { session.home().await.map_err(lost)? };
        while place.last() == Some(&b'/') {
            place.pop();
        }
        if !written.is_empty() {
            place.push(b'/');
            place.extend_from_slice(written.trim_start_matches('/').as_bytes());
        }
        let mut connected = Connected { pool, abilities: Abilities { machine_listings: true }, root: place };
        connected.abilities = session.abilities(&connected.place(&root)).await.map_err(lost)?;
        if !connected.abilities.machine_listings {
            self.note_no_machine_listings();
        }
        connected.pool.give_back(session);
        self.connected.set(connected);
        Ok(())
    }

    async fn disconnect(&self) {
        self.connected.take();
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let purpose = Purpose { op: "list_path", path: dir };
        let connected = self.connected.get(purpose)?;
        let mut session = connected.pool.take().await.map_err(|failure| failure.error(purpose))?;
        let observed = now();
        let (place, abilities) = (connected.place(dir), self.abilities_to_list(&connected));
        let mut listed = session.list(&place, abilities).await;
        let is_unknown = matches!(&listed, Err(Failure::Refused(reply)) if reply.is_unknown_command());
        if abilities.machine_listings && is_unknown {
            listed = session.list(&place, Abilities { machine_listings: false }).await;
            if listed.is_ok() {
                self.note_no_machine_listings();
            }
        }
        let listed = match listed {
            Ok(names) if names.are_names => session.with_kinds(&place, names).await,
            listed => listed,
        };
        let Listed { items, left_out, .. } = self.settle(purpose, &connected, session, listed).await?;
        let mut followed = self.followed(purpose, &connected, &items).await?;
        let (noted, links) = (left_out.clone(), self.config.links);
        let entries = items.into_iter().filter_map(move |item: Item| {
            let path = left_out.child(dir, &item.name)?;
            let Some(target) = &item.link else { return Some(Ok(entry(path, &item, observed))) };
            if let Some(Seen { directory, stamp }) = followed.remove(&item.name) {
                let stamp = (!directory).then_some(stamp);
                return Some(Ok(entry(path, &Item { directory, stamp, ..item }, observed)));
            }
            let Some(target) = links::text(links, &connected.root, dir, target) else {
                tracing::debug!("{path} is a link that is left out");
                left_out.hide();
                return None;
            };
            let kind = EntryKind::Symlink { target };
            Some(Ok(Entry { kind, ..Stamp::default().file(path, None) }))
        });
        Ok(EntryStream::noting(futures::stream::iter(entries), noted))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let purpose = Purpose { op: "create_remote_digest", path: file };
        let connected = self.connected.get(purpose)?;
        let observed = now();
        let Seen { stamp, .. } = self.stat(purpose, &connected).await?;
        Ok(stamp.remote_digest(stamp.digest(observed)))
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        super::same_size(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let purpose = Purpose { op: "retrieve_file", path: request.path };
        let connected = self.connected.get(purpose)?;
        // A second change within the second of the first would not show.
        stamp::settle(request.digest).await;
        let (mut at, mut modified) = (request.range.start, None);
        while at < request.range.end {
            let piece = at..request.range.end.min(at + PIECE_BYTES);
            let (bytes, seen) = self.piece(purpose, &connected, request, &piece, out).await?;
            out.write(bytes).await?;
            (at, modified) = (piece.end, seen.modified_time());
        }
        Ok(Retrieved::confirmed(modified))
    }
}

/// Trusts the certificates that the system trusts, and these.
fn client_config(purpose: Purpose<'_>, authorities: &Authorities) -> Result<rustls::ClientConfig> {
    let failed = |e| purpose.error(ErrorKind::Other).because("cannot set up TLS").caused_by(e);
    authorities.client_config().map_err(failed)
}

/// Our clock, in seconds since 1970: FTP does not tell the server's.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

fn entry(path: RemotePath, item: &Item, observed: i64) -> Entry {
    match &item.stamp {
        _ if item.directory => Stamp::default().directory(path),
        Some(stamp) => stamp.file(path, Some(stamp.digest(observed))),
        None => Stamp::default().file(path, None),
    }
}
