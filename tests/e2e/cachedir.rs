//! The cache directory: nothing is touched that is not ours, and what lies in its way stops nobody.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use walkdir::WalkDir;

use crate::kit::home::{Home, local};
use crate::kit::mount::{Mount, bytes_retrieved};
use crate::kit::reaper;
use crate::remote::Remote;

fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    entries.filter(|e| e.file_type().is_file()).map(|e| (e.path().to_owned(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn a_repository_as_cache_directory_is_refused_by_check_and_mount_and_stays() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let repository = reaper::temporary();
    let git = |arguments: &[&str]| Command::new("git").args(arguments).current_dir(repository.path()).status();
    if git(&["init", "-q", "--bare"]).is_ok_and(|status| status.success()) {
        assert!(
            git(&[
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
                "commit-tree",
                "-m",
                "m",
                "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
            ])
            .unwrap()
            .success()
        );
    }
    fs::create_dir_all(repository.path().join("objects/ab")).unwrap();
    fs::write(repository.path().join("objects/ab/cd"), "blob").unwrap();
    fs::write(repository.path().join("HEAD"), "ref: refs/heads/main\n").unwrap();
    let before = files(repository.path());
    let home = Home::of(&format!("[cache]\ndir = {:?}\n{}", repository.path(), local("near", &remote.dir())));
    let (code, said) = home.refusal();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("HEAD") && said.contains("cache.dir"), "{said}");
    assert_eq!(files(repository.path()), before);
}

#[test]
fn links_and_fifos_in_the_place_of_ours_are_set_aside_and_the_mount_goes_on() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let elsewhere = reaper::temporary();
    fs::create_dir_all(elsewhere.path().join("ab/cd")).unwrap();
    fs::write(elsewhere.path().join("ab/cd/precious"), "precious").unwrap();
    let mut mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("near")));
    assert_eq!(fs::read(mount.path("near/file")).unwrap(), b"bytes");
    for name in ["objects", "trash", "lock", "index.sqlite", "CACHEDIR.TAG"] {
        for kind in ["link", "fifo", "directory"] {
            mount.unmount();
            let cache = mount.home().cache();
            let place = cache.join(name);
            fs::rename(&place, cache.join(format!("{name}.set-aside-before-{kind}"))).unwrap();
            match kind {
                "link" => symlink(elsewhere.path(), &place).unwrap(),
                "fifo" => assert!(Command::new("mkfifo").arg(&place).status().unwrap().success()),
                _ => fs::create_dir(&place).unwrap(),
            }
            mount.remount();
            assert_eq!(fs::read(mount.path("near/file")).unwrap(), b"bytes", "{name} as a {kind}");
            assert_eq!(fs::read(elsewhere.path().join("ab/cd/precious")).unwrap(), b"precious", "{name} as a {kind}");
            assert_eq!(cache.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
    assert_eq!(WalkDir::new(elsewhere.path()).into_iter().count(), 4, "nothing was made there");
}

#[test]
fn a_damaged_index_is_told_once_and_costs_one_retrieval_at_most() {
    let remote = Remote::local();
    for number in 0..120 {
        remote.put(&number.to_string(), vec![number; 20_000]);
    }
    let mut mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("near")));
    let read = |mount: &Mount| {
        for number in 0..120_u8 {
            assert!(fs::read(mount.path("near").join(number.to_string())).unwrap() == vec![number; 20_000]);
        }
    };
    read(&mount);
    mount.unmount();
    let index = mount.home().cache().join("index.sqlite");
    let file = fs::File::options().write(true).open(&index).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 5 * 4096], 4096).unwrap();
    mount.remount();
    read(&mount);
    assert!(bytes_retrieved(&mount.status(), "near") <= 120 * 20_000);
    let log = mount.unmount();
    let told = log.lines().filter(|line| line.contains("index") && line.contains("WARN")).count();
    assert_eq!(told, 1, "{log}");
    mount.remount();
    read(&mount);
    assert_eq!(bytes_retrieved(&mount.status(), "near"), 0);
}
