//! Redis, on a port of its own, with nothing on disk.

use std::path::Path;
use std::process::Command;

use super::servers::{Launch, Server, find};

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

    /// Its address, as Redis' own clients take it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port())
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
    let mut command = Command::new(find("redis-server", None));
    command.args(["--bind", "127.0.0.1", "--port", &server.port().to_string(), "--save", "", "--appendonly", "no"]);
    command.args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]).arg("--dir").arg(server.dir());
    if let Ok(password) = std::fs::read_to_string(server.dir().join(PASSWORD)) {
        command.args(["--requirepass", &password]);
    }
    command
}
