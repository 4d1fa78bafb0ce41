//! `Remote`: a directory that a test changes, and the source through which a mount sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::kit::mount::local;
use crate::kit::proxy::Proxy;
use crate::kit::servers::{S3, Webdav};

/// A bucket is a directory of what `rclone serve s3` serves.
const BUCKET: &str = "bucket";

/// A directory and who serves it.
pub struct Remote {
    server: Server,
    root: TempDir,
}

enum Server {
    Local,
    Webdav(Webdav),
    S3(S3),
}

impl Remote {
    /// No server: the mount reads the directory itself.
    pub fn local() -> Self {
        Self::served_by(|_| Server::Local)
    }

    /// WebDAV, by rclone.
    pub fn webdav() -> Self {
        Self::served_by(|root| Server::Webdav(Webdav::rclone(&root.join(BUCKET))))
    }

    /// WebDAV, by Apache.
    pub fn apache() -> Self {
        Self::served_by(|root| Server::Webdav(Webdav::apache(&root.join(BUCKET))))
    }

    /// S3, by rclone.
    pub fn s3() -> Self {
        Self::served_by(|root| Server::S3(S3::rclone(root)))
    }

    fn served_by(server: impl FnOnce(&Path) -> Server) -> Self {
        let root = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        Self { server: server(root.path()), root }
    }

    /// What the source shows at its root.
    pub fn dir(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// Puts a file there; directories on the way are made.
    pub fn put(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir().join(below);
        fs::create_dir_all(path.parent().expect("it is below the root")).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The source's table in a configuration; more keys may follow it.
    ///
    /// Waits until what was put there is settled: what changed a moment ago has no final digest yet, which is right, costs
    /// another request, and would make counts a matter of luck.
    pub fn table(&self, name: &str) -> String {
        thread::sleep(self.settles_within());
        match &self.server {
            Server::Local => local(name, &self.dir()),
            Server::Webdav(server) => format!("[sources.{name}]\n{}", server.table()),
            Server::S3(server) => format!("[sources.{name}]\n{}", server.table(BUCKET)),
        }
    }

    /// The same, with a link of its own to the server.
    pub fn table_over(&self, name: &str, link: impl FnOnce(u16) -> Proxy) -> (String, Proxy) {
        let url = match &self.server {
            Server::Local => unreachable!("there is no link to a directory"),
            Server::Webdav(server) => server.url(),
            Server::S3(server) => server.url(),
        };
        let (_, port) = url.trim_end_matches('/').rsplit_once(':').expect("the URL names a port");
        let proxy = link(port.parse().expect("a port is a number"));
        (self.table(name).replace(&format!(":{port}"), &format!(":{}", proxy.port())), proxy)
    }

    fn settles_within(&self) -> Duration {
        match &self.server {
            // A clock that ticks every 10 ms, and some.
            Server::Local => Duration::from_millis(50),
            // Apache's entity tags are weak for a second.
            Server::Webdav(_) | Server::S3(_) => Duration::from_millis(2_100),
        }
    }

    /// Stops the server, as an outage does.
    pub fn stop(&mut self) {
        match &mut self.server {
            Server::Local => unreachable!("a directory has no server to stop"),
            Server::Webdav(server) => server.stop(),
            Server::S3(server) => server.stop(),
        }
    }

    /// Starts it again, where it was.
    pub fn start(&mut self) {
        match &mut self.server {
            Server::Local => unreachable!("a directory has no server to start"),
            Server::Webdav(server) => server.start(),
            Server::S3(server) => server.start(),
        }
    }
}
