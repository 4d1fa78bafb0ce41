//! `Mount`: the real program, mounted for one test and gone with it, however it ends. It knows no server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::home::{Home, text};
use super::wait::{SOON, holds_within, kill, wait};

/// A mount that lives longer than this is taken for hung, and killed so that the test fails rather than hangs with it.
const LIFE: Duration = Duration::from_secs(240);

/// How long a clean end may take: it syncs the disk, to which others may have written much.
const TIDY: Duration = Duration::from_secs(120);

/// What the daemon may take of the machine's memory, in bytes (docs/semantics.md, "Memory is bounded"): 24 MiB in flight, 16 MiB of blocks without a
/// place on disk, itself, and what many readers wait for.
pub const MEMORY: u64 = 96 << 20;

/// The same while one program reads, with a place on disk.
pub const MEMORY_FOR_ONE: u64 = 64 << 20;

/// How much of a program that was built for release is in memory, in bytes. Others have more of it there.
const PROGRAM: u64 = 16 << 20;

/// A mounted configuration. Dropping it unmounts and kills.
#[derive(Debug)]
pub struct Mount {
    home: Home,
    daemon: Option<Daemon>,
}

#[derive(Debug)]
struct Daemon {
    child: Child,
    /// Closed when the daemon has ended, which calls off the watch.
    _watch: mpsc::Sender<()>,
}

impl Home {
    /// Mounts and waits until the folder answers.
    pub fn mount(self) -> Mount {
        let mut mount = Mount { home: self, daemon: None };
        mount.start();
        mount
    }
}

impl Mount {
    /// Mounts this configuration.
    pub fn of(config: &str) -> Self {
        Home::of(config).mount()
    }

    /// The same, as a user without privileges. Nobody else can read this mount: use [`Mount::sh`].
    pub fn of_nobody(config: &str) -> Self {
        Home::of_nobody(config).mount()
    }

    fn start(&mut self) {
        if let Err(said) = self.try_start() {
            panic!("mount ended:\n{said}");
        }
    }

    fn spawn(&self) -> Child {
        let mut daemon = self.home.daemon();
        daemon.args(["mount", "-f", "-c"]).arg(self.home.config()).arg(self.home.mountpoint());
        daemon.stdout(Stdio::null()).stderr(File::create(self.log_path()).unwrap()).spawn().unwrap()
    }

    /// Mounts; what the program said if it ended instead.
    fn try_start(&mut self) -> Result<(), String> {
        let mut child = self.spawn();
        let begun = Instant::now();
        while !self.home.answers() {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("{status}: {}", self.log()));
            }
            if begun.elapsed() > SOON {
                kill(&mut child);
                panic!("nothing mounted within {SOON:?}:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
        let pid = Pid::from_child(&child);
        let (watch, ended) = mpsc::channel();
        thread::spawn(move || {
            if ended.recv_timeout(LIFE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("the daemon has lived for {LIFE:?}: it is taken for hung and killed");
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        self.daemon = Some(Daemon { child, _watch: watch });
        Ok(())
    }

    /// Starts the daemon and kills it after so long, wherever it is by then. Nothing may be mounted alive.
    pub fn start_and_kill(&self, after: Duration) {
        let mut child = self.spawn();
        thread::sleep(after);
        kill(&mut child);
    }

    /// Mounts what is not mounted, with the same configuration and cache.
    ///
    /// # Errors
    /// What the program said if it ended instead.
    pub fn try_remount(&mut self) -> Result<(), String> {
        assert!(self.daemon.is_none(), "it is mounted");
        self.try_start()
    }

    /// A place in the mounted folder, such as `docs/a.txt`.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.home.mountpoint().join(below)
    }

    /// Whose mount it is.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").child.id()
    }

    fn log_path(&self) -> PathBuf {
        self.home.dir().join("log")
    }

    /// What the daemon wrote to standard error since it was last started.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The most memory that the daemon has ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The same if no more of the program itself were in memory than of one that was built for release.
    pub fn peak_memory_in_release(&self) -> u64 {
        let program = self.memory("RssFile:");
        self.peak_memory() - program + program.min(PROGRAM)
    }

    fn memory(&self, of: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(of)).expect("proc(5) has it");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// `kitovufs status --json`.
    pub fn status(&self) -> serde_json::Value {
        let output = self.home.kitovufs(["status", "--json", &text(self.home.mountpoint())]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "status ended with {}: {said}", output.status);
        serde_json::from_slice(&output.stdout).expect("status prints JSON")
    }

    /// Runs a shell script as the mount's user, in the mounted folder, and returns what it prints. It must succeed.
    pub fn sh(&self, script: &str) -> String {
        let output = self.home.command("sh").arg("-euc").arg(format!("cd mnt\n{script}")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{script}` ended with {}: {said}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills the daemon as a crash would, which leaves a dead mount point.
    pub fn kill9(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            kill(&mut daemon.child);
        }
    }

    /// Unmounts from outside, as a user does, and returns the log. The daemon must end by itself and be content.
    pub fn unmount(&mut self) -> String {
        // A program that another test starts inherits what this one has open, until it runs, and the folder is in use for so long.
        let unmount = || self.home.command("fusermount3").arg("-u").arg(self.home.mountpoint()).output().unwrap();
        let mut output = unmount();
        let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        let _ = holds_within(SOON, || {
            let is_busy = !output.status.success() && said(&output).contains("busy");
            if is_busy {
                output = unmount();
            }
            !is_busy
        });
        assert!(output.status.success(), "fusermount3 -u: {}", said(&output));
        let status = self.ended().unwrap_or_else(|| panic!("the daemon did not end:\n{}", self.log()));
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
        self.log()
    }

    /// Waits until the daemon has ended by itself; `None` if it does not, and then it is killed.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let mut daemon = self.daemon.take()?;
        let status = wait(&mut daemon.child, TIDY);
        if status.is_none() {
            kill(&mut daemon.child);
        }
        status
    }

    /// Mounts again, with the same configuration and cache; unmounts first if need be.
    pub fn remount(&mut self) {
        if self.daemon.is_some() {
            self.unmount();
        }
        self.start();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        // Lazily, because a test that failed may still have files open; the home does it again if this was too early.
        let _ = Command::new("fusermount3").arg("-uz").arg(self.home.mountpoint()).output();
        self.kill9();
    }
}

/// How often a source was asked: `list_path`, `create_remote_digest`, `retrieve_file`.
pub fn requests(status: &serde_json::Value, source: &str) -> (u64, u64, u64) {
    let count = |kind: &str| number(status, &format!("/sources/{source}/requests/{kind}"));
    (count("list_path"), count("create_remote_digest"), count("retrieve_file"))
}

/// How many bytes came from a source.
pub fn bytes_retrieved(status: &serde_json::Value, source: &str) -> u64 {
    number(status, &format!("/sources/{source}/bytes_retrieved"))
}

/// A number in the status, by its JSON pointer.
pub fn number(status: &serde_json::Value, pointer: &str) -> u64 {
    let found = status.pointer(pointer).and_then(serde_json::Value::as_u64);
    found.unwrap_or_else(|| panic!("no number at {pointer} in {status:#}"))
}
