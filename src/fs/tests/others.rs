//! Bytes that did not come from the source, of versions whose digest is a hash: nobody sees one before all of them are proven. The source is
//! in memory.

use super::fixture::{Fixture, ROOMY, content};
use crate::cache::Limits;
use crate::cache::block::BLOCK;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

const SIZE: u64 = 24 * BLOCK + 77;

/// A mount whose file has these bytes at its source, of which others bring all but the first block.
fn with_others(limits: Limits, lie_at: Option<u64>) -> Fixture {
    let mount = Fixture::with(Memory::new(), limits, Offline::Serve);
    mount.memory.put("file", content(SIZE));
    mount.faults.set(Method::RetrieveFile, Fault::Others { from: BLOCK, lie_at });
    mount
}

/// Reads on in pieces of 64 KiB, each of which must be right.
async fn read_on(mount: &Fixture, handle: HandleId) {
    for (number, expected) in content(SIZE).chunks(1 << 16).enumerate() {
        let at = (number as u64) << 16;
        let piece = mount.fs.read(handle, at..at + expected.len() as u64).await.expect("it is read");
        assert!(piece == expected, "at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_on_sees_the_first_block_at_once_and_the_others_once_all_are_proven() {
    let mount = with_others(ROOMY, None);
    let handle = mount.open("file").await.expect("open");
    mount.fs.read(handle, 0..BLOCK).await.expect("the first block is the source's");
    mount.fs.read(handle, BLOCK..BLOCK + 1).await.expect("it is there");
    assert_eq!(mount.faults.bytes(), SIZE, "all of it has come before the second is read, once");
    read_on(&mount, handle).await;
    assert_eq!(mount.faults.bytes(), SIZE);
    mount.fs.release(handle);
}

#[tokio::test(start_paused = true)]
async fn a_lie_is_seen_by_nobody_and_costs_a_second_retrieval() {
    for lie_at in [BLOCK, 2 * BLOCK + 5, SIZE - 1] {
        for readers in [1, 4] {
            let mount = with_others(ROOMY, Some(lie_at));
            let reading = (0..readers).map(async |_| {
                let handle = mount.open("file").await.expect("open");
                read_on(&mount, handle).await;
                mount.fs.release(handle);
            });
            futures::future::join_all(reading).await;
            let bytes = mount.faults.bytes();
            assert!((2 * SIZE - 2 * BLOCK..=2 * SIZE).contains(&bytes), "a lie at {lie_at}: {bytes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_shown_a_block_that_is_another_now_reads_no_more_of_that() {
    // The source's own block arrived damaged, and was shown.
    let mount = with_others(ROOMY, Some(9));
    let handle = mount.open("file").await.expect("open");
    mount.fs.read(handle, 0..BLOCK).await.expect("nothing speaks against it yet");
    let error = mount.fs.read(handle, BLOCK..2 * BLOCK).await.expect_err("what was read before was wrong");
    assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
    mount.fs.release(handle);
    assert!(mount.read("file").await.expect("read") == content(SIZE));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_can_be_kept_until_it_is_proven_the_source_is_asked() {
    // The disk has room for less than the file, and memory for less.
    for limits in [Limits { max_size: 1 << 20, min_free: 0 }, Limits { max_size: 1 << 30, min_free: u64::MAX / 2 }] {
        let mount = with_others(limits, Some(SIZE - 1));
        assert!(mount.read("file").await.expect("read") == content(SIZE), "{limits:?}");
        assert_eq!(mount.faults.calls(Method::CreateLocalDigest), 0, "no lie was met");
    }
    // It has as long as another file is not open.
    let mount = with_others(Limits { max_size: 4 << 20, min_free: 0 }, Some(SIZE - 1));
    mount.memory.put("other", content(20 * BLOCK));
    let other = mount.open("other").await.expect("open");
    mount.fs.read(other, 0..u64::MAX).await.expect("read");
    let handle = mount.open("file").await.expect("open");
    read_on(&mount, handle).await;
    mount.fs.release(handle);
    mount.fs.release(other);
}
