//! `Place`: a path in one of this user's mounts, and what extended attributes tell of it. It does not explain them.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::getxattr;
use rustix::io::Errno;

use super::status;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::xattr::PREFIX;
use crate::mount::point::Mounted;
use crate::path::Printable;

/// The most bytes of an attribute that are read; the longest are messages of sources.
const MAX_VALUE: usize = 65_536;

/// A path in a mount that answers.
#[derive(Clone)]
pub struct Place {
    /// The path without links.
    pub path: PathBuf,
    /// The mount.
    pub mounted: Mounted,
}

impl Place {
    /// The place that `typed` leads to.
    ///
    /// # Errors
    /// It is in no mount of this user, or not there, or the mount does not answer.
    pub fn of(op: &'static str, typed: &Path) -> Result<Self> {
        let failed = |e| Error::new(op, ErrorKind::Other).on(typed.display()).caused_by(e);
        let mounts = status::ours(op)?;
        let mount_of = |path: &Path| mounts.iter().find(|mount| path.starts_with(&mount.path)).cloned();
        let absolute = std::path::absolute(typed).map_err(failed)?;
        // A mount that does not answer is found out before anything in it is looked at, since that may wait for ever.
        let asked = mount_of(&absolute);
        asked.as_ref().map(status::of).transpose()?;
        let path = without_links(&absolute).map_err(failed)?;
        let Some(mounted) = mount_of(&path) else {
            let why = "it is not in a mounted folder of yours; `kitovufs status` shows those there are";
            return Err(Error::new(op, ErrorKind::Other).on(typed.display()).because(why));
        };
        if asked.as_ref() != Some(&mounted) {
            status::of(&mounted)?;
        }
        Ok(Self { path, mounted })
    }

    /// The path below the mount point.
    pub fn below(&self) -> Vec<u8> {
        let below = self.path.strip_prefix(&self.mounted.path).unwrap_or(&self.path);
        below.as_os_str().as_bytes().to_owned()
    }

    /// The path as people read it.
    pub fn shown(&self) -> String {
        Printable(self.path.as_os_str().as_bytes()).to_string()
    }
}

/// The path without links. A name at its end that a source refuses to tell of may be one, and stays as it is.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(e), Some(parent), Some(name)) if e.kind() == io::ErrorKind::PermissionDenied => {
            Ok(parent.canonicalize()?.join(name))
        }
        (canonical, ..) => canonical,
    }
}

/// The attribute `user.kitovufs.<name>` of a file, if it has a value.
pub fn attribute(path: &Path, name: &str) -> io::Result<Option<String>> {
    let mut value = vec![0; MAX_VALUE];
    match getxattr(path, format!("{PREFIX}{name}"), &mut value[..]) {
        Ok(length) => Ok(Some(String::from_utf8_lossy(&value[..length]).into_owned())),
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
