//! `Children`: the processes that this one has started and that stay, each with what it starts in its turn, so that none outlives it.
//! It knows not what they are for.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::allocator::without_arena_limit;

/// The time that [`end_all`] gives processes to end after SIGTERM, and after SIGKILL.
const END_TIMEOUTS: [(Signal, Duration); 2] =
    [(Signal::TERM, Duration::from_millis(200)), (Signal::KILL, Duration::from_secs(1))];

/// How often [`end_all`] looks whether they have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The process groups that there are; `None` once [`end_all`] has begun, after which nothing is started any more.
static GROUPS: Mutex<Option<BTreeSet<i32>>> = Mutex::new(Some(BTreeSet::new()));

/// The right to start one process. As long as it is held, [`end_all`] waits.
pub struct Starting(MutexGuard<'static, Option<BTreeSet<i32>>>);

/// The process group of a child, killed when dropped.
#[derive(Debug)]
pub struct Group(Pid);

/// Lets a process be started with this command, as the leader of a group of its own: a signal from the terminal is for this process, which
/// ends its children in its own time.
///
/// # Errors
/// This process is ending.
pub fn starting(command: &mut Command) -> io::Result<Starting> {
    let groups = GROUPS.lock();
    if groups.is_none() {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "kitovufs is ending"));
    }
    without_arena_limit(command).process_group(0);
    Ok(Starting(groups))
}

impl Starting {
    /// The group of the process that was started, by its id.
    pub fn group(mut self, leader: u32) -> Group {
        let leader = i32::try_from(leader).ok().and_then(Pid::from_raw).expect("process ids are positive, and fit");
        if let Some(groups) = &mut *self.0 {
            groups.insert(leader.as_raw_pid());
        }
        Group(leader)
    }
}

impl Group {
    /// Sends every process of the group a signal.
    pub fn signal(&self, signal: Signal) {
        // An error says that no process of the group is left.
        let _ = kill_process_group(self.0, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(groups) = &mut *GROUPS.lock() {
            groups.remove(&self.0.as_raw_pid());
        }
    }
}

/// Ends every group that is left, and returns when its processes have ended, or after 1.2 s. Nothing is started afterwards. Blocks.
pub fn end_all() {
    let Some(mut groups) = GROUPS.lock().take() else { return };
    for (signal, limit) in END_TIMEOUTS {
        let until = Instant::now() + limit;
        groups = running(&groups);
        for group in groups.iter().filter_map(|&group| Pid::from_raw(group)) {
            // An error says that it has ended by now.
            let _ = kill_process_group(group, signal);
        }
        while !groups.is_empty() && Instant::now() < until {
            std::thread::sleep(POLL_INTERVAL);
            groups = running(&groups);
        }
    }
}

/// Whether there is no such process, or only a zombie.
pub fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| running_group(&stat).is_none())
}

/// The groups among these that have a process that has not ended. A zombie has ended.
fn running(groups: &BTreeSet<i32>) -> BTreeSet<i32> {
    if groups.is_empty() {
        return BTreeSet::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    stats.filter_map(|stat| running_group(&stat)).filter(|group| groups.contains(group)).collect()
}

/// The process group of a process with this `stat` file (proc(5)), unless it has ended.
fn running_group(stat: &str) -> Option<i32> {
    // The name, in parentheses, may hold anything.
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ');
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_runs_as_long_as_one_of_its_processes_has_not_ended() {
        assert_eq!(running_group("7 (a) b) S 1 5 5 0 -1 4194560"), Some(5));
        assert_eq!(running_group("7 (a) Z 1 5 5 0 -1 4194560"), None);
        assert_eq!(running_group(""), None);
        let own = rustix::process::getpgrp().as_raw_pid();
        let nobodys = i32::MAX;
        assert_eq!(running(&BTreeSet::from([own, nobodys])), BTreeSet::from([own]));
    }

    #[test]
    fn a_group_that_is_dropped_ends_with_all_of_its_processes() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let starting = starting(&mut command).expect("this process goes on");
        let mut child = command.spawn().expect("there is a shell");
        let group = starting.group(child.id());
        let led = BTreeSet::from([group.0.as_raw_pid()]);
        assert_eq!(running(&led), led);
        drop(group);
        child.wait().expect("it is a child");
        while !running(&led).is_empty() {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}
