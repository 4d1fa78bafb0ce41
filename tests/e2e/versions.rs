//! An inode is one version of one file: changes appear at a name, never in the middle of a read.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;

use crate::kit::files::{noise, random};
use crate::kit::mount::Mount;
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// Comes in one request.
const SMALL: usize = 300_000;

/// Comes in many pieces.
const LARGE: usize = 12 << 20;

#[test]
fn a_changed_file_is_a_new_inode_local() {
    a_changed_file_is_a_new_inode(&Remote::local());
}

#[test]
fn a_changed_file_is_a_new_inode_over_webdav() {
    a_changed_file_is_a_new_inode(&Remote::webdav());
}

#[test]
fn a_changed_file_is_a_new_inode_over_the_webdav_of_apache() {
    a_changed_file_is_a_new_inode(&Remote::apache());
}

#[test]
fn a_changed_file_is_a_new_inode_over_s3() {
    a_changed_file_is_a_new_inode(&Remote::s3());
}

/// The new version has the old one's size, so that nothing but its digest tells.
fn a_changed_file_is_a_new_inode(remote: &Remote) {
    let mut random = random();
    for size in [SMALL, LARGE] {
        let (old, new) = (noise(size, &mut random), noise(size, &mut random));
        remote.put("dir/file", &old);
        let mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n", remote.table("far")));
        let path = mount.path("far/dir/file");
        let opened = open(&mount, size);
        remote.put("dir/file", &new);

        eventually("a new open gives the new bytes", || fs::read(&path).unwrap() == new);
        assert_ne!(fs::metadata(&path).unwrap().ino(), opened.metadata().unwrap().ino());
        assert!(rest_of(opened) == old, "what was opened before stays what it was");
    }
}

/// Opens the file, and sees to it that its bytes are here. A small file comes whole before it is opened, so nothing of it is
/// read; of a large one all is read, but by somebody else.
fn open(mount: &Mount, size: usize) -> File {
    let path = mount.path("far/dir/file");
    let mut opened = File::open(&path).unwrap();
    if size == LARGE {
        opened.read_exact(&mut [0; 4096]).unwrap();
        opened.rewind().unwrap();
        fs::read(&path).unwrap();
    }
    opened
}

fn rest_of(mut opened: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    opened.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_was_not_retrieved_in_time_is_an_error_and_never_another_version() {
    for remote in [Remote::local(), Remote::webdav()] {
        let mut random = random();
        let (old, new) = (noise(64 << 20, &mut random), noise(64 << 20, &mut random));
        remote.put("dir/file", &old);
        let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
        let mut opened = File::open(mount.path("far/dir/file")).unwrap();
        let mut seen = vec![0; 4096];
        opened.read_exact(&mut seen).unwrap();
        remote.put("dir/file", &new);
        // All of it if it came in time, else as much as came and then an error.
        let result = opened.read_to_end(&mut seen);
        assert!(old.starts_with(&seen), "{} bytes were read, and not all of the old version", seen.len());
        assert!(result.is_err() || seen.len() == old.len());
        // What a read has found out, the next open knows.
        assert!(fs::read(mount.path("far/dir/file")).unwrap() == new);
    }
}

#[test]
fn a_removed_file_is_gone_but_what_was_opened_still_reads_local() {
    a_removed_file_is_gone_but_what_was_opened_still_reads(&Remote::local());
}

#[test]
fn a_removed_file_is_gone_but_what_was_opened_still_reads_over_webdav() {
    a_removed_file_is_gone_but_what_was_opened_still_reads(&Remote::webdav());
}

#[test]
fn a_removed_file_is_gone_but_what_was_opened_still_reads_over_s3() {
    a_removed_file_is_gone_but_what_was_opened_still_reads(&Remote::s3());
}

fn a_removed_file_is_gone_but_what_was_opened_still_reads(remote: &Remote) {
    remote.put("dir/other", "so that the directory stays");
    for size in [SMALL, LARGE] {
        let bytes = noise(size, &mut random());
        remote.put("dir/file", &bytes);
        let mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n", remote.table("far")));
        let path = mount.path("far/dir/file");
        let opened = open(&mount, size);

        fs::remove_file(remote.dir().join("dir/file")).unwrap();
        eventually("it is gone", || fs::metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound));
        assert_eq!(fs::read_dir(mount.path("far/dir")).unwrap().count(), 1);
        assert!(rest_of(opened) == bytes);
    }
}

#[test]
fn a_change_between_listing_and_open_is_no_error_local() {
    a_change_between_listing_and_open_is_no_error(&Remote::local());
}

#[test]
fn a_change_between_listing_and_open_is_no_error_over_webdav() {
    a_change_between_listing_and_open_is_no_error(&Remote::webdav());
}

#[test]
fn a_change_between_listing_and_open_is_no_error_over_s3() {
    a_change_between_listing_and_open_is_no_error(&Remote::s3());
}

fn a_change_between_listing_and_open_is_no_error(remote: &Remote) {
    let mut random = random();
    let small = [("grown", 1000, 70_000), ("shrunk", 70_000, 1000), ("same size", 5000, 5000)];
    let large = [("large grown", 70_000, LARGE), ("large shrunk", LARGE, 70_000), ("large same size", LARGE, LARGE)];
    for (name, before, after) in small.into_iter().chain(large) {
        remote.put(name, noise(before, &mut random));
        // Each name in a mount of its own: the discovery of one change may renew the listing that the next relies on.
        let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
        assert!(mount.sh("ls -l far").contains(name));
        let new = noise(after, &mut random);
        remote.put(name, &new);
        assert!(fs::read(mount.path("far").join(name)).unwrap() == new, "{name}");
    }
}

#[test]
fn a_new_file_appears() {
    let remote = Remote::webdav();
    remote.put("first", "1");
    let mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n", remote.table("far")));
    let path = mount.path("far/second");
    assert_eq!(fs::metadata(&path).unwrap_err().kind(), ErrorKind::NotFound);
    remote.put("second", "2");
    eventually("the new file is there", || fs::read(&path).is_ok_and(|bytes| bytes == b"2"));
}
