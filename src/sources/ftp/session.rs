//! `Session`: one control connection to an FTP server, logged in. It knows the server's paths, and nothing of sources.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use suppaftp::tokio::{AsyncRustlsConnector, AsyncRustlsFtpStream, AsyncRustlsStream, TransferStream};
use suppaftp::tokio_rustls::TlsConnector;
use suppaftp::types::FileType;
use suppaftp::{FtpError, Mode, Status};
use tokio::io::AsyncReadExt as _;

use super::facts::{self, Item, Kind, Listed};
use super::reply::{Failure, Reply};
use super::wire::{self, text_of};
use crate::revealed::Revealed;
use crate::source::Sink;
use crate::source::waits::note_progress;
use crate::sources::arriving::{self, Arriving};
use crate::sources::dial::dial;
use crate::sources::heap::Heap;
use crate::sources::stamp::{Stamp, ftp_time};

/// A host that does not even accept a connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Tickets of one control connection that are kept for data connections.
const TICKETS: usize = 8;
/// Bytes of a listing that are read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The server of the sessions, and the account that they log in with.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: String,
    pub(super) password: Revealed,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

/// The abilities of the server that the first session found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    /// MLSD and MLST: exact facts.
    pub(super) machine_listings: bool,
}

pub(super) struct Session {
    stream: AsyncRustlsFtpStream,
}

/// The server's answer about one path.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) directory: bool,
    pub(super) stamp: Stamp,
}

impl Session {
    pub(super) async fn open(target: &Target) -> Result<Self, Failure> {
        let connecting = dial(&target.host, target.port);
        let tcp = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(tcp) => tcp.map_err(FtpError::ConnectionError)?,
            Err(_) => return Err(Failure::Silent),
        };
        tcp.set_nodelay(true).map_err(FtpError::ConnectionError)?;
        let is_v6 = tcp.peer_addr().is_ok_and(|address| address.is_ipv6());
        let mut stream = AsyncRustlsFtpStream::connect_with_stream(tcp).await?;
        if let Some(config) = &target.tls {
            let connector = AsyncRustlsConnector::from(TlsConnector::from(Arc::new(with_own_tickets(config))));
            stream = match stream.into_secure(connector, &target.host).await {
                Err(FtpError::UnexpectedResponse(_)) => {
                    return Err(FtpError::SecureError("the server offers none; check `tls`".into()).into());
                }
                secured => secured?,
            };
        }
        stream.set_encoding(wire::Bytes).await;
        // Data connections go to the host that was configured, whatever address the server names.
        stream.set_passive_nat_workaround(true);
        stream.set_mode(if is_v6 { Mode::ExtendedPassive } else { Mode::Passive });
        let (username, password) = (text_of(target.username.as_bytes()), text_of(target.password.expose().as_bytes()));
        stream.login(username, password).await.map_err(|e| Failure::from(e).of_login())?;
        let mut session = Self { stream };
        session.stream.transfer_type(FileType::Binary).await?;
        // Some servers speak another character set until they are told; others do not know the command.
        match session.stream.opts("UTF8", Some("ON")).await.map_err(Failure::from) {
            Err(lost @ (Failure::Lost(_) | Failure::Silent)) => Err(lost),
            _ => Ok(session),
        }
    }

    /// The directory in which the server starts a session; its root where it does not say.
    pub(super) async fn home(&mut self) -> Result<Vec<u8>, Failure> {
        match self.stream.pwd().await.map_err(Failure::from) {
            Ok(path) => Ok(wire::bytes_of(&path)),
            Err(Failure::Refused(reply)) if reply.is_unknown_command() => Ok(Vec::new()),
            Err(Failure::Refused(reply)) => reply.unquoted_path().ok_or(Failure::Refused(reply)),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn abilities(&mut self, root: &[u8]) -> Result<Abilities, Failure> {
        match self.command("MLST", root, &[Status::RequestedFileActionOk]).await {
            Err(Failure::Refused(reply)) if reply.is_unknown_command() => Ok(Abilities { machine_listings: false }),
            Ok(_) => Ok(Abilities { machine_listings: true }),
            Err(Failure::Refused(reply)) if reply.is_refusal() => Ok(Abilities { machine_listings: true }),
            Err(lost) => Err(lost),
        }
    }

    /// Whether the connection still works.
    pub(super) async fn is_alive(&mut self) -> bool {
        self.stream.noop().await.is_ok()
    }

    pub(super) async fn list(&mut self, dir: &[u8], abilities: Abilities) -> Result<Listed, Failure> {
        if abilities.machine_listings {
            return self.listing(format!("MLSD {}", text_of(dir)), facts::machine_listing).await;
        }
        // LIST takes patterns and options for a path; the working directory is taken as it is.
        self.stream.cwd(text_of(dir)).await?;
        match self.listing("LIST".to_owned(), facts::human_listing).await {
            Err(Failure::Refused(reply)) if reply.is_unknown_command() => {
                self.listing("NLST".to_owned(), facts::names).await
            }
            listed => listed,
        }
    }

    /// What this command lists.
    async fn listing(
        &mut self,
        command: String,
        parse: impl FnOnce(&mut Arriving) -> Result<Listed, String> + Send + 'static,
    ) -> Result<Listed, Failure> {
        let (_, mut data) =
            self.stream.custom_data_command(command, &[Status::AboutToSend, Status::AlreadyOpen]).await?;
        let pieces = futures::stream::try_unfold((&mut data, true), async |(data, is_line_whole)| {
            let mut piece = BytesMut::with_capacity(CHUNK_BYTES);
            data.read_buf(&mut piece).await.map_err(FtpError::ConnectionError)?;
            match piece.last() {
                Some(&last) => Ok(Some((piece.freeze(), (data, last == b'\n')))),
                None if is_line_whole => Ok(None),
                // A part of a name can look like a name.
                None => Err(FtpError::ConnectionError(std::io::ErrorKind::UnexpectedEof.into())),
            }
        });
        // If parsing ends early, the rest is unread, and the connection cannot be used again.
        let listed = arriving::parsed(pieces, true, parse).await?.map_err(Failure::Nonsense)?;
        // Only this reply says that the listing is complete.
        data.finish().await?;
        Ok(listed)
    }

    /// What was listed in a directory, where the server has told names only: a name is a directory if the server goes there.
    pub(super) async fn with_kinds(&mut self, dir: &[u8], listed: Listed) -> Result<Listed, Failure> {
        let mut items = Heap::default();
        for item in listed.items.iter() {
            let path = [dir, b"/", &item.name].concat();
            let directory = match self.stream.cwd(text_of(&path)).await.map_err(Failure::from) {
                Ok(()) => true,
                Err(Failure::Refused(reply)) if reply.is_refusal() => false,
                Err(failure) => return Err(failure),
            };
            note_progress();
            items.push(&Item { directory, ..item }).map_err(|exceeded| Failure::Nonsense(exceeded.to_string()))?;
        }
        Ok(Listed { items, ..listed })
    }

    pub(super) async fn stat(&mut self, path: &[u8], abilities: Abilities) -> Result<Seen, Failure> {
        if abilities.machine_listings {
            let reply = self.command("MLST", path, &[Status::RequestedFileActionOk]).await?;
            let line = reply.lines().nth(1).ok_or_else(|| Failure::Nonsense("an answer without facts".into()))?;
            let line = line.strip_prefix(b" ").unwrap_or(line);
            return match facts::facts(line) {
                // These are the link's own size and time.
                Some((Kind::Link(_), ..)) => self.size_and_time(path).await,
                Some((kind, stamp, _)) => Ok(Seen { directory: matches!(kind, Kind::Directory | Kind::Itself), stamp }),
                None => Err(Failure::Nonsense("an answer without facts".into())),
            };
        }
        self.size_and_time(path).await
    }

    /// What a link leads to; none if the server does not give it. Servers follow links in paths.
    pub(super) async fn follow(&mut self, path: &[u8], abilities: Abilities) -> Result<Option<Seen>, Failure> {
        match self.stream.cwd(text_of(path)).await.map_err(Failure::from) {
            Ok(()) => return Ok(Some(Seen { directory: true, stamp: Stamp::default() })),
            Err(Failure::Refused(reply)) if reply.is_refusal() => {}
            Err(failure) => return Err(failure),
        }
        match self.stat(path, abilities).await {
            Err(Failure::Refused(reply)) if reply.is_refusal() => Ok(None),
            seen => seen.map(Some),
        }
    }

    async fn size_and_time(&mut self, path: &[u8]) -> Result<Seen, Failure> {
        let size = self.command("SIZE", path, &[Status::File]).await?.text();
        let size = size.trim().parse().map_err(|_| Failure::Nonsense("a size that is no number".into()))?;
        let modified = match self.command("MDTM", path, &[Status::File]).await {
            Ok(reply) => ftp_time(reply.text().trim()),
            Err(Failure::Refused(reply)) if reply.is_unknown_command() => None,
            Err(failure) => return Err(failure),
        };
        Ok(Seen { directory: false, stamp: Stamp::new(None, Some(size), modified) })
    }

    /// Reads these bytes of a file, and stops there. Without `ranges`, what comes before them is read too. `alive` hears that
    /// some have come.
    pub(super) async fn read(
        &mut self,
        path: &[u8],
        range: &Range<u64>,
        size: u64,
        ranges: bool,
        alive: &mut dyn Sink,
    ) -> Result<Bytes, Failure> {
        let offset = if ranges { range.start } else { 0 };
        let offset = usize::try_from(offset).map_err(|e| Failure::Nonsense(e.to_string()))?;
        self.stream.resume_transfer(offset).await?;
        let mut data = self.stream.retr_as_stream(text_of(path)).await?;
        let before = range.start - offset as u64;
        skip(&mut data, before).await?;
        let wanted = usize::try_from(range.end - range.start).map_err(|e| Failure::Nonsense(e.to_string()))?;
        let mut bytes = BytesMut::with_capacity(wanted);
        while bytes.len() < wanted {
            let missing = (wanted - bytes.len()) as u64;
            if (&mut data).take(missing).read_buf(&mut bytes).await.map_err(FtpError::ConnectionError)? == 0 {
                break;
            }
            alive.write(Bytes::new()).await.map_err(Failure::Unwanted)?;
        }
        if bytes.len() == wanted && range.end < size {
            // The rest is not wanted. Closing makes the server say so, in whatever words.
            return match data.finish().await.map_err(Failure::from) {
                Ok(()) | Err(Failure::Refused(_)) => Ok(bytes.freeze()),
                Err(lost) => Err(lost),
            };
        }
        data.finish().await?;
        Ok(bytes.freeze())
    }

    async fn command(&mut self, verb: &str, path: &[u8], expected: &[Status]) -> Result<Reply, Failure> {
        let answer = self.stream.custom_command(format!("{verb} {}", text_of(path)), expected).await?;
        Ok(Reply::from(answer))
    }
}

/// The configuration for one control connection and its data connections. Servers demand that these resume the session of that very
/// control connection, and each ticket resumes once: those of other control connections are of no use.
fn with_own_tickets(config: &rustls::ClientConfig) -> rustls::ClientConfig {
    let mut config = config.clone();
    config.resumption = rustls::client::Resumption::in_memory_sessions(TICKETS);
    config
}

async fn skip(data: &mut TransferStream<AsyncRustlsStream>, bytes: u64) -> Result<(), Failure> {
    let mut rest = data.take(bytes);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map_err(FtpError::ConnectionError)?;
    Ok(())
}
