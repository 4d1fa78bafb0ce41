//! `fetch`: reads files through the mount, several at once, so that the cache has them, and tells how far it is. It knows no source.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use bytesize::ByteSize;

use super::output::outln;
use super::pin::{all_are, are, count, each};
use super::place::{Place, attribute};
use super::progress::{Amount, Progress, described, tell};

/// How many files are read at once. The mount itself asks a source no more at once than that takes.
const WORKERS: usize = 8;

/// How much is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// Retrieves everything at `paths`. Returns the exit code: 1 if not all of it is in the cache then, a path is in no mount of this user, or its
/// mount does not answer.
pub fn fetch(paths: &[PathBuf]) -> u8 {
    let mut places = Vec::new();
    let code = each("fetch", paths, |place| {
        places.push(place.clone());
        Ok(0)
    });
    if places.is_empty() {
        return code;
    }
    let mut failures = 0;
    let mut files = Vec::new();
    for place in &places {
        collect(&place.path, &mut files, &mut |failure| {
            failures += 1;
            tell(&failure);
        });
    }
    failures += retrieve(&Work::of(&files));
    // The copies that came first may have been evicted for those that came later.
    let standings: Vec<_> = files.iter().map(|(path, _)| Standing::of(path)).collect();
    let absent = standings.iter().filter(|standing| **standing == Standing::Absent).count();
    let live = standings.iter().filter(|standing| **standing == Standing::Live).count();
    if live > 0 {
        tell(&format!("of {}, {} live, and never in the cache", count(files.len() as u64), are(live as u64)));
    }
    let size = ByteSize::b(files.iter().map(|(_, size)| size).sum());
    if absent == 0 && failures == 0 {
        outln!("{} in the cache", all_are((files.len() - live) as u64, size));
        return code;
    }
    tell(&format!("of {} ({size}), {} not in the cache", count(files.len() as u64), are(absent as u64)));
    // A failed read is told already; without one, the cache had no room.
    if failures == 0 {
        tell(&room(&places));
    }
    1
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

/// Adds the files at and below `path` with their sizes, in the order of their folders. Links are not followed.
fn collect(path: &Path, files: &mut Vec<(PathBuf, u64)>, failed: &mut dyn FnMut(String)) {
    let found = path.symlink_metadata().and_then(|metadata| {
        if metadata.is_file() {
            files.push((path.to_owned(), metadata.len()));
        }
        if !metadata.is_dir() {
            return Ok(Vec::new());
        }
        path.read_dir()?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    match found {
        Ok(paths) => paths.iter().for_each(|path| collect(path, files, failed)),
        Err(e) => failed(because(path, &e)),
    }
}

/// The files to read, and how far that is.
struct Work<'a> {
    files: &'a [(PathBuf, u64)],
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
    fn of(files: &'a [(PathBuf, u64)]) -> Self {
        let size = files.iter().map(|(_, size)| size).sum();
        let (next, done, here, read) = Default::default();
        Self { files, size, next, done, here, read }
    }

    /// Reads files until none is left, and tells of each that cannot be read.
    fn carry_out(&self, failed: &Sender<String>) {
        while let Some((path, size)) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(e) = self.read(path, *size) {
                // The receiver stays as long as there are workers.
                let _ = failed.send(because(path, &e));
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, path: &Path, size: u64) -> io::Result<()> {
        // Opening asks the source for a newer version where that is due.
        let mut file = File::open(path)?;
        if Standing::of(path) != Standing::Absent {
            self.here.fetch_add(size, Ordering::Relaxed);
            return Ok(());
        }
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => self.read.fetch_add(length as u64, Ordering::Relaxed),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
        }
    }

    /// How far it is after so long.
    fn progress(&self, after: Duration) -> String {
        let (here, read) = (self.here.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed));
        let done = Amount { files: self.done.load(Ordering::Relaxed) as u64, bytes: here + read };
        described(done, Amount { files: self.files.len() as u64, bytes: self.size }, read, after)
    }
}

/// Reads all files, and tells how far that is meanwhile. Returns how many could not be read.
fn retrieve(work: &Work<'_>) -> usize {
    let (mut progress, mut failures) = (Progress::begin(), 0);
    thread::scope(|scope| {
        let (failed, failing) = mpsc::channel();
        for _ in 0..WORKERS.min(work.files.len()) {
            let failed = failed.clone();
            scope.spawn(move || work.carry_out(&failed));
        }
        drop(failed);
        loop {
            match failing.recv_timeout(progress.left()) {
                Ok(failure) => {
                    progress.clear();
                    failures += 1;
                    tell(&failure);
                }
                Err(RecvTimeoutError::Timeout) => progress.show(|after| work.progress(after)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    progress.clear();
    failures
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
