mod changes;
mod outages;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kitovufs::error::{Error, ErrorKind, Result};
use kitovufs::source::conformance::{self, RemoteEditor};
use kitovufs::source::{Entry, Retrieval, Sink, Source};

use crate::kit::samba::Samba;
use crate::{configured, kind, remote, source};

/// The directory that a share shows, changed behind its back.
struct Directory {
    root: PathBuf,
    age: AtomicU64,
}

impl Directory {
    fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), age: AtomicU64::new(100_000) }
    }

    /// Names that SMB forbids are stored as every other client stores them.
    fn place(&self, path: &str) -> PathBuf {
        path.split('/').fold(self.root.clone(), |place, name| place.join(&*smb2::encode_name(name)))
    }

    /// Writes a file that was changed long ago, each later than the one before.
    fn write(&self, path: &str, content: &[u8]) {
        let path = self.place(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let age = self.age.fetch_sub(10, Ordering::Relaxed);
        set_age(&path, Duration::from_secs(age));
    }
}

#[async_trait]
impl RemoteEditor for Directory {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        self.write(path, content);
        true
    }
    async fn remove(&self, path: &str) {
        std::fs::remove_file(self.place(path)).unwrap();
    }
    async fn mkdir(&self, path: &str) -> bool {
        std::fs::create_dir(self.place(path)).is_ok()
    }
}

fn set_age(path: &Path, age: Duration) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn served() -> tempfile::TempDir {
    kit::reaper::reachable()
}

async fn conforms(table: &str, dir: &Path) {
    let scratch = served();
    let source = configured(table).await.unwrap();
    let report = conformance::run(source.as_ref(), &Directory::new(dir), scratch.path()).await;
    assert!(report.passed(), "{report}");
}

async fn list(source: &dyn Source, dir: &str) -> Result<Vec<Entry>> {
    source.list_path(&remote(dir)).await?.try_collect().await
}

async fn names(source: &dyn Source, dir: &str) -> BTreeSet<String> {
    let entries = list(source, dir).await.unwrap();
    entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
}

async fn read(source: &dyn Source, path: &str) -> Result<Vec<u8>> {
    let (path, mut out) = (remote(path), Vec::new());
    let now = source.create_remote_digest(&path).await?;
    let size = now.size.unwrap();
    let request = Retrieval::new(&path, &now.digest, size, 0..size);
    source.retrieve_file(&request, &mut out).await?;
    Ok(out)
}

/// Does something after the first bytes came.
struct Meddling<F> {
    taken: Vec<u8>,
    meddle: Option<F>,
}

#[async_trait]
impl<F: FnOnce() + Send> Sink for Meddling<F> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.taken.extend_from_slice(&bytes);
        if let Some(meddle) = self.meddle.take() {
            meddle();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_keeps_the_contract_signed() {
    let dir = served();
    let samba = Samba::run(dir.path());
    conforms(&samba.table("kit"), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_requires_encryption_keeps_the_contract() {
    let dir = served();
    let samba = Samba::run(dir.path());
    conforms(&samba.table("sealed"), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_encrypts_everything_keeps_the_contract() {
    let dir = served();
    let samba = Samba::run_with(dir.path(), "server smb encrypt = required");
    conforms(&samba.table("kit"), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_share_keeps_the_contract() {
    let dir = served();
    let samba = Samba::run(dir.path());
    conforms(&samba.guest_table("open"), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_guests_says_so() {
    let dir = served();
    let samba = Samba::run_with(dir.path(), "map to guest = never");
    let source = configured(&samba.guest_table("open")).await.unwrap();
    assert_eq!(kind(source.connect().await), Err(ErrorKind::Unauthenticated));
}

#[tokio::test(flavor = "multi_thread")]
async fn older_dialects_are_spoken() {
    let dir = served();
    for dialect in ["SMB2_02", "SMB2_10", "SMB3_00", "SMB3_02"] {
        let samba = Samba::run_with(dir.path(), &format!("server max protocol = {dialect}"));
        let content = vec![7; 300_000];
        std::fs::write(dir.path().join(dialect), &content).unwrap();
        let source = source(&samba.table("kit")).await;
        assert!(read(source.as_ref(), dialect).await.unwrap() == content, "{dialect}");
        let sealed = configured(&samba.table("sealed")).await.unwrap();
        let connected = sealed.connect().await;
        if dialect.starts_with("SMB3") {
            connected.unwrap();
            assert!(read(sealed.as_ref(), dialect).await.unwrap() == content, "{dialect}, encrypted");
        } else {
            let error = connected.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("encryption"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_gives_the_same_digests_as_asking_for_each_file() {
    let dir = served();
    let directory = Directory::new(dir.path());
    for name in ["a", "ü", "what?", "deep/er"] {
        directory.write(name, name.as_bytes());
    }
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    for entry in list(source.as_ref(), "").await.unwrap().into_iter().filter(|entry| !entry.is_directory()) {
        let asked = source.create_remote_digest(&entry.path).await.unwrap();
        assert_eq!(
            (entry.digest, entry.size, entry.modified),
            (Some(asked.digest.clone()), asked.size, asked.modified)
        );
        // Size, two times and the file's index.
        assert_eq!(asked.digest.as_str().split('-').count(), 4, "{:?}", asked.digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_are_listed_with_their_digests() {
    let dir = served();
    std::fs::create_dir(dir.path().join("many")).unwrap();
    for number in 0..10_000 {
        let path = dir.path().join(format!("many/file number {number:05}.txt"));
        std::fs::write(&path, "x").unwrap();
    }
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    let entries = list(source.as_ref(), "many").await.unwrap();
    assert!(entries.iter().all(|entry| entry.digest.is_some() && entry.size == Some(1)));
    assert_eq!(entries.into_iter().map(|entry| entry.name).collect::<BTreeSet<_>>().len(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_files_are_shown_and_links_are_followed_by_the_server() {
    let dir = served();
    for name in [".hidden", "target"] {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("target", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("missing", dir.path().join("dangling")).unwrap();
    let samba = Samba::run(dir.path());
    samba.client("kit", "setmode target +h");
    let source = source(&samba.table("kit")).await;
    let found = names(source.as_ref(), "").await;
    assert!([".hidden", "target", "link"].iter().all(|name| found.contains(*name)), "{found:?}");
    assert_eq!(read(source.as_ref(), "link").await.unwrap(), b"target");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_shows_only_what_is_below_and_its_loss_is_an_outage() {
    let dir = served();
    let directory = Directory::new(dir.path());
    directory.write("a b/ü?/inner", b"x");
    directory.write("outer", b"x");
    let samba = Samba::run(dir.path());
    let source = source(&format!("{}root = \"/a b/ü?/\"\n", samba.table("kit"))).await;
    assert_eq!(names(source.as_ref(), "").await, BTreeSet::from(["inner".to_owned()]));
    assert_eq!(read(source.as_ref(), "inner").await.unwrap(), b"x");
    assert_eq!(kind(source.create_remote_digest(&remote("outer")).await), Err(ErrorKind::NotFound));
    assert_eq!(kind(list(source.as_ref(), "inner").await), Err(ErrorKind::NotADirectory));
    std::fs::rename(dir.path().join("a b"), dir.path().join("moved")).unwrap();
    for path in ["", "below"] {
        assert_eq!(kind(list(source.as_ref(), path).await), Err(ErrorKind::Unreachable), "{path}");
    }
    let digest = source.create_remote_digest(&remote("inner")).await;
    assert_eq!(kind(digest.map(drop)), Err(ErrorKind::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_when_connecting() {
    let dir = served();
    let samba = Samba::run(dir.path());
    let right = samba.table("kit");
    for (table, expected, word) in [
        (right.replace("kit-password", "hunter2"), ErrorKind::Unauthenticated, "password"),
        (right.replace("anna", "berta"), ErrorKind::Unauthenticated, "password"),
        (samba.table("missing"), ErrorKind::Unreachable, "`share`"),
        (samba.table("locked"), ErrorKind::PermissionDenied, "share"),
        (samba.guest_table("kit"), ErrorKind::PermissionDenied, "share"),
        (format!("{right}root = \"gone/away\"\n"), ErrorKind::Unreachable, "gone/away"),
    ] {
        let source = configured(&table).await.unwrap();
        let error = source.connect().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(word) && !shown.contains("hunter2"), "{shown}");
        assert_eq!(kind(list(source.as_ref(), "").await), Err(ErrorKind::Unreachable), "not connected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_may_not_read_is_denied() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = served();
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    std::fs::set_permissions(dir.path().join("secret"), std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::create_dir(dir.path().join("closed")).unwrap();
    std::fs::set_permissions(dir.path().join("closed"), std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let samba = Samba::run(dir.path());
    // Who runs the tests may be root, who may everything: the share for guests is somebody else's.
    let source = source(&samba.guest_table("nobodys")).await;
    assert_eq!(kind(read(source.as_ref(), "secret").await), Err(ErrorKind::PermissionDenied));
    assert_eq!(kind(list(source.as_ref(), "closed").await), Err(ErrorKind::PermissionDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_get_their_own_bytes() {
    let dir = served();
    let directory = Directory::new(dir.path());
    for number in 0..64_u8 {
        directory.write(&format!("file {number}"), &vec![number; 100_000 + usize::from(number)]);
    }
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    let reads = (0..64_u8).map(|number| {
        let source = source.as_ref();
        async move {
            let bytes = read(source, &format!("file {number}")).await.unwrap();
            assert!(bytes == vec![number; 100_000 + usize::from(number)], "{number}");
        }
    });
    futures::future::join_all(reads).await;
}
