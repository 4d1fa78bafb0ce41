//! `rsync -a --delete` from a mount, while everything goes wrong that a server can do: nothing is deleted that the server has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use walkdir::WalkDir;

use crate::kit::liar::{Answer, End, For, Liar, Speaks};
use crate::kit::mount::Mount;
use crate::kit::proxy::{Fate, Link, Proxy};
use crate::kit::reaper;
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// Longer than answers count, so that each run asks anew.
const PAUSE: Duration = Duration::from_millis(350);
const SETTINGS: &str = "fresh_for = \"300ms\"\ntimeout = \"1s\"\n";

/// A copy of a folder that rsync keeps.
struct Backup {
    from: PathBuf,
    to: TempDir,
    names: Vec<PathBuf>,
}

impl Backup {
    /// Copies for the first time.
    fn begin(from: PathBuf, files: usize) -> Self {
        let mut backup = Self { from, to: reaper::temporary(), names: Vec::new() };
        backup.run();
        backup.names = names(backup.to.path());
        assert_eq!(backup.names.iter().filter(|name| backup.to.path().join(name).is_file()).count(), files);
        backup
    }

    fn run(&self) {
        let from = format!("{}/", self.from.display());
        // It fails where it cannot read, as it should.
        Command::new("rsync").args(["-a", "--delete", &from]).arg(self.to.path()).output().unwrap();
    }

    /// Copies a few times, and misses nothing.
    fn keeps_all(&self, what: &str) {
        for _ in 0..3 {
            thread::sleep(PAUSE);
            self.run();
            assert_eq!(names(self.to.path()), self.names, "{what}");
        }
    }
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let names = WalkDir::new(dir).min_depth(1).sort_by_file_name().into_iter();
    names.map(|entry| entry.unwrap().path().strip_prefix(dir).unwrap().to_owned()).collect()
}

/// Whether what the source says to a question of now is of use.
fn is_well(mount: &Mount) -> bool {
    let _ = fs::read_dir(mount.path("far")).map(Iterator::count);
    mount.status()["sources"]["far"]["state"] == "ok"
}

/// Twelve files in three directories.
fn fill(remote: &Remote) {
    for dir in ["", "a/", "a/b/"] {
        (0..4).for_each(|n| remote.put(&format!("{dir}{n}"), format!("{dir}{n}")));
    }
}

fn an_outage_deletes_nothing(mut remote: Remote) {
    fill(&remote);
    let mount = Mount::of(&format!("{}{SETTINGS}", remote.table("far")));
    let backup = Backup::begin(mount.path("far"), 12);
    remote.stop();
    backup.keeps_all("stopped");
    remote.start();
    backup.keeps_all("started again");
    eventually("the server is back", || is_well(&mount));
    // What really goes, goes.
    fs::remove_dir_all(remote.dir().join("a/b")).unwrap();
    eventually("what is deleted is seen", || {
        backup.run();
        names(backup.to.path()).len() == backup.names.len() - 5
    });
}

fn a_broken_line_deletes_nothing(remote: Remote) {
    fill(&remote);
    let (table, line) = remote.table_over("far", Proxy::to);
    let mount = Mount::of(&format!("{table}{SETTINGS}"));
    let backup = Backup::begin(mount.path("far"), 12);
    let after = |bytes, fate| Link { fate: Some((bytes, fate)), ..Link::default() };
    let refuses = Link { refuses: true, ..Link::default() };
    let fates = [Fate::Reset, Fate::Close, Fate::Stall];
    let cuts = [0, 100, 700].into_iter().flat_map(|bytes| fates.map(|fate| after(bytes, fate)));
    for link in cuts.chain([refuses]) {
        line.set(link);
        backup.keeps_all(&format!("{link:?}"));
        line.set(Link::default());
        backup.keeps_all("the line works again");
    }
}

/// Does it with each of them at once: it is mostly waiting.
fn with_each(remotes: &[fn() -> Remote], test: fn(Remote)) {
    thread::scope(|scope| {
        for remote in remotes {
            scope.spawn(move || test(remote()));
        }
    });
}

#[test]
fn a_stopped_server_makes_rsync_delete_nothing() {
    let remotes = [Remote::webdav, Remote::s3, Remote::pages, Remote::web, Remote::sftp, Remote::smb, Remote::ftp];
    with_each(&remotes, an_outage_deletes_nothing);
}

#[test]
fn a_broken_line_makes_rsync_delete_nothing() {
    with_each(&[Remote::webdav, Remote::s3, Remote::web, Remote::sftp, Remote::smb], a_broken_line_deletes_nothing);
}

/// A way to lie about everything.
type Lie = (&'static str, fn(&mut Answer));

/// What a server may answer for as long as it likes. After the last one its credentials are not tried again soon.
const LIES: [Lie; 13] = [
    ("204", |a| a.refuse(204)),
    ("302", |a| a.refuse(302)),
    ("403", |a| a.refuse(403)),
    ("404", |a| a.refuse(404)),
    ("410", |a| a.refuse(410)),
    ("429", |a| a.refuse(429)),
    ("500", |a| a.refuse(500)),
    ("503", |a| a.refuse(503)),
    ("cut", |a| a.end = End::Close(a.body.len() / 2)),
    ("cut, and no length", |a| {
        a.header("Content-Length", None);
        a.end = End::Close(a.body.len() / 2);
    }),
    ("reset", |a| a.end = End::Reset(a.body.len() / 2)),
    ("nothing", |a| a.say(b"")),
    ("401", |a| a.refuse(401)),
];

fn lies_delete_nothing(speaks: Speaks) {
    let files: BTreeMap<_, _> = (0..60).map(|n| (format!("file-{n:02}"), b"bytes".to_vec())).collect();
    let liar = Liar::speaking(speaks, files);
    let mut mount = Mount::of(&format!("[sources.far]\n{}{SETTINGS}", liar.table()));
    let backup = Backup::begin(mount.path("far"), 60);
    for (what, lie) in LIES {
        let told = Arc::new(AtomicU64::new(0));
        let counted = told.clone();
        liar.lie(move |_, answer| {
            counted.fetch_add(1, Ordering::Relaxed);
            lie(answer);
        });
        backup.keeps_all(what);
        assert!(told.load(Ordering::Relaxed) > 0, "{what}: nobody asked");
        liar.tell_the_truth();
        if what != "401" {
            eventually("the server is back", || is_well(&mount));
        }
    }
    mount.remount();
    backup.keeps_all("mounted again");
    // A server that has just started shows an empty directory once, again and again. One that stays empty is believed.
    let told = AtomicU64::new(0);
    liar.lie(move |what, answer| {
        if what == For::Listing && told.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            answer.say(empty(speaks).as_bytes());
        }
    });
    backup.keeps_all("empty for a moment");
    liar.lie(move |what, answer| {
        if what == For::Listing {
            answer.say(empty(speaks).as_bytes());
        }
    });
    eventually("a directory that stays empty is", || {
        backup.run();
        names(backup.to.path()).is_empty()
    });
}

#[test]
fn a_webdav_server_that_lies_makes_rsync_delete_nothing() {
    lies_delete_nothing(Speaks::Webdav);
}

#[test]
fn an_s3_server_that_lies_makes_rsync_delete_nothing() {
    lies_delete_nothing(Speaks::S3);
}

#[test]
fn a_web_server_that_lies_makes_rsync_delete_nothing() {
    lies_delete_nothing(Speaks::Html);
}

#[test]
fn an_index_in_json_that_lies_makes_rsync_delete_nothing() {
    lies_delete_nothing(Speaks::Json);
}

/// The listing of an empty directory.
fn empty(speaks: Speaks) -> String {
    match speaks {
        Speaks::Webdav => "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>/</D:href><D:propstat><D:prop>\
            <D:resourcetype><D:collection/></D:resourcetype></D:prop></D:propstat></D:response></D:multistatus>"
            .into(),
        Speaks::S3 | Speaks::Hashes => "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".into(),
        Speaks::Html => "<html><head><title>Index of /</title></head><body></body></html>".into(),
        Speaks::Json => "[]".into(),
    }
}
