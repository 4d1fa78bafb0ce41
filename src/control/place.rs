//! Where the sockets of a user's mounts are: a directory that only this user may enter. It sends nothing.
//!
//! A socket has the name of its mount: the number of its FUSE connection, which no other mount of this machine has while it lives, and
//! which `/proc/self/mountinfo` tells. So two mounts never have one socket, and a client finds it without asking the mount.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use rustix::fs::{AtFlags, Mode, OFlags, chmodat, fstat, open, readlinkat, statat, symlinkat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// The permission bits of others than the owner.
const OF_OTHERS: u32 = 0o077;

/// The directories in which a socket may be, the best first: one may have been mounted where there is no `XDG_RUNTIME_DIR`, as at boot.
fn directories() -> Vec<PathBuf> {
    let state = etcetera::choose_base_strategy().ok().and_then(|dirs| dirs.state_dir());
    chosen(env::var_os("XDG_RUNTIME_DIR"), geteuid().as_raw(), state)
}

fn chosen(runtime: Option<OsString>, user: u32, state: Option<PathBuf>) -> Vec<PathBuf> {
    let system = if user == 0 { "/run".into() } else { format!("/run/user/{user}").into() };
    let runtime = runtime.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let short_lived = runtime.into_iter().chain([system]).map(|dir| dir.join("kitovufs"));
    let mut all: Vec<_> = short_lived.filter(|dir| dir.parent().is_some_and(Path::is_dir)).collect();
    all.extend(state.map(|dir| dir.join("kitovufs").join("run")));
    all
}

/// Opens a directory for sockets.
///
/// # Errors
/// It is not there, or not this user's alone.
fn enter(dir: &Path) -> io::Result<OwnedFd> {
    let dir = open(dir, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&dir)?;
    if stat.st_uid != geteuid().as_raw() || stat.st_mode & OF_OTHERS != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may enter it, or it is not yours"));
    }
    Ok(dir)
}

fn name(mount: u32) -> String {
    format!("{mount}.sock")
}

/// The address of a socket in an open directory: short enough wherever the directory is (unix(7): 107 bytes at most).
fn address(dir: &OwnedFd, mount: u32) -> String {
    format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), name(mount))
}

/// A socket that is there as long as this.
#[derive(Debug)]
pub struct Socket {
    dir: OwnedFd,
    mount: u32,
    made: Made,
    /// Links to it in other directories.
    links: Vec<(Made, OwnedFd)>,
}

/// Tells a socket from a later one, which may have its inode: number, and time of the last change.
type Made = (u64, i64, u64);

fn made(dir: &OwnedFd, mount: u32) -> io::Result<Made> {
    let stat = statat(dir, name(mount), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_ino, stat.st_ctime, stat.st_ctime_nsec))
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Not that of a later mount, which has the number anew.
        let links = self.links.iter().map(|(made, dir)| (made, dir));
        for (known, dir) in links.chain([(&self.made, &self.dir)]) {
            if made(dir, self.mount).is_ok_and(|found| found == *known) {
                let _ = remove(dir, self.mount);
            }
        }
    }
}

/// Makes the socket of a mount, in place of one that a killed daemon has left, and links to it in the other directories: a command may run
/// where there is another `XDG_RUNTIME_DIR` or none, as under cron.
///
/// # Errors
/// No directory is fit for it.
pub fn listen(mount: u32) -> io::Result<(UnixListener, Socket)> {
    listen_among(&directories(), mount)
}

fn listen_among(dirs: &[PathBuf], mount: u32) -> io::Result<(UnixListener, Socket)> {
    let made = |dir: &Path| {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        enter(dir)
    };
    let (at, (listener, mut socket)) = first(dirs, |dir| Ok((dir.to_owned(), listen_in(made(dir)?, mount)?)))?;
    // Without a link, the others are found by who has the same environment.
    let links = dirs.iter().filter(|dir| **dir != at).filter_map(|dir| {
        let dir = made(dir).ok()?;
        remove(&dir, mount).ok()?;
        symlinkat(at.join(name(mount)), &dir, name(mount)).ok()?;
        Some((self::made(&dir, mount).ok()?, dir))
    });
    socket.links = links.collect();
    Ok((listener, socket))
}

fn remove(dir: &OwnedFd, mount: u32) -> io::Result<()> {
    match unlinkat(dir, name(mount), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn listen_in(dir: OwnedFd, mount: u32) -> io::Result<(UnixListener, Socket)> {
    remove(&dir, mount)?;
    let listener = UnixListener::bind(address(&dir, mount))?;
    chmodat(&dir, name(mount), Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
    listener.set_nonblocking(true)?;
    let made = made(&dir, mount)?;
    Ok((listener, Socket { dir, mount, made, links: Vec::new() }))
}

/// Connects to the socket of a mount.
///
/// # Errors
/// `NotFound`: there is none. `ConnectionRefused`: its daemon is gone.
pub fn connect(mount: u32) -> io::Result<UnixStream> {
    connect_among(&directories(), mount)
}

fn connect_among(dirs: &[PathBuf], mount: u32) -> io::Result<UnixStream> {
    first(dirs, |dir| {
        let dir = enter(dir)?;
        let dir = linked(&dir, mount).map_or(Ok(dir), |other| enter(&other))?;
        UnixStream::connect(address(&dir, mount))
    })
}

/// The directory to which a link in place of the socket leads. What a killed daemon has linked to may be another user's by now.
fn linked(dir: &OwnedFd, mount: u32) -> Option<PathBuf> {
    let target = readlinkat(dir, name(mount), Vec::new()).ok()?;
    Path::new(OsStr::from_bytes(target.as_bytes())).parent().map(Path::to_owned)
}

/// Removes the socket that the killed daemon of a mount has left.
pub fn forget(mount: u32) {
    for dir in directories() {
        // Where it cannot be removed, the next mount with this number replaces it.
        let _ = enter(&dir).and_then(|dir| remove(&dir, mount));
    }
}

/// The first that succeeds; else the first error that says more than that nothing is there; else one that names all these directories.
fn first<T>(dirs: &[PathBuf], attempt: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let looked: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let nowhere = format!("there is none in {}", looked.join(", "));
    let mut failure = io::Error::new(io::ErrorKind::NotFound, nowhere);
    for dir in dirs {
        match attempt(dir) {
            Ok(done) => return Ok(done),
            Err(e) if failure.kind() == io::ErrorKind::NotFound && e.kind() != io::ErrorKind::NotFound => {
                failure = io::Error::new(e.kind(), format!("{}: {e}", dir.display()));
            }
            Err(_) => {}
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn private() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("it is ours");
        let entered = enter(dir.path()).expect("it is ours alone");
        (dir, entered)
    }

    #[test]
    fn the_runtime_directory_comes_first_and_without_one_the_state_directory_is_left() {
        let (runtime, state) = (tempfile::tempdir().expect("a directory"), PathBuf::from("/home/anna/.local/state"));
        // A user whom no machine has.
        let of = |runtime: &str| chosen(Some(runtime.into()), u32::MAX - 1, Some(state.clone()));
        let last = state.join("kitovufs/run");
        let path = runtime.path().to_str().expect("a UTF-8 path");
        for nowhere in ["", "relative", "/nonexistent/run"] {
            assert_eq!(of(nowhere), std::slice::from_ref(&last), "{nowhere}");
        }
        assert_eq!(of(path), [runtime.path().join("kitovufs"), last]);
        assert_eq!(chosen(None, 0, None), [PathBuf::from("/run/kitovufs")]);
    }

    #[test]
    fn a_socket_is_found_where_there_is_another_runtime_directory_or_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let [runtime, other, state] = ["runtime", "other", "state"].map(|name| dir.path().join(name));
        let (listener, socket) = listen_among(&[runtime.clone(), state.clone()], 7).expect("it can be made");
        for dirs in
            [&[runtime.clone(), state.clone()][..], &[other.clone(), state.clone()], std::slice::from_ref(&state)]
        {
            connect_among(dirs, 7).expect("it is found");
        }
        let why = connect_among(&[other.clone(), runtime.clone()], 8).expect_err("there is none").to_string();
        assert!(why.contains(other.to_str().expect("text")) && why.contains(runtime.to_str().expect("text")), "{why}");
        drop(listener);
        let refused = connect_among(&[other, state.clone()], 7).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drop(socket);
        assert!([runtime, state].iter().all(|dir| dir.read_dir().expect("it is there").next().is_none()));
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let (dir, _) = private();
        for mode in [0o777, 0o755, 0o710] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).expect("it is ours");
            let refused = enter(dir.path()).expect_err("others may enter it").kind();
            assert_eq!(refused, io::ErrorKind::PermissionDenied, "{mode:o}");
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("it is ours");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("it can be made");
        enter(&link).expect_err("a link may lead elsewhere tomorrow");
    }

    #[test]
    fn a_link_to_a_directory_that_others_may_enter_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let [runtime, state] = ["runtime", "state"].map(|name| dir.path().join(name));
        let (_listener, _socket) = listen_among(&[runtime.clone(), state.clone()], 7).expect("it can be made");
        connect_among(std::slice::from_ref(&state), 7).expect("it is found over the link");
        // As if another user had made it anew, and had put a socket there.
        fs::set_permissions(&runtime, Permissions::from_mode(0o755)).expect("it is ours");
        let refused = connect_among(&[state], 7).expect_err("others may have made the socket").kind();
        assert_eq!(refused, io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_gone_at_the_end() {
        let (dir, entered) = private();
        let (_listener, socket) = listen_in(entered, 7).expect("it can be made");
        let path = dir.path().join("7.sock");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_daemon_left_refuses_and_is_replaced() {
        let (dir, entered) = private();
        let again = || enter(dir.path()).expect("it is ours alone");
        let (listener, left) = listen_in(entered, 7).expect("it can be made");
        drop(listener);
        let refused = UnixStream::connect(address(&again(), 7)).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (_listener, _socket) = listen_in(again(), 7).expect("it is replaced");
        drop(left);
        UnixStream::connect(address(&again(), 7)).expect("the later one stays");
    }
}
