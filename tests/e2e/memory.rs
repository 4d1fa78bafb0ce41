//! What the daemon takes of the machine's memory, at its peak (`VmHWM`), however much moves through it.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rand::Rng as _;

use crate::kit::files::{random, set_modified};
use crate::kit::home::{Home, text};
use crate::kit::mount::{MEMORY, MEMORY_FOR_ONE, Mount, bytes_retrieved, number, requests};
use crate::kit::odd::Odd;
use crate::kit::proxy::{Link, Proxy};
use crate::kit::wait::settled;
use crate::remote::Remote;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 128 << 10;

/// A file of zeros, which takes no room where it is.
fn hollow(remote: &Remote, name: &str, size: u64) {
    remote.put(name, "");
    File::options().write(true).open(remote.dir().join(name)).unwrap().set_len(size).unwrap();
}

#[test]
fn five_gibibytes_stream_through_little_memory() {
    const SIZE: u64 = 5 << 30;
    let remote = Remote::apache();
    hollow(&remote, "large", SIZE);
    // So that its bytes are not held back for being of a file that may be changing.
    let modified = SystemTime::now() - Duration::from_secs(3600);
    set_modified(&remote.dir().join("large"), modified);
    // Far too little for the file: everything is read through, by way of memory only.
    let config =
        format!("[cache]\nmax_size = \"64MiB\"\nmin_free = \"1MiB\"\n{}fresh_for = \"1h\"\n", remote.table("far"));
    let mount = Mount::of(&config);
    let mut file = File::open(mount.path("far/large")).unwrap();
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            length => total += length as u64,
        }
    }
    assert_eq!(total, SIZE);
    assert!(bytes_retrieved(&mount.status(), "far") >= SIZE);
    let peak = mount.peak_memory_in_release();
    assert!(peak <= MEMORY, "{} MiB", peak / MIB);
}

#[test]
fn a_quarter_of_a_gibibyte_over_a_far_line_costs_little_more_than_it_is_and_little_memory() {
    const READ: u64 = 256 * MIB;
    for (kind, remote) in [
        ("webdav", Remote::apache()),
        ("s3", Remote::s3()),
        ("s3 without tags", Remote::untagged_s3()),
        ("sftp", Remote::sftp()),
    ] {
        hollow(&remote, "large", 1024 * MIB);
        let (table, proxy) = remote.table_over("far", Proxy::to);
        let (delay, bandwidth, line) = (Duration::from_millis(20), Some(25_000_000), Some(100_000_000));
        proxy.set(Link { delay, bandwidth, line, ..Link::default() });
        let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
        mount.sh("ls far");
        let (before, began, asked) = (proxy.delivered(), Instant::now(), proxy.http_requests());
        let mut file = File::open(mount.path("far/large")).unwrap();
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..READ / MIB {
            file.read_exact(&mut buffer).unwrap();
        }
        let took = began.elapsed();
        drop(file);
        // It ends at once: nothing comes for a while.
        let moved = settled("what comes", Duration::from_millis(300), || proxy.delivered()) - before;
        let peak = mount.peak_memory_in_release();
        let (retrievals, all) = (requests(&mount.status(), "far").2, proxy.http_requests() - asked);
        let (moved_mib, peak_mib) = (moved / MIB, peak / MIB);
        println!(
            "{kind}: {took:?}, {retrievals} retrievals, {all} HTTP requests, {moved_mib} MiB moved, {peak_mib} MiB of memory"
        );
        assert!(moved <= 280 * MIB, "{kind}: {} MiB moved", moved / MIB);
        // Pieces of one and two MiB share their confirmations.
        let questions = all.saturating_sub(retrievals);
        assert!(questions <= 192, "{kind}: {questions} questions about {moved_mib} MiB");
        assert!(peak <= MEMORY_FOR_ONE, "{kind}: {} MiB of memory", peak / MIB);
    }
}

#[test]
fn a_walk_and_a_large_file_take_little_memory() {
    const READ: u64 = 256 * MIB;
    for (kind, remote) in [("webdav", Remote::apache()), ("s3", Remote::s3()), ("sftp", Remote::sftp())] {
        hollow(&remote, "large", READ);
        for directory in 0..100 {
            let directory = remote.dir().join(format!("tree/{directory}"));
            fs::create_dir_all(&directory).unwrap();
            (0..100).for_each(|number| fs::write(directory.join(format!("{number}")), "1").unwrap());
        }
        let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
        assert_eq!(mount.sh("find far/tree -type f | wc -l").trim(), "10000", "{kind}");
        let walked = mount.peak_memory_in_release();
        let mut file = File::open(mount.path("far/large")).unwrap();
        let mut buffer = vec![0; 1 << 20];
        (0..READ / MIB).for_each(|_| file.read_exact(&mut buffer).unwrap());
        let peak = mount.peak_memory_in_release();
        println!("{kind}: {} MiB of memory, {} MiB after the walk", peak / MIB, walked / MIB);
        assert!(peak <= MEMORY_FOR_ONE, "{kind}: {} MiB of memory", peak / MIB);
    }
}

const SMALL_FILES: u64 = 2_000;
const SMALL: u64 = 4096;
const DIRECTORIES: u64 = 200;
const FILES_EACH: u64 = 100;
const LARGE: u64 = 512 * MIB;

type Does = fn(&Mount);

/// What one program does with what [`everything`] puts there.
const ONE_PROGRAM: [(&str, Does); 4] = [
    ("a copy of small files, and warm opens of them", |mount| {
        mount.sh("cp -r far/small ../copied");
        for _ in 0..2 {
            let read = mount.sh("cat far/small/* | wc -c");
            assert_eq!(read.trim().parse(), Ok(SMALL_FILES * SMALL));
        }
        let status = mount.status();
        assert_eq!(bytes_retrieved(&status, "far"), SMALL_FILES * SMALL);
        assert!(number(&status, "/cache/hits") >= 2 * SMALL_FILES, "{status:#}");
    }),
    ("a walk with attributes", |mount| {
        let found = mount.sh("find far/tree -type f -size 1 | wc -l");
        assert_eq!(found.trim().parse(), Ok(DIRECTORIES * FILES_EACH));
    }),
    ("random reads", |mount| {
        const PIECE: usize = 64 << 10;
        let file = File::open(mount.path("far/large")).unwrap();
        let (mut random, mut buffer) = (random(), vec![1; PIECE]);
        for _ in 0..200 {
            file.read_exact_at(&mut buffer, random.random_range(0..=LARGE - PIECE as u64)).unwrap();
        }
        assert!(buffer.iter().all(|&byte| byte == 0));
    }),
    ("a whole file", |mount| {
        assert_eq!(mount.sh("cat far/large | wc -c").trim().parse(), Ok(LARGE));
        assert!(bytes_retrieved(&mount.status(), "far") >= LARGE);
    }),
];

/// A directory of small files, a tree of directories, and a large file.
fn everything(remote: &Remote) {
    let at = |below: &str| remote.dir().join(below);
    fs::create_dir(at("small")).unwrap();
    (0..SMALL_FILES).for_each(|n| fs::write(at(&format!("small/{n:04}")), [b'x'; SMALL as usize]).unwrap());
    for directory in 0..DIRECTORIES {
        fs::create_dir_all(at(&format!("tree/{directory}"))).unwrap();
        (0..FILES_EACH).for_each(|n| fs::write(at(&format!("tree/{directory}/{n}")), "1").unwrap());
    }
    hollow(remote, "large", LARGE);
}

#[test]
fn whatever_one_program_does_takes_little_memory() {
    // The servers of other buckets list the directory, or hash the whole file, for each answer.
    let remotes =
        [("webdav", Remote::apache()), ("s3 without tags", Remote::still_s3(false)), ("sftp", Remote::sftp())];
    for (kind, remote) in remotes {
        everything(&remote);
        let config = format!("{}fresh_for = \"1h\"\n", remote.table("far"));
        for (case, does) in ONE_PROGRAM {
            let mount = Mount::of(&config);
            let began = Instant::now();
            does(&mount);
            let peak = mount.peak_memory_in_release();
            println!("{kind}, {case}: {} MiB of memory, {:?}", peak / MIB, began.elapsed());
            assert!(peak <= MEMORY_FOR_ONE, "{kind}, {case}: {} MiB of memory", peak / MIB);
        }
    }
}

#[test]
fn eight_readers_of_many_files_take_no_more_memory_than_one() {
    for (kind, remote) in
        [("webdav", Remote::apache()), ("s3 without tags", Remote::untagged_s3()), ("sftp", Remote::sftp())]
    {
        (0..200).for_each(|number| hollow(&remote, &format!("{number:03}"), MIB));
        let (table, proxy) = remote.table_over("far", Proxy::to);
        proxy.set(Link { delay: Duration::from_millis(20), ..Link::default() });
        let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
        thread::scope(|scope| {
            for reader in 0..8 {
                let mount = &mount;
                scope.spawn(move || {
                    for number in (reader..200).step_by(8) {
                        assert_eq!(fs::read(mount.path(format!("far/{number:03}"))).unwrap().len() as u64, MIB);
                    }
                });
            }
        });
        let peak = mount.peak_memory_in_release();
        println!("{kind}: {} MiB of memory", peak / MIB);
        assert!(peak <= MEMORY_FOR_ONE, "{kind}: {} MiB of memory", peak / MIB);
    }
}

#[test]
fn a_thousand_handles_and_64_readers_stay_within_the_budget() {
    for remote in [Remote::apache(), Remote::smb()] {
        const SIZE: u64 = 8 * MIB;
        for n in 0..1_000 {
            hollow(&remote, &n.to_string(), SIZE);
        }
        let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
        let files: Vec<_> = (0..1_000).map(|n| File::open(mount.path(format!("far/{n}"))).unwrap()).collect();
        let together = Barrier::new(64);
        thread::scope(|scope| {
            for file in &files[..64] {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    let mut buffer = vec![0; 1 << 20];
                    for at in (0..SIZE).step_by(buffer.len()) {
                        file.read_exact_at(&mut buffer, at).unwrap();
                    }
                });
            }
        });
        // A reader that got no time for a second may have been given up, with the block on its way. The first block comes with every open.
        let moved = bytes_retrieved(&mount.status(), "far") - (1_000 - 64) * BLOCK;
        assert!((64 * SIZE..=64 * (SIZE + MIB)).contains(&moved), "{moved} bytes");
        let peak = mount.peak_memory_in_release();
        assert!(peak <= MEMORY, "{} MiB", peak / MIB);
    }
}

/// The daemon tells glibc to keep one arena, by a variable that its children would inherit.
#[test]
fn how_the_daemon_uses_memory_is_no_matter_of_its_children() {
    const NAME: &str = "MALLOC_ARENA_MAX";
    for set in [None, Some("3")] {
        let odd = Odd::with_files(&[("/a", "one")]).set("variables", serde_json::json!([NAME]));
        let home = Home::of("");
        let told = home.dir().join("told");
        let command = format!("echo ${NAME} >{}; echo secret", text(&told));
        home.configure(&format!("[sources.odd]\n{}password = {{ command = {command:?} }}\n", odd.table()));
        let home = set.into_iter().fold(home, |home, value| home.with_env(NAME, value));
        let mut mount = home.mount();
        assert_eq!(fs::read_to_string(mount.path("odd/a")).unwrap(), "one");

        let of_daemon = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", mount.pid())).unwrap();
        let value = format!("{NAME}={}", set.unwrap_or("1"));
        assert!(of_daemon("environ").split('\0').any(|variable| variable == value), "{value}");
        let typed = [
            text(mount.home().binary()),
            "mount".into(),
            "-f".into(),
            "-c".into(),
            text(mount.home().config()),
            text(mount.home().mountpoint()),
        ];
        assert_eq!(of_daemon("cmdline").split_terminator('\0').collect::<Vec<_>>(), typed);
        assert_eq!(fs::read_to_string(&told).unwrap().trim(), set.unwrap_or_default());
        assert_eq!(odd.count(&format!("has {NAME}")) > 0, set.is_some());
        mount.unmount();
    }
}
