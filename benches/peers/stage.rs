//! `Stage`: a server with a case's files behind a case's line, on which participants take their turns.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use kit::cpu;
use kit::proxy::Proxy;
use kit::remote::Remote;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::case::Case;
use super::figure::{Figure, PATIENCE};
use super::participant::{Mounted, Participant};

/// How the server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// `rclone serve s3`, open to everybody, which keeps its listings; without entity tags: it makes them by reading a file whole at
    /// each request.
    S3,
    /// The same with entity tags, by which bytes are proven.
    TaggedS3,
    /// Apache's mod_dav.
    Webdav,
    /// OpenSSH.
    Sftp,
    /// The directory itself.
    Local,
    /// nginx, with index pages in JSON.
    Http,
    /// Samba.
    Smb,
    /// `rclone serve ftp`.
    Ftp,
    /// fake-gcs-server.
    Gcs,
    /// Azurite.
    Azblob,
    /// The plugin of the examples that shows a directory.
    Plugin,
    /// A plugin written for kitovu that does.
    Python,
}

impl Protocol {
    /// Whether requests can be counted on the line.
    fn is_http(self) -> bool {
        matches!(self, Self::S3 | Self::TaggedS3 | Self::Webdav | Self::Http | Self::Gcs | Self::Azblob)
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S3 => "s3",
            Self::TaggedS3 => "s3, tags",
            Self::Webdav => "webdav",
            Self::Sftp => "sftp",
            Self::Local => "local",
            Self::Http => "http",
            Self::Smb => "smb",
            Self::Ftp => "ftp",
            Self::Gcs => "gcs",
            Self::Azblob => "azblob",
            Self::Plugin => "plugin",
            Self::Python => "python",
        })
    }
}

/// A server with files, and what lies before it.
pub struct Stage<'a> {
    case: &'a Case,
    protocol: Protocol,
    remote: Remote,
}

/// What a client has to know of the server: the table of a source of kitovufs, which leads over a line of its own.
#[derive(Debug, Clone)]
pub struct Reach {
    pub protocol: Protocol,
    pub table: String,
}

impl Reach {
    /// The value of a key, without quotes.
    pub fn value(&self, key: &str) -> &str {
        let rest = self.table.split(&format!("{key} = ")).nth(1).unwrap();
        rest.lines().next().unwrap().trim_matches('"')
    }

    /// Where the server is, as a URL without a slash at its end.
    pub fn endpoint(&self) -> &str {
        self.value("endpoint").trim_end_matches('/')
    }

    /// Where the files are, as a URL with a slash at its end.
    pub fn url(&self) -> String {
        match self.protocol {
            Protocol::S3 | Protocol::TaggedS3 => format!("{}/{}/", self.endpoint(), self.value("bucket")),
            Protocol::Webdav => format!("{}/", self.endpoint()),
            _ => unreachable!("no other is reached by a URL"),
        }
    }

    /// `user@host` of the SFTP server.
    pub fn login(&self) -> String {
        format!("{}@127.0.0.1", self.value("username"))
    }

    /// How OpenSSH's programs log in there, but for the port, and ask nobody.
    pub fn ssh_options(&self) -> Vec<String> {
        let known = format!("UserKnownHostsFile={}", self.value("known_hosts"));
        let key = format!("IdentityFile={}", self.value("key"));
        ["BatchMode=yes", &known, &key].iter().flat_map(|option| ["-o".into(), (*option).into()]).collect()
    }
}

impl<'a> Stage<'a> {
    /// Starts the server and puts the case's files there, all of which changed long ago.
    pub fn new(case: &'a Case, protocol: Protocol) -> Self {
        let remote = match protocol {
            Protocol::S3 => Remote::still_s3(false),
            Protocol::TaggedS3 => Remote::still_s3(true),
            Protocol::Webdav => Remote::apache(),
            Protocol::Sftp => Remote::sftp(),
            Protocol::Local => Remote::local(),
            Protocol::Http => Remote::web(),
            Protocol::Smb => Remote::smb(),
            Protocol::Ftp => Remote::ftp(),
            Protocol::Gcs => Remote::gcs(),
            Protocol::Azblob => Remote::azure(),
            Protocol::Plugin => Remote::plugin(),
            Protocol::Python => Remote::python(),
        };
        (case.files)(&remote.dir());
        remote.publish();
        Self { case, protocol, remote }
    }

    /// Lets one participant do the case's work, with a fresh mount if it mounts.
    pub fn turn(&self, participant: Participant) -> Figure {
        let (table, proxy) = match self.protocol {
            Protocol::Local | Protocol::Plugin | Protocol::Python => (self.remote.table("far"), None),
            _ => {
                let (table, proxy) = self.remote.table_over("far", Proxy::to);
                proxy.set(self.case.link);
                (table, Some(proxy))
            }
        };
        let proxy = proxy.as_ref();
        let reach = Reach { protocol: self.protocol, table };
        let place = tempfile::tempdir().unwrap();
        match participant {
            Participant::Native => self.native(),
            Participant::Client => self.client(proxy, reach, &place),
            _ => self.mounted(proxy, &participant.mount(&reach, &place)),
        }
    }

    fn native(&self) -> Figure {
        let dir = self.remote.dir();
        let took = timed(dir.clone(), self.case.before).and_then(|_| timed(dir, self.case.work));
        let (seconds, failed) = told(took);
        Figure { seconds, failed, requests: None, bytes: None, memory: None, cpu: None }
    }

    fn client(&self, proxy: Option<&Proxy>, reach: Reach, place: &TempDir) -> Figure {
        let work = self.case.client.expect("it takes part only where there is one");
        let before = cpu::of_ended_children();
        let (seconds, failed) = told(timed(place.path().to_owned(), move |to| work(&reach, to)));
        let cpu = Some(cpu::of_ended_children() - before);
        let requests = self.requests(proxy);
        Figure { seconds, failed, requests, bytes: proxy.map(Proxy::delivered), memory: None, cpu }
    }

    fn mounted(&self, proxy: Option<&Proxy>, mounted: &Mounted) -> Figure {
        let (processes, dir) = (mounted.processes(), mounted.dir());
        let prepared = timed(dir.clone(), self.case.before);
        let moved = || proxy.map(Proxy::delivered);
        let asked = || self.requests(proxy).or_else(|| mounted.own_count());
        let (cpu, bytes, requests) = (processes.cpu(), moved(), asked());
        let (seconds, failed) = told(prepared.and_then(|_| timed(dir, self.case.work)));
        Figure {
            seconds,
            failed,
            requests: asked().zip(requests).map(|(after, before)| after - before),
            bytes: moved().zip(bytes).map(|(after, before)| after - before),
            memory: Some(processes.memory()),
            cpu: Some(processes.cpu() - cpu),
        }
    }

    /// HTTP requests that have passed the line.
    fn requests(&self, proxy: Option<&Proxy>) -> Option<u64> {
        proxy.filter(|_| self.protocol.is_http()).map(Proxy::http_requests)
    }
}

/// Seconds, and whether an error is why there are none.
fn told(took: Result<f64, RecvTimeoutError>) -> (Option<f64>, bool) {
    let failed = took == Err(RecvTimeoutError::Disconnected);
    (took.ok(), failed)
}

/// How many seconds this takes there, unless it fails (`Disconnected`) or takes longer than anybody may. It is left alone then, and ends
/// when its mount does.
fn timed(dir: PathBuf, work: impl FnOnce(&Path) + Send + 'static) -> Result<f64, RecvTimeoutError> {
    rustix::fs::sync();
    let (done, waiting) = mpsc::channel();
    let begun = Instant::now();
    thread::spawn(move || {
        work(&dir);
        let _ = done.send(begun.elapsed());
    });
    Ok(waiting.recv_timeout(PATIENCE)?.as_secs_f64())
}

/// Runs a program, which must succeed; what it prints is nobody's business.
pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or_default();
    assert!(output.status.success(), "{command:?}: {}: {first}", output.status);
}
