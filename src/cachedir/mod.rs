//! `CacheDir`: the directory of a cache: whose it is, and how what is in it is reached. It knows not what its files hold.
//!
//! Everything is opened below the directory's descriptor, without following links. A directory is ours if it bears `CACHEDIR.TAG`, or is empty, or
//! holds nothing but what earlier versions, which left no tag, made. Any other is refused, and nothing in it is touched.

mod identity;

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, chmodat, fchmod, mkdirat, openat, renameat_with, statat,
};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::beneath;
use crate::error::{Error, ErrorKind, Result};
use crate::path::Printable;
use identity::TAG;

/// Permissions of directories and of files: other users must not read what was retrieved with this user's passwords.
const PRIVATE_DIR: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The number of names that are tried for an entry that is set aside.
const MAX_ASIDE_NAMES: u32 = 10_000;

/// A directory that is ours.
#[derive(Debug)]
pub struct CacheDir {
    path: PathBuf,
    fd: OwnedFd,
}

impl CacheDir {
    /// Opens a cache directory, creating it if it is not there, makes it private, and tags it.
    ///
    /// # Errors
    /// `Cache` if it is another user's, a link, writable by others, or holds foreign files: the message names what was found.
    pub fn claim(path: &Path) -> Result<Self> {
        // Without a trailing slash, which would lead through a link.
        let path: PathBuf = path.components().collect();
        let failed = |e: io::Error| cannot_open(&path, e);
        let refused = |why: String| Error::new("open cache", ErrorKind::Cache).on(path.display()).because(why);
        match DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            // The checks below tell what is there.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed)?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(CWD, &path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOTDIR) if !path.is_symlink() => {
                let why = "it is no directory; give cache.dir a directory that is empty or does not exist";
                return Err(refused(why.to_owned()));
            }
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let target = path.canonicalize().map(|target| format!(" to {}", target.display())).unwrap_or_default();
                return Err(refused(format!("it is a link{target}; name the directory itself as cache.dir")));
            }
            Err(e) => return Err(failed(e.into())),
        };
        let dir = Self { path: path.clone(), fd };
        let found = File::from(dir.fd.try_clone().map_err(failed)?).metadata().map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        if found.uid() != user {
            let why =
                format!("it belongs to user {}, not to {user}; give cache.dir a directory of your own", found.uid());
            return Err(refused(why));
        }
        if found.mode() & 0o022 != 0 {
            let (path, mode) = (path.display(), found.mode() & 0o777);
            return Err(refused(format!(
                "others may write to it (mode {mode:03o}); if it is yours alone: chmod 700 {path}"
            )));
        }
        let is_tagged = identity::examine(&dir).map_err(failed)?.map_err(refused)?;
        if found.mode() & 0o777 != 0o700 {
            fchmod(&dir.fd, PRIVATE_DIR).map_err(|e| failed(e.into()))?;
            info!("cache: {}: nobody else may look into it any more", path.display());
        }
        if !is_tagged {
            dir.tag().map_err(failed)?;
        }
        Ok(dir)
    }

    fn tag(&self) -> io::Result<()> {
        use std::io::Write as _;
        let mut file = self.file(TAG.0)?;
        file.set_len(0)?;
        file.write_all(TAG.1)
    }

    /// Whether it was deleted. Another one may lie in its place.
    pub fn is_gone(&self) -> bool {
        is_deleted(&self.fd)
    }

    /// As it was configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same without links on the way to it, for what opens by path. Fails if the directory is no longer there.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        let real = self.path.canonicalize()?;
        let (there, ours) = (rustix::fs::stat(&real)?, rustix::fs::fstat(&self.fd)?);
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) {
            return Err(io::Error::other("another directory was put in its place"));
        }
        Ok(real)
    }

    /// The directory called `name`, created if it is not there. Something else of that name is set aside.
    pub fn dir(&self, name: &str) -> io::Result<OwnedFd> {
        let mut allowed = false;
        loop {
            match open_dir(&self.fd, name.as_bytes()) {
                Err(Errno::NOENT) => match mkdirat(&self.fd, name, PRIVATE_DIR) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                },
                Err(Errno::NOTDIR | Errno::LOOP) => self.set_aside(&self.fd, name.as_bytes(), name)?,
                // The owner may always look into it; a second refusal means that it is another user's.
                Err(Errno::ACCESS) if !allowed => {
                    chmodat(&self.fd, name, PRIVATE_DIR, AtFlags::empty())?;
                    allowed = true;
                }
                result => return Ok(result?),
            }
        }
    }

    /// The regular file called `name`, readable by its owner only, created if it is not there. Something else of that name is set
    /// aside, and so is a file that has a second name: writing to it would change what is elsewhere.
    pub fn file(&self, name: &str) -> io::Result<File> {
        loop {
            match open_file(&self.fd, name.as_bytes(), OFlags::RDWR | OFlags::CREATE) {
                Ok(file) => {
                    let meta = file.metadata()?;
                    if meta.nlink() <= 1 {
                        if meta.mode() & 0o777 != 0o600 {
                            fchmod(&file, PRIVATE_FILE)?;
                        }
                        return Ok(file);
                    }
                }
                Err(e) if is_other_type(&e) => {}
                Err(e) => return Err(e),
            }
            self.set_aside(&self.fd, name.as_bytes(), name)?;
        }
    }

    /// Sees to it that `name` is a regular file or absent: something else is set aside.
    pub fn expect_file(&self, name: &str) -> io::Result<()> {
        match open_file(&self.fd, name.as_bytes(), OFlags::RDONLY) {
            Err(e) if is_other_type(&e) => self.set_aside(&self.fd, name.as_bytes(), name),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(file) if file.metadata()?.mode() & 0o077 != 0 => Ok(fchmod(&file, PRIVATE_FILE)?),
            result => result.map(drop),
        }
    }

    /// Moves `name` in `dir` out of the way, to a name of its own in the cache directory that begins with `label`, and says so.
    pub fn set_aside(&self, dir: impl AsFd, name: &[u8], label: &str) -> io::Result<()> {
        let what = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_or("something", |stat| describe(&stat));
        let new = self.rename_aside(dir, name, label, "set-aside")?;
        let name = Printable(name);
        warn!("cache: {}: {name} is {what}, which is not ours: it now lies in {new}", self.path.display());
        Ok(())
    }

    /// The same without a word. Returns the new name, which holds `why`.
    pub fn rename_aside(&self, dir: impl AsFd, name: &[u8], label: &str, why: &str) -> io::Result<String> {
        for number in 1..MAX_ASIDE_NAMES {
            let new = format!("{label}.{why}-{number}");
            match renameat_with(&dir, name, &self.fd, new.as_str(), RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(new),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(io::Error::other(format!("too much was set aside: remove {label}.{why}-*")))
    }
}

/// Why what is at `path` cannot be made or opened, and what to do where that is clear.
pub fn cannot_open(path: &Path, why: io::Error) -> Error {
    let error = Error::new("open cache", ErrorKind::Cache).on(path.display());
    let error = match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            error.because("the disk is full; make room there, or give cache.dir a directory on another disk")
        }
        _ => error,
    };
    error.caused_by(why)
}

impl AsFd for CacheDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a directory or file that is open has no name any more.
pub fn is_deleted(open: impl AsFd) -> bool {
    rustix::fs::fstat(open).is_ok_and(|stat| stat.st_nlink == 0)
}

/// Opens a directory below another; `NOTDIR` or `LOOP` where something else has its name.
pub fn open_dir(dir: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    beneath::open(dir, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a regular file below a directory, and never waits for a FIFO. See [`is_other_type`].
pub fn open_file(dir: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<File> {
    let mode = if flags.contains(OFlags::CREATE) { PRIVATE_FILE } else { Mode::empty() };
    let file = File::from(beneath::open(dir, path, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK, mode)?);
    if !file.metadata()?.is_file() {
        return Err(NotRegular.into());
    }
    Ok(file)
}

/// Opens what has this name below a directory, if the kernel remembers it ([`beneath::open_remembered`]). The caller sees to it that it is the
/// file that it expects.
pub fn open_remembered(dir: impl AsFd, path: &[u8], flags: OFlags) -> Option<File> {
    beneath::open_remembered(dir, path, flags | OFlags::NOFOLLOW).ok().map(File::from)
}

/// Whether a file could not be opened because something else has its name: a link, a directory, a FIFO, a socket, a device.
pub fn is_other_type(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    let is_not_regular = error.get_ref().is_some_and(|inner| inner.is::<NotRegular>());
    is_not_regular || matches!(errno, Some(Errno::LOOP | Errno::ISDIR | Errno::NOTDIR | Errno::NXIO | Errno::NODEV))
}

#[derive(Debug)]
struct NotRegular;

impl fmt::Display for NotRegular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no regular file")
    }
}

impl std::error::Error for NotRegular {}

impl From<NotRegular> for io::Error {
    fn from(error: NotRegular) -> Self {
        Self::other(error)
    }
}

/// A name in a directory, and what it is.
#[derive(Debug)]
pub struct Named {
    /// The name.
    pub name: Vec<u8>,
    /// The type; `Unknown` if it has just gone.
    pub kind: FileType,
}

/// Everything in a directory but `.` and `..`.
pub fn list(dir: impl AsFd) -> io::Result<Vec<Named>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not tell.
            FileType::Unknown => statat(&dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            kind => kind,
        };
        all.push(Named { name, kind });
    }
    Ok(all)
}

fn describe(stat: &rustix::fs::Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => "a directory",
        FileType::Symlink => "a link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::RegularFile if stat.st_nlink > 1 => "a file with a second name elsewhere",
        FileType::RegularFile => "a file",
        FileType::Unknown => "something",
    }
}

#[cfg(test)]
mod tests;
