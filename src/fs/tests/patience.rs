//! Remembered answers do not wait for remote ones: a source in memory takes long, and its known answers are served.

use tokio::time::Instant;

use super::fixture::*;
use crate::cache::block::BLOCK;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

/// For how long `act` waits, by tokio's clock.
async fn took<T>(act: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let result = act.await;
    (result, began.elapsed())
}

/// A memory source whose listings tell no digests, so that every file is asked for alone.
fn telling_no_digests() -> Memory {
    let memory = Memory::new();
    let capabilities = crate::source::Source::capabilities(&memory);
    memory.with_capabilities(crate::source::Capabilities { digest_from_listing: false, ..capabilities })
}

#[tokio::test(start_paused = true)]
async fn a_cached_file_waits_for_a_hanging_source_once_and_then_no_more() {
    for memory in [Memory::new(), telling_no_digests()] {
        let mount = Fixture::with(memory, ROOMY, Offline::Serve);
        mount.memory.put("dir/file", "bytes");
        mount.memory.put("dir/large", vec![7; 4 << 20]);
        assert_eq!(mount.read("dir/file").await.expect("read"), "bytes");
        assert_eq!(mount.read("dir/large").await.expect("read").len(), 4 << 20);
        expire().await;
        mount.faults.set_all(Fault::Hang);
        let (read, first) = took(mount.read("dir/file")).await;
        assert_eq!((read.expect("it is cached"), first), ("bytes".into(), PATIENCE));
        let (read, second) = took(mount.read("dir/file")).await;
        assert_eq!((read.expect("it is cached"), second), ("bytes".into(), Duration::ZERO));
        let (read, large) = took(mount.read("dir/large")).await;
        assert_eq!((read.expect("it is cached").len(), large), (4 << 20, Duration::ZERO));
        let (list, time) = took(mount.list()).await;
        assert_eq!((list.expect("it is known"), time), (vec!["dir".to_owned()], Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_waits_until_the_timeout() {
    let mount = Fixture::new();
    mount.memory.put("dir/file", "bytes");
    mount.memory.put("unread/file", "bytes");
    mount.list().await.expect("list");
    mount.faults.set_all(Fault::Hang);
    let (found, time) = took(mount.find("unread/file")).await;
    assert_eq!((found.map_err(|error| error.kind()), time), (Err(ErrorKind::TimedOut), TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_old_answers_waits_for_new_ones() {
    let mount = Fixture::with(Memory::new(), ROOMY, Offline::Fail);
    mount.memory.put("file", "bytes");
    mount.read("file").await.expect("read");
    expire().await;
    mount.faults.set_all(Fault::Hang);
    let (read, time) = took(mount.read("file")).await;
    assert_eq!((read.map_err(|error| error.kind()), time), (Err(ErrorKind::TimedOut), TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn the_question_goes_on_and_its_answer_counts() {
    let mount = Fixture::new();
    mount.memory.put("file", "old");
    assert_eq!(mount.read("file").await.expect("read"), "old");
    expire().await;
    mount.memory.put("file", "new");
    mount.faults.set(Method::ListPath, Fault::Delay(PATIENCE + Duration::from_secs(3)));
    assert_eq!(mount.read("file").await.expect("read"), "old", "the source had its time");
    assert!(mount.fs.sources[0].catalog.is_slow());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!mount.fs.sources[0].catalog.is_slow(), "it has answered");
    let (read, time) = took(mount.read("file")).await;
    assert_eq!((read.expect("read"), time), ("new".into(), Duration::ZERO));
    assert_eq!(mount.faults.calls(Method::ListPath), 2, "nothing was asked twice");
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_patience_is_waited_for() {
    let mount = Fixture::new();
    mount.memory.put("file", "old");
    assert_eq!(mount.read("file").await.expect("read"), "old");
    expire().await;
    mount.memory.put("file", "new");
    mount.faults.set(Method::ListPath, Fault::Delay(PATIENCE / 2));
    let (read, time) = took(mount.read("file")).await;
    assert_eq!((read.expect("read"), time), ("new".into(), PATIENCE / 2));
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_kept_shortly_only() {
    let mount = Fixture::new();
    mount.memory.put("file", "bytes");
    mount.read("file").await.expect("read");
    expire().await;
    mount.faults.set_all(Fault::Hang);
    let lookup = mount.fs.lookup(Inode::ROOT, b"file").await.expect("it is known");
    assert_eq!(lookup.valid_for, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_walk_through_a_known_tree_leaves_few_questions() {
    let mount = Fixture::new();
    for n in 0..50 {
        mount.memory.put(&format!("{n}/file"), "x");
    }
    for n in 0..50 {
        mount.find(&format!("{n}/file")).await.expect("lookup").expect("there");
    }
    expire().await;
    mount.faults.reset_counts();
    mount.faults.set_all(Fault::Hang);
    let (_, time) = took(async {
        for n in 0..50 {
            mount.find(&format!("{n}/file")).await.expect("it is known").expect("there");
        }
    })
    .await;
    assert_eq!(time, PATIENCE);
    // The questions are tasks of their own.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(mount.faults.calls(Method::ListPath), crate::freshness::MAX_QUESTIONS_WHILE_SLOW as u64);
}

#[tokio::test(start_paused = true)]
async fn what_is_here_of_a_large_file_can_be_opened_while_the_source_hangs() {
    let mount = Fixture::new();
    let content = content(8 << 20);
    mount.memory.put("large", content.clone());
    let open = mount.open("large").await.expect("open");
    mount.fs.read(open, 0..BLOCK).await.expect("read");
    mount.fs.release(open);
    expire().await;
    mount.faults.set_all(Fault::Hang);
    let (opened, time) = took(mount.open("large")).await;
    assert_eq!(time, PATIENCE);
    let opened = opened.expect("its first block is here");
    let (read, time) = took(mount.fs.read(opened, 0..BLOCK)).await;
    assert_eq!((&read.expect("it is here")[..], time), (&content[..BLOCK as usize], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_hanging_source_shows_its_last_known_tree() {
    let mount = Fixture::new();
    mount.memory.put("dir/file", "bytes");
    mount.read("dir/file").await.expect("read");
    let mount = mount.restart(ROOMY).await;
    mount.faults.set_all(Fault::Hang);
    let (read, time) = took(mount.read("dir/file")).await;
    assert_eq!((read.expect("it is cached"), time), ("bytes".into(), PATIENCE));
}
