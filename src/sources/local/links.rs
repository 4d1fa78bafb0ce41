//! Where symbolic links lead, and the text under which they are shown. It opens nothing.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::Place;
use crate::path::RemotePath;
use crate::sources::links::{components, from_root, kept, stays_inside};

/// How many links are followed in one path: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Where a path ends for who follows every link on the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At this path, without links; not necessarily at something.
    Inside(RemotePath),
    Outside,
    /// Nowhere: there are too many links.
    Circle,
}

/// The text under which a link of the directory `dir` is shown where every link is.
pub(super) fn keep(place: &Place, dir: &RemotePath, target: &[u8]) -> Vec<u8> {
    kept(dir.components().count(), target, strip_root(place, target).as_deref())
}

/// The text under which a link of the directory `dir` is shown where only those that stay inside are, or none if it leads outside.
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
    // A circle inside is shown: the kernel refuses to follow it.
    if !stays_inside(depth, &shown) || resolve(place, root, dir, &shown)? == End::Outside {
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

/// Walks as the kernel would, from `dir`, which has no links in it, along `target`, through every link on the way.
pub(super) fn resolve(place: &Place, root: &OwnedFd, dir: &RemotePath, target: &[u8]) -> Result<End, Errno> {
    let mut at: Vec<Vec<u8>> = dir.components().map(<[u8]>::to_vec).collect();
    let mut ahead = VecDeque::new();
    if !enter(place, target, &mut at, &mut ahead) {
        return Ok(End::Outside);
    }
    let mut followed = 0;
    while let Some(component) = ahead.pop_front() {
        if component == b".." {
            if at.pop().is_none() {
                return Ok(End::Outside);
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
        if followed > MAX_LINKS {
            return Ok(End::Circle);
        }
        at.pop();
        if !enter(place, &next, &mut at, &mut ahead) {
            return Ok(End::Outside);
        }
    }
    Ok(RemotePath::parse(&at.join(b"/".as_slice())).map_or(End::Outside, End::Inside))
}

/// Puts the components of a link's text before those ahead; false if it is absolute and begins outside.
fn enter(place: &Place, text: &[u8], at: &mut Vec<Vec<u8>>, ahead: &mut VecDeque<Vec<u8>>) -> bool {
    let mut text = Cow::Borrowed(text);
    if text.first() == Some(&b'/') {
        let Some(inside) = strip_root(place, &text) else { return false };
        at.clear();
        text = inside.into();
    }
    for component in components(&text).collect::<Vec<_>>().into_iter().rev() {
        ahead.push_front(component.to_vec());
    }
    true
}
