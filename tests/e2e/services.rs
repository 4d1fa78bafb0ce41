//! Others that mount at boot and at login: mount(8) with fstab, systemd, and the login's own unit.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::kit::home::{Home, text};
use crate::kit::wait::{SOON, wait};

const DOCS: &str = "[sources.docs]\ntype = \"local\"\npath = \"/usr/share/common-licenses\"\n";

#[test]
fn mount_finds_its_helper_by_name() {
    let home = Home::of(DOCS);
    let helper = home.dir().join("mount.kitovufs");
    symlink(home.binary(), &helper).unwrap();
    let (config, place) = (text(home.config()), text(home.mountpoint()));
    let run = |options: &[&str]| {
        let output = home.command(&helper).args([&config, &place]).args(options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["-f"]), (Some(0), String::new()));
    assert!(!home.mountpoint().join("docs").exists(), "-f is for trying");
    let (code, said) = run(&["-o", "rw,allow_others"]);
    assert!(code == Some(2) && said.contains("did you mean `allow_other`?"), "{said}");
    let (code, said) = run(&["-n", "-o", "rw,_netdev,nofail,x-systemd.automount", "-t", "kitovufs"]);
    assert_eq!(code, Some(0), "{said}");
    let read = fs::read(home.mountpoint().join("docs/BSD")).unwrap();
    let (code, said) = run(&["-o", "rw"]);
    assert!(code == Some(0) && said.contains("is mounted already"), "mount -a is no error: {said}");
    assert!(home.kitovufs(["unmount", &place]).status.success());
    assert_eq!(read, fs::read("/usr/share/common-licenses/BSD").unwrap());
}

#[test]
fn a_service_manager_hears_when_the_folder_answers_and_that_it_goes_on() {
    let home = Home::of(DOCS);
    let socket = home.dir().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let heard = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).expect("something is told");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut daemon: Command = home.command(home.binary());
    daemon.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", Duration::from_millis(200).as_micros().to_string());
    let mut child = daemon.args(["mount", "-f", "-c"]).arg(home.config()).arg(home.mountpoint()).spawn().unwrap();
    let first = heard();
    let is_there = home.mountpoint().join("docs/BSD").exists();
    let beats = [heard(), heard()];
    assert!(home.kitovufs(["unmount", &text(home.mountpoint())]).status.success());
    assert!(wait(&mut child, SOON).is_some_and(|status| status.success()));
    let last = std::iter::repeat_with(heard).find(|said| !said.contains("WATCHDOG=1"));
    assert!(is_there && first.contains("READY=1") && first.contains("STATUS="), "{first}");
    assert!(beats.iter().all(|beat| beat.trim() == "WATCHDOG=1"), "{beats:?}");
    assert_eq!(last.as_deref().map(str::trim), Some("STOPPING=1"));
}

#[test]
fn autostart_says_how_it_is_and_what_to_do_without_systemd() {
    let home = Home::of(DOCS);
    let status = home.kitovufs(["autostart", "status"]);
    assert_eq!(String::from_utf8(status.stdout).unwrap(), "off; kitovufs autostart on\n");
    let on = home.kitovufs(["autostart", "on"]);
    let said = String::from_utf8(on.stderr).unwrap();
    let cron = format!("@reboot {} mount`", text(home.binary()));
    let words = if Path::new("/run/systemd/system").is_dir() { "no such file" } else { &cron };
    assert!(!on.status.success() && said.contains(words), "{said}");
    assert!(home.kitovufs(["autostart", "off"]).status.success());
}
