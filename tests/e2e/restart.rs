//! A short break is no error: a server that restarts while a program reads from it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::files::{noise, random};
use crate::kit::mount::{Mount, bytes_retrieved};
use crate::kit::proxy::{Fate, Link, Proxy};
use crate::kit::wait::{SOON, eventually, wait};
use crate::remote::Remote;

/// How long the server is away, besides what its start takes.
const AWAY: Duration = Duration::from_secs(2);

/// A break as long as this, on a busy machine, proves nothing: 10 s are promised, and the source must be found to answer by then.
const TOO_LONG: Duration = Duration::from_secs(7);

const ATTEMPTS: usize = 5;

#[test]
fn a_webdav_server_that_restarts_fails_no_copy() {
    a_server_that_restarts_fails_no_copy(Remote::webdav());
}

#[test]
fn an_apache_that_restarts_fails_no_copy() {
    a_server_that_restarts_fails_no_copy(Remote::apache());
}

#[test]
fn an_s3_server_that_restarts_fails_no_copy() {
    a_server_that_restarts_fails_no_copy(Remote::s3());
}

#[test]
fn a_web_server_that_restarts_fails_no_copy() {
    a_server_that_restarts_fails_no_copy(Remote::web());
}

#[test]
fn an_sftp_server_that_restarts_fails_no_copy() {
    a_server_that_restarts_fails_no_copy(Remote::sftp());
}

#[test]
fn an_ftp_server_that_restarts_fails_no_copy() {
    a_server_that_restarts_fails_no_copy(Remote::ftp());
}

#[test]
fn an_smb_server_that_restarts_fails_no_copy() {
    a_server_that_restarts_fails_no_copy(Remote::smb());
}

fn a_server_that_restarts_fails_no_copy(mut remote: Remote) {
    let mut random = random();
    let content = noise(24 << 20, &mut random);
    for attempt in 0..ATTEMPTS {
        remote.put(&format!("large{attempt}"), &content);
    }
    // So slow that the break comes in the middle.
    let mount = Mount::of(&format!("{}max_bandwidth = \"6MiB\"\n", remote.table("far")));
    for attempt in 0..ATTEMPTS {
        let before = bytes_retrieved(&mount.status(), "far");
        let copied = mount.home().dir().join("copied");
        let file = mount.path(format!("far/large{attempt}"));
        let mut cp = mount.home().command("cp").arg(file).arg(&copied).spawn().unwrap();
        eventually("the copy is under way", || bytes_retrieved(&mount.status(), "far") > before + (8 << 20));
        let stopped = Instant::now();
        remote.stop();
        thread::sleep(AWAY);
        remote.start();
        let away = stopped.elapsed();
        let ended = wait(&mut cp, SOON).expect("the copy ends");
        if away > TOO_LONG {
            continue;
        }
        assert!(ended.success(), "cp ended with {ended} after a break of {away:?}:\n{}", mount.log());
        assert!(fs::read(&copied).unwrap() == content, "the copy has other bytes");
        let retrieved = bytes_retrieved(&mount.status(), "far") - before;
        eprintln!("a break of {away:?}: {retrieved} bytes for {}", content.len());
        // What had come is not retrieved again, but for what was under way when the server went.
        assert!(retrieved < (content.len() + (12 << 20)) as u64, "{retrieved} bytes");
        return;
    }
    panic!("the server took longer than {TOO_LONG:?} to restart, {ATTEMPTS} times");
}

/// Over WebDAV it does: there, bytes count only when their version was confirmed after them, and a line that always breaks before brings none.
#[test]
fn a_line_that_breaks_again_and_again_fails_no_copy() {
    for remote in [Remote::web(), Remote::sftp()] {
        let mut random = random();
        let content = noise(24 << 20, &mut random);
        remote.put("large", &content);
        let (table, line) = remote.table_over("far", Proxy::to);
        let mount = Mount::of(&table);
        assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 1);
        line.set(Link { fate: Some((3 << 20, Fate::Close)), ..Link::default() });
        let read = fs::read(mount.path("far/large"));
        assert!(read.unwrap_or_else(|e| panic!("{e}\n{}", mount.log())) == content, "other bytes");
    }
}
