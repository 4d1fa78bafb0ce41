//! `Disk`: a file system of some size that keeps its files in a directory, and that hangs while it is told to. It knows nothing of what it keeps.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags, spawn_mount,
};
use rustix::fs::{CWD, renameat_with};
use tempfile::TempDir;
use walkdir::WalkDir;

use super::reaper;

/// A disk, mounted as long as this lives.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
    gate: Arc<RwLock<()>>,
    least_free: Arc<AtomicU64>,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// An empty disk of so many bytes.
    pub fn of(size: u64) -> Self {
        let dir = reaper::temporary();
        let (kept, mountpoint) = (dir.path().join("kept"), dir.path().join("disk"));
        fs::create_dir(&kept).unwrap();
        fs::create_dir(&mountpoint).unwrap();
        let gate = Arc::<RwLock<()>>::default();
        let paths = Mutex::new(HashMap::from([(INodeNo::ROOT, kept.clone())]));
        let least_free = Arc::new(AtomicU64::new(size));
        let files = Mutex::default();
        let kept = Kept { root: kept, size, gate: gate.clone(), least_free: least_free.clone(), paths, files };
        let session = Some(spawn_mount(kept, mountpoint, &Config::default()).unwrap());
        Self { dir, gate, least_free, session }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// How many bytes were free when the fewest were.
    pub fn least_free(&self) -> u64 {
        self.least_free.load(Ordering::Relaxed)
    }

    /// It answers nothing as long as what is returned lives.
    pub fn hang(&self) -> impl Drop {
        self.gate.write().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.session.take().map(BackgroundSession::umount_and_join);
    }
}

/// What the kernel asks. Inodes are numbered as in the directory.
struct Kept {
    root: PathBuf,
    size: u64,
    least_free: Arc<AtomicU64>,
    gate: Arc<RwLock<()>>,
    /// Where an inode was last seen.
    paths: Mutex<HashMap<INodeNo, PathBuf>>,
    files: Mutex<HashMap<FileHandle, Arc<File>>>,
}

impl Kept {
    fn path(&self, inode: INodeNo) -> PathBuf {
        drop(self.gate.read());
        self.paths.lock().unwrap()[&inode].clone()
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        self.path(parent).join(name)
    }

    fn found(&self, path: PathBuf) -> io::Result<FileAttr> {
        let attributes = attributes(&fs::symlink_metadata(&path)?);
        self.paths.lock().unwrap().insert(attributes.ino, path);
        Ok(attributes)
    }

    /// How many bytes are free.
    fn free(&self) -> u64 {
        let files = WalkDir::new(&self.root).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
        self.size.saturating_sub(files.map(|meta| meta.blocks() * 512).sum())
    }

    fn write(&self, handle: FileHandle, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.free() < bytes.len() as u64 {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let written = self.file(handle).write_at(bytes, offset)?;
        self.least_free.fetch_min(self.free(), Ordering::Relaxed);
        Ok(written)
    }

    fn file(&self, handle: FileHandle) -> Arc<File> {
        drop(self.gate.read());
        self.files.lock().unwrap()[&handle].clone()
    }

    fn opened(&self, file: File) -> FileHandle {
        let mut files = self.files.lock().unwrap();
        let handle = (0..).map(FileHandle).find(|handle| !files.contains_key(handle)).unwrap();
        files.insert(handle, Arc::new(file));
        handle
    }
}

fn attributes(meta: &Metadata) -> FileAttr {
    let changed = SystemTime::UNIX_EPOCH + Duration::new(meta.ctime() as u64, meta.ctime_nsec() as u32);
    FileAttr {
        ino: INodeNo(meta.ino()),
        size: meta.size(),
        blocks: meta.blocks(),
        atime: meta.accessed().unwrap(),
        mtime: meta.modified().unwrap(),
        ctime: changed,
        crtime: changed,
        kind: FileType::from_std(meta.file_type()).unwrap(),
        perm: (meta.mode() & 0o7777) as u16,
        nlink: meta.nlink() as u32,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Ends an operation: with the first expression, where the last one is `Ok`, or with its error.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $answer:expr) => {
        match $result {
            Ok($value) => $answer,
            Err(e) => $reply.error(Errno::from(io::Error::from(e))),
        }
    };
}

/// In which disks count.
const BLOCK: u64 = 4096;

const AT_ONCE: Duration = Duration::ZERO;

#[rustfmt::skip]
impl Filesystem for Kept {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.found(self.child(parent, name)), found => reply.entry(&AT_ONCE, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = fs::symlink_metadata(self.path(inode)).map(|meta| FileAttr { ino: inode, ..attributes(&meta) });
        answer!(reply, found, found => reply.attr(&AT_ONCE, &found));
    }

    fn setattr(
        &self, _: &Request, inode: INodeNo, mode: Option<u32>, _: Option<u32>, _: Option<u32>, size: Option<u64>,
        _: Option<TimeOrNow>, modified: Option<TimeOrNow>, _: Option<SystemTime>, _: Option<FileHandle>,
        _: Option<SystemTime>, _: Option<SystemTime>, _: Option<SystemTime>, _: Option<BsdFileFlags>, reply: ReplyAttr,
    ) {
        let path = self.path(inode);
        let set = || {
            if let Some(mode) = mode {
                fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                File::options().write(true).open(&path)?.set_len(size)?;
            }
            if let Some(modified) = modified {
                let time = match modified { TimeOrNow::SpecificTime(time) => time, TimeOrNow::Now => SystemTime::now() };
                File::open(&path)?.set_modified(time)?;
            }
            fs::symlink_metadata(&path)
        };
        answer!(reply, set(), meta => reply.attr(&AT_ONCE, &FileAttr { ino: inode, ..attributes(&meta) }));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let path = self.child(parent, name);
        let made = fs::DirBuilder::new().mode(mode).create(&path).and_then(|()| self.found(path));
        answer!(reply, made, made => reply.entry(&AT_ONCE, &made, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, fs::remove_file(self.child(parent, name)), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, fs::remove_dir(self.child(parent, name)), () => reply.ok());
    }

    fn rename(
        &self, _: &Request, parent: INodeNo, name: &OsStr, to: INodeNo, new: &OsStr, flags: RenameFlags, reply: ReplyEmpty,
    ) {
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        let renamed = renameat_with(CWD, self.child(parent, name), CWD, self.child(to, new), flags);
        answer!(reply, renamed, () => reply.ok());
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        let path = self.child(parent, name);
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(mode).open(&path);
        let made = file.and_then(|file| Ok((self.found(path)?, self.opened(file))));
        answer!(reply, made, (made, handle) =>
            reply.created(&AT_ONCE, &made, Generation(0), handle, FopenFlags::empty()));
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let file = File::options().read(true).write(true).open(self.path(inode));
        answer!(reply, file, file => reply.opened(self.opened(file), FopenFlags::empty()));
    }

    fn read(
        &self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, size: u32, _: OpenFlags, _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        answer!(reply, self.file(handle).read_at(&mut bytes, offset), length => reply.data(&bytes[..length]));
    }

    fn write(
        &self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, bytes: &[u8], _: WriteFlags, _: OpenFlags,
        _: Option<LockOwner>, reply: ReplyWrite,
    ) {
        answer!(reply, self.write(handle, bytes, offset), length => reply.written(length as u32));
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.file(handle).sync_all(), () => reply.ok());
    }

    fn release(
        &self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty,
    ) {
        self.files.lock().unwrap().remove(&handle);
        reply.ok();
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = fs::read_dir(self.path(inode)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        answer!(reply, listed, listed => {
            for (entry, next) in listed.iter().zip(1..).skip(offset as usize) {
                let kind = FileType::from_std(entry.file_type().unwrap()).unwrap();
                if reply.add(INodeNo(std::os::unix::fs::DirEntryExt::ino(entry)), next, kind, entry.file_name()) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, inode: INodeNo, reply: ReplyStatfs) {
        self.path(inode);
        let (blocks, free) = (self.size / BLOCK, self.free() / BLOCK);
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, BLOCK as u32, 255, BLOCK as u32);
    }
}
