//! `Remote`: a directory that a test changes, and the source through which a mount sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use crate::azurite::Azurite;
use crate::files::set_modified;
use crate::ftp::Ftp;
use crate::gcs::Gcs;
use crate::home::{local, text};
use crate::moodle::Moodle;
use crate::moto::Moto;
use crate::proxy::Proxy;
use crate::reaper;
use crate::samba::Samba;
use crate::servers::{S3, Webdav, with_port};
use crate::sshd::Sshd;
use crate::web::Web;

/// An age at which the versions of a file can be told apart by their times: longer than the 10 s that it takes over SFTP, and shorter than the
/// minute after which a source over HTTP takes a file to be left alone.
const SETTLED: Duration = Duration::from_secs(20);

/// A bucket is a directory of what `rclone serve s3` serves.
const BUCKET: &str = "bucket";

/// The plugin that shows a directory.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/directory.py");

/// A plugin written for kitovu that shows a directory.
const SHARE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/python/share.py");

/// What that plugin does during an outage.
const AWAY: &str = "import errno; raise OSError(errno.EHOSTUNREACH, 'no route')";

/// The activity of the recorded Moodle site that is an empty folder, and where a mount shows it.
const FOLDER: u64 = 18;
const SHOWN_FOLDER: &str = "Analysis I: Übungen & \"Grundlagen\" 1／2/02 - 日本語 セクション/Empty folder";

/// A directory and who serves it.
pub struct Remote {
    server: Server,
    root: TempDir,
}

enum Server {
    Local,
    Plugin,
    Python,
    Moodle(Moodle),
    Webdav(Webdav),
    S3(S3),
    Sftp(Sshd),
    Smb(Samba),
    Web(Web),
    Ftp(Ftp),
    Moto(Moto),
    Gcs(Gcs),
    Azure(Azurite),
}

impl Remote {
    /// No server: the mount reads the directory itself.
    pub fn local() -> Self {
        Self::served_by(|_| Server::Local)
    }

    /// A plugin, which reads the directory: that of the examples.
    pub fn plugin() -> Self {
        Self::served_by(|_| Server::Plugin)
    }

    /// A plugin written for kitovu, which reads the directory.
    pub fn python() -> Self {
        // Copied, because Python leaves something beside what it imports.
        Self::served_by(|root| {
            fs::copy(SHARE, root.join("share.py")).unwrap();
            Server::Python
        })
    }

    /// A Moodle site, in one of whose folders the files are.
    pub fn moodle() -> Self {
        Self::served_by(|_| Server::Moodle(Moodle::start()))
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

    /// S3, by rclone, for everybody, without entity tags.
    pub fn untagged_s3() -> Self {
        Self::served_by(|root| Server::S3(S3::rclone_without_tags(root)))
    }

    /// The same, or with entity tags; a directory stays as it was when it was first asked for.
    pub fn still_s3(tags: bool) -> Self {
        Self::served_by(|root| Server::S3(S3::rclone_of_still_directories(root, tags)))
    }

    /// SFTP, by OpenSSH.
    pub fn sftp() -> Self {
        Self::served_by(|root| Server::Sftp(Sshd::run(&root.join(BUCKET))))
    }

    /// SMB, by Samba.
    pub fn smb() -> Self {
        Self::served_by(|root| Server::Smb(Samba::run(&root.join(BUCKET))))
    }

    /// Plain HTTP, by nginx, with index pages for people.
    pub fn pages() -> Self {
        Self::served_by(|root| Server::Web(Web::nginx(&root.join(BUCKET))))
    }

    /// Plain HTTP, by nginx, with index pages in JSON.
    pub fn web() -> Self {
        Self::served_by(|root| Server::Web(Web::nginx_json(&root.join(BUCKET))))
    }

    /// FTP, by rclone.
    pub fn ftp() -> Self {
        Self::served_by(|root| Server::Ftp(Ftp::rclone(&root.join(BUCKET))))
    }

    /// S3, by moto, which keeps a bucket in its memory.
    pub fn moto() -> Self {
        Self::served_by(|root| Server::Moto(Moto::start(root)))
    }

    /// Google Cloud Storage, by an emulator that keeps a bucket in its memory.
    pub fn gcs() -> Self {
        Self::served_by(|root| Server::Gcs(Gcs::start(root)))
    }

    /// Azure Blob Storage, by an emulator that keeps a container in its memory.
    pub fn azure() -> Self {
        Self::served_by(|root| Server::Azure(Azurite::start(root, false)))
    }

    fn served_by(server: impl FnOnce(&Path) -> Server) -> Self {
        let root = reaper::temporary();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        Self { server: server(root.path()), root }
    }

    /// The directory that the source shows.
    pub fn dir(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// Where the source shows it, below its root.
    pub fn shown(&self) -> &'static str {
        if let Server::Moodle(_) = &self.server { SHOWN_FOLDER } else { "" }
    }

    /// Whether a part of a file can be retrieved.
    pub fn has_ranges(&self) -> bool {
        !matches!(self.server, Server::Python)
    }

    /// The file in which the plugin written for kitovu looks up what it does wrong.
    fn faults(&self) -> PathBuf {
        self.root.path().join("faults.json")
    }

    /// Where the directory is during an outage, if there is no server that could stop.
    fn away(&self) -> PathBuf {
        self.root.path().join("away")
    }

    /// Puts a file there; directories on the way are made.
    pub fn put(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir().join(below);
        fs::create_dir_all(path.parent().expect("it is below the root")).unwrap();
        fs::write(&path, bytes).unwrap();
        self.upload(&path);
    }

    /// Shows files that were written into the directory by other ways than [`Remote::put`].
    pub fn publish(&self) {
        for entry in walkdir::WalkDir::new(self.dir()).into_iter().map(Result::unwrap) {
            if entry.file_type().is_file() {
                self.upload(entry.path());
            }
        }
    }

    /// Hands a file to a server that keeps its own copy of everything.
    fn upload(&self, path: &Path) {
        let name =
            path.strip_prefix(self.dir()).expect("it is below the root").to_str().expect("the tests' names are text");
        let content = || fs::read(path).unwrap();
        match &self.server {
            Server::Moodle(site) => site.store().put(FOLDER, &format!("/{name}"), &content()),
            Server::Moto(server) => server.put(name, &content()),
            Server::Gcs(server) => server.put(name, &content()),
            Server::Azure(server) => server.put(name, &content()),
            _ => {}
        }
    }

    /// The source's table in a configuration; more keys may follow it.
    ///
    /// All that was put there is settled then: what changed a moment ago has no final digest yet, which is right, costs another request, and would
    /// make counts a matter of luck.
    pub fn table(&self, name: &str) -> String {
        self.settle();
        match &self.server {
            Server::Local => local(name, &self.dir()),
            Server::Plugin => {
                format!("[sources.{name}]\ntype = \"plugin\"\ncommand = [{DIRECTORY:?}]\npath = {:?}\n", self.dir())
            }
            Server::Python => {
                let path = text(self.root.path());
                let plugin = "plugin = \"share:SharePlugin\"";
                format!(
                    "[sources.{name}]\ntype = \"python\"\n{plugin}\npath = [{path:?}]\ndirectory = {:?}\n",
                    self.dir()
                )
            }
            Server::Moodle(site) => format!("[sources.{name}]\n{}", site.table()),
            Server::Webdav(server) => format!("[sources.{name}]\n{}", server.table()),
            Server::S3(server) => format!("[sources.{name}]\n{}", server.table(BUCKET)),
            Server::Sftp(server) => format!("[sources.{name}]\n{}", server.table()),
            Server::Smb(server) => format!("[sources.{name}]\n{}", server.table("kit")),
            Server::Web(server) => format!("[sources.{name}]\n{}", server.table("")),
            Server::Ftp(server) => format!("[sources.{name}]\n{}", server.table()),
            Server::Moto(server) => format!("[sources.{name}]\n{}", server.table()),
            Server::Gcs(server) => format!("[sources.{name}]\n{}", server.table()),
            Server::Azure(server) => format!("[sources.{name}]\n{}", server.table()),
        }
    }

    /// The same, with a link of its own to the server.
    pub fn table_over(&self, name: &str, link: impl FnOnce(u16) -> Proxy) -> (String, Proxy) {
        let port = match &self.server {
            Server::Local | Server::Plugin | Server::Python => unreachable!("there is no link to a directory"),
            Server::Moodle(site) => site.port(),
            Server::Ftp(server) => server.port(),
            Server::Gcs(server) => server.port(),
            Server::Webdav(server) => server.port(),
            Server::S3(server) => server.port(),
            Server::Web(server) => server.port(),
            Server::Moto(server) => server.port(),
            Server::Azure(server) => server.port(),
            Server::Sftp(server) => server.port(),
            Server::Smb(server) => server.port(),
        };
        let proxy = link(port);
        if let Server::Sftp(server) = &self.server {
            // The host is known by its port too.
            let known = fs::read_to_string(server.file("known_hosts")).unwrap();
            let more = known.replace(&format!("]:{port} "), &format!("]:{} ", proxy.port()));
            fs::write(server.file("known_hosts"), known + &more).unwrap();
        }
        let table = self.table(name);
        (with_port(&table, port, proxy.port()), proxy)
    }

    /// Makes files that were put a moment ago so old that their versions can be told apart, or waits until they are.
    fn settle(&self) {
        match &self.server {
            // Nobody can set the time at which a file's attributes changed. That is a clock that ticks every 10 ms, and some.
            Server::Local | Server::Plugin => thread::sleep(Duration::from_millis(50)),
            Server::Smb(_) => thread::sleep(Duration::from_millis(200)),
            Server::Webdav(_) | Server::S3(_) | Server::Web(_) | Server::Sftp(_) | Server::Ftp(_) => {
                let now = SystemTime::now();
                let young = now - SETTLED..now + Duration::from_secs(1);
                for entry in walkdir::WalkDir::new(self.dir()).into_iter().map(Result::unwrap) {
                    if entry.file_type().is_file() && young.contains(&entry.metadata().unwrap().modified().unwrap()) {
                        set_modified(entry.path(), young.start);
                    }
                }
            }
            // These keep times of their own, of whole seconds.
            Server::Python | Server::Moodle(_) | Server::Moto(_) | Server::Gcs(_) | Server::Azure(_) => {
                thread::sleep(Duration::from_millis(2_100));
            }
        }
    }

    /// Stops the server, as an outage does.
    pub fn stop(&mut self) {
        match &mut self.server {
            Server::Local | Server::Plugin => fs::rename(self.dir(), self.away()).unwrap(),
            Server::Python => {
                let faults = json!({"list_path": AWAY, "create_remote_digest": AWAY, "retrieve_file": AWAY});
                fs::write(self.faults(), faults.to_string()).unwrap();
            }
            Server::Moodle(site) => site.stop(),
            Server::Webdav(server) => server.stop(),
            Server::S3(server) => server.stop(),
            Server::Sftp(server) => server.stop(),
            Server::Smb(server) => server.stop(),
            Server::Web(server) => server.stop(),
            Server::Ftp(server) => server.stop(),
            Server::Moto(server) => server.stop(),
            Server::Gcs(server) => server.stop(),
            Server::Azure(server) => server.stop(),
        }
    }

    /// Starts it again, where it was.
    pub fn start(&mut self) {
        match &mut self.server {
            Server::Local | Server::Plugin => fs::rename(self.away(), self.dir()).unwrap(),
            Server::Python => fs::remove_file(self.faults()).unwrap(),
            Server::Moodle(site) => site.start_again(),
            Server::Webdav(server) => server.start(),
            Server::S3(server) => server.start(),
            Server::Sftp(server) => server.start(),
            Server::Smb(server) => server.start(),
            Server::Web(server) => server.start(),
            Server::Ftp(server) => server.start(),
            Server::Moto(server) => server.start(),
            Server::Gcs(server) => server.start_empty(),
            Server::Azure(server) => server.start_empty(),
        }
        self.publish();
    }
}
