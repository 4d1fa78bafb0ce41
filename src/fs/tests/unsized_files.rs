//! Files of unknown size, over a source in memory that tells none: what `stat` shows, and what that costs.

use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;

use futures::future::join_all;

use super::fixture::{DAMAGED_FOR, Fixture, ROOMY, content, expire};
use crate::cache::Limits;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::Capabilities;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;
use crate::version::Version;

/// A source as plugins are: no sizes, no digests in listings, no parts of files, digests that say nothing of the bytes.
fn bare() -> Memory {
    let memory = Memory::new().without_sizes();
    let capabilities = Capabilities {
        digest_from_listing: false,
        ranges: false,
        content_digest: false,
        ..crate::source::Source::capabilities(&memory)
    };
    memory.with_capabilities(capabilities)
}

/// A source of which only a whole copy can be proven.
fn proven_whole() -> Memory {
    let memory = Memory::new();
    let capabilities =
        Capabilities { ranges: false, proven_whole: true, ..crate::source::Source::capabilities(&memory) };
    memory.with_capabilities(capabilities)
}

fn mounted(memory: Memory) -> Fixture {
    Fixture::with(memory, ROOMY, Offline::Serve)
}

async fn size(mount: &Fixture, path: &str) -> Option<u64> {
    mount.find(path).await.expect("lookup").map(|attributes| attributes.size)
}

#[tokio::test(start_paused = true)]
async fn stat_retrieves_once_and_reading_costs_nothing_more() {
    for memory in [bare(), Memory::new().without_sizes()] {
        let mount = mounted(memory);
        let bytes = content(3 * crate::cache::block::BLOCK + 5);
        mount.memory.put("large", bytes.clone());
        mount.memory.put("empty", "");
        for _ in 0..2 {
            assert_eq!(size(&mount, "large").await, Some(bytes.len() as u64));
            assert_eq!(size(&mount, "empty").await, Some(0));
            assert_eq!(mount.read("large").await.expect("read"), bytes);
            assert_eq!(mount.read("empty").await.expect("read"), "");
            assert_eq!(mount.faults.calls(Method::RetrieveFile), 2);
            expire().await;
        }
        let mount = mount.restart(ROOMY).await;
        assert_eq!(size(&mount, "large").await, Some(bytes.len() as u64));
        assert_eq!(size(&mount, "empty").await, Some(0));
        assert_eq!(mount.read("large").await.expect("read"), bytes);
        assert_eq!(mount.faults.calls(Method::RetrieveFile), 0, "the copies tell their sizes");
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_at_once_retrieve_once() {
    let mount = mounted(bare());
    mount.memory.put("file", content(1 << 20));
    let sizes = join_all((0..64).map(|_| size(&mount, "file"))).await;
    assert!(sizes.iter().all(|size| *size == Some(1 << 20)));
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_the_cache_cannot_hold_has_its_size_and_its_bytes() {
    let limits = Limits { max_size: 1 << 20, min_free: 0 };
    let mount = Fixture::with(bare(), limits, Offline::Serve);
    let bytes = content(2 << 20);
    mount.memory.put("file", bytes.clone());
    assert_eq!(size(&mount, "file").await, Some(2 << 20));
    assert_eq!(mount.objects().len(), 0);
    assert!(mount.fs.cache().bytes() <= limits.max_size);
    expire().await;
    assert_eq!(size(&mount, "file").await, Some(2 << 20));
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 1, "what was measured is remembered");
    assert_eq!(mount.read("file").await.expect("read"), bytes);
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_measured_anew() {
    let mount = mounted(bare());
    mount.memory.put("file", "old");
    let before = mount.find("file").await.expect("lookup").expect("there");
    mount.memory.put("file", "newer");
    expire().await;
    let after = mount.find("file").await.expect("lookup").expect("there");
    assert_ne!(before.inode, after.inode);
    assert_eq!((before.size, after.size), (3, 5));
    assert_eq!(mount.read("file").await.expect("read"), "newer");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_or_goes_before_it_is_measured_is_what_it_is_then() {
    let mount = mounted(Memory::new().without_sizes());
    mount.memory.put("changes", "old");
    mount.memory.put("goes", "x");
    mount.list().await.expect("list");
    mount.memory.put("changes", "newer");
    mount.memory.remove("goes");
    assert_eq!(size(&mount, "changes").await, Some(5));
    assert_eq!(size(&mount, "goes").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_an_error_and_a_known_size_stays_known() {
    let mount = mounted(Memory::new().without_sizes());
    mount.memory.put("known", "four");
    mount.memory.put("unknown", "x");
    assert_eq!(size(&mount, "known").await, Some(4));
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let error = mount.find("unknown").await.expect_err("nobody knows its size");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    expire().await;
    assert_eq!(size(&mount, "known").await, Some(4));
    assert_eq!(mount.read("known").await.expect("read"), "four");
    assert_eq!(mount.list().await.expect("list"), ["known", "unknown"]);
}

#[tokio::test(start_paused = true)]
async fn a_retrieval_that_breaks_leaves_nothing_behind_and_one_that_lies_is_not_kept() {
    let mount = mounted(Memory::new().without_sizes());
    mount.memory.put("file", content(1 << 20));
    mount.faults.set(Method::RetrieveFile, Fault::FailAfter(700_000, ErrorKind::Protocol));
    assert_eq!(mount.find("file").await.expect_err("it broke").kind(), ErrorKind::Protocol);
    assert_eq!((mount.objects().len(), mount.fs.cache().copies()), (0, 0));
    mount.faults.set(Method::RetrieveFile, Fault::Flip(300_000));
    assert_eq!(mount.find("file").await.expect_err("it lied").kind(), ErrorKind::ChangedDuringRead);
    assert_eq!((mount.objects().len(), mount.fs.cache().copies()), (0, 0));
    tokio::time::sleep(DAMAGED_FOR).await;
    mount.faults.set_times(Method::RetrieveFile, Fault::Truncate(300_000), 1);
    assert_eq!(size(&mount, "file").await, Some(1 << 20), "the second attempt is the right one");
}

#[tokio::test(start_paused = true)]
async fn a_deferred_size_is_nothing_until_the_first_open() {
    let dir = kit::reaper::temporary();
    let mount = Fixture::start(bare(), ROOMY, Offline::Serve, UnknownSize::Defer, dir);
    mount.memory.put("file", "four");
    let before = mount.find("file").await.expect("lookup").expect("there");
    assert_eq!((before.size, before.valid_for), (0, Duration::ZERO), "the kernel must ask again");
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 0);
    let open = mount.open("file").await.expect("open");
    assert_eq!(mount.fs.attributes(before.inode).expect("attributes").size, 4);
    assert_eq!(mount.fs.read(open, 0..u64::MAX).await.expect("read"), "four");
    assert_eq!(size(&mount, "file").await, Some(4));
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_that_came_with_the_bytes_is_the_copys() {
    let mount = mounted(bare());
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    mount.memory.put_at("file", "x", modified);
    assert_eq!(mount.find("file").await.expect("lookup").expect("there").modified, modified);
    let copy = std::fs::metadata(&mount.objects()[0]).expect("the copy is there");
    assert_eq!(copy.modified().expect("a time"), modified);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_whole_copy_proves_is_not_read_before() {
    let mount = mounted(proven_whole());
    let bytes = content(3 << 20);
    mount.memory.put("file", bytes.clone());
    mount.faults.set(Method::RetrieveFile, Fault::Flip(5));
    assert_eq!(size(&mount, "file").await, Some(3 << 20));
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 0, "its size is known");
    assert_eq!(mount.open("file").await.expect_err("no byte of it is sound").kind(), ErrorKind::ChangedDuringRead);
    mount.faults.clear_all();
    mount.faults.reset_counts();
    tokio::time::sleep(DAMAGED_FOR).await;
    for _ in 0..2 {
        assert_eq!(mount.read("file").await.expect("read"), bytes);
        assert_eq!(mount.faults.calls(Method::RetrieveFile), 1);
    }
}

/// A mount of a file that the cache cannot hold, of which only a whole copy proves the version; its bytes and its inode.
async fn beyond_the_cache(size: u64) -> (Fixture, Vec<u8>, Inode) {
    let mount = Fixture::with(proven_whole(), Limits { max_size: 1 << 20, min_free: 0 }, Offline::Serve);
    let bytes = content(size);
    mount.memory.put("file", bytes.clone());
    let inode = mount.find("file").await.expect("lookup").expect("there").inode;
    (mount, bytes, inode)
}

/// What the cache cannot hold is read as it comes, and may come in two answers.
#[tokio::test(start_paused = true)]
async fn what_another_answer_need_not_belong_to_is_read_no_further() {
    let (mount, bytes, inode) = beyond_the_cache(8 << 20).await;
    let begun = mount.fs.open(inode).await.expect("open").handle;
    mount.faults.set_times(Method::RetrieveFile, Fault::FailAfter(2 << 20, ErrorKind::Changed), 1);
    let retrievals = || mount.faults.calls(Method::RetrieveFile);
    let before = retrievals();
    let first = mount.fs.read(begun, 0..4096).await;
    // A reader that is slow has the beginning of the second answer, whose end belongs to it.
    let is_of_second = retrievals() > before + 1;
    for far in [6 << 20, 7 << 20] {
        let read = mount.fs.read(begun, far..far + 4096).await;
        assert!(first.is_err() || is_of_second || read.is_err(), "its beginning and its end are of two answers");
    }
    mount.fs.release(begun);
    assert_eq!(mount.read("file").await.expect("read"), bytes, "it begins anew");
}

/// A reader that pauses has the rest from another answer: only if that begins with the bytes that the reader had.
#[tokio::test(start_paused = true)]
async fn what_another_answer_brings_is_compared_with_what_was_read() {
    for differs in [false, true] {
        let (mount, bytes, inode) = beyond_the_cache(40 << 20).await;
        let begun = mount.fs.open(inode).await.expect("open").handle;
        assert_eq!(mount.fs.read(begun, 0..4096).await.expect("read"), bytes[..4096]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        if differs {
            mount.faults.set(Method::RetrieveFile, Fault::Flip(5));
        }
        let far = 30 << 20;
        let read = mount.fs.read(begun, far..far + 4096).await;
        assert_eq!(mount.faults.calls(Method::RetrieveFile), 2, "the first answer was left");
        match read {
            Ok(read) => assert!(!differs && read == bytes[30 << 20..(30 << 20) + 4096]),
            Err(error) => assert!(differs && error.kind() == ErrorKind::ChangedDuringRead, "{error}"),
        }
        mount.fs.release(begun);
    }
}

/// Blocks that memory holds of the answer to one reader are no part of those that another one reads.
#[tokio::test(start_paused = true)]
async fn another_reader_has_its_bytes_from_another_answer() {
    let (mount, bytes, inode) = beyond_the_cache(8 << 20).await;
    for answer in 1..=2 {
        let handle = mount.fs.open(inode).await.expect("open").handle;
        let read = mount.fs.read(handle, 0..4096).await.expect("read");
        assert_eq!((mount.faults.calls(Method::RetrieveFile), read[5] == bytes[5]), (answer, answer == 1));
        mount.fs.release(handle);
        tokio::time::sleep(Duration::from_secs(60)).await;
        mount.faults.set(Method::RetrieveFile, Fault::Flip(5));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_opens_a_version_while_it_is_brought_disturbs_nobody() {
    let mount = mounted(proven_whole());
    mount.memory.put("file", "content");
    let inode = mount.find("file").await.expect("lookup").expect("there").inode;
    mount.faults.set_times(Method::RetrieveFile, Fault::Delay(Duration::from_secs(1)), 1);
    let asking = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let path = RemotePath::parse(b"file").expect("a path");
        let digest = Memory::digest_of(b"content");
        let version = Version { path, digest, size: 7, modified: None };
        let open = mount.fs.sources()[0].transfer.open(&version, &b"file".as_slice().into()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(open);
    };
    let (opened, ()) = futures::join!(mount.fs.open(inode), asking);
    let handle = opened.expect("open").handle;
    assert_eq!(mount.fs.read(handle, 0..u64::MAX).await.expect("read"), "content");
    mount.fs.release(handle);
    assert_eq!(mount.read("file").await.expect("read"), "content");
    assert_eq!(mount.fs.cache().copies(), mount.objects().len(), "every copy is known, and can be evicted");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_copy_is_retrieved_again() {
    let mount = mounted(bare());
    mount.memory.put("file", "sound");
    assert_eq!(size(&mount, "file").await, Some(5));
    let mount = mount.restart(ROOMY).await;
    let copy = std::fs::File::options().write(true).open(&mount.objects()[0]).expect("the copy is there");
    copy.write_all_at(b"wrong", 0).expect("it can be damaged");
    assert_eq!(mount.read("file").await.expect("read"), "sound");
    assert_eq!(mount.fs.cache().counters().quarantined.load(Ordering::Relaxed), 1);
}
