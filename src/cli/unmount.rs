//! `unmount`: takes a mount away and waits until its process has tidied up. It knows nothing of the sources.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::status;
use crate::children::has_ended;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::ask::{Answer, Asked};
use crate::mount::point;

/// How long the process of a mount may take to end before `unmount` returns without it.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Unmounts our mount at `mountpoint`, or the configured or only one, also one whose process is gone or does not answer.
///
/// # Errors
/// It is none of ours, or in use; there are several, and none is named.
pub fn unmount(mountpoint: Option<&Path>) -> Result<()> {
    let place = match mountpoint {
        Some(mountpoint) => status::ours_at("unmount", mountpoint)?,
        None => default_place(status::ours("unmount")?, configured_place())?,
    };
    let answer = Asked::of(&place)?.answer();
    let pid = match &answer {
        Answer::Status(said) => status::understood(&place, said).ok().map(|status| status.pid),
        Answer::Dead | Answer::Silent | Answer::Failed(_) => None,
    };
    match answer {
        // Programs that wait in a dead mount wait for nothing, and do not keep it.
        Answer::Dead => point::take_away(&place, true)?,
        Answer::Silent => point::break_off(&place)?,
        Answer::Status(_) | Answer::Failed(_) => point::take_away_after_lookers(&place)?,
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

/// The mount point in the configuration, if there is one.
fn configured_place() -> Option<PathBuf> {
    Config::examine(&Config::default_path()).ok().and_then(|(config, _)| config.mountpoint)
}

/// The mount that is meant if none is named: the configured one, or the only one.
fn default_place(places: Vec<PathBuf>, configured: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(place) = configured.filter(|configured| places.contains(configured)) {
        return Ok(place);
    }
    if let [place] = places.as_slice() {
        return Ok(place.clone());
    }
    let names: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    let why = format!("several folders are mounted; name one of them: {}", names.join(", "));
    Err(Error::new("unmount", ErrorKind::Other).because(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_the_configured_mount_is_meant_or_the_only_one() {
        let place = |places: &[&str], configured: Option<&str>| {
            default_place(places.iter().map(PathBuf::from).collect(), configured.map(PathBuf::from))
        };
        assert_eq!(place(&["/a", "/b"], Some("/b")).expect("it is configured"), Path::new("/b"));
        assert_eq!(place(&["/a"], Some("/b")).expect("it is the only one"), Path::new("/a"));
        let error = place(&["/a", "/b"], None).expect_err("there are two").to_string();
        assert!(error.contains("/a, /b"), "{error}");
    }
}
