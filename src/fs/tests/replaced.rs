//! Files that are replaced while they are opened. The source is in memory.

use super::fixture::{Fixture, ROOMY, content, expire};
use crate::cache::block::BLOCK;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::Capabilities;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

/// A source whose digests are no hashes.
fn numbered() -> Memory {
    let memory = Memory::new();
    let capabilities = Capabilities { content_digest: false, ..memory.capabilities() };
    memory.with_capabilities(capabilities)
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_replaced_all_the_time_can_be_opened() {
    for size in [8, 64 * BLOCK] {
        let mount = Fixture::with(numbered(), ROOMY, Offline::Serve);
        mount.memory.put_as("file", "0", content(size));
        mount.find("file").await.expect("found");
        // Whatever is retrieved is gone by then, five times in a row.
        mount.faults.set(Method::RetrieveFile, Fault::Delay(Duration::from_millis(10)));
        let replacing = async {
            for version in 1..=5 {
                while mount.faults.calls(Method::RetrieveFile) < version {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                mount.memory.put_as("file", &version.to_string(), content(size));
            }
        };
        let (read, ()) = tokio::join!(mount.read("file"), replacing);
        assert!(read.unwrap_or_else(|e| panic!("{size}: {e}")) == content(size));
        let retrievals = mount.faults.calls(Method::RetrieveFile);
        assert!(size > SMALL || retrievals == 6, "the one that came is the one that is read: {retrievals}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_replaced_for_ever_ends_in_an_error_and_one_that_was_replaced_costs_no_more_than_before() {
    let mount = Fixture::with(numbered(), ROOMY, Offline::Serve);
    mount.memory.put_as("file", "0", content(8));
    mount.find("file").await.expect("found");
    mount.memory.put_as("file", "1", content(8));
    assert!(mount.read("file").await.expect("read") == content(8));
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 2, "the version that is gone, and the one that is there");
    assert_eq!(mount.faults.calls(Method::CreateRemoteDigest), 1);
    mount.faults.set(Method::RetrieveFile, Fault::Fail(ErrorKind::Changed));
    mount.memory.put_as("file", "2", content(8));
    expire().await;
    assert_eq!(mount.read("file").await.expect_err("it is gone each time").kind(), ErrorKind::Changed);
}
