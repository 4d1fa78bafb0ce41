//! `LogFile`: the log of all mounts of a user, which never takes more than [`MAX_LOG_BYTES`] of the disk. It knows no line.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of the log, the part that was put aside included.
const MAX_LOG_BYTES: u64 = 20 << 20;

/// The log is put aside before it is longer than this, in bytes: half of [`MAX_LOG_BYTES`], but for the lines that other mounts write meanwhile.
const MAX_PART_BYTES: u64 = MAX_LOG_BYTES / 2 - (64 << 10);

/// A file that lines are appended to. Several processes may have it open: each sees when another has put it aside.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    /// Lines before the file is put aside have at most this many bytes.
    part: u64,
    file: Mutex<File>,
}

impl LogFile {
    /// Opens the log at `path`; it and its directory are made if they are not there, for their owner only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of_parts(path, MAX_PART_BYTES)
    }

    fn of_parts(path: &Path, part: u64) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let file = Mutex::new(append_to(path)?);
        Ok(Self { path: path.to_owned(), part, file })
    }

    /// Makes `file` the one that `coming` more bytes belong into. `false`: there is none.
    fn turn(&self, file: &mut File, coming: u64) -> io::Result<bool> {
        if self.is_there(file)? {
            let length = file.metadata()?.len();
            if length == 0 || length + coming <= self.part {
                return Ok(true);
            }
            // Another mount is about to put it aside.
            if file.try_lock().is_err() {
                return Ok(length + coming <= MAX_LOG_BYTES / 2);
            }
            if self.is_there(file)? {
                fs::rename(&self.path, aside(&self.path))?;
                if length > MAX_LOG_BYTES / 2 {
                    // Of a version that did not count.
                    file.set_len(self.part)?;
                }
            }
        }
        *file = append_to(&self.path)?;
        Ok(true)
    }

    /// Whether the open file is the log still.
    fn is_there(&self, file: &File) -> io::Result<bool> {
        let ours = file.metadata()?;
        let there = fs::metadata(&self.path).ok();
        Ok(there.is_some_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
    }
}

/// Where the log at `path` is put aside.
pub fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.old")
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.file.lock();
        // A log that cannot be put aside does not grow.
        if !self.turn(&mut file, line.len() as u64)? {
            return Ok(line.len());
        }
        file.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn length(path: &Path) -> u64 {
        fs::metadata(path).map_or(0, |meta| meta.len())
    }

    #[test]
    fn a_log_that_several_mounts_write_is_put_aside_while_they_run_and_loses_no_line_of_the_last_part() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state/kitovufs.log");
        let mut mounts: Vec<_> = (0..3).map(|_| LogFile::of_parts(&path, 1000).expect("a log")).collect();
        for number in 0..1000 {
            if number % 100 == 0 {
                mounts[1] = LogFile::of_parts(&path, 1000).expect("a mount that begins anew");
            }
            let mut log = &mounts[number % mounts.len()];
            writeln!(log, "line {number}").expect("written");
            assert!(length(&path) <= 1000 && length(&path.with_extension("log.old")) <= 1000, "line {number}");
        }
        let read = |path: &Path| fs::read_to_string(path).expect("it is there");
        let all = read(&path.with_extension("log.old")) + &read(&path);
        let first = 1000 - all.lines().count();
        assert!(first > 0 && first < 950, "{first}");
        assert!(all.lines().map(str::to_owned).eq((first..1000).map(|number| format!("line {number}"))), "{all}");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_log_of_an_earlier_version_is_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kitovufs.log");
        File::create(&path).and_then(|file| file.set_len(5 * MAX_LOG_BYTES)).expect("a large log");
        let mut log = &LogFile::open(&path).expect("a log");
        writeln!(log, "new").expect("written");
        assert_eq!(length(&path), 4);
        assert_eq!(length(&path.with_extension("log.old")), MAX_PART_BYTES);
    }

    #[test]
    fn a_log_that_cannot_be_put_aside_does_not_grow() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kitovufs.log");
        fs::create_dir_all(path.with_extension("log.old").join("x")).expect("something in the way");
        let mut log = &LogFile::of_parts(&path, 100).expect("a log");
        for _ in 0..1000 {
            let _ = writeln!(log, "a line");
        }
        assert!(length(&path) <= 100);
    }
}
