//! `Participant`: who shows the server's files as a folder, or retrieves them without one.

use std::fmt::{self, Display};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kit::mount::{Mount, requests};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::case::Case;
use super::figure::Processes;
use super::stage::{Protocol, Reach, run};

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Participant {
    /// This program.
    Kitovufs,
    /// `rclone mount`.
    Rclone,
    /// sshfs, for SFTP.
    Sshfs,
    /// davfs2, for WebDAV.
    Davfs2,
    /// s3fs, for S3.
    S3fs,
    /// A program that knows all names and retrieves them as fast as it can: `curl`, for SFTP `sftp`.
    Client,
    /// The server's directory itself, on the local disk.
    Native,
}

impl Display for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kitovufs => "kitovufs",
            Self::Rclone => "rclone mount",
            Self::Sshfs => "sshfs",
            Self::Davfs2 => "davfs2",
            Self::S3fs => "s3fs",
            Self::Client => "plain client",
            Self::Native => "local disk",
        })
    }
}

/// Everybody.
pub const ALL: [Participant; 7] = [
    Participant::Kitovufs,
    Participant::Rclone,
    Participant::Sshfs,
    Participant::Davfs2,
    Participant::S3fs,
    Participant::Client,
    Participant::Native,
];

impl Participant {
    /// The name as one word, as it is written on the command line: `rclone-mount`.
    pub fn word(&self) -> String {
        self.to_string().replace(' ', "-")
    }
}

/// Whose name this word is.
pub fn named(word: &str) -> Option<Participant> {
    ALL.into_iter().find(|participant| participant.word() == word)
}

/// Who takes part in a case over a protocol, in the order of the turns.
pub fn of(case: &Case, protocol: Protocol) -> Vec<Participant> {
    let special = match protocol {
        Protocol::S3 | Protocol::TaggedS3 => Participant::S3fs,
        Protocol::Webdav => Participant::Davfs2,
        Protocol::Sftp => Participant::Sshfs,
        _ => return vec![Participant::Kitovufs],
    };
    let client = case.client.filter(|_| case.client_speaks.contains(&protocol)).map(|_| Participant::Client);
    let native = case.native.then_some(Participant::Native);
    [Participant::Kitovufs, Participant::Rclone, special].into_iter().chain(client).chain(native).collect()
}

/// The flags of `rclone mount`, for the report too.
pub const RCLONE: [&str; 5] =
    ["--read-only", "--vfs-cache-mode", "full", "--vfs-fast-fingerprint", "--dir-cache-time=1h"];

/// The configuration of davfs2, for the report too.
pub const DAVFS2: &str = "use_locks 0\nask_auth 0\n";

/// The options of s3fs, for the report too.
pub const S3FS: &str = "ro,public_bucket=1,use_path_request_style,enable_noobj_cache,parallel_count=16,multireq_max=64";

/// How long mounting may take.
const SOON: Duration = Duration::from_secs(30);

/// A folder that shows the server's files, until it is dropped.
pub enum Mounted {
    Ours(Mount),
    Peer(Peer),
}

/// Another program's mount.
pub struct Peer {
    dir: PathBuf,
    /// The program, if it stays in front.
    child: Option<Child>,
    pid: u32,
}

impl Participant {
    /// Mounts with an empty cache in `place`, and waits until the folder answers.
    pub fn mount(self, reach: &Reach, place: &TempDir) -> Mounted {
        let (dir, cache) = (place.path().join("mnt"), place.path().join("cache"));
        for made in [&dir, &cache] {
            fs::create_dir(made).unwrap();
        }
        let mut command = match self {
            Self::Kitovufs => return Mounted::Ours(Mount::of(&reach.table)),
            Self::Rclone => rclone(reach, &cache),
            Self::Sshfs => sshfs(reach),
            Self::Davfs2 => return Mounted::Peer(davfs2(reach, place.path(), dir, &cache)),
            Self::S3fs => s3fs(reach, &cache),
            Self::Client | Self::Native => unreachable!("it mounts nothing"),
        };
        let child = command.arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        await_mount(&dir);
        Mounted::Peer(Peer { dir, pid: child.id(), child: Some(child) })
    }
}

impl Mounted {
    /// Where the server's files are.
    pub fn dir(&self) -> PathBuf {
        match self {
            Self::Ours(mount) => mount.path("far"),
            Self::Peer(peer) => peer.dir.clone(),
        }
    }

    /// How often kitovufs has asked its source, by its own count: listings, questions about one file, and retrievals.
    pub fn own_count(&self) -> Option<u64> {
        let Self::Ours(mount) = self else { return None };
        let (listings, digests, retrievals) = requests(&mount.status(), "far");
        Some(listings + digests + retrievals)
    }

    /// Who serves it.
    pub fn processes(&self) -> Processes {
        match self {
            Self::Ours(mount) => Processes(mount.pid()),
            Self::Peer(peer) => Processes(peer.pid),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").args(["-i", "-l"]).arg(&self.dir).status().unwrap();
        assert!(unmounted.success(), "{} stays mounted", self.dir.display());
        match &mut self.child {
            Some(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            // It ends by itself, and then its pid is another's.
            None => await_end(self.pid),
        }
    }
}

fn rclone(reach: &Reach, cache: &Path) -> Command {
    let mut command = Command::new("rclone");
    command.args(["mount", "--config", "/dev/null", "--cache-dir"]).arg(cache).args(RCLONE);
    match reach.protocol {
        Protocol::S3 | Protocol::TaggedS3 => command
            .args(["--s3-provider", "Rclone", "--s3-endpoint", reach.endpoint()])
            .arg(format!(":s3:{}", reach.value("bucket"))),
        Protocol::Webdav => command.args(["--webdav-url", reach.endpoint(), ":webdav:"]),
        Protocol::Sftp => command
            .args([
                "--sftp-host",
                "127.0.0.1",
                "--sftp-port",
                reach.value("port"),
                "--sftp-user",
                reach.value("username"),
            ])
            .args(["--sftp-key-file", reach.value("key"), "--sftp-known-hosts-file", reach.value("known_hosts")])
            .arg(format!(":sftp:{}", reach.value("root"))),
        _ => unreachable!("it takes no part there"),
    };
    command
}

fn sshfs(reach: &Reach) -> Command {
    let mut command = Command::new("sshfs");
    command.args(["-f", "-o", "ro", "-p", reach.value("port")]).args(reach.ssh_options());
    command.arg(format!("{}:{}", reach.login(), reach.value("root")));
    command
}

fn s3fs(reach: &Reach, cache: &Path) -> Command {
    let mut command = Command::new("s3fs");
    let url = format!("{S3FS},url={},use_cache={}", reach.endpoint(), cache.display());
    command.args(["-f", "-o", &url, reach.value("bucket")]);
    command
}

fn davfs2(reach: &Reach, place: &Path, dir: PathBuf, cache: &Path) -> Peer {
    let (config, secrets) = (place.join("davfs2.conf"), place.join("secrets"));
    fs::write(&config, format!("{DAVFS2}cache_dir {}\nsecrets {}\n", cache.display(), secrets.display())).unwrap();
    fs::write(&secrets, "").unwrap();
    // It becomes a user of its own, who keeps the cache.
    for (path, mode) in [(secrets.as_path(), 0o600), (cache, 0o777), (place, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let options = format!("ro,conf={}", config.display());
    run(Command::new("mount.davfs").args(["-o", &options]).arg(reach.url()).arg(&dir));
    await_mount(&dir);
    let name = dir.to_str().unwrap().trim_start_matches('/').replace('/', "-");
    let pid = fs::read_to_string(format!("/var/run/mount.davfs/{name}.pid")).unwrap().trim().parse().unwrap();
    Peer { dir, child: None, pid }
}

/// Waits until something is mounted there and shows its names.
fn await_mount(dir: &Path) {
    let begun = Instant::now();
    let mounted = |table: String| table.lines().any(|line| line.split(' ').nth(4) == dir.to_str());
    while !mounted(fs::read_to_string("/proc/self/mountinfo").unwrap()) {
        assert!(begun.elapsed() < SOON, "nothing is mounted at {}", dir.display());
        thread::sleep(Duration::from_millis(5));
    }
    assert!(fs::read_dir(dir).unwrap().count() > 0, "{} is empty", dir.display());
}

fn await_end(pid: u32) {
    let begun = Instant::now();
    while fs::exists(format!("/proc/{pid}")).unwrap() && begun.elapsed() < SOON {
        thread::sleep(Duration::from_millis(5));
    }
}
