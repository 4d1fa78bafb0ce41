//! A cache disk that hangs or is full costs its own copies, and holds up nobody for long.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::kit::disk::Disk;
use crate::kit::files::{noise, random, set_modified};
use crate::kit::home::Home;
use crate::kit::mount::{Mount, bytes_retrieved};
use crate::kit::odd::Odd;
use crate::kit::proxy::{Link, Proxy};
use crate::kit::wait::{eventually, holds_within};
use crate::remote::Remote;

/// For how long somebody may wait for the disk, and what else an operation may take.
const PATIENCE: Duration = Duration::from_secs(2);
const BUSY: Duration = Duration::from_secs(4);

/// A disk that has hung is asked again after 30 s.
const RESTED: Duration = Duration::from_secs(60);

/// Does something, and says what it did and how long it took.
fn timed(what: &str, act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    eprintln!("{what}: {:?}", begun.elapsed());
    begun.elapsed()
}

#[test]
fn a_cache_disk_that_hangs_holds_nobody_up_for_long() {
    let (disk, near, far) = (Disk::of(1 << 30), Remote::local(), Remote::apache());
    let bytes = noise(8 << 20, &mut random());
    let names = ["kept", "open", "new", "newer", "dir/kept", "other/new"];
    for remote in [&near, &far] {
        names.iter().for_each(|name| remote.put(name, &bytes));
        remote.put("small", "some");
    }
    (0..20_000).for_each(|number| near.put(&format!("again/{number}"), "some"));
    let dir = disk.path().join("cache");
    let tables = near.table("near") + "fresh_for = \"1h\"\n" + &far.table("far") + "fresh_for = \"1h\"\n";
    let mut mount = Mount::of(&format!("[cache]\ndir = {dir:?}\nmin_free = \"1MiB\"\n{tables}"));
    let is_right = |path: &Path| assert!(fs::read(path).unwrap() == bytes, "{}", path.display());
    // What waits for nothing takes a busy machine no more than this.
    let busy = BUSY
        + 4 * timed("6 files while the disk is well", || {
            for source in ["near", "far"] {
                ["kept", "open", "dir/kept"].iter().for_each(|name| is_right(&mount.path(source).join(name)));
            }
        });
    // The kernel forgets what it has in memory.
    mount.remount();
    let mut open: Vec<_> = ["near", "far"].map(|source| File::open(mount.path(source).join("open")).unwrap()).into();
    for file in &mut open {
        file.read_exact(&mut vec![0; 128 << 10]).unwrap();
    }
    let retrieved = || bytes_retrieved(&mount.status(), "near") + bytes_retrieved(&mount.status(), "far");
    assert_eq!(retrieved(), 0, "all of it is cached");

    let hanging = disk.hang();
    let mut times = Vec::new();
    for (source, open) in ["near", "far"].iter().zip(&mut open) {
        let at = |name: &str| mount.path(source).join(name);
        for name in ["new", "kept", "newer", "dir/kept", "other/new"] {
            times.push(timed(&format!("{source}/{name}"), || is_right(&at(name))));
        }
        times.push(timed(&format!("{source}/small"), || assert_eq!(fs::read(at("small")).unwrap(), b"some")));
        times.push(timed(&format!("{source}/open"), || {
            let mut rest = Vec::new();
            open.read_to_end(&mut rest).unwrap();
            assert!(rest == bytes[128 << 10..]);
        }));
        times.push(timed(&format!("{source}: ls"), || {
            assert_eq!(fs::read_dir(at("")).unwrap().count(), if *source == "near" { 8 } else { 7 })
        }));
        times.push(timed(&format!("{source}: status"), || _ = mount.status()));
    }
    let longest = *times.iter().max().expect("some were measured");
    assert!(longest < PATIENCE + busy, "{times:?}");
    let all: Duration = times.iter().sum();
    assert!(all < 2 * PATIENCE + 2 * busy, "more than one waited for the disk: {times:?}");
    let why = mount.status().pointer("/cache/no_room").and_then(|why| why.as_str()).unwrap_or_default().to_owned();
    assert!(why.contains("not answered"), "{why}");
    drop(hanging);

    drop(open);
    let mut attempts = 0..;
    let is_asked_again = || {
        // Each is a name that was not asked for before.
        let name = format!("again/{}", attempts.next().expect("there is no last one"));
        assert_eq!(fs::read(mount.path("near").join(name)).unwrap(), b"some");
        mount.status().pointer("/cache/no_room").is_some_and(|why| why.is_null())
    };
    assert!(holds_within(RESTED, is_asked_again), "{}", mount.log());
    mount.remount();
    for source in ["near", "far"] {
        ["kept", "open", "dir/kept"].iter().for_each(|name| is_right(&mount.path(source).join(name)));
        assert_eq!(bytes_retrieved(&mount.status(), source), 0, "no copy is lost");
    }
}

#[test]
fn a_plugin_whose_files_lie_on_a_disk_that_hangs_holds_up_nobody() {
    let (disk, near) = (Disk::of(1 << 30), Remote::local());
    let odd = Odd::with_files(&[("/first", "one"), ("/second", "two"), ("/third", "three")]);
    (0..4).for_each(|number| near.put(&number.to_string(), "some"));
    let dir = disk.path().join("cache");
    let tables = format!("{}[sources.odd]\n{}", near.table("near"), odd.table());
    let mount = Mount::of(&format!("[cache]\ndir = {dir:?}\nmin_free = \"1MiB\"\n{tables}"));
    assert_eq!(fs::read(mount.path("odd/first")).unwrap(), b"one");

    let hanging = disk.hang();
    let mut times = Vec::new();
    for (number, name) in ["second", "third"].into_iter().enumerate() {
        // What the plugin would write to cannot be had; whatever it answers, it answers.
        times.push(timed(name, || _ = fs::read(mount.path("odd").join(name))));
        let small = mount.path("near").join(number.to_string());
        times.push(timed("near", || assert_eq!(fs::read(&small).unwrap(), b"some")));
    }
    // The cache and the plugin find out for themselves.
    assert!(times.iter().all(|&time| time < 2 * PATIENCE + BUSY), "{times:?}");
    drop(hanging);
    let is_read = || fs::read(mount.path("odd/second")).is_ok_and(|bytes| bytes == b"two");
    assert!(holds_within(RESTED, is_read), "{}", mount.log());
}

/// After so many bytes at most the map of a growing copy is stored (docs/reliability.md).
const UNSAVED: u64 = 8 << 20;

/// What is under way when the daemon is killed: blocks that have come in part, and blocks that wait to be written, of each of some requests.
const UNDER_WAY: u64 = 4 << 20;

#[test]
fn after_a_kill_in_the_middle_of_a_web_file_the_rest_is_retrieved() {
    after_a_kill_in_the_middle_the_rest_is_retrieved(&Remote::web());
}

#[test]
fn after_a_kill_in_the_middle_of_a_webdav_file_the_rest_is_retrieved() {
    after_a_kill_in_the_middle_the_rest_is_retrieved(&Remote::apache());
}

#[test]
fn after_a_kill_in_the_middle_of_an_sftp_file_the_rest_is_retrieved() {
    after_a_kill_in_the_middle_the_rest_is_retrieved(&Remote::sftp());
}

fn after_a_kill_in_the_middle_the_rest_is_retrieved(remote: &Remote) {
    const SIZE: u64 = 96 << 20;
    let bytes = noise(SIZE as usize, &mut random());
    remote.put("large", &bytes);
    // What has just changed has no final digest yet, and is retrieved anew after a restart.
    set_modified(&remote.dir().join("large"), SystemTime::now() - Duration::from_secs(3600));
    let (table, line) = remote.table_over("far", Proxy::to);
    // So slow that the kill comes in the middle.
    line.set(Link { line: Some(24 << 20), ..Link::default() });
    let mut mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
    let file = File::open(mount.path("far/large")).unwrap();
    let reading = thread::spawn(move || {
        let mut file = file;
        // Until the daemon is gone.
        while file.read(&mut vec![0; 1 << 20]).is_ok_and(|read| read > 0) {}
    });
    let mut retrieved = 0;
    eventually("half of it has come", || {
        retrieved = bytes_retrieved(&mount.status(), "far");
        retrieved > SIZE / 2
    });
    mount.kill9();
    reading.join().unwrap();
    let (killed_at, sent) = (retrieved, line.delivered());
    assert!(killed_at < SIZE, "it was too fast: {killed_at} bytes");
    mount.try_remount().unwrap();
    assert!(fs::read(mount.path("far/large")).unwrap() == bytes);
    // What came between the last look and the kill may have been kept.
    let twice = (killed_at + bytes_retrieved(&mount.status(), "far")).saturating_sub(SIZE);
    eprintln!(
        "killed at {killed_at} bytes: {twice} were retrieved twice; the line carried {sent} and {}",
        line.delivered() - sent
    );
    assert!(twice <= UNSAVED + UNDER_WAY, "{twice} bytes were retrieved twice");
}

#[test]
fn min_free_is_kept_to_the_byte_at_its_border() {
    const MIN_FREE: u64 = 128 << 20;
    const SIZE: u64 = 300 << 20;
    let (disk, remote, near) = (Disk::of(256 << 20), Remote::web(), Remote::local());
    let mut random = random();
    let bytes = noise(SIZE as usize, &mut random);
    remote.put("large", &bytes);
    for number in 0..60 {
        remote.put(&format!("small/{number}"), &bytes[number << 20..(number + 3) << 20]);
    }
    // Names that make the index grow while the disk is at its border.
    for number in 0..20_000 {
        near.put(
            &format!(
                "many/{}/a rather long name, as some have it, so that it takes room in the index {number}",
                number % 8
            ),
            "",
        );
    }
    let (dir, tables) = (disk.path().join("cache"), remote.table("far") + "fresh_for = \"1h\"\n" + &near.table("near"));
    let mount = Mount::of(&format!("[cache]\ndir = {dir:?}\nmin_free = \"128MiB\"\nmax_size = \"160MiB\"\n{tables}"));
    assert!(fs::read(mount.path("far/large")).unwrap() == bytes);
    let moved = bytes_retrieved(&mount.status(), "far");
    eprintln!("{moved} bytes for {SIZE}, {} free at least", disk.least_free());
    assert!((SIZE..=SIZE + SIZE / 20).contains(&moved), "{moved} bytes");
    for number in 0..60 {
        assert!(
            fs::read(mount.path(format!("far/small/{number}"))).unwrap() == bytes[number << 20..(number + 3) << 20]
        );
    }
    eprintln!("{} free at least after many files", disk.least_free());
    for number in 0..8 {
        assert_eq!(fs::read_dir(mount.path(format!("near/many/{number}"))).unwrap().count(), 2_500);
    }
    let status = mount.status();
    eprintln!("{} free at least after many names: {:#}", disk.least_free(), status["cache"]);
    assert!(disk.least_free() >= MIN_FREE, "{} bytes were free", disk.least_free());
}

#[test]
fn a_new_cache_on_a_full_disk_is_refused_with_advice() {
    let (disk, remote) = (Disk::of(0), Remote::local());
    let dir = disk.path().join("cache");
    let (code, said) = Home::of(&format!("[cache]\ndir = {dir:?}\n{}", remote.table("near"))).refusal();
    assert_ne!(code, 0);
    assert!(said.contains("the disk is full; make room there"), "{said}");
}
