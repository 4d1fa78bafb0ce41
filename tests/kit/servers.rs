//! Real servers for tests, on loopback, for as long as their value lives: rclone's S3 and WebDAV, Apache's mod_dav, lighttpd's mod_webdav.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::Sha256;
use tempfile::TempDir;

use super::files::hex;
use super::reaper;

/// How long a server may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody who owns nothing.
const NOBODY: u32 = 65534;
/// How often another port is tried if somebody else took the one that was free.
const ATTEMPTS: usize = 10;

/// The ports of servers. Linux by default takes those of connections, and of listeners that name none, from above.
const OWN_PORTS: Range<u16> = 10_000..32_768;

/// The key that `S3` accepts.
const ACCESS_KEY: (&str, &str) = ("kit-key", "kit-secret-Q7x");
/// What a server that wants Digest calls what it guards.
const REALM: &str = "the kit, Gesch\u{fc}tzt";
/// The user that a `Webdav` with a password accepts.
pub(super) const USER: (&str, &str) = ("anna", "kit-password-Z9y");
/// How the names of files begin that nobody may read who logs in by Digest at an Apache.
pub const FORBIDDEN: &str = "forbidden";

/// A WebDAV server that shows a directory.
#[derive(Debug)]
pub struct Webdav(Server);

/// An S3 server whose buckets are the directories in a directory.
#[derive(Debug)]
pub struct S3(Server);

impl Webdav {
    /// `rclone serve webdav`, open to everybody.
    pub fn rclone(dir: &Path) -> Self {
        Self(Server::run(Program::RcloneWebdav { password: false }, dir))
    }

    /// `rclone serve webdav` for one user only; [`Webdav::table`] knows who.
    pub fn rclone_with_password(dir: &Path) -> Self {
        Self(Server::run(Program::RcloneWebdav { password: true }, dir))
    }

    /// `rclone serve webdav` with TLS, under a certificate that [`Server::certificate`] is.
    pub fn rclone_with_tls(dir: &Path) -> Self {
        Self::certified(dir, |server| rclone_over_tls(server, certify(server.own(), Certifies::Itself)))
    }

    /// The same under a certificate as `openssl req -x509` makes it if nothing else is said: one of an authority.
    pub fn rclone_with_tls_of_an_authority(dir: &Path) -> Self {
        Self::certified(dir, |server| rclone_over_tls(server, certify(server.own(), Certifies::Others)))
    }

    fn certified(dir: &Path, command: fn(&Server) -> Command) -> Self {
        Self(Server::launch(Launch { name: "rclone", command, login: false }, dir))
    }

    /// Apache's mod_dav, open to everybody. Counts requests.
    pub fn apache(dir: &Path) -> Self {
        Self(Server::run(Program::Apache { dav: true, digest: false }, dir))
    }

    /// The same for one user only, who logs in by Digest, and may not read files whose names begin with [`FORBIDDEN`].
    pub fn apache_with_digest(dir: &Path) -> Self {
        Self(Server::run(Program::Apache { dav: true, digest: true }, dir))
    }

    /// lighttpd's mod_webdav for one user only, who logs in by Digest with SHA-256. Its log has the head of every answer.
    pub fn lighttpd_with_digest(dir: &Path) -> Self {
        let command = |server: &Server| lighttpd(server, true, true);
        Self(Server::launch(Launch { name: "lighttpd", command, login: true }, dir))
    }

    /// The same, open to everybody.
    pub fn lighttpd(dir: &Path) -> Self {
        let command = |server: &Server| lighttpd(server, true, false);
        Self(Server::launch(Launch { name: "lighttpd", command, login: false }, dir))
    }

    /// The same, which has no type for any file, and so tells no version of one that it sends.
    pub fn lighttpd_without_types(dir: &Path) -> Self {
        let command = |server: &Server| lighttpd(server, false, false);
        Self(Server::launch(Launch { name: "lighttpd", command, login: false }, dir))
    }

    /// The table of a source that shows this server, in TOML.
    pub fn table(&self) -> String {
        format!("type = \"webdav\"\nendpoint = \"{}\"\n{}", self.url(), self.login())
    }
}

impl S3 {
    /// `rclone serve s3` for one key only; [`S3::table`] knows which.
    pub fn rclone(dir: &Path) -> Self {
        Self(Server::run(Program::RcloneS3 { key: true, tags: true, still: false }, dir))
    }

    /// The same, open to everybody, with or without entity tags. It lists a directory once, and not for each request for one of its
    /// files, which takes 40 ms where there are 10,000: what changes there later does not show.
    pub fn rclone_of_still_directories(dir: &Path, tags: bool) -> Self {
        Self(Server::run(Program::RcloneS3 { key: false, tags, still: true }, dir))
    }

    /// The same, open to everybody, without entity tags, for each of which it reads the whole object.
    pub fn rclone_without_tags(dir: &Path) -> Self {
        Self(Server::run(Program::RcloneS3 { key: false, tags: false, still: false }, dir))
    }

    /// The key's name.
    pub fn access_key(&self) -> &str {
        ACCESS_KEY.0
    }

    /// The key itself.
    pub fn secret_key(&self) -> &str {
        ACCESS_KEY.1
    }

    /// The table of a source that shows one bucket of this server, in TOML.
    pub fn table(&self, bucket: &str) -> String {
        let url = self.url();
        let table = format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"{bucket}\"\nregion = \"us-east-1\"\n");
        match self.0.program {
            Program::RcloneS3 { key: false, .. } => table,
            _ => {
                let (id, secret) = ACCESS_KEY;
                format!("{table}access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n")
            }
        }
    }
}

impl std::ops::Deref for Webdav {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

impl std::ops::DerefMut for Webdav {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

impl std::ops::Deref for S3 {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

impl std::ops::DerefMut for S3 {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

#[derive(Debug, Clone, Copy)]
enum Program {
    RcloneWebdav { password: bool },
    RcloneS3 { key: bool, tags: bool, still: bool },
    Apache { dav: bool, digest: bool },
    Other(Launch),
}

/// A server of another file of the kit.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// What it is called in messages.
    pub name: &'static str,
    /// How it is started on the server's port.
    pub command: fn(&Server) -> Command,
    /// Whether it needs a login.
    pub login: bool,
}

fn rclone_over_tls(server: &Server, (key, certificate): (PathBuf, PathBuf)) -> Command {
    let mut command = Command::new(find("rclone", Some("KITOVUFS_RCLONE")));
    command.args(["serve", "webdav"]).arg(server.dir()).arg("--key").arg(key).arg("--cert").arg(certificate);
    command.args(["--addr", &format!("127.0.0.1:{}", server.port()), "--dir-cache-time", "0s", "--config", ""]);
    command
}

/// What a certificate that was signed by its own key says that this key may do (RFC 5280, section 4.2.1.9).
#[derive(Debug, Clone, Copy)]
pub enum Certifies {
    /// Nothing else: it is a server's.
    Itself,
    /// Sign others: it is an authority's.
    Others,
}

/// Makes a key and a certificate for 127.0.0.1 that it signed itself, in this directory; where they are.
pub fn certify(own: &Path, certifies: Certifies) -> (PathBuf, PathBuf) {
    let (key, certificate) = (own.join("key.pem"), own.join("cert.pem"));
    let mut openssl = Command::new(find("openssl", None));
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-subj", "/CN=kit", "-addext", "subjectAltName=IP:127.0.0.1"]);
    if let Certifies::Itself = certifies {
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let made = openssl.output().expect("openssl was found");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (key, certificate)
}

/// One server process; it ends with this value.
#[derive(Debug)]
pub struct Server {
    program: Program,
    dir: PathBuf,
    /// Configuration and logs.
    own: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server that shows a directory.
    pub fn launch(launch: Launch, dir: &Path) -> Self {
        Self::run(Program::Other(launch), dir)
    }

    /// Apache's own index pages. Counts requests.
    pub fn apache_index(dir: &Path) -> Self {
        Self::run(Program::Apache { dav: false, digest: false }, dir)
    }

    /// The same for one user only, who logs in by Digest, and may not read files whose names begin with [`FORBIDDEN`].
    pub fn apache_index_with_digest(dir: &Path) -> Self {
        Self::run(Program::Apache { dav: false, digest: true }, dir)
    }

    fn run(program: Program, dir: &Path) -> Self {
        let own = reaper::reachable();
        let dir = dir.canonicalize().expect("the directory to serve is there");
        let mut server = Self { program, dir, own, port: 0, child: None };
        for _ in 0..ATTEMPTS {
            server.port = free_port();
            if server.try_start() {
                return server;
            }
        }
        panic!("{program:?} does not start; its log:\n{}", server.log());
    }

    /// The server's address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The directory that is served.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends the server; connections are refused from now on. Nothing to do if it has ended.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            reaper::end(&mut child);
        }
    }

    /// Starts the server again, on the same port.
    pub fn start(&mut self) {
        self.stop();
        let deadline = Instant::now() + PATIENCE;
        while !self.try_start() {
            assert!(Instant::now() < deadline, "{:?} does not start again; its log:\n{}", self.program, self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops it in whatever it is doing: it says nothing any more, and its connections stay. Until [`Server::go_on`], or its end.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the server runs");
        kill_process_group(Pid::from_child(child), signal).expect("it can be told");
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A directory of the server's own, for configuration and logs (`access.log`, `error.log`).
    pub fn own(&self) -> &Path {
        self.own.path()
    }

    /// The certificate of a server with TLS, which signed itself.
    pub fn certificate(&self) -> PathBuf {
        self.own().join("cert.pem")
    }

    /// The lines of a source's table that name the user whom this server knows; none if it is open to everybody.
    pub fn login(&self) -> String {
        match self.program {
            Program::RcloneWebdav { password: true }
            | Program::Apache { digest: true, .. }
            | Program::Other(Launch { login: true, .. }) => {
                format!("username = \"{}\"\npassword = \"{}\"\n", USER.0, USER.1)
            }
            _ => String::new(),
        }
    }

    /// What was asked of Apache or nginx since its first start, one `METHOD /path status` per request, in order, but for `HEAD /`: such requests
    /// open a connection, and the only other one like them asks whether the root is there.
    pub fn requests(&self) -> Vec<String> {
        // A request is logged after it was answered.
        let mut before = None;
        loop {
            let log = std::fs::read_to_string(self.own.path().join("access.log")).unwrap_or_default();
            if before.as_ref() == Some(&log) {
                let asks = |line: &&str| !line.starts_with('-') && !line.starts_with("HEAD / ");
                return log.lines().filter(asks).map(str::to_owned).collect();
            }
            before = Some(log);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the server had to say.
    pub fn log(&self) -> String {
        let log = |name| std::fs::read_to_string(self.own.path().join(name)).unwrap_or_default();
        log("output.log") + &log("error.log")
    }

    /// Starts the process and waits until it answers. False if it ended, as it does when its port is taken.
    fn try_start(&mut self) -> bool {
        let mut command = self.command();
        let output = File::options().create(true).append(true).open(self.own.path().join("output.log"));
        let output = output.expect("a log file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a log file")).stderr(output);
        self.child = started(command, self.port, PATIENCE);
        self.child.is_some()
    }

    fn command(&self) -> Command {
        let address = format!("127.0.0.1:{}", self.port);
        // Without this, what changes in the directory shows only minutes later.
        let mut kept = "0s";
        let mut command = match self.program {
            Program::Other(launch) => return (launch.command)(self),
            Program::Apache { dav, digest } => {
                let config = self.own.path().join("apache.conf");
                File::create(&config)
                    .and_then(|mut file| file.write_all(self.apache_config(dav, digest).as_bytes()))
                    .expect("a file");
                let apache = find("apache2", None);
                let mut command = if rustix::process::geteuid().is_root() {
                    // Apache refuses to serve as root; another user may not reach the directory without this.
                    std::os::unix::fs::chown(self.own.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
                    let mut command = Command::new(find("setpriv", None));
                    let nobody = NOBODY.to_string();
                    command.args([
                        "--reuid",
                        &nobody,
                        "--regid",
                        &nobody,
                        "--clear-groups",
                        "--inh-caps",
                        "+dac_read_search",
                    ]);
                    command.args(["--ambient-caps", "+dac_read_search"]).arg(apache);
                    command
                } else {
                    Command::new(apache)
                };
                // One process, which keeps its pid.
                command.arg("-X").arg("-f").arg(config);
                return command;
            }
            Program::RcloneWebdav { password } => {
                let mut command = Command::new(find("rclone", Some("KITOVUFS_RCLONE")));
                command.args(["serve", "webdav"]).arg(&self.dir);
                if password {
                    command.args(["--user", USER.0, "--pass", USER.1]);
                }
                command
            }
            Program::RcloneS3 { key, tags, still } => {
                kept = if still { "1h" } else { kept };
                let mut command = Command::new(find("rclone", Some("KITOVUFS_RCLONE")));
                command.args(["serve", "s3"]).arg(&self.dir);
                if key {
                    command.arg("--auth-key").arg(format!("{},{}", ACCESS_KEY.0, ACCESS_KEY.1));
                }
                if !tags {
                    command.args(["--etag-hash", ""]);
                }
                command
            }
        };
        command.args(["--addr", &address, "--dir-cache-time", kept, "--config", ""]);
        command
    }

    fn apache_config(&self, dav: bool, digest: bool) -> String {
        let own = self.own.path().display();
        let mut modules: Vec<&str> = match dav {
            true => vec!["mpm_event", "authz_core", "dav", "dav_fs", "env"],
            // Without mod_dir, nobody is sent on to the slash at a directory's end.
            false => vec!["mpm_event", "authz_core", "autoindex", "dir", "mime", "env"],
        };
        let mut guard = "Require all granted".to_owned();
        if digest {
            modules.extend(["authn_core", "authn_file", "authz_user", "auth_digest"]);
            let users = self.users(USER.1, |text| hex(&Md5::digest(text)));
            guard = format!(
                "AuthType Digest\nAuthName \"{REALM}\"\nAuthUserFile \"{}\"\nRequire valid-user\n\
                 <FilesMatch \"^{FORBIDDEN}\">\n<Limit GET>\nRequire user another\n</Limit>\n</FilesMatch>",
                users.display()
            );
        }
        let shown = match dav {
            true => format!("DavLockDB \"{own}/locks\"\n<Directory \"{}\">\nDav On\n", self.dir.display()),
            false => format!(
                "TypesConfig /dev/null\n<Directory \"{}\">\nOptions +Indexes\nIndexOptions FancyIndexing ShowForbidden\n",
                self.dir.display()
            ),
        };
        let folder =
            ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules"].into_iter().find(|f| Path::new(f).is_dir());
        let folder =
            folder.unwrap_or_else(|| panic!("apache's modules are missing; run scripts/test, which installs them"));
        let load: String = modules
            .iter()
            .filter(|name| Path::new(folder).join(format!("mod_{name}.so")).is_file())
            .map(|name| format!("LoadModule {name}_module {folder}/mod_{name}.so\n"))
            .collect();
        format!(
            "ServerRoot \"{own}\"\nServerName 127.0.0.1\nListen 127.0.0.1:{port}\nPidFile \"{own}/apache.pid\"\n\
             ErrorLog \"{own}/error.log\"\n{load}LogFormat \"%m %U %>s\" kit\nCustomLog \"{own}/access.log\" kit\n\
             ThreadsPerChild 64\nThreadLimit 64\nMaxRequestWorkers 64\nStartServers 1\nServerLimit 1\n\
             KeepAliveTimeout 60\nMaxKeepAliveRequests 0\n\
             DefaultRuntimeDir \"{own}\"\nDocumentRoot \"{dir}\"\n{shown}{guard}\nOptions +FollowSymLinks\n</Directory>\n",
            port = self.port,
            dir = self.dir.display(),
        )
    }
}

impl Server {
    /// From now on Apache takes another password than the one that tables have, or that one again.
    pub fn change_password(&self, is_right: bool) {
        self.users(if is_right { USER.1 } else { "another" }, |text| hex(&Md5::digest(text)));
    }

    /// A file that tells who may log in by Digest, as `htdigest` writes it.
    fn users(&self, password: &str, hash: fn(&str) -> String) -> PathBuf {
        let users = self.own.path().join("users");
        let user = USER.0;
        let key = hash(&format!("{user}:{REALM}:{password}"));
        std::fs::write(&users, format!("{user}:{REALM}:{key}\n")).expect("a file");
        users
    }
}

fn lighttpd(server: &Server, has_types: bool, login: bool) -> Command {
    let (own, dir, port) = (server.own().display(), server.dir().display(), server.port());
    let users = server.users(USER.1, |text| hex(&Sha256::digest(text)));
    let mut config = format!(
        "server.modules = (\"mod_auth\", \"mod_authn_file\", \"mod_webdav\")\n\
         server.document-root = \"{dir}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n\
         server.errorlog = \"{own}/error.log\"\nserver.max-keep-alive-requests = 1000000\n\
         debug.log-response-header = \"enable\"\n\
         webdav.activate = \"enable\"\nwebdav.is-readonly = \"enable\"\n",
    );
    if has_types {
        config += "mimetype.assign = (\"\" => \"application/octet-stream\")\n";
    }
    if login {
        config += &format!(
            "auth.backend = \"htdigest\"\nauth.backend.htdigest.userfile = \"{users}\"\n\
             auth.require = (\"\" => (\"method\" => \"digest\", \"algorithm\" => \"SHA-256\", \"realm\" => \"{REALM}\",\n\
             \"require\" => \"valid-user\"))\n",
            users = users.display(),
        );
    }
    let path = server.own().join("lighttpd.conf");
    std::fs::write(&path, config).expect("a file");
    let mut command = Command::new(find("lighttpd", None));
    command.arg("-D").arg("-f").arg(path);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a server, which [`reaper::end`] ends, and waits until it answers on its port. None if it ended, as it does when its port is taken, or never answered.
pub fn started(mut command: Command, port: u16, patience: Duration) -> Option<Child> {
    let mut child = reaper::spawn(&mut command);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + patience;
    loop {
        let answers = TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok();
        // Who answers may be somebody else who was quicker: ours then ends at once.
        std::thread::sleep(Duration::from_millis(50));
        if child.try_wait().expect("a child can be asked").is_some() {
            return None;
        }
        if answers {
            return Some(child);
        }
        if Instant::now() > deadline {
            reaper::end(&mut child);
            return None;
        }
    }
}

/// A port that is free and stays so while its server is stopped: neither this program nor the kernel gives it to anybody else.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(OWN_PORTS);
        if GIVEN.lock().unwrap().insert(port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The table of a source with another port: that of a URL, or that of a key. The same digits may stand in a path too.
pub fn with_port(table: &str, from: u16, to: u16) -> String {
    let table = table.replace(&format!(":{from}"), &format!(":{to}"));
    table.replace(&format!("port = {from}\n"), &format!("port = {to}\n"))
}

/// A program on the search path, in /usr/sbin, or where an environment variable says.
pub fn find(name: &str, variable: Option<&str>) -> PathBuf {
    if let Some(path) = variable.and_then(std::env::var_os) {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join(name)).find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed; run scripts/test, which installs it"))
}
