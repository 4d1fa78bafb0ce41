//! `Passthrough`: which inodes the kernel reads from their cached files without us. It knows nothing of how a file becomes whole.
//!
//! The kernel's rule: while an inode is open, it is either in cached mode or in passthrough mode with one backing file; an open
//! that breaks this fails with EIO. So the mode is kept per inode until its last release.
//!
//! Passthrough promises less: a copy is proven when it is opened, and from then on until its last release the kernel reads the file
//! by itself. If the file changes meanwhile (a disk that goes bad, another program that writes to it), readers get the changed
//! bytes, which are found at the next open. Without passthrough every read goes through us, and compares the copy with its
//! fingerprint before it trusts it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use fuser::BackingId;
use parking_lot::Mutex;
use tracing::info;

use crate::fs::Inode;

/// The bit of CAP_SYS_ADMIN in the capability sets of `/proc/self/status` (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;

/// The modes of all open inodes, and whether passthrough can be had at all.
#[derive(Debug)]
pub struct Passthrough {
    /// Why not, if not.
    off: Mutex<Option<String>>,
    modes: Mutex<HashMap<Inode, Mode>>,
}

#[derive(Debug)]
enum Mode {
    Cached { opens: usize },
    Passthrough { opens: usize, backing: Arc<BackingId> },
}

impl Passthrough {
    /// No passthrough, until the kernel [offers](Self::offered) it.
    pub fn new() -> Self {
        let off = "the kernel does not offer it (Linux 6.9 does)".to_owned();
        Self { off: Mutex::new(Some(off)), modes: Mutex::default() }
    }

    /// Passthrough if this process may use it: the kernel offers it.
    pub fn offered(&self) {
        let off = if has_capability(CAP_SYS_ADMIN) { None } else { Some("needs CAP_SYS_ADMIN".to_owned()) };
        *self.off.lock() = off;
    }

    /// `on`, or `off: why`.
    pub fn describe(&self) -> String {
        self.off.lock().as_ref().map_or_else(|| "on".into(), |why| format!("off: {why}"))
    }

    /// Whether this inode is open in passthrough mode now, so that every further open must be too.
    pub fn is_required(&self, inode: Inode) -> bool {
        matches!(self.modes.lock().get(&inode), Some(Mode::Passthrough { .. }))
    }

    /// Decides the mode of one more open, to be undone by [`Passthrough::released`]. `open_backing` registers a file with the kernel.
    ///
    /// # Errors
    /// The inode is open in passthrough mode, and this open has no proven file.
    pub fn opened(
        &self,
        inode: Inode,
        proven_file: Option<&Arc<File>>,
        open_backing: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Result<Option<Arc<BackingId>>, ()> {
        let mut modes = self.modes.lock();
        match (modes.get_mut(&inode), proven_file) {
            (Some(Mode::Cached { opens }), _) => {
                *opens += 1;
                return Ok(None);
            }
            (Some(Mode::Passthrough { opens, backing }), Some(_)) => {
                *opens += 1;
                return Ok(Some(backing.clone()));
            }
            (Some(Mode::Passthrough { .. }), None) => return Err(()),
            (None, _) => {}
        }
        let mode = match proven_file.filter(|_| self.off.lock().is_none()).map(|file| open_backing(file)) {
            Some(Ok(backing)) => Mode::Passthrough { opens: 1, backing: Arc::new(backing) },
            Some(Err(e)) => {
                info!("no passthrough: {e}");
                *self.off.lock() = Some(e.to_string());
                Mode::Cached { opens: 1 }
            }
            None => Mode::Cached { opens: 1 },
        };
        let backing = match &mode {
            Mode::Passthrough { backing, .. } => Some(backing.clone()),
            Mode::Cached { .. } => None,
        };
        modes.insert(inode, mode);
        Ok(backing)
    }

    /// One open of this inode ended.
    pub fn released(&self, inode: Inode) {
        let mut modes = self.modes.lock();
        let Some(Mode::Cached { opens } | Mode::Passthrough { opens, .. }) = modes.get_mut(&inode) else { return };
        *opens -= 1;
        if *opens == 0 {
            modes.remove(&inode);
        }
    }
}

fn has_capability(bit: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|set| set & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(_: &File) -> io::Result<BackingId> {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    #[test]
    fn an_inode_in_cached_mode_stays_so_until_its_last_release() {
        let passthrough = Passthrough { off: Mutex::new(None), modes: Mutex::default() };
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        let inode = Inode(7);
        assert!(matches!(passthrough.opened(inode, None, refused), Ok(None)));
        let never = |_: &File| -> io::Result<BackingId> { panic!("the mode is decided by the first open") };
        assert!(matches!(passthrough.opened(inode, Some(&file), never), Ok(None)));
        passthrough.released(inode);
        assert!(!passthrough.modes.lock().is_empty());
        passthrough.released(inode);
        assert!(passthrough.modes.lock().is_empty());
    }

    #[test]
    fn a_refusal_switches_it_off_and_says_why() {
        let passthrough = Passthrough { off: Mutex::new(None), modes: Mutex::default() };
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        assert!(matches!(passthrough.opened(Inode(7), Some(&file), refused), Ok(None)));
        assert!(passthrough.describe().starts_with("off: "), "{}", passthrough.describe());
    }
}
