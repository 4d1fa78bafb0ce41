//! `Reaper`: ends what a test program started, also when the program is killed. It knows processes and mounts, and no server.
//!
//! A shell waits for the program's end, which closes the shell's standard input. It then kills every process that bears the program's mark in
//! its environment, unmounts what is mounted in the program's directories, and removes them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// The environment variable that marks the processes of one test program.
const MARK: &str = "KITOVUFS_TEST_PROGRAM";

/// The environment variable by which `scripts/test` recognises what belongs to its run.
const RUN: &str = "KITOVUFS_TEST_RUN";

/// The environment variable that names another directory than `target/tmp` for what tests keep on disk.
const DIR: &str = "KITOVUFS_TEST_DIR";

const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
mark=$1
shift
cat >/dev/null
for round in 1 2 3 4 5 6 7 8 9 10; do
    marked=$(grep -lzx "$mark" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3)
    [ -n "$marked" ] || break
    kill -KILL $marked 2>/dev/null
    sleep 0.1
done
for dir; do
    cut -d' ' -f5 /proc/self/mountinfo | grep -F "$dir/" | while read -r mounted; do fusermount3 -uz "$mounted"; done
    rm -rf --one-file-system "$dir"
done
"#;

struct Reaper {
    mark: String,
    dir: PathBuf,
    /// As `dir`, where any user can go.
    reachable: PathBuf,
    /// Its standard input stays open as long as this program lives.
    _shell: Child,
}

static REAPER: LazyLock<Reaper> = LazyLock::new(|| {
    let run = std::env::var(RUN).unwrap_or_else(|_| "run".to_owned());
    let name = format!("{run}.{}.{:08x}", std::process::id(), rand::random::<u32>());
    // `target/tmp`, which Cargo makes for tests.
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).expect("the program is in a directory");
    let dir = std::env::var_os(DIR).map_or_else(|| profile.with_file_name("tmp"), PathBuf::from).join(&name);
    let reachable = std::env::temp_dir().join(&name);
    fs::create_dir_all(&dir).unwrap();
    fs::create_dir(&reachable).unwrap();
    fs::set_permissions(&reachable, fs::Permissions::from_mode(0o755)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "reaper", &format!("{MARK}={name}")]).args([&dir, &reachable]);
    unmarked(&mut shell).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Reaper { mark: name, dir, reachable, _shell: shell.spawn().expect("sh starts") }
});

/// Marks a command as one of this program, so that what it starts ends with the program at the latest.
pub fn mark(command: &mut Command) -> &mut Command {
    command.env(MARK, &REAPER.mark)
}

/// Takes the mark of an outer test program from a command.
pub fn unmarked(command: &mut Command) -> &mut Command {
    command.env_remove(MARK)
}

/// A temporary directory on the disk of the build directory, or the one that is named by `KITOVUFS_TEST_DIR`.
pub fn temporary() -> TempDir {
    TempDir::new_in(&REAPER.dir).unwrap()
}

/// A temporary directory that can be shown to any user; the build directory may be where only root may go.
pub fn reachable() -> TempDir {
    TempDir::new_in(&REAPER.reachable).unwrap()
}

/// Starts a command that stays: marked, in a process group of its own.
pub fn spawn(command: &mut Command) -> Child {
    mark(command).process_group(0).spawn().expect("a program that was found starts")
}

/// Ends a process that [`spawn`] started, and what it started in its turn.
pub fn end(child: &mut Child) {
    // Errors say that all have ended by themselves.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// The processes of this program that have this text in their command lines, as [`mark`] makes them known.
pub fn marked(text: &str) -> Vec<u32> {
    let mark = format!("{MARK}={}", REAPER.mark);
    let has = |pid: u32, file: &str, wanted: &dyn Fn(&[u8]) -> bool| {
        fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(wanted))
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let ours = |pid: &u32| {
        has(*pid, "environ", &|variable| variable == mark.as_bytes())
            && has(*pid, "cmdline", &|argument| String::from_utf8_lossy(argument).contains(text))
    };
    all.filter(ours).collect()
}
