//! What is asked of a source, and how often. Counts are exact where times are noise.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use crate::kit::files::{noise, random, tree};
use crate::kit::home::{Home, is_root, local, text};
use crate::kit::mount::{Mount, bytes_retrieved, number, requests};
use crate::kit::reaper;
use crate::kit::wait::eventually;
use crate::remote::Remote;

#[test]
fn a_cold_listing_over_webdav_is_one_request() {
    a_cold_listing_is_one_request(&Remote::webdav());
}

#[test]
fn a_cold_listing_over_the_webdav_of_apache_is_one_request() {
    a_cold_listing_is_one_request(&Remote::apache());
}

#[test]
fn a_cold_listing_over_s3_is_one_request() {
    a_cold_listing_is_one_request(&Remote::s3());
}

fn a_cold_listing_is_one_request(remote: &Remote) {
    for number in 0..1_000 {
        remote.put(&format!("{number:04}"), "some bytes");
    }
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    let listed = mount.sh("ls -l far");
    assert_eq!(listed.lines().count(), 1 + 1_000);
    let status = mount.status();
    assert_eq!(requests(&status, "far"), (1, 0, 0), "cold");
    assert_eq!(bytes_retrieved(&status, "far"), 0);

    assert_eq!(mount.sh("ls -l far"), listed);
    assert_eq!(requests(&mount.status(), "far"), (1, 0, 0), "while fresh");

    for number in 0..1_000 {
        let error = fs::metadata(mount.path(format!("far/absent-{number}"))).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
    assert_eq!(mount.status()["sources"]["far"]["requests"], status["sources"]["far"]["requests"], "absent names");
}

#[test]
fn what_was_read_is_not_retrieved_again_local() {
    what_was_read_is_not_retrieved_again(&Remote::local());
}

#[test]
fn what_was_read_is_not_retrieved_again_over_webdav() {
    what_was_read_is_not_retrieved_again(&Remote::webdav());
}

#[test]
fn what_was_read_is_not_retrieved_again_over_s3() {
    what_was_read_is_not_retrieved_again(&Remote::s3());
}

fn what_was_read_is_not_retrieved_again(remote: &Remote) {
    tree(&remote.dir(), 200);
    let bytes: u64 = files(&remote.dir()).map(|path| path.metadata().unwrap().len()).sum();
    let dirs = files(&remote.dir()).map(|path| path.parent().unwrap().to_owned()).collect::<BTreeSet<_>>().len() as u64;

    // So short that everything is validated again after the remount.
    let mut mount = Mount::of(&format!("{}fresh_for = \"1s\"\n", remote.table("far")));
    read_all(&mount.path("far"));
    let first = mount.status();
    assert_eq!(bytes_retrieved(&first, "far"), bytes);
    read_all(&mount.path("far"));
    assert_eq!(bytes_retrieved(&mount.status(), "far"), bytes, "read twice");

    mount.remount();
    thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    read_all(&mount.path("far"));
    // On a busy machine, what was validated may have had the time to become stale again.
    let times = 1 + begun.elapsed().as_secs();
    let status = mount.status();
    let (list, digest, retrieve) = requests(&status, "far");
    assert_eq!((bytes_retrieved(&status, "far"), retrieve), (0, 0), "after a remount");
    // The root may hold no file and still be listed.
    let validations = list + digest;
    let expected = dirs..=(dirs + 1) * times;
    assert!(expected.contains(&validations), "{validations} validations of {dirs} directories in {times} s");
}

fn files(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = WalkDir::new(dir).into_iter().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path)
}

fn read_all(dir: &Path) {
    for path in files(dir) {
        fs::read(path).unwrap();
    }
}

#[test]
fn sixty_four_readers_share_one_retrieval() {
    for remote in [Remote::local(), Remote::webdav()] {
        let mut random = random();
        let (small, large) = (noise(1 << 20, &mut random), noise(24 << 20, &mut random));
        remote.put("small", &small);
        remote.put("large", &large);
        let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));

        sixty_four_read(&mount.path("far/small"), &small);
        let status = mount.status();
        assert_eq!(requests(&status, "far").2, 1, "what comes in one request comes once");
        assert_eq!(bytes_retrieved(&status, "far"), small.len() as u64);
        assert!(number(&status, "/cache/misses") >= 1);

        sixty_four_read(&mount.path("far/large"), &large);
        let retrieved = bytes_retrieved(&mount.status(), "far");
        assert_eq!(retrieved, (small.len() + large.len()) as u64, "what comes in pieces: each comes once");
    }
}

fn sixty_four_read(path: &Path, bytes: &[u8]) {
    let together = Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                together.wait();
                assert!(fs::read(path).unwrap() == bytes, "every reader gets the same bytes");
            });
        }
    });
}

#[test]
fn ten_thousand_small_files_are_not_synced_one_by_one() {
    if !is_root() {
        println!("skipped: a traced process may not use the setuid fusermount3, which only root does without");
        return;
    }
    let origin = reaper::temporary();
    let content = noise(4096, &mut random());
    for number in 0..10_000 {
        let dir = origin.path().join((number / 500).to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(number.to_string()), &content).unwrap();
    }
    let home = Home::of(&format!("{}fresh_for = \"1h\"\n", local("near", origin.path())));
    let trace = home.dir().join("trace");
    let wanted = "trace=fsync,fdatasync,sync_file_range,syncfs,sync";
    // -D: the tracer is the child and the daemon the parent, so that the pid is the daemon's.
    let mut mount = home.traced_by(["strace", "-D", "-f", "--seccomp-bpf", "-e", wanted, "-o", &text(&trace)]).mount();

    let mut read = [0; 4096];
    for path in files(&mount.path("near")) {
        File::open(path).unwrap().read_exact(&mut read).unwrap();
        assert!(read[..] == content[..]);
    }
    assert_eq!(requests(&mount.status(), "near").2, 10_000);
    let daemon = mount.pid();
    mount.unmount();
    let mut calls = String::new();
    eventually("the trace is complete", || {
        calls = fs::read_to_string(&trace).unwrap();
        calls.lines().any(|line| line.starts_with(&daemon.to_string()) && line.ends_with("+++ exited with 0 +++"))
    });
    let calls: Vec<_> = calls.lines().filter(|line| line.contains("sync")).collect();
    assert!(calls.len() < 100, "{} calls to sync something, the first being {:#?}", calls.len(), &calls[..5]);
}
