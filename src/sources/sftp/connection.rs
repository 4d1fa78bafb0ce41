//! `Connection`: one conversation with a server about one directory there. It knows where remote paths are; it retrieves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{Asked, Client};
use super::codec::{Attrs, FileType, status};
use super::config::{Config, Way};
use super::failure::Failure;
use super::kept::Kept;
use super::{host_key, inside, program};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Printable, RemotePath};
use crate::sources::links::{Links, stays_inside, strip_dir};

/// A connected source.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) kept: Kept,
    /// How many retrievals share it now.
    pub(super) retrievals: AtomicUsize,
    /// Whether bytes of a file have come over it.
    pub(super) has_brought: AtomicBool,
    /// The root without symbolic links, absolute, as the server writes it; empty for `/`.
    base: Vec<u8>,
    /// The root as it is configured, if that is absolute, without a slash at its end: links may be written with it.
    pub(super) spelling: Option<Vec<u8>>,
    pub(super) links: Links,
    line: Line,
}

/// The SSH connection under the conversation.
enum Line {
    Inside(host_key::Connection),
    Program(program::Running),
    #[cfg(test)]
    Test,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inside(_) => "Inside",
            Self::Program(_) => "Program",
            #[cfg(test)]
            Self::Test => "Test",
        })
    }
}

impl Connection {
    /// Connects and finds the root.
    ///
    /// # Errors
    /// `Unreachable`, also if the root is not there: nothing below it has been deleted.
    pub(super) async fn open(config: &Config) -> Result<Arc<Self>> {
        let root = if config.root.is_empty() { b".".as_slice() } else { &config.root };
        let (Started { client, real, attrs }, line) = match &config.way {
            Way::Inside(inside) => {
                let (line, channel) = inside::connect(&config.host, inside).await?;
                let (reader, writer) = tokio::io::split(channel.into_stream());
                (start(reader, writer, root).await?, Line::Inside(line))
            }
            Way::Program(program) => {
                let (running, reader, writer) = program::start(&config.host, program)?;
                match start(reader, writer, root).await {
                    Ok(started) => (started, Line::Program(running)),
                    Err(error) if error.kind() == ErrorKind::Unreachable => return Err(running.error_output().await),
                    Err(error) => return Err(error),
                }
            }
        };
        let real = real.await.map_err(|failure| no_root(&failure, root))?;
        if real.first() != Some(&b'/') {
            let why = "the server has no absolute path for the root";
            return Err(Error::new("connect", ErrorKind::Protocol).because(why));
        }
        let base = real.strip_suffix(b"/").unwrap_or(&real).to_vec();
        let spelling = config.root.starts_with(b"/").then(|| config.root.clone());
        let spelling = spelling.map(|root| root.strip_suffix(b"/").unwrap_or(&root).to_vec());
        let connection = Arc::new(Self::new(client, base, spelling, config.links, line));
        is_root("connect", &connection.place(&RemotePath::root()), attrs.await)?;
        Ok(connection)
    }

    /// A conversation about the directory `/srv` that a test has with itself.
    #[cfg(test)]
    pub(super) fn of_test(client: Client) -> Self {
        Self::new(client, b"/srv".to_vec(), None, Links::default(), Line::Test)
    }

    fn new(client: Client, base: Vec<u8>, spelling: Option<Vec<u8>>, links: Links, line: Line) -> Self {
        let (kept, retrievals, has_brought) = (Kept::default(), AtomicUsize::new(0), AtomicBool::new(false));
        Self { client, kept, retrievals, has_brought, base, spelling, links, line }
    }

    /// Ends the conversation.
    pub(super) async fn close(&self) {
        self.client.give_up();
        match &self.line {
            Line::Inside(line) => inside::disconnect(line).await,
            Line::Program(running) => running.end().await,
            #[cfg(test)]
            Line::Test => {}
        }
    }

    /// Whether another connection has the same root.
    pub(super) fn shows_the_same_as(&self, other: &Self) -> bool {
        self.base == other.base
    }

    /// The absolute path that a path has at the server.
    pub(super) fn place(&self, path: &RemotePath) -> Vec<u8> {
        if path.is_root() && self.base.is_empty() {
            return b"/".to_vec();
        }
        let mut place = self.base.clone();
        if !path.is_root() {
            place.push(b'/');
            place.extend_from_slice(path.as_bytes());
        }
        place
    }

    /// The absolute path at the server of what is shown at this path. Where links are followed the server tells where they lead.
    ///
    /// # Errors
    /// `kind` if that is outside the root.
    pub(super) async fn real(&self, op: &'static str, path: &RemotePath, kind: ErrorKind) -> Result<Vec<u8>> {
        let place = self.place(path);
        if self.links != Links::Follow {
            return Ok(place);
        }
        match self.client.real_path(&place).await {
            Ok(real) if self.holds(&real) => Ok(real.to_vec()),
            Ok(_) => Err(Error::new(op, kind).on(path).because("a symbolic link leads out of the source")),
            Err(failure) => Err(self.error(op, path, &failure).await),
        }
    }

    /// Where the directories on the way to `dir` are, itself included, if links are followed; else nothing.
    pub(super) async fn way(&self, op: &'static str, dir: &RemotePath) -> Result<Vec<Bytes>> {
        let mut asked = Vec::new();
        let mut at = (self.links == Links::Follow).then(|| dir.clone());
        while let Some(dir) = at {
            asked.push(self.client.real_path(&self.place(&dir)));
            at = dir.parent();
        }
        let way: Result<_, Failure> = futures::future::try_join_all(asked).await;
        match way {
            Ok(way) => Ok(way),
            Err(failure) => Err(self.error(op, dir, &failure).await),
        }
    }

    /// Whether an absolute path without links is inside.
    pub(super) fn holds(&self, real: &[u8]) -> bool {
        self.inside(real).is_some_and(|inside| stays_inside(0, inside))
    }

    /// The part of an absolute path of the server that follows the root, if it is inside; empty for the root itself.
    pub(super) fn inside<'a>(&self, absolute: &'a [u8]) -> Option<&'a [u8]> {
        strip_dir(absolute, &self.base)
    }

    /// The error of an operation. What is *not found* while the root has gone too was not deleted.
    pub(super) async fn error(&self, op: &'static str, path: &RemotePath, failure: &Failure) -> Error {
        let error = failure.error(op, path);
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        self.check_root(op).await.err().unwrap_or(error)
    }

    async fn check_root(&self, op: &'static str) -> Result<()> {
        let place = self.place(&RemotePath::root());
        is_root(op, &place, self.client.stat(&place).await)
    }

    /// Fails unless a path, asked for at `place`, was really there: the server follows links on the way, and they may have come
    /// after the listing. `kind` is what then to say.
    pub(super) async fn no_links(
        &self,
        op: &'static str,
        path: &RemotePath,
        place: &[u8],
        real: Asked<Bytes>,
        kind: ErrorKind,
    ) -> Result<()> {
        match real.await {
            Ok(real) if real == *place => Ok(()),
            Ok(_) => Err(Error::new(op, kind).on(path).because("a symbolic link has taken its place")),
            // A path that cannot be resolved cannot be opened either; that answer says why.
            Err(failure) if failure.is_status() => Ok(()),
            Err(failure) => Err(failure.error(op, path)),
        }
    }
}

/// A conversation that has begun, and what was asked about the root in the same round trip as the server's limits.
struct Started {
    client: Client,
    real: Asked<Bytes>,
    attrs: Asked<Attrs>,
}

async fn start(
    reader: impl AsyncRead + Unpin + Send + 'static,
    writer: impl AsyncWrite + Unpin + Send + 'static,
    root: &[u8],
) -> Result<Started> {
    let started = async {
        let mut client = Client::start(reader, writer).await?;
        let (real, attrs) = (client.real_path(root), client.stat(root));
        client.settle().await?;
        Ok(Started { client, real, attrs })
    };
    started.await.map_err(|failure| match failure {
        Failure::Lost(why) => Error::new("connect", ErrorKind::Unreachable).because(format!("no SFTP server: {why}")),
        other => other.error("connect", &RemotePath::root()),
    })
}

/// Fails unless this answer says that the root, which is at `place`, is a directory.
fn is_root(op: &'static str, place: &[u8], answer: Result<Attrs, Failure>) -> Result<()> {
    match answer {
        Ok(attrs) if attrs.file_type() == FileType::Directory => Ok(()),
        Ok(_) => {
            let why = format!("{} is not a directory at the server", Printable(place));
            Err(Error::new(op, ErrorKind::Unreachable).because(why))
        }
        Err(failure) => Err(no_root(&failure, place)),
    }
}

fn no_root(failure: &Failure, root: &[u8]) -> Error {
    let error = failure.error("connect", &RemotePath::root());
    match failure {
        Failure::Status { code: status::NO_SUCH_FILE | status::NO_SUCH_PATH, .. } => {
            let why = format!("there is no directory {} at the server: is `root` right?", Printable(root));
            Error::new("connect", ErrorKind::Unreachable).because(why)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::client::tests::{answer, whole};
    use super::super::codec::tests::version;
    use super::super::codec::{Name, Reply};
    use super::*;

    const REALPATH: u8 = 16;
    const STAT: u8 = 17;
    const EXTENDED: u8 = 200;

    #[tokio::test]
    async fn the_root_is_asked_for_in_the_round_trip_of_the_limits() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (reader, writer) = tokio::io::split(ours);
        let starting = tokio::spawn(start(reader, writer, b"/srv"));
        theirs.read_exact(&mut [0; 9]).await.expect("a greeting");
        theirs.write_all(&version(true)).await.expect("the client listens");
        let round = [whole(&mut theirs).await, whole(&mut theirs).await, whole(&mut theirs).await];
        assert_eq!(round.each_ref().map(|(_, kind, ..)| *kind), [EXTENDED, REALPATH, STAT]);
        for (id, kind, path, _) in round {
            let reply = match kind {
                REALPATH => Reply::Names(vec![Name { name: path.into(), attrs: Attrs::default() }]),
                STAT => Reply::Attrs(Attrs { permissions: Some(0o040_755), ..Attrs::default() }),
                _ => Reply::Status { code: status::UNSUPPORTED, message: Bytes::new() },
            };
            answer(&mut theirs, id, reply).await;
        }
        let Started { real, attrs, .. } = starting.await.expect("it ends").expect("the server answers");
        assert_eq!(real.await.expect("answered"), b"/srv".as_slice());
        assert!(is_root("connect", b"/srv", attrs.await).is_ok());
        assert!(is_root("connect", b"/srv", Ok(Attrs::default())).is_err());
    }
}
