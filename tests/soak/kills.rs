//! Daemons that are killed one after the other, while they start and under readers: no byte is wrong, and what was whole stays whole.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kit::files::{noise, random};
use kit::mount::{Mount, bytes_retrieved};
use kit::remote::Remote;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// How many, if nobody says otherwise.
const KILLS: usize = 200;

/// Files that are whole in the cache before the first kill; as many again are not.
const WHOLE: usize = 6;

/// So often it is looked whether they still are.
const EVERY: usize = 25;

#[test]
fn two_hundred_kills_make_no_wrong_byte_and_cost_no_whole_copy() {
    let kills = std::env::var("KITOVUFS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut random = random();
    let mut remote = Remote::web();
    let sizes = [0, 1, 70_000, 300_000, 2 << 20, 5 << 20];
    let files: Vec<_> = sizes.iter().cycle().take(2 * WHOLE).map(|size| noise(*size, &mut random)).collect();
    for (number, content) in files.iter().enumerate() {
        remote.put(&number.to_string(), content);
    }
    let mut mount = Mount::of(&format!("{}fresh_for = \"1h\"\ntimeout = \"10s\"\n", remote.table("far")));
    let whole = |mount: &Mount| {
        for (number, content) in files.iter().enumerate().take(WHOLE) {
            assert!(fs::read(mount.path(format!("far/{number}"))).unwrap() == *content, "file {number}");
        }
    };
    whole(&mount);
    mount.unmount();
    for kill in 1..=kills {
        let after = Duration::from_millis(random.random_range(0..150));
        if random.random_range(0..4) == 0 {
            mount.start_and_kill(after);
        } else {
            mount.remount();
            let dies = AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..4 {
                    let (mount, random) = (mount.path("far"), StdRng::seed_from_u64(random.random()));
                    let (files, dies) = (&files, &dies);
                    scope.spawn(move || read(&mount, files, dies, random));
                }
                thread::sleep(after);
                dies.store(true, Ordering::Release);
                mount.kill9();
            });
        }
        if kill % EVERY == 0 || kill == kills {
            mount.remount();
            whole(&mount);
            assert_eq!(bytes_retrieved(&mount.status(), "far"), 0, "a copy was lost by one of the kills before {kill}");
            mount.unmount();
        }
    }
    remote.stop();
    mount.remount();
    whole(&mount);
    mount.unmount();
    println!("{kills} kills");
}

/// Reads here and there until the daemon dies. Nothing but its death is an error.
fn read(dir: &std::path::Path, files: &[Vec<u8>], dies: &AtomicBool, mut random: StdRng) {
    loop {
        let number = random.random_range(0..files.len());
        let content = &files[number];
        let at = random.random_range(0..=content.len());
        let mut part = vec![0; (content.len() - at).min(random.random_range(1..400_000))];
        let read = File::open(dir.join(number.to_string())).and_then(|file| file.read_exact_at(&mut part, at as u64));
        match read {
            Ok(()) => assert!(part == content[at..at + part.len()], "file {number}: wrong bytes at {at}"),
            Err(_) if dies.load(Ordering::Acquire) => return,
            Err(error) => panic!("file {number}: {error}, and the daemon lives"),
        }
    }
}
