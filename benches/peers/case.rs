//! The cases: which files, over which line, and what a reader does with them.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use kit::files::{noise, random};
use kit::proxy::Link;

use super::stage::Protocol::{self, Azblob, Ftp, Gcs, Http, Local, Plugin, Python, S3, Sftp, Smb, TaggedS3, Webdav};
use super::stage::{Reach, run};

/// Something that readers do, and wait for.
pub struct Case {
    /// Its name in `scripts/bench NAME`.
    pub name: &'static str,
    /// The reader's work and the line, in words.
    pub what: &'static str,
    /// Which servers it is done to.
    pub protocols: &'static [Protocol],
    /// The line between reader and server.
    pub link: Link,
    /// Puts the files into the server's directory.
    pub files: fn(&Path),
    /// Prepares the mounted folder before the time is taken.
    pub before: fn(&Path),
    /// Does the reader's work in the mounted folder.
    pub work: fn(&Path),
    /// The same by a program that knows all names, into a directory.
    pub client: Option<fn(&Reach, &Path)>,
    /// Of which protocols that program speaks enough.
    pub client_speaks: &'static [Protocol],
    /// Whether the server's directory on the local disk takes part.
    pub native: bool,
}

const ALL: &[Protocol] = &[S3, Webdav, Sftp];
const HTTP: &[Protocol] = &[S3, Webdav];

const LOOPBACK: Link =
    Link { delay: Duration::ZERO, bandwidth: None, line: None, until: None, fate: None, refuses: false };
/// A round trip of 10 ms.
const NEAR: Link = Link { delay: Duration::from_millis(5), ..LOOPBACK };
/// A round trip of 40 ms.
const FAR: Link = Link { delay: Duration::from_millis(20), ..LOOPBACK };
/// 40 ms, 200 Mbit/s for each connection, 800 Mbit/s for all.
const WIDE: Link =
    Link { delay: Duration::from_millis(20), bandwidth: Some(25_000_000), line: Some(100_000_000), ..LOOPBACK };

const MIB: usize = 1 << 20;

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "copy-500",
        what: "`cp` of 500 × 4 KiB of a directory of 10,000, round trip 10 ms",
        protocols: &[S3, TaggedS3, Webdav, Sftp],
        link: NEAR,
        files: |dir| small(dir, 10_000),
        before: listed,
        work: |dir| copy_some(dir, 500),
        client: Some(|reach, to| download(reach, &small_names(500), to)),
        client_speaks: &[S3, TaggedS3, Webdav, Sftp],
        native: false,
    },
    Case {
        name: "copy-10000",
        what: "`cp` of 10,000 × 4 KiB, loopback",
        protocols: ALL,
        link: LOOPBACK,
        files: |dir| small(dir, 10_000),
        before: listed,
        work: |dir| copy_some(dir, 10_000),
        client: Some(|reach, to| download(reach, &small_names(10_000), to)),
        client_speaks: ALL,
        native: false,
    },
    Case {
        name: "find-far",
        what: "`find -size` over 10,000 files in 111 directories, round trip 40 ms",
        protocols: ALL,
        link: FAR,
        files: |dir| tree(dir, 2),
        before: nothing,
        work: |dir| find(dir, 10_000),
        client: Some(|reach, to| list(reach, &tree_names(2), to)),
        client_speaks: HTTP,
        native: false,
    },
    Case {
        name: "find-many",
        what: "`find -size` over 100,000 files in 1,111 directories, loopback",
        protocols: ALL,
        link: LOOPBACK,
        files: |dir| tree(dir, 3),
        before: nothing,
        work: |dir| find(dir, 100_000),
        client: Some(|reach, to| list(reach, &tree_names(3), to)),
        client_speaks: HTTP,
        native: false,
    },
    Case {
        name: "find-again",
        what: "the same again",
        protocols: ALL,
        link: LOOPBACK,
        files: |dir| tree(dir, 3),
        before: |dir| find(dir, 100_000),
        work: |dir| find(dir, 100_000),
        client: None,
        client_speaks: &[],
        native: true,
    },
    Case {
        name: "head",
        what: "the first 4 KiB of a GiB, round trip 40 ms, connected",
        protocols: ALL,
        link: FAR,
        files: gibibyte,
        before: connected,
        work: |dir| read_at(dir, &[(0, 4096)]),
        client: Some(|reach, to| ranges(reach, &[(0, 4096)], to)),
        client_speaks: HTTP,
        native: false,
    },
    Case {
        name: "tail",
        what: "the last 64 KiB of a GiB, round trip 40 ms, connected",
        protocols: ALL,
        link: FAR,
        files: gibibyte,
        before: connected,
        work: |dir| read_at(dir, &[(1024 * MIB - 65_536, 65_536)]),
        client: Some(|reach, to| ranges(reach, &[(1024 * MIB - 65_536, 65_536)], to)),
        client_speaks: HTTP,
        native: false,
    },
    Case {
        name: "random",
        what: "50 random reads of 64 KiB of a GiB, one after the other, round trip 40 ms, connected",
        protocols: ALL,
        link: FAR,
        files: gibibyte,
        before: connected,
        work: |dir| read_at(dir, &scattered()),
        client: Some(|reach, to| ranges(reach, &scattered(), to)),
        client_speaks: HTTP,
        native: false,
    },
    Case {
        name: "readers",
        what: "200 × 1 MiB by 8 readers at once, round trip 40 ms",
        protocols: ALL,
        link: FAR,
        files: mebibytes,
        before: listed,
        work: eight_readers,
        client: Some(|reach, to| download(reach, &mebibyte_names(), to)),
        client_speaks: HTTP,
        native: false,
    },
    Case {
        name: "stream",
        what: "the first 256 MiB of a GiB, round trip 40 ms, 200 Mbit/s a connection, 800 in all",
        protocols: ALL,
        link: WIDE,
        files: gibibyte,
        before: connected,
        work: |dir| read_first(dir, 256 * MIB),
        client: Some(|reach, to| in_parts(reach, 256 * MIB, to)),
        client_speaks: HTTP,
        native: false,
    },
    Case {
        name: "whole",
        what: "a GiB, loopback (of interest: core-s)",
        protocols: &[S3, TaggedS3, Webdav, Sftp],
        link: LOOPBACK,
        files: gibibyte,
        before: connected,
        work: |dir| read_first(dir, 1024 * MIB),
        client: Some(|reach, to| in_parts(reach, 1024 * MIB, to)),
        client_speaks: &[S3, TaggedS3, Webdav],
        native: false,
    },
    Case {
        name: "whole-others",
        what: "the same from the other sources (Moodle's files come as those of http)",
        protocols: &[Local, Http, Smb, Ftp, Gcs, Azblob, Plugin, Python],
        link: LOOPBACK,
        files: gibibyte,
        before: connected,
        work: |dir| read_first(dir, 1024 * MIB),
        client: None,
        client_speaks: &[],
        native: false,
    },
    Case {
        name: "warm",
        what: "open, read and close of 10,000 × 4 KiB that are cached",
        protocols: ALL,
        link: LOOPBACK,
        files: |dir| small(dir, 10_000),
        before: |dir| read_small(dir, 10_000),
        work: |dir| read_small(dir, 10_000),
        client: None,
        client_speaks: &[],
        native: true,
    },
    Case {
        name: "stat-one",
        what: "`stat` of one name in an unlisted directory of 100,000 keys of a bucket that was shown (of interest: requests)",
        protocols: &[S3],
        link: LOOPBACK,
        files: |dir| empty_files(&dir.join("small"), 100_000),
        // Otherwise it takes one more: the kernel looks the directory up before the name in it.
        before: |dir| assert_eq!(fs::read_dir(dir).unwrap().count(), 1),
        work: |dir| _ = fs::metadata(dir.join("small/file-077777")).unwrap(),
        client: None,
        client_speaks: &[],
        native: false,
    },
];

fn nothing(_: &Path) {}

/// All files changed long ago, as most have.
fn put(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
}

fn small_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("small/file-{number:06}")).collect()
}

fn small(dir: &Path, count: usize) {
    let bytes = noise(4096, &mut random());
    fs::create_dir(dir.join("small")).unwrap();
    for (number, name) in small_names(count).iter().enumerate() {
        let mut bytes = bytes.clone();
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        put(&dir.join(name), &bytes);
    }
}

fn empty_files(dir: &Path, count: usize) {
    fs::create_dir(dir).unwrap();
    for number in 0..count {
        put(&dir.join(format!("file-{number:06}")), b"");
    }
}

/// The directories of a tree in which each of so many levels divides into ten, but for the root.
fn tree_names(levels: u32) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut level = all.clone();
    for _ in 0..levels {
        level = level.iter().flat_map(|above| (0..10).map(move |number| format!("{above}dir-{number}/"))).collect();
        all.extend(level.clone());
    }
    all
}

/// The same with 100 files in each of the lowest.
fn tree(dir: &Path, levels: u32) {
    for name in tree_names(levels) {
        fs::create_dir_all(dir.join(&name)).unwrap();
        if name.matches('/').count() == levels as usize {
            for number in 0..100 {
                put(&dir.join(&name).join(format!("file-{number}")), b"x");
            }
        }
    }
}

fn gibibyte(dir: &Path) {
    put(&dir.join("big"), &noise(1024 * MIB, &mut random()));
    put(&dir.join("little"), b"something else");
}

fn mebibyte_names() -> Vec<String> {
    (0..200).map(|number| format!("file-{number:03}")).collect()
}

fn mebibytes(dir: &Path) {
    let bytes = noise(200 * MIB, &mut random());
    for (name, part) in mebibyte_names().iter().zip(bytes.chunks(MIB)) {
        put(&dir.join(name), part);
    }
}

/// The folder's names, and those of the one below it, have been shown.
fn listed(dir: &Path) {
    let small = dir.join("small");
    assert!(fs::read_dir(if small.exists() { &small } else { dir }).unwrap().count() > 0);
}

/// The folder has been shown, and another file has been read.
fn connected(dir: &Path) {
    listed(dir);
    fs::read(dir.join("little")).unwrap();
}

fn copy_some(dir: &Path, count: usize) {
    let to = tempfile::tempdir().unwrap();
    // Of so many names, a command line holds not all: a directory's worth is copied as one.
    if count == 10_000 {
        run(Command::new("cp").arg("-r").arg(dir.join("small")).arg(to.path().join("copy")));
        return;
    }
    let names = small_names(count).into_iter().map(|name| dir.join(name));
    run(Command::new("cp").args(names).arg(to.path()));
}

fn find(dir: &Path, files: usize) {
    let output = Command::new("find").arg(dir).args(["-type", "f", "-size", "-9"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "find: {}", said.lines().next().unwrap_or_default());
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), files);
}

/// The places of the random reads, always the same.
fn scattered() -> Vec<(usize, usize)> {
    (1..=50).map(|number| (number * 7_919 % 16_000 * 65_536, 65_536)).collect()
}

fn read_at(dir: &Path, parts: &[(usize, usize)]) {
    let file = File::open(dir.join("big")).unwrap();
    for &(at, length) in parts {
        file.read_exact_at(&mut vec![0; length], at as u64).unwrap();
    }
}

fn read_first(dir: &Path, length: usize) {
    let file = File::open(dir.join("big")).unwrap();
    let mut buffer = vec![0; 128 * 1024];
    for at in (0..length).step_by(buffer.len()) {
        file.read_exact_at(&mut buffer, at as u64).unwrap();
    }
}

fn read_small(dir: &Path, count: usize) {
    for name in small_names(count) {
        assert_eq!(fs::read(dir.join(name)).unwrap().len(), 4096);
    }
}

fn eight_readers(dir: &Path) {
    let names = mebibyte_names();
    thread::scope(|scope| {
        for reader in 0..8 {
            let mine = names.iter().skip(reader).step_by(8);
            scope.spawn(move || mine.for_each(|name| assert_eq!(fs::read(dir.join(name)).unwrap().len(), MIB)));
        }
    });
}

/// `curl` with a request for each of these, eight at once or one after the other.
fn curl(parallel: bool, requests: impl Iterator<Item = String>, to: &Path) {
    let config = to.join("requests");
    fs::write(&config, requests.collect::<Vec<_>>().join("next\n")).unwrap();
    let mut command = Command::new("curl");
    if parallel {
        command.args(["-Z", "--parallel-immediate", "--parallel-max", "8"]);
    }
    run(command.arg("-K").arg(config));
}

/// One request as a part of a configuration of `curl`, whose answer goes into a file of that number.
fn request(url: &str, number: usize, more: &str, to: &Path) -> String {
    format!(
        "silent\nshow-error\nfail\nurl = \"{url}\"\noutput = \"{}\"\n{more}",
        to.join(format!("out-{number}")).display()
    )
}

fn download(reach: &Reach, names: &[String], to: &Path) {
    if reach.protocol == Sftp {
        let batch = to.join("batch");
        let root = reach.value("root");
        let lines =
            names.iter().enumerate().map(|(number, name)| format!("get {root}/{name} {}/out-{number}\n", to.display()));
        fs::write(&batch, lines.collect::<String>()).unwrap();
        let mut command = Command::new("sftp");
        command
            .args(["-q", "-F", "/dev/null", "-P", reach.value("port")])
            .args(reach.ssh_options())
            .arg("-b")
            .arg(batch);
        return run(command.arg(reach.login()));
    }
    let url = reach.url();
    curl(true, names.iter().enumerate().map(|(number, name)| request(&format!("{url}{name}"), number, "", to)), to);
}

/// One part of the large file after the other, over one connection.
fn ranges(reach: &Reach, parts: &[(usize, usize)], to: &Path) {
    let url = format!("{}big", reach.url());
    let range = |&(at, length): &(usize, usize)| format!("range = \"{at}-{}\"\n", at + length - 1);
    curl(false, parts.iter().enumerate().map(|(number, part)| request(&url, number, &range(part), to)), to);
}

/// The first bytes of the large file, in eight parts at once.
fn in_parts(reach: &Reach, length: usize, to: &Path) {
    let (url, part) = (format!("{}big", reach.url()), length / 8);
    let range = |number: usize| format!("range = \"{}-{}\"\n", number * part, (number + 1) * part - 1);
    curl(true, (0..8).map(|number| request(&url, number, &range(number), to)), to);
}

/// Bare listings of these directories.
fn list(reach: &Reach, directories: &[String], to: &Path) {
    let url = reach.url();
    let requests = directories.iter().enumerate().map(|(number, name)| match reach.protocol {
        Webdav => request(&format!("{url}{name}"), number, "request = \"PROPFIND\"\nheader = \"Depth: 1\"\n", to),
        S3 | TaggedS3 => {
            let listing = format!("{}?list-type=2&delimiter=/&prefix={name}", url.trim_end_matches('/'));
            request(&listing, number, "", to)
        }
        _ => unreachable!("no plain client lists many directories at once there"),
    });
    curl(true, requests, to);
}
