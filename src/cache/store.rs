//! The files of a cache directory: the lock, where a copy's file lies, litter. It knows no blocks and no limits.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind as IoErrorKind, Read as _, Seek as _, Write as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use tracing::warn;

use super::Key;
use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};

/// For how long a start waits for the process that holds the cache directory: it may be about to end, or is tidying up after it was
/// unmounted and says so.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const TIDYING_PATIENCE: Duration = Duration::from_secs(60);

/// What a process adds to its number in the lock file when it is about to end.
const TIDYING: &str = "tidying up";

/// One cache directory, held by this process.
///
/// `objects/<first two digits>/<key>/<base name>` are the copies, `trash/` what is being deleted, `index.sqlite` the index,
/// `lock` names the process that holds the directory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Locked as long as it is open.
    lock: File,
    trash: AtomicU64,
}

impl Store {
    /// Creates what is missing, takes the lock, empties the trash.
    ///
    /// # Errors
    /// `Cache`, naming the process that holds the directory, or saying what cannot be created.
    pub fn open(dir: &Path) -> Result<Self> {
        let failed =
            |what: PathBuf| move |e| Error::new("open cache", ErrorKind::Cache).on(what.display()).caused_by(e);
        let objects = dir.join("objects");
        create_dir(&objects).map_err(failed(objects.clone()))?;
        let lock = take_lock(&dir.join("lock"))?;
        let trash = dir.join("trash");
        if let Err(e) = fs::remove_dir_all(&trash)
            && e.kind() != IoErrorKind::NotFound
        {
            return Err(failed(trash)(e));
        }
        create_dir(&trash).map_err(failed(trash.clone()))?;
        Ok(Self { dir: dir.to_owned(), lock, trash: AtomicU64::new(0) })
    }

    /// The cache directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn copy_dir(&self, key: &Key) -> PathBuf {
        let key = hex(key.as_bytes());
        self.dir.join("objects").join(&key[..2]).join(key)
    }

    /// Where the copy `key` of a file called `name` lies.
    pub fn path(&self, key: &Key, name: &[u8]) -> PathBuf {
        self.copy_dir(key).join(std::ffi::OsStr::from_bytes(name))
    }

    /// Reads exactly these bytes of a file.
    pub fn read(file: &File, bytes: &Range<u64>) -> io::Result<Bytes> {
        let length = usize::try_from(bytes.end - bytes.start).expect("what is read at once fits in memory");
        let mut read = Vec::with_capacity(length);
        while read.len() < length {
            let at = bytes.start + read.len() as u64;
            match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut read), at) {
                Ok(0) => return Err(IoErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        read.truncate(length);
        Ok(read.into())
    }

    /// Opens the file of a copy for reading and writing, creating it if told to.
    pub fn open_file(path: &Path, create: bool) -> std::io::Result<File> {
        if create && let Some(parent) = path.parent() {
            create_dir(parent)?;
        }
        fs::OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
    }

    /// Takes a copy out of sight at once; the returned place must be [`Store::destroy`]ed.
    pub fn discard(&self, key: &Key) -> Option<PathBuf> {
        let place = self.dir.join("trash").join(self.trash.fetch_add(1, Ordering::Relaxed).to_string());
        match fs::rename(self.copy_dir(key), &place) {
            Ok(()) => Some(place),
            Err(e) if e.kind() == IoErrorKind::NotFound => None,
            Err(e) => {
                warn!("cannot remove a copy from the cache: {e}");
                None
            }
        }
    }

    /// Frees the disk space of what was discarded.
    pub fn destroy(place: &Path) {
        if let Err(e) = fs::remove_dir_all(place) {
            warn!("cannot delete {}: {e}", place.display());
        }
    }

    /// Removes every object that is not in `known`: what a killed process had begun. Returns which of `known` are there.
    pub fn sweep(&self, known: &HashSet<Key>) -> HashSet<Key> {
        let mut found = HashSet::new();
        for shard in list(&self.dir.join("objects")) {
            for object in list(&shard) {
                match object.file_name().and_then(|name| Key::from_hex(name.as_bytes())) {
                    Some(key) if known.contains(&key) => {
                        found.insert(key);
                    }
                    _ if object.is_dir() => Self::destroy(&object),
                    _ => drop(fs::remove_file(&object)),
                }
            }
        }
        found
    }

    /// What a copy takes on disk, in bytes.
    pub fn allocated(&self, key: &Key, name: &[u8]) -> u64 {
        fs::metadata(self.path(key, name)).map_or(0, |meta| meta.blocks() * 512)
    }

    /// What the disk has left for us, in bytes; unlimited if it cannot tell.
    pub fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Tells whoever waits for the directory that it will be free soon.
    pub fn announce_end(&self) {
        if let Err(e) = sign(&self.lock, TIDYING) {
            warn!("{}: the lock file cannot be written: {e}", self.dir.display());
        }
    }

    /// Makes everything durable, once, at a clean end.
    pub fn sync(&self) {
        if let Ok(dir) = File::open(&self.dir)
            && let Err(e) = rustix::fs::syncfs(&dir)
        {
            warn!("{}: cannot be synced: {e}", self.dir.display());
        }
    }
}

fn create_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(e) => {
            warn!("{}: cannot be listed: {e}", dir.display());
            Vec::new()
        }
    }
}

fn take_lock(path: &Path) -> Result<File> {
    let failed = |e: std::io::Error| Error::new("open cache", ErrorKind::Cache).on(path.display()).caused_by(e);
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let began = Instant::now();
    while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if e != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(e.into()));
        }
        let mut holder = String::new();
        let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
        let patience = if holder.contains(TIDYING) { TIDYING_PATIENCE } else { LOCK_PATIENCE };
        if began.elapsed() > patience {
            let dir = path.parent().unwrap_or(path).display();
            return Err(Error::new("open cache", ErrorKind::Cache).on(dir).because(format!(
                "held by process {}; unmount that one first, or give this mount a cache.dir of its own",
                holder.trim()
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    sign(&file, "").map_err(failed)?;
    Ok(file)
}

/// Writes who holds the directory.
fn sign(mut lock: &File, doing: &str) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{} {doing}", std::process::id())
}
