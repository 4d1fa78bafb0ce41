//! The files of a cache directory: the lock, where a copy's file lies, litter. It knows no blocks and no limits.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind as IoErrorKind, Read as _, Seek as _, Write as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, flock, fstat, fstatfs, mkdirat, renameat, statat, unlinkat,
};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, preadv2};
use tracing::warn;

use super::Key;
use crate::cachedir::{
    CacheDir, Named, cannot_open, is_deleted, is_other_type, list, open_dir, open_file, open_remembered,
};
use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{LocalName, is_local_name};
use crate::path::Printable;

/// For how long a start waits for the process that holds the cache directory: it may be about to end, or is tidying up after it was
/// unmounted and says so.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const TIDYING_PATIENCE: Duration = Duration::from_secs(60);

/// The mark that a process adds to its number in the lock file when it is about to end.
const TIDYING: &str = "tidying up";

/// A directory that was deleted and could not be made again is not tried to be made for so long.
const MAKE_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// File systems of a disk of this computer, by the numbers in statfs(2): ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, and memory. With these the
/// kernel opens, looks at and closes a file that it remembers without asking anybody.
const LOCAL: [u64; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0xCA45_1A4E, 0x0102_1994];

/// One cache directory, held by this process.
///
/// `objects/<first two digits>/<key>/<base name>` are the copies, `trash/<number>` what is being deleted, `index.sqlite` the index,
/// `lock` names the process that holds the directory. Names of another form are left alone.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    place: RwLock<Arc<Place>>,
    discarded: AtomicU64,
    /// When the place, which was deleted, could last not be made again.
    unmade: Mutex<Option<Instant>>,
}

/// The directory's files, as long as it is not deleted.
#[derive(Debug)]
struct Place {
    dir: CacheDir,
    /// Locked as long as it is open.
    lock: Arc<File>,
    objects: OwnedFd,
    trash: OwnedFd,
    /// Whether it lies on a disk of this computer, as far as is known.
    is_local: bool,
}

impl Place {
    /// Creates what is missing, and takes the lock, unless that is `held`.
    fn open(path: &Path, held: Option<Arc<File>>) -> Result<Self> {
        let dir = CacheDir::claim(path)?;
        let failed = |what: &str| {
            let what = dir.path().join(what);
            move |e| cannot_open(&what, e)
        };
        let lock = held.map_or_else(|| take_lock(&dir).map(Arc::new), Ok)?;
        let objects = dir.dir("objects").map_err(failed("objects"))?;
        let trash = dir.dir("trash").map_err(failed("trash"))?;
        let is_local = fstatfs(&objects).is_ok_and(|stat| LOCAL.contains(&(stat.f_type as u64)));
        Ok(Self { dir, lock, objects, trash, is_local })
    }

    /// Whether copies can be stored in it no longer.
    fn is_gone(&self) -> bool {
        self.dir.is_gone() || is_deleted(&self.objects) || is_deleted(&self.trash)
    }
}

/// The findings of [`Store::sweep`].
#[derive(Debug, Default)]
pub struct Swept {
    /// The copies that are there, with the base name of the one file of each where it was asked for.
    pub found: HashMap<Key, Option<LocalName>>,
    /// First bytes of keys of which nobody knows whether their copies are there, since they could not be listed.
    pub unlisted: Vec<u8>,
}

impl Swept {
    /// Whether this copy is certainly not there.
    pub fn is_gone(&self, key: &Key) -> bool {
        !self.found.contains_key(key) && !self.unlisted.contains(&key.0[0])
    }
}

impl Store {
    /// Creates what is missing, takes the lock, empties the trash.
    ///
    /// # Errors
    /// `Cache`, naming the process that holds the directory, saying what cannot be created, or what the directory holds that is not ours.
    pub fn open(dir: &Path) -> Result<Self> {
        let place = Place::open(dir, None)?;
        let (path, unmade) = (place.dir.path().to_owned(), Mutex::default());
        let store = Self { path, place: RwLock::new(Arc::new(place)), discarded: AtomicU64::new(0), unmade };
        store.empty_trash();
        Ok(store)
    }

    fn place(&self) -> Arc<Place> {
        self.place.read().clone()
    }

    /// Makes the directory again if it was deleted, as by a program that cleans up, or some of what is in it; not again for a while if that
    /// fails. Whether it was: then every copy is gone.
    pub fn make_again(&self) -> bool {
        let mut unmade = self.unmade.lock();
        let place = self.place();
        if !place.is_gone() || unmade.is_some_and(|since| since.elapsed() < MAKE_AGAIN_AFTER) {
            return false;
        }
        let path = self.path.display();
        let held = Some(place.lock.clone()).filter(|lock| !place.dir.is_gone() && !is_deleted(lock));
        match Place::open(&self.path, held) {
            Ok(made) => {
                warn!("cache: {path}: was deleted, and is made again");
                (*self.place.write(), *unmade) = (Arc::new(made), None);
                true
            }
            Err(e) => {
                warn!("cache: {path}: was deleted, and cannot be made again: {e}");
                *unmade = Some(Instant::now());
                false
            }
        }
    }

    /// The cache directory.
    pub fn dir(&self) -> &Path {
        &self.path
    }

    /// The path of the copy `key` of a file called `name`, for messages and for programs that are handed a path.
    pub fn path(&self, key: &Key, name: &[u8]) -> PathBuf {
        self.path.join("objects").join(copy_dir(key)).join(std::ffi::OsStr::from_bytes(name))
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

    /// The same, of what the kernel has in memory; `None` if it has not all of them. Does not wait for the disk.
    pub fn read_remembered(file: &File, bytes: &Range<u64>) -> Option<Bytes> {
        let mut read = vec![0; usize::try_from(bytes.end - bytes.start).ok()?];
        let length = preadv2(file, &mut [IoSliceMut::new(&mut read)], bytes.start, ReadWriteFlags::NOWAIT).ok()?;
        (length == read.len()).then(|| read.into())
    }

    /// Opens the file of a copy for reading and writing, if the kernel remembers it. Does not wait for the disk.
    pub fn open_remembered(&self, key: &Key, name: &[u8]) -> Option<File> {
        self.remembered(key, name, OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOATIME)
    }

    /// What the path of a copy leads to, if the kernel remembers it. Does not wait for the disk.
    pub fn look_remembered(&self, key: &Key, name: &[u8]) -> Option<Metadata> {
        self.remembered(key, name, OFlags::PATH)?.metadata().ok()
    }

    fn remembered(&self, key: &Key, name: &[u8], flags: OFlags) -> Option<File> {
        let place = self.place();
        if !place.is_local || !is_local_name(name) {
            return None;
        }
        open_remembered(&place.objects, &[copy_dir(key).as_bytes(), b"/", name].concat(), flags)
    }

    /// Opens the file of a copy for reading and writing, creating it if told to.
    ///
    /// # Errors
    /// See [`is_other_type`] for what is no file of ours.
    pub fn open_file(&self, key: &Key, name: &[u8], create: bool) -> io::Result<File> {
        if !is_local_name(name) {
            return Err(io::Error::new(IoErrorKind::InvalidInput, "it is no base name"));
        }
        let (place, copy) = (self.place(), copy_dir(key));
        let (dir, path) = if create {
            make_copy_dir(&place.objects, &copy, name)?
        } else {
            (None, [copy.as_bytes(), b"/", name].concat())
        };
        let dir = dir.as_ref().unwrap_or(&place.objects);
        let flags = if create { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDWR };
        // To note when it was read, the kernel would ask the disk. Only a file's owner may tell it not to.
        match open_file(dir, &path, flags | OFlags::NOATIME) {
            Err(e) if Errno::from_io_error(&e) == Some(Errno::PERM) => open_file(dir, &path, flags),
            result => result,
        }
    }

    /// Whether the path of a copy leads to something else than this open file of it.
    pub fn leads_elsewhere(&self, key: &Key, name: &[u8], file: &File) -> bool {
        let there = open_dir(&self.place().objects, copy_dir(key).as_bytes())
            .and_then(|dir| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW))
            .map_err(io::Error::from);
        match there {
            Ok(there) => fstat(file).is_ok_and(|open| (open.st_dev, open.st_ino) != (there.st_dev, there.st_ino)),
            Err(e) => e.kind() == IoErrorKind::NotFound || is_other_type(&e),
        }
    }

    /// Takes a copy out of sight at once; what is returned must be [`Store::destroy`]ed.
    pub fn discard(&self, key: &Key) -> Option<Discarded> {
        let number = self.discarded.fetch_add(1, Ordering::Relaxed).to_string();
        let (place, copy) = (self.place(), copy_dir(key));
        let shard = open_dir(&place.objects, &copy.as_bytes()[..2]);
        match shard.and_then(|shard| renameat(shard, &copy[3..], &place.trash, &number)) {
            Ok(()) => Some(Discarded(number)),
            // Something else may lie where the copy's directory would.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(e) => {
                warn!("cache: {}: a copy cannot be removed: {e}", self.path.display());
                None
            }
        }
    }

    /// Frees the disk space of what was discarded.
    pub fn destroy(&self, discarded: &Discarded) {
        self.remove_copy(&self.place().trash, discarded.0.as_bytes());
    }

    /// Removes a copy's directory and the files in it. What holds anything else is set aside.
    fn remove_copy(&self, parent: &OwnedFd, name: &[u8]) {
        let removed = open_dir(parent, name).map_err(io::Error::from).and_then(|dir| {
            for named in list(&dir)?.iter().filter(|named| named.kind != FileType::Directory) {
                unlinkat(&dir, named.name.as_slice(), AtFlags::empty())?;
            }
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => self.place().dir.set_aside(parent, name, "copy"),
                result => Ok(result?),
            }
        });
        if let Err(e) = removed {
            let name = Printable(name);
            warn!("cache: {}: what is left of a copy ({name}) cannot be deleted: {e}", self.path.display());
        }
    }

    fn empty_trash(&self) {
        let place = self.place();
        let trash = &place.trash;
        for Named { name, kind } in self.listed(trash, "trash").unwrap_or_default() {
            let is_ours = !name.is_empty() && name.iter().all(u8::is_ascii_digit) && kind == FileType::Directory;
            if is_ours {
                self.remove_copy(trash, &name);
            }
        }
        // A number that is taken cannot be discarded to.
        let taken = list(trash).unwrap_or_default();
        let numbers = taken.iter().filter_map(|named| std::str::from_utf8(&named.name).ok()?.parse::<u64>().ok());
        self.discarded.store(numbers.max().map_or(0, |last| last.saturating_add(1)), Ordering::Relaxed);
    }

    /// Looks at every copy, and removes those of which `is_known` says no: what a killed process had begun. `None` keeps them all, and
    /// tells of each the name of its file.
    pub fn sweep(&self, is_known: Option<&dyn Fn(&Key) -> bool>) -> Swept {
        let mut swept = Swept::default();
        let place = self.place();
        let objects = &place.objects;
        let Some(shards) = self.listed(objects, "objects") else {
            swept.unlisted = (0..=u8::MAX).collect();
            return swept;
        };
        for shard in shards {
            let Some(first) = std::str::from_utf8(&shard.name).ok().and_then(shard_number) else { continue };
            let label = format!("objects-{first:02x}");
            if shard.kind != FileType::Directory {
                self.step_aside(objects, &shard.name, &label);
                continue;
            }
            let opened = open_dir(objects, &shard.name).map_err(io::Error::from);
            let listed = opened.and_then(|dir| Ok((list(&dir)?, dir)));
            match listed {
                Ok((objects, dir)) => self.sweep_shard(first, &dir, objects, is_known, &mut swept.found),
                Err(e) => {
                    warn!("cache: {}: {label} cannot be listed, its copies stay: {e}", self.path.display());
                    swept.unlisted.push(first);
                }
            }
        }
        swept
    }

    fn sweep_shard(
        &self,
        first: u8,
        shard: &OwnedFd,
        objects: Vec<Named>,
        is_known: Option<&dyn Fn(&Key) -> bool>,
        found: &mut HashMap<Key, Option<LocalName>>,
    ) {
        for Named { name, kind } in objects {
            let Some(key) = Key::from_hex(&name).filter(|key| key.0[0] == first) else { continue };
            if kind != FileType::Directory {
                self.step_aside(shard, &name, "copy");
            } else if is_known.is_none_or(|is_known| is_known(&key)) {
                let file = if is_known.is_none() { only_file(shard, &name) } else { None };
                found.insert(key, file);
            } else {
                self.remove_copy(shard, &name);
            }
        }
    }

    fn step_aside(&self, dir: &OwnedFd, name: &[u8], label: &str) {
        if let Err(e) = self.place().dir.set_aside(dir, name, label) {
            warn!("cache: {}: {} cannot be set aside: {e}", self.path.display(), Printable(name));
        }
    }

    fn listed(&self, dir: &OwnedFd, what: &str) -> Option<Vec<Named>> {
        let failed = |e: &io::Error| warn!("cache: {}/{what}: cannot be listed: {e}", self.path.display());
        list(dir).inspect_err(failed).ok()
    }

    /// The bytes that a copy takes on disk; `None` if that cannot be told.
    pub fn allocated(&self, key: &Key, name: &[u8]) -> Option<u64> {
        match self.open_file(key, name, false).and_then(|file| file.metadata()) {
            Ok(meta) => Some(meta.blocks().saturating_mul(512)),
            Err(e) if e.kind() == IoErrorKind::NotFound => Some(0),
            Err(_) => None,
        }
    }

    /// The bytes that the disk has left for this process; unlimited if it cannot tell.
    pub fn free(&self) -> u64 {
        rustix::fs::fstatvfs(&self.place().dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Tells whoever waits for the directory that it will be free soon.
    pub fn announce_end(&self) {
        if let Err(e) = sign(&self.place().lock, TIDYING) {
            warn!("{}: the lock file cannot be written: {e}", self.path.display());
        }
    }

    /// Makes everything durable, once, at a clean end.
    pub fn sync(&self) {
        if let Err(e) = rustix::fs::syncfs(&self.place().dir) {
            warn!("{}: cannot be synced: {e}", self.path.display());
        }
    }
}

/// A copy that [`Store::discard`] took out of sight: its number in the trash.
#[derive(Debug)]
pub struct Discarded(String);

/// The path of a copy's directory, below `objects`.
fn copy_dir(key: &Key) -> String {
    let key = hex(key.as_bytes());
    format!("{}/{key}", &key[..2])
}

/// Sees to it that there is a directory for a copy. The directory above it, and the path of the copy's file there.
fn make_copy_dir(objects: &OwnedFd, place: &str, name: &[u8]) -> io::Result<(Option<OwnedFd>, Vec<u8>)> {
    let made = |made| match made {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    };
    let (shard, key) = (&place[..2], &place[3..]);
    let above = match open_dir(objects, shard.as_bytes()) {
        Err(Errno::NOENT) => {
            made(mkdirat(objects, shard, Mode::RWXU))?;
            open_dir(objects, shard.as_bytes())?
        }
        above => above?,
    };
    made(mkdirat(&above, key, Mode::RWXU))?;
    Ok((Some(above), [key.as_bytes(), b"/", name].concat()))
}

fn shard_number(name: &str) -> Option<u8> {
    let is_hex = name.len() == 2 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_hex.then(|| u8::from_str_radix(name, 16).ok()).flatten()
}

/// The base name of the one regular file in a copy's directory.
fn only_file(shard: &OwnedFd, name: &[u8]) -> Option<LocalName> {
    let names = list(open_dir(shard, name).ok()?).ok()?;
    let [Named { name, kind: FileType::RegularFile }] = names.as_slice() else { return None };
    Some(name.as_slice().into())
}

fn take_lock(dir: &CacheDir) -> Result<File> {
    let path = dir.path().join("lock");
    let failed = |e: io::Error| cannot_open(&path, e);
    let mut file = dir.file("lock").map_err(failed)?;
    let began = Instant::now();
    while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if e != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(e.into()));
        }
        let mut holder = String::new();
        let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
        let patience = if holder.contains(TIDYING) { TIDYING_PATIENCE } else { LOCK_PATIENCE };
        if began.elapsed() > patience {
            return Err(Error::new("open cache", ErrorKind::Cache).on(dir.path().display()).because(format!(
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
fn sign(mut lock: &File, doing: &str) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{} {doing}", std::process::id())
}
