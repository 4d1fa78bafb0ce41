//! Never wrong bytes: whatever happens to the cache, to its files or to the daemon.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use rand::Rng as _;
use walkdir::WalkDir;

use crate::kit::files::{noise, random, set_modified};
use crate::kit::home::{Home, local, text};
use crate::kit::mount::{Mount, bytes_retrieved, number};
use crate::remote::Remote;

#[test]
fn a_flipped_byte_is_found_at_the_next_open() {
    damage_is_found(true, |copy| {
        let before = copy.metadata().unwrap().modified().unwrap();
        let file = File::options().read(true).write(true).open(copy).unwrap();
        let place = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 1], place).unwrap();
        // As a disk would do it: nothing but the byte tells.
        set_modified(copy, before);
    });
}

#[test]
fn a_truncation_is_found_at_the_next_open() {
    damage_is_found(true, |copy| {
        let file = File::options().write(true).open(copy).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    });
}

#[test]
fn a_touched_modification_time_is_found_at_the_next_open() {
    damage_is_found(true, |copy| set_modified(copy, SystemTime::now()));
}

#[test]
fn a_lost_copy_is_retrieved_again() {
    damage_is_found(false, |copy| fs::remove_file(copy).unwrap());
}

fn damage_is_found(quarantined: bool, damage: impl Fn(&Path)) {
    for size in [5_000, 6 << 20] {
        let bytes = noise(size, &mut random());
        let remote = Remote::local();
        remote.put("victim", &bytes);
        let mut mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("near")));
        assert!(fs::read(mount.path("near/victim")).unwrap() == bytes);
        mount.unmount();
        damage(&copy_of(&mount.home().cache(), "victim"));
        mount.remount();
        assert!(fs::read(mount.path("near/victim")).unwrap() == bytes, "{size} bytes");
        // Once more: the first open must have left a sound copy.
        assert!(fs::read(mount.path("near/victim")).unwrap() == bytes, "{size} bytes");
        let status = mount.status();
        let log = mount.unmount();
        if quarantined {
            assert_eq!(number(&status, "/cache/quarantined"), 1, "{status:#}\n{log}");
            let warnings = log.lines().filter(|line| line.contains("WARN") && line.contains("victim")).count();
            assert_eq!(warnings, 1, "{log}");
        }
    }
}

#[test]
fn damage_under_a_live_mount_never_reaches_a_reader() {
    let bytes = noise(3 << 20, &mut random());
    let remote = Remote::local();
    remote.put("victim", &bytes);
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("near")));
    assert!(fs::read(mount.path("near/victim")).unwrap() == bytes);
    let copy = File::options().write(true).open(copy_of(&mount.home().cache(), "victim")).unwrap();
    copy.write_all_at(b"damage", 1 << 20).unwrap();
    assert!(fs::read(mount.path("near/victim")).unwrap() == bytes);
}

/// The one file in the cache that is the copy of `name`.
fn copy_of(cache: &Path, name: &str) -> PathBuf {
    let copies: Vec<_> = WalkDir::new(cache.join("objects"))
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file() && entry.file_name() == name)
        .map(walkdir::DirEntry::into_path)
        .collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    copies.into_iter().next().expect("there is one")
}

#[test]
fn kill_9_at_any_moment_leaves_no_wrong_byte() {
    const ROUNDS: usize = 20;
    const LARGE: usize = 100 << 20;
    let mut random = random();
    let (small, large) = (noise(100_000, &mut random), noise(LARGE, &mut random));
    let remote = Remote::local();
    remote.put("small", &small);
    // A name for each round: what one round retrieved whole must not spare the next its retrieval.
    remote.put("0", &large);
    for round in 1..ROUNDS {
        fs::hard_link(remote.dir().join("0"), remote.dir().join(round.to_string())).unwrap();
    }
    let config = format!("[cache]\nmax_size = \"400MiB\"\n{}fresh_for = \"1h\"\n", remote.table("near"));
    let mut mount = Mount::of(&config);
    assert!(fs::read(mount.path("near/small")).unwrap() == small);
    for round in 0..ROUNDS {
        let path = mount.path("near").join(round.to_string());
        let moment = Duration::from_millis(random.random_range(0..150));
        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            // An error is what a kill is for; what came before it must be right.
            let _ = File::open(path).and_then(|mut file| file.read_to_end(&mut read));
            read
        });
        thread::sleep(moment);
        mount.kill9();
        assert!(large.starts_with(&reader.join().unwrap()), "round {round}: wrong bytes before the kill");

        mount.remount();
        assert!(fs::read(mount.path("near/small")).unwrap() == small, "round {round}");
        assert_eq!(bytes_retrieved(&mount.status(), "near"), 0, "round {round}: a whole copy is still whole");
        let cut_short = mount.path("near").join(round.to_string());
        if round % 10 == 0 {
            assert!(fs::read(cut_short).unwrap() == large, "round {round}: wrong bytes after the kill");
        } else {
            let mut start = vec![0; 1 << 20];
            File::open(cut_short).unwrap().read_exact(&mut start).unwrap();
            assert!(large.starts_with(&start), "round {round}: wrong bytes after the kill");
        }
    }
    mount.unmount();
    let cache = mount.home().cache();
    let litter: Vec<_> = WalkDir::new(&cache)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file() && !entry.path().starts_with(cache.join("objects")))
        .filter(|entry| entry.metadata().unwrap().len() >= 1 << 20)
        .collect();
    assert!(litter.len() <= 1, "{litter:?}");
    let used = Command::new("du").args(["-sm", &text(&cache)]).output().unwrap().stdout;
    let used: u64 = String::from_utf8(used).unwrap().split('\t').next().expect("du prints a number").parse().unwrap();
    assert!(used <= 400 + 16, "{used} MiB are more than max_size and a database");
}

#[test]
fn two_mounts_cannot_share_a_cache() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let first = Mount::of(&remote.table("near"));
    let second = Home::of(&format!("[cache]\ndir = {:?}\n{}", first.home().cache(), local("near", &remote.dir())));
    let (code, said) = second.refusal();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&first.pid().to_string()), "it names the process that has the cache: {said}");
    assert_eq!(fs::read(first.path("near/file")).unwrap(), b"bytes");
}
