//! Opening below a directory and never outside it. It knows no policy, only the kernel's means.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
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

/// The same, component by component.
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
