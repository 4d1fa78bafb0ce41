//! A short break is no error for reads of an open file: a source in memory is unreachable for a while.

use tokio::time::Instant;

use super::fixture::*;
use crate::cache::block::BLOCK;
use crate::fs::*;
use crate::source::fault::{Fault, Method};

/// For how long reads wait: the timeout is as long.
const BREAK: Duration = Duration::from_secs(10);

/// A mount with a file of 8 MiB that is open, and whose first block is here.
async fn reading() -> (Fixture, Vec<u8>, HandleId) {
    let mount = Fixture::metered();
    let content = content(8 << 20);
    mount.memory.put("large", content.clone());
    mount.memory.put("other", "bytes");
    let open = mount.open("large").await.expect("open");
    mount.fs.read(open, 0..BLOCK).await.expect("read");
    (mount, content, open)
}

const FAR: Range<u64> = 5 << 20..6 << 20;

#[tokio::test(start_paused = true)]
async fn a_read_that_is_under_way_waits_for_the_end_of_a_short_break() {
    let (mount, content, open) = reading().await;
    // Half of what is asked for comes, and then the server is gone.
    mount.faults.set_times(Method::RetrieveFile, Fault::FailAfter(512 << 10, ErrorKind::Unreachable), 1);
    for method in [Method::Connect, Method::ListPath, Method::CreateRemoteDigest] {
        mount.faults.set(method, Fault::Fail(ErrorKind::Unreachable));
    }
    mount.faults.reset_counts();
    let began = Instant::now();
    let back = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        mount.faults.clear_all();
    };
    let (read, ()) = tokio::join!(mount.fs.read(open, FAR), back);
    assert_eq!(read.expect("the server is back"), content[FAR.start as usize..FAR.end as usize]);
    let took = began.elapsed();
    assert!((5..7).contains(&took.as_secs()), "{took:?}");
    assert!(mount.faults.bytes() < (FAR.end - FAR.start) + BLOCK, "what had come is not asked for again");
}

#[tokio::test(start_paused = true)]
async fn it_fails_when_the_break_is_longer_and_then_everything_at_once() {
    let (mount, _, open) = reading().await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let began = Instant::now();
    let error = mount.fs.read(open, FAR).await.expect_err("the server is gone");
    let took = began.elapsed();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(took > BREAK / 2 && took <= BREAK + Duration::from_secs(1), "{took:?}");
    let began = Instant::now();
    for _ in 0..3 {
        assert!(mount.fs.read(open, FAR).await.is_err());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_of_those_who_wait_and_the_next_read_asks_again() {
    let (mount, content, open) = reading().await;
    mount.faults.set_times(Method::RetrieveFile, Fault::Panic, 1);
    let error = mount.fs.read(open, FAR).await.expect_err("it has panicked");
    assert!(error.kind() == ErrorKind::Other && error.to_string().contains("please report it"), "{error}");
    let open = mount.open("large").await.expect("it is there");
    let read = mount.fs.read(open, FAR).await.expect("it is asked for again");
    assert_eq!(read, content[FAR.start as usize..FAR.end as usize]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_opened_while_the_source_is_known_to_be_down_fails_at_once() {
    let (mount, _, open) = reading().await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let reads = async {
        assert!(mount.fs.read(open, FAR).await.is_err());
    };
    let opens = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        assert!(mount.read("other").await.is_err());
        assert_eq!(began.elapsed(), Duration::ZERO);
    };
    tokio::join!(reads, opens);
}

#[tokio::test(start_paused = true)]
async fn after_a_break_no_other_version_is_read() {
    let (mount, _, open) = reading().await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let back = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        mount.memory.put("large", vec![1; 8 << 20]);
        mount.faults.clear_all();
    };
    let (read, ()) = tokio::join!(mount.fs.read(open, FAR), back);
    assert_eq!(read.expect_err("its bytes are gone").kind(), ErrorKind::ChangedDuringRead);
}
