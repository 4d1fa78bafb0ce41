//! Files that grow while they are read.

use super::fixture::*;
use crate::fs::live::CURRENT_FOR;
use crate::fs::*;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

/// A mount whose files named `*.log` are live.
fn live() -> Fixture {
    let (cache_dir, limits) = (kit::reaper::temporary(), ROOMY);
    let (cache, db) = Cache::open(cache_dir.path(), limits).expect("a cache");
    let memory = Memory::new();
    let (mut source, faults) = mounted("memory", memory.clone(), crate::freshness::Offline::Serve, &cache, &db);
    let pattern = globset::Glob::new("*.log").expect("a pattern");
    source.live = globset::GlobSetBuilder::new().add(pattern).build().expect("a set");
    Fixture { fs: FileSystem::new(vec![source], Layout::one_source(), cache), memory, faults, cache_dir }
}

async fn seen(mount: &Fixture, path: &str) -> (Inode, u64) {
    let found = mount.find(path).await.expect("lookup").expect("it is there");
    (found.inode, found.size)
}

async fn a_second() {
    tokio::time::sleep(CURRENT_FOR).await;
}

#[tokio::test(start_paused = true)]
async fn a_live_file_keeps_its_inode_and_an_open_one_shows_what_is_added() {
    let mount = live();
    mount.memory.put("a.log", "one\n");
    let (inode, size) = seen(&mount, "a.log").await;
    assert_eq!(size, 4);
    let opened = mount.fs.open(inode).await.expect("open");
    assert!(opened.live && opened.proven_file.is_none());
    assert_eq!(mount.fs.read(opened.handle, 0..100).await.expect("read"), "one\n");
    mount.memory.put("a.log", "one\ntwo\n");
    a_second().await;
    let now = mount.fs.attributes_now(inode).await.expect("attributes");
    assert_eq!((now.size, now.valid_for), (8, Duration::ZERO));
    assert_eq!(mount.fs.read(opened.handle, 4..100).await.expect("read"), "two\n");
    assert_eq!(mount.fs.read(opened.handle, 8..100).await.expect("read"), "");
    assert_eq!(seen(&mount, "a.log").await, (inode, 8));
    assert!(mount.objects().is_empty(), "nothing of it is in the cache");
}

#[tokio::test(start_paused = true)]
async fn the_source_is_asked_about_a_live_file_once_a_second() {
    let mount = live();
    mount.memory.put("a.log", "one\n");
    let (inode, _) = seen(&mount, "a.log").await;
    for second in 1..4 {
        for _ in 0..10 {
            mount.fs.attributes_now(inode).await.expect("attributes");
            seen(&mount, "a.log").await;
        }
        assert_eq!(mount.faults.calls(Method::CreateRemoteDigest), second);
        a_second().await;
    }
    assert_eq!(mount.faults.calls(Method::ListPath), 1);
}

#[tokio::test(start_paused = true)]
async fn a_live_file_that_changes_before_it_is_read_is_asked_about_anew() {
    let mount = live();
    mount.memory.put("a.log", "one\n");
    let opened = mount.open("a.log").await.expect("open");
    mount.memory.put("a.log", "one\ntwo\n");
    assert_eq!(mount.fs.read(opened, 0..100).await.expect("read"), "one\ntwo\n");
    mount.memory.put("a.log", "new\n");
    assert_eq!(mount.fs.read(opened, 0..100).await.expect("read"), "new\n", "it was replaced by a shorter one");
    mount.faults.set(Method::RetrieveFile, Fault::Fail(ErrorKind::Changed));
    let error = mount.fs.read(opened, 0..100).await.expect_err("it changes every time");
    assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
}

#[tokio::test(start_paused = true)]
async fn fewer_bytes_than_there_are_are_never_taken_for_the_end_of_a_live_file() {
    let mount = live();
    mount.memory.put("a.log", "one\ntwo\n");
    let opened = mount.open("a.log").await.expect("open");
    mount.faults.set_times(Method::RetrieveFile, Fault::Truncate(3), 1);
    assert_eq!(mount.fs.read(opened, 0..100).await.expect("read"), "one\ntwo\n");
}

#[tokio::test(start_paused = true)]
async fn a_live_file_of_a_source_that_is_away_is_as_it_was_and_one_that_is_gone_is_not_there() {
    let mount = live();
    mount.memory.put("a.log", "one\n");
    let (inode, _) = seen(&mount, "a.log").await;
    a_second().await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    assert_eq!(seen(&mount, "a.log").await, (inode, 4));
    assert_eq!(mount.fs.attributes_now(inode).await.expect("attributes").size, 4);
    assert!(mount.fs.open(inode).await.is_err());
    mount.faults.clear_all();
    mount.memory.remove("a.log");
    a_second().await;
    assert_eq!(mount.find("a.log").await.expect("lookup"), None);
    assert_eq!(mount.fs.attributes_now(inode).await.expect("who has it open may look at it").size, 4);
    assert_eq!(mount.fs.open(inode).await.err().map(|error| error.kind()), Some(ErrorKind::Changed));
}

#[tokio::test(start_paused = true)]
async fn files_of_other_names_are_versions() {
    let mount = live();
    mount.memory.put("a.txt", "one\n");
    let (inode, _) = seen(&mount, "a.txt").await;
    assert!(!mount.fs.open(inode).await.expect("open").live);
    mount.memory.put("a.txt", "one\ntwo\n");
    expire().await;
    assert_ne!(seen(&mount, "a.txt").await.0, inode);
}
