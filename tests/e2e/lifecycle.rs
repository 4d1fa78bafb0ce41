//! Mounting, unmounting, and what is said where that is not possible.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use walkdir::WalkDir;

use crate::kit::home::{Home, is_mounted, is_root, local, text};
use crate::kit::mount::{Mount, number};
use crate::kit::wait::{SOON, eventually, holds_within, wait};
use crate::remote::Remote;

#[test]
fn mount_returns_when_the_folder_answers() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let home = Home::of(&remote.table("near"));
    let mountpoint = text(home.mountpoint());
    let output = home.kitovufs(["mount", "-c", &text(home.config()), &mountpoint]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!((&output.stdout[..], &*said), (&b""[..], ""), "nothing to say when all is well");
    assert_eq!(fs::read(home.mountpoint().join("near/file")).unwrap(), b"bytes");

    let status = home.kitovufs(["status", "--json", &mountpoint]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["mountpoint"], *mountpoint);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let process = format!("/proc/{}", number(&status, "/pid"));
    assert!(Path::new(&process).exists());
    assert!(String::from_utf8(home.kitovufs(["status", &mountpoint]).stdout).unwrap().contains("near"));
    assert!(WalkDir::new(home.dir().join("state")).into_iter().flatten().any(|entry| entry.file_type().is_file()));

    assert!(home.kitovufs(["unmount", &mountpoint]).status.success());
    assert!(!is_mounted(&home.mountpoint()));
    eventually("the daemon has ended", || !Path::new(&process).exists());
}

#[test]
fn in_front_nothing_is_printed_when_all_is_well() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let mut mount = Mount::of(&remote.table("near"));
    fs::read(mount.path("near/file")).unwrap();
    let log = mount.unmount();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_signal_to_end_unmounts() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut mount = Mount::of(&local("near", Path::new("/usr/share")));
        let pid = Pid::from_raw(mount.pid().try_into().expect("a process id fits")).expect("it is not 0");
        kill_process(pid, signal).unwrap();
        let status = mount.ended().expect("it ends by itself");
        assert!(status.success(), "{status}: {}", mount.log());
        assert!(!is_mounted(&mount.home().mountpoint()));
    }
}

#[test]
fn a_dead_mount_point_is_healed() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let mut mount = Mount::of(&remote.table("near"));
    // What the kernel remembers of the root must not make it look alive.
    fs::metadata(mount.path("")).unwrap();
    mount.kill9();
    let error = fs::read_dir(mount.path("")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOTCONN.raw_os_error()), "transport endpoint is not connected");
    mount.remount();
    assert_eq!(fs::read(mount.path("near/file")).unwrap(), b"bytes");
    mount.unmount();
    assert!(!is_mounted(&mount.home().mountpoint()), "the dead one is gone too");
}

#[test]
fn a_folder_with_something_in_it_is_no_mount_point() {
    let home = Home::of(&local("near", Path::new("/usr/share")));
    fs::write(home.mountpoint().join("precious"), "").unwrap();
    let (code, said) = home.refusal();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&text(home.mountpoint())) && said.contains("empty"), "{said}");
    assert!(!is_mounted(&home.mountpoint()));
}

#[test]
fn a_mount_point_in_use_is_refused() {
    let first = Mount::of(&local("near", Path::new("/usr/share")));
    // Another cache, so that it is not this that is refused.
    let second = Home::of(&local("near", Path::new("/usr/share")));
    let output = second.kitovufs(["mount", "-f", "-c", &text(second.config()), &text(first.home().mountpoint())]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&text(first.home().mountpoint())) && said.contains("mounted"), "{said}");
    assert_eq!(first.status()["pid"], first.pid());
}

#[test]
fn a_mount_point_that_is_a_file_is_refused() {
    let home = Home::of(&local("near", Path::new("/usr/share")));
    fs::remove_dir(home.mountpoint()).unwrap();
    fs::write(home.mountpoint(), "").unwrap();
    let (code, said) = home.refusal();
    assert!(code == 1 && said.contains(&text(home.mountpoint())), "{code}: {said}");
}

#[test]
fn a_folder_in_use_is_not_unmounted() {
    let remote = Remote::local();
    remote.put("file", "bytes");
    let mut mount = Mount::of(&remote.table("near"));
    let open = File::open(mount.path("near/file")).unwrap();
    let output = mount.home().kitovufs(["unmount", &text(mount.home().mountpoint())]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("in use"), "{said}");
    drop(open);
    mount.unmount();
}

#[test]
fn who_only_looks_at_a_folder_does_not_keep_it() {
    let mut mount = Mount::of(&local("near", Path::new("/usr/share/common-licenses")));
    let open = File::open(mount.path("near/BSD")).unwrap();
    let home = mount.home();
    let calls = home.dir().join("calls");
    let mut unmount = home.command("strace");
    unmount.args(["-e", "trace=umount2", "-o"]).arg(&calls).arg(home.binary()).arg("unmount").arg(home.mountpoint());
    let mut unmount = unmount.spawn().unwrap();
    let was_refused = || fs::read_to_string(&calls).is_ok_and(|calls| calls.contains("EBUSY"));
    assert!(!is_root() || holds_within(SOON, was_refused));
    drop(open);
    assert!(wait(&mut unmount, SOON).is_some_and(|status| status.success()));
    assert!(mount.ended().is_some_and(|status| status.success()));
}

#[test]
fn status_and_unmount_of_what_is_not_mounted_say_so() {
    let home = Home::of(&local("near", Path::new("/usr/share")));
    for command in ["status", "unmount"] {
        let output = home.kitovufs([command, &text(home.mountpoint())]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains(&text(home.mountpoint())), "{command}: {said}");
        assert!(output.stdout.is_empty(), "{command}");
    }
}

#[test]
fn without_fusermount3_it_says_what_to_install() {
    if !is_root() {
        println!("skipped: only root can hide a program");
        return;
    }
    // Of a user without privileges, because root does not need it.
    let home = Home::of_nobody(&local("near", Path::new("/usr/share")));
    let script = format!(
        "mount --bind /dev/null \"$(readlink -f \"$(command -v fusermount3)\")\"
         exec setpriv --reuid=65534 --regid=65534 --clear-groups {} mount -f -c {} {}",
        text(home.binary()),
        text(home.config()),
        text(home.mountpoint()),
    );
    let (code, said) = in_a_namespace(&home, &script);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("fusermount3") && said.contains("apt install fuse3"), "{said}");
}

#[test]
fn fusermount3_is_found_where_path_is_short() {
    let home =
        Home::of_nobody(&local("near", Path::new("/usr/share/common-licenses"))).with_env("PATH", "/nonexistent");
    let mounted = home.kitovufs(["mount", "-c", &text(home.config()), &text(home.mountpoint())]);
    let unmounted = home.kitovufs(["unmount", &text(home.mountpoint())]);
    for output in [mounted, unmounted] {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn without_dev_fuse_it_says_what_to_do() {
    if !is_root() {
        println!("skipped: only root can hide a device");
        return;
    }
    let home = Home::of(&local("near", Path::new("/usr/share")));
    let script = format!(
        "mount -t tmpfs none /dev
         exec {} mount -f -c {} {}",
        env!("CARGO_BIN_EXE_kitovufs"),
        text(home.config()),
        text(home.mountpoint()),
    );
    let (code, said) = in_a_namespace(&home, &script);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/dev/fuse") && said.contains("modprobe fuse"), "{said}");
}

/// Runs a script that changes mounts where nobody else sees it; bounded, in case it succeeds in what it should not.
fn in_a_namespace(home: &Home, script: &str) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "30", "unshare", "--mount", "sh", "-euc", script]);
    for (name, dir) in
        [("HOME", ""), ("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")]
    {
        command.env(name, home.dir().join(dir));
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_source_that_contains_mount_point_and_cache_shows_neither() {
    let home = Home::of("");
    fs::create_dir(home.dir().join("beside")).unwrap();
    fs::write(home.dir().join("beside/file"), "bytes").unwrap();
    home.configure(&local("self", home.dir()));
    // Either it mounts without the two places, or it refuses and says why.
    let probe = home.kitovufs(["mount", "-c", &text(home.config()), &text(home.mountpoint())]);
    if !probe.status.success() {
        let said = String::from_utf8_lossy(&probe.stderr);
        assert!(said.contains(&text(home.mountpoint())), "{said}");
        return;
    }
    let source = home.mountpoint().join("self");
    assert_eq!(fs::read(source.join("beside/file")).unwrap(), b"bytes");
    let paths: Vec<_> = WalkDir::new(&source).into_iter().map(|e| e.unwrap().into_path()).collect();
    for below in ["mnt/self", "cache/kitovufs/objects"] {
        let found = paths.iter().find(|path| path.starts_with(source.join(below)));
        assert_eq!(found, None, "{below}");
    }
    assert_eq!(fs::read_dir(source.join("mnt")).map_or(0, Iterator::count), 0);
    assert!(home.kitovufs(["unmount", &text(home.mountpoint())]).status.success());
}

#[test]
fn it_works_the_same_for_a_user_without_privileges() {
    let home = Home::of_nobody("");
    fs::create_dir(home.dir().join("origin")).unwrap();
    fs::write(home.dir().join("origin/file"), "bytes").unwrap();
    home.configure(&format!("{}fresh_for = \"1h\"\n", local("near", &home.dir().join("origin"))));
    let mut mount = home.mount();
    assert_eq!(mount.sh("cat near/file near/file"), "bytesbytes");
    assert!(mount.sh("ls -l near").contains("-rw-r--r--"));
    let copy = text(mount.home().dir().join("copy"));
    mount.sh(&format!("cp -r near {copy} && echo more >> {copy}/file && rm -rf {copy} && ! [ -e {copy} ]"));
    mount.sh("[ $(stat -c %u near/file) = $(id -u) ]; ! touch near/new 2>/dev/null");
    assert_eq!(number(&mount.status(), "/sources/near/bytes_retrieved"), 5);
    mount.remount();
    assert_eq!(mount.sh("cat near/file"), "bytes");
    assert_eq!(number(&mount.status(), "/sources/near/bytes_retrieved"), 0);
    mount.kill9();
    mount.remount();
    assert_eq!(mount.sh("cat near/file"), "bytes");
    mount.unmount();
}

#[test]
fn what_is_absent_is_absent() {
    let mount = Mount::of(&local("near", Path::new("/usr/share")));
    for path in ["absent", "near/absent", "near/absent/below"] {
        assert_eq!(fs::metadata(mount.path(path)).unwrap_err().kind(), ErrorKind::NotFound, "{path}");
    }
}
