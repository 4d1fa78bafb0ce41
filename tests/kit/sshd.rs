//! OpenSSH for tests: a server on loopback that lets in its own user with its own key, and an agent that holds the key.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::reaper;
use super::servers::{find, free_port, started};

/// How long a program may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that shows everything that its user may see; [`Sshd::table`] shows a directory of it.
#[derive(Debug)]
pub struct Sshd {
    dir: PathBuf,
    /// Configuration, keys and log.
    own: TempDir,
    port: u16,
    /// Where clients are sent; another port than its own if something is in between.
    shown_port: u16,
    child: Option<Child>,
}

impl Sshd {
    /// Starts a server; `dir` is what its tables show.
    pub fn run(dir: &Path) -> Self {
        if rustix::process::geteuid().is_root() {
            // Where the server, as root, locks the part of it in that talks to strangers.
            std::fs::create_dir_all("/run/sshd").expect("root may do this");
        }
        let own = reaper::reachable();
        keygen(&own.path().join("host_key"), "");
        keygen(&own.path().join("key"), "");
        let dir = dir.canonicalize().expect("the directory to serve is there");
        let mut server = Self { dir, own, port: 0, shown_port: 0, child: None };
        server.copy("key.pub", "authorized_keys");
        for _ in 0..10 {
            server.port = free_port();
            server.write_config();
            if server.try_start() {
                server.reach_through(server.port);
                return server;
            }
        }
        panic!("sshd does not start; its log:\n{}", server.log());
    }

    /// The table of a source that logs in with the right key, in TOML.
    pub fn table(&self) -> String {
        format!("{}key = \"{}\"\n", self.table_without_key(), self.file("key").display())
    }

    /// The same, without anything to log in with.
    pub fn table_without_key(&self) -> String {
        format!(
            "type = \"sftp\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"{}\"\nknown_hosts = \"{}\"\nroot = \"{}\"\n",
            self.shown_port,
            user(),
            self.file("known_hosts").display(),
            self.dir.display(),
        )
    }

    /// A configuration of `ssh` in which this server is called `alias`, and the table of a source that uses it.
    pub fn table_with_alias(&self, alias: &str) -> String {
        let (config, known_hosts, key) = (self.file("ssh_config"), self.file("known_hosts"), self.file("key"));
        let text = format!(
            "Host {alias}\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n",
            self.shown_port,
            user(),
            key.display(),
            known_hosts.display(),
        );
        std::fs::write(&config, text).expect("a file");
        let (dir, config) = (self.dir.display(), config.display());
        format!("type = \"sftp\"\nhost = \"{alias}\"\nssh_config = \"{config}\"\nroot = \"{dir}\"\n")
    }

    /// One of the server's own files: `key`, `known_hosts`, `host_key`, or whatever a test puts there.
    pub fn file(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }

    /// The port of loopback that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets tables lead to a port that leads here, and notes this server as known there.
    pub fn reach_through(&mut self, port: u16) {
        self.shown_port = port;
        let key = std::fs::read_to_string(self.file("host_key.pub")).expect("a key");
        std::fs::write(self.file("known_hosts"), format!("[127.0.0.1]:{port} {key}")).expect("a file");
    }

    /// Gives the server another host key, from its next start on.
    pub fn change_host_key(&self) {
        for name in ["host_key", "host_key.pub"] {
            std::fs::remove_file(self.file(name)).expect("it is there");
        }
        keygen(&self.file("host_key"), "");
    }

    /// Ends the server and every connection with it. Nothing to do if it has ended.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let listener = Pid::from_child(&child);
        // Each connection has processes of its own, which outlive the listener.
        let mut all = vec![listener];
        let mut next = 0;
        while let Some(pid) = all.get(next).copied() {
            all.extend(children(pid));
            next += 1;
        }
        for pid in all {
            // One that has ended meanwhile is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
        child.wait().expect("a child can be waited for");
    }

    /// Starts the server again, on the same port.
    pub fn start(&mut self) {
        self.stop();
        let deadline = Instant::now() + PATIENCE;
        while !self.try_start() {
            assert!(Instant::now() < deadline, "sshd does not start again; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How many connections there are now.
    pub fn connections(&self) -> usize {
        self.child.as_ref().map_or(0, |child| children(Pid::from_child(child)).len())
    }

    /// What the server had to say.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.file(from), self.file(to)).expect("a file");
    }

    fn write_config(&self) {
        let own = self.own.path().display();
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {own}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n\
             AuthorizedKeysFile {own}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nMaxStartups 100\nLogLevel VERBOSE\nSubsystem sftp internal-sftp\n",
            self.port
        );
        std::fs::write(self.file("sshd_config"), text).expect("a file");
    }

    /// Starts the process and waits until it answers. False if it ended, as it does when its port is taken.
    fn try_start(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.file("log")).expect("a log file");
        let mut command = Command::new(find("sshd", None));
        command.arg("-D").arg("-e").arg("-f").arg(self.file("sshd_config"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = started(command, self.port, PATIENCE);
        self.child.is_some()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An agent; it ends with this value.
#[derive(Debug)]
pub struct Agent {
    own: TempDir,
    child: Child,
}

impl Agent {
    /// Starts an agent and hands it keys.
    pub fn with(keys: &[&Path]) -> Self {
        let own = reaper::reachable();
        let socket = own.path().join("socket");
        let mut command = Command::new(find("ssh-agent", None));
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let agent = Self { own, child: reaper::spawn(&mut command) };
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "ssh-agent does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        for key in keys {
            let mut command = Command::new(find("ssh-add", None));
            command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null());
            assert!(command.status().expect("ssh-add runs").success());
        }
        agent
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.own.path().join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        reaper::end(&mut self.child);
    }
}

/// Makes a key, encrypted if there is a passphrase, and its public half beside it.
pub fn keygen(file: &Path, passphrase: &str) {
    let mut command = Command::new(find("ssh-keygen", None));
    command.args(["-q", "-t", "ed25519", "-C", "kit", "-N", passphrase, "-f"]).arg(file).stdin(Stdio::null());
    assert!(command.status().expect("ssh-keygen runs").success());
}

/// Who runs the tests, and therefore may log in.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

fn children(parent: Pid) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_ascii_whitespace().nth(1) == Some(&parent.as_raw_nonzero().to_string())
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}
