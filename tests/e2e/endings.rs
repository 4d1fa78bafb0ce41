//! What a test starts ends with it, however it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kit::azurite::Azurite;
use crate::kit::home::is_mounted;
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::kit::wait::{eventually, kill};
use crate::remote::Remote;

/// Set for a test program that is to be killed.
const VICTIM: &str = "KITOVUFS_TEST_VICTIM";

#[test]
fn a_server_behind_a_wrapper_ends_with_its_value() {
    let own = reaper::temporary();
    let azurite = Azurite::start(own.path(), true);
    let port = azurite.port().to_string();
    // One more than the wrapper, where the program that starts Node.js is one.
    assert!(!reaper::marked(&port).is_empty());
    drop(azurite);
    eventually("all of its processes have ended", || reaper::marked(&port).is_empty());
}

#[test]
fn a_test_program_that_is_killed_leaves_nothing_behind() {
    let name = "endings::stays_until_it_is_killed";
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args([name, "--exact", "--ignored", "--nocapture"]).env(VICTIM, "yes").stdout(Stdio::piped());
    let temporary = reaper::temporary();
    victim.env("TMPDIR", temporary.path());
    // Its own mark, not this program's.
    let mut victim = reaper::unmarked(&mut victim).process_group(0).spawn().unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told: Vec<String> = lines.filter_map(|line| Some(line.split_once("started: ")?.1.to_owned())).take(3).collect();
    let [mountpoint, dir, pids] = told.try_into().expect("it starts");
    let (mountpoint, dir): (PathBuf, &Path) = (mountpoint.into(), Path::new(&dir));
    let pids: Vec<_> = pids.split(' ').map(|pid| Path::new("/proc").join(pid)).collect();
    assert!(is_mounted(&mountpoint) && dir.is_dir());
    assert!(
        pids.len() >= 3 && pids.iter().all(|pid| pid.is_dir()),
        "a daemon, a server, a process of the test: {pids:?}"
    );
    kill(&mut victim);
    eventually("its processes have ended", || pids.iter().all(|pid| !pid.is_dir()));
    eventually("its mount is gone", || !is_mounted(&mountpoint));
    let is_empty = || fs::read_dir(temporary.path()).unwrap().count() == 0;
    eventually("its directories are gone", || !dir.exists() && is_empty());
}

#[test]
#[ignore = "another test runs it"]
fn stays_until_it_is_killed() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let remote = Remote::webdav();
    remote.put("file", "bytes");
    let mount = Mount::of(&remote.table("far"));
    assert_eq!(fs::read(mount.path("far/file")).unwrap(), b"bytes");
    // The shell is a wrapper, which would outlive a kill of itself alone.
    let mut wrapper = reaper::spawn(Command::new("sh").args(["-c", "sleep 1000; true"]));
    eventually("the wrapper has started its program", || !reaper::marked("1000").is_empty());
    let program = remote.dir().ancestors().nth(2).unwrap().to_owned();
    println!("started: {}", mount.home().mountpoint().display());
    println!("started: {}", program.display());
    let pids: Vec<_> = reaper::marked("").iter().map(u32::to_string).collect();
    println!("started: {}", pids.join(" "));
    wrapper.wait().unwrap();
}
