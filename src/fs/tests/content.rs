//! Digests that are hashes of the content: what is hashed when, and what happens where they do not agree.

use std::sync::atomic::Ordering;

use super::fixture::{DAMAGED_FOR, Fixture, ROOMY, content};
use crate::cache::block::BLOCK;
use crate::fs::*;
use crate::source::fault::{Fault, Method};

const SIZE: u64 = 64 * BLOCK;

/// Reads these blocks one by one from the last to the first, an order that no plan takes for reading ahead.
async fn read_backwards(mount: &Fixture, open: HandleId, blocks: Range<u64>) {
    for block in blocks.rev() {
        mount.fs.read(open, block * BLOCK..(block + 1) * BLOCK).await.expect("read");
    }
}

/// Bytes hashed while others were arriving, and after the last one.
fn hashed(mount: &Fixture) -> (u64, u64) {
    let counters = mount.fs.cache().counters();
    (counters.hashed_along.load(Ordering::Relaxed), counters.hashed_after.load(Ordering::Relaxed))
}

async fn hashed_along(mount: &Fixture, bytes: u64) {
    while hashed(mount).0 < bytes {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_hash_is_computed_while_bytes_arrive_in_whatever_order() {
    let mount = Fixture::new();
    mount.memory.put("file", content(SIZE));
    let open = mount.open("file").await.expect("open");
    read_backwards(&mount, open, 20..63).await;
    read_backwards(&mount, open, 0..10).await;
    hashed_along(&mount, 10 * BLOCK).await;
    assert_eq!(hashed(&mount), (10 * BLOCK, 0), "there is a hole");
    read_backwards(&mount, open, 10..20).await;
    hashed_along(&mount, 63 * BLOCK).await;
    read_backwards(&mount, open, 63..64).await;
    // Whether the running hash or the proof has hashed the last block is a matter of luck.
    let (along, after) = hashed(&mount);
    assert_eq!(along + after, SIZE, "nothing twice");
    assert!(after <= BLOCK, "{after} bytes were left");
    assert_eq!(mount.faults.calls(Method::CreateLocalDigest), 0);
    assert!(mount.read("file").await.expect("read") == content(SIZE));
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_a_restart_is_hashed_at_the_proof() {
    let mount = Fixture::metered();
    mount.memory.put("file", content(SIZE));
    let open = mount.open("file").await.expect("open");
    read_backwards(&mount, open, 0..63).await;
    hashed_along(&mount, 63 * BLOCK).await;
    mount.fs.release(open);
    let mount = mount.restart(ROOMY).await;
    assert!(mount.read("file").await.expect("read") == content(SIZE));
    assert_eq!(hashed(&mount), (0, SIZE));
    assert_eq!(mount.faults.calls(Method::CreateLocalDigest), 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_hash_does_not_agree_the_source_has_the_last_word() {
    let mount = Fixture::new();
    mount.memory.put("file", content(SIZE));
    mount.faults.set(Method::RetrieveFile, Fault::Flip(5 * BLOCK));
    let error = mount.read("file").await.expect_err("the bytes are damaged each time");
    assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
    assert_eq!(mount.faults.calls(Method::CreateLocalDigest), 2);
    mount.faults.clear(Method::RetrieveFile);
    tokio::time::sleep(DAMAGED_FOR).await;
    assert!(mount.read("file").await.expect("read") == content(SIZE));
    assert_eq!(mount.faults.calls(Method::CreateLocalDigest), 2);
}
