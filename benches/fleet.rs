//! The cost of machines that share to their source, and the time that they take: one alone, eight at once, and one more later, by kind of store. Run by
//! `scripts/fleet --table`.
//!
//! Each is a mount of its own with an empty cache; the bucket is behind a line of 40 ms there and back, and 200 Mbit/s for all together. The
//! stores are not.

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use kit::files::{noise, random};
use kit::home::Home;
use kit::moto::Moto;
use kit::mount::{Mount, bytes_retrieved, number, requests};
use kit::proxy::{Link, Proxy};
use kit::reaper;
use kit::redis::Redis;
use kit::seaweed::Seaweed;
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

/// The files that all read: so many small ones of that size, and a large one.
const SMALL: (usize, usize) = (250, 64 << 10);
const LARGE: usize = 192 << 20;

/// The source that all machines have, and the line to it.
struct Stage {
    line: Proxy,
    moto: Moto,
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
        let dir = reaper::temporary();
        let moto = Moto::start(dir.path());
        let mut random = random();
        for number in 0..SMALL.0 {
            moto.put_in_parts(&format!("small/{number}"), &noise(SMALL.1, &mut random));
        }
        let large = noise(LARGE, &mut random);
        moto.put_in_parts("large", &large);
        let line = Proxy::to(moto.port());
        line.set(LINE);
        Self { line, moto, large, _dir: dir }
    }

    fn machine(&self, shared: &str) -> Mount {
        let shares = if shared.is_empty() { "" } else { "shared = true\n" };
        let source = self.moto.table().replace(&self.moto.port().to_string(), &self.line.port().to_string());
        Home::of(&format!(
            "[cache]\nmin_free = \"1MiB\"\n{shared}[sources.bucket]\nfresh_for = \"1h\"\n{shares}{source}"
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
                (0..SMALL.0).map(|number| machine.path(format!("bucket/small/{number}"))).collect();
            thread::scope(|scope| {
                for part in places.chunks(SMALL.0.div_ceil(4)) {
                    scope.spawn(move || {
                        part.iter().for_each(|place| assert_eq!(fs::read(place).unwrap().len(), SMALL.1))
                    });
                }
                scope.spawn(|| compare(&machine.path("bucket/large"), &self.large));
            });
        };
        thread::scope(|scope| machines.iter().for_each(|machine| _ = scope.spawn(move || readers(machine))));
        let took = begun.elapsed();
        let mut told = Told { bytes: 0, retrievals: 0, from_store: 0, took };
        for machine in &machines {
            let status = machine.status();
            told.bytes += bytes_retrieved(&status, "bucket");
            told.retrievals += requests(&status, "bucket").2;
            told.from_store += if shared.is_empty() { 0 } else { number(&status, "/shared/bytes_in") };
        }
        (told, machines)
    }
}

/// Reads a file that must be this.
fn compare(path: &Path, content: &[u8]) {
    let (mut file, mut buffer) = (File::open(path).unwrap(), vec![0; 1 << 20]);
    for part in content.chunks(1 << 20) {
        file.read_exact(&mut buffer[..part.len()]).unwrap();
        assert!(buffer[..part.len()] == *part, "what is read is right");
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
        row("none", "8 at once", &stage.read(8, "").0);
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
        let of_one = services();
        let lines = &of_one.0;
        let (told, first) = stage.read(1, lines);
        row(store, "1", &told);
        settle(&first);
        drop(first);
        drop(of_one);
        let of_eight = services();
        let lines = &of_eight.0;
        let (told, eight) = stage.read(8, lines);
        row(store, "8 at once", &told);
        settle(&eight);
        drop(eight);
        row(store, "one more, later", &stage.read(1, lines).0);
    }
}
