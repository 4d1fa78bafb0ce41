//! Opening below a directory and never outside it. It knows no policy, only the kernel's means.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, statx};
use rustix::io::Errno;

/// Opens `path` (relative; empty for the directory itself) below `root` without following any symbolic link: `ELOOP` where one stands
/// in the way. `mode` is of a file that this creates.
pub fn open(root: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let name = if path.is_empty() { b".".as_slice() } else { path };
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    loop {
        match openat2(root.as_fd(), OsStr::from_bytes(name), flags, mode, resolve) {
            // The kernel could not rule out a rename under way; it says so rather than guess.
            Err(Errno::AGAIN) => {}
            // An old kernel, or a sandbox that knows only older calls.
            Err(Errno::NOSYS | Errno::PERM) => return walk(root, path, flags, mode),
            result => return result,
        }
    }
}

/// The same of something that is there, as far as the kernel can tell from its memory: `EAGAIN` where a disk would have to be asked, and
/// from kernels before 5.12 always.
pub fn open_remembered(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS | ResolveFlags::CACHED;
    match openat2(root.as_fd(), OsStr::from_bytes(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Err(Errno::AGAIN),
        result => result,
    }
}

/// The length of the file at this path, as far as the kernel can tell from its memory.
pub fn remembered_length(path: &Path) -> Option<u64> {
    let file = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(&file, "", flags, StatxFlags::SIZE).ok().map(|stat| stat.stx_size)
}

/// Opens like [`open`], component by component.
fn walk(root: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let mut components = path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()).peekable();
    if components.peek().is_none() {
        return openat(root, ".", flags, mode);
    }
    let mut dir = openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    while let Some(component) = components.next() {
        if component == b".." {
            return Err(Errno::XDEV);
        }
        let last = components.peek().is_none();
        let wanted = if last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        dir = openat(&dir, OsStr::from_bytes(component), wanted | OFlags::NOFOLLOW, mode)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_written_is_remembered() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, root) =
            (dir.path().join("a"), OwnedFd::from(std::fs::File::open(dir.path()).expect("the directory")));
        std::fs::write(&path, "abc").expect("a file");
        let remembered = |name: &[u8]| open_remembered(&root, name, OFlags::RDONLY).map(drop);
        // A sandbox, or a file system without a memory of names, may know nothing; never something else.
        assert!(matches!(remembered_length(&path), Some(3) | None));
        assert!(matches!(remembered(b"a"), Ok(()) | Err(Errno::AGAIN)));
        assert_eq!(remembered_length(&dir.path().join("b")), None);
        assert!(remembered(b"b").is_err() && remembered(b"../a").is_err());
    }

    #[test]
    fn the_walk_finds_what_openat2_finds_and_follows_no_link() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("a directory");
        std::fs::write(dir.path().join("a/b/c"), "x").expect("a file");
        std::os::unix::fs::symlink("a", dir.path().join("link")).expect("a link");
        let root: OwnedFd = std::fs::File::open(dir.path()).expect("the directory").into();
        for (path, found) in [("", true), ("a/b/c", true), ("link/b/c", false), ("a/x", false), ("../a", false)] {
            let path = path.as_bytes();
            assert_eq!(open(&root, path, OFlags::RDONLY, Mode::empty()).is_ok(), found, "{path:?}");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            assert_eq!(walk(&root, path, flags, Mode::empty()).is_ok(), found, "{path:?}");
        }
    }
}
