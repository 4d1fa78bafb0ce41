//! Cold reads follow the reader: what moves, counted in requests and bytes, over real servers.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng as _;

use crate::kit::files::{noise, random};
use crate::kit::ftp::Ftp;
use crate::kit::home::{Home, text};
use crate::kit::mount::{Mount, bytes_retrieved, number, requests};
use crate::kit::proxy::Proxy;
use crate::kit::wait::{eventually, settled};
use crate::remote::Remote;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 128 * 1024;

fn mounted(remote: &Remote) -> Mount {
    Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")))
}

/// A file of which every block differs, without its bytes having to be made one by one.
fn sparse(remote: &Remote, name: &str, size: u64) {
    remote.put(name, "");
    let file = File::options().write(true).open(remote.dir().join(name)).unwrap();
    file.set_len(size).unwrap();
    for at in (0..size).step_by(BLOCK as usize) {
        file.write_all_at(&at.to_le_bytes(), at).unwrap();
    }
}

#[test]
fn the_end_of_a_gibibyte_costs_three_requests_at_most() {
    for remote in [Remote::local(), Remote::apache()] {
        sparse(&remote, "large", 1024 * MIB);
        let mount = mounted(&remote);
        let mut tail = vec![1; 64 * 1024];
        File::open(mount.path("far/large")).unwrap().read_exact_at(&mut tail, 1024 * MIB - 64 * 1024).unwrap();
        assert!(tail.iter().all(|&byte| byte == 0));
        let status = mount.status();
        let (_, digest, retrieve) = requests(&status, "far");
        assert!(digest + retrieve <= 3, "{digest} digests and {retrieve} retrievals");
        assert!(bytes_retrieved(&status, "far") < 2 * MIB, "{}", bytes_retrieved(&status, "far"));
    }
}

#[test]
fn random_reads_cost_little_more_than_they_ask_for() {
    let remote = Remote::apache();
    sparse(&remote, "large", 1024 * MIB);
    let mount = mounted(&remote);
    let file = File::open(mount.path("far/large")).unwrap();
    let mut random = random();
    let mut bytes = vec![0; 64 * 1024];
    for _ in 0..50 {
        let at = random.random_range(0..1023 * MIB);
        file.read_exact_at(&mut bytes, at).unwrap();
        let first_tag = at.next_multiple_of(BLOCK);
        if first_tag + 8 <= at + bytes.len() as u64 {
            let within = usize::try_from(first_tag - at).unwrap();
            assert_eq!(bytes[within..within + 8], first_tag.to_le_bytes());
        }
    }
    let moved = bytes_retrieved(&mount.status(), "far");
    assert!(moved <= 50 * 2 * BLOCK, "{moved} bytes");
}

#[test]
fn the_beginnings_of_many_files_cost_little() {
    let remote = Remote::apache();
    for n in 0..20 {
        sparse(&remote, &format!("{n}"), 20 * MIB);
    }
    let mount = mounted(&remote);
    for n in 0..20 {
        let mut head = vec![0; 4096];
        File::open(mount.path(format!("far/{n}"))).unwrap().read_exact_at(&mut head, 0).unwrap();
    }
    let moved = bytes_retrieved(&mount.status(), "far");
    assert!(moved <= 5 * MIB, "{moved} bytes");
}

#[test]
fn half_of_a_file_costs_the_other_half() {
    let remote = Remote::apache();
    let bytes = noise(32 << 20, &mut random());
    remote.put("large", &bytes);
    let mount = mounted(&remote);
    let file = File::open(mount.path("far/large")).unwrap();
    // Every other block, backwards: nobody takes that for a reader who goes forward.
    let mut block = vec![0; BLOCK as usize];
    for number in (0..32 * MIB / BLOCK).rev().step_by(2) {
        file.read_exact_at(&mut block, number * BLOCK).unwrap();
    }
    let half = bytes_retrieved(&mount.status(), "far");
    assert!(half <= 16 * MIB + BLOCK, "{half} bytes");
    assert!(fs::read(mount.path("far/large")).unwrap() == bytes);
    let moved = bytes_retrieved(&mount.status(), "far");
    assert_eq!(moved, 32 * MIB, "each byte once");
}

#[test]
fn interleaved_readers_on_one_descriptor_cost_each_byte_once() {
    let remote = Remote::apache();
    let bytes = noise(64 << 20, &mut random());
    remote.put("large", &bytes);
    let mount = mounted(&remote);
    let file = File::open(mount.path("far/large")).unwrap();
    let part = 8 << 20;
    let mut chunk = vec![0; 64 * 1024];
    for at in (0..part).step_by(chunk.len()) {
        for reader in 0..8 {
            let at = reader * part + at;
            file.read_exact_at(&mut chunk, at as u64).unwrap();
            assert!(chunk == bytes[at..at + chunk.len()], "at {at}");
        }
    }
    assert_eq!(bytes_retrieved(&mount.status(), "far"), 64 * MIB);
}

#[test]
fn many_readers_of_one_large_file_cost_each_byte_once() {
    let remote = Remote::s3();
    let bytes = noise(24 << 20, &mut random());
    remote.put("large", &bytes);
    let mount = mounted(&remote);
    let together = Barrier::new(64);
    thread::scope(|scope| {
        for reader in 0..64usize {
            let (mount, bytes, together) = (&mount, &bytes, &together);
            scope.spawn(move || {
                let file = File::open(mount.path("far/large")).unwrap();
                together.wait();
                let mut chunk = vec![0; 1 << 20];
                // Each begins elsewhere.
                for part in 0..24 {
                    let at = (part + reader) % 24 * chunk.len();
                    file.read_exact_at(&mut chunk, at as u64).unwrap();
                    assert!(chunk == bytes[at..at + chunk.len()], "reader {reader} at {at}");
                }
            });
        }
    });
    let status = mount.status();
    assert_eq!(bytes_retrieved(&status, "far"), 24 * MIB);
    // The tag is an MD5: every byte is hashed once, too.
    assert_eq!(number(&status, "/cache/hashed_along") + number(&status, "/cache/hashed_after"), 24 * MIB);
}

/// Counted on the line, so that what lies in the sockets of requests that are held back counts too.
#[test]
fn a_reader_that_stops_has_little_in_vain() {
    for (kind, remote) in
        [("webdav", Remote::apache()), ("s3 without tags", Remote::untagged_s3()), ("sftp", Remote::sftp())]
    {
        sparse(&remote, "large", 1024 * MIB);
        for percent in [10, 50] {
            let (table, line) = remote.table_over("far", Proxy::to);
            let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
            mount.sh("ls far");
            let (before, began, asked) = (line.delivered(), Instant::now(), line.http_requests());
            let (mut file, mut chunk) = (File::open(mount.path("far/large")).unwrap(), vec![0; MIB as usize]);
            let read = 1024 * MIB * percent / 100 / MIB * MIB;
            for _ in 0..read / MIB {
                file.read_exact(&mut chunk).unwrap();
            }
            let took = began.elapsed();
            drop(file);
            let moved = settled("what comes", Duration::from_millis(300), || line.delivered()) - before;
            let (requests, all) = (requests(&mount.status(), "far").2, line.http_requests() - asked);
            println!(
                "{kind}, {percent} %: {took:?}, {requests} retrievals, {all} HTTP requests, {} MiB of {} MiB in vain",
                (moved - read) / MIB,
                read / MIB
            );
            // Protocols tell more than the bytes, SFTP up to a hundredth.
            let in_vain = moved.saturating_sub(read + read / 100);
            assert!(in_vain <= (read / 10).max(24 * MIB), "{kind}, {percent} %: {} MiB in vain", in_vain / MIB);
            // As many as if eight went side by side all the time, each for 2 MiB, and a few at the beginning.
            assert!(requests <= 30 + read / (2 * MIB), "{kind}, {percent} %: {requests} requests");
        }
    }
}

/// Reads the next bytes of a [`sparse`] file, from block to block.
fn read_on(file: &mut File, at: &mut u64, length: u64) {
    let mut bytes = vec![1; BLOCK as usize];
    let end = *at + length;
    while *at < end {
        file.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..8], at.to_le_bytes());
        *at += BLOCK;
    }
}

/// A mount with a cache of 16 MiB.
fn mounted_with_little_room(remote: &Remote) -> Mount {
    let table = remote.table("far");
    Mount::of(&format!("[cache]\nmax_size = \"16MiB\"\nmin_free = \"1MiB\"\n{table}fresh_for = \"1h\"\n"))
}

/// Where every request takes a round trip, what comes ahead is what makes it fast.
#[test]
fn a_file_larger_than_the_cache_comes_as_far_ahead_as_memory_has_room() {
    const SIZE: u64 = 64 * MIB;
    for (kind, remote) in [
        ("webdav", Remote::apache()),
        ("http", Remote::web()),
        ("s3 without tags", Remote::untagged_s3()),
        ("sftp", Remote::sftp()),
    ] {
        sparse(&remote, "large", SIZE);
        let mount = mounted_with_little_room(&remote);
        let (mut file, mut at) = (File::open(mount.path("far/large")).unwrap(), 0);
        read_on(&mut file, &mut at, 16 * MIB);
        // The reader stops for a while.
        eventually(&format!("{kind}: seven MiB are ahead"), || bytes_retrieved(&mount.status(), "far") >= at + 7 * MIB);
        read_on(&mut file, &mut at, SIZE - 16 * MIB);
        let moved = bytes_retrieved(&mount.status(), "far");
        assert!(moved <= SIZE + 4 * MIB, "{kind}: {} MiB came", moved / MIB);
    }
}

#[test]
fn several_files_larger_than_the_cache_push_each_other_out_of_no_memory() {
    const SIZE: u64 = 24 * MIB;
    for remote in [Remote::apache(), Remote::sftp()] {
        let names = ["a", "b", "c", "d", "e"];
        names.iter().for_each(|name| sparse(&remote, name, SIZE));
        let mount = mounted_with_little_room(&remote);
        let mut files = names.map(|name| (File::open(mount.path(format!("far/{name}"))).unwrap(), 0));
        // One has come far ahead before the others begin.
        read_on(&mut files[0].0, &mut files[0].1, 4 * MIB);
        while files.iter().any(|(_, at)| *at < SIZE) {
            files.iter_mut().filter(|(_, at)| *at < SIZE).for_each(|(file, at)| read_on(file, at, MIB / 2));
        }
        let moved = bytes_retrieved(&mount.status(), "far");
        assert!(moved <= 5 * SIZE + 4 * MIB, "{} MiB came", moved / MIB);
    }
}

/// So many files, of which each has its name as content, over and over.
fn numbered(dir: &Path, count: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|number| format!("{number:02}")).collect();
    names.iter().for_each(|name| fs::write(dir.join(name), name.repeat(20_000)).unwrap());
    names
}

/// Reads these files in the folder `x`, so many at once.
fn read_at_once(mount: &Mount, names: &[String], readers: usize) {
    thread::scope(|scope| {
        for reader in 0..readers {
            scope.spawn(move || {
                for name in names.iter().skip(reader).step_by(readers) {
                    assert!(fs::read(mount.path("x").join(name)).unwrap() == name.repeat(20_000).as_bytes(), "{name}");
                }
            });
        }
    });
}

/// As vsftpd demands it.
#[test]
fn many_readers_resume_the_tls_session_of_their_control_connection() {
    let dir = kit::reaper::reachable();
    let server = Ftp::tls_resumed(dir.path());
    let names = numbered(dir.path(), 96);
    let home = Home::of(&format!("[sources.x]\n{}tls = true\n", server.table()));
    let mount = home.with_env("SSL_CERT_FILE", server.certificate().to_str().unwrap()).mount();
    read_at_once(&mount, &names, 16);
    assert!(!mount.log().contains("WARN"), "{}", mount.log());
}

#[test]
fn one_control_connection_is_enough_for_everything_over_ftp() {
    let dir = kit::reaper::reachable();
    let server = Ftp::of_one_connection(dir.path());
    let names = numbered(dir.path(), 24);
    let home = Home::of(&format!("[sources.x]\n{}", server.table()));
    let checked = home.kitovufs(["check", "-c", &text(home.config())]);
    assert!(checked.status.success(), "{checked:?}");
    let mount = home.mount();
    assert_eq!(fs::read_dir(mount.path("x")).unwrap().count(), names.len());
    read_at_once(&mount, &names, 6);
}
