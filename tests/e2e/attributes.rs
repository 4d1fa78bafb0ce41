//! What `ls -l`, `df` and `getfattr` show.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{getxattr, listxattr, statvfs};

use crate::kit::home::text;
use crate::kit::mount::Mount;
use crate::remote::Remote;

fn attribute(path: &Path, name: &str) -> String {
    let mut value = vec![0; 4096];
    let length = getxattr(path, format!("user.kitovufs.{name}"), &mut value).unwrap();
    String::from_utf8(value[..length].to_vec()).unwrap()
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
fn modes_and_owners_are_those_of_a_read_only_folder_of_ones_own() {
    let remote = Remote::local();
    remote.put("dir/file", "bytes");
    remote.put("program", "#!/bin/sh\n");
    fs::set_permissions(remote.dir().join("program"), fs::Permissions::from_mode(0o700)).unwrap();
    let mount = Mount::of(&remote.table("near"));
    for (path, mode) in [
        ("", 0o40555),
        ("near", 0o40555),
        ("near/dir", 0o40555),
        ("near/dir/file", 0o100444),
        ("near/program", 0o100555),
    ] {
        let metadata = fs::metadata(mount.path(path)).unwrap();
        assert_eq!(metadata.mode(), mode, "{path:?}");
        assert_eq!(metadata.uid(), rustix::process::getuid().as_raw(), "{path:?}");
        assert_eq!(metadata.gid(), rustix::process::getgid().as_raw(), "{path:?}");
        assert!(metadata.nlink() >= 1, "{path:?}");
    }
    assert!(statvfs(mount.path("near")).unwrap().f_namemax >= 255);
    mount.sh("df -h .");

    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = mounts.lines().find(|line| line.contains(&text(mount.path("")).trim_end_matches('/').to_owned()));
    let options = ours.expect("it is mounted").split(' ').nth(5).expect("proc(5): options");
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options.split(',').any(|found| found == option), "{option} is not among {options}");
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
