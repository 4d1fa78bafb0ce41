//! `Home`: where a user of the real program has things, for one test. It mounts nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

use super::reaper;
use super::wait::{SOON, kill, wait};

/// The user `nobody`, as whom a test run by root proves that a user without privileges can mount.
const NOBODY: u32 = 65534;

/// Where a user has things: configuration, cache, state, mount point. All of it in one directory that goes with the test.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    nobody: bool,
    env: Vec<(String, String)>,
    tracer: Vec<String>,
}

impl Home {
    /// A home with this configuration, of whoever runs the tests.
    pub fn of(config: &str) -> Self {
        let dir = reaper::temporary();
        Self { dir, nobody: false, env: Vec::new(), tracer: Vec::new() }.furnished(config)
    }

    /// A home with this configuration, of a user without privileges: `nobody` if root runs the tests, else whoever does.
    pub fn of_nobody(config: &str) -> Self {
        if !is_root() {
            return Self::of(config);
        }
        let dir = reaper::reachable();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Self { dir, nobody: true, env: Vec::new(), tracer: Vec::new() };
        // By a process of its own: a child that another test forks while this one writes would keep the program from being started.
        home.run_tool(Command::new("cp").arg(program()).arg(home.binary()));
        home.furnished(config)
    }

    fn furnished(self, config: &str) -> Self {
        for dir in ["mnt", "cache", "state", "run", "config", "tmp"] {
            fs::create_dir(self.dir.path().join(dir)).unwrap();
        }
        fs::set_permissions(self.dir.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        self.configure(config);
        if self.nobody {
            self.run_tool(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(self.dir.path()));
        }
        self
    }

    /// Writes another configuration in place of the first.
    pub fn configure(&self, config: &str) {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(self.config()).unwrap();
        file.write_all(config.as_bytes()).unwrap();
    }

    /// Sets an environment variable for every command run from here.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs the daemon under a program that begins with these words, and that must become the daemon's process.
    #[must_use]
    pub fn traced_by<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.tracer = words.into_iter().map(Into::into).collect();
        self
    }

    /// The directory that holds everything else; a place for a test's own things.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the sources appear.
    pub fn mountpoint(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("kitovufs.toml")
    }

    /// The cache directory that the program chooses by itself.
    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache/kitovufs")
    }

    /// The program.
    pub fn binary(&self) -> PathBuf {
        if self.nobody { self.dir.path().join("kitovufs") } else { program().into() }
    }

    /// Any program, run by this home's user in this home.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = if self.nobody {
            // In full, because a test may take PATH away.
            let mut setpriv = Command::new("/usr/bin/setpriv");
            setpriv.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"]);
            setpriv.arg(program);
            setpriv
        } else {
            Command::new(program)
        };
        let at = |name: &str| self.dir.path().join(name);
        reaper::mark(&mut command)
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", at("config"))
            .env("XDG_CACHE_HOME", at("cache"))
            .env("XDG_STATE_HOME", at("state"))
            .env("XDG_RUNTIME_DIR", at("run"))
            // Who runs the tests may have one of their own, where this home's user cannot write.
            .env("TMPDIR", at("tmp"))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// The program as the daemon that it becomes, under its tracer if there is one; its arguments are missing.
    pub fn daemon(&self) -> Command {
        let mut words = self.tracer.iter().map(Into::into).chain([self.binary()]);
        let mut command = self.command(words.next().expect("the daemon is one of them"));
        command.args(words);
        command
    }

    /// Runs `kitovufs ARGS` to its end, which must come soon.
    pub fn kitovufs<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.kitovufs_told(args, "")
    }

    /// The same, with something on standard input.
    pub fn kitovufs_told<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &str) -> Output {
        let told = self.dir.path().join("in");
        fs::write(&told, input).unwrap();
        let (out, err) = (self.dir.path().join("out"), self.dir.path().join("err"));
        let mut child = self
            .command(self.binary())
            .args(args)
            .stdin(File::open(&told).unwrap())
            // To files: a daemon that goes on living holds its pipes open.
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let status = wait(&mut child, SOON);
        if status.is_none() {
            kill(&mut child);
        }
        let (stdout, stderr) = (fs::read(&out).unwrap(), fs::read(&err).unwrap());
        let status = status.unwrap_or_else(|| panic!("kitovufs did not end: {}", String::from_utf8_lossy(&stderr)));
        Output { status, stdout, stderr }
    }

    /// Runs `kitovufs mount -f` where it is expected to fail, and returns its exit code and what it said.
    pub fn refusal(&self) -> (i32, String) {
        let output = self.kitovufs(["mount", "-f", "-c", &text(self.config()), &text(self.mountpoint())]);
        (output.status.code().expect("it ended by itself"), String::from_utf8(output.stderr).unwrap())
    }

    /// Whether a live file system is mounted. Asked as its user, for whom alone it is; and asked what the kernel does not
    /// remember, because of a dead one it remembers much.
    pub fn answers(&self) -> bool {
        const FUSE: &[u8] = b"65735546\n";
        let asked = self.command("stat").args(["--file-system", "--format=%t"]).arg(self.mountpoint()).output();
        asked.unwrap().stdout == FUSE
    }

    fn run_tool(&self, command: &mut Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if is_mounted(&self.mountpoint()) {
            let _ = Command::new("fusermount3").arg("-uz").arg(self.mountpoint()).output();
        }
    }
}

/// Whether a file system of ours is mounted at `path`, dead or alive.
pub fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| {
        let (left, right) = line.split_once(" - ").expect("proc(5): a separator is in every line");
        left.split(' ').nth(4) == Some(text(path).as_str()) && right.starts_with("fuse")
    })
}

/// The program of the build that this test program is part of.
///
/// Only the tests of the program's own package learn its path from Cargo, as a constant when they are compiled. The kit looks for it above the
/// directory of the test program (`target/debug/deps`): Cargo puts it there (`target/debug`) before it compiles the tests.
pub fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        let mut places = test.ancestors().skip(1).map(|dir| dir.join("kitovufs"));
        let found = places.find(|place| place.is_file());
        found.unwrap_or_else(|| {
            panic!("no kitovufs in a directory above {}; `cargo build` puts it there", test.display())
        })
    });
    &PROGRAM
}

/// Whether root runs the tests.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A path as text; the kit's own paths are.
pub fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("the kit's paths are text").to_owned()
}

/// Makes the key of a circle of machines. The line of `[shared]` of those who have it.
pub fn new_key(place: &Path) -> String {
    let made = Home::of("").kitovufs(["shared", "key", "new", &text(place)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    key_line(place)
}

/// Makes a key for signatures: the line of `[shared]` of its owner, and what others trust.
pub fn new_signing_key(place: &Path) -> (String, String) {
    let made = Home::of("").kitovufs(["shared", "key", "new", "--signing", &text(place)]);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    let public = said.split("trusted = [\"").nth(1).and_then(|rest| rest.split('"').next());
    let public = public.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&made.stderr))).to_owned();
    (format!("signing_{}", key_line(place)), public)
}

/// The line of `[shared]` that names the file of a key.
pub fn key_line(place: &Path) -> String {
    format!("key = {{ file = \"{}\" }}\n", place.display())
}

/// The table of a local source.
pub fn local(name: &str, path: &Path) -> String {
    format!("[sources.{name}]\ntype = \"local\"\npath = {path:?}\n")
}
