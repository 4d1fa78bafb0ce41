//! Which symbolic links may be shown: those that stay inside the source, wherever it is mounted. It opens nothing.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::Place;
use crate::path::RemotePath;
use crate::sources::link_text::{components, from_root, stays_inside};

/// How many links are followed in one path: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// The text under which a link of the directory `dir` is shown, or none if it leads outside.
///
/// It must stay inside both by its text and by where the kernel would end up: a chain through another link inside counts as
/// that link is shown. An absolute target inside the source is rewritten relative to `dir`, since under the mount the source is elsewhere.
pub(super) fn judge(place: &Place, root: &OwnedFd, dir: &RemotePath, target: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let depth = dir.components().count();
    let shown = if target.first() == Some(&b'/') {
        let Some(inside) = strip_root(place, target) else { return Ok(None) };
        from_root(depth, &inside)
    } else {
        target.to_vec()
    };
    if !stays_inside(depth, &shown) || !stays_inside_really(place, root, dir, &shown)? {
        return Ok(None);
    }
    Ok(Some(shown))
}

/// The part of an absolute path that follows the source's own directory, if it begins with it.
fn strip_root(place: &Place, target: &[u8]) -> Option<Vec<u8>> {
    let target = Path::new(OsStr::from_bytes(target));
    let rest = place.spellings.iter().find_map(|root| target.strip_prefix(root).ok())?;
    Some(rest.as_os_str().as_bytes().to_vec())
}

/// Walks as the kernel would, from `dir` along `target`, through every link on the way.
fn stays_inside_really(place: &Place, root: &OwnedFd, dir: &RemotePath, target: &[u8]) -> Result<bool, Errno> {
    let mut at: Vec<Vec<u8>> = dir.components().map(<[u8]>::to_vec).collect();
    let mut ahead: VecDeque<Vec<u8>> = components(target).map(<[u8]>::to_vec).collect();
    let mut followed = 0;
    while let Some(component) = ahead.pop_front() {
        if component == b".." {
            if at.pop().is_none() {
                return Ok(false);
            }
            continue;
        }
        at.push(component);
        let here = at.join(b"/".as_slice());
        // A directory that is shown empty is not examined: it may be the mount that asks.
        if RemotePath::parse(&here).is_ok_and(|here| place.is_reserved(&here) || place.hides(&here)) {
            continue;
        }
        let next = match rustix::fs::readlinkat(root, OsStr::from_bytes(&here), Vec::new()) {
            Ok(next) => next.into_bytes(),
            // No link, or nothing there (yet): a link into nothing that stays inside is shown like any other.
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::NAMETOOLONG) => continue,
            Err(errno) => return Err(errno),
        };
        followed += 1;
        // A circle inside: the kernel refuses to follow it.
        if followed > MAX_LINKS {
            return Ok(true);
        }
        at.pop();
        let next = if next.first() == Some(&b'/') {
            let Some(inside) = strip_root(place, &next) else { return Ok(false) };
            at.clear();
            inside
        } else {
            next
        };
        for component in components(&next).collect::<Vec<_>>().into_iter().rev() {
            ahead.push_front(component.to_vec());
        }
    }
    Ok(true)
}
