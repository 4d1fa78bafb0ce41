//! Directories ahead of a walk, over a far line: each is listed once. Times are printed, and not asserted.

use std::time::{Duration, Instant};

use crate::kit::mount::{Mount, number, requests};
use crate::kit::proxy::{Link, Proxy};
use crate::remote::Remote;

/// A mount of 111 directories with 10,000 files, at the end of a line of 40 ms.
fn far(remote: &Remote, settings: &str) -> (Mount, Proxy) {
    let (config, line) = config(remote, settings);
    (Mount::of(&config), line)
}

/// The configuration of such a mount.
fn config(remote: &Remote, settings: &str) -> (String, Proxy) {
    for file in 0..10_000 {
        remote.put(&format!("{}/{}/{:02}", file / 1_000, file / 100 % 10, file % 100), "x");
    }
    let (table, line) = remote.table_over("far", Proxy::to);
    line.set(Link { delay: Duration::from_millis(20), ..Link::default() });
    (format!("{table}fresh_for = \"1h\"\n{settings}"), line)
}

/// Listings that were asked for, listings ahead, and how many of those were used.
fn listings(mount: &Mount) -> (u64, u64, u64) {
    let status = mount.status();
    let of = |field: &str| number(&status, &format!("/sources/far/{field}"));
    (requests(&status, "far").0, of("listings_ahead"), of("listings_ahead_used"))
}

fn assert_each_was_listed_once(mount: &Mount, walk: &str) {
    let (asked, ahead, used) = listings(mount);
    assert!(asked == 111 && ahead >= 80 && used >= ahead, "{walk}: {asked} listings, {used} of {ahead} used");
}

fn count_files(mount: &Mount) -> u64 {
    mount.sh("find far -type f | wc -l").trim().parse().unwrap()
}

#[test]
fn a_walk_lists_each_directory_once_over_webdav() {
    a_walk_lists_each_directory_once(&Remote::apache());
}

#[test]
fn a_walk_lists_each_directory_once_over_s3() {
    a_walk_lists_each_directory_once(&Remote::s3());
}

#[test]
fn a_walk_lists_each_directory_once_over_sftp() {
    a_walk_lists_each_directory_once(&Remote::sftp());
}

fn a_walk_lists_each_directory_once(remote: &Remote) {
    let (mount, _line) = far(remote, "");
    let begun = Instant::now();
    assert_eq!(count_files(&mount), 10_000);
    println!("find over 111 directories: {:?}", begun.elapsed());
    assert_each_was_listed_once(&mount, "find");
    for walk in ["du -s far", "ls -R far", "find far"] {
        mount.sh(walk);
    }
    assert_eq!(listings(&mount).0, 111, "what is known is not asked for");
}

#[test]
fn every_program_that_walks_finds_the_next_directories_listed() {
    let remote = Remote::apache();
    let (config, _line) = config(&remote, "");
    for walk in ["du -s far", "ls -R far", "rsync -rn far/ ../copy"] {
        let (mount, begun) = (Mount::of(&config), Instant::now());
        mount.sh(walk);
        println!("{walk}: {:?}", begun.elapsed());
        assert_each_was_listed_once(&mount, walk);
    }
}

#[test]
fn looking_at_a_folder_and_clicking_on_one_in_it_lists_nothing_else() {
    let remote = Remote::webdav();
    let (mount, _line) = far(&remote, "");
    mount.sh("ls far; ls -l far/4; stat far/5/6/07 far/6");
    assert_eq!(listings(&mount), (4, 0, 0), "the root, 4, 5 and 5/6");
}

#[test]
fn with_read_ahead_off_a_walk_lists_what_it_comes_to() {
    let remote = Remote::webdav();
    let (mount, _line) = far(&remote, "read_ahead = false\n");
    assert_eq!(count_files(&mount), 10_000);
    assert_eq!(listings(&mount), (111, 0, 0));
}
