//! Other users look into a mount that lets them in, and into no other; servers that export it find files by their handles.

use std::fs;
use std::process::{Command, Output};

use crate::kit::home::{Home, text};
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::remote::Remote;

/// The program, run by whoever runs the tests in the home of another user.
fn ours(home: &Home, args: &[&str]) -> Output {
    let mut command = Command::new(home.binary());
    reaper::mark(&mut command).env("XDG_CACHE_HOME", home.dir().join("cache-of-root")).env("HOME", home.dir());
    command.args(args).output().unwrap()
}

fn home() -> Home {
    let home = Home::of_nobody("[sources.docs]\ntype = \"local\"\npath = \"/usr/share/common-licenses\"\n");
    home.configure(&format!("[cache]\nmin_free = \"1MiB\"\n{}", fs::read_to_string(home.config()).unwrap()));
    home
}

#[test]
fn another_user_reads_where_allow_other_lets_it() {
    let home = home();
    let (config, place) = (text(home.config()), text(home.mountpoint()));
    let reads = || home.command("cat").arg(home.mountpoint().join("docs/BSD")).output().unwrap();
    for (options, may) in [("allow_other", true), ("allow_root", false), ("ro", false)] {
        let mounted = ours(&home, &["mount", "-q", "-o", options, "-c", &config, &place]);
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
        let read = reads();
        let status = home.kitovufs(["status", &place]);
        let gone = ours(&home, &["unmount", &place]);
        assert!(gone.status.success(), "{}", String::from_utf8_lossy(&gone.stderr));
        assert!(!status.status.success(), "the status is not for others");
        assert_eq!(read.status.success(), may, "{options}: {}", String::from_utf8_lossy(&read.stderr));
        if may {
            assert_eq!(read.stdout, fs::read("/usr/share/common-licenses/BSD").unwrap());
        }
    }
}

#[test]
fn a_user_whom_the_system_does_not_let_share_hears_what_to_write() {
    let home = home();
    let conf = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    assert!(!conf.lines().any(|line| line.trim() == "user_allow_other"), "this test needs the system's default");
    for setting in ["allow_other", "allow_root"] {
        home.configure(&format!("{setting} = true\n[sources.docs]\ntype = \"local\"\npath = \"/usr/share\"\n"));
        let (code, said) = home.refusal();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(setting) && said.contains("user_allow_other | sudo tee -a /etc/fuse.conf"), "{said}");
        let output = home.kitovufs(["check", "-c", &text(home.config())]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains("mount\n  FAILED  ") && said.contains(setting),
            "{said}"
        );
    }
}

/// Opens files by their handles, as an NFS server does, which finds no file by its name. `take PATH…` prints the handles of what is there;
/// `open MOUNT HANDLE…` prints what is in the files, or that a handle is stale.
const HANDLES: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_ubyte * 128)]
if sys.argv[1] == "take":
    for path in sys.argv[2:]:
        handle, mount = Handle(128), ctypes.c_int()
        if libc.name_to_handle_at(-100, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0):
            raise OSError(ctypes.get_errno(), path)
        print(f"{handle.type}:{bytes(handle.handle)[:handle.bytes].hex()}")
else:
    mount = os.open(sys.argv[2], os.O_RDONLY)
    for text in sys.argv[3:]:
        kind, told = text.split(":")
        told = bytes.fromhex(told)
        handle = Handle(len(told), int(kind), (ctypes.c_ubyte * 128)(*told))
        fd = libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY)
        if fd < 0:
            print("stale" if ctypes.get_errno() == 116 else os.strerror(ctypes.get_errno()))
        elif os.path.isdir(f"/proc/self/fd/{fd}"):
            print(" ".join(sorted(os.listdir(fd))), "in", os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), sys.argv[2]))
        else:
            print(os.read(fd, 100).decode())
"#;

#[test]
fn files_are_found_by_their_handles_by_another_daemon() {
    let remote = Remote::local();
    remote.put("dir/sub/file", "bytes");
    remote.put("dir/changes", "old");
    let mut mount = Mount::of(&remote.table("far"));
    let handles = |mount: &Mount, args: &[&str]| {
        let mut python = mount.home().command("python3");
        let output = python.args(["-c", HANDLES]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let paths = ["far/dir/sub/file", "far/dir/sub", "far/dir/changes", "far"].map(|path| text(mount.path(path)));
    let taken = handles(&mount, &["take", &paths[0], &paths[1], &paths[2], &paths[3]]);
    remote.put("dir/changes", "new bytes");
    mount.unmount();
    mount.remount();
    mount.sh("ls far/dir");
    let top = text(mount.home().mountpoint());
    let told = handles(&mount, &["open", &top, &taken[0], &taken[1], &taken[2], &taken[3]]);
    assert_eq!(told, ["bytes", "file in far/dir/sub", "stale", "dir in far"]);
}
