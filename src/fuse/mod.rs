//! The kernel's side: decodes a request, calls `fs`, replies. It decides nothing but what the kernel may cache.
//!
//! A request that memory can answer is answered on the thread that brought it. Any other is handed to the async runtime with its
//! reply, so that a source that hangs holds up only the requests that need it; their callers can be interrupted.

mod directories;
mod errno;
mod interrupt;
mod panic;
mod passthrough;

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request,
};
use futures::FutureExt as _;
use futures::future::abortable;
use parking_lot::Mutex;
use scopeguard::{ScopeGuard, guard};
use tokio::runtime::Handle;
use tracing::debug;

use crate::error::{Error, ErrorKind};
use crate::fs::{Attributes, FileSystem, HandleId, Inode, Kind, Listed, xattr};
use crate::source::waits::on_behalf_of;
pub use directories::Directories;
use directories::Shown;
use errno::errno;
use interrupt::Interrupts;
use panic::{contained, contained_async};
use passthrough::Passthrough;

/// The most requests that the kernel keeps waiting in the background: readahead of a file whose source hangs must not use up the
/// places of others. The kernel's default is 12.
const BACKGROUND_REQUESTS: u16 = 1024;

/// Bytes in which `df` is told of room.
const STATFS_BLOCK: u32 = 4096;

/// Serves one mount.
pub struct Driver {
    inner: Arc<Inner>,
    runtime: Handle,
    interrupts: Interrupts,
}

struct Inner {
    fs: Arc<FileSystem>,
    passthrough: Arc<Passthrough>,
    directories: Arc<Directories>,
    owner: (u32, u32),
}

impl Driver {
    /// Serves `fs`; waiting happens on `runtime`. What has no owner of its own belongs to the user who mounts.
    ///
    /// # Errors
    /// There cannot be another thread.
    pub fn new(fs: Arc<FileSystem>, runtime: Handle) -> io::Result<Self> {
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let passthrough = Arc::new(Passthrough::new());
        let directories = Arc::default();
        let inner = Arc::new(Inner { fs, passthrough, directories, owner });
        Ok(Self { inner, runtime, interrupts: Interrupts::watch()? })
    }

    /// Tells whether the kernel reads whole copies itself: `on`, or `off: why`.
    pub fn describe_passthrough(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let passthrough = self.inner.passthrough.clone();
        move || passthrough.describe()
    }

    /// The listings that the kernel keeps.
    pub fn directories(&self) -> Arc<Directories> {
        self.inner.directories.clone()
    }

    /// Answers now if that needs no waiting, else on the runtime. `work` returns the closure that sends the reply.
    ///
    /// If the caller is interrupted meanwhile, the answer is EINTR, and `work`, or the closure that it returned, is dropped.
    fn answer<R, S>(
        &self,
        request: &Request,
        reply: R,
        refuse: fn(R, Errno),
        work: impl Future<Output = S> + Send + 'static,
    ) where
        R: Send + 'static,
        S: FnOnce(R) + 'static,
    {
        let _guard = self.runtime.enter();
        let mut work = Box::pin(on_behalf_of(request.pid(), contained_async(work)));
        if let Some(done) = (&mut work).now_or_never() {
            // Work that panicked has no answer; the reply is dropped.
            return done.map_or((), |send| contained(|| send(reply)));
        }
        let (work, abort) = abortable(work);
        let unsent = Arc::new(Mutex::new(Some(reply)));
        let refused = unsent.clone();
        let interrupted = move || {
            abort.abort();
            let reply = refused.lock().take();
            if let Some(reply) = reply {
                refuse(reply, Errno::EINTR);
            }
        };
        let entered = self.interrupts.enter(request.pid(), Box::new(interrupted));
        self.runtime.spawn(async move {
            let _entered = entered;
            let Ok(Some(send)) = work.await else { return };
            let reply = unsent.lock().take();
            if let Some(reply) = reply {
                contained(|| send(reply));
            }
        });
    }
}

impl Driver {
    /// Sends names of an open directory, of a new snapshot if it is read from its beginning again.
    #[allow(clippy::too_many_arguments, reason = "they are the kernel's")]
    fn current<R: Send + 'static>(
        &self,
        req: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: R,
        refuse: fn(R, Errno),
        send: impl FnOnce(&Inner, R) + Send + 'static,
    ) {
        let (inner, handle) = (self.inner.clone(), HandleId(handle.0));
        if offset > 0 || !inner.fs.begins_anew(handle) {
            return contained(|| send(&inner, reply));
        }
        self.answer(req, reply, refuse, async move {
            let rewound = inner.fs.rewind_dir(handle, Inode(inode.0)).await;
            inner.directories.rewound(Inode(inode.0), handle, inner.fs.listing(handle)).await;
            move |reply| match rewound {
                Ok(()) => send(&inner, reply),
                Err(error) => refuse(reply, told("rewinddir", &error)),
            }
        });
    }
}

impl Inner {
    fn read_dir(&self, inode: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        // Offsets 1 and 2 are behind `.` and `..`; name number n is behind offset n + 2.
        for (number, dots) in [(0, "."), (1, "..")] {
            if offset <= number && reply.add(inode, number + 1, FileType::Directory, dots) {
                return reply.ok();
            }
        }
        let first = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        let mut shown = Shown { first, next: first, with_attributes: false, is_end: true };
        let result = self.fs.read_dir(HandleId(handle.0), first, false, |number, listed| {
            let attributes = &listed.attributes;
            let (next, name) = (number as u64 + 3, OsStr::from_bytes(listed.name));
            let has_room = !reply.add(INodeNo(attributes.inode.0), next, file_type(attributes.kind), name);
            shown.adds(number, has_room, false)
        });
        self.directories.shows(Inode(inode.0), HandleId(handle.0), shown);
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(told("readdir", &error)),
        }
    }

    fn read_dir_plus(&self, inode: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let dots = self.attr(&bare(Inode(inode.0), Kind::Directory));
        for (number, name) in [(0, "."), (1, "..")] {
            if offset <= number && reply.add(inode, number + 1, name, &Duration::ZERO, &dots, Generation(0)) {
                return reply.ok();
            }
        }
        let first = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        let mut shown = Shown { first, next: first, with_attributes: true, is_end: true };
        let result = self.fs.read_dir(HandleId(handle.0), first, true, |number, listed: Listed<'_>| {
            let attr = self.attr(&listed.attributes);
            let name = OsStr::from_bytes(listed.name);
            let has_room = !reply.add(attr.ino, number as u64 + 3, name, &listed.valid_for, &attr, Generation(0));
            shown.adds(number, has_room, !listed.valid_for.is_zero())
        });
        self.directories.shows(Inode(inode.0), HandleId(handle.0), shown);
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(told("readdirplus", &error)),
        }
    }

    fn attr(&self, attributes: &Attributes) -> FileAttr {
        FileAttr {
            ino: INodeNo(attributes.inode.0),
            size: attributes.size,
            blocks: attributes.size.div_ceil(512),
            atime: attributes.modified,
            mtime: attributes.modified,
            ctime: attributes.modified,
            crtime: UNIX_EPOCH,
            kind: file_type(attributes.kind),
            perm: attributes.permissions,
            // One link: `find` must not conclude from the count how many directories are below.
            nlink: 1,
            uid: attributes.uid.unwrap_or(self.owner.0),
            gid: attributes.gid.unwrap_or(self.owner.1),
            rdev: 0,
            blksize: 128 * 1024,
            flags: 0,
        }
    }

    async fn lookup(self: Arc<Self>, parent: Inode, name: OsString) -> impl FnOnce(ReplyEntry) {
        let result = self.fs.lookup(parent, name.as_bytes()).await;
        let fs = self.fs.clone();
        // Of an answer that is not sent, the kernel has no reference to give back.
        let result = result.map(|lookup| {
            guard(lookup, move |lookup| {
                if let Some(found) = lookup.found {
                    fs.forget(found.inode, 1);
                }
            })
        });
        move |reply: ReplyEntry| match result.map(ScopeGuard::into_inner) {
            Ok(lookup) => match &lookup.found {
                Some(found) => {
                    reply.entry_with_ttls(&found.valid_for, &lookup.valid_for, &self.attr(found), Generation(0));
                }
                None if lookup.valid_for.is_zero() => reply.error(Errno::ENOENT),
                // Inode 0 tells the kernel to remember that there is nothing.
                None => reply.entry_with_ttls(&Duration::ZERO, &lookup.valid_for, &self.nothing(), Generation(0)),
            },
            Err(error) => reply.error(told("lookup", &error)),
        }
    }

    fn nothing(&self) -> FileAttr {
        self.attr(&bare(Inode(0), Kind::File))
    }

    async fn open(self: Arc<Self>, inode: Inode) -> impl FnOnce(ReplyOpen) {
        let result = match self.fs.open(inode).await {
            Ok(opened) => {
                let fs = self.fs.clone();
                // The kernel releases only handles that it was told of.
                let mut opened = guard(opened, move |opened| fs.release(opened.handle));
                if opened.proven_file.is_none() && self.passthrough.is_required(inode) {
                    // The kernel reads this inode's file itself, and the file was touched meanwhile: mend it first.
                    opened.proven_file = self.fs.reread(opened.handle).await;
                }
                Ok(opened)
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) {
                    // Directories that are open are to show it too.
                    self.directories.changed([]).await;
                }
                Err(error)
            }
        };
        move |reply: ReplyOpen| {
            let opened = match result {
                Ok(opened) => opened,
                Err(error) => return reply.error(told("open", &error)),
            };
            let mode = self.passthrough.opened(inode, opened.proven_file.as_ref(), |file| reply.open_backing(file));
            let handle = FileHandle(opened.handle.0);
            match mode {
                Ok(Some(backing)) => reply.opened_passthrough(handle, FopenFlags::empty(), &backing),
                Ok(None) if opened.live => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO),
                // A version never changes, so neither do the pages that the kernel has of it, if they are those of the version.
                Ok(None) if opened.keeps_pages => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
                Ok(None) => {
                    self.fs.drops_pages(opened.handle);
                    reply.opened(handle, FopenFlags::empty());
                }
                // The copy became whole between two opens. The kernel looks the name up and opens once more.
                Err(()) => return reply.error(Errno::ESTALE),
            }
            ScopeGuard::into_inner(opened);
        }
    }

    async fn xattr(&self, inode: Inode, name: &OsStr) -> Result<Option<Vec<u8>>, Error> {
        match name.to_str().and_then(|name| name.strip_prefix(xattr::PREFIX)) {
            Some(name) => self.fs.xattr(inode, name).await,
            None => Ok(None),
        }
    }
}

/// The errno for an error, which is logged as far as an application would not tell it.
fn told(op: &str, error: &Error) -> Errno {
    debug!("{op}: {error}");
    errno(error)
}

fn reply_attr(inner: &Inner, result: Result<Attributes, Error>, reply: ReplyAttr) {
    match result {
        Ok(attributes) => reply.attr(&attributes.valid_for, &inner.attr(&attributes)),
        Err(error) => reply.error(told("getattr", &error)),
    }
}

fn reply_xattr(value: &[u8], size: u32, reply: ReplyXattr) {
    match (u32::try_from(value.len()), size) {
        (Ok(length), 0) => reply.size(length),
        (Ok(length), size) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

/// Attributes that the kernel takes no more from than the number and the kind.
fn bare(inode: Inode, kind: Kind) -> Attributes {
    let (modified, valid_for) = (UNIX_EPOCH, Duration::ZERO);
    Attributes { inode, kind, permissions: 0, uid: None, gid: None, size: 0, modified, valid_for }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
    }
}

impl Filesystem for Driver {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_EXPORT_SUPPORT;
        // Asked one by one, since an unknown one would refuse them all.
        for flag in wanted.iter() {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_background(BACKGROUND_REQUESTS);
        if config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok() && config.set_max_stack_depth(1).is_ok() {
            self.inner.passthrough.offered();
        }
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inner = self.inner.clone();
        self.answer(req, reply, ReplyEntry::error, inner.lookup(Inode(parent.0), name.to_owned()));
    }

    fn forget(&self, _req: &Request, inode: INodeNo, lookups: u64) {
        contained(|| {
            self.inner.fs.forget(Inode(inode.0), lookups);
        });
    }

    fn getattr(&self, req: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let (inner, inode) = (self.inner.clone(), Inode(inode.0));
        contained(|| match inner.fs.attributes_unless_live(inode).transpose() {
            Some(known) => reply_attr(&inner, known, reply),
            None => self.answer(req, reply, ReplyAttr::error, async move {
                let result = inner.fs.attributes_now(inode).await;
                move |reply: ReplyAttr| reply_attr(&inner, result, reply)
            }),
        });
    }

    fn readlink(&self, _req: &Request, inode: INodeNo, reply: ReplyData) {
        contained(|| match self.inner.fs.read_link(Inode(inode.0)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(told("readlink", &error)),
        });
    }

    fn open(&self, req: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let inner = self.inner.clone();
        self.answer(req, reply, ReplyOpen::error, inner.open(Inode(inode.0)));
    }

    fn read(
        &self,
        req: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let fs = self.inner.fs.clone();
        let bytes = offset..offset.saturating_add(size.into());
        self.answer(req, reply, ReplyData::error, async move {
            let result = fs.read(HandleId(handle.0), bytes).await;
            move |reply: ReplyData| match result {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(told("read", &error)),
            }
        });
    }

    fn release(
        &self,
        _req: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _guard = self.runtime.enter();
        let (inner, handle) = (self.inner.clone(), HandleId(handle.0));
        contained(|| {
            inner.passthrough.released(Inode(inode.0));
            if inner.fs.release_at_once(handle) {
                return reply.ok();
            }
            // The file of a copy is deleted where nothing could be written to it, on a disk that may hang.
            self.runtime.spawn_blocking(move || {
                contained(|| {
                    inner.fs.release(handle);
                    reply.ok();
                });
            });
        });
    }

    fn flush(&self, _req: &Request, _inode: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        // Nothing is ever written. The kernel does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _req: &Request, _inode: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, _inode: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, req: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let (inner, inode) = (self.inner.clone(), Inode(inode.0));
        self.answer(req, reply, ReplyOpen::error, async move {
            let result = inner.fs.open_dir(inode).await;
            let fs = inner.fs.clone();
            let result = result.map(|handle| guard(handle, move |handle| fs.release_dir(handle)));
            move |reply: ReplyOpen| match result.map(ScopeGuard::into_inner) {
                Ok(handle) => {
                    let flags = inner.directories.opened(inode, handle, inner.fs.listing(handle));
                    if flags.contains(FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE) {
                        inner.fs.may_be_read(handle);
                    }
                    reply.opened(FileHandle(handle.0), flags);
                }
                Err(error) => reply.error(told("opendir", &error)),
            }
        });
    }

    fn readdir(&self, req: &Request, inode: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.current(req, inode, handle, offset, reply, ReplyDirectory::error, move |inner, reply| {
            inner.read_dir(inode, handle, offset, reply);
        });
    }

    fn readdirplus(&self, req: &Request, inode: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.current(req, inode, handle, offset, reply, ReplyDirectoryPlus::error, move |inner, reply| {
            inner.read_dir_plus(inode, handle, offset, reply);
        });
    }

    fn releasedir(&self, _req: &Request, inode: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        contained(|| {
            self.inner.directories.released(Inode(inode.0), HandleId(handle.0));
            self.inner.fs.release_dir(HandleId(handle.0));
            reply.ok();
        });
    }

    fn statfs(&self, _req: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        // The size of a remote is not known. What can be told is the cache: its limit, and how much of that is taken.
        let cache = self.inner.fs.cache();
        let blocks = |bytes: u64| bytes.div_ceil(u64::from(STATFS_BLOCK));
        let (all, taken) = (blocks(cache.limits().max_size), blocks(cache.bytes()));
        let free = all.saturating_sub(taken);
        reply.statfs(all, free, free, 0, 0, STATFS_BLOCK, crate::name::NAME_MAX as u32, STATFS_BLOCK);
    }

    fn getxattr(&self, req: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.answer(req, reply, ReplyXattr::error, async move {
            let result = inner.xattr(Inode(inode.0), &name).await;
            move |reply: ReplyXattr| match result {
                Ok(Some(value)) => reply_xattr(&value, size, reply),
                Ok(None) => reply.error(Errno::from_i32(libc::ENODATA)),
                Err(error) => reply.error(told("getxattr", &error)),
            }
        });
    }

    /// No attribute is listed, so that none travels: what `cp -a` copied would go on saying "cached". They are read by name.
    fn listxattr(&self, _: &Request, _: INodeNo, size: u32, reply: ReplyXattr) {
        reply_xattr(&[], size, reply);
    }
}
