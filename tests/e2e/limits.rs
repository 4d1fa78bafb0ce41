//! The cache keeps to its size, and what does not fit is still readable.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use walkdir::WalkDir;

use crate::kit::files::{noise, random};
use crate::kit::mount::{Mount, bytes_retrieved, number};
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// What the cache may use beyond `max_size`: one block.
const BLOCK: u64 = 128 << 10;

#[test]
fn the_cache_never_exceeds_its_size() {
    const MAX: u64 = 32 << 20;
    let mut random = random();
    let remote = Remote::webdav();
    let mut contents = Vec::new();
    for (number, mebibytes) in [10, 7, 3, 20, 64, 1, 31, 16, 5, 32, 11].into_iter().enumerate() {
        let bytes = noise(mebibytes << 20, &mut random);
        remote.put(&number.to_string(), &bytes);
        contents.push(bytes);
    }
    let config =
        format!("[cache]\nmax_size = \"32MiB\"\nmin_free = \"1MiB\"\n{}fresh_for = \"1h\"\n", remote.table("far"));
    let mount = Mount::of(&config);
    let cache = mount.home().cache();
    let pid = Pid::from_raw(mount.pid().try_into().expect("a process id fits")).expect("it is not 0");
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A directory is not measured in one moment: nothing may move meanwhile.
                kill_process(pid, Signal::STOP).unwrap();
                eventually("every thread of the daemon has stopped", || is_stopped(pid));
                most.fetch_max(used(&cache), Ordering::Relaxed);
                kill_process(pid, Signal::CONT).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        // Whatever fails, the sampling must end.
        let right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (number, bytes) in contents.iter().enumerate() {
                assert!(&fs::read(mount.path("far").join(number.to_string())).unwrap() == bytes, "file {number}");
            }
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(failure) = right {
            std::panic::resume_unwind(failure);
        }
    });
    let most = most.into_inner();
    assert!(most <= MAX + BLOCK, "{most} bytes are more than {MAX}");
    let status = mount.status();
    assert_eq!(number(&status, "/cache/max_bytes"), MAX);
    assert!(number(&status, "/cache/bytes") <= MAX, "{status:#}");
    assert!(number(&status, "/cache/evicted") > 0, "{status:#}");
}

fn is_stopped(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap().flatten();
    let stats = threads.flat_map(|thread| fs::read_to_string(thread.path().join("stat")));
    // proc(5): the state follows the name, which stands in parentheses.
    stats.into_iter().all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

/// What a directory really takes on the disk; what vanishes meanwhile takes nothing.
fn used(dir: &Path) -> u64 {
    let entries = WalkDir::new(dir).into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_file()).flat_map(|e| e.metadata()).map(|m| m.blocks() * 512).sum()
}

#[test]
fn the_least_recently_used_copy_goes_first() {
    let mut random = random();
    let remote = Remote::local();
    for number in 0..6 {
        remote.put(&number.to_string(), noise(1 << 20, &mut random));
    }
    let config =
        format!("[cache]\nmax_size = \"4MiB\"\nmin_free = \"1MiB\"\n{}fresh_for = \"1h\"\n", remote.table("near"));
    let mut mount = Mount::of(&config);
    let read = |mount: &Mount, number: u32| fs::read(mount.path("near").join(number.to_string())).unwrap();
    for number in [0, 1, 2, 0, 3, 0, 4, 0, 5] {
        read(&mount, number);
    }
    // A new daemon, so that no page that the kernel kept can answer.
    mount.remount();
    read(&mount, 0);
    read(&mount, 5);
    assert_eq!(number(&mount.status(), "/sources/near/bytes_retrieved"), 0, "both are still there");
    read(&mount, 1);
    assert_eq!(number(&mount.status(), "/sources/near/bytes_retrieved"), 1 << 20, "this one had to go");
}

#[test]
fn without_room_a_large_file_costs_little_more_over_webdav() {
    without_room_a_file_costs_little_more(&Remote::webdav());
}

#[test]
fn without_room_a_large_file_costs_little_more_over_the_webdav_of_apache() {
    without_room_a_file_costs_little_more(&Remote::apache());
}

#[test]
fn without_room_a_large_file_costs_little_more_over_sftp() {
    without_room_a_file_costs_little_more(&Remote::sftp());
}

#[test]
fn without_room_a_large_file_costs_little_more_over_s3() {
    without_room_a_file_costs_little_more(&Remote::s3());
}

#[test]
fn without_room_a_large_file_costs_little_more_over_smb() {
    without_room_a_file_costs_little_more(&Remote::smb());
}

fn without_room_a_file_costs_little_more(remote: &Remote) {
    const SIZE: u64 = 128 << 20;
    remote.put("large", noise(SIZE as usize, &mut random()));
    // No disk has so much.
    let config = format!("[cache]\nmin_free = \"1000PiB\"\n{}fresh_for = \"1h\"\n", remote.table("far"));
    let mount = Mount::of(&config);
    let mut file = File::open(mount.path("far/large")).unwrap();
    let mut expected = File::open(remote.dir().join("large")).unwrap();
    let (mut read, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for _ in 0..SIZE / read.len() as u64 {
        file.read_exact(&mut read).unwrap();
        expected.read_exact(&mut right).unwrap();
        assert!(read == right);
    }
    let status = mount.status();
    let moved = bytes_retrieved(&status, "far");
    assert!((SIZE..=SIZE + SIZE / 9).contains(&moved), "{moved} bytes");
    let why = status.pointer("/cache/no_room").and_then(|why| why.as_str()).unwrap_or_default();
    assert!(why.contains("min_free"), "{status:#}");
    assert_eq!(mount.log().matches("no room").count(), 1, "{}", mount.log());
}
