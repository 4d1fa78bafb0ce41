//! `Staging`: files that a plugin fills and the host reads, which nobody else sees and which never stay. It knows no content.

use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::{Builder, NamedTempFile, TempDir};
use tracing::debug;

use crate::error::{Error, ErrorKind, Result};

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
        // Nobody looks for what was left behind while a directory has no lock yet.
        let all = File::open(&self.parent)?;
        all.lock()?;
        self.sweep();
        let private = Permissions::from_mode(0o700);
        let dir = Builder::new().prefix("").permissions(private).tempdir_in(&self.parent)?;
        let lock = File::open(dir.path())?;
        lock.lock()?;
        Ok(Own { dir, _lock: lock })
    }

    /// Removes what nobody holds.
    fn sweep(&self) {
        let entries = std::fs::read_dir(&self.parent).into_iter().flatten().flatten();
        for place in entries.map(|entry| entry.path()) {
            let left = File::open(&place).is_ok_and(|dir| dir.try_lock().is_ok());
            if left && let Err(e) = std::fs::remove_dir_all(&place) {
                debug!("{}: {e}", place.display());
            }
        }
    }
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
}
