//! `unmount`: takes a mount away and waits until its process has tidied up. It knows nothing of what was mounted.

use std::path::Path;
use std::time::{Duration, Instant};

use super::status;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::point;

/// How long the process of a mount may take to end before `unmount` returns without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Unmounts our mount at `mountpoint`, also one whose process is gone.
///
/// # Errors
/// It is none of ours, or in use.
pub fn unmount(mountpoint: &Path) -> Result<()> {
    if !point::mounted_at(mountpoint).is_some_and(|mounted| mounted.is_ours()) {
        return Err(Error::new("unmount", ErrorKind::Other)
            .on(mountpoint.display())
            .because("no kitovufs mount; `kitovufs status` shows those there are"));
    }
    let pid = status::read(mountpoint).map(|status| status.pid).ok();
    point::take_away(mountpoint, false)?;
    // Whoever mounts again right away needs the cache directory.
    if let Some(pid) = pid {
        let began = Instant::now();
        while Path::new("/proc").join(pid.to_string()).exists() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}
