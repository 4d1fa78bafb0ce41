//! `Place`: what was ever in a source, and what its readers may therefore be told. It knows no mount.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::io::Errno;

/// How many files there are in a place, at most.
pub const FILES: usize = 12;

/// What may be told of a file may have been true so long ago: `fresh_for`, the two seconds within which a change may leave no trace in
/// coarse times, and what a busy machine may take.
const STALE: Duration = Duration::from_secs(8);

/// So long after an outage it may still show: the source is probed at growing intervals.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// Who reads the clock is not who renames.
const CLOCK: Duration = Duration::from_millis(200);

const PAGE: usize = 4096;

/// One version of a file. Every page of every one is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    file: u32,
    number: u32,
    /// In bytes.
    pub size: usize,
}

impl Generation {
    /// Its bytes.
    pub fn content(self) -> Vec<u8> {
        let mut bytes = vec![0; self.size];
        for (page, bytes) in (0_u64..).zip(bytes.chunks_mut(PAGE)) {
            let seed = (u64::from(self.file) << 48) | (u64::from(self.number) << 24) | page;
            let pattern: [u8; 32] = StdRng::seed_from_u64(seed).random();
            for part in bytes.chunks_mut(pattern.len()) {
                part.copy_from_slice(&pattern[..part.len()]);
            }
        }
        bytes
    }
}

/// What a file was, and since when; `None`: not there.
type History = Vec<(Instant, Option<Generation>)>;

/// When something was not there: begin and end.
#[derive(Debug, Default)]
pub struct Outages(Mutex<Vec<(Instant, Option<Instant>)>>);

impl Outages {
    pub fn begin(&self) {
        self.0.lock().unwrap().push((Instant::now(), None));
    }

    pub fn end(&self) {
        self.0.lock().unwrap().last_mut().expect("it has begun").1 = Some(Instant::now());
    }

    /// The first begin of those that were not over at this time, or are not for longer than this.
    pub fn since(&self, time: Instant, for_longer: Duration) -> Option<Instant> {
        let outages = self.0.lock().unwrap();
        outages.iter().find(|(_, end)| end.is_none_or(|end| end + for_longer > time)).map(|(begin, _)| *begin)
    }
}

/// A source, and what was ever in it.
pub struct Place {
    pub name: &'static str,
    pub dir: PathBuf,
    files: Vec<Mutex<History>>,
    pub outages: Outages,
    /// How often a file failed because it had changed, as far as anybody knows.
    pub failed_of_change: AtomicU64,
}

impl Place {
    pub fn new(name: &'static str, dir: PathBuf) -> Self {
        // Without anything in it, a bucket would be without the directory.
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/stays"), "").unwrap();
        let files = (0..FILES).map(|_| Mutex::new(vec![(Instant::now(), None)])).collect();
        Self { name, dir, files, outages: Outages::default(), failed_of_change: AtomicU64::default() }
    }

    /// Where a file is below the place's root: one half of them in a directory.
    pub fn path(&self, file: usize) -> String {
        let name = self.file_name(file);
        if self.is_in_dir(file) { format!("dir/{name}") } else { name }
    }

    pub fn file_name(&self, file: usize) -> String {
        format!("{file}.dat")
    }

    pub fn is_in_dir(&self, file: usize) -> bool {
        file % 2 == 1
    }

    /// Replaces a file by a newer one, or removes it.
    pub fn change(&self, file: usize, random: &mut StdRng) {
        let path = self.dir.join(self.path(file));
        let new = self.dir.with_file_name(format!("{}-{file}-new", self.name));
        let mut history = self.files[file].lock().unwrap();
        let (since, was) = *history.last().expect("it began");
        if random.random_range(0..6) == 0 {
            if was.is_some() {
                fs::remove_file(&path).unwrap();
                history.push((Instant::now(), None));
            }
            return;
        }
        let size = match (random.random_range(0..8), was) {
            (0, _) => 0,
            // The same size: only the time tells, where it is not the same second.
            (1 | 2, Some(was)) if since.elapsed() > Duration::from_secs(3) => was.size,
            (1..=5, _) => random.random_range(1..64 << 10),
            _ => random.random_range(1 << 20..6 << 20),
        };
        let generation = Generation { file: file as u32, number: history.len() as u32, size };
        fs::write(&new, generation.content()).unwrap();
        let replaced = Instant::now();
        fs::rename(&new, &path).unwrap();
        history.push((replaced, Some(generation)));
    }

    /// Gives a file another's name and place, which replaces that one.
    pub fn rename(&self, from: usize, to: usize) {
        if from == to {
            return;
        }
        // In order, because others rename too.
        let (first, second) = (from.min(to), from.max(to));
        let (mut first, mut second) = (self.files[first].lock().unwrap(), self.files[second].lock().unwrap());
        let (source, target) = if from < to { (&mut *first, &mut *second) } else { (&mut *second, &mut *first) };
        let Some(moved) = source.last().expect("it began").1 else { return };
        // A rename keeps time and size: versions of one size might be one to a server that has nothing else to tell them apart.
        if target.iter().any(|(_, was)| was.is_some_and(|was| was.size == moved.size)) {
            return;
        }
        let renamed = Instant::now();
        fs::rename(self.dir.join(self.path(from)), self.dir.join(self.path(to))).unwrap();
        source.push((renamed, None));
        target.push((renamed, Some(moved)));
    }

    /// What a file is now.
    pub fn is(&self, file: usize) -> Option<Generation> {
        self.files[file].lock().unwrap().last().expect("it began").1
    }

    /// What a file was at any time that still counts for somebody who asked at this one.
    pub fn was(&self, file: usize, asked: Instant) -> Vec<Option<Generation>> {
        let since = self.outages.since(asked, RECOVERY).map_or(asked, |begin| begin.min(asked)) - STALE - CLOCK;
        let history = self.files[file].lock().unwrap();
        let ends = history.iter().skip(1).map(|(begin, _)| Some(*begin)).chain([None]);
        history
            .iter()
            .zip(ends)
            .filter(|(_, end)| end.is_none_or(|end| end > since))
            .map(|((_, was), _)| *was)
            .collect()
    }

    /// Which versions ever had these bytes there.
    pub fn once(&self, file: usize, at: usize, part: &[u8]) -> Vec<Generation> {
        let history = self.files[file].lock().unwrap();
        let had = |was: &Generation| was.content().get(at..at + part.len()) == Some(part);
        history.iter().filter_map(|(_, was)| *was).filter(had).collect()
    }

    /// Whether somebody who asked at this time may be told that it did not work.
    pub fn is_disturbed(&self, asked: Instant) -> bool {
        self.outages.since(asked, RECOVERY).is_some()
    }

    /// Whether this answer, to somebody who asked at this time, is one of those that are allowed.
    pub fn judge(&self, file: usize, asked: Instant, answer: &io::Result<Vec<u8>>) {
        let (what, was) = (format!("{}/{}", self.name, self.path(file)), self.was(file, asked));
        match answer {
            Ok(bytes) => {
                let is = |was: &&Generation| was.size == bytes.len() && was.content() == *bytes;
                if was.iter().flatten().any(|was| is(&was)) {
                    return;
                }
                let ever = self.files[file].lock().unwrap();
                let ever = ever.iter().filter_map(|(_, was)| was.as_ref()).find(is);
                panic!("{what}: {} bytes, once {ever:?}, should be one of {was:?}", bytes.len());
            }
            Err(error) => match Errno::from_io_error(error) {
                Some(Errno::NOENT) => {
                    assert!(was.contains(&None), "{what} is said not to be there, where it was {was:?}")
                }
                Some(Errno::IO | Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::STALE) => {
                    let is_disturbed = self.is_disturbed(asked);
                    assert!(was.len() > 1 || is_disturbed, "{what}: {error}, and nothing has happened");
                    self.failed_of_change.fetch_add(u64::from(!is_disturbed), Ordering::Relaxed);
                }
                _ => panic!("{what}: {error}"),
            },
        }
    }
}
