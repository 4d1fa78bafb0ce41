//! `fetch`: reads files through the mount, several at once, so that the cache has them, and tells how far it is. It knows no source.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use bytesize::ByteSize;

use super::errand::print_json;
use super::output::outln;
use super::pin::{all_are, are, count, each};
use super::place::{Place, attribute};
use super::progress::{Amount, Line, Progress, described, tell};
use crate::fs::Tally;

/// How many files are read at once. The mount itself asks a source no more at once than that takes.
const WORKERS: usize = 8;

/// How much is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// Retrieves everything at `paths`. Returns the exit code: 1 if not all of it is in the cache then, a path is in no mount of this user, or its
/// mount does not answer.
pub fn fetch(paths: &[PathBuf], json: bool) -> u8 {
    let mut places = Vec::new();
    let code = each("fetch", paths, json, |place| {
        places.push(place.clone());
        Ok(0)
    });
    if places.is_empty() {
        return code;
    }
    let mut tallies = vec![Tally::default(); places.len()];
    let mut files = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let mut found = Found { place: number, files: &mut files, tally: &mut tallies[number] };
        found.collect(&place.path);
    }
    let work = Work::of(&files);
    retrieve(&work, &mut tallies);
    // The copies that came first may have been evicted for those that came later.
    for wanted in &files {
        let tally = &mut tallies[wanted.place];
        match Standing::of(&wanted.path) {
            Standing::Live => {
                tally.live += 1;
                continue;
            }
            Standing::Kept => {}
            Standing::Absent => {
                tally.missing += 1;
                tally.missing_bytes += missing_of(wanted);
            }
        }
        tally.files += 1;
        tally.bytes += wanted.size;
    }
    if json {
        places.iter().zip(&tallies).for_each(|(place, tally)| print_json(&place.path, tally));
    }
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (kept, live) = (sum(|tally| tally.files), sum(|tally| tally.live));
    let (absent, failures) = (sum(|tally| tally.missing), sum(|tally| tally.failed));
    if live > 0 {
        tell(&format!("of {}, {} live, and never in the cache", count(kept + live), are(live)));
    }
    let size = ByteSize::b(sum(|tally| tally.bytes));
    if absent == 0 && failures == 0 {
        if !json {
            outln!("{} in the cache", all_are(kept, size));
        }
        return code;
    }
    tell(&format!("of {} ({size}), {} not in the cache", count(kept + live), are(absent)));
    // A failed read is told already; without one, the cache had no room.
    if failures == 0 {
        tell(&room(&places));
    }
    1
}

/// How many bytes of a file are not in the cache.
fn missing_of(wanted: &Wanted) -> u64 {
    let told = attribute(&wanted.path, "missing").ok().flatten();
    told.and_then(|missing| missing.parse().ok()).unwrap_or(wanted.size)
}

/// Why the cache has not kept what was read.
fn room(places: &[Place]) -> String {
    let cache = places.first().and_then(|place| super::status::of(&place.mounted).ok()).map(|s| s.cache);
    let why = cache.map(|cache| {
        let full = format!("the cache holds {} of at most {}", ByteSize::b(cache.bytes), ByteSize::b(cache.max_bytes));
        cache.no_room.unwrap_or(full)
    });
    format!("{}; fetch less, or set a larger max_size in [cache]", why.unwrap_or_default())
}

/// A file that is to be in the cache.
struct Wanted {
    path: PathBuf,
    size: u64,
    /// The number of the place at or below which it is.
    place: usize,
}

/// The files at and below a place.
struct Found<'a> {
    place: usize,
    files: &'a mut Vec<Wanted>,
    tally: &'a mut Tally,
}

impl Found<'_> {
    /// Adds the files at and below `path`, in the order of their folders. Links are not followed.
    fn collect(&mut self, path: &Path) {
        let found = path.symlink_metadata().and_then(|metadata| {
            if metadata.is_file() {
                self.files.push(Wanted { path: path.to_owned(), size: metadata.len(), place: self.place });
            }
            if !metadata.is_dir() {
                return Ok(Vec::new());
            }
            self.tally.directories += 1;
            path.read_dir()?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
        });
        match found {
            Ok(paths) => paths.iter().for_each(|path| self.collect(path)),
            Err(e) => {
                let failure = because(path, &e);
                tell(&failure);
                self.tally.fail(failure);
            }
        }
    }
}

/// The files to read, and how far that is.
struct Work<'a> {
    files: &'a [Wanted],
    /// Bytes of all files.
    size: u64,
    next: AtomicUsize,
    /// Files that were dealt with.
    done: AtomicUsize,
    /// Bytes of copies that were there.
    here: AtomicU64,
    /// Bytes that were read.
    read: AtomicU64,
}

impl<'a> Work<'a> {
    fn of(files: &'a [Wanted]) -> Self {
        let size = files.iter().map(|wanted| wanted.size).sum();
        let (next, done, here, read) = Default::default();
        Self { files, size, next, done, here, read }
    }

    /// Reads files until none is left, and tells of each that cannot be read.
    fn carry_out(&self, ended: &Sender<Ended>) {
        while let Some(Wanted { path, size, place }) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let end = self.read(path, *size).map_err(|e| because(path, &e));
            // The receiver stays as long as there are workers.
            let _ = ended.send((*place, end));
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads a file that is not in the cache. Returns the number of bytes.
    fn read(&self, path: &Path, size: u64) -> io::Result<u64> {
        let was_there = Standing::of(path) != Standing::Absent;
        // Opening asks the source for a newer version where that is due.
        let mut file = File::open(path)?;
        if Standing::of(path) != Standing::Absent {
            // Small files come when they are opened.
            let (counted, read) = if was_there { (&self.here, 0) } else { (&self.read, size) };
            counted.fetch_add(size, Ordering::Relaxed);
            return Ok(read);
        }
        let (mut piece, mut read) = (vec![0; PIECE], 0);
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(read),
                Ok(length) => {
                    read += length as u64;
                    self.read.fetch_add(length as u64, Ordering::Relaxed);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
        }
    }

    /// How far it is after so long.
    fn progress(&self, after: Duration) -> Line {
        let (here, read) = (self.here.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed));
        let done = Amount { files: self.done.load(Ordering::Relaxed) as u64, bytes: here + read };
        described(done, Amount { files: self.files.len() as u64, bytes: self.size }, read, after)
    }
}

/// The place of a file that was dealt with, and how many bytes were read of it, or why not.
type Ended = (usize, Result<u64, String>);

/// Reads all files, and tells how far that is meanwhile.
fn retrieve(work: &Work<'_>, tallies: &mut [Tally]) {
    let mut progress = Progress::begin();
    thread::scope(|scope| {
        let (ended, ending) = mpsc::channel();
        for _ in 0..WORKERS.min(work.files.len()) {
            let ended = ended.clone();
            scope.spawn(move || work.carry_out(&ended));
        }
        drop(ended);
        loop {
            match ending.recv_timeout(progress.left()) {
                Ok((place, Ok(read))) => {
                    tallies[place].retrieved_bytes += read;
                    progress.show(|after| work.progress(after));
                }
                Ok((place, Err(failure))) => {
                    progress.clear();
                    tell(&failure);
                    tallies[place].fail(failure);
                }
                Err(RecvTimeoutError::Timeout) => progress.show(|after| work.progress(after)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    progress.clear();
}

/// Where the bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// All of them are in the cache.
    Kept,
    /// Only at the source.
    Live,
    /// Some are not in the cache.
    Absent,
}

impl Standing {
    fn of(path: &Path) -> Self {
        let told = |name| attribute(path, name).ok().flatten();
        match told("state").as_deref() {
            Some("cached" | "offline") => Self::Kept,
            Some("live") => Self::Live,
            // All of it is here, and about to be proven.
            Some("partial") if told("missing").as_deref() == Some("0") => Self::Kept,
            _ => Self::Absent,
        }
    }
}

/// What failed with `path`, with what its source said last.
fn because(path: &Path, error: &io::Error) -> String {
    let said = attribute(path, "error").ok().flatten();
    format!("fetch {}: {error}{}", path.display(), said.map(|said| format!(" ({said})")).unwrap_or_default())
}
