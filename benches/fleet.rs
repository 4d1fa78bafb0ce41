//! The cost of machines that share to their source, and the time that they take: one alone, eight at once where there are leases, and one more
//! later, by kind of store. Run by `scripts/fleet --table`.
//!
//! Each is a mount of its own with an empty cache; the source, Apache's mod_dav, is behind a line of 40 ms there and back,
//! and 200 Mbit/s for all together. The stores are not.

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use kit::files::{noise, random};
use kit::home::Home;
use kit::mount::{Mount, bytes_retrieved, number, requests};
use kit::proxy::{Link, Proxy};
use kit::reaper;
use kit::redis::Redis;
use kit::seaweed::Seaweed;
use kit::servers::{Webdav, with_port};
use kit::wait::{SOON, settles_within};

/// The line to the source.
const LINE: Link = Link {
    delay: Duration::from_millis(20),
    line: Some(25_000_000),
    bandwidth: None,
    until: None,
    fate: None,
    refuses: false,
};

/// The files that all read: so many small ones and large ones, of these sizes.
const SMALL: (usize, usize) = (1000, 64 << 10);
const LARGE: (usize, usize) = (3, 256 << 20);

/// How long ago they were changed: their entity tags count for good.
const AGE: Duration = Duration::from_secs(3600);

/// The source that all machines have, and the line to it.
struct Stage {
    line: Proxy,
    server: Webdav,
    large: Vec<u8>,
    _dir: tempfile::TempDir,
}

/// The counts of some machines that have read everything.
struct Told {
    bytes: u64,
    retrievals: u64,
    from_store: u64,
    took: Duration,
}

impl Stage {
    fn new() -> Self {
        let dir = reaper::reachable();
        let mut random = random();
        let put = |name: String, content: &[u8]| {
            let place = dir.path().join(name);
            fs::write(&place, content).unwrap();
            File::options().write(true).open(place).unwrap().set_modified(SystemTime::now() - AGE).unwrap();
        };
        fs::create_dir(dir.path().join("small")).unwrap();
        (0..SMALL.0).for_each(|number| put(format!("small/{number}"), &noise(SMALL.1, &mut random)));
        let large = noise(LARGE.1, &mut random);
        (0..LARGE.0).for_each(|number| put(format!("large{number}"), &numbered(&large, number)));
        let server = Webdav::apache(dir.path());
        let line = Proxy::to(server.port());
        line.set(LINE);
        Self { line, server, large, _dir: dir }
    }

    fn machine(&self, shared: &str) -> Mount {
        let shares = if shared.is_empty() { "" } else { "shared = true\n" };
        let source = with_port(&self.server.table(), self.server.port(), self.line.port());
        Home::of(&format!(
            "[cache]\nmin_free = \"1MiB\"\n{shared}[sources.files]\nfresh_for = \"1h\"\n{shares}{source}"
        ))
        .mount()
    }

    /// So many new machines read everything at once.
    fn read(&self, machines: usize, shared: &str) -> (Told, Vec<Mount>) {
        let machines: Vec<_> = (0..machines).map(|_| self.machine(shared)).collect();
        let begun = Instant::now();
        let readers = |machine: &Mount| {
            // As a copy with four at once.
            let places: Vec<PathBuf> =
                (0..SMALL.0).map(|number| machine.path(format!("files/small/{number}"))).collect();
            thread::scope(|scope| {
                for part in places.chunks(SMALL.0.div_ceil(4)) {
                    scope.spawn(move || {
                        part.iter().for_each(|place| assert_eq!(fs::read(place).unwrap().len(), SMALL.1))
                    });
                }
                scope.spawn(|| {
                    (0..LARGE.0).for_each(|number| {
                        compare(&machine.path(format!("files/large{number}")), &self.large, number);
                    });
                });
            });
        };
        thread::scope(|scope| machines.iter().for_each(|machine| _ = scope.spawn(move || readers(machine))));
        let took = begun.elapsed();
        let mut told = Told { bytes: 0, retrievals: 0, from_store: 0, took };
        for machine in &machines {
            let status = machine.status();
            told.bytes += bytes_retrieved(&status, "files");
            told.retrievals += requests(&status, "files").2;
            told.from_store += if shared.is_empty() { 0 } else { number(&status, "/shared/bytes_in") };
        }
        (told, machines)
    }
}

/// These bytes as they are in the large file of this number.
fn numbered(bytes: &[u8], number: usize) -> Vec<u8> {
    let mut own = bytes.to_vec();
    own.chunks_exact_mut(4096).for_each(|block| block[8..16].copy_from_slice(&number.to_le_bytes()));
    own
}

/// Reads a large file, which must be that of this number.
fn compare(path: &Path, content: &[u8], number: usize) {
    let (mut file, mut buffer) = (File::open(path).unwrap(), vec![0; 1 << 20]);
    for part in content.chunks(1 << 20) {
        file.read_exact(&mut buffer[..part.len()]).unwrap();
        assert!(buffer[..part.len()] == numbered(part, number), "what is read is right");
    }
}

/// Waits until machines have given what they retrieved.
fn settle(machines: &[Mount]) {
    let given = || machines.iter().map(|machine| number(&machine.status(), "/shared/bytes_out")).sum();
    let _ = settles_within(SOON, Duration::from_secs(1), given);
}

fn row(store: &str, who: &str, told: &Told) {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let (bytes, from_store) = (mib(told.bytes), mib(told.from_store));
    println!("| {store} | {who} | {bytes} | {} | {from_store} | {:.1} s |", told.retrievals, told.took.as_secs_f64());
}

fn main() {
    let stage = Stage::new();
    println!("| store | machines | from the source | retrievals | from the store | time |\n|---|---|---|---|---|---|");
    // `cargo bench` passes arguments of its own; the others choose by name.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |store: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == store);
    if is_wanted("none") {
        row("none", "1", &stage.read(1, "").0);
    }
    for (store, weed, leases) in [
        ("a directory", false, false),
        ("a directory and Redis", false, true),
        ("SeaweedFS", true, false),
        ("SeaweedFS and Redis", true, true),
    ] {
        if !is_wanted(store) {
            continue;
        }
        let services = || {
            let dir = reaper::temporary();
            let [place, redis] = ["store", "redis"].map(|name| dir.path().join(name));
            [&place, &redis].iter().for_each(|dir| fs::create_dir(dir).unwrap());
            let weed = weed.then(|| Seaweed::start(&place));
            let redis = leases.then(|| Redis::start(&redis));
            let mut lines = match &weed {
                None => format!("[shared]\nstore = \"file://{}\"\n", place.display()),
                Some(weed) => format!("[shared]\n{}", weed.store(weed.port())),
            };
            lines += &redis.as_ref().map(|redis| format!("redis = \"{}\"\n", redis.url())).unwrap_or_default();
            let key = dir.path().join("key");
            let made = Home::of("").kitovufs(["shared", "key", "new", &kit::home::text(&key)]);
            assert!(made.status.success());
            lines += &format!("key = {{ file = \"{}\" }}\naccess = \"key\"\n", key.display());
            (lines, weed, redis, dir)
        };
        let alone = services();
        let (told, first) = stage.read(1, &alone.0);
        row(store, "1", &told);
        settle(&first);
        drop(first);
        // Without leases each of them would retrieve nearly everything by itself.
        let filled = if leases {
            drop(alone);
            let shared = services();
            let (told, eight) = stage.read(8, &shared.0);
            row(store, "8 at once", &told);
            settle(&eight);
            shared
        } else {
            alone
        };
        row(store, "one more, later", &stage.read(1, &filled.0).0);
    }
}
