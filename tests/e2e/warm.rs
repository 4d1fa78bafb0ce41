//! What an open, a read and a close of a file that is here cost the daemon: system calls, and nothing in the database.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::files::set_modified;
use crate::kit::home::{is_root, text};
use crate::kit::mount::{Mount, requests};
use crate::kit::wait::{SOON, eventually, settled, wait};
use crate::remote::Remote;

const FILES: usize = 1_000;

/// System calls for each open, read and close (docs/architecture.md, "What a warm open costs").
const CALLS: usize = 7;

/// System calls of all files together that timers, and pages that the kernel did not keep, may add.
const SPARE: usize = 200;

/// Calls in which a thread only waits, or wakes another one: how many there are is a matter of time.
const WAITS: [&str; 8] = [
    "futex",
    "clock_nanosleep",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "ppoll",
    "restart_syscall",
    "sched_yield",
];

/// How long after a change the database has it, and more: what is read is noted 20 ms later, a growing copy a second.
const NOTED_AFTER: Duration = Duration::from_secs(2);

/// Everything that the daemon asks of the kernel, from now on.
struct Trace {
    tracer: Child,
    /// It ends if nobody can hear it.
    _said: BufReader<ChildStderr>,
    to: PathBuf,
}

impl Trace {
    fn of(mount: &Mount) -> Self {
        let to = mount.home().dir().join("trace");
        let words = ["-f", "-y", "-o", &text(&to), "-p", &mount.pid().to_string()];
        let mut tracer = mount.home().command("strace").args(words).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(tracer.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(" attached") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "strace has ended");
        }
        Self { tracer, _said: said, to }
    }

    /// Each call with its arguments, as they were begun, in their order.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.to).unwrap();
        let begun = text.lines().filter_map(|line| line.split_once(' ').map(|(_, call)| call.trim_start()));
        // A build that is not for release asks before each close whether that is open.
        let begun =
            begun.filter(|call| call.starts_with(|c: char| c.is_ascii_lowercase()) && !call.contains("F_GETFD"));
        begun.map(str::to_owned).collect()
    }

    fn end(&mut self) {
        kill_process(Pid::from_child(&self.tracer), Signal::INT).unwrap();
        assert!(wait(&mut self.tracer, SOON).is_some(), "strace does not end");
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

fn read_all(mount: &Mount) {
    for n in 0..FILES {
        assert_eq!(fs::read(mount.path(format!("far/{n:04}"))).unwrap().len(), 4096);
    }
}

/// The database and its journal, byte for byte.
fn database(mount: &Mount) -> [Vec<u8>; 2] {
    ["index.sqlite", "index.sqlite-wal"].map(|name| fs::read(mount.home().cache().join(name)).unwrap())
}

/// Waits until nothing more is written to the database.
fn noted(mount: &Mount) -> [Vec<u8>; 2] {
    let hash = || database(mount).iter().flatten().fold(0_u64, |hash, &byte| hash.rotate_left(7) ^ u64::from(byte));
    settled("the database", NOTED_AFTER, hash);
    database(mount)
}

/// A mount of a thousand files of 4 KiB that were read in an earlier run, and in this one.
fn warm() -> (Remote, Mount) {
    let remote = Remote::apache();
    let modified = SystemTime::now() - Duration::from_secs(3600);
    for n in 0..FILES {
        let path = format!("{n:04}");
        remote.put(&path, [7; 4096]);
        // So that its bytes are not held back for being of a file that may be changing.
        set_modified(&remote.dir().join(path), modified);
    }
    let mut mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    read_all(&mount);
    mount.remount();
    assert_eq!(mount.sh("ls far").lines().count(), FILES);
    read_all(&mount);
    (remote, mount)
}

#[test]
fn a_warm_open_writes_nothing_into_the_database() {
    let (_remote, mount) = warm();
    let (before, asked) = (noted(&mount), requests(&mount.status(), "far"));
    (0..3).for_each(|_| read_all(&mount));
    assert!(noted(&mount) == before, "the database has changed");
    assert_eq!(requests(&mount.status(), "far"), asked);
}

#[test]
fn a_warm_open_takes_the_stated_number_of_system_calls() {
    if !is_root() {
        println!("skipped: only root may trace a process that is none of its own children");
        return;
    }
    let (_remote, mount) = warm();
    noted(&mount);
    let mut trace = Trace::of(&mount);
    read_all(&mount);
    // The copies' files are closed by a thread of their own.
    let copies = format!("<{}/objects/", text(fs::canonicalize(mount.home().cache()).unwrap()));
    let closed = |call: &&String| call.starts_with("close(") && call.contains(&copies);
    eventually("all are closed", || trace.calls().iter().filter(closed).count() >= FILES);
    thread::sleep(NOTED_AFTER);
    trace.end();

    let calls = trace.calls();
    let mut counts = BTreeMap::<&str, usize>::new();
    for call in &calls {
        *counts.entry(call.split('(').next().unwrap_or_default()).or_default() += 1;
    }
    println!("{counts:?}");
    let index: Vec<_> = calls.iter().filter(|call| call.contains("index.sqlite")).collect();
    assert!(index.is_empty(), "{} calls about the database, the first being {:#?}", index.len(), index[0]);
    let of_opens: usize = counts.iter().filter(|(name, _)| !WAITS.contains(name)).map(|(_, count)| count).sum();
    assert!(of_opens >= 5 * FILES, "{of_opens} calls: not all were seen");
    assert!(of_opens <= CALLS * FILES + SPARE, "{of_opens} calls for {FILES} files: {counts:?}");
}
