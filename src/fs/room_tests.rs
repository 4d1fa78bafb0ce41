//! Files that the cache has no room for, as the file system reads them: each byte comes once. The source is in memory.

use super::fixture::{Fixture, content};
use super::*;
use crate::cache::Limits;
use crate::cache::block::BLOCK;
use crate::config::Offline;
use crate::source::Capabilities;
use crate::source::fault::Method;
use crate::sources::memory::Memory;

/// No disk has so much.
const NO_ROOM: Limits = Limits { max_size: 1 << 30, min_free: u64::MAX / 2 };

/// How many reads the kernel has under way for one reader.
const AT_ONCE: u64 = 4;

/// Reads a file to its end as a program does, through a kernel that reads ahead.
async fn read_on(mount: &Fixture, path: &str, expected: &[u8]) {
    let handle = mount.open(path).await.expect("open");
    let size = expected.len() as u64;
    let mut at = 0;
    while at < size {
        let reads = (0..AT_ONCE).map(|n| at + n * BLOCK..(at + (n + 1) * BLOCK).min(size)).filter(|r| r.start < size);
        let pieces = futures::future::join_all(reads.map(|range| mount.fs.read(handle, range))).await;
        for piece in pieces {
            let piece = piece.expect("read");
            let end = at + piece.len() as u64;
            assert!(piece[..] == expected[at as usize..end as usize], "at {at}");
            at = end;
        }
    }
    mount.fs.release(handle);
}

#[tokio::test(start_paused = true)]
async fn without_any_room_a_reader_costs_each_byte_once() {
    let mount = Fixture::with(Memory::new(), NO_ROOM, Offline::Serve);
    let bytes = content(40 * SMALL);
    mount.memory.put("file", bytes.clone());
    assert_eq!(mount.fs.cache().no_room(), None);
    read_on(&mount, "file", &bytes).await;
    assert_eq!(mount.faults.bytes(), 40 * SMALL);
    assert!(mount.objects().is_empty());
    let why = mount.fs.cache().no_room().expect("it is known by now");
    assert!(why.contains("min_free"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn where_room_ends_in_the_middle_a_reader_costs_each_byte_once() {
    let limits = Limits { max_size: 48 << 20, min_free: 0 };
    let mount = Fixture::with(Memory::new(), limits, Offline::Serve);
    let bytes = content(40 * SMALL);
    mount.memory.put("file", bytes.clone());
    mount.memory.put("other", bytes[..(32 * SMALL) as usize].to_vec());
    // Open files are not evicted, so the other one keeps its room.
    let other = mount.open("other").await.expect("open");
    assert_eq!(mount.fs.read(other, 0..u64::MAX).await.expect("read").len() as u64, 32 * SMALL);
    let before = mount.faults.bytes();
    read_on(&mount, "file", &bytes).await;
    assert_eq!(mount.faults.bytes() - before, 40 * SMALL);
    assert!(mount.fs.cache().bytes() <= limits.max_size);
    let why = mount.fs.cache().no_room().expect("it is known by now");
    assert!(why.contains("max_size"), "{why}");
    mount.fs.release(other);
    mount.memory.put("third", bytes[..SMALL as usize].to_vec());
    super::fixture::expire().await;
    mount.read("third").await.expect("read");
    assert_eq!(mount.fs.cache().no_room(), None, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn many_readers_without_room_do_not_push_out_each_others_bytes() {
    let mount = Fixture::with(Memory::new(), NO_ROOM, Offline::Serve);
    let bytes = content(4 * SMALL);
    let names: Vec<_> = (0..24).map(|n| n.to_string()).collect();
    for name in &names {
        mount.memory.put(name, bytes.clone());
    }
    futures::future::join_all(names.iter().map(|name| read_on(&mount, name, &bytes))).await;
    let most = 24 * 4 * SMALL * 105 / 100;
    assert!(mount.faults.bytes() <= most, "{} of {most}", mount.faults.bytes());
}

#[tokio::test(start_paused = true)]
async fn without_room_and_without_ranges_a_file_comes_once() {
    let memory = Memory::new();
    let capabilities = Capabilities { ranges: false, ..memory.capabilities() };
    let mount = Fixture::with(memory.with_capabilities(capabilities), NO_ROOM, Offline::Serve);
    let bytes = content(40 * SMALL);
    mount.memory.put("file", bytes.clone());
    read_on(&mount, "file", &bytes).await;
    assert_eq!(mount.faults.bytes(), 40 * SMALL);
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 1);
}
