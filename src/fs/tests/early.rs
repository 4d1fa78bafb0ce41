//! Bytes that are read before they are proven: kept only then, and never read together with others if they were not.

use std::sync::atomic::Ordering;

use super::*;
use crate::cache::Limits;

const SIZE: u64 = 64 * BLOCK;

/// How long the proof of bytes takes that are shown before, and a little longer.
const PROOF: Duration = Duration::from_millis(150);

/// A mount of `file`, whose bytes are shown before the source fails so, or proves them.
fn showing(bytes: u64, failure: Option<ErrorKind>) -> Fixture {
    let mount = Fixture::new();
    mount.memory.put("file", content(bytes));
    mount.faults.set(Method::RetrieveFile, Fault::Show(failure));
    mount
}

fn retrievals(mount: &Fixture) -> u64 {
    mount.faults.calls(Method::RetrieveFile)
}

#[tokio::test(start_paused = true)]
async fn bytes_are_read_before_they_are_proven_and_kept_once_they_are() {
    for bytes in [1000, 5 * BLOCK] {
        let (mount, began) = (showing(bytes, None), tokio::time::Instant::now());
        assert_eq!(mount.read("file").await.expect("read"), content(bytes));
        assert_eq!(mount.read("file").await.expect("read"), content(bytes));
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for the proof");
        assert!(mount.objects().is_empty(), "nothing is kept before it");
        tokio::time::sleep(PROOF).await;
        let mount = mount.restart(ROOMY).await;
        assert_eq!(mount.read("file").await.expect("read"), content(bytes));
        assert_eq!(retrievals(&mount), 0, "it is in the cache");
    }
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_large_file_are_read_before_they_are_proven() {
    let mount = showing(SIZE, None);
    let file = mount.open("file").await.expect("open");
    let began = tokio::time::Instant::now();
    for block in [50, 20, 40] {
        let bytes = block * BLOCK..(block + 1) * BLOCK;
        let read = mount.fs.read(file, bytes.clone()).await.expect("read");
        assert_eq!(read, content(SIZE)[bytes.start as usize..bytes.end as usize]);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    let counters = &mount.fs.sources()[0].counters;
    assert_eq!(counters.bytes_retrieved.load(Ordering::Relaxed), 4 * BLOCK, "each byte counts when it arrives");
    tokio::time::sleep(PROOF).await;
    assert_eq!(
        counters.bytes_retrieved.load(Ordering::Relaxed),
        5 * BLOCK,
        "and once, with the end, which is asked for a little later"
    );
    assert_eq!(mount.fs.read(file, 40 * BLOCK..41 * BLOCK).await.expect("read").len() as u64, BLOCK);
    assert_eq!(retrievals(&mount), 5);
}

#[tokio::test(start_paused = true)]
async fn who_has_read_bytes_that_were_not_proven_reads_no_others() {
    for failure in [ErrorKind::Changed, ErrorKind::Protocol] {
        let mount = showing(SIZE, None);
        let file = mount.open("file").await.expect("open");
        tokio::time::sleep(PROOF).await;
        mount.faults.set(Method::RetrieveFile, Fault::Show(Some(failure)));
        mount.fs.read(file, 50 * BLOCK..51 * BLOCK).await.expect("nothing speaks against it yet");
        tokio::time::sleep(PROOF).await;
        mount.faults.clear(Method::RetrieveFile);
        for block in [50, 0] {
            let error = mount.fs.read(file, block * BLOCK..(block + 1) * BLOCK).await.expect_err("it may be another");
            assert_eq!(error.kind(), ErrorKind::ChangedDuringRead, "{failure:?}: block {block}");
        }
        let asked = retrievals(&mount);
        assert_eq!(mount.read("file").await.expect("who opens it anew reads it"), content(SIZE));
        assert!(retrievals(&mount) > asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_file_that_is_replaced_before_it_is_proven_is_not_kept() {
    let mount = showing(1000, Some(ErrorKind::Changed));
    let file = mount.open("file").await.expect("nothing speaks against it yet");
    assert_eq!(mount.fs.read(file, 0..1000).await.expect("read"), content(1000));
    mount.memory.put("file", content(2000));
    mount.faults.clear(Method::RetrieveFile);
    tokio::time::sleep(PROOF).await;
    assert_eq!(mount.fs.read(file, 0..1000).await.expect_err("it is gone").kind(), ErrorKind::ChangedDuringRead);
    assert_eq!(mount.read("file").await.expect("read"), content(2000), "the next reader gets the new version");
}

#[tokio::test(start_paused = true)]
async fn where_blocks_have_no_place_on_disk_they_wait_for_their_proof() {
    let none = Limits { max_size: 0, min_free: 0 };
    let mount = Fixture::with(Memory::new(), none, Offline::Serve);
    mount.memory.put("file", content(1000));
    mount.faults.set(Method::RetrieveFile, Fault::Show(None));
    let began = tokio::time::Instant::now();
    assert_eq!(mount.read("file").await.expect("read"), content(1000));
    assert_ne!(began.elapsed(), Duration::ZERO);
}
