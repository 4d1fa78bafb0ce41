//! Plugins: one that keeps to the protocol is a source like any other; what one does that does not harms nobody else.

mod trees;
mod turns;
mod wrong;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use kitovufs::digest::Digest;
use kitovufs::error::{ErrorKind, Result};
use kitovufs::source::conformance::{self, RemoteEditor};
use kitovufs::source::{Entry, LocalCopy, Retrieval, Source};
use serde_json::json;

use crate::kit::odd::Odd;
use crate::{configured, kind, remote, source};

/// Far more than any of this takes, also on a busy machine.
const ENOUGH: Duration = Duration::from_secs(60);

/// A directory, changed behind the plugin's back.
struct Directory(PathBuf);

#[async_trait]
impl RemoteEditor for Directory {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        // Longer than the tick of the clock that stamps files.
        tokio::time::sleep(Duration::from_millis(25)).await;
        true
    }
    async fn remove(&self, path: &str) {
        std::fs::remove_file(self.0.join(path)).unwrap();
    }
    async fn mkdir(&self, path: &str) -> bool {
        std::fs::create_dir(self.0.join(path)).is_ok()
    }
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).display().to_string()
}

async fn list(source: &dyn Source, dir: &str) -> Result<Vec<Entry>> {
    source.list_path(&remote(dir)).await?.try_collect().await
}

/// Names, with a slash after directories, in order.
async fn names(source: &dyn Source, dir: &str) -> Result<Vec<String>, ErrorKind> {
    let mut names: Vec<_> = kind(list(source, dir).await)?
        .iter()
        .map(|entry| format!("{}{}", String::from_utf8_lossy(&entry.name), if entry.is_directory() { "/" } else { "" }))
        .collect();
    names.sort();
    Ok(names)
}

async fn digest(source: &dyn Source, path: &str) -> Result<String, ErrorKind> {
    kind(source.create_remote_digest(&remote(path)).await.map(|remote| remote.digest.to_string()))
}

/// The whole file as the version that there is now.
async fn read(source: &dyn Source, path: &str) -> Result<String, ErrorKind> {
    let path = remote(path);
    let version = kind(source.create_remote_digest(&path).await)?;
    let mut out = Vec::new();
    let request = match version.size {
        Some(size) => Retrieval::new(&path, &version.digest, size, 0..size),
        None => Retrieval::of_unknown_size(&path, &version.digest),
    };
    kind(source.retrieve_file(&request, &mut out).await)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[tokio::test]
async fn the_example_in_python_keeps_the_contract_like_a_native_source() {
    let (dir, scratch) = (kit::reaper::reachable(), crate::kit::reaper::reachable());
    let (program, path) = (example("directory.py"), dir.path().display());
    let source =
        configured(&format!("type = 'plugin'\ncommand = ['python3', '{program}']\npath = '{path}'")).await.unwrap();
    let report = conformance::run(source.as_ref(), &Directory(dir.path().to_owned()), scratch.path()).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn calls_come_in_order_and_again_after_a_restart() {
    let odd = Odd::with_files(&[("/a", "one"), ("/d/b", "two")]).set("strict", json!(true));
    let odd = odd.wrong("retrieve_file", "once die while writing");
    let source = source(&odd.table()).await;
    assert_eq!(read(&*source, "d/b").await.as_deref(), Ok("two"));
    source.disconnect().await;
    let life = [
        "start",
        "hello",
        "configure",
        "connect",
        "list_path /",
        "create_remote_digest /a",
        "create_remote_digest /d/b",
    ];
    let expected = [
        &life[..],
        &["retrieve_file /d/b"],
        &life[..],
        &["retrieve_file /d/b", "create_remote_digest /d/b", "disconnect"],
    ];
    assert_eq!(odd.journal(), expected.concat());
}

#[tokio::test]
async fn the_local_digest_is_the_plugins_own_and_a_hash_is_ours() {
    let scratch = kit::reaper::reachable();
    let (file, path) = (scratch.path().join("a"), remote("a"));
    std::fs::write(&file, "abc").unwrap();
    let retrieved_as = Digest::new("v");
    let copy = LocalCopy { file: &file, path: &path, retrieved_as: &retrieved_as, size: 3 };
    let plain = Odd::with_files(&[("/a", "abc")]);
    let local = source(&plain.table()).await.create_local_digest(&copy).await.unwrap();
    assert_eq!(local.as_str(), "3:352441c2");
    let absent = Odd::with_files(&[]).set("local", json!(false));
    let local = source(&absent.table()).await.create_local_digest(&copy).await.unwrap();
    assert_eq!(local, retrieved_as);
    let hash = Odd::with_files(&[]).set("capabilities", json!({"content_digest": "md5"}));
    let local = source(&hash.table()).await.create_local_digest(&copy).await.unwrap();
    assert_eq!(local.as_str(), "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(hash.count("create_local_digest"), 0);
}

#[tokio::test]
async fn a_file_of_unknown_size_and_a_part_of_one_arrive() {
    let odd = Odd::with_files(&[("/a", "0123456789"), ("/empty", "")]).set("sizes", json!(false));
    let source_of_whole = source(&odd.table()).await;
    assert_eq!(read(&*source_of_whole, "a").await.as_deref(), Ok("0123456789"));
    assert_eq!(read(&*source_of_whole, "empty").await.as_deref(), Ok(""));
    let odd = odd.set("capabilities", json!({"ranges": true, "conditional": true, "ordered": true}));
    let source = source(&odd.table()).await;
    let (path, mut out) = (remote("a"), Vec::new());
    let version = source.create_remote_digest(&path).await.unwrap().digest;
    let modified = source.retrieve_file(&Retrieval::new(&path, &version, 10, 3..7), &mut out).await.unwrap().modified;
    assert_eq!(out, b"3456");
    let since = modified.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since, Duration::new(1_700_000_000, 250_000_000));
}

#[tokio::test]
async fn another_version_than_the_wanted_one_never_arrives() {
    let odd = Odd::with_files(&[("/a", "original")]).wrong("retrieve_file", "other bytes");
    let source = source(&odd.table()).await;
    let (path, mut out) = (remote("a"), Vec::new());
    let version = source.create_remote_digest(&path).await.unwrap().digest;
    let result = source.retrieve_file(&Retrieval::new(&path, &version, 8, 0..8), &mut out).await;
    assert_eq!((kind(result.map(drop)), out), (Err(ErrorKind::Changed), Vec::new()));
}
