//! A mounted tree is its origin: names, kinds, sizes, times, links and bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use walkdir::WalkDir;

use crate::kit::files::{noise, random, tree};
use crate::kit::home::{local, text};
use crate::kit::mount::Mount;
use crate::remote::Remote;

#[test]
fn usr_share_doc_is_the_same() {
    let origin = Path::new("/usr/share/doc");
    if !origin.exists() {
        println!("skipped: there is no {}", origin.display());
        return;
    }
    let mount = Mount::of(&format!("[defaults]\nfresh_for = \"1h\"\n{}", local("doc", origin)));
    let mut expected = facts(origin, Duration::from_nanos(1));
    let mut found = facts(&mount.path("doc"), Duration::from_nanos(1));
    // Those that are absolute and stay inside are made relative.
    for (path, fact) in expected.clone() {
        if matches!(fact, Fact::Link { target } if target.starts_with(origin)) {
            expected.remove(&path);
            found.remove(&path);
        }
    }
    assert_same_facts(&expected, &found);
    assert_same_bytes(origin, &mount.path("doc"), &expected);
}

#[test]
fn a_thousand_files_are_the_same_over_webdav() {
    same_over(&Remote::apache(), 1_000);
}

#[test]
fn a_thousand_files_are_the_same_over_s3() {
    same_over(&Remote::s3(), 1_000);
}

#[test]
fn a_tree_is_the_same_over_the_webdav_of_rclone() {
    same_over(&Remote::webdav(), 300);
}

fn same_over(remote: &Remote, files: usize) {
    tree(&remote.dir(), files);
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    let second = Duration::from_secs(1);
    let expected = facts(&remote.dir(), second);
    assert_same_facts(&expected, &facts(&mount.path("far"), second));
    assert_same_bytes(&remote.dir(), &mount.path("far"), &expected);
}

#[test]
fn a_gibibyte_is_the_same_and_opens_again_without_being_hashed() {
    let remote = Remote::apache();
    fs::write(remote.dir().join("big"), noise(1 << 30, &mut random())).unwrap();
    let config = format!(
        "[defaults]\nfresh_for = \"1h\"\n[cache]\nmin_free = \"1MiB\"\n{}{}",
        local("near", &remote.dir()),
        remote.table("far")
    );
    let mut mount = Mount::of(&config);
    let expected = md5(&remote.dir().join("big"));
    assert_eq!(md5(&mount.path("near/big")), expected, "local");
    assert_eq!(md5(&mount.path("far/big")), expected, "WebDAV");

    mount.remount();
    for source in ["near", "far"] {
        let before = read_by(mount.pid());
        File::open(mount.path(source).join("big")).unwrap().read_exact(&mut [0; 4096]).unwrap();
        let read = read_by(mount.pid()) - before;
        assert!(read < 8 << 20, "{source}: the daemon read {read} bytes to answer the first 4 KiB");
    }
}

/// Bytes that a process has read, by whatever system call.
fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("proc(5): rchar").parse().unwrap()
}

fn md5(path: &Path) -> String {
    let output = Command::new("md5sum").arg("--").arg(path).output().unwrap();
    assert!(output.status.success(), "md5sum: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()[..32].to_owned()
}

/// What `ls -l` shows of an entry.
#[derive(Debug, Clone, PartialEq)]
enum Fact {
    Directory,
    File { size: u64, modified: u128 },
    Link { target: PathBuf },
}

type Facts = BTreeMap<PathBuf, Fact>;

/// Every entry below `root`; times in whole steps of `precision`.
fn facts(root: &Path, precision: Duration) -> Facts {
    let entries = WalkDir::new(root).min_depth(1).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let fact = if metadata.is_dir() {
            Fact::Directory
        } else if metadata.is_symlink() {
            Fact::Link { target: fs::read_link(entry.path()).unwrap() }
        } else {
            let age = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Fact::File { size: metadata.len(), modified: age.as_nanos() / precision.as_nanos() }
        };
        (entry.path().strip_prefix(root).expect("it is below").to_owned(), fact)
    });
    entries.collect()
}

#[track_caller]
fn assert_same_facts(expected: &Facts, found: &Facts) {
    let missing: Vec<_> = expected.iter().filter(|(path, fact)| found.get(*path) != Some(fact)).take(10).collect();
    let extra: Vec<_> = found.iter().filter(|(path, fact)| expected.get(*path) != Some(fact)).take(10).collect();
    assert!(missing.is_empty() && extra.is_empty(), "the first differences:\norigin {missing:#?}\nmount {extra:#?}");
    assert!(expected.values().any(|fact| matches!(fact, Fact::File { .. })), "there is something to compare");
}

/// `diff -r` finds nothing, apart from what is only in the origin because it is not shown.
#[track_caller]
fn assert_same_bytes(origin: &Path, mounted: &Path, expected: &Facts) {
    let output =
        Command::new("diff").args(["-r", "--no-dereference"]).args([origin, mounted]).env("LC_ALL", "C").output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let differences: Vec<_> = said.lines().filter(|line| !is_left_out(line, origin, expected)).take(10).collect();
    assert!(differences.is_empty(), "diff -r: {differences:#?}");
    assert!(output.stderr.is_empty(), "diff -r: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_left_out(line: &str, origin: &Path, expected: &Facts) -> bool {
    let Some((dir, name)) = line.strip_prefix("Only in ").and_then(|rest| rest.split_once(": ")) else {
        return false;
    };
    let Ok(dir) = Path::new(dir).strip_prefix(origin) else { return false };
    !expected.contains_key(&dir.join(name))
}

#[test]
fn links_inside_are_links_and_links_outside_are_not_shown() {
    let remote = Remote::local();
    remote.put("dir/file", "bytes");
    for (target, name) in [("dir/file", "to-file"), ("dir", "to-dir"), ("/etc/passwd", "away"), ("../../..", "up")] {
        std::os::unix::fs::symlink(target, remote.dir().join(name)).unwrap();
    }
    std::os::unix::fs::symlink("../dir/file", remote.dir().join("dir/back")).unwrap();
    let mount = Mount::of(&format!("{}links = \"inside\"\n", remote.table("x")));
    assert_eq!(fs::read_link(mount.path("x/to-file")).unwrap(), Path::new("dir/file"));
    for path in ["x/to-file", "x/to-dir/file", "x/dir/back"] {
        assert_eq!(fs::read_to_string(mount.path(path)).unwrap(), "bytes", "{path}");
    }
    let mut shown: Vec<_> = fs::read_dir(mount.path("x")).unwrap().map(|e| text(e.unwrap().file_name())).collect();
    shown.sort();
    assert_eq!(shown, ["dir", "to-dir", "to-file"]);
}
