//! Real web servers that show the index of a directory: nginx, Apache, Python's and rclone's.

use std::path::Path;
use std::process::Command;

use super::servers::{Certifies, Launch, Server, USER, certify, find};

/// A web server that shows a directory.
#[derive(Debug)]
pub struct Web(Server);

impl Web {
    /// nginx with its index pages. Counts requests.
    pub fn nginx(dir: &Path) -> Self {
        Self::launch(Launch { name: "nginx", command: |server| nginx(server, "html", "", ""), login: false }, dir)
    }

    /// nginx with indexes in JSON. Counts requests.
    pub fn nginx_json(dir: &Path) -> Self {
        Self::launch(Launch { name: "nginx", command: |server| nginx(server, "json", "", ""), login: false }, dir)
    }

    /// The same with TLS and HTTP/2, under a certificate that [`Server::certificate`] is.
    pub fn nginx_json_over_http_2(dir: &Path) -> Self {
        let command = |server: &Server| {
            let (key, certificate) = certify(server.own(), Certifies::Itself);
            let certified =
                format!("ssl_certificate {};\nssl_certificate_key {};\n", certificate.display(), key.display());
            nginx(server, "json", "ssl http2", &certified)
        };
        Self::launch(Launch { name: "nginx", command, login: false }, dir)
    }

    /// nginx that looks for something to replace in every file as it sends it: it tells times, but no lengths, and sends no parts. Counts
    /// requests.
    pub fn nginx_without_lengths(dir: &Path) -> Self {
        // No file contains it, so every byte is sent as it is. (An SSI filter drops a `<` at a file's end.)
        const ABSENT: &str = "text that no file of a test contains, which keeps the filter from changing any";
        let command = |server: &Server| {
            let filter = format!("sub_filter \"{ABSENT}\" \"\";\nsub_filter_types *;\nsub_filter_last_modified on;\n");
            nginx(server, "html", "", &filter)
        };
        Self::launch(Launch { name: "nginx", command, login: false }, dir)
    }

    /// Apache with its index pages. Counts requests.
    pub fn apache(dir: &Path) -> Self {
        Self(Server::apache_index(dir))
    }

    /// The same for one user only, who logs in by Digest, and may not read files whose names begin with `FORBIDDEN`.
    pub fn apache_with_digest(dir: &Path) -> Self {
        Self(Server::apache_index_with_digest(dir))
    }

    /// Python's http.server, which has neither entity tags nor ranges.
    pub fn python(dir: &Path) -> Self {
        Self::launch(Launch { name: "python", command: python, login: false }, dir)
    }

    /// `rclone serve http` for one user only; [`Web::table`] knows who.
    pub fn rclone_with_password(dir: &Path) -> Self {
        Self::launch(Launch { name: "rclone", command: rclone, login: true }, dir)
    }

    fn launch(launch: Launch, dir: &Path) -> Self {
        Self(Server::launch(launch, dir))
    }

    /// The table of a source that shows what is at a path of this server, in TOML.
    pub fn table(&self, path: &str) -> String {
        format!("type = \"http\"\nurl = \"{}/{path}\"\n{}", self.url(), self.login())
    }
}

impl std::ops::Deref for Web {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

impl std::ops::DerefMut for Web {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

fn nginx(server: &Server, format: &str, protocols: &str, more: &str) -> Command {
    let (own, dir, port) = (server.own().display(), server.dir().display(), server.port());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path \"{own}/{kind}\";\n"))
        .collect();
    let config = format!(
        "daemon off;\nmaster_process off;\npid \"{own}/nginx.pid\";\nerror_log \"{own}/error.log\";\n\
         events {{ worker_connections 256; }}\nhttp {{\n{temporary}\
         log_format kit '$request_method $uri $status';\naccess_log \"{own}/access.log\" kit;\n\
         keepalive_requests 1000000;\nserver_tokens off;\nmax_ranges 1;\n\
         server {{\nlisten 127.0.0.1:{port} {protocols};\nroot \"{dir}\";\nautoindex on;\nautoindex_format {format};\n{more}}}\n}}\n"
    );
    let path = server.own().join("nginx.conf");
    std::fs::write(&path, config).expect("a file");
    let mut command = Command::new(find("nginx", None));
    command.arg("-p").arg(server.own()).arg("-c").arg(path).arg("-e").arg(server.own().join("error.log"));
    command
}

fn python(server: &Server) -> Command {
    let mut command = Command::new(find("python3", None));
    let port = server.port().to_string();
    command.args(["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory"]).arg(server.dir());
    command
}

fn rclone(server: &Server) -> Command {
    let mut command = Command::new(find("rclone", Some("KITOVUFS_RCLONE")));
    command.args(["serve", "http"]).arg(server.dir()).args(["--user", USER.0, "--pass", USER.1]);
    command.args(["--addr", &format!("127.0.0.1:{}", server.port()), "--dir-cache-time", "0s", "--config", ""]);
    command
}
