//! What `ls -l`, `df` and `getfattr` show.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{getxattr, listxattr, statvfs};

use crate::kit::home::text;
use crate::kit::mount::{Mount, number};
use crate::remote::Remote;

fn attribute(path: &Path, name: &str) -> String {
    let mut value = vec![0; 4096];
    let length = getxattr(path, format!("user.kitovufs.{name}"), &mut value).unwrap();
    String::from_utf8(value[..length].to_vec()).unwrap()
}

#[test]
fn two_folders_of_one_remote_share_no_inode() {
    let remote = Remote::local();
    remote.put("dir/file", "bytes");
    let mut mount = Mount::of(&(remote.table("one") + &remote.table("other")));
    let inodes = |mount: &Mount| {
        ["one", "one/dir", "one/dir/file", "other", "other/dir", "other/dir/file"]
            .map(|path| fs::metadata(mount.path(path)).unwrap().ino())
    };
    let before = inodes(&mount);
    assert_eq!(
        before.iter().collect::<HashSet<_>>().len(),
        before.len(),
        "programs take them for hard links: {before:?}"
    );
    mount.remount();
    assert_eq!(inodes(&mount), before);
}

#[test]
fn extended_attributes_tell_where_a_file_comes_from_and_how_it_is() {
    let remote = Remote::webdav();
    remote.put("dir/file", "bytes");
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    let file = mount.path("far/dir/file");
    assert_eq!(attribute(&file, "source"), "far");
    assert_eq!(attribute(&file, "path").trim_start_matches('/'), "dir/file");
    assert_eq!(attribute(&file, "state"), "remote");
    assert!(!attribute(&file, "digest").is_empty());

    fs::read(&file).unwrap();
    assert_eq!(attribute(&file, "state"), "cached");
    assert!(!attribute(&file, "local_digest").is_empty());
    assert!(!attribute(&file, "checked").is_empty());

    let all = attribute(&file, "all");
    for name in ["source", "path", "digest", "local_digest", "state"] {
        assert!(all.lines().any(|line| line.starts_with(&format!("{name}: "))), "{name} is not in {all:?}");
    }
    let mut names = vec![0; 4096];
    assert_eq!(listxattr(&file, &mut names), Ok(0), "none is listed");
    let copy = mount.home().dir().join("copy");
    mount.sh(&format!("cp -a far/dir/file {}", copy.display()));
    assert_eq!(listxattr(&copy, &mut names), Ok(0), "none travels with a copy");
    let mut value = [0; 64];
    assert!(getxattr(&file, "user.other", &mut value).is_err());
    assert!(getxattr(&file, "security.selinux", &mut value).is_err());
    assert!(mount.sh("getfattr --only-values -n user.kitovufs.all far/dir/file").contains("state: cached"));
}

#[test]
fn modes_are_those_of_the_source_where_it_has_some_and_owners_are_the_user() {
    let (remote, web) = (Remote::local(), Remote::webdav());
    web.put("dir/file", "bytes");
    for (path, mode) in [("dir/file", 0o640), ("program", 0o4711), ("unreadable", 0o044), ("dir", 0o2770)] {
        if path != "dir" {
            remote.put(path, "#!/bin/sh\n");
        }
        fs::set_permissions(remote.dir().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mount = Mount::of(&format!("{}{}", remote.table("near"), web.table("far")));
    for (path, mode) in [
        ("", 0o40755),
        ("near", 0o40755),
        ("near/dir", 0o40770),
        ("near/dir/file", 0o100640),
        ("near/program", 0o100711),
        ("near/unreadable", 0o100444),
        ("far/dir", 0o40755),
        ("far/dir/file", 0o100644),
    ] {
        let metadata = fs::metadata(mount.path(path)).unwrap();
        assert_eq!(metadata.mode(), mode, "{path:?}");
        assert_eq!(metadata.uid(), rustix::process::getuid().as_raw(), "{path:?}");
        assert_eq!(metadata.gid(), rustix::process::getgid().as_raw(), "{path:?}");
        assert!(metadata.nlink() >= 1, "{path:?}");
    }
    assert!(statvfs(mount.path("near")).unwrap().f_namemax >= 255);

    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = mounts.lines().find(|line| line.contains(&text(mount.path("")).trim_end_matches('/').to_owned()));
    let options = ours.expect("it is mounted").split(' ').nth(5).expect("proc(5): options");
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options.split(',').any(|found| found == option), "{option} is not among {options}");
    }
}

#[test]
fn df_shows_how_much_of_the_cache_is_taken() {
    let remote = Remote::local();
    remote.put("file", "x".repeat(3 << 20));
    let mount = Mount::of(&format!("[cache]\nmax_size = \"64MiB\"\n{}", remote.table("near")));
    mount.sh("cat near/file > /dev/null");
    let shown = statvfs(mount.path("near")).unwrap();
    assert_eq!(shown.f_blocks * shown.f_frsize, 64 << 20);
    let taken = (shown.f_blocks - shown.f_bavail) * shown.f_frsize;
    let cached = number(&mount.status(), "/cache/bytes");
    assert!(taken >= 3 << 20 && taken.abs_diff(cached) < 1 << 20, "{taken} of {cached}");
    assert!(mount.sh("df -h .").contains("64M"));
}

#[test]
fn modes_and_owners_are_as_configured() {
    let remote = Remote::local();
    remote.put("dir/file", "bytes");
    let keys = "umask = \"0027\"\ndir_mode = \"0777\"\nuid = 1234\ngid = 5678\n";
    let mount = Mount::of(&format!("[defaults]\nfile_mode = \"0664\"\n{}{keys}", remote.table("near")));
    for (path, mode, owner) in [
        ("", 0o40755, None),
        ("near", 0o40750, Some((1234, 5678))),
        ("near/dir", 0o40750, Some((1234, 5678))),
        ("near/dir/file", 0o100640, Some((1234, 5678))),
    ] {
        let metadata = fs::metadata(mount.path(path)).unwrap();
        assert_eq!(metadata.mode(), mode, "{path:?}");
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        assert_eq!((metadata.uid(), metadata.gid()), owner.unwrap_or(own), "{path:?}");
    }
}

#[test]
fn a_change_of_permissions_at_the_source_is_seen() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let mount = Mount::of(&format!("{}fresh_for = \"0s\"\n", remote.table("near")));
    for mode in [0o600, 0o755, 0o444] {
        fs::set_permissions(remote.dir().join("file"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(mount.path("near/file")).unwrap().mode(), 0o100_000 | mode);
        assert_eq!(fs::read(mount.path("near/file")).unwrap(), b"bytes");
    }
}

#[test]
fn an_inode_number_is_the_same_after_a_remount() {
    let remote = Remote::webdav();
    remote.put("dir/file", "bytes");
    let mut mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n", remote.table("far")));
    let numbers =
        |mount: &Mount| ["far", "far/dir", "far/dir/file"].map(|p| fs::metadata(mount.path(p)).unwrap().ino());
    let before = numbers(&mount);
    mount.remount();
    assert_eq!(numbers(&mount), before);
}
