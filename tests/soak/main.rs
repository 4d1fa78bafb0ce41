//! Everything at once: many servers under one mount, files that are replaced, renamed, come and go, servers that stop, daemons that are
//! killed, a cache that is too small, and readers who know what they may be told. Then one thing after the other: kills (`kills`) and damage of
//! the cache directory (`damage`). `scripts/soak` lets the first run for longer, `scripts/torture` all of them.

#![allow(clippy::unwrap_used, reason = "in a test, whatever the world causes is a failed test")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

mod damage;
mod kills;
mod place;

use kit::files::random;
use kit::mount::{MEMORY, Mount, number};
use kit::proxy::{Fate, Link, Proxy};
use kit::remote::Remote;
use kit::wait::eventually;
use place::{FILES, Outages, Place, RECOVERY};

/// How long it runs, if nobody says otherwise.
const DURATION: Duration = Duration::from_secs(60);

/// No operation takes longer: the timeout, and what a busy machine may take to notice it.
const DEADLINE: Duration = Duration::from_secs(15);

const CACHE: u64 = 32 << 20;

/// A remote, and what lies before it.
struct Reached {
    server: Remote,
    line: Option<Proxy>,
}

/// A link on which something goes wrong.
fn bad(random: &mut StdRng) -> Link {
    let after = random.random_range(0..2 << 20);
    let fate = |fate| Link { fate: Some((after, fate)), ..Link::default() };
    match random.random_range(0..5) {
        0 => fate(Fate::Reset),
        1 => fate(Fate::Close),
        2 => fate(Fate::Stall),
        3 => Link { delay: Duration::from_millis(100), ..Link::default() },
        _ => Link { bandwidth: Some(3_000_000), ..Link::default() },
    }
}

struct Soak {
    places: Vec<Place>,
    mountpoint: PathBuf,
    /// When no daemon lived.
    deaths: Outages,
    over: AtomicBool,
    reads: AtomicU64,
    /// The most files that a daemon had retrieved ahead of their readers.
    ahead: AtomicU64,
}

/// Ends the others when one has failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn pause(&self, random: &mut StdRng, milliseconds: Range<u64>) {
        let until = Instant::now() + Duration::from_millis(random.random_range(milliseconds));
        while self.goes_on() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn any_place(&self, random: &mut StdRng) -> &Place {
        &self.places[random.random_range(0..self.places.len())]
    }

    fn change(&self, mut random: StdRng) {
        let _ending = Ending(&self.over);
        while self.goes_on() {
            let place = self.any_place(&mut random);
            let file = random.random_range(0..FILES);
            match random.random_range(0..6) {
                0 => place.rename(file, random.random_range(0..FILES)),
                _ => place.change(file, &mut random),
            }
            self.pause(&mut random, 5..150);
        }
    }

    fn read(&self, mut random: StdRng) {
        let _ending = Ending(&self.over);
        while self.goes_on() {
            let (place, file) = (self.any_place(&mut random), random.random_range(0..FILES));
            let path = self.mountpoint.join(place.name).join(place.path(file));
            match random.random_range(0..9) {
                0 => self.list(place),
                1 | 2 => self.dwell(place, file, &path, &mut random),
                3 => self.read_in_order(place),
                _ => {
                    let asked = Instant::now();
                    self.judge(place, file, asked, &fs::read(&path));
                }
            }
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether an error may be due to a daemon that does not live, or did not when somebody asked.
    fn is_of_death<T>(&self, asked: Instant, answer: &io::Result<T>) -> bool {
        answer.is_err() && self.deaths.since(asked, Duration::ZERO).is_some()
    }

    /// Since when what is told may be true: while no daemon lived, nobody asked the sources, and the first answers of the next one may be
    /// those that it knew.
    fn known_since(&self, asked: Instant) -> Instant {
        self.deaths.since(asked, RECOVERY).map_or(asked, |begin| begin.min(asked))
    }

    fn judge(&self, place: &Place, file: usize, asked: Instant, answer: &io::Result<Vec<u8>>) {
        assert!(asked.elapsed() < DEADLINE, "{}/{}: {:?}", place.name, place.path(file), asked.elapsed());
        if !self.is_of_death(asked, answer) {
            place.judge(file, self.known_since(asked), answer);
        }
    }

    /// Reads all files by name, so that the next ones come ahead.
    fn read_in_order(&self, place: &Place) {
        let mut files: Vec<_> = (0..FILES).map(|file| (place.path(file), file)).collect();
        files.sort();
        for (path, file) in files {
            let asked = Instant::now();
            self.judge(place, file, asked, &fs::read(self.mountpoint.join(place.name).join(path)));
        }
    }

    /// Reads here and there in one open file, which stays what it was.
    fn dwell(&self, place: &Place, file: usize, path: &Path, random: &mut StdRng) {
        let asked = Instant::now();
        let opened = File::open(path).and_then(|opened| Ok((opened.metadata()?.len() as usize, opened)));
        let (size, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.judge(place, file, asked, &Err(error)),
        };
        let was = place.was(file, self.known_since(asked));
        let mut may_be: Vec<Vec<u8>> =
            was.iter().flatten().filter(|was| was.size == size).map(|was| was.content()).collect();
        assert!(!may_be.is_empty(), "{}: {size} bytes, should be one of {was:?}", path.display());
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..=size);
            let mut part = vec![0; (size - at).min(random.random_range(1..300_000))];
            match opened.read_exact_at(&mut part, at as u64) {
                Ok(()) => may_be.retain(|was| was[at..at + part.len()] == part),
                // Bytes of this version may be gone.
                Err(error) => return self.judge(place, file, asked, &Err(error)),
            }
            assert!(
                !may_be.is_empty(),
                "{}: wrong bytes at {at}, or of two versions; {size} bytes, should be of one of {was:?}, once {:?}",
                path.display(),
                place.once(file, at, &part),
            );
            self.pause(random, 0..400);
        }
        let mut all = Vec::new();
        if (&opened).read_to_end(&mut all).is_ok() {
            assert!(may_be.contains(&all), "{}: wrong bytes, or of two versions", path.display());
        }
    }

    fn list(&self, place: &Place) {
        let asked = Instant::now();
        let listed: io::Result<Vec<_>> = fs::read_dir(self.mountpoint.join(place.name).join("dir"))
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect());
        assert!(asked.elapsed() < DEADLINE, "{}: a listing took {:?}", place.name, asked.elapsed());
        if self.is_of_death(asked, &listed) {
            return;
        }
        for file in (0..FILES).filter(|&file| place.is_in_dir(file)) {
            let (name, was) = (place.file_name(file), place.was(file, self.known_since(asked)));
            match &listed {
                Ok(names) if names.contains(&name.as_str().into()) => {
                    assert!(was.iter().any(Option::is_some), "{}/dir lists {name}, which is gone", place.name);
                }
                Ok(_) => assert!(was.contains(&None), "{}/dir lacks {name}: {was:?}", place.name),
                Err(error) => assert!(place.is_disturbed(asked), "{}/dir: {error}", place.name),
            }
        }
    }

    fn disturb(&self, remotes: &mut [Reached], mut random: StdRng) {
        let _ending = Ending(&self.over);
        loop {
            self.pause(&mut random, 2_000..8_000);
            if !self.goes_on() {
                return;
            }
            // The first is a directory, and has no server.
            let chosen = random.random_range(1..remotes.len());
            let (remote, outages) = (&mut remotes[chosen], &self.places[chosen].outages);
            outages.begin();
            match &mut remote.line {
                Some(line) if random.random() => {
                    line.set(bad(&mut random));
                    self.pause(&mut random, 100..5_000);
                    line.set(Link::default());
                }
                _ => {
                    remote.server.stop();
                    self.pause(&mut random, 100..5_000);
                    remote.server.start();
                }
            }
            outages.end();
        }
    }

    fn watch(&self, mount: &mut Mount, until: Instant, mut random: StdRng) {
        let _ending = Ending(&self.over);
        while Instant::now() < until && self.goes_on() {
            self.pause(&mut random, 100..300);
            let status = mount.status();
            assert!(number(&status, "/cache/bytes") <= CACHE, "{status:#}");
            assert_eq!(number(&status, "/cache/quarantined"), 0, "{status:#}");
            assert!(mount.peak_memory() <= MEMORY, "{} bytes", mount.peak_memory());
            let ahead = |place: &Place| number(&status, &format!("/sources/{}/files_ahead", place.name));
            self.ahead.fetch_max(self.places.iter().map(ahead).sum(), Ordering::Relaxed);
            if random.random_range(0..40) == 0 {
                self.deaths.begin();
                mount.kill9();
                self.pause(&mut random, 0..500);
                mount.remount();
                self.deaths.end();
            }
        }
        self.over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whatever_happens_nobody_reads_a_wrong_byte_or_waits_for_ever() {
    let duration = std::env::var("KITOVUFS_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let duration = duration.map_or(DURATION, Duration::from_secs);
    let mut random = random();
    let names = ["local", "apache", "webdav", "s3", "sftp", "smb", "http", "ftp"];
    let servers = [
        Remote::local(),
        Remote::apache(),
        Remote::webdav(),
        Remote::s3(),
        Remote::sftp(),
        Remote::smb(),
        Remote::web(),
        Remote::ftp(),
    ];
    let places: Vec<_> = names.iter().zip(&servers).map(|(name, server)| Place::new(name, server.dir())).collect();
    for place in &places {
        for file in 0..FILES {
            place.change(file, &mut random);
        }
    }
    let (mut tables, mut remotes) = (String::new(), Vec::new());
    for (name, server) in names.into_iter().zip(servers) {
        let (table, line) = match name {
            "local" | "ftp" => (server.table(name), None),
            _ => {
                let (table, line) = server.table_over(name, Proxy::to);
                (table, Some(line))
            }
        };
        tables += &table;
        // rclone looks what version a file is before it opens it, so its bytes may be of the next one.
        if matches!(name, "s3" | "webdav") {
            tables += "confirm = \"strict\"\n";
        }
        remotes.push(Reached { server, line });
    }
    let settings = format!("[cache]\nmax_size = {CACHE}\n[defaults]\nfresh_for = \"1s\"\ntimeout = \"3s\"\n");
    let mut mount = Mount::of(&format!("{settings}{tables}"));
    let soak = Soak {
        places,
        mountpoint: mount.home().mountpoint(),
        deaths: Outages::default(),
        over: AtomicBool::new(false),
        reads: AtomicU64::new(0),
        ahead: AtomicU64::new(0),
    };
    let mut more = || StdRng::seed_from_u64(random.random());
    thread::scope(|scope| {
        for _ in 0..2 {
            let random = more();
            scope.spawn(|| soak.change(random));
        }
        for _ in 0..8 {
            let random = more();
            scope.spawn(|| soak.read(random));
        }
        let (until, disturbing, watching) = (Instant::now() + duration, more(), more());
        scope.spawn(|| soak.disturb(&mut remotes, disturbing));
        soak.watch(&mut mount, until, watching);
    });
    let (reads, ahead) = (soak.reads.into_inner(), soak.ahead.into_inner());
    let failed: u64 = soak.places.iter().map(|place| place.failed_of_change.load(Ordering::Relaxed)).sum();
    println!("{reads} reads within {duration:?}, {failed} failed of changes, {ahead} files ahead of their readers");
    // 20 of 494,296 on a machine that did little else.
    assert!(failed * 100 <= reads, "{failed} of {reads} reads failed, and no source was away");
    assert!(ahead > 0, "nothing came ahead of its reader");
    // When everything is quiet, everything is as it is.
    for place in &soak.places {
        for file in 0..FILES {
            let (is, path) = (place.is(file), soak.mountpoint.join(place.name).join(place.path(file)));
            eventually(&format!("{} as it is", path.display()), || match fs::read(&path) {
                Ok(bytes) => is.is_some_and(|is| is.content() == bytes),
                Err(error) => is.is_none() && error.kind() == io::ErrorKind::NotFound,
            });
        }
    }
    let status = mount.status();
    for name in names {
        assert_eq!(status["sources"][name]["state"], "ok", "{status:#}");
    }
    mount.unmount();
}
