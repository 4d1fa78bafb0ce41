//! `Staging`: files that a plugin fills and the host reads, which nobody else sees and which never stay. It knows no content.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, open};
use tempfile::{Builder, NamedTempFile, TempDir};
use tracing::debug;

use crate::error::{Error, ErrorKind, Result};

/// How long another process may hold the lock of all, in tries and what lies between them. Without it nothing is swept.
const LOCK: (usize, Duration) = (20, Duration::from_millis(5));

/// A directory of this process for staging files, below one that all processes share. It comes with the first file.
///
/// What a killed process left behind goes when the next one comes: whoever lives holds a lock on its directory.
#[derive(Debug)]
pub struct Staging {
    parent: PathBuf,
    own: Mutex<Option<Own>>,
}

#[derive(Debug)]
struct Own {
    dir: TempDir,
    /// Locked as long as it is open.
    _lock: File,
}

impl Staging {
    /// A place below `scratch`.
    pub fn new(scratch: &Path) -> Self {
        Self { parent: scratch.join("staging"), own: Mutex::new(None) }
    }

    /// A new, empty file; it goes when the value does.
    ///
    /// # Errors
    /// `Cache` if there is no room, or no right, to make one.
    pub fn file(&self) -> Result<NamedTempFile> {
        let failed = |e| Error::new("make a staging file", ErrorKind::Cache).on(self.parent.display()).caused_by(e);
        let mut own = self.own.lock();
        let dir = match &*own {
            Some(own) => own.dir.path(),
            None => own.insert(self.make().map_err(failed)?).dir.path(),
        };
        Builder::new().prefix("").rand_bytes(8).tempfile_in(dir).map_err(failed)
    }

    fn make(&self) -> std::io::Result<Own> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.parent)?;
        // Nobody looks for what was left behind while a directory has no lock yet. A plugin could hold the lock for ever.
        let all = open_directory(&self.parent)?;
        for _ in 0..LOCK.0 {
            if all.try_lock().is_ok() {
                self.sweep();
                break;
            }
            std::thread::sleep(LOCK.1);
        }
        let private = Permissions::from_mode(0o700);
        let dir = Builder::new().prefix("").permissions(private).tempdir_in(&self.parent)?;
        let lock = open_directory(dir.path())?;
        lock.try_lock()?;
        Ok(Own { dir, _lock: lock })
    }

    /// Removes directories of ours that nobody holds. What else is there stays, and is not opened: to open a FIFO would be to wait.
    fn sweep(&self) {
        let entries = std::fs::read_dir(&self.parent).into_iter().flatten().flatten();
        let is_ours = |place: &PathBuf| {
            place.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_alphanumeric))
        };
        for place in entries.map(|entry| entry.path()).filter(is_ours) {
            let left = open_directory(&place).is_ok_and(|dir| dir.try_lock().is_ok());
            if left && let Err(e) = std::fs::remove_dir_all(&place) {
                debug!("{}: {e}", place.display());
            }
        }
    }
}

/// Opens a directory, and nothing else; never waits.
fn open_directory(place: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(place, flags, Mode::empty())?.into())
}

/// Fails unless the path of a staging file still leads to it: a plugin fills it, and puts nothing else in its place.
pub fn check_place(file: &NamedTempFile) -> io::Result<()> {
    let (there, ours) = (std::fs::symlink_metadata(file.path())?, file.as_file().metadata()?);
    if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) { Ok(()) } else { Err(replaced()) }
}

/// A new, empty file at `place`, whatever a plugin has put there before.
pub fn begin_anew(place: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(place)?,
        Ok(_) => std::fs::remove_file(place)?,
        Err(_) => {}
    }
    File::create_new(place).map(drop)
}

/// What a plugin has put into the file at `place`; never waits.
///
/// # Errors
/// If it is no regular file any more.
pub fn read_back(place: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(open(place, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(replaced());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn replaced() -> io::Error {
    io::Error::other("the plugin has put something else in place of the file that it was to fill")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_may_look_and_nothing_stays() {
        let scratch = tempfile::tempdir().expect("a directory");
        let staging = Staging::new(scratch.path());
        let file = staging.file().expect("a file");
        let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
        let dir = file.path().parent().expect("a directory");
        assert_eq!((mode(file.path()), mode(dir)), (0o600, 0o700));
        let (first, dir) = (file.path().to_owned(), dir.to_owned());
        drop(file);
        assert!(!first.exists() && dir.exists());
        drop(staging);
        assert!(!dir.exists());
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_a_living_one_has_stays() {
        let scratch = tempfile::tempdir().expect("a directory");
        let left = scratch.path().join("staging/left");
        std::fs::create_dir_all(&left).expect("a directory");
        std::fs::write(left.join("file"), "x").expect("a file");
        let living = Staging::new(scratch.path());
        let file = living.file().expect("a file");
        let other = Staging::new(scratch.path());
        other.file().expect("a file");
        assert!(!left.exists() && file.path().exists());
    }

    #[test]
    fn what_is_no_directory_of_ours_is_neither_opened_nor_removed() {
        use std::os::unix::net::UnixListener;
        let scratch = tempfile::tempdir().expect("a directory");
        let (all, elsewhere) = (scratch.path().join("staging"), scratch.path().join("elsewhere"));
        std::fs::create_dir_all(&all).expect("a directory");
        std::fs::create_dir_all(elsewhere.join("inner")).expect("a directory");
        make_fifo(&all.join("fifo"));
        let _socket = UnixListener::bind(all.join("socket")).expect("a socket");
        std::os::unix::fs::symlink(&elsewhere, all.join("link")).expect("a link");
        let file = Staging::new(scratch.path()).file().expect("nobody waits");
        assert!(file.path().starts_with(&all));
        for name in ["fifo", "socket", "link"] {
            assert!(all.join(name).symlink_metadata().is_ok(), "{name}");
        }
        assert!(elsewhere.join("inner").exists());
    }

    #[test]
    fn a_lock_that_somebody_holds_for_ever_keeps_nobody_waiting() {
        let scratch = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(scratch.path().join("staging/left")).expect("a directory");
        let held = File::open(scratch.path().join("staging")).expect("a directory");
        held.lock().expect("a lock");
        Staging::new(scratch.path()).file().expect("it goes without sweeping");
        assert!(scratch.path().join("staging/left").exists());
    }

    #[test]
    fn a_file_that_was_replaced_is_noticed_and_never_waited_for() {
        let scratch = tempfile::tempdir().expect("a directory");
        let staging = Staging::new(scratch.path());
        let file = staging.file().expect("a file");
        check_place(&file).expect("it is there");
        std::fs::remove_file(file.path()).expect("it can be removed");
        check_place(&file).expect_err("it is gone");
        make_fifo(file.path());
        check_place(&file).expect_err("it is another one");
        read_back(file.path()).expect_err("it is no file");
        begin_anew(file.path()).expect("a new file");
        assert_eq!(read_back(file.path()).expect("a file"), b"");
    }

    fn make_fifo(place: &Path) {
        let made = std::process::Command::new("mkfifo").arg(place).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo is there");
    }
}
