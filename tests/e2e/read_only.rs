//! Whoever tries to change something gets EROFS, and nothing is changed.

use std::fs::{self, File, Permissions};
use std::io::Result;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::time::SystemTime;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, removexattr, setxattr};
use rustix::io::Errno;

use crate::kit::mount::Mount;
use crate::remote::Remote;

#[test]
fn every_change_is_refused() {
    let remote = Remote::local();
    remote.put("dir/file", "bytes");
    remote.put("other", "bytes");
    let mount = Mount::of(&remote.table("near"));
    let (root, top) = (mount.path(""), mount.path("near"));
    let (dir, file, new) = (top.join("dir"), top.join("dir/file"), top.join("dir/new"));
    let touched = || File::open(&file)?.set_modified(SystemTime::now());

    let changes: [(&str, Result<()>); 24] = [
        ("create", File::create_new(&new).map(drop)),
        ("create at the root", File::create_new(root.join("new")).map(drop)),
        ("open to write", File::options().write(true).open(&file).map(drop)),
        ("open to append", File::options().append(true).open(&file).map(drop)),
        ("open to truncate", File::create(&file).map(drop)),
        ("truncate", truncate(&file)),
        ("touch", touched()),
        ("mkdir", fs::create_dir(&new)),
        ("mkdir at the root", fs::create_dir(root.join("new"))),
        ("rmdir", fs::remove_dir(&dir)),
        ("rmdir a source", fs::remove_dir(&top)),
        ("unlink", fs::remove_file(&file)),
        ("rename", fs::rename(&file, &new)),
        ("rename over", fs::rename(&file, top.join("other"))),
        ("rename a directory", fs::rename(&dir, top.join("moved"))),
        ("rename a source", fs::rename(&top, root.join("moved"))),
        ("chmod", fs::set_permissions(&file, Permissions::from_mode(0o600))),
        ("chmod a directory", fs::set_permissions(&dir, Permissions::from_mode(0o700))),
        ("chown", chown(&file, Some(rustix::process::getuid().as_raw()), None)),
        ("link", fs::hard_link(&file, &new)),
        ("symlink", symlink("file", &new)),
        ("mkfifo", mknodat(CWD, &new, FileType::Fifo, Mode::RUSR, 0).map_err(Into::into)),
        ("setxattr", setxattr(&file, "user.kitovufs.state", b"x", XattrFlags::empty()).map_err(Into::into)),
        ("removexattr", removexattr(&file, "user.kitovufs.state").map_err(Into::into)),
    ];
    let rofs = Some(Errno::ROFS.raw_os_error());
    for (change, result) in changes {
        assert_eq!(result.unwrap_err().raw_os_error(), rofs, "{change}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"bytes");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

fn truncate(path: &std::path::Path) -> Result<()> {
    // Through the shell's tool, because the standard library truncates only what is open for writing.
    let output = std::process::Command::new("truncate").args(["-s", "0"]).arg(path).env("LC_ALL", "C").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Read-only file system") { Err(Errno::ROFS.into()) } else { Err(std::io::Error::other(said)) }
}
