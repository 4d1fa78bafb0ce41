//! What comes ahead of a reader ends when that stops, and is little until then.

use super::fixture::{Fixture, content};
use crate::cache::block::BLOCK;
use crate::fs::*;
use crate::source::fault::{Fault, Method};

const MIB: u64 = 1 << 20;

async fn large() -> (Fixture, HandleId) {
    let mount = Fixture::new();
    mount.memory.put("large", content(64 * MIB));
    let open = mount.open("large").await.expect("open");
    (mount, open)
}

async fn read(mount: &Fixture, open: HandleId, blocks: Range<u64>) {
    for block in blocks {
        mount.fs.read(open, block * BLOCK..(block + 1) * BLOCK).await.expect("read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_and_stops_has_cost_twenty_mebibytes_more_than_it_read() {
    let (mount, open) = large().await;
    read(&mount, open, 0..160).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let moved = mount.faults.bytes();
    // A request that is held back where the way ahead ends has a block in hand.
    assert!(moved <= 160 * BLOCK + 21 * MIB + BLOCK, "{moved} bytes");
    assert!(moved >= 160 * BLOCK + 8 * MIB, "{moved} bytes");
}

#[tokio::test(start_paused = true)]
async fn what_comes_ahead_of_a_reader_ends_when_that_closes_the_file() {
    let (mount, open) = large().await;
    read(&mount, open, 0..160).await;
    let another = mount.open("large").await.expect("open");
    tokio::time::sleep(Duration::from_secs(1)).await;
    // From here on nothing comes until the file is closed.
    mount.faults.set(Method::RetrieveFile, Fault::HangAfter(0));
    let (calls, bytes) = (mount.faults.calls(Method::RetrieveFile), mount.faults.bytes());
    let reading = read(&mount, open, 160..400);
    tokio::time::timeout(Duration::from_secs(1), reading).await.expect_err("nothing comes");
    let requests = mount.faults.calls(Method::RetrieveFile) - calls;
    assert!(requests > 1, "{requests} requests");
    mount.fs.release(open);
    mount.fs.release(another);
    mount.faults.clear_all();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(mount.faults.bytes() - bytes <= requests * BLOCK, "{} bytes", mount.faults.bytes() - bytes);
}
