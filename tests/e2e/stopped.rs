//! A daemon that is stopped, killed or told to end at any moment leaves nobody waiting and nothing dead behind; a stranger's is left alone.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::home::{Home, is_mounted, is_root, local, text};
use crate::kit::mount::Mount;
use crate::kit::wait::{SOON, wait};

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
