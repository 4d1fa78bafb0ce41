//! What holds for every source alike, through a real mount and with a real server.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use walkdir::WalkDir;

use crate::kit::files::{noise, random, set_modified, tree};
use crate::kit::mount::{Mount, bytes_retrieved, requests};
use crate::kit::wait::eventually;
use crate::remote::Remote;

#[test]
fn local() {
    keeps_its_promises(with_tree(Remote::local()));
}

#[test]
fn plugin() {
    keeps_its_promises(with_tree(Remote::plugin()));
}

#[test]
fn python() {
    keeps_its_promises(with_tree(Remote::python()));
}

#[test]
fn moodle() {
    keeps_its_promises(with_tree(Remote::moodle()));
}

#[test]
fn sftp() {
    keeps_its_promises(with_tree(Remote::sftp()));
}

#[test]
fn smb() {
    let remote = Remote::smb();
    tree(&remote.dir(), 100);
    // Samba shows what Windows could not name under names of its own.
    for entry in entries(&remote.dir()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        fs::rename(&entry, entry.with_file_name(name.replace(['?', ':', '*', '<', '>', '|', '"', '\\'], "_"))).unwrap();
    }
    keeps_its_promises(remote);
}

#[test]
fn http() {
    keeps_its_promises(with_tree(Remote::web()));
}

#[test]
fn ftp() {
    keeps_its_promises(with_tree(Remote::ftp()));
}

#[test]
fn webdav_by_rclone() {
    keeps_its_promises(with_tree(Remote::webdav()));
}

#[test]
fn webdav_by_apache() {
    keeps_its_promises(with_tree(Remote::apache()));
}

#[test]
fn http_by_pages() {
    keeps_its_promises(with_tree(Remote::pages()));
}

#[test]
fn s3_by_rclone() {
    keeps_its_promises(with_tree(Remote::s3()));
}

#[test]
fn s3_by_moto() {
    keeps_its_promises(with_tree(Remote::moto()));
}

#[test]
fn gcs() {
    keeps_its_promises(with_tree(Remote::gcs()));
}

#[test]
fn azblob() {
    keeps_its_promises(with_tree(Remote::azure()));
}

fn with_tree(remote: Remote) -> Remote {
    tree(&remote.dir(), 100);
    remote.publish();
    remote
}

/// Everything below a directory, what is deeper first.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(dir).min_depth(1).contents_first(true).into_iter();
    entries.map(|entry| entry.unwrap().into_path()).collect()
}

fn keeps_its_promises(mut remote: Remote) {
    let mut random = random();
    let large = noise(24 << 20, &mut random);
    remote.put("large", &large);
    remote.put("later", "before");
    // Long ago, so that no version is still unsettled.
    for file in entries(&remote.dir()).iter().filter(|path| path.is_file()) {
        set_modified(file, SystemTime::now() - Duration::from_secs(3600));
    }
    let dir = Path::new("far").join(remote.shown());
    let mut mount = Mount::of(&format!("{}fresh_for = \"300ms\"\ntimeout = \"3s\"\n", remote.table("far")));

    // The end of a large file costs little.
    if remote.has_ranges() {
        let mut tail = vec![0; 64 * 1024];
        let at = large.len() - tail.len();
        File::open(mount.path(dir.join("large"))).unwrap().read_exact_at(&mut tail, at as u64).unwrap();
        assert!(tail == large[at..]);
        let status = mount.status();
        assert!(bytes_retrieved(&status, "far") < 2 << 20, "{status:#}");
        assert!(requests(&status, "far").2 <= 3, "{status:#}");
    }

    // Every file is the same, and is retrieved once.
    let same = || {
        let output = Command::new("diff").arg("-r").arg(remote.dir()).arg(mount.path(&dir)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    same();
    let once = bytes_retrieved(&mount.status(), "far");
    same();
    assert_eq!(bytes_retrieved(&mount.status(), "far"), once, "read twice");

    // A change is seen, also one that keeps the size.
    remote.put("later", "behind");
    eventually("the change is seen", || fs::read(mount.path(dir.join("later"))).is_ok_and(|read| read == b"behind"));
    let once = bytes_retrieved(&mount.status(), "far");
    // Its beginning and its end may have been read before they were confirmed, which takes a moment.
    let state = format!("getfattr --only-values -n user.kitovufs.state '{}'", dir.join("large").display());
    eventually("all of it is kept", || mount.sh(&state) == "cached");
    mount.remount();
    assert!(fs::read(mount.path(dir.join("large"))).unwrap() == large);
    assert_eq!(bytes_retrieved(&mount.status(), "far"), 0, "after a remount, and {once} bytes before");

    // An outage takes nothing that was read.
    let names = fs::read_dir(mount.path(&dir)).unwrap().count();
    remote.stop();
    eventually("the outage is noticed", || {
        let _ = fs::read_dir(mount.path(&dir));
        mount.status()["sources"]["far"]["state"] == "unreachable"
    });
    assert!(fs::read(mount.path(dir.join("large"))).unwrap() == large);
    assert_eq!(fs::read_dir(mount.path(&dir)).unwrap().count(), names);
    remote.start();
    remote.put("new", "came while it was away");
    eventually("the source is back", || {
        fs::read(mount.path(dir.join("new"))).is_ok_and(|read| read.starts_with(b"came"))
    });
}
