//! `tail` on files that grow at the source.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::kit::mount::Mount;
use crate::kit::wait::{SOON, holds_within, kill};
use crate::remote::Remote;

/// A `tail` that runs, and what it writes.
struct Tail {
    running: Child,
    out: PathBuf,
    errors: PathBuf,
}

impl Tail {
    fn start(follow: &str, file: &Path, dir: &Path) -> Self {
        let place = |kind: &str| dir.join(format!("{kind}{follow}"));
        let (out, errors) = (place("out"), place("errors"));
        let mut tail = Command::new("tail");
        tail.args(["-n", "2", "-s", "0.3", follow]).arg(file);
        tail.stdout(File::create(&out).unwrap()).stderr(File::create(&errors).unwrap());
        Self { running: tail.spawn().unwrap(), out, errors }
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.out).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        kill(&mut self.running);
    }
}

/// Both ways to follow a file show each line once while it grows.
fn shows_each_line_once(remote: &Remote) {
    let log = remote.dir().join("a.log");
    let mut expected: Vec<String> = (0..50).map(|number| format!("old {number}")).collect();
    fs::write(&log, expected.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let keys = "live = [\"*.log\"]\nfresh_for = \"1h\"\n";
    let mount = Mount::of(&format!("{}{keys}", remote.table("near")));
    let file = mount.path("near/a.log");
    let tails = ["-f", "-F"].map(|follow| Tail::start(follow, &file, mount.home().dir()));
    expected.drain(..48);
    for number in 0..4 {
        let shown = || tails.iter().all(|tail| tail.lines() == expected);
        assert!(holds_within(SOON, shown), "{expected:?} but {:?}", tails.each_ref().map(Tail::lines));
        File::options().append(true).open(&log).unwrap().write_all(format!("new {number}\n").as_bytes()).unwrap();
        expected.push(format!("new {number}"));
    }
    assert!(holds_within(SOON, || tails.iter().all(|tail| tail.lines() == expected)));
    for tail in &tails {
        assert_eq!(fs::read_to_string(&tail.errors).unwrap(), "", "nothing was replaced or truncated");
    }
    assert_eq!(fs::read(&file).unwrap(), fs::read(&log).unwrap());
}

#[test]
fn a_growing_local_file_is_followed() {
    shows_each_line_once(&Remote::local());
}

#[test]
fn a_growing_file_of_an_ssh_server_is_followed() {
    shows_each_line_once(&Remote::sftp());
}

#[test]
fn a_growing_file_of_samba_is_followed() {
    shows_each_line_once(&Remote::smb());
}

#[test]
fn a_growing_file_of_a_web_server_is_followed() {
    shows_each_line_once(&Remote::web());
}

#[test]
fn a_growing_file_of_an_ftp_server_is_followed() {
    shows_each_line_once(&Remote::ftp());
}

#[test]
fn a_growing_file_in_a_web_folder_is_followed() {
    shows_each_line_once(&Remote::webdav());
}

#[test]
fn a_growing_object_of_a_bucket_is_followed() {
    shows_each_line_once(&Remote::s3());
}
