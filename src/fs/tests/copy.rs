//! Copies in the cache, as the file system serves them: altered from outside, partial, evicted, without room. The source is in
//! memory.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::fixture::{Fixture, ROOMY, content, expire};
use crate::cache::Limits;
use crate::cache::block::BLOCK;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::Capabilities;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

/// The ways in which another program may alter a cached file.
type Tampering = (&'static str, fn(&std::path::Path));

/// Flips a bit near the start of a file that is not empty.
pub(super) fn flip_a_byte(file: &std::path::Path) {
    let file = std::fs::File::options().read(true).write(true).open(file).expect("open");
    let at = 5.min(file.metadata().expect("its size").len().saturating_sub(1));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("write");
}

const TAMPERINGS: [Tampering; 6] = [
    ("a flipped byte", flip_a_byte),
    ("a truncation", |file| {
        std::fs::File::options().write(true).open(file).and_then(|file| file.set_len(7)).expect("truncate");
    }),
    ("a touched mtime", |file| {
        let file = std::fs::File::options().write(true).open(file).expect("open");
        file.set_modified(SystemTime::now()).expect("touch");
    }),
    ("a removal", |file| std::fs::remove_file(file).expect("remove")),
    ("a replacement", |file| {
        std::fs::write(file.with_extension("new"), "x").expect("write");
        std::fs::rename(file.with_extension("new"), file).expect("rename");
    }),
    ("something appended", |file| {
        let end = file.metadata().expect("its size").len();
        let file = std::fs::File::options().write(true).open(file).expect("open");
        file.write_all_at(b"more", end).expect("write");
    }),
];

#[tokio::test(start_paused = true)]
async fn a_copy_that_somebody_altered_is_proven_again_and_counted_once() {
    for size in [100, 3 * SMALL] {
        for (what, tamper) in TAMPERINGS {
            for restarted in [false, true] {
                let mut mount = Fixture::new();
                mount.memory.put("file", content(size));
                assert!(mount.read("file").await.expect("read") == content(size));
                if restarted {
                    mount = mount.restart(ROOMY).await;
                }
                tamper(&mount.objects()[0]);
                for _ in 0..2 {
                    let bytes = mount.read("file").await.unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert!(bytes == content(size), "{what} of {size} bytes, restarted: {restarted}");
                }
                assert_eq!(mount.quarantined(), 1, "{what} of {size} bytes, restarted: {restarted}");
                let length = mount.objects()[0].metadata().expect("its size").len();
                assert_eq!(length, size, "{what}, restarted: {restarted}: the kernel may read it without us");
                let modified = mount.objects()[0].metadata().and_then(|meta| meta.modified()).expect("a time");
                assert_eq!(modified, Memory::default_modified(), "{what}: the time may carry the digest");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_copy_that_somebody_alters_is_neither_served_nor_proven_as_it_is() {
    let mount = Fixture::new();
    let bytes = content(8 * SMALL);
    mount.memory.put("file", bytes.clone());
    let open = mount.open("file").await.expect("open");
    let half = 4 * SMALL;
    for (what, tamper) in [TAMPERINGS[0], TAMPERINGS[5], TAMPERINGS[1]] {
        assert!(mount.fs.read(open, 0..half).await.expect("read") == bytes[..half as usize]);
        // The clock goes on when no write is under way, during which a stranger's would be taken for ours.
        tokio::time::sleep(Duration::from_millis(1)).await;
        tamper(&mount.objects()[0]);
        assert!(mount.fs.read(open, 0..half).await.expect("read") == bytes[..half as usize], "{what}");
    }
    // Altered again while the rest arrives: the proof is of what lies there.
    tokio::time::sleep(Duration::from_millis(1)).await;
    flip_a_byte(&mount.objects()[0]);
    assert!(mount.fs.read(open, half..8 * SMALL).await.expect("read") == bytes[half as usize..]);
    assert!(mount.fs.read(open, 0..8 * SMALL).await.expect("read") == bytes);
    mount.fs.release(open);
    let inode = mount.find("file").await.expect("found").expect("it is there").inode;
    let opened = mount.fs.open(inode).await.expect("open");
    assert!(opened.proven_file.is_some());
    assert!(std::fs::read(&mount.objects()[0]).expect("readable") == bytes);
}

/// Root may open anything: without this a file without permissions would be no obstacle to it.
fn drop_privileges() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).expect("they can be asked for");
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).expect("whoever has them may drop them");
}

fn chmod(path: impl AsRef<std::path::Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_opened_is_read_through_and_stays() {
    drop_privileges();
    let mut mount = Fixture::new();
    let sizes = [100, SMALL, 3 * SMALL];
    for size in sizes {
        mount.memory.put(&size.to_string(), content(size));
    }
    for size in sizes {
        mount.read(&size.to_string()).await.expect("read");
    }
    let objects = mount.objects();
    for restarted in [true, false] {
        if restarted {
            mount = mount.restart(ROOMY).await;
        }
        let quarantined = mount.quarantined();
        objects.iter().for_each(|object| chmod(object, 0));
        for size in sizes {
            assert!(mount.read(&size.to_string()).await.expect("read") == content(size), "{size}");
        }
        assert_eq!((mount.objects().len(), mount.quarantined()), (sizes.len(), quarantined));
        objects.iter().for_each(|object| chmod(object, 0o600));
        mount = mount.restart(ROOMY).await;
        let before = mount.faults.bytes();
        for size in sizes {
            assert!(mount.read(&size.to_string()).await.expect("read") == content(size), "{size}");
        }
        assert_eq!(mount.faults.bytes(), before, "every copy was kept");
    }
}

#[tokio::test(start_paused = true)]
async fn copies_that_cannot_be_listed_at_a_start_stay() {
    drop_privileges();
    let mut mount = Fixture::new();
    for number in 0..20 {
        mount.memory.put(&number.to_string(), content(1000 + number));
    }
    for number in 0..20 {
        mount.read(&number.to_string()).await.expect("read");
    }
    let shards: std::collections::HashSet<PathBuf> =
        mount.objects().iter().filter_map(|object| Some(object.parent()?.parent()?.to_owned())).collect();
    let objects = mount.cache_dir.path().join("objects");
    for closed in shards.iter().chain([&objects]) {
        let mode = |mode| chmod(closed, mode);
        mode(0);
        mount = mount.restart(ROOMY).await;
        mode(0o700);
        // Twice: what one start forgets is removed at the next.
        mount = mount.restart(ROOMY).await;
        assert_eq!(mount.objects().len(), 20, "{}", closed.display());
    }
    let before = mount.faults.bytes();
    for number in 0..20 {
        mount.read(&number.to_string()).await.expect("read");
    }
    assert_eq!(mount.faults.bytes(), before);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_index_costs_copies_with_a_hash_as_their_digest_nothing() {
    for mounted in [false, true] {
        let mut mount = Fixture::new();
        for number in 0..200 {
            mount.memory.put(&number.to_string(), content(1000 + number));
        }
        mount.memory.put("large", content(3 * SMALL));
        for number in 0..200 {
            mount.read(&number.to_string()).await.expect("read");
        }
        mount.read("large").await.expect("read");
        mount.fs.cache().settle();
        let index = mount.cache_dir.path().join("index.sqlite");
        let damage = || {
            let file = std::fs::File::options().write(true).open(&index).expect("it is there");
            file.write_all_at(&[0; 5 * 4096], 4096).expect("written");
        };
        mount = mount.restart(ROOMY).await;
        if mounted {
            damage();
        } else {
            mount = mount.restart_after(damage).await;
        }
        let before = mount.faults.bytes();
        for _ in 0..2 {
            for number in 0..200 {
                assert!(mount.read(&number.to_string()).await.expect("read") == content(1000 + number));
            }
            assert!(mount.read("large").await.expect("read") == content(3 * SMALL));
            // Once more from what the new index tells.
            mount.fs.cache().settle();
            mount = mount.restart(ROOMY).await;
        }
        assert_eq!(mount.faults.bytes() - before, 0, "mounted: {mounted}");
        assert_eq!(mount.objects().len(), 201, "mounted: {mounted}");
        assert!(index.with_file_name("index.sqlite.damaged").exists(), "mounted: {mounted}");
    }
}

#[tokio::test(start_paused = true)]
async fn listings_are_stored_again_after_the_index_was_damaged() {
    let mut mount = Fixture::new();
    mount.memory.put("file", "bytes");
    mount.list().await.expect("list");
    mount = mount.restart(ROOMY).await;
    let index = mount.cache_dir.path().join("index.sqlite");
    let file = std::fs::File::options().write(true).open(&index).expect("it is there");
    let length = file.metadata().expect("its size").len();
    file.write_all_at(&vec![0; length as usize - 4096], 4096).expect("written");
    for _ in 0..2 {
        mount.list().await.expect("list");
        mount.fs.cache().settle();
        expire().await;
    }
    assert!(index.with_file_name("index.sqlite.damaged").exists());
    mount = mount.restart(ROOMY).await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    assert_eq!(mount.list().await.expect("as it was last seen"), ["file"]);
}

#[tokio::test(start_paused = true)]
async fn a_touched_copy_is_not_retrieved_again() {
    let mount = Fixture::new();
    mount.memory.put("file", content(3 * SMALL));
    mount.read("file").await.expect("read");
    let before = mount.faults.bytes();
    TAMPERINGS[2].1(&mount.objects()[0]);
    mount.read("file").await.expect("read");
    assert_eq!(mount.faults.bytes(), before);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_of_a_large_copy_costs_that_block() {
    let mount = Fixture::new();
    mount.memory.put("file", content(8 * SMALL));
    mount.read("file").await.expect("read");
    let before = mount.faults.bytes();
    TAMPERINGS[0].1(&mount.objects()[0]);
    assert!(mount.read("file").await.expect("read") == content(8 * SMALL));
    assert_eq!(mount.faults.bytes() - before, BLOCK);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_large_copy_costs_what_was_cut_off() {
    let mut mount = Fixture::new();
    mount.memory.put("file", content(8 * SMALL));
    mount.read("file").await.expect("read");
    mount = mount.restart(ROOMY).await;
    std::fs::File::options().write(true).open(&mount.objects()[0]).and_then(|f| f.set_len(6 * SMALL)).expect("cut");
    assert!(mount.read("file").await.expect("read") == content(8 * SMALL));
    assert_eq!(mount.faults.bytes(), 2 * SMALL);
    assert_eq!(mount.quarantined(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_partial_copy_continues_after_a_restart() {
    let mount = Fixture::new();
    let bytes = content(8 * SMALL);
    mount.memory.put("file", bytes.clone());
    let open = mount.open("file").await.expect("open");
    mount.fs.read(open, 4 * SMALL..8 * SMALL).await.expect("read");
    assert_eq!(mount.faults.bytes(), BLOCK + 4 * SMALL, "what came with the open, and a half");
    mount.fs.release(open);
    let mount = mount.restart(ROOMY).await;
    assert!(mount.read("file").await.expect("read") == bytes);
    assert_eq!(mount.faults.bytes(), 4 * SMALL - BLOCK, "what was missing only");
}

/// A web page's index tells no digests: what was learned of each file by itself is as good after a restart.
#[tokio::test(start_paused = true)]
async fn cached_files_of_a_listing_without_digests_are_served_in_an_outage_after_restarts() {
    let memory = Memory::new();
    let capabilities = Capabilities { digest_from_listing: false, ..memory.capabilities() };
    let mount = Fixture::with(memory.with_capabilities(capabilities), ROOMY, Offline::Serve);
    for name in ["cached", "changed", "unread"] {
        mount.memory.put(name, "bytes");
    }
    mount.read("cached").await.expect("read");
    mount.read("changed").await.expect("read");
    mount.memory.put("changed", "other bytes");
    expire().await;
    assert_eq!(mount.read("changed").await.expect("read"), "other bytes");
    // A run in which no program looks at the files does not drop their copies.
    let mount = mount.restart(ROOMY).await;
    mount.list().await.expect("list");
    let mount = mount.restart(ROOMY).await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    assert_eq!(mount.list().await.expect("as it was last seen").len(), 3);
    assert_eq!(mount.read("cached").await.expect("from the cache"), "bytes");
    assert_eq!(mount.read("changed").await.expect("from the cache"), "other bytes");
    assert!(mount.read("unread").await.expect_err("an outage").kind().is_outage());
}

#[tokio::test(start_paused = true)]
async fn reading_the_tail_of_a_large_file_moves_little() {
    let mount = Fixture::new();
    mount.memory.put("file", content(64 * SMALL));
    let open = mount.open("file").await.expect("open");
    let tail = 64 * SMALL - 64 * 1024..64 * SMALL;
    mount.fs.read(open, tail).await.expect("read");
    assert!(mount.faults.bytes() <= 2 * BLOCK, "{} bytes", mount.faults.bytes());
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 2, "the beginning, with the open, and the tail");
}

#[tokio::test(start_paused = true)]
async fn opening_a_large_file_brings_its_first_block_instead_of_its_digest() {
    let mount = Fixture::metered();
    mount.memory.put("file", content(4 * SMALL));
    for _ in 0..2 {
        mount.open("file").await.expect("open");
        assert_eq!(mount.faults.bytes(), BLOCK);
        assert_eq!(mount.faults.calls(Method::RetrieveFile), 1);
        assert_eq!(mount.faults.calls(Method::CreateRemoteDigest), 0);
    }
    // With its beginning here, the digest alone is asked for.
    expire().await;
    mount.open("file").await.expect("open");
    assert_eq!(mount.faults.bytes(), BLOCK);
    assert_eq!(mount.faults.calls(Method::CreateRemoteDigest), 1);
}

#[tokio::test(start_paused = true)]
async fn the_cache_stays_within_its_limit_and_a_larger_file_is_read_through() {
    let limits = Limits { max_size: 4 << 20, min_free: 0 };
    let mount = Fixture::with(Memory::new(), limits, Offline::Serve);
    for n in 0..20 {
        mount.memory.put(&format!("{n}"), vec![n; 700_000]);
    }
    mount.memory.put("large", content(16 * SMALL));
    for n in 0..20 {
        assert!(mount.read(&format!("{n}")).await.expect("read") == vec![n; 700_000]);
        assert!(mount.fs.cache().bytes() <= limits.max_size);
    }
    let open = mount.open("large").await.expect("open");
    let expected = content(16 * SMALL);
    for at in (0..16 * SMALL).step_by(BLOCK as usize) {
        let bytes = mount.fs.read(open, at..at + BLOCK).await.expect("read");
        assert!(bytes[..] == expected[at as usize..(at + BLOCK) as usize], "at {at}");
        assert!(mount.fs.cache().bytes() <= limits.max_size);
    }
    assert_eq!(mount.faults.bytes(), 20 * 700_000 + 16 * SMALL, "each byte once");
    assert!(mount.fs.cache().counters().evicted.load(Ordering::Relaxed) > 0);
}

#[tokio::test(start_paused = true)]
async fn open_copies_are_never_evicted() {
    let limits = Limits { max_size: 4 << 20, min_free: 0 };
    let mount = Fixture::with(Memory::new(), limits, Offline::Serve);
    for n in 0..20 {
        mount.memory.put(&format!("{n}"), vec![n; 700_000]);
    }
    let open = mount.open("0").await.expect("open");
    for n in 1..20 {
        mount.read(&format!("{n}")).await.expect("read");
    }
    let before = mount.faults.bytes();
    assert!(mount.fs.read(open, 0..u64::MAX).await.expect("read") == vec![0; 700_000]);
    assert_eq!(mount.faults.bytes(), before);
}

#[tokio::test(start_paused = true)]
async fn a_disk_without_room_is_read_through() {
    let limits = Limits { max_size: 1 << 30, min_free: u64::MAX / 2 };
    let mount = Fixture::with(Memory::new(), limits, Offline::Serve);
    mount.memory.put("small", "bytes");
    mount.memory.put("large", content(5 * SMALL));
    assert_eq!(mount.read("small").await.expect("read"), "bytes");
    assert!(mount.read("large").await.expect("read") == content(5 * SMALL));
    assert_eq!(mount.objects(), Vec::<PathBuf>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_left_is_removed() {
    let mount = Fixture::new();
    mount.memory.put("file", "bytes");
    mount.read("file").await.expect("read");
    let litter = mount.cache_dir.path().join("objects/ab").join("ab".repeat(32));
    std::fs::create_dir_all(&litter).expect("created");
    std::fs::write(litter.join("half"), "ha").expect("written");
    let mount = mount.restart(ROOMY).await;
    assert!(!litter.exists());
    assert_eq!(mount.objects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cache_directory_that_is_moved_while_mounted_is_used_where_it_is() {
    let memory = Memory::new();
    let capabilities = Capabilities { content_digest: false, ..memory.capabilities() };
    let mount = Fixture::with(memory.with_capabilities(capabilities), ROOMY, Offline::Serve);
    // Only the source can say whether the bytes are those of such a digest, and it opens the file by its path.
    mount.memory.put_as("file", "rev 7", content(2 * SMALL));
    let (dir, moved) = (mount.cache_dir.path(), mount.cache_dir.path().with_extension("moved"));
    std::fs::rename(dir, &moved).expect("moved");
    let read = mount.read("file").await;
    std::fs::rename(&moved, dir).expect("moved back");
    assert!(read.expect("read") == content(2 * SMALL));
    assert_eq!((mount.faults.calls(Method::CreateLocalDigest), mount.objects().len()), (1, 1));
}

#[tokio::test]
async fn who_opens_a_stored_copy_waits_for_the_index_and_keeps_no_thread_waiting() {
    let mount = Fixture::new();
    mount.memory.put("file", content(100));
    mount.read("file").await.expect("read");
    let mount = mount.restart(ROOMY).await;
    let inode = mount.find("file").await.expect("found").expect("there").inode;
    let (go_on, until) = std::sync::mpsc::channel::<()>();
    mount.fs.cache().db().write(move |_| {
        let _ = until.recv();
        Ok(())
    });
    let mut opening = Box::pin(mount.fs.open(inode));
    assert!(tokio::time::timeout(Duration::ZERO, &mut opening).await.is_err(), "the index does not answer yet");
    go_on.send(()).expect("the writer waits");
    opening.await.expect("open");
    assert!(
        !mount.fs.cache().disk().rests(),
        "the thread of this test was not held up until the index counted as hanging"
    );
    assert_eq!(mount.fs.cache().counters().hits.load(Ordering::Relaxed), 1);
}
