//! Opening below a directory and never outside it. It knows no policy, only the kernel's means.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::path::RemotePath;

/// Opens `path` below `root` without following any symbolic link: `ELOOP` where one stands in the way.
pub(super) fn open(root: &OwnedFd, path: &RemotePath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let name = if path.is_root() { b".".as_slice() } else { path.as_bytes() };
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    loop {
        match openat2(root, OsStr::from_bytes(name), flags, Mode::empty(), resolve) {
            // The kernel could not rule out a rename under way; it says so rather than guess.
            Err(Errno::AGAIN) => {}
            // An old kernel, or a sandbox that knows only older calls.
            Err(Errno::NOSYS | Errno::PERM) => return walk(root, path, flags),
            result => return result,
        }
    }
}

/// The same, component by component.
fn walk(root: &OwnedFd, path: &RemotePath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut components = path.components().peekable();
    let mut dir = openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if components.peek().is_none() {
        return openat(root, ".", flags, Mode::empty());
    }
    while let Some(component) = components.next() {
        let last = components.peek().is_none();
        let wanted = if last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        dir = openat(&dir, OsStr::from_bytes(component), wanted | OFlags::NOFOLLOW, Mode::empty())?;
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
        for (path, found) in [("", true), ("a/b/c", true), ("link/b/c", false), ("a/x", false)] {
            let path = RemotePath::parse(path.as_bytes()).expect("a plain path");
            assert_eq!(open(&root, &path, OFlags::RDONLY).is_ok(), found, "{path}");
            assert_eq!(walk(&root, &path, OFlags::RDONLY | OFlags::CLOEXEC).is_ok(), found, "{path}");
        }
    }
}
