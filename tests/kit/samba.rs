//! A real Samba server for tests, on loopback, for as long as its value lives.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::reaper;
use super::servers::{find, free_port};

/// How long the server may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often another port is tried if somebody else took the one that was free.
const ATTEMPTS: usize = 10;
/// The user that the server accepts, in the system's eyes whoever runs the tests.
const USER: (&str, &str) = ("anna", "kit-password-Z9y");

/// `smbd` with signing mandatory. Its shares all show the same directory: `kit` to the user, `open` to guests too,
/// `nobodys` as somebody who owns nothing, `sealed` with encryption, `locked` to nobody.
///
/// It needs no root, but an ordinary user has to be in the system's list of users.
#[derive(Debug)]
pub struct Samba {
    dir: PathBuf,
    /// Configuration, passwords, databases, logs.
    own: TempDir,
    port: u16,
    child: Option<Child>,
    extra: String,
}

impl Samba {
    /// Serves `dir`.
    pub fn run(dir: &Path) -> Self {
        Self::run_with(dir, "")
    }

    /// Serves `dir`, with more lines in the configuration's section for the whole server.
    pub fn run_with(dir: &Path, extra: &str) -> Self {
        let own = reaper::reachable();
        let dir = dir.canonicalize().expect("the directory to serve is there");
        let mut samba = Self { dir, own, port: 0, child: None, extra: extra.to_owned() };
        for attempt in 0..ATTEMPTS {
            samba.port = free_port();
            samba.write_config();
            if attempt == 0 {
                samba.add_user();
            }
            if samba.try_start() {
                return samba;
            }
        }
        panic!("smbd does not start; its log:\n{}", samba.log());
    }

    /// The port of loopback that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The table of a source that shows `share` to the user, in TOML.
    pub fn table(&self, share: &str) -> String {
        format!("{}username = \"{}\"\npassword = \"{}\"\n", self.address(share), USER.0, USER.1)
    }

    /// The same for a guest.
    pub fn guest_table(&self, share: &str) -> String {
        format!("{}guest = true\n", self.address(share))
    }

    fn address(&self, share: &str) -> String {
        format!("type = \"smb\"\nhostname = \"127.0.0.1\"\nport = {}\nshare = \"{share}\"\n", self.port)
    }

    /// Runs `smbclient` as the user, as another client of the server.
    pub fn client(&self, share: &str, commands: &str) -> String {
        let output = self.smbclient(share).args(["-c", commands]).output().expect("smbclient starts");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Another client, which has a file open until the value is dropped.
    pub fn client_that_holds(&self, share: &str, path: &str) -> Holder {
        let mut child = reaper::spawn(self.smbclient(share).stdin(Stdio::piped()).stdout(Stdio::null()));
        let stdin = child.stdin.as_mut().expect("it is piped");
        stdin.write_all(format!("open {path}\n").as_bytes()).expect("it reads commands");
        let holder = Holder(child);
        let deadline = Instant::now() + PATIENCE;
        while !self.open_files().contains(&self.dir.join(path)) {
            assert!(Instant::now() < deadline, "the other client opens nothing");
            std::thread::sleep(Duration::from_millis(50));
        }
        holder
    }

    fn smbclient(&self, share: &str) -> Command {
        let mut command = Command::new(find("smbclient", None));
        command.arg("-s").arg(self.config()).args(["-p", &self.port.to_string()]);
        command.args(["-U", &format!("{}%{}", USER.0, USER.1), &format!("//127.0.0.1/{share}")]);
        command
    }

    /// Ends the server and every connection to it, at once.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Every connection has a process of its own; the group is theirs and nobody else's.
            reaper::end(&mut child);
        }
    }

    /// Starts the server again, on the same port.
    pub fn start(&mut self) {
        self.stop();
        let deadline = Instant::now() + PATIENCE;
        while !self.try_start() {
            assert!(Instant::now() < deadline, "smbd does not start again; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Takes the user's account away.
    pub fn forget_user(&self) {
        let mut command = Command::new(find("pdbedit", None));
        command.arg("-s").arg(self.config()).args(["-x", "-u", &system_user()]);
        assert!(command.status().expect("pdbedit starts").success());
    }

    /// Which of the served files clients have open.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let handles = self.processes().into_iter().filter_map(|process| std::fs::read_dir(process.join("fd")).ok());
        let open = handles.flat_map(|handles| handles.flatten()).filter_map(|fd| std::fs::read_link(fd.path()).ok());
        open.filter(|path| path.starts_with(&self.dir) && path.is_file()).collect()
    }

    /// Where the system shows the server's processes: one for each connection, and some of its own.
    pub fn processes(&self) -> Vec<PathBuf> {
        let group = self.child.as_ref().map_or(0, Child::id).to_string();
        let ours = |process: &PathBuf| {
            let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
            // After the name in brackets: state, parent, group.
            stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(3)) == Some(&group)
        };
        let all = std::fs::read_dir("/proc").expect("there is /proc").flatten();
        all.map(|entry| entry.path()).filter(ours).collect()
    }

    /// What the server had to say.
    pub fn log(&self) -> String {
        let log = |name| std::fs::read_to_string(self.own.path().join(name)).unwrap_or_default();
        log("output.log") + &log("log.smbd")
    }

    fn config(&self) -> PathBuf {
        self.own.path().join("smb.conf")
    }

    fn write_config(&self) {
        let (own, dir, port, user) = (self.own.path().display(), self.dir.display(), self.port, system_user());
        let extra = &self.extra;
        let nobody = if rustix::process::geteuid().is_root() { "force user = nobody\n" } else { "" };
        std::fs::write(self.own.path().join("users"), format!("{user} = {}\n", USER.0)).expect("a file");
        let config = format!(
            "[global]\nserver role = standalone server\nworkgroup = KIT\nnetbios name = kit\n\
             interfaces = 127.0.0.1\nbind interfaces only = yes\nsmb ports = {port}\ndisable netbios = yes\n\
             private dir = {own}\nstate directory = {own}\ncache directory = {own}\nlock directory = {own}\n\
             pid directory = {own}\nncalrpc dir = {own}/ncalrpc\nlogging = file\nlog file = {own}/log.smbd\n\
             passdb backend = tdbsam:{own}/passwords.tdb\nusername map = {own}/users\n\
             guest account = {user}\nmap to guest = bad user\n\
             server signing = mandatory\nload printers = no\ndisable spoolss = yes\n{extra}\n\
             [kit]\npath = {dir}\nread only = no\n\
             [open]\npath = {dir}\nguest ok = yes\n\
             [sealed]\npath = {dir}\nsmb encrypt = required\n\
             [locked]\npath = {dir}\nvalid users = daemon\n\
             [nobodys]\npath = {dir}\nguest ok = yes\n{nobody}"
        );
        std::fs::write(self.config(), config).expect("a file");
    }

    fn add_user(&self) {
        let mut child = Command::new(find("pdbedit", None))
            .arg("-s")
            .arg(self.config())
            .args(["-a", "-t", "-u", &system_user()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pdbedit starts");
        let password = format!("{0}\n{0}\n", USER.1);
        child.stdin.take().expect("it is piped").write_all(password.as_bytes()).expect("it reads the password");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "pdbedit: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the process and waits until it answers. False if it ended, as it does when its port is taken.
    fn try_start(&mut self) -> bool {
        let output = File::options().create(true).append(true).open(self.own.path().join("output.log"));
        let output = output.expect("a log file");
        let mut command = Command::new(find("smbd", None));
        command.args(["-F", "--no-process-group", "-s"]).arg(self.config()).arg("-l").arg(self.own.path());
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a log file")).stderr(output);
        let mut child = reaper::spawn(&mut command);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answers = std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            std::thread::sleep(Duration::from_millis(50));
            if child.try_wait().expect("a child can be asked").is_some() {
                return false;
            }
            if answers || Instant::now() > deadline {
                self.child = Some(child);
                if !answers {
                    self.stop();
                }
                return answers;
            }
        }
    }
}

/// A client with a file open.
#[derive(Debug)]
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        reaper::end(&mut self.0);
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The name of whoever runs the tests.
fn system_user() -> String {
    let output = Command::new(find("id", None)).arg("-un").output().expect("id starts");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
