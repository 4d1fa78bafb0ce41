//! A source on which requests are costly: few and long ones, which end where their readers do.

use super::fixture::{Fixture, content};
use crate::cache::block::BLOCK;
use crate::fs::*;
use crate::source::fault::{Fault, Method};

const BLOCKS: u64 = 128;

/// One file, on a source that thinks for half a second before every answer.
async fn costly() -> (Fixture, HandleId, Vec<u8>) {
    let mount = Fixture::metered();
    let bytes = content(BLOCKS * BLOCK);
    mount.memory.put("file", bytes.clone());
    mount.faults.set(Method::RetrieveFile, Fault::Delay(Duration::from_millis(500)));
    let open = mount.open("file").await.expect("open");
    (mount, open, bytes)
}

async fn read(mount: &Fixture, open: HandleId, bytes: &[u8], blocks: Range<u64>) {
    for block in blocks {
        let range = block * BLOCK..(block + 1) * BLOCK;
        let read = mount.fs.read(open, range.clone()).await.expect("read");
        assert!(read[..] == bytes[range.start as usize..range.end as usize], "block {block}");
    }
}

#[tokio::test(start_paused = true)]
async fn costly_requests_are_few() {
    let (mount, open, bytes) = costly().await;
    read(&mount, open, &bytes, 0..BLOCKS).await;
    assert_eq!(mount.faults.bytes(), BLOCKS * BLOCK, "each byte once");
    // The first block, what the second and the third read ask for, and everything else.
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 4);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_has_cost_no_more_than_what_was_ahead_of_it() {
    let (mount, open, bytes) = costly().await;
    read(&mount, open, &bytes, 0..5).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Four times forward: eight blocks ahead, twice as many of a reader that waits, and the one of which the next is kept waiting.
    let moved = mount.faults.bytes();
    assert!(moved <= (5 + 16 + 1) * BLOCK, "{moved} bytes");
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 3);
    // The long request is over, so that what follows needs another.
    read(&mount, open, &bytes, 5..BLOCKS).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 4);
    assert!(mount.faults.bytes() <= (BLOCKS + 1) * BLOCK, "{} bytes", mount.faults.bytes());
}

#[tokio::test(start_paused = true)]
async fn a_jump_does_not_wait_for_what_lies_between() {
    let (mount, open, bytes) = costly().await;
    read(&mount, open, &bytes, 0..3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = mount.faults.calls(Method::RetrieveFile);
    read(&mount, open, &bytes, BLOCKS - 1..BLOCKS).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), before + 1);
    assert!(mount.faults.bytes() <= 12 * BLOCK, "{} bytes", mount.faults.bytes());
    // Both readers have every byte, and none comes twice.
    read(&mount, open, &bytes, 3..BLOCKS).await;
    assert!(mount.faults.bytes() <= BLOCKS * BLOCK, "{} bytes", mount.faults.bytes());
}

#[tokio::test(start_paused = true)]
async fn random_reads_stay_short() {
    let (mount, open, bytes) = costly().await;
    for block in (0..BLOCKS).rev().step_by(12) {
        read(&mount, open, &bytes, block..block + 1).await;
    }
    assert_eq!(mount.faults.bytes(), (1 + BLOCKS.div_ceil(12)) * BLOCK, "and the first, with the open");
}

#[tokio::test(start_paused = true)]
async fn where_a_request_costs_most_the_first_one_goes_on() {
    const BLOCKS: u64 = 300;
    let mount = Fixture::new();
    let bytes = content(BLOCKS * BLOCK);
    for name in ["first", "second", "third"] {
        mount.memory.put(name, bytes.clone());
    }
    mount.faults.set(Method::RetrieveFile, Fault::Delay(Duration::from_secs(5)));
    // The cost of requests here is known after the first.
    mount.open("first").await.expect("open");
    let before = mount.faults.calls(Method::RetrieveFile);
    let open = mount.open("second").await.expect("open");
    read(&mount, open, &bytes, 0..BLOCKS).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), before + 1);
    // A reader that stops has cost no more than the requests under way.
    let before = mount.faults.bytes();
    mount.open("third").await.expect("open");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let moved = mount.faults.bytes() - before;
    assert!(moved <= 2 * BLOCK, "{moved} bytes");
}
