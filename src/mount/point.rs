//! Mount points: finding mounts, preparing a folder, unmounting. It knows no sources.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{geteuid, getuid};
use tracing::warn;

use super::ask::{Answer, Asked};
use crate::allocator::without_arena_limit;
use crate::config::Access;
use crate::control;
use crate::error::{Error, ErrorKind, Result};

/// The source of our mounts as `/proc/self/mountinfo` shows it.
pub const FS_NAME: &str = "kitovufs";

/// The file system that controls FUSE (`Documentation/filesystems/fuse.rst` of Linux).
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// The bit of a file's mode by which its owner runs it, whoever starts it (inode(7)).
const SETUID: u32 = 0o4000;

/// For how long at most somebody who only looks at a mount keeps it.
const LOOKING: Duration = Duration::from_secs(1);

/// Where `fusermount3` is looked for besides the directories in PATH, which may be few under cron and supervisors; fuser looks there too.
const BESIDES_PATH: [&str; 2] = ["/bin", "/sbin"];

/// The most links that the kernel follows in a path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// One line of `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The mount point.
    pub path: PathBuf,
    /// The file system type, such as `fuse.kitovufs`.
    pub fs_type: String,
    /// The mounted source, such as [`FS_NAME`].
    pub source: String,
    /// Of a FUSE file system, the user who mounted it.
    pub user: Option<u32>,
    /// Of a FUSE file system, the number of the connection to its process.
    pub connection: Option<u32>,
}

impl Mounted {
    /// Whether it is a FUSE file system, which may be served by any program.
    pub fn is_fuse(&self) -> bool {
        self.fs_type == "fuse" || self.fs_type.starts_with("fuse.")
    }

    /// Whether this program serves it, for whomever.
    pub fn is_kitovufs(&self) -> bool {
        self.is_fuse() && self.source == FS_NAME
    }

    /// Whether this program serves it for the user who runs this process.
    pub fn is_ours(&self) -> bool {
        self.is_kitovufs() && self.user == Some(getuid().as_raw())
    }
}

/// Everything mounted in this process's view; the topmost of several mounts at one place comes last.
pub fn mounted() -> Vec<Mounted> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    table.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

/// The topmost mount exactly at `path`, which is absolute. It asks no FUSE file system for anything: that may be dead, or a stranger's.
pub fn mounted_at(path: &Path) -> Option<Mounted> {
    let mounted = mounted();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let topmost = |path: &Path| mounted.iter().rev().find(|mounted| mounted.path == path).cloned();
        if let Some(found) = topmost(&path) {
            return Some(found);
        }
        if mounted.iter().any(|mounted| mounted.is_fuse() && path.starts_with(&mounted.path)) {
            return None;
        }
        // Not of the whole path: that asks the file system at `path`.
        let parent = path.parent()?.canonicalize().ok()?;
        let resolved = parent.join(path.file_name()?);
        // A mount point is no link, and the kernel knows that without asking.
        match std::fs::read_link(&resolved) {
            Ok(target) => path = parent.join(target),
            Err(_) => return topmost(&resolved),
        }
    }
    None
}

fn parse_line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let text = |field: Option<&&[u8]>| Some(String::from_utf8_lossy(field?).into_owned());
    let device = text(fields.get(2))?;
    Some(Mounted {
        connection: device.split_once(':').and_then(|(_, minor)| minor.parse().ok()),
        path: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        fs_type: text(fields.get(separator + 1))?,
        source: text(fields.get(separator + 2))?,
        user: text(fields.get(separator + 3))
            .and_then(|options| options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok())),
    })
}

/// Blanks and the like are written `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let byte =
            escaped.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Makes `path` fit to be mounted on: creates it, or unmounts the remains of a killed daemon.
///
/// # Errors
/// If something is mounted there, it holds files, or it is no folder; each message says what to do.
pub fn prepare(path: &Path) -> Result<()> {
    let refused = |why: String| Err(Error::new("mount", ErrorKind::Other).on(path.display()).because(why));
    let failed = |e: std::io::Error| Error::new("mount", ErrorKind::Other).on(path.display()).caused_by(e);
    if let Some(mounted) = mounted_at(path).filter(Mounted::is_fuse) {
        if !mounted.is_ours() {
            return refused(format!("is in use: {}", described(&mounted)));
        }
        match Asked::of(&mounted.path)?.answer() {
            Answer::Dead => {
                warn!("{}: a mount whose process is gone is taken away", path.display());
                take_away_dead(&mounted)?;
                return prepare(path);
            }
            Answer::Silent => {
                let how = format!("kitovufs unmount {} takes that away", path.display());
                return refused(format!("is mounted already, by a process that does not answer; {how}"));
            }
            Answer::Alive | Answer::Failed(_) => {
                return refused(format!("is mounted already; kitovufs unmount {} takes that away", path.display()));
            }
        }
    }
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return std::fs::create_dir(path).map_err(failed),
        Err(e) => return Err(failed(e)),
        Ok(meta) if !meta.is_dir() => return refused("is not a folder; name an empty one".into()),
        Ok(_) => {}
    }
    if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
        return refused("is not empty, and mounting would hide what is in it; name an empty folder".into());
    }
    Ok(())
}

/// Says of a mount that is none of ours whose it is.
pub fn described(mounted: &Mounted) -> String {
    let what = if mounted.is_kitovufs() { "a kitovufs mount" } else { "another file system" };
    match mounted.user {
        Some(user) => format!("{what} ({}) of the user with the id {user} is there", mounted.fs_type),
        None => format!("{what} ({}) is there", mounted.fs_type),
    }
}

/// Unmounts the remains of a failed attempt to mount at `path`, if there are any.
pub fn clear(path: &Path) {
    let left = mounted_at(path).filter(Mounted::is_ours);
    let is_dead = |mounted: &Mounted| Asked::of(&mounted.path).is_ok_and(|asked| asked.answer() == Answer::Dead);
    if left.as_ref().is_some_and(is_dead)
        && let Some(Err(e)) = left.map(|mounted| take_away_dead(&mounted))
    {
        warn!("{e}");
    }
}

/// Unmounts a mount whose process is gone, and removes the socket that this has left. Programs that wait there wait for nothing, and do not
/// keep it.
pub fn take_away_dead(mounted: &Mounted) -> Result<()> {
    take_away(&mounted.path, true)?;
    mounted.connection.into_iter().for_each(control::forget);
    Ok(())
}

/// Unmounts `path`; `lazily` also while something is open there.
pub fn take_away(path: &Path, lazily: bool) -> Result<()> {
    if try_to_take_away(path, lazily)? {
        return Ok(());
    }
    let who = format!("fuser -vm {} tells", path.display());
    let why = format!("in use; close what is open there ({who}), or fusermount3 -uz it");
    Err(Error::new("unmount", ErrorKind::Other).on(path.display()).because(why))
}

/// Unmounts `path`, and waits for those who only look: desktops look at each new mount, and this program's own commands at all of them.
pub fn take_away_after_lookers(path: &Path) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < LOOKING {
        if try_to_take_away(path, false)? {
            return Ok(());
        }
        std::thread::sleep(LOOKING / 50);
    }
    take_away(path, false)
}

/// Unmounts `path`, unless it is in use.
fn try_to_take_away(path: &Path, lazily: bool) -> Result<bool> {
    let failed = || Error::new("unmount", ErrorKind::Other).on(path.display());
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount(path, flags) {
        Ok(()) => return Ok(true),
        // Only root may; other users go through the setuid fusermount3.
        Err(rustix::io::Errno::PERM) => {}
        Err(rustix::io::Errno::BUSY) => return Ok(false),
        Err(e) => return Err(failed().caused_by(std::io::Error::from(e))),
    }
    let mut command = Command::new(helper()?);
    command.arg("-u").args(lazily.then_some("-z")).arg("--").arg(path);
    let output = without_arena_limit(&mut command)
        .output()
        .map_err(|e| failed().because("cannot run fusermount3").caused_by(e))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(true),
        false if said.contains("busy") => Ok(false),
        false => Err(failed().because(said.trim())),
    }
}

/// Takes away our mount at `path`, whose process does not answer, and ends every request that waits for it.
///
/// A process that waits for an answer to a request that the daemon has read cannot be killed before the answer comes. Root can make
/// the kernel fail such requests with the unmount; other users do so through the file system that controls FUSE, which most systems
/// mount. Without that, those processes wait until the daemon ends.
pub fn break_off(path: &Path) -> Result<()> {
    if unmount(path, UnmountFlags::DETACH | UnmountFlags::FORCE).is_ok() {
        return Ok(());
    }
    if let Some(connection) = mounted_at(path).and_then(|mounted| mounted.connection) {
        // An error says that it is not mounted.
        let _ = std::fs::write(format!("{CONNECTIONS}/{connection}/abort"), "1");
    }
    take_away(path, true)
}

/// Whether this process can mount at all.
///
/// # Errors
/// If `/dev/fuse` or `fusermount3` is missing; says what to install.
pub fn check_prerequisites() -> Result<()> {
    check_device()?;
    if geteuid().is_root() { Ok(()) } else { helper().map(drop) }
}

/// Whether this process may open `/dev/fuse`.
///
/// # Errors
/// It is missing, or closed to this user; says what to do.
pub fn check_device() -> Result<()> {
    if !Path::new("/dev/fuse").exists() {
        return Err(Error::new("mount", ErrorKind::Unsupported).because(
            "/dev/fuse is missing: load the kernel module with `modprobe fuse` as root; \
             a container needs `--device /dev/fuse --cap-add SYS_ADMIN`",
        ));
    }
    match std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::new("mount", ErrorKind::Unsupported).on("/dev/fuse").caused_by(e).because(
            "this user may not open it, as every user may by default; as root: chmod 666 /dev/fuse, or add the user to its group",
        )),
    }
}

/// That the kernel, or `fusermount3`, refused to mount there. A root who may not mount is one of a container.
pub fn refused(mountpoint: &Path, is_root: bool, e: io::Error) -> Error {
    let refused = Error::new("mount", ErrorKind::Other).on(mountpoint.display());
    let is_forbidden = e.kind() == io::ErrorKind::PermissionDenied || e.to_string().contains("Operation not permitted");
    let refused = if is_root && is_forbidden {
        refused.because("this root may not mount; a container needs `--device /dev/fuse --cap-add SYS_ADMIN`")
    } else {
        refused
    };
    refused.caused_by(e)
}

/// Whether `fusermount3` is there and may mount for this user; says so.
///
/// # Errors
/// It is missing, or is not root's program for everybody; says what to do. Root mounts without it.
pub fn check_helper() -> Result<String> {
    if geteuid().is_root() {
        return Ok("root mounts without fusermount3".into());
    }
    let helper = helper()?;
    let failed = || Error::new("mount", ErrorKind::Unsupported).on(helper.display());
    let metadata = helper.metadata().map_err(|e| failed().caused_by(e))?;
    if metadata.uid() == 0 && metadata.mode() & SETUID != 0 {
        return Ok(format!("{} mounts for every user (setuid root)", helper.display()));
    }
    let how = format!("as root: chown root {0} && chmod 4755 {0}", helper.display());
    Err(failed().because(format!("it is not setuid root, so that only root may mount; {how}")))
}

/// Where `fusermount3` is.
fn helper() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    helper_in(dirs.chain(BESIDES_PATH.map(PathBuf::from)))
}

fn helper_in(mut dirs: impl Iterator<Item = PathBuf>) -> Result<PathBuf> {
    dirs.find_map(|dir| Some(dir.join("fusermount3")).filter(|program| program.is_file())).ok_or_else(|| {
        let why = "fusermount3 is missing: install it, on Debian and Ubuntu with `apt install fuse3`";
        Error::new("mount", ErrorKind::Unsupported).because(why)
    })
}

/// The setting of FUSE for the whole system.
const FUSE_CONF: &str = "/etc/fuse.conf";

/// Whether this user may mount a folder into which others may look: root may, others only if the system says so.
///
/// # Errors
/// The system does not; says what to write.
pub fn check_access(access: Access) -> Result<()> {
    let option = match access {
        Access::Owner => return Ok(()),
        Access::Root => "allow_root",
        Access::Everyone => "allow_other",
    };
    let conf = std::fs::read_to_string(FUSE_CONF).unwrap_or_default();
    if geteuid().is_root() || lets_others_in(&conf) {
        return Ok(());
    }
    let why = format!(
        "`{option}` needs a line `user_allow_other` in {FUSE_CONF}, which root writes: echo user_allow_other | sudo tee -a {FUSE_CONF}"
    );
    Err(Error::new("mount", ErrorKind::PermissionDenied).because(why))
}

fn lets_others_in(conf: &str) -> bool {
    conf.lines().any(|line| line.trim() == "user_allow_other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_helper_is_told_with_what_brings_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let dirs = || [dir.path().join("nowhere"), dir.path().into()].into_iter();
        let told = helper_in(dirs()).expect_err("there is none").to_string();
        assert!(told.contains("apt install fuse3"), "{told}");
        let helper = dir.path().join("fusermount3");
        std::fs::write(&helper, "").expect("a file");
        assert_eq!(helper_in(dirs()).expect("it is there"), helper);
    }

    #[test]
    fn a_root_who_may_not_mount_is_told_what_a_container_needs() {
        let told = |is_root, e| refused(Path::new("/mnt"), is_root, e).to_string();
        let by_helper = || io::Error::other("fusermount3: mount failed: Operation not permitted\n");
        let needed = "--device /dev/fuse --cap-add SYS_ADMIN";
        assert!(told(true, by_helper()).contains(needed));
        assert!(told(true, io::ErrorKind::PermissionDenied.into()).contains(needed));
        assert!(!told(false, by_helper()).contains(needed));
        assert!(!told(true, io::ErrorKind::NotFound.into()).contains(needed));
    }

    #[test]
    fn mountinfo_lines_are_understood() {
        let line = b"36 35 98:0 / /mnt/a\\040b\\134c rw,noatime shared:1 - fuse.kitovufs kitovufs ro,user_id=0";
        let mounted = parse_line(line).expect("a line of the manual's form");
        assert_eq!(mounted.path, Path::new("/mnt/a b\\c"));
        assert!(mounted.is_kitovufs());
        assert_eq!((mounted.user, mounted.connection), (Some(0), Some(0)));
        let other = parse_line(b"22 1 0:5 / /proc rw - proc proc rw").expect("no optional fields");
        assert!(!other.is_kitovufs() && !other.is_fuse());
        assert_eq!(parse_line(b""), None);
    }

    #[test]
    fn others_are_let_in_where_the_line_is_no_comment() {
        assert!(lets_others_in("# x\nuser_allow_other\n"));
        assert!(!lets_others_in("#user_allow_other\nmount_max = 10\n") && !lets_others_in(""));
    }

    #[test]
    fn a_mount_of_another_user_is_none_of_ours() {
        let of = |user: &str| {
            let line =
                format!("36 35 0:98 / /mnt rw - fuse.kitovufs kitovufs ro,user_id={user},group_id=7,allow_other");
            parse_line(line.as_bytes()).expect("a line of the manual's form")
        };
        let me = getuid().as_raw();
        assert!(of(&me.to_string()).is_ours());
        let stranger = of(&(me + 1).to_string());
        assert!(stranger.is_kitovufs() && !stranger.is_ours());
        assert!(described(&stranger).contains(&format!("the id {}", me + 1)), "{}", described(&stranger));
        assert!(!of("").is_ours());
    }

    #[test]
    fn a_folder_with_files_or_a_file_is_refused_and_a_missing_one_created() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let new = dir.path().join("new");
        prepare(&new).expect("it is created");
        prepare(&new).expect("it is empty");
        std::fs::write(new.join("file"), b"").expect("written");
        assert!(prepare(&new).expect_err("not empty").to_string().contains("not empty"));
        assert!(prepare(&new.join("file")).expect_err("no folder").to_string().contains("not a folder"));
    }
}
