//! What commands ask a mount over its socket: the status, once and again and again.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kit::home::{Home, local, text};
use crate::kit::mount::Mount;
use crate::kit::wait::{SOON, eventually, wait};

fn near() -> String {
    local("near", "/usr/share".as_ref())
}

/// The sockets of a home's mounts.
fn sockets(home: &Home) -> Vec<PathBuf> {
    let dir = home.dir().join("run/kitovufs");
    dir.read_dir().map(|all| all.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

/// `status --json --follow` of a mount, and its lines.
fn following(mount: &Mount) -> (Child, BufReader<ChildStdout>) {
    // Whoever runs the tests in the background may have them ignore Ctrl-C.
    let mut command = mount.home().command("env");
    command.arg("--default-signal=INT").arg(mount.home().binary());
    command.args(["status", "--json", "--follow"]).arg(mount.home().mountpoint());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn line(lines: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
}

/// How a child ends, and what it has said on standard error.
fn end(mut child: Child) -> (std::process::ExitStatus, String) {
    let status = wait(&mut child, SOON).expect("it ends");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status, said)
}

#[test]
fn a_status_is_followed_until_the_mount_goes() {
    for home in [Home::of(&near()), Home::of_nobody(&near())] {
        let mut mount = home.mount();
        let (child, mut lines) = following(&mount);
        let first = line(&mut lines);
        assert_eq!(first["mountpoint"], *text(mount.home().mountpoint()));
        assert_eq!(first["sources"]["near"]["state"], "idle");
        mount.sh("ls near >/dev/null");
        let mut states = (0..).map(|_| line(&mut lines)["sources"]["near"]["state"].clone());
        assert_eq!(states.find(|state| state != "idle"), Some("ok".into()));
        let mountpoint = text(mount.home().mountpoint());
        eventually("it is unmounted", || mount.home().kitovufs(["unmount", &mountpoint]).status.success());
        while lines.read_line(&mut String::new()).unwrap() > 0 {}
        let (status, said) = end(child);
        assert_eq!((status.code(), &*said), (Some(0), ""));
        assert!(mount.ended().expect("it ends by itself").success());
        assert_eq!(sockets(mount.home()), Vec::<PathBuf>::new());
    }
}

#[test]
fn following_ends_quietly_where_nobody_reads_on_and_at_ctrl_c() {
    let mount = Mount::of(&near());
    let (child, mut lines) = following(&mount);
    line(&mut lines);
    drop(lines);
    let (status, said) = end(child);
    assert_eq!((status.code(), &*said), (Some(0), ""));

    let (child, mut lines) = following(&mount);
    line(&mut lines);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (status, said) = end(child);
    assert_eq!((status.signal(), &*said), (Some(Signal::INT.as_raw()), ""));
}

#[test]
fn following_a_mount_that_was_stopped_goes_on_when_it_continues() {
    let mount = Mount::of(&near());
    let (mut child, mut lines) = following(&mount);
    assert_eq!(line(&mut lines)["sources"]["near"]["state"], "idle");
    let daemon = Pid::from_raw(i32::try_from(mount.pid()).unwrap()).unwrap();
    kill_process(daemon, Signal::STOP).unwrap();
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    kill_process(daemon, Signal::CONT).unwrap();
    assert!(told.contains("does not answer; waiting for it"), "{told}");
    mount.sh("ls near >/dev/null");
    let mut states = (0..).map(|_| line(&mut lines)["sources"]["near"]["state"].clone());
    assert_eq!(states.find(|state| state != "idle"), Some("ok".into()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_mount_is_found_with_another_runtime_directory() {
    let mount = Mount::of(&near());
    for elsewhere in ["", "/nonexistent"] {
        let mut command = mount.home().command(mount.home().binary());
        command.env("XDG_RUNTIME_DIR", elsewhere).arg("status").arg(mount.home().mountpoint());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_socket_of_a_killed_daemon_is_told_as_such_and_replaced() {
    let mut mount = Mount::of(&near());
    let mountpoint = text(mount.home().mountpoint());
    let (child, mut lines) = following(&mount);
    line(&mut lines);
    mount.kill9();
    while lines.read_line(&mut String::new()).unwrap() > 0 {}
    let (status, said) = end(child);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&mountpoint) && said.contains("is gone"), "{said}");

    let output = mount.home().kitovufs(["status", &mountpoint]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is gone") && said.contains("kitovufs unmount"), "{said}");
    assert_eq!(sockets(mount.home()).len(), 1);
    mount.remount();
    assert_eq!(mount.status()["pid"], mount.pid());
    assert_eq!(sockets(mount.home()).len(), 1);
}

#[test]
fn two_mounts_have_two_sockets_that_are_their_users_alone() {
    let (one, other) = (Home::of(&near()), Home::of(&near()));
    let other = other.with_env("XDG_RUNTIME_DIR", &text(one.dir().join("run")));
    let (one, other) = (one.mount(), other.mount());
    let found = sockets(one.home());
    assert_eq!(found.len(), 2, "{found:?}");
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(found.iter().map(mode).collect::<Vec<_>>(), [0o600, 0o600]);
    assert_eq!(mode(&one.home().dir().join("run/kitovufs")), 0o700);
    assert_eq!((&one.status()["pid"], &other.status()["pid"]), (&one.pid().into(), &other.pid().into()));
}

#[test]
fn without_a_runtime_directory_the_socket_is_among_the_states() {
    // Of a user who is not logged in, so that the system has none either.
    let mount = Home::of_nobody(&near()).with_env("XDG_RUNTIME_DIR", "").mount();
    let state = mount.home().dir().join("state/kitovufs/run");
    if PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw())).is_dir() {
        println!("this user is logged in, and has a runtime directory");
    } else {
        assert_eq!(state.read_dir().unwrap().count(), 1);
    }
    assert_eq!(mount.status()["pid"], mount.pid());
}
