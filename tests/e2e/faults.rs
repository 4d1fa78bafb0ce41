//! A bad line: whatever it does, a reader gets right bytes or an error within the deadline, and what is known stays.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use rand::Rng as _;

use crate::kit::files::{noise, random};
use crate::kit::mount::Mount;
use crate::kit::proxy::{Fate, Link, Proxy};
use crate::kit::wait::{SOON, eventually};
use crate::remote::Remote;

/// The timeout of an open and of a read, and what a busy machine may take to notice it.
const DEADLINE: Duration = Duration::from_secs(10);

/// The timeout of who waits while others must not notice: so long that no busy machine takes half as long for what is cached.
const LONG_TIMEOUT: Duration = Duration::from_secs(8);

fn mounted(remote: &Remote, fresh_for: &str) -> (Mount, Proxy) {
    let (table, proxy) = remote.table_over("far", Proxy::to);
    (Mount::of(&format!("{table}fresh_for = \"{fresh_for}\"\ntimeout = \"2s\"\n")), proxy)
}

fn works_again(mount: &Mount, path: &str, bytes: &[u8]) {
    eventually("the source answers again", || fs::read(mount.path(path)).is_ok_and(|read| read == bytes));
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_webdav() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::webdav());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_s3() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::s3());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_sftp() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::sftp());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_smb() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::smb());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_http() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::web());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_apache() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::apache());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_azblob() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::azure());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_ftp() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::ftp());
}

#[test]
fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte_over_gcs() {
    a_connection_that_ends_anywhere_never_makes_a_wrong_byte(&Remote::gcs());
}

/// How many connections of a server end somewhere: in the header of an answer, soon after it, or later.
const PLACES: usize = 12;

fn a_connection_that_ends_anywhere_never_makes_a_wrong_byte(remote: &Remote) {
    let mut random = random();
    let bytes = noise(3 << 20, &mut random);
    remote.put("cached", "cached bytes");
    for n in 0..PLACES {
        remote.put(&format!("{n}"), &bytes);
    }
    let (mount, proxy) = mounted(remote, "1h");
    assert_eq!(fs::read(mount.path("far/cached")).unwrap(), b"cached bytes");
    for n in 0..PLACES {
        let after = match n % 4 {
            0 => random.random_range(0..600),
            1 => random.random_range(600..70_000),
            _ => random.random_range(70_000..3_200_000),
        };
        // Each range meets both.
        let fate = if (n + n / 4) % 2 == 0 { Fate::Reset } else { Fate::Close };
        proxy.set(Link { fate: Some((after, fate)), ..Link::default() });
        if let Ok(read) = read_in_steps(&mount, &format!("far/{n}")) {
            assert!(read == bytes, "{fate:?} after {after} bytes");
        }
        assert_eq!(fs::read(mount.path("far/cached")).unwrap(), b"cached bytes");
        proxy.set(Link::default());
        works_again(&mount, &format!("far/{n}"), &bytes);
    }
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), PLACES + 1);
}

/// Reads a file as programs do. No step takes longer than is allowed; how many there are, each with a connection of its own, is the
/// line's matter: one that brings a block each time lets a reader come to the end.
fn read_in_steps(mount: &Mount, path: &str) -> io::Result<Vec<u8>> {
    let (mut step, mut read) = (vec![0; 128 << 10], Vec::new());
    let mut begun = Instant::now();
    let mut file = File::open(mount.path(path))?;
    loop {
        let length = file.read(&mut step);
        assert!(begun.elapsed() < SOON, "{path} at {}: {:?}", read.len(), begun.elapsed());
        match length? {
            0 => return Ok(read),
            length => read.extend_from_slice(&step[..length]),
        }
        begun = Instant::now();
    }
}

#[test]
fn a_line_that_falls_silent_holds_up_only_who_needs_it() {
    let remote = Remote::apache();
    let bytes = noise(8 << 20, &mut random());
    remote.put("cached", "cached bytes");
    remote.put("silent", &bytes);
    let (table, proxy) = remote.table_over("far", Proxy::to);
    let settings = format!("fresh_for = \"1h\"\ntimeout = \"{}s\"\n", LONG_TIMEOUT.as_secs());
    let mount = Mount::of(&format!("{table}{settings}"));
    assert_eq!(fs::read(mount.path("far/cached")).unwrap(), b"cached bytes");
    let file = File::open(mount.path("far/silent")).unwrap();
    proxy.set(Link { fate: Some((0, Fate::Stall)), ..Link::default() });

    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| file.read_exact_at(&mut [0; 4096], 5 << 20));
        // Meanwhile nobody else notices.
        while !waiting.is_finished() {
            let one = Instant::now();
            assert_eq!(fs::read(mount.path("far/cached")).unwrap(), b"cached bytes");
            assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 2);
            assert!(one.elapsed() < LONG_TIMEOUT / 2, "{:?}", one.elapsed());
        }
        assert!(waiting.join().unwrap().is_err());
    });
    assert!(begun.elapsed() < LONG_TIMEOUT + DEADLINE, "{:?}", begun.elapsed());
    proxy.set(Link::default());
    works_again(&mount, "far/silent", &bytes);
}

#[test]
fn a_listing_that_is_cut_off_removes_nothing_over_webdav() {
    a_listing_that_is_cut_off_removes_nothing(&Remote::apache());
}

#[test]
fn a_listing_that_is_cut_off_removes_nothing_over_sftp() {
    a_listing_that_is_cut_off_removes_nothing(&Remote::sftp());
}

#[test]
fn a_listing_that_is_cut_off_removes_nothing_over_smb() {
    a_listing_that_is_cut_off_removes_nothing(&Remote::smb());
}

#[test]
fn a_listing_that_is_cut_off_removes_nothing_over_ftp() {
    a_listing_that_is_cut_off_removes_nothing(&Remote::ftp());
}

#[test]
fn a_listing_that_is_cut_off_removes_nothing_over_gcs() {
    a_listing_that_is_cut_off_removes_nothing(&Remote::gcs());
}

fn a_listing_that_is_cut_off_removes_nothing(remote: &Remote) {
    for n in 0..500 {
        remote.put(&format!("a file with a longer name {n}"), "x");
    }
    remote.put("cached", "cached bytes");
    let (mount, proxy) = mounted(remote, "300ms");
    assert_eq!(fs::read(mount.path("far/cached")).unwrap(), b"cached bytes");
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 501);
    // The shortest listing, that of FTP, has 35,000 bytes.
    for (after, fate) in [(20_000, Fate::Close), (25_000, Fate::Reset), (30_000, Fate::Stall)] {
        proxy.set(Link { fate: Some((after, fate)), ..Link::default() });
        let (begun, mut noticed) = (Instant::now(), false);
        while begun.elapsed() < Duration::from_secs(4) || (!noticed && begun.elapsed() < SOON) {
            assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 501, "{fate:?}");
            assert_eq!(fs::read(mount.path("far/cached")).unwrap(), b"cached bytes", "{fate:?}");
            noticed |= mount.status()["sources"]["far"]["state"] == "unreachable";
        }
        assert!(noticed, "{fate:?}");
        assert!(mount.log().contains("source far: does not answer: "), "{}", mount.log());
        proxy.set(Link::default());
        eventually("the source answers again", || mount.status()["sources"]["far"]["state"] == "ok");
    }
}

#[test]
fn a_server_that_refuses_connections_is_an_outage_and_comes_back() {
    let remote = Remote::webdav();
    remote.put("dir/file", "bytes");
    let (mount, proxy) = mounted(&remote, "300ms");
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 1);
    proxy.set(Link { refuses: true, fate: Some((0, Fate::Reset)), ..Link::default() });
    let begun = Instant::now();
    let error = fs::read(mount.path("far/dir/file")).unwrap_err();
    assert_ne!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    assert!(begun.elapsed() < SOON);
    proxy.set(Link::default());
    works_again(&mount, "far/dir/file", b"bytes");
}

#[test]
fn whoever_follows_a_transfer_never_sees_the_file_change_over_webdav() {
    whoever_follows_a_transfer_never_sees_the_file_change(&Remote::apache());
}

#[test]
fn whoever_follows_a_transfer_never_sees_the_file_change_over_http() {
    whoever_follows_a_transfer_never_sees_the_file_change(&Remote::web());
}

#[test]
fn whoever_follows_a_transfer_never_sees_the_file_change_over_sftp() {
    whoever_follows_a_transfer_never_sees_the_file_change(&Remote::sftp());
}

#[test]
fn whoever_follows_a_transfer_never_sees_the_file_change_over_smb() {
    whoever_follows_a_transfer_never_sees_the_file_change(&Remote::smb());
}

/// The file is overwritten in place while the server sends it, at several moments.
fn whoever_follows_a_transfer_never_sees_the_file_change(remote: &Remote) {
    const SIZE: usize = 24 << 20;
    for n in 0..4 {
        remote.put(&n.to_string(), vec![b'1'; SIZE]);
    }
    let (mount, proxy) = mounted(remote, "1h");
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 4);
    for (n, after) in [0, 600_000, 3 << 20, 9 << 20].into_iter().enumerate() {
        let before = proxy.delivered();
        let mut file = File::open(mount.path(format!("far/{n}"))).unwrap();
        // The rest comes when the file has been overwritten.
        proxy.set(Link { until: Some(before + after), ..Link::default() });
        let (mut seen, mut buffer) = ([0_usize; 256], vec![0; 64 * 1024]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("it is on its way", || proxy.delivered() - before >= after);
                let there = File::options().write(true).open(remote.dir().join(n.to_string())).unwrap();
                there.write_all_at(&vec![b'2'; SIZE], 0).unwrap();
                proxy.set(Link::default());
            });
            while let Ok(length @ 1..) = file.read(&mut buffer) {
                buffer[..length].iter().for_each(|byte| seen[usize::from(*byte)] += 1);
            }
        });
        let (old, new) = (seen[usize::from(b'1')], seen[usize::from(b'2')]);
        assert!((old == 0 || new == 0) && old + new == seen.iter().sum::<usize>(), "{old} old and {new} new bytes");
        assert!(old < SIZE, "it came before it could be overwritten");
    }
}
