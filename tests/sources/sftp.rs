//! SFTP against OpenSSH's server.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use kitovufs::error::{ErrorKind, Result};
use kitovufs::source::{Retrieval, Sink, Source};
use tokio::sync::Barrier;

use crate::kit::proxy::{Link, Proxy};
use crate::kit::slow::slow;
use crate::kit::sshd::Sshd;
use crate::real::{Directory, conforms, list};
use crate::{configured, kind, remote, source};

pub(crate) fn served() -> tempfile::TempDir {
    kit::reaper::reachable()
}

async fn read(source: &dyn Source, path: &str) -> Result<Vec<u8>> {
    let (path, mut out) = (remote(path), Vec::new());
    let answer = source.create_remote_digest(&path).await?;
    let size = answer.size.expect("a size");
    source.retrieve_file(&Retrieval::new(&path, &answer.digest, size, 0..size), &mut out).await?;
    Ok(out)
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_by_the_client_inside_keeps_the_contract() {
    let dir = served();
    let server = Sshd::run(dir.path());
    conforms(&server.table(), Directory::new(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_by_the_program_ssh_keeps_the_contract() {
    let dir = served();
    let server = Sshd::run(dir.path());
    conforms(&server.table_with_alias("the-lab"), Directory::new(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_are_listed_in_few_round_trips() {
    let dir = served();
    for number in 0..10_000 {
        std::fs::write(dir.path().join(format!("{number}")), "x").unwrap();
    }
    let mut server = Sshd::run(dir.path());
    // A round trip takes 400 ms; asked for one after the other, the hundred answers would take forty seconds.
    let far = slow(server.port(), Duration::from_millis(200)).await;
    server.reach_through(far);
    let source = source(&server.table()).await;
    let began = Instant::now();
    let entries = list(source.as_ref(), "").await.unwrap();
    let took = began.elapsed();
    assert_eq!(entries.len(), 10_000);
    assert!(entries.iter().all(|entry| entry.digest.is_some() && entry.size == Some(1)));
    println!("it took {took:?}");
    assert!(took < Duration::from_secs(20), "it took {took:?}");
}

/// Waits, with its first bytes, until all others have theirs.
struct Meeting(Arc<Barrier>, Vec<u8>);

#[async_trait]
impl Sink for Meeting {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.1.is_empty() {
            self.0.wait().await;
        }
        self.1.extend_from_slice(&bytes);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_open_files_are_all_read() {
    const FILES: usize = 300;
    let dir = served();
    let directory = Directory::new(dir.path());
    for number in 0..FILES {
        directory.write(&format!("{number}"), format!("{number}").repeat(9).as_bytes());
    }
    let server = Sshd::run(dir.path());
    let source: Arc<dyn Source> = source(&server.table()).await.into();
    let barrier = Arc::new(Barrier::new(FILES));
    let mut readers = tokio::task::JoinSet::new();
    for entry in list(source.as_ref(), "").await.unwrap() {
        let (source, mut out) = (Arc::clone(&source), Meeting(Arc::clone(&barrier), Vec::new()));
        readers.spawn(async move {
            let (digest, size) = (entry.digest.unwrap(), entry.size.unwrap());
            let request = Retrieval::new(&entry.path, &digest, size, 0..size);
            source.retrieve_file(&request, &mut out).await.unwrap();
            assert_eq!(out.1, entry.name.repeat(9), "{}", entry.path);
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_over_a_slow_line_does_not_take_a_round_trip_for_each_read() {
    let dir = served();
    let content: Vec<u8> = (0..8_u32 << 18).flat_map(u32::to_le_bytes).collect();
    Directory::new(dir.path()).write("large", &content);
    let mut server = Sshd::run(dir.path());
    // One after the other, 33 reads would take more than thirteen seconds.
    let far = slow(server.port(), Duration::from_millis(200)).await;
    server.reach_through(far);
    for table in [server.table(), server.table_with_alias("lab")] {
        let source = source(&table).await;
        let began = Instant::now();
        assert!(read(source.as_ref(), "large").await.unwrap() == content);
        let took = began.elapsed();
        println!("33 reads took {took:?}");
        assert!(took < Duration::from_secs(10), "33 reads took {took:?}");
        source.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_each_connection_is_slow_four_bring_bytes() {
    const PART: u64 = 8 << 20;
    let dir = served();
    let content: Arc<Vec<u8>> = Arc::new((0..8_u32 << 20).flat_map(u32::to_le_bytes).collect());
    Directory::new(dir.path()).write("large", &content);
    let mut server = Sshd::run(dir.path());
    let proxy = Proxy::to(server.port());
    proxy.set(Link { bandwidth: Some(8_000_000), ..Link::default() });
    server.reach_through(proxy.port());
    let source: Arc<dyn Source> = source(&server.table()).await.into();
    let digest = source.create_remote_digest(&remote("large")).await.unwrap().digest;
    assert_eq!(server.connections(), 1);
    let mut most = 0;
    while most < 4 {
        let mut readers = tokio::task::JoinSet::new();
        for part in 0..4 {
            let (source, digest, content) = (Arc::clone(&source), digest.clone(), Arc::clone(&content));
            readers.spawn(async move {
                let (path, range, mut out) = (remote("large"), part * PART..(part + 1) * PART, Vec::new());
                let request = Retrieval::new(&path, &digest, 4 * PART, range.clone());
                source.retrieve_file(&request, &mut out).await.unwrap();
                assert!(out == content[range.start as usize..range.end as usize], "part {part}");
            });
        }
        while let Some(reader) = readers.join_next().await {
            reader.unwrap();
            most = most.max(server.connections());
        }
    }
    assert_eq!(most, 4);
    source.disconnect().await;
    while server.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_text_can_be_read() {
    let dir = served();
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe dir");
    std::fs::create_dir(dir.path().join(name)).unwrap();
    std::fs::write(dir.path().join(name).join(std::ffi::OsStr::from_bytes(b"\x80")), "bytes").unwrap();
    let server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    let entries = list(source.as_ref(), "").await.unwrap();
    assert_eq!(entries[0].name, b"\xff\xfe dir");
    let stream = source.list_path(&entries[0].path).await.unwrap();
    let inner: Vec<_> = futures::TryStreamExt::try_collect(stream).await.unwrap();
    assert_eq!(inner[0].name, b"\x80");
    let (digest, mut out) = (inner[0].digest.as_ref().unwrap(), Vec::new());
    let request = Retrieval::new(&inner[0].path, digest, 5, 0..5);
    source.retrieve_file(&request, &mut out).await.unwrap();
    assert_eq!(out, b"bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn special_files_are_left_out() {
    let dir = served();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    let names: Vec<_> = list(source.as_ref(), "").await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [b"file".to_vec()]);
    assert_eq!(kind(source.create_remote_digest(&remote("socket")).await), Err(ErrorKind::Unsupported));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_directory_is_told_from_what_is_not_there() {
    let dir = served();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    assert_eq!(kind(list(source.as_ref(), "file").await), Err(ErrorKind::NotADirectory));
    assert_eq!(kind(list(source.as_ref(), "nothing").await), Err(ErrorKind::NotFound));
    assert_eq!(kind(source.create_remote_digest(&remote("file/x")).await), Err(ErrorKind::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    if rustix::process::geteuid().is_root() {
        return; // root may read everything
    }
    let dir = served();
    let directory = Directory::new(dir.path());
    directory.write("file", b"x");
    directory.write("dir/x", b"x");
    let server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    let digest = source.create_remote_digest(&remote("file")).await.unwrap().digest;
    for name in ["file", "dir"] {
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    assert_eq!(kind(list(source.as_ref(), "dir").await), Err(ErrorKind::PermissionDenied));
    let (path, mut out) = (remote("file"), Vec::new());
    let request = Retrieval::new(&path, &digest, 1, 0..1);
    assert_eq!(kind(source.retrieve_file(&request, &mut out).await.map(drop)), Err(ErrorKind::PermissionDenied));
    std::fs::set_permissions(dir.path().join("dir"), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_never_an_absence_and_ends() {
    let dir = served();
    Directory::new(dir.path()).write("dir/a", b"x");
    let mut server = Sshd::run(dir.path());
    for table in [server.table(), server.table_with_alias("lab")] {
        let source = source(&table).await;
        assert_eq!(list(source.as_ref(), "dir").await.unwrap().len(), 1);
        server.stop();
        for path in ["", "dir", "nothing"] {
            assert_eq!(kind(list(source.as_ref(), path).await), Err(ErrorKind::Unreachable), "{path}");
            let digest = source.create_remote_digest(&remote("dir/a")).await;
            assert_eq!(kind(digest.map(drop)), Err(ErrorKind::Unreachable));
        }
        assert_eq!(kind(source.connect().await), Err(ErrorKind::Unreachable));
        server.start();
        source.connect().await.unwrap();
        assert_eq!(read(source.as_ref(), "dir/a").await.unwrap(), b"x");
        source.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_lost_unused_is_replaced() {
    let dir = served();
    Directory::new(dir.path()).write("a", b"x");
    let mut server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    server.start();
    // The client inside hears of it in its own time.
    let deadline = Instant::now() + Duration::from_secs(10);
    while kind(list(source.as_ref(), "").await).is_err() {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(read(source.as_ref(), "a").await.unwrap(), b"x");
    assert_eq!(server.connections(), 1);
    source.disconnect().await;
    while server.connections() > 0 {
        assert!(Instant::now() < deadline, "the connection outlives the source's end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(list(source.as_ref(), "").await.is_err(), "nothing connects after the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_not_there_is_an_outage() {
    let dir = served();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let server = Sshd::run(&root);
    let source = source(&server.table()).await;
    std::fs::remove_dir(&root).unwrap();
    assert_eq!(kind(list(source.as_ref(), "").await), Err(ErrorKind::Unreachable));
    assert_eq!(kind(list(source.as_ref(), "a").await), Err(ErrorKind::Unreachable));
    assert_eq!(kind(source.create_remote_digest(&remote("a")).await), Err(ErrorKind::Unreachable));
    let fresh = configured(&server.table()).await.unwrap();
    let error = fresh.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("is `root` right?"), "{error}");
    std::fs::write(&root, "a file").unwrap();
    assert_eq!(kind(fresh.connect().await), Err(ErrorKind::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_all_the_time_never_has_a_digest_twice() {
    let dir = served();
    let server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..30 {
        let content = format!("{number:02}");
        std::fs::write(dir.path().join("a"), &content).unwrap();
        let path = remote("a");
        let answer = source.create_remote_digest(&path).await.unwrap();
        assert!(seen.insert(answer.digest.clone()), "version {number} has the digest of an earlier one");
        let mut out = Vec::new();
        let request = Retrieval::new(&path, &answer.digest, 2, 0..2);
        source.retrieve_file(&request, &mut out).await.unwrap();
        assert_eq!(out, content.as_bytes());
    }
}

/// Replaces the file when the first bytes have come.
struct Meddler<'a>(&'a Directory, &'a [u8], Vec<u8>);

#[async_trait]
impl Sink for Meddler<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.2.is_empty() {
            self.0.write("large", self.1);
        }
        self.2.extend_from_slice(&bytes);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_overwritten_while_it_is_read_never_counts_as_whole() {
    let dir = served();
    let directory = Directory::new(dir.path());
    let (old, new) = (vec![b'o'; 64 << 20], vec![b'n'; 64 << 20]);
    directory.write("large", &old);
    let server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    let path = remote("large");
    let answer = source.create_remote_digest(&path).await.unwrap();
    let size = old.len() as u64;
    let mut out = Meddler(&directory, &new, Vec::new());
    let request = Retrieval::new(&path, &answer.digest, size, 0..size);
    let refused = kind(source.retrieve_file(&request, &mut out).await.map(drop));
    assert_eq!(refused, Err(ErrorKind::Changed));
    assert!(out.2.len() < old.len(), "the last bytes are held back");
}
