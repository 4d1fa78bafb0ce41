//! Bytes that do not have the digest they should: what is thrown away, what fails, and what counts all the same (see `freshness`).

use super::fixture::{FRESH_FOR, Fixture, ROOMY, TIMEOUT, content};
use crate::cache::block::BLOCK;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::Capabilities;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

const SIZE: u64 = 64 * BLOCK;

/// A tag of the form of a hash that is none.
const STRANGE: &str = "md5:0123456789abcdef0123456789abcdef";

/// A mount of a source whose digests look like hashes, which it does not promise.
fn unpromising() -> Fixture {
    Fixture::with(Memory::new().without_promise(), ROOMY, Offline::Serve)
}

fn retrievals(mount: &Fixture) -> u64 {
    mount.faults.calls(Method::RetrieveFile)
}

fn unconverged(mount: &Fixture) -> usize {
    mount.fs.sources()[0].transfer.unconverged()
}

fn last_error(mount: &Fixture) -> String {
    mount.fs.sources()[0].counters.last_error.lock().clone().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn where_one_tag_proved_true_wrong_bytes_are_damage_until_the_tag_changes() {
    for size in [1000, SIZE] {
        let mount = unpromising();
        mount.memory.put("true", content(size / 2));
        mount.memory.put("file", content(size));
        assert!(mount.read("true").await.expect("read") == content(size / 2));
        mount.faults.set(Method::RetrieveFile, Fault::Flip(500));
        let error = mount.read("file").await.expect_err("the bytes are wrong each time");
        assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
        assert!(error.to_string().contains("store the file anew"), "{error}");
        assert!(last_error(&mount).contains("damaged bytes"), "{}", last_error(&mount));
        assert_eq!((mount.quarantined(), unconverged(&mount)), (1, 0));
        assert_eq!(mount.objects().len(), 1, "nothing of it stays");
        let asked = retrievals(&mount);
        mount.read("file").await.expect_err("it is still damaged");
        assert_eq!(retrievals(&mount), asked, "nobody asks again at once");
        mount.faults.clear(Method::RetrieveFile);
        let new = [content(size), b"new".to_vec()].concat();
        mount.memory.put("file", new.clone());
        tokio::time::sleep(FRESH_FOR).await;
        assert!(mount.read("file").await.expect("read") == new);
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_version_is_asked_for_once_after_a_minute_and_then_ever_more_rarely() {
    let mount = unpromising();
    mount.memory.put("true", content(10));
    mount.memory.put("file", content(1000));
    mount.read("true").await.expect("read");
    mount.faults.set(Method::RetrieveFile, Fault::Flip(500));
    mount.read("file").await.expect_err("the bytes are wrong");
    let mut asked = retrievals(&mount);
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        tokio::time::sleep(Duration::from_secs(minutes * 60 - 1)).await;
        mount.read("file").await.expect_err("the bytes are wrong");
        assert_eq!(retrievals(&mount), asked, "before {minutes} minutes are over");
        tokio::time::sleep(Duration::from_secs(2)).await;
        mount.read("file").await.expect_err("the bytes are wrong");
        asked += 1;
        assert_eq!(retrievals(&mount), asked, "after {minutes} minutes");
    }
    mount.faults.clear(Method::RetrieveFile);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(mount.read("file").await.expect("the server was mended") == content(1000));
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_tags_were_never_hashes_stays_readable_and_status_says_so() {
    let mount = unpromising();
    mount.memory.put_as("file", STRANGE, content(1000));
    assert!(mount.read("file").await.expect("read") == content(1000));
    assert_eq!((unconverged(&mount), retrievals(&mount)), (1, 2));
    assert!(mount.read("file").await.expect("read") == content(1000));
    assert_eq!((unconverged(&mount), retrievals(&mount)), (1, 2), "it is a copy like others");
    let mount = mount.restart(ROOMY).await;
    assert_eq!(unconverged(&mount), 0);
    assert!(mount.read("file").await.expect("read") == content(1000));
    assert_eq!((unconverged(&mount), retrievals(&mount)), (1, 0), "it is said after a restart too");
}

#[tokio::test(start_paused = true)]
async fn what_counted_before_any_tag_proved_true_is_thrown_away_with_the_first_that_does() {
    for is_open in [false, true] {
        let mount = unpromising();
        mount.memory.put("true", content(10));
        mount.memory.put("file", content(1000));
        mount.faults.set(Method::RetrieveFile, Fault::Flip(500));
        let file = mount.open("file").await.expect("nothing speaks against it yet");
        mount.fs.read(file, 0..1000).await.expect("read");
        if !is_open {
            mount.fs.release(file);
        }
        mount.faults.clear(Method::RetrieveFile);
        mount.read("true").await.expect("read");
        if is_open {
            let error = mount.fs.read(file, 0..1000).await.expect_err("what was read before was wrong");
            assert_eq!(error.kind(), ErrorKind::ChangedDuringRead);
        }
        assert!(mount.read("file").await.expect("read") == content(1000), "is open: {is_open}");
        assert_eq!((unconverged(&mount), mount.quarantined()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_tag_has_proved_true_is_known_after_a_restart() {
    let mount = unpromising();
    mount.memory.put_as("strange", STRANGE, content(1000));
    mount.memory.put("file", content(2000));
    assert!(mount.read("strange").await.is_ok(), "nothing speaks against it yet");
    let mount = mount.restart(ROOMY).await;
    mount.memory.put("true", content(10));
    mount.read("true").await.expect("read");
    let mount = mount.restart(ROOMY).await;
    mount.faults.set(Method::RetrieveFile, Fault::Flip(500));
    for name in ["strange", "file"] {
        let error = mount.read(name).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::ChangedDuringRead, "{name}");
    }
    assert_eq!(unconverged(&mount), 0);
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_says_nothing_of_the_bytes_counts_beside_tags_that_proved_true() {
    let mount = unpromising();
    mount.memory.put("true", content(10));
    mount.memory.put_as("file", "rev 7", content(SIZE));
    mount.read("true").await.expect("read");
    assert!(mount.read("file").await.expect("read") == content(SIZE));
    assert_eq!((unconverged(&mount), mount.quarantined()), (1, 0));
}

/// Bytes of a large file are read before it is proven.
#[tokio::test(start_paused = true)]
async fn who_has_read_bytes_that_turn_out_wrong_gets_no_more_and_the_kernel_drops_its_pages() {
    let mount = unpromising();
    mount.memory.put("file", content(SIZE));
    mount.faults.set(Method::RetrieveFile, Fault::Flip(10));
    let inode = mount.find("file").await.expect("found").expect("it is there").inode;
    let first = mount.fs.open(inode).await.expect("open");
    assert!(!first.keeps_pages, "nothing is proven");
    let wrong = mount.fs.read(first.handle, 0..BLOCK).await.expect("read");
    assert!(wrong[..] != content(SIZE)[..BLOCK as usize], "the fault is there");
    mount.faults.clear(Method::RetrieveFile);
    let rest = mount.fs.read(first.handle, BLOCK..SIZE).await;
    assert_eq!(rest.err().map(|error| error.kind()), Some(ErrorKind::ChangedDuringRead));
    let opens = [mount.fs.open(inode).await.expect("open"), mount.fs.open(inode).await.expect("open")];
    assert_eq!(
        opens.each_ref().map(|open| open.keeps_pages),
        [false; 2],
        "the kernel may have had the answer to neither"
    );
    for open in &opens {
        assert!(mount.fs.read(open.handle, 0..SIZE).await.expect("read") == content(SIZE));
    }
    mount.fs.drops_pages(opens[0].handle);
    assert!(!mount.fs.open(inode).await.expect("open").keeps_pages, "the kernel may not have done so yet");
    mount.fs.release(opens[0].handle);
    let last = mount.fs.open(inode).await.expect("open");
    assert!(last.keeps_pages, "dropped once");
    assert!(mount.fs.read(last.handle, 0..SIZE).await.expect("read") == content(SIZE));
}

#[tokio::test(start_paused = true)]
async fn after_wrong_bytes_nothing_is_read_before_it_is_proven() {
    let mount = unpromising();
    mount.memory.put("true", content(10));
    mount.memory.put("file", content(SIZE));
    mount.read("true").await.expect("read");
    mount.faults.set(Method::RetrieveFile, Fault::Flip(SIZE - 1));
    mount.read("file").await.expect_err("the bytes are wrong");
    tokio::time::sleep(Duration::from_secs(61)).await;
    // The first block comes with the open, which may already see what becomes of it.
    let reading = async { mount.fs.read(mount.open("file").await?, 0..BLOCK).await };
    let result = tokio::time::timeout(10 * TIMEOUT, reading).await.expect("it ends");
    assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::ChangedDuringRead));
}

type Departure = fn(&std::path::Path);

/// The ways in which the file of a copy leaves its place, or all files do, while it is proven.
const DEPARTURES: [(&str, Departure); 4] = [
    ("it is deleted", |file| std::fs::remove_file(file).expect("deleted")),
    ("it is renamed", |file| std::fs::rename(file, file.with_extension("old")).expect("renamed")),
    ("its directory is renamed", |file| {
        let dir = file.parent().expect("it lies in a directory");
        std::fs::rename(dir, dir.with_extension("old")).expect("renamed");
    }),
    ("all objects are deleted", |file| {
        let objects = file.ancestors().nth(3).expect("it lies below objects");
        std::fs::remove_dir_all(objects).expect("deleted");
    }),
];

#[tokio::test(start_paused = true)]
async fn a_copy_whose_file_leaves_its_place_before_its_proof_is_retrieved_again() {
    for (size, unknown) in [(1000, false), (SIZE, false), (1000, true)] {
        for (what, depart) in DEPARTURES {
            let memory = Memory::new();
            let memory =
                memory.clone().with_capabilities(Capabilities { content_digest: false, ..memory.capabilities() });
            let memory = if unknown { memory.without_sizes() } else { memory };
            let mount = Fixture::with(memory, ROOMY, Offline::Serve);
            mount.memory.put_as("file", "1", content(size));
            mount.faults.set(Method::CreateLocalDigest, Fault::Hang);
            let departing = async {
                while mount.faults.calls(Method::CreateLocalDigest) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                depart(&mount.objects()[0]);
                mount.faults.clear(Method::CreateLocalDigest);
            };
            let (read, ()) = tokio::join!(mount.read("file"), departing);
            let what = format!("{what}, {size} bytes, unknown: {unknown}");
            assert!(read.unwrap_or_else(|e| panic!("{what}: {e}")) == content(size), "{what}");
            assert!(mount.read("file").await.unwrap_or_else(|e| panic!("{what}: {e}")) == content(size), "{what}");
            assert_eq!(last_error(&mount), "", "{what}");
        }
    }
}
