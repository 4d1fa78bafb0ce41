//! The file system without a kernel, over a source in memory whose faults are set by hand. Time is tokio's, so nothing waits.

mod ahead;
mod breaks;
mod content;
mod copy;
mod damage;
mod early;
mod ends;
mod export;
pub(super) mod fixture;
mod history;
mod live;
mod others;
mod pace;
mod patience;
mod pins;
mod refusals;
mod replaced;
mod room;
mod stops;
mod unconfirmed;
mod unsized_files;
mod walks;
mod warm;

use std::sync::atomic::Ordering;

use self::fixture::*;
use super::*;
use crate::cache::block::BLOCK;
use crate::freshness::Offline;
use crate::source::Capabilities;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_a_new_inode_and_the_old_one_keeps_its_bytes() {
    let mount = Fixture::new();
    mount.memory.put("file", "old bytes");
    let before = mount.find("file").await.expect("lookup").expect("there").inode;
    let open = mount.open("file").await.expect("open");
    mount.memory.put("file", "new bytes");
    expire().await;
    let after = mount.find("file").await.expect("lookup").expect("there").inode;
    assert_ne!(before, after);
    assert_eq!(mount.read("file").await.expect("read"), "new bytes");
    assert_eq!(mount.fs.read(open, 0..u64::MAX).await.expect("read"), "old bytes");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_source_reports_is_seen_at_once() {
    let mount = Fixture::new();
    let path = |text: &str| RemotePath::parse(text.as_bytes()).expect("a path");
    mount.memory.put("dir/file", "old");
    mount.memory.put("dir/other", "x");
    let before = mount.find("dir/file").await.expect("lookup").expect("there");
    let dir = mount.find("dir").await.expect("lookup").expect("there").inode;
    mount.memory.put("dir/file", "new");
    let name = |text: &str| -> LocalName { text.as_bytes().into() };
    assert_eq!(mount.fs.changed(0, &path("dir/file")), [(dir, name("file"))]);
    let after = mount.find("dir/file").await.expect("lookup").expect("there");
    assert_ne!(before.inode, after.inode);
    assert_eq!(mount.read("dir/file").await.expect("read"), "new");
    mount.memory.put("dir/third", "y");
    assert_eq!(
        mount.fs.changed(0, &path("dir")),
        [(Inode::ROOT, name("dir")), (dir, name("file")), (dir, name("other"))]
    );
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(mount.find("dir/third").await.expect("lookup").is_some());
    let asked = mount.faults.calls(Method::ListPath);
    assert!(mount.find("dir/third").await.expect("lookup").is_some());
    assert_eq!(mount.faults.calls(Method::ListPath), asked, "what was asked anew counts again");
}

#[tokio::test(start_paused = true)]
async fn one_listing_answers_for_a_thousand_names_there_and_not_there() {
    let mount = Fixture::new();
    for n in 0..1000 {
        mount.memory.put(&format!("{n}"), "x");
    }
    assert_eq!(mount.list().await.expect("list").len(), 1000);
    for n in 0..1000 {
        assert!(mount.find(&format!("{n}")).await.expect("lookup").is_some());
        assert!(mount.find(&format!("absent {n}")).await.expect("lookup").is_none());
    }
    assert_eq!(mount.faults.calls(Method::ListPath), 1);
    assert_eq!(mount.faults.calls(Method::CreateRemoteDigest), 0);
    assert_eq!(mount.faults.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_read_from_its_beginning_again_is_current() {
    let mount = Fixture::new();
    mount.memory.put("old", "x");
    mount.memory.put("stays", "x");
    let handle = mount.fs.open_dir(Inode::ROOT).await.expect("opened");
    assert!(!mount.fs.begins_anew(handle), "opening it has made it current");
    assert_eq!(mount.names(handle), ["old", "stays"]);
    mount.memory.remove("old");
    mount.memory.put("young", "x");
    expire().await;
    assert_eq!(mount.names(handle), ["old", "stays"], "the snapshot stays what it is");
    assert!(mount.fs.begins_anew(handle));
    mount.fs.rewind_dir(handle, Inode::ROOT).await.expect("listed");
    assert_eq!(mount.names(handle), ["stays", "young"]);
    mount.fs.release_dir(handle);
    mount.fs.rewind_dir(handle, Inode::ROOT).await.expect("listed");
    assert!(!mount.fs.begins_anew(handle), "what was released stays released");
}

#[tokio::test(start_paused = true)]
async fn a_file_read_again_costs_nothing_and_one_listing_renews_a_directory() {
    let mount = Fixture::new();
    for n in 0..100 {
        mount.memory.put(&format!("{n}"), format!("content {n}"));
    }
    for round in 1..=2 {
        for n in 0..100 {
            assert_eq!(mount.read(&format!("{n}")).await.expect("read"), format!("content {n}"));
        }
        assert_eq!(mount.faults.calls(Method::RetrieveFile), 100);
        assert_eq!(mount.faults.calls(Method::ListPath), round);
        expire().await;
    }
    let mount = mount.restart(ROOMY).await;
    for n in 0..100 {
        assert_eq!(mount.read(&format!("{n}")).await.expect("read"), format!("content {n}"));
    }
    assert_eq!(mount.faults.bytes(), 0);
    assert_eq!(mount.faults.calls(Method::ListPath), 1);
    assert_eq!(mount.fs.cache().counters().hits.load(Ordering::Relaxed), 100);
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_one_file_cost_one_retrieval() {
    let mount = Fixture::new();
    let bytes = content(SMALL);
    mount.memory.put("file", bytes.clone());
    let reads = (0..64).map(|_| mount.read("file"));
    for read in futures::future::join_all(reads).await {
        assert!(read.expect("read") == bytes);
    }
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 1);
    assert_eq!(mount.faults.calls(Method::ListPath), 1);
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_large_file_cost_each_byte_once() {
    let mount = Fixture::new();
    let bytes = content(20 * SMALL + 17);
    mount.memory.put("file", bytes.clone());
    let reads = (0..8).map(|_| mount.read("file"));
    for read in futures::future::join_all(reads).await {
        assert!(read.expect("read") == bytes);
    }
    assert_eq!(mount.faults.bytes(), bytes.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_change_between_listing_and_open_shows_the_new_version_and_no_error() {
    for size in [100, 2 * SMALL] {
        let mount = Fixture::new();
        mount.memory.put("file", content(size));
        mount.list().await.expect("list");
        let new = content(size + 1);
        mount.memory.put("file", new.clone());
        assert!(mount.read("file").await.expect("read") == new, "size {size}");
    }
}

/// The kernel opens by the number that it has, and looks up and opens once more if that fails.
#[tokio::test(start_paused = true)]
async fn a_file_that_has_changed_again_since_its_change_was_noticed_is_open_at_the_second_attempt() {
    let mount = Fixture::new();
    mount.memory.put("file", content(8 * SMALL));
    let first = mount.find("file").await.expect("lookup").expect("there").inode;
    let open = mount.fs.open(first).await.expect("open").handle;
    mount.memory.put("file", content(4 * SMALL));
    let error = mount.fs.read(open, 4 * SMALL..5 * SMALL).await.expect_err("these bytes are gone");
    assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
    mount.memory.put("file", content(6 * SMALL));
    assert_eq!(mount.fs.open(first).await.err().expect("another version").kind(), ErrorKind::Changed);
    let second = mount.find("file").await.expect("lookup").expect("there");
    assert_eq!(second.size, 6 * SMALL);
    assert!(mount.fs.open(second.inode).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_file_replaced_under_an_open_descriptor_never_mixes_versions() {
    let mount = Fixture::new();
    let old = content(8 * SMALL);
    mount.memory.put("file", old.clone());
    let open = mount.open("file").await.expect("open");
    assert!(mount.fs.read(open, 0..BLOCK).await.expect("read")[..] == old[..BLOCK as usize]);
    mount.memory.put("file", vec![0xff; 8 << 20]);
    let error = mount.fs.read(open, 4 * SMALL..5 * SMALL).await.expect_err("these bytes are gone");
    assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
    assert!(mount.fs.read(open, 0..BLOCK).await.expect("what is here stays")[..] == old[..BLOCK as usize]);
}

#[tokio::test(start_paused = true)]
async fn what_arrived_before_a_change_was_noticed_is_not_kept() {
    let mount = Fixture::metered();
    mount.memory.put("file", content(8 * SMALL));
    let open = mount.open("file").await.expect("open");
    mount.faults.set(Method::RetrieveFile, Fault::FailAfter(3 * BLOCK, ErrorKind::Changed));
    let error = mount.fs.read(open, 0..SMALL).await.expect_err("it changed meanwhile");
    assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
    mount.faults.clear_all();
    assert!(mount.fs.read(open, 0..SMALL).await.expect("read")[..] == content(SMALL)[..]);
    assert_eq!(mount.faults.bytes(), 3 * BLOCK + SMALL, "all of it was retrieved anew");
}

#[tokio::test(start_paused = true)]
async fn a_removed_file_is_absent_and_an_open_descriptor_still_reads() {
    let mount = Fixture::new();
    mount.memory.put("file", "bytes");
    let open = mount.open("file").await.expect("open");
    mount.memory.remove("file");
    expire().await;
    assert_eq!(mount.find("file").await.expect("lookup"), None);
    assert_eq!(mount.fs.read(open, 0..u64::MAX).await.expect("read"), "bytes");
}

#[tokio::test(start_paused = true)]
async fn an_outage_serves_what_is_known_and_is_never_an_absence() {
    let mount = Fixture::new();
    mount.memory.put("cached", "bytes");
    mount.memory.put("uncached", "bytes");
    mount.memory.put("dir/file", "bytes");
    mount.read("cached").await.expect("read");
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    expire().await;
    assert_eq!(mount.list().await.expect("the last known tree"), ["cached", "dir", "uncached"]);
    assert_eq!(mount.read("cached").await.expect("the cached bytes"), "bytes");
    assert_eq!(mount.read("uncached").await.expect_err("nobody has them").kind(), ErrorKind::Unreachable);
    assert_eq!(mount.find("dir/file").await.expect_err("never listed").kind(), ErrorKind::Unreachable);
    assert_eq!(mount.find("absent").await.expect("a complete listing was without it"), None);
    mount.faults.clear_all();
    expire().await;
    assert_eq!(mount.read("uncached").await.expect("read"), "bytes");
}

#[tokio::test(start_paused = true)]
async fn the_tree_survives_a_restart_during_an_outage() {
    let mount = Fixture::new();
    mount.memory.put("dir/cached", "bytes");
    mount.read("dir/cached").await.expect("read");
    let mount = mount.restart(ROOMY).await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    assert_eq!(mount.list().await.expect("list"), ["dir"]);
    assert_eq!(mount.read("dir/cached").await.expect("read"), "bytes");
}

#[tokio::test(start_paused = true)]
async fn offline_fail_fails() {
    let mount = Fixture::with(Memory::new(), ROOMY, Offline::Fail);
    mount.memory.put("cached", "bytes");
    mount.read("cached").await.expect("read");
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    expire().await;
    assert_eq!(mount.read("cached").await.expect_err("not offline").kind(), ErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_holds_up_nobody_else() {
    let mount = Fixture::new();
    mount.memory.put("cached", "bytes");
    mount.memory.put("slow", content(2 * SMALL));
    mount.read("cached").await.expect("read");
    let slow = mount.open("slow").await.expect("open");
    mount.faults.set(Method::RetrieveFile, Fault::Hang);
    let began = tokio::time::Instant::now();
    let hanging = mount.fs.read(slow, SMALL..SMALL + 1);
    tokio::pin!(hanging);
    assert!(futures::poll!(&mut hanging).is_pending());
    assert_eq!(mount.read("cached").await.expect("read"), "bytes");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(hanging.await.expect_err("the deadline ends it").kind(), ErrorKind::TimedOut);
    assert!(began.elapsed() < TIMEOUT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_listing_cut_in_the_middle_removes_nothing() {
    let mount = Fixture::new();
    for n in 0..10 {
        mount.memory.put(&format!("{n}"), "x");
    }
    assert_eq!(mount.list().await.expect("list").len(), 10);
    expire().await;
    mount.faults.set(Method::ListPath, Fault::FailAfter(5, ErrorKind::Protocol));
    assert_eq!(mount.list().await.expect("the last complete one").len(), 10);
    assert!(mount.find("9").await.expect("lookup").is_some());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_do_not_match_are_retrieved_once_more_and_then_refused() {
    let mount = Fixture::new();
    mount.memory.put("once", "some bytes");
    mount.memory.put("always", "other bytes");
    mount.faults.set_times(Method::RetrieveFile, Fault::Flip(3), 1);
    assert_eq!(mount.read("once").await.expect("the second attempt"), "some bytes");
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 2);
    mount.faults.set(Method::RetrieveFile, Fault::Flip(3));
    assert_eq!(mount.read("always").await.expect_err("wrong bytes").kind(), ErrorKind::ChangedDuringRead);
    mount.faults.clear_all();
    tokio::time::sleep(DAMAGED_FOR).await;
    assert_eq!(mount.read("always").await.expect("read"), "other bytes");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_early_is_no_file() {
    let mount = Fixture::new();
    mount.memory.put("file", content(SMALL));
    mount.faults.set(Method::RetrieveFile, Fault::Truncate(SMALL / 2));
    assert_eq!(mount.read("file").await.expect_err("half a file").kind(), ErrorKind::Protocol);
    mount.faults.set_times(Method::RetrieveFile, Fault::FailAfter(SMALL / 2, ErrorKind::Unreachable), 1);
    expire().await;
    assert!(mount.read("file").await.expect("the rest is retrieved") == content(SMALL));
}

#[tokio::test(start_paused = true)]
async fn names_that_lead_elsewhere_do_not_appear() {
    let mount = Fixture::new();
    for name in [b"..".as_slice(), b"/etc/passwd", b"ok"] {
        mount.memory.put_raw(b"", name, "x", Memory::default_modified());
    }
    assert_eq!(mount.list().await.expect("list"), ["ok"]);
    assert!(mount.fs.lookup(Inode::ROOT, b"passwd").await.expect("lookup").found.is_none());
}

#[tokio::test(start_paused = true)]
async fn extended_attributes_tell_the_state_and_retrieve_nothing() {
    let mount = Fixture::new();
    mount.memory.put("file", content(2 * SMALL));
    let inode = mount.find("file").await.expect("lookup").expect("there").inode;
    let value = async |name| {
        let value = mount.fs.xattr(inode, name).await.expect("an inode").map(|value| Printable(&value).to_string());
        value.unwrap_or_default()
    };
    assert_eq!(value("missing").await, (2 * SMALL).to_string());
    assert_eq!(
        (value("source").await, value("path").await, value("state").await),
        ("memory".into(), "/file".into(), "remote".into())
    );
    let open = mount.open("file").await.expect("open");
    mount.fs.read(open, 0..1).await.expect("read");
    assert_eq!(value("state").await, "partial");
    mount.fs.read(open, 0..u64::MAX).await.expect("read");
    assert_eq!((value("state").await, value("missing").await), ("cached".into(), "0".into()));
    assert_eq!(value("digest").await, value("local_digest").await);
    let all = mount.fs.xattr(inode, "all").await.expect("an inode").expect("it has some");
    assert!(String::from_utf8_lossy(&all).contains("checked: "));
}
