//! Files that the cache has no room for, as the file system reads them: each byte comes once. The source is in memory.

use super::fixture::{Fixture, ROOMY, content};
use crate::cache::Limits;
use crate::cache::block::BLOCK;
use crate::disk::DISK_TIMEOUT;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::Capabilities;
use crate::source::fault::Method;
use crate::sources::memory::Memory;

/// No disk has so much.
const NO_ROOM: Limits = Limits { max_size: 1 << 30, min_free: u64::MAX / 2 };

/// The number of reads that the kernel has under way for one reader.
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
async fn what_only_memory_has_for_its_readers_is_told_to_be_missing() {
    let mount = Fixture::with(Memory::new(), NO_ROOM, Offline::Serve);
    mount.memory.put("file", content(2 * SMALL));
    let inode = mount.find("file").await.expect("lookup").expect("there").inode;
    let handle = mount.open("file").await.expect("open");
    mount.fs.read(handle, 0..u64::MAX).await.expect("read");
    let missing = mount.fs.xattr(inode, "missing").await.expect("an inode").expect("a file has it");
    assert_eq!(missing, (2 * SMALL).to_string().into_bytes());
    mount.fs.release(handle);
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

/// A disk that hangs until it is dropped, however the test ends.
struct HangingDisk {
    go_on: Option<std::sync::mpsc::Sender<()>>,
    disk: Option<std::thread::JoinHandle<()>>,
}

impl HangingDisk {
    fn of(mount: &Fixture) -> Self {
        let cache = mount.fs.cache().clone();
        let (go_on, until) = std::sync::mpsc::channel();
        let (hangs, is_hanging) = std::sync::mpsc::channel();
        let disk = std::thread::spawn(move || {
            let gate = cache.gate.write();
            hangs.send(()).expect("the test waits");
            let _ = until.recv();
            drop(gate);
        });
        is_hanging.recv().expect("the disk hangs");
        Self { go_on: Some(go_on), disk: Some(disk) }
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        self.go_on.take();
        let _ = self.disk.take().map(std::thread::JoinHandle::join);
    }
}

/// In real time: paused time does not go on while a task waits for the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_disk_that_hangs_holds_nobody_up_for_long() {
    let mount = Fixture::new();
    let bytes = content(4 * SMALL);
    for name in ["small", "file", "another"] {
        mount.memory.put(name, bytes[..if name == "small" { 100 } else { bytes.len() }].to_vec());
    }
    let _disk = HangingDisk::of(&mount);
    // The first reader waits for the disk once; meanwhile the only worker goes on.
    let begun = std::time::Instant::now();
    let (first, ticked) = tokio::join!(mount.read("file"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        begun.elapsed()
    });
    assert!(first.expect("read through") == bytes);
    assert!(ticked < DISK_TIMEOUT, "{ticked:?}: the worker waited for the disk");
    assert!(begun.elapsed() >= DISK_TIMEOUT, "{:?}: nobody asked the disk", begun.elapsed());
    let why = mount.fs.cache().no_room().expect("the disk is left alone");
    assert!(why.contains("not answered"), "{why}");
    // Later readers do not wait at all: the limit is the time of a busy machine.
    let begun = std::time::Instant::now();
    assert_eq!(mount.read("small").await.expect("read through").len(), 100);
    read_on(&mount, "another", &bytes).await;
    assert!(begun.elapsed() < 3 * DISK_TIMEOUT, "{:?}", begun.elapsed());
    assert!(mount.objects().is_empty(), "nothing was written");
}

/// In real time, as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_disk_that_hangs_costs_no_copy_and_its_files_are_read_through() {
    let mut mount = Fixture::new();
    let bytes = content(4 * SMALL);
    for name in ["open", "file", "another"] {
        mount.memory.put(name, bytes.clone());
    }
    for name in ["open", "file", "another"] {
        mount.read(name).await.expect("read");
    }
    mount = mount.restart(ROOMY).await;
    let before = mount.faults.bytes();
    let open = mount.open("open").await.expect("open");
    let disk = HangingDisk::of(&mount);
    let begun = std::time::Instant::now();
    let (read, ticked) = tokio::join!(mount.fs.read(open, 0..SMALL), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        begun.elapsed()
    });
    assert!(read.expect("read through") == bytes[..SMALL as usize]);
    assert!(ticked < DISK_TIMEOUT && begun.elapsed() >= DISK_TIMEOUT, "{ticked:?}, {:?}", begun.elapsed());
    // Others do not wait, be they open already or not; what the index tells of them is not asked for.
    let begun = std::time::Instant::now();
    for name in ["file", "another"] {
        assert!(mount.read(name).await.expect("read through") == bytes);
    }
    assert!(begun.elapsed() < 3 * DISK_TIMEOUT, "{:?}", begun.elapsed());
    assert!(mount.faults.bytes() >= before + 9 * SMALL);
    mount.fs.release(open);
    assert_eq!((mount.objects().len(), mount.quarantined()), (3, 0), "nothing was thrown away");
    drop(disk);
    // Later readers find everything.
    mount = mount.restart(ROOMY).await;
    let before = mount.faults.bytes();
    for name in ["open", "file", "another"] {
        assert!(mount.read(name).await.expect("read") == bytes);
    }
    assert_eq!(mount.faults.bytes(), before);
}

/// In real time, as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_index_that_hangs_costs_no_copy_and_its_files_are_read_through() {
    let mut mount = Fixture::new();
    let bytes = content(4 * SMALL);
    for name in ["file", "another"] {
        mount.memory.put(name, bytes.clone());
    }
    for name in ["file", "another"] {
        mount.read(name).await.expect("read");
    }
    mount = mount.restart(ROOMY).await;
    let before = mount.faults.bytes();
    let (go_on, until) = std::sync::mpsc::channel::<()>();
    mount.fs.cache().db().write(move |_| {
        let _ = until.recv();
        Ok(())
    });
    let begun = std::time::Instant::now();
    assert!(mount.read("file").await.expect("read through") == bytes);
    assert!(begun.elapsed() >= DISK_TIMEOUT, "{:?}: nobody asked the index", begun.elapsed());
    let begun = std::time::Instant::now();
    assert!(mount.read("another").await.expect("read through") == bytes);
    assert!(begun.elapsed() < 3 * DISK_TIMEOUT, "{:?}", begun.elapsed());
    let moved = mount.faults.bytes() - before;
    assert!((8 * SMALL..=9 * SMALL).contains(&moved), "{moved} bytes");
    assert_eq!(mount.objects().len(), 2, "nothing was thrown away");
    drop(go_on);
    mount = mount.restart(ROOMY).await;
    let before = mount.faults.bytes();
    for name in ["file", "another"] {
        assert!(mount.read(name).await.expect("read") == bytes);
    }
    assert_eq!(mount.faults.bytes(), before);
}
