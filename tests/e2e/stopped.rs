//! A daemon that is stopped, killed or told to end at any moment leaves nobody waiting and nothing dead behind; a stranger's is left alone.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::home::{Home, is_mounted, is_root, local, text};
use crate::kit::mount::Mount;
use crate::kit::odd::Odd;
use crate::kit::wait::{SOON, eventually, kill, wait};

/// 2 s are promised; the rest is for a busy machine.
const PROMISED: Duration = Duration::from_secs(12);

fn near() -> String {
    local("near", Path::new("/usr/share"))
}

fn pid(mount: &Mount) -> Pid {
    Pid::from_raw(mount.pid().try_into().expect("a process id fits")).expect("it is not 0")
}

fn timed(home: &Home, args: &[&str]) -> (Output, String) {
    let begun = Instant::now();
    let output = home.kitovufs(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{args:?} took {:?}: {said}", begun.elapsed());
    assert!(begun.elapsed() < PROMISED, "{args:?} took {:?}: {said}", begun.elapsed());
    (output, said)
}

#[test]
fn a_stopped_daemon_holds_up_nobody() {
    for home in [Home::of(&near()), Home::of_nobody(&near())] {
        let mut mount = home.mount();
        let mountpoint = text(mount.home().mountpoint());
        kill_process(pid(&mount), Signal::STOP).unwrap();
        // Somebody waits there, and keeps the folder in use.
        let mut waits = mount.home().command("ls").arg("mnt/near").stdout(Stdio::null()).spawn().unwrap();

        let (output, said) = timed(mount.home(), &["status", &mountpoint]);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&mountpoint) && said.contains("does not answer"), "{said}");
        let config = text(mount.home().config());
        let (output, said) = timed(mount.home(), &["mount", "-f", "-c", &config, &mountpoint]);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&mountpoint) && said.contains("does not answer"), "{said}");
        let (output, said) = timed(mount.home(), &["unmount", &mountpoint]);
        assert!(output.status.success(), "{said}");
        assert!(!is_mounted(&mount.home().mountpoint()));

        kill_process(pid(&mount), Signal::CONT).unwrap();
        wait(&mut waits, SOON).expect("it waits no longer");
        assert!(mount.ended().expect("it ends by itself").success(), "{}", mount.log());
    }
}

/// The kernel lets nobody be killed who waits for an answer to what the daemon has read.
#[test]
fn who_waits_for_a_stopped_daemon_ends_when_it_is_unmounted() {
    if !is_root() && !Path::new("/sys/fs/fuse/connections").read_dir().is_ok_and(|mut all| all.next().is_some()) {
        println!("skipped: neither root nor the file system that controls FUSE can break off a connection");
        return;
    }
    let odd = Odd::with_files(&[("/a", "one")]).wrong("list_path", "hang");
    let mut mount = Mount::of(&format!("[sources.odd]\n{}timeout = \"120s\"\n", odd.table()));
    let mut waits = mount.home().command("stat").arg("mnt/odd/a").stderr(Stdio::null()).spawn().unwrap();
    eventually("the source is asked", || odd.count("list_path") > 0);
    kill_process(pid(&mount), Signal::STOP).unwrap();
    let mountpoint = text(mount.home().mountpoint());
    let (output, said) = timed(mount.home(), &["unmount", &mountpoint]);
    assert!(output.status.success(), "{said}");
    assert!(!is_mounted(&mount.home().mountpoint()));
    let status = wait(&mut waits, SOON).expect("it waits no longer, though the daemon is still stopped");
    assert_eq!(status.code(), Some(1), "it got an error");
    kill_process(pid(&mount), Signal::CONT).unwrap();
    assert!(mount.ended().expect("it ends by itself").success(), "{}", mount.log());
}

#[test]
fn one_that_does_not_answer_hides_no_other() {
    let (stopped, other) = (Mount::of(&near()), Mount::of(&near()));
    kill_process(pid(&stopped), Signal::STOP).unwrap();
    let (output, said) = timed(other.home(), &["status"]);
    kill_process(pid(&stopped), Signal::CONT).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&text(stopped.home().mountpoint())), "{said}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains(&text(other.home().mountpoint())), "{shown}");
}

#[test]
fn a_strangers_mount_is_left_alone() {
    if !is_root() {
        println!("skipped: only root can have two users");
        return;
    }
    let stranger = Mount::of_nobody(&near());
    let mountpoint = text(stranger.home().mountpoint());
    let home = Home::of(&near());
    let config = text(home.config());
    // Stopped, so that whoever asked it would wait.
    kill_process(pid(&stranger), Signal::STOP).unwrap();
    for args in [&["status", &mountpoint][..], &["unmount", &mountpoint], &["mount", "-f", "-c", &config, &mountpoint]]
    {
        let (output, said) = timed(&home, args);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&mountpoint) && said.contains("user with the id"), "{said}");
    }
    let (output, _) = timed(&home, &["status"]);
    let shown = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!shown.contains(&mountpoint), "{shown}");
    kill_process(pid(&stranger), Signal::CONT).unwrap();
    assert_eq!(stranger.status()["mountpoint"], *mountpoint);
}

/// The processes that serve, or are about to serve, at this mount point.
fn serving(mountpoint: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if words.split(|&byte| byte == 0).any(|word| word == text(mountpoint).as_bytes()) {
            found.push(pid);
        }
    }
    found
}

fn start(home: &Home, in_front: bool) -> Child {
    let mut command = home.daemon();
    command.arg("mount").args(in_front.then_some("-f")).arg("-c").arg(home.config()).arg(home.mountpoint());
    command.stdout(Stdio::null()).stderr(File::create(home.dir().join("log")).unwrap()).spawn().unwrap()
}

fn stop(home: &Home) {
    assert!(home.kitovufs(["unmount", &text(home.mountpoint())]).status.success());
    eventually("nothing serves", || serving(&home.mountpoint()).is_empty());
}

/// How long a start takes here and now.
fn start_takes(home: &Home, in_front: bool) -> Duration {
    let begun = Instant::now();
    let mut child = start(home, in_front);
    eventually("it answers", || home.answers());
    let took = begun.elapsed();
    stop(home);
    wait(&mut child, SOON).expect("it ends");
    took
}

/// In steps from the start of the process to some time after the folder answers.
fn steps(takes: Duration) -> impl Iterator<Item = Duration> {
    (0..12).map(move |step| takes * step / 9)
}

#[test]
fn sigterm_at_any_moment_leaves_no_dead_mount() {
    for home in [Home::of(&near()), Home::of_nobody(&near())] {
        for after in steps(start_takes(&home, true)) {
            let mut child = start(&home, true);
            thread::sleep(after);
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            let status = wait(&mut child, SOON).unwrap_or_else(|| {
                kill(&mut child);
                panic!("SIGTERM after {after:?} did not end it")
            });
            let log = fs::read_to_string(home.dir().join("log")).unwrap();
            assert!(!is_mounted(&home.mountpoint()), "SIGTERM after {after:?}, {status}: {log}");
        }
    }
}

#[test]
fn a_mount_whose_caller_is_killed_serves_or_is_gone() {
    let home = Home::of(&near());
    let mountpoint = home.mountpoint();
    for after in steps(start_takes(&home, false)) {
        let mut child = start(&home, false);
        thread::sleep(after);
        kill(&mut child);
        let is_gone = || serving(&mountpoint).is_empty() && !is_mounted(&mountpoint);
        eventually("it serves or is gone", || is_gone() || home.answers());
        // What answers may be on its way out still.
        if !is_gone() && home.kitovufs(["status", &text(&mountpoint)]).status.success() {
            // An error says that it has unmounted itself by now.
            home.kitovufs(["unmount", &text(&mountpoint)]);
        }
        eventually("it is gone", is_gone);
    }
}
