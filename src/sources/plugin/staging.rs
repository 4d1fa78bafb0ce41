//! `Staging`: private files that a plugin fills and the host reads and removes. It knows no content.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};
use tempfile::{Builder, NamedTempFile, TempDir};
use tokio::runtime::Handle;
use tracing::debug;

use crate::disk::{DISK_TIMEOUT, Disk, Hangs};
use crate::error::{Error, ErrorKind, Result};
use crate::room::{Lease, Rooms};

/// So much room, in bytes, is taken at a time for a file of unknown size.
const LEASE_STEP: u64 = 1 << 20;

/// The granularity in which disks give room.
const DISK_BLOCK: u64 = 4096;

/// Bytes that stay free on the disk where no cache accounts for it.
const MIN_FREE: u64 = 64 << 20;

/// How often the lock of the shared directory is tried, and the pause between two attempts. Without the lock nothing is swept.
const LOCK_ATTEMPTS: (usize, Duration) = (20, Duration::from_millis(5));

/// A directory of this process for staging files, below one that all processes share. It comes with the first file.
///
/// The next process removes the files of a killed one: a living process holds a lock on its directory.
#[derive(Debug)]
pub struct Staging {
    parent: PathBuf,
    rooms: Rooms,
    disk: Arc<Disk>,
    own: Mutex<Option<Own>>,
}

#[derive(Debug)]
struct Own {
    dir: TempDir,
    /// Locked as long as it is open.
    _lock: File,
}

impl Own {
    fn file(&self) -> std::io::Result<NamedTempFile> {
        Builder::new().prefix("").rand_bytes(8).tempfile_in(self.dir.path())
    }
}

impl Staging {
    /// A place below `scratch`.
    pub fn new(scratch: &Path, rooms: Rooms) -> Self {
        Self { parent: scratch.join("staging"), rooms, disk: Arc::default(), own: Mutex::new(None) }
    }

    /// A new file with room for `wanted` bytes, or for the first ones of a file of unknown size.
    ///
    /// # Errors
    /// `Cache` if there is no room within the limits of the cache, or the disk does not answer in time.
    pub async fn leased(self: &Arc<Self>, wanted: Option<u64>) -> Result<Arc<Staged>> {
        let staging = Arc::clone(self);
        self.disk.ask(move |_| staging.lease(wanted)).await.map_err(|Hangs| hangs())?.map(Arc::new)
    }

    /// The same. Waits for the disk.
    fn lease(&self, wanted: Option<u64>) -> Result<Staged> {
        let bytes = wanted.unwrap_or(LEASE_STEP).next_multiple_of(DISK_BLOCK);
        let lease = match self.rooms.get() {
            Some(room) => Some(room.lease(bytes).ok_or_else(|| no_room(bytes))?),
            None => None,
        };
        let (file, room) = (Some(self.file()?), Mutex::new(Held { lease, leased: bytes, written: 0 }));
        Ok(Staged { file, room, wanted, disk: self.disk.clone() })
    }

    /// A new, empty file; it goes when the value does.
    ///
    /// # Errors
    /// `Cache` if there is no room, or no right, to make one.
    pub fn file(&self) -> Result<NamedTempFile> {
        let failed = |e| Error::new("make a staging file", ErrorKind::Cache).on(self.parent.display()).caused_by(e);
        let mut own = self.own.lock();
        let made = match &*own {
            Some(own) => own.file(),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        match made {
            // There is none yet, or another program has deleted it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                own.insert(self.make().map_err(failed)?).file().map_err(failed)
            }
            made => made.map_err(failed),
        }
    }

    fn make(&self) -> std::io::Result<Own> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.parent)?;
        // The lock of the shared directory keeps other processes from sweeping this one before it has its own lock. A plugin could hold it for ever.
        let all = open_directory(&self.parent)?;
        for _ in 0..LOCK_ATTEMPTS.0 {
            if all.try_lock().is_ok() {
                self.sweep();
                break;
            }
            std::thread::sleep(LOCK_ATTEMPTS.1);
        }
        let private = Permissions::from_mode(0o700);
        let dir = Builder::new().prefix("").permissions(private).tempdir_in(&self.parent)?;
        let lock = open_directory(dir.path())?;
        lock.try_lock()?;
        Ok(Own { dir, _lock: lock })
    }

    /// Removes directories of ours that no process has locked. Anything else stays, and is not opened: opening a FIFO would wait.
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

/// A staging file and the room that it has. Its methods wait for the disk, unless they say otherwise.
#[derive(Debug)]
pub struct Staged {
    /// None once it is removed.
    file: Option<NamedTempFile>,
    room: Mutex<Held>,
    wanted: Option<u64>,
    disk: Arc<Disk>,
}

struct Held {
    /// None where no cache accounts for the disk.
    lease: Option<Box<dyn Lease>>,
    leased: u64,
    written: u64,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("leased", &self.leased).field("written", &self.written).finish_non_exhaustive()
    }
}

/// The size of a staging file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its length in bytes.
    pub length: u64,
    /// What it takes on the disk, in bytes: less where it has holes.
    pub taken: u64,
}

impl Staged {
    /// Does something with the file on a thread that may wait for the disk.
    ///
    /// # Errors
    /// `Cache` if the disk does not answer in time.
    pub async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T> {
        let staged = Arc::clone(self);
        self.disk.ask(move |_| act(&staged)).await.map_err(|Hangs| hangs())
    }

    /// Removes the file and gives its room back. Waits until that is done, but not for a disk that hangs.
    pub async fn close(self: Arc<Self>) {
        let disk = self.disk.clone();
        disk.tell(move || {
            if let Some(mut staged) = Arc::into_inner(self) {
                drop(staged.file.take());
                staged.room.get_mut().lease = None;
            }
        })
        .await;
    }

    /// The file. Does not wait.
    pub fn file(&self) -> &NamedTempFile {
        self.file.as_ref().expect("it is removed only when nobody has it any more")
    }

    /// Its size by now.
    pub fn extent(&self) -> Extent {
        let found = self.file().as_file().metadata();
        found.map(|found| Extent { length: found.len(), taken: found.blocks() * 512 }).unwrap_or_default()
    }

    /// Takes room for what was written.
    ///
    /// # Errors
    /// `Protocol` if that is more than was asked for; `Cache` if there is no room for it within the limits of the cache.
    pub fn account(&self, extent: Extent) -> Result<()> {
        if self.wanted.is_some_and(|wanted| extent.length > wanted) {
            return Err(too_much());
        }
        let mut room = self.room.lock();
        let Held { lease: Some(lease), leased, written } = &mut *room else { return self.check_free(extent) };
        if extent.taken > *leased {
            let more = (extent.taken - *leased).max(LEASE_STEP);
            if !lease.grow(more) {
                return Err(no_room(extent.taken));
            }
            *leased += more;
        }
        *written = extent.taken;
        lease.note_written(extent.taken);
        Ok(())
    }

    /// Keeps [`MIN_FREE`] where no cache accounts for the disk.
    fn check_free(&self, extent: Extent) -> Result<()> {
        match rustix::fs::fstatvfs(self.file().as_file()) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < MIN_FREE => Err(no_room(extent.taken)),
            _ => Ok(()),
        }
    }

    /// Gives back the room of bytes that have been handed on. On a disk that cannot make holes, they keep it.
    pub fn give_back(&self, from: u64, length: u64) {
        let mut room = self.room.lock();
        let Some(lease) = &mut room.lease else { return };
        let before = self.extent().taken;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(self.file().as_file(), hole, from, length).is_ok() {
            let freed = before.saturating_sub(self.extent().taken);
            lease.shrink(freed);
            room.leased = room.leased.saturating_sub(freed);
            room.written = room.written.saturating_sub(freed);
        }
    }

    /// Truncates the file: the plugin may not have ended yet, and still have it open.
    pub fn empty(&self) {
        if let Err(e) = self.file().as_file().set_len(0) {
            debug!("{}: {e}", self.file().path().display());
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let lease = self.room.get_mut().lease.take();
        let remove = move || {
            drop(file);
            drop(lease);
        };
        // Removing it may wait for the disk, and a retrieval that is cancelled ends on a thread that must not wait.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn hangs() -> Error {
    let why = format!("the cache's disk, which plugins write to, has not answered for {} s", DISK_TIMEOUT.as_secs());
    Error::new("retrieve_file", ErrorKind::Cache).because(why)
}

fn no_room(bytes: u64) -> Error {
    Error::new("retrieve_file", ErrorKind::Cache).because(format!(
        "the plugin needs a file of {bytes} bytes or more on the cache's disk, and the limits of the cache leave no room; free some, or change \
         cache.max_size or cache.min_free"
    ))
}

/// A plugin does not do what it was asked to.
pub fn too_much() -> Error {
    Error::new("retrieve_file", ErrorKind::Protocol).because("the plugin wrote more bytes than were asked for")
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

/// Reads what a plugin has written to the file at `place`; never waits.
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::room::Room;

    #[test]
    fn nobody_else_may_look_and_nothing_stays() {
        let scratch = kit::reaper::temporary();
        let staging = Staging::new(scratch.path(), Rooms::default());
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
        let scratch = kit::reaper::temporary();
        let left = scratch.path().join("staging/left");
        std::fs::create_dir_all(&left).expect("a directory");
        std::fs::write(left.join("file"), "x").expect("a file");
        let living = Staging::new(scratch.path(), Rooms::default());
        let file = living.file().expect("a file");
        let other = Staging::new(scratch.path(), Rooms::default());
        other.file().expect("a file");
        assert!(!left.exists() && file.path().exists());
    }

    #[test]
    fn a_place_that_another_program_deletes_is_made_again() {
        let scratch = kit::reaper::temporary();
        let staging = Staging::new(scratch.path(), Rooms::default());
        for gone in ["staging", ""] {
            staging.file().expect("a file");
            std::fs::remove_dir_all(scratch.path().join(gone)).expect("deleted");
            assert!(staging.file().expect("a file").path().starts_with(scratch.path()));
        }
    }

    /// Room of so many bytes.
    #[derive(Clone)]
    struct Small(Arc<AtomicU64>);

    impl Room for Small {
        fn lease(&self, bytes: u64) -> Option<Box<dyn Lease>> {
            let mut taken = Taken(self.clone(), 0);
            taken.grow(bytes).then(|| Box::new(taken) as Box<dyn Lease>)
        }
    }

    struct Taken(Small, u64);

    impl Lease for Taken {
        fn grow(&mut self, bytes: u64) -> bool {
            let less = |left: u64| left.checked_sub(bytes);
            let fits = self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
            self.1 += if fits { bytes } else { 0 };
            fits
        }

        fn shrink(&mut self, bytes: u64) {
            self.0.0.fetch_add(bytes, Ordering::Relaxed);
            self.1 -= bytes;
        }

        fn note_written(&mut self, bytes: u64) {
            assert!(bytes <= self.1, "{bytes} bytes were written in room for {}", self.1);
        }
    }

    impl Drop for Taken {
        fn drop(&mut self) {
            self.0.0.fetch_add(self.1, Ordering::Relaxed);
        }
    }

    #[test]
    fn staged_bytes_take_room_until_they_are_handed_on() {
        const ALL: u64 = 10 << 20;
        let (scratch, left) = (kit::reaper::temporary(), Arc::new(AtomicU64::new(ALL)));
        let rooms = Rooms::default();
        rooms.give(Small(left.clone()));
        let staging = Staging::new(scratch.path(), rooms);
        let left = || left.load(Ordering::Relaxed);
        assert_eq!(staging.lease(Some(ALL + 1)).map(drop).map_err(|e| e.kind()), Err(ErrorKind::Cache));
        let known = staging.lease(Some(3000)).expect("there is room");
        assert_eq!(left(), ALL - 4096);
        std::fs::write(known.file().path(), [1; 3001]).expect("it can be written");
        assert_eq!(known.account(known.extent()).map_err(|e| e.kind()), Err(ErrorKind::Protocol));
        drop(known);
        let unknown = staging.lease(None).expect("there is room");
        assert_eq!(left(), ALL - LEASE_STEP);
        std::fs::write(unknown.file().path(), vec![1; 8 << 20]).expect("it can be written");
        unknown.account(unknown.extent()).expect("there is room");
        assert!(left() <= 2 << 20, "{}", left());
        let before = left();
        unknown.give_back(0, 4 << 20);
        assert_eq!((left() - before, unknown.extent().length), (4 << 20, 8 << 20));
        std::fs::write(unknown.file().path(), vec![1; 11 << 20]).expect("it can be written");
        assert_eq!(unknown.account(unknown.extent()).map_err(|e| e.kind()), Err(ErrorKind::Cache));
        drop(unknown);
        assert_eq!(left(), ALL);
    }

    #[test]
    fn what_is_no_directory_of_ours_is_neither_opened_nor_removed() {
        use std::os::unix::net::UnixListener;
        let scratch = kit::reaper::temporary();
        let (all, elsewhere) = (scratch.path().join("staging"), scratch.path().join("elsewhere"));
        std::fs::create_dir_all(&all).expect("a directory");
        std::fs::create_dir_all(elsewhere.join("inner")).expect("a directory");
        make_fifo(&all.join("fifo"));
        let _socket = UnixListener::bind(all.join("socket")).expect("a socket");
        std::os::unix::fs::symlink(&elsewhere, all.join("link")).expect("a link");
        let file = Staging::new(scratch.path(), Rooms::default()).file().expect("nobody waits");
        assert!(file.path().starts_with(&all));
        for name in ["fifo", "socket", "link"] {
            assert!(all.join(name).symlink_metadata().is_ok(), "{name}");
        }
        assert!(elsewhere.join("inner").exists());
    }

    #[test]
    fn a_lock_that_somebody_holds_for_ever_keeps_nobody_waiting() {
        let scratch = kit::reaper::temporary();
        std::fs::create_dir_all(scratch.path().join("staging/left")).expect("a directory");
        let held = File::open(scratch.path().join("staging")).expect("a directory");
        held.lock().expect("a lock");
        Staging::new(scratch.path(), Rooms::default()).file().expect("it goes without sweeping");
        assert!(scratch.path().join("staging/left").exists());
    }

    #[test]
    fn a_file_that_was_replaced_is_noticed_and_never_waited_for() {
        let scratch = kit::reaper::temporary();
        let staging = Staging::new(scratch.path(), Rooms::default());
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
