//! Real FTP servers: rclone's, and pyftpdlib as it is, with TLS, or with only what old servers know.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::servers::{Certifies, Launch, Server, USER, certify, find};

/// An FTP server that shows a directory to one user; [`Ftp::table`] knows whom.
#[derive(Debug)]
pub struct Ftp(Server);

impl Ftp {
    /// `rclone serve ftp`.
    pub fn rclone(dir: &Path) -> Self {
        Self(Server::launch(Launch { name: "rclone", command: rclone, login: true }, dir))
    }

    /// pyftpdlib, with everything that it knows.
    pub fn python(dir: &Path) -> Self {
        Self(Server::launch(Launch { name: "pyftpdlib", command: |server| python(server, "new"), login: true }, dir))
    }

    /// pyftpdlib without MLSD, MLST and REST.
    pub fn old(dir: &Path) -> Self {
        Self(Server::launch(Launch { name: "pyftpdlib", command: |server| python(server, "old"), login: true }, dir))
    }

    /// pyftpdlib that lists names only, and does not say where a session begins.
    pub fn of_names_only(dir: &Path) -> Self {
        let command = |server: &Server| python(server, "names_only");
        Self(Server::launch(Launch { name: "pyftpdlib", command, login: true }, dir))
    }

    /// pyftpdlib with MLST, and without MLSD.
    pub fn without_mlsd(dir: &Path) -> Self {
        let command = |server: &Server| python(server, "without_mlsd");
        Self(Server::launch(Launch { name: "pyftpdlib", command, login: true }, dir))
    }

    /// pyftpdlib that has one control connection for each address.
    pub fn of_one_connection(dir: &Path) -> Self {
        let command = |server: &Server| python(server, "one_connection");
        Self(Server::launch(Launch { name: "pyftpdlib", command, login: true }, dir))
    }

    /// pyftpdlib that lists files and gives none.
    pub fn withholding(dir: &Path) -> Self {
        let command = |server: &Server| python(server, "withholding");
        Self(Server::launch(Launch { name: "pyftpdlib", command, login: true }, dir))
    }

    /// pyftpdlib that speaks only with TLS, under a certificate that [`Ftp::certificate`] is.
    pub fn tls(dir: &Path) -> Self {
        Self(Server::launch(Launch { name: "pyftpdlib", command: |server| python(server, "tls"), login: true }, dir))
    }

    /// The same, which takes data connections only if they resume the TLS session of their control connection, as vsftpd does.
    pub fn tls_resumed(dir: &Path) -> Self {
        let command = |server: &Server| python(server, "tls_resumed");
        Self(Server::launch(Launch { name: "pyftpdlib", command, login: true }, dir))
    }

    /// The table of a source that shows this server, in TOML.
    pub fn table(&self) -> String {
        format!("type = \"ftp\"\nhost = \"127.0.0.1\"\nport = {}\n{}", self.port(), self.login())
    }

    /// The certificate of a server with TLS, which signed itself.
    pub fn certificate(&self) -> PathBuf {
        self.own().join("cert.pem")
    }
}

impl std::ops::Deref for Ftp {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

impl std::ops::DerefMut for Ftp {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

fn rclone(server: &Server) -> Command {
    let mut command = Command::new(find("rclone", Some("KITOVUFS_RCLONE")));
    command.args(["serve", "ftp"]).arg(server.dir()).args(["--user", USER.0, "--pass", USER.1]);
    command.args(["--addr", &format!("127.0.0.1:{}", server.port()), "--dir-cache-time", "0s", "--config", ""]);
    command
}

const SCRIPT: &str = r#"
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from OpenSSL import SSL
from pyftpdlib.handlers import FTPHandler, TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer
mode, port, directory, user, password, pem = sys.argv[1:]
class ResumedData(TLS_DTPHandler):
    def handle_ssl_established(self):
        if not SSL._lib.SSL_session_reused(self.socket._ssl):
            self.handle_failed_ssl_handshake()
class OwnSession(TLS_FTPHandler):
    dtp_handler = ResumedData
    @classmethod
    def get_ssl_context(cls):
        cls.ssl_context = None
        return super().get_ssl_context()
handler = FTPHandler
if mode.startswith("tls"):
    handler = OwnSession if mode == "tls_resumed" else TLS_FTPHandler
    handler.certfile = pem
    handler.tls_control_required = handler.tls_data_required = True
if mode == "old":
    for command in "MLSD", "MLST", "REST":
        del handler.proto_cmds[command]
if mode == "names_only":
    for command in "MLSD", "MLST", "LIST", "PWD":
        del handler.proto_cmds[command]
if mode == "without_mlsd":
    del handler.proto_cmds["MLSD"]
handler.authorizer = DummyAuthorizer()
handler.authorizer.add_user(user, password, directory, perm="el" if mode == "withholding" else "elr")
server = FTPServer(("127.0.0.1", int(port)), handler)
if mode == "one_connection":
    server.max_cons_per_ip = 1
server.serve_forever()
"#;

fn python(server: &Server, mode: &str) -> Command {
    let both = server.own().join("both.pem");
    if mode.starts_with("tls") && !both.exists() {
        let (key, certificate) = certify(server.own(), Certifies::Itself);
        let read = |path| std::fs::read(path).expect("openssl wrote it");
        std::fs::write(&both, [read(&key), read(&certificate)].concat()).expect("a file");
    }
    let mut command = Command::new(find("python3", Some("KITOVUFS_PYTHON")));
    command.args(["-c", SCRIPT, mode, &server.port().to_string()]).arg(server.dir()).args([USER.0, USER.1]).arg(both);
    command
}
