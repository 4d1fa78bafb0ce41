//! Listings that the kernel keeps: a directory that is read again costs no request for its names, and shows what is there all the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Dir;

use crate::kit::home::{Home, is_root, local, text};
use crate::kit::mount::{Mount, requests};
use crate::kit::reaper;
use crate::kit::wait::eventually;

/// What the kernel asks, by the numbers of its protocol.
const LOOKUP: u8 = 1;
const GETATTR: u8 = 3;
const OPENDIR: u8 = 27;
const READDIR: u8 = 28;
const READDIRPLUS: u8 = 44;

/// A mount whose daemon's reads from the kernel are traced, as long as their first bytes, which tell the kind of request.
struct Traced {
    mount: Mount,
    trace: PathBuf,
    seen: usize,
}

impl Traced {
    /// `None` without the rights to trace it.
    fn of(config: &str) -> Option<Self> {
        if !is_root() {
            println!("skipped: a traced process may not use the setuid fusermount3, which only root does without");
            return None;
        }
        let home = Home::of(config);
        let trace = home.dir().join("trace");
        let words = ["strace", "-D", "-f", "-xx", "-s", "8", "-P", "/dev/fuse", "-e", "trace=read,readv", "-o"];
        let mount = home.traced_by(words.map(str::to_owned).into_iter().chain([text(&trace)])).mount();
        Some(Self { mount, trace, seen: 0 })
    }

    /// How many requests of each kind have come since it was last asked.
    fn asked(&mut self) -> BTreeMap<u8, usize> {
        let trace = fs::read_to_string(&self.trace).unwrap();
        // The last line may be under way.
        let whole = trace.rfind('\n').map_or(0, |end| end + 1);
        let new = &trace[self.seen..whole];
        self.seen = whole;
        let mut asked = BTreeMap::new();
        for (_, bytes) in new.lines().filter_map(|line| line.split_once('"')) {
            let kind = bytes.split("\\x").nth(5).and_then(|byte| u8::from_str_radix(byte.get(..2)?, 16).ok());
            *asked.entry(kind.unwrap_or_else(|| panic!("{bytes}"))).or_default() += 1;
        }
        asked
    }
}

fn of(asked: &BTreeMap<u8, usize>, kinds: impl IntoIterator<Item = u8>) -> usize {
    kinds.into_iter().filter_map(|kind| asked.get(&kind)).sum()
}

/// A directory `dir` with 1,000 names.
fn thousand() -> tempfile::TempDir {
    let origin = reaper::temporary();
    fs::create_dir(origin.path().join("dir")).unwrap();
    (0..1_000).for_each(|n| fs::write(origin.path().join(format!("dir/{n:03}")), "x").unwrap());
    origin
}

#[test]
fn a_directory_that_is_listed_again_costs_the_kernel_no_question_for_its_names() {
    let origin = thousand();
    let Some(mut traced) = Traced::of(&format!("{}fresh_for = \"1h\"\n", local("near", origin.path()))) else { return };
    let listed = traced.mount.sh("ls -l near/dir");
    assert_eq!(listed.lines().count(), 1 + 1_000);
    let cold = traced.asked();
    assert!(of(&cold, [READDIRPLUS]) > 0 && of(&cold, [LOOKUP]) < 10, "{cold:?}");
    // The end of the last one may be told to the daemon when the next one has begun.
    eventually("the kernel reads what it keeps", || {
        assert_eq!(traced.mount.sh("ls -l near/dir"), listed);
        let again = traced.asked();
        assert!(of(&again, [LOOKUP]) < 10, "{again:?}");
        of(&again, [OPENDIR]) == 1 && of(&again, [READDIR, READDIRPLUS]) == 0
    });
    assert_eq!(requests(&traced.mount.status(), "near").0, 2, "the root and the directory");
}

#[test]
fn after_a_listing_has_ended_to_count_attributes_come_with_the_names_again() {
    let origin = thousand();
    let Some(mut traced) = Traced::of(&format!("{}fresh_for = \"4s\"\n", local("near", origin.path()))) else { return };
    let listed = traced.mount.sh("ls -l near/dir; ls -l near/dir");
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(5));
        traced.asked();
        assert_eq!(traced.mount.sh("ls -l near/dir; ls -l near/dir"), listed);
        let asked = traced.asked();
        assert!(of(&asked, [READDIRPLUS]) > 0 && of(&asked, [LOOKUP, GETATTR]) < 50, "{asked:?}");
    }
}

#[test]
fn names_without_attributes_are_not_taken_for_both() {
    let origin = thousand();
    let Some(mut traced) = Traced::of(&format!("{}fresh_for = \"1h\"\n", local("near", origin.path()))) else { return };
    // Only names are wanted, so that the kernel asks for attributes of the first ones alone.
    (0..3).for_each(|_| _ = traced.mount.sh("ls near/dir"));
    traced.asked();
    traced.mount.sh("ls -l near/dir");
    let asked = traced.asked();
    assert!(of(&asked, [READDIRPLUS]) > 0 && of(&asked, [LOOKUP, GETATTR]) < 500, "{asked:?}");
}

fn names(dir: &mut Dir) -> Vec<String> {
    let names = dir.map(|entry| String::from_utf8(entry.unwrap().file_name().to_bytes().to_vec()).unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

fn rewound(dir: &mut Dir) -> Vec<String> {
    dir.rewind();
    names(dir)
}

fn open(path: impl AsRef<Path>) -> Dir {
    Dir::read_from(File::open(path).unwrap()).unwrap()
}

#[test]
fn a_directory_that_stays_open_shows_a_new_listing_from_its_beginning() {
    let origin = reaper::temporary();
    fs::write(origin.path().join("old"), "x").unwrap();
    let mount = Mount::of(&format!("{}fresh_for = \"4s\"\n", local("near", origin.path())));
    let mut dir = open(mount.path("near"));
    for round in 0..3 {
        let before = names_at(origin.path());
        eventually("it is current", || rewound(&mut dir) == before);
        let changed = Instant::now();
        fs::write(origin.path().join(format!("young-{round}")), "x").unwrap();
        let now = names_at(origin.path());
        let mut seen = rewound(&mut dir);
        while seen != now {
            assert_eq!(seen, before, "one listing or the other");
            // What counts for 4 s is not shown for much longer, on a busy machine either.
            assert!(changed.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(50));
            seen = rewound(&mut dir);
        }
        println!("a new listing after {:?}", changed.elapsed());
        let mut another = open(mount.path("near"));
        assert_eq!(names(&mut another), now);
        assert_eq!(rewound(&mut another), now);
    }
}

fn names_at(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().file_name().as_bytes().to_vec()).unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_refreshed_is_shown_from_the_beginning_of_an_open_directory_at_once() {
    let origin = thousand();
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", local("near", origin.path())));
    let mut dir = open(mount.path("near/dir"));
    assert_eq!(names(&mut dir).len(), 1_000);
    fs::remove_file(origin.path().join("dir/500")).unwrap();
    fs::write(origin.path().join("dir/young"), "x").unwrap();
    assert_eq!(rewound(&mut dir).len(), 1_000);
    let refreshed = mount.home().kitovufs(["refresh".into(), text(mount.path("near/dir"))]);
    assert!(refreshed.status.success(), "{refreshed:?}");
    for mut dir in [dir, open(mount.path("near/dir"))] {
        let now = rewound(&mut dir);
        assert!(now.len() == 1_000 && now.contains(&"young".into()) && !now.contains(&"500".into()));
    }
    assert_eq!(requests(&mount.status(), "near").0, 4, "the root and the directory, and both again");
}

#[test]
fn a_directory_that_the_kernel_alone_has_read_shows_a_new_listing_from_its_beginning() {
    let origin = thousand();
    let Some(mut traced) = Traced::of(&format!("{}fresh_for = \"1h\"\n", local("near", origin.path()))) else { return };
    eventually("the kernel keeps it", || {
        traced.asked();
        traced.mount.sh("ls -l near/dir");
        of(&traced.asked(), [READDIR, READDIRPLUS]) == 0
    });
    let mut dirs = Vec::new();
    eventually("the kernel reads what it keeps", || {
        // The kernel tells the end of the last open a moment later, and until then only that reads what is kept.
        traced.asked();
        // By one open: the other that `open` makes would be the one that reads what is kept.
        let mut dir = Dir::new(File::open(traced.mount.path("near/dir")).unwrap()).unwrap();
        assert_eq!(names(&mut dir).len(), 1_000);
        let is_kept = of(&traced.asked(), [READDIR, READDIRPLUS]) == 0;
        dirs.extend(is_kept.then_some(dir));
        is_kept
    });
    fs::remove_file(origin.path().join("dir/500")).unwrap();
    fs::write(origin.path().join("dir/young"), "x").unwrap();
    let mount = &traced.mount;
    let refreshed = mount.home().kitovufs(["refresh".into(), text(mount.path("near/dir"))]);
    assert!(refreshed.status.success(), "{refreshed:?}");
    assert!(!mount.path("near/dir/500").exists());
    let now = rewound(&mut dirs[0]);
    assert!(now.len() == 1_000 && now.contains(&"young".into()) && !now.contains(&"500".into()));
    assert!(!mount.path("near/dir/500").exists(), "no older listing has brought it back");
}

#[test]
fn readers_of_a_changing_directory_see_one_of_its_listings_each() {
    const ROUNDS: usize = 20;
    let origin = reaper::temporary();
    let generation = |n: usize| (0..300).map(|name| format!("{n:03}-{name:03}")).collect::<Vec<_>>();
    let put = |n: usize| {
        let young = origin.path().join(format!("generation-{n}"));
        fs::create_dir(&young).unwrap();
        generation(n).iter().for_each(|name| fs::write(young.join(name), "").unwrap());
        // The name leads to another directory from one moment to the next.
        std::os::unix::fs::symlink(&young, origin.path().join("next")).unwrap();
        fs::rename(origin.path().join("next"), origin.path().join("dir")).unwrap();
    };
    put(0);
    let table = local("near", origin.path());
    let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\nlinks = \"follow\"\n"));
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (path, ended) = (mount.path("near/dir"), &ended);
            scope.spawn(move || {
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut dir = open(&path);
                    // Some stop half-way, some go back to the beginning.
                    if reader == 0 {
                        (&mut dir).take(100).for_each(drop);
                        continue;
                    }
                    let mut seen = names(&mut dir);
                    for _ in 0..reader {
                        let n = seen[0][..3].parse().unwrap();
                        assert_eq!(seen, generation(n));
                        seen = rewound(&mut dir);
                    }
                }
            });
        }
        for n in 1..ROUNDS {
            put(n);
            let refreshed = mount.home().kitovufs(["refresh".into(), text(mount.path("near/dir"))]);
            assert!(refreshed.status.success(), "{refreshed:?}");
            assert_eq!(names(&mut open(mount.path("near/dir"))), generation(n));
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
