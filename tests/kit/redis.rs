//! Redis, on a port of its own, with nothing on disk.

use std::path::Path;
use std::process::Command;

use super::servers::{Certifies, Launch, Server, certify, find};

/// The file in the served directory that has the password, if there is one.
const PASSWORD: &str = "password";

/// A Redis server.
#[derive(Debug)]
pub struct Redis(Server);

impl Redis {
    /// One that is open to everybody. The directory is its own.
    pub fn start(dir: &Path) -> Self {
        Self(Server::launch(Launch { name: "redis", command: redis, login: false }, dir))
    }

    /// One that wants this password.
    pub fn with_password(dir: &Path, password: &str) -> Self {
        std::fs::write(dir.join(PASSWORD), password).expect("a file");
        Self::start(dir)
    }

    /// One that speaks TLS alone, under a certificate that [`Server::certificate`] is.
    pub fn with_tls(dir: &Path) -> Self {
        Self(Server::launch(Launch { name: "redis with TLS", command: redis_with_tls, login: false }, dir))
    }

    /// Its address, as Redis' own clients take it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port())
    }

    /// The same of a server with TLS.
    pub fn tls_url(&self) -> String {
        self.url().replace("redis:", "rediss:")
    }

    /// What it answers to a command, a line for each thing.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut client = Command::new(find("redis-cli", None));
        let asked = client.args(["-p", &self.0.port().to_string()]).args(command).output().expect("redis-cli runs");
        assert!(asked.status.success(), "{command:?}: {asked:?}");
        String::from_utf8(asked.stdout).expect("it is text")
    }
}

impl std::ops::Deref for Redis {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

impl std::ops::DerefMut for Redis {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

fn redis(server: &Server) -> Command {
    let mut command = with_nothing_on_disk(server);
    command.args(["--port", &server.port().to_string()]);
    command
}

fn redis_with_tls(server: &Server) -> Command {
    let (key, certificate) = certify(server.own(), Certifies::Itself);
    let mut command = with_nothing_on_disk(server);
    command.args(["--port", "0", "--tls-port", &server.port().to_string(), "--tls-auth-clients", "no"]);
    command.arg("--tls-key-file").arg(key).arg("--tls-cert-file").arg(certificate);
    command
}

fn with_nothing_on_disk(server: &Server) -> Command {
    let mut command = Command::new(find("redis-server", None));
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]).arg("--dir").arg(server.dir());
    if let Ok(password) = std::fs::read_to_string(server.dir().join(PASSWORD)) {
        command.args(["--requirepass", &password]);
    }
    command
}
