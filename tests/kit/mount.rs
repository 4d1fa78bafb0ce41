//! `Mount`: the real program, mounted for one test and gone with it, however it ends. It knows no server.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The user `nobody`, as whom a test run by root proves that a user without privileges can mount.
const NOBODY: u32 = 65534;

/// Longer than anything that is allowed to happen, shorter than patience.
pub const SOON: Duration = Duration::from_secs(30);

/// A mount that lives longer than this is taken for hung, and killed so that the test fails rather than hangs with it.
const LIFE: Duration = Duration::from_secs(240);

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
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { dir, nobody: false, env: Vec::new(), tracer: Vec::new() }.furnished(config)
    }

    /// A home with this configuration, of a user without privileges: `nobody` if root runs the tests, else whoever does.
    pub fn of_nobody(config: &str) -> Self {
        if !is_root() {
            return Self::of(config);
        }
        // The build directory may be where only root may go.
        let dir = TempDir::new().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Self { dir, nobody: true, env: Vec::new(), tracer: Vec::new() };
        fs::copy(env!("CARGO_BIN_EXE_kitovufs"), home.binary()).unwrap();
        home.furnished(config)
    }

    fn furnished(self, config: &str) -> Self {
        for dir in ["mnt", "cache", "state", "run", "config"] {
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
        if self.nobody { self.dir.path().join("kitovufs") } else { env!("CARGO_BIN_EXE_kitovufs").into() }
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
        command
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", at("config"))
            .env("XDG_CACHE_HOME", at("cache"))
            .env("XDG_STATE_HOME", at("state"))
            .env("XDG_RUNTIME_DIR", at("run"))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
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

    /// Mounts and waits until the folder answers.
    pub fn mount(self) -> Mount {
        let mut mount = Mount { home: self, daemon: None };
        mount.start();
        mount
    }

    /// Whether a live file system is mounted. Asked as its user, for whom alone it is; and asked what the kernel does not
    /// remember, because of a dead one it remembers much.
    fn answers(&self) -> bool {
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
        let mut words = self.home.tracer.iter().map(Into::into).chain([self.home.binary()]);
        let mut child = self
            .home
            .command(words.next().expect("the daemon is one of them"))
            .args(words)
            .args(["mount", "-f", "-c"])
            .arg(self.home.config())
            .arg(self.home.mountpoint())
            .stdout(Stdio::null())
            .stderr(File::create(self.log_path()).unwrap())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !self.home.answers() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("mount ended with {status}:\n{}", self.log());
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
        let output = self.home.command("fusermount3").arg("-u").arg(self.home.mountpoint()).output().unwrap();
        assert!(output.status.success(), "fusermount3 -u: {}", String::from_utf8_lossy(&output.stderr));
        let status = self.ended().unwrap_or_else(|| panic!("the daemon did not end:\n{}", self.log()));
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
        self.log()
    }

    /// Waits until the daemon has ended by itself; `None` if it does not, and then it is killed.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let mut daemon = self.daemon.take()?;
        let status = wait(&mut daemon.child, SOON);
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

/// Whether a file system of ours is mounted at `path`, dead or alive.
pub fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| {
        let (left, right) = line.split_once(" - ").expect("proc(5): a separator is in every line");
        left.split(' ').nth(4) == Some(text(path).as_str()) && right.starts_with("fuse")
    })
}

fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let mut status = None;
    let ended = holds_within(deadline, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    ended.then_some(status).flatten()
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until `condition` holds and says whether it ever did.
#[must_use]
pub fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` holds; fails the test if it does not within [`SOON`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(SOON, condition), "still not, after {SOON:?}: {what}");
}

/// Whether root runs the tests.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A path as text; the kit's own paths are.
pub fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("the kit's paths are text").to_owned()
}

/// The table of a local source.
pub fn local(name: &str, path: &Path) -> String {
    format!("[sources.{name}]\ntype = \"local\"\npath = {path:?}\n")
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

/// A source of random numbers that says how to get the same ones again.
pub fn random() -> StdRng {
    const SEED: &str = "KITOVUFS_TEST_SEED";
    let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| rand::rng().random());
    println!("to repeat this: {SEED}={seed}");
    StdRng::seed_from_u64(seed)
}

/// Random bytes; never two blocks of 4 KiB alike. Fast enough for a gibibyte.
pub fn noise(length: usize, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let (first, rest) = bytes.split_at_mut(length.min(1 << 20));
    random.fill_bytes(first);
    for (number, chunk) in (1_u64..).zip(rest.chunks_mut(1 << 20)) {
        chunk.copy_from_slice(&first[..chunk.len()]);
        for block in chunk.chunks_exact_mut(4096) {
            block[..8].copy_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// Fills `dir` with a random tree of `files` files whose names and sizes a share of documents might have.
///
/// Times are whole seconds in the past, because that is what every protocol can say. No directory is empty, because a bucket
/// knows none, and there are no links, because WebDAV and S3 know none.
pub fn tree(dir: &Path, files: usize) {
    const WORDS: [&str; 12] =
        ["report", "Übung 3", "a b", "100%", "x#1", "q?a", "R&D", "1+1=2", "日本", "it's", "[draft]", "README"];
    let mut random = random();
    let mut dirs = vec![dir.to_owned()];
    fs::create_dir_all(dir).unwrap();
    for number in 0..files {
        if number % 40 == 0 {
            let parent = &dirs[random.random_range(0..dirs.len())];
            // Shallow, so that paths stay short enough for every server.
            let parent = if parent.components().count() > dir.components().count() + 6 { dir } else { parent };
            let made = parent.join(format!("{} {number}", WORDS[random.random_range(0..WORDS.len())]));
            fs::create_dir(&made).unwrap();
            dirs.push(made);
        }
        let word = WORDS[random.random_range(0..WORDS.len())];
        let inside = if number % 40 == 0 { dirs.len() - 1 } else { random.random_range(0..dirs.len()) };
        let path = dirs[inside].join(format!("{word}-{number}.dat"));
        let size = match random.random_range(0..100) {
            0 => 0,
            1..90 => random.random_range(1..8 << 10),
            _ => random.random_range(8 << 10..300 << 10),
        };
        fs::write(&path, noise(size, &mut random)).unwrap();
        let age = Duration::from_secs(random.random_range(60..300_000_000));
        set_modified(&path, whole_seconds(SystemTime::now() - age));
    }
}

/// Sets a file's modification time.
pub fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).expect("the time is after 1970").as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
