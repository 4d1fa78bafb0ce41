use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use kitovufs::error::ErrorKind;
use kitovufs::source::conformance::{self, RemoteEditor};
use kitovufs::source::{Entry, Retrieval, Source};

use crate::kit::servers::{S3, Webdav};
use crate::{configured, kind, remote, source};

/// The directory that a server shows, changed behind its back.
pub(crate) struct Directory {
    pub(crate) root: PathBuf,
    pub(crate) directories: bool,
    /// Names that this server cannot hold or show.
    pub lost: &'static [&'static str],
    pub age: AtomicU64,
}

impl Directory {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), directories: true, lost: &[], age: AtomicU64::new(100_000) }
    }

    /// Writes a file that was changed long ago, each later than the one before.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let age = self.age.fetch_sub(10, Ordering::Relaxed);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
}

#[async_trait]
impl RemoteEditor for Directory {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        if self.lost.iter().any(|name| path.ends_with(&format!("names/{name}"))) {
            return false;
        }
        self.write(path, content);
        true
    }
    async fn remove(&self, path: &str) {
        std::fs::remove_file(self.root.join(path)).unwrap();
    }
    async fn mkdir(&self, path: &str) -> bool {
        self.directories && std::fs::create_dir(self.root.join(path)).is_ok()
    }
}

/// rclone shows control characters as pictures of them.
pub static CONTROLS: [&str; 2] = ["tab\there", "new\nline"];

/// A directory to serve: over S3 it is the bucket of that name.
pub struct Served(tempfile::TempDir, PathBuf);

impl Served {
    pub fn path(&self) -> &Path {
        &self.1
    }

    /// The directory whose directories are buckets.
    pub fn buckets(&self) -> &Path {
        self.0.path()
    }
}

pub fn served() -> Served {
    let dir = kit::reaper::reachable();
    let bucket = dir.path().join("bucket");
    std::fs::create_dir(&bucket).unwrap();
    Served(dir, bucket)
}

pub(crate) async fn conforms(table: &str, directory: Directory) {
    let scratch = served();
    let source = configured(table).await.unwrap();
    let report = conformance::run(source.as_ref(), &directory, scratch.path()).await;
    assert!(report.passed(), "{report}");
}

pub(crate) async fn list(source: &dyn Source, dir: &str) -> kitovufs::error::Result<Vec<Entry>> {
    source.list_path(&remote(dir)).await?.try_collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_by_apache_keeps_the_contract() {
    let dir = served();
    let server = Webdav::apache(dir.path());
    conforms(&server.table(), Directory::new(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_by_rclone_keeps_the_contract() {
    let dir = served();
    let server = Webdav::rclone_with_password(dir.path());
    conforms(&server.table(), Directory { lost: &CONTROLS, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_by_rclone_keeps_the_contract() {
    let dir = served();
    let server = S3::rclone(dir.buckets());
    conforms(&server.table("bucket"), Directory { directories: false, lost: &CONTROLS, ..Directory::new(dir.path()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_without_entity_tags_keeps_the_contract() {
    let dir = served();
    let server = S3::rclone_without_tags(dir.buckets());
    conforms(&server.table("bucket"), Directory { directories: false, lost: &CONTROLS, ..Directory::new(dir.path()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_below_the_endpoint_shows_only_what_is_in_it() {
    let dir = served();
    let directory = Directory::new(dir.path());
    directory.write("a b/ü/inner", b"x");
    directory.write("outer", b"x");
    let (apache, s3) = (Webdav::apache(dir.path()), S3::rclone(dir.buckets()));
    for table in [apache.table(), s3.table("bucket")] {
        let source = source(&format!("{table}root = \"/a b/ü/\"\n")).await;
        let names: Vec<_> = list(source.as_ref(), "").await.unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [b"inner".to_vec()]);
        source.create_remote_digest(&remote("inner")).await.unwrap();
        assert_eq!(kind(source.create_remote_digest(&remote("outer")).await), Err(ErrorKind::NotFound));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_thousand_files_is_one_request() {
    let dir = served();
    let directory = Directory::new(dir.path());
    for number in 0..1_000 {
        directory.write(&format!("many/{number}"), b"x");
    }
    let server = Webdav::apache(dir.path());
    let source = source(&server.table()).await;
    let before = server.requests().len();
    let entries = list(source.as_ref(), "many").await.unwrap();
    assert_eq!(entries.len(), 1_000);
    assert!(entries.iter().all(|entry| entry.digest.is_some() && entry.size == Some(1)));
    assert_eq!(server.requests()[before..], ["PROPFIND /many/ 207"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_several_pages_is_complete() {
    let dir = served();
    let directory = Directory::new(dir.path());
    for number in 0..1_250 {
        directory.write(&format!("many/{number:04}"), b"x");
    }
    directory.write("many/below/x", b"x");
    let server = S3::rclone(dir.buckets());
    let source = source(&server.table("bucket")).await;
    let names: BTreeSet<_> = list(source.as_ref(), "many").await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), 1_251);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_all_the_time_never_has_a_digest_twice() {
    let dir = served();
    let server = Webdav::apache(dir.path());
    let source = source(&server.table()).await;
    let mut seen = BTreeSet::new();
    for number in 0..30 {
        std::fs::write(dir.path().join("a"), format!("{number:02}")).unwrap();
        let answer = source.create_remote_digest(&remote("a")).await.unwrap();
        assert!(seen.insert(answer.digest.clone()), "version {number} has the digest of an earlier one");
        let mut out = Vec::new();
        let path = remote("a");
        let request = Retrieval::new(&path, &answer.digest, 2, 0..2);
        source.retrieve_file(&request, &mut out).await.unwrap();
        assert_eq!(out, format!("{number:02}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_text_can_be_read_over_webdav() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = served();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "bytes").unwrap();
    let server = Webdav::apache(dir.path());
    let source = source(&server.table()).await;
    let entries = list(source.as_ref(), "").await.unwrap();
    assert_eq!(entries[0].name, b"\xff\xfe");
    let (digest, mut out) = (entries[0].digest.as_ref().unwrap(), Vec::new());
    let request = Retrieval::new(&entries[0].path, digest, 5, 0..5);
    source.retrieve_file(&request, &mut out).await.unwrap();
    assert_eq!(out, b"bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_never_an_absence() {
    let dir = served();
    Directory::new(dir.path()).write("dir/a", b"x");
    let (mut apache, mut s3) = (Webdav::apache(dir.path()), S3::rclone(dir.buckets()));
    let sources = [source(&apache.table()).await, source(&s3.table("bucket")).await];
    for server in [&mut *apache, &mut *s3] {
        server.stop();
    }
    for source in &sources {
        for path in ["", "dir", "nothing"] {
            assert_eq!(kind(list(source.as_ref(), path).await), Err(ErrorKind::Unreachable));
            let digest = source.create_remote_digest(&remote("dir/a")).await;
            assert_eq!(kind(digest.map(drop)), Err(ErrorKind::Unreachable));
        }
    }
    for server in [&mut *apache, &mut *s3] {
        server.start();
    }
    for source in &sources {
        assert_eq!(list(source.as_ref(), "dir").await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_root_or_bucket_is_an_outage() {
    let dir = served();
    Directory::new(dir.path()).write("dir/a", b"x");
    let (apache, s3) = (Webdav::apache(dir.path()), S3::rclone(dir.buckets()));
    let wrong_bucket = s3.table("other");
    for table in
        [format!("{}root = \"gone\"", apache.table()), format!("{}root = \"gone\"", s3.table("bucket")), wrong_bucket]
    {
        let source = source(&table).await;
        assert_eq!(kind(list(source.as_ref(), "").await), Err(ErrorKind::Unreachable), "{table}");
        assert_eq!(kind(list(source.as_ref(), "a").await), Err(ErrorKind::Unreachable), "{table}");
        let digest = source.create_remote_digest(&remote("a")).await;
        assert_eq!(kind(digest.map(drop)), Err(ErrorKind::Unreachable), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_and_never_shown() {
    let dir = served();
    let (dav, s3) = (Webdav::rclone_with_password(dir.path()), S3::rclone(dir.buckets()));
    let wrong = [dav.table().replace("kit-password", "hunter2"), s3.table("bucket").replace("kit-secret", "hunter2")];
    for table in wrong {
        let source = source(&table).await;
        let error = list(source.as_ref(), "").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn settings_are_checked_all_at_once() {
    for (table, keys) in [
        ("type = \"webdav\"", vec![None]),
        ("type = \"webdav\"\nendpoint = \"ftp://x\"\nusernme = \"a\"", vec![Some("endpoint"), Some("usernme")]),
        ("type = \"webdav\"\nendpoint = \"https://a:b@x\"", vec![Some("endpoint")]),
        ("type = \"webdav\"\nendpoint = \"https://x\"\nroot = \"../y\"", vec![Some("root")]),
        ("type = \"s3\"\nbucket = \"a/b\"\naccess_key_id = \"x\"", vec![None, Some("bucket")]),
        ("type = \"s3\"", vec![None]),
    ] {
        let problems = configured(table).await.err().unwrap_or_default();
        let found: Vec<_> = problems.iter().map(|problem| problem.key.as_deref()).collect();
        assert_eq!(found, keys, "{table}");
    }
}
