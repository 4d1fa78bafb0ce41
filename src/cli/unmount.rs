//! `unmount`: takes a mount away and waits until its process has tidied up. It knows nothing of the sources.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::output::errln;
use super::status;
use crate::children::has_ended;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::ask::{Answer, Asked};
use crate::mount::point::{self, Mounted};

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
    let asked = Asked::of(&place.path)?;
    // In another way too, at the same time: on a busy machine, the process that asks may not come to it.
    let pid = status::of(&place).ok().map(|status| status.pid);
    let answer = match asked.answer() {
        Answer::Silent if pid.is_some() => Answer::Alive,
        answer => answer,
    };
    match answer {
        Answer::Dead => point::take_away_dead(&place)?,
        Answer::Silent => point::break_off(&place.path)?,
        Answer::Alive | Answer::Failed(_) => point::take_away_after_lookers(&place.path)?,
    }
    if answer == Answer::Silent {
        let what = "its process does not answer, and ends when it goes on";
        errln!("kitovufs: {}: unmounted; {what}", place.path.display());
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
fn default_place(mut places: Vec<Mounted>, configured: Option<PathBuf>) -> Result<Mounted> {
    if let Some(place) = places.iter().find(|place| Some(&place.path) == configured.as_ref()) {
        return Ok(place.clone());
    }
    if places.len() == 1 {
        return Ok(places.remove(0));
    }
    let names: Vec<_> = places.iter().map(|place| place.path.display().to_string()).collect();
    let why = format!("several folders are mounted; name one of them: {}", names.join(", "));
    Err(Error::new("unmount", ErrorKind::Other).because(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_the_configured_mount_is_meant_or_the_only_one() {
        let mounted = |path: &&str| Mounted {
            path: path.into(),
            fs_type: "fuse.kitovufs".into(),
            source: "kitovufs".into(),
            user: None,
            connection: None,
        };
        let place = |places: &[&str], configured: Option<&str>| {
            default_place(places.iter().map(mounted).collect(), configured.map(PathBuf::from)).map(|place| place.path)
        };
        assert_eq!(place(&["/a", "/b"], Some("/b")).expect("it is configured"), Path::new("/b"));
        assert_eq!(place(&["/a"], Some("/b")).expect("it is the only one"), Path::new("/a"));
        let error = place(&["/a", "/b"], None).expect_err("there are two").to_string();
        assert!(error.contains("/a, /b"), "{error}");
    }
}
