//! `unmount`: takes a mount away and waits until its process has tidied up. It knows nothing of the sources.

use std::path::Path;
use std::time::{Duration, Instant};

use super::status;
use crate::children::has_ended;
use crate::error::Result;
use crate::mount::ask::{Answer, Asked};
use crate::mount::point;

/// How long the process of a mount may take to end before `unmount` returns without it.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Unmounts our mount at `mountpoint`, also one whose process is gone or does not answer.
///
/// # Errors
/// It is none of ours, or in use.
pub fn unmount(mountpoint: &Path) -> Result<()> {
    let place = status::ours_at("unmount", mountpoint)?;
    let answer = Asked::of(&place)?.answer();
    let pid = match &answer {
        Answer::Status(said) => status::understood(&place, said).ok().map(|status| status.pid),
        Answer::Dead | Answer::Silent | Answer::Failed(_) => None,
    };
    match answer {
        // Programs that wait in a dead mount wait for nothing, and do not keep it.
        Answer::Dead => point::take_away(&place, true)?,
        Answer::Silent => point::break_off(&place)?,
        Answer::Status(_) | Answer::Failed(_) => point::take_away(&place, false)?,
    }
    if answer == Answer::Silent {
        let what = "its process does not answer, and ends when it goes on";
        eprintln!("kitovufs: {}: unmounted; {what}", place.display());
    }
    // A mount that follows right away needs the cache directory.
    if let Some(pid) = pid {
        let began = Instant::now();
        while !has_ended(pid) && began.elapsed() < END_TIMEOUT {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}
