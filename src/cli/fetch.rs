//! `fetch`: reads files through the mount, several at once, so that the cache has them, and tells how far it is. It knows no source.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;

use super::output::outln;
use super::place::{Place, attribute};
use crate::error::Result;
use crate::path::PrintableLines;

/// How many files are read at once. The mount itself asks a source no more at once than that takes.
const WORKERS: usize = 8;

/// How much is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// How often progress is told, on a terminal and elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Retrieves everything at `paths`. Returns the exit code: 1 if not all of it is in the cache then.
///
/// # Errors
/// A path is in no mount of this user, or its mount does not answer.
pub fn fetch(paths: &[PathBuf]) -> Result<u8> {
    let places = paths.iter().map(|path| Place::of("fetch", path)).collect::<Result<Vec<_>>>()?;
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
        tell(&format!("{live} of {} files are live, and never in the cache", files.len()));
    }
    let size = ByteSize::b(files.iter().map(|(_, size)| size).sum());
    if absent == 0 && failures == 0 {
        outln!("all {} files ({size}) are in the cache", files.len() - live);
        return Ok(0);
    }
    tell(&format!("{absent} of {} files ({size}) are not in the cache", files.len()));
    // A failed read is told already; without one, the cache had no room.
    if failures == 0 {
        tell(&room(&places));
    }
    Ok(1)
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
        let (done, count) = (self.done.load(Ordering::Relaxed), self.files.len());
        let (here, read) = (self.here.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed));
        let bytes = (here + read).min(self.size);
        let percent = bytes.saturating_mul(100).checked_div(self.size).unwrap_or(100);
        let rate = u64::try_from(u128::from(read) * 1000 / after.as_millis().max(1)).unwrap_or(u64::MAX);
        let left = (self.size - bytes).checked_div(rate).map(Duration::from_secs);
        let left = left.map(|left| format!(", {} left", humantime::format_duration(left))).unwrap_or_default();
        let [bytes, size, rate] = [bytes, self.size, rate].map(ByteSize::b);
        format!("{percent:3} %  {done} of {count} files, {bytes} of {size}, {rate}/s{left}")
    }
}

/// Reads all files, and tells how far that is meanwhile. Returns how many could not be read.
fn retrieve(work: &Work<'_>) -> usize {
    let is_terminal = io::stderr().is_terminal();
    let (clear, end) = if is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
    let (begun, mut failures) = (Instant::now(), 0);
    let every = if is_terminal { ON_TERMINAL } else { ELSEWHERE };
    let mut next = begun + every;
    thread::scope(|scope| {
        let (failed, failing) = mpsc::channel();
        for _ in 0..WORKERS.min(work.files.len()) {
            let failed = failed.clone();
            scope.spawn(move || work.carry_out(&failed));
        }
        drop(failed);
        loop {
            match failing.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(failure) => {
                    eprint!("{clear}");
                    failures += 1;
                    tell(&failure);
                }
                Err(RecvTimeoutError::Timeout) => {
                    eprint!("{clear}{}{end}", work.progress(begun.elapsed()));
                    next = Instant::now() + every;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    eprint!("{clear}");
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

fn tell(text: &str) {
    eprintln!("kitovufs: {}", PrintableLines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_how_much_is_left_and_for_how_long() {
        let files = [(PathBuf::from("a"), 3 << 20), (PathBuf::from("b"), 1 << 20)];
        let work = Work::of(&files);
        assert_eq!(work.progress(Duration::ZERO), "  0 %  0 of 2 files, 0 B of 4.0 MiB, 0 B/s");
        work.here.store(1 << 20, Ordering::Relaxed);
        work.read.store(1 << 20, Ordering::Relaxed);
        work.done.store(1, Ordering::Relaxed);
        let after = work.progress(Duration::from_secs(2));
        assert_eq!(after, " 50 %  1 of 2 files, 2.0 MiB of 4.0 MiB, 512.0 KiB/s, 4s left");
        assert!(Work::of(&[]).progress(Duration::ZERO).starts_with("100 %"));
    }
}
