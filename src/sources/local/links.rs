//! Which symbolic links may be shown: those that stay inside the source, wherever it is mounted. It opens nothing.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::Place;
use crate::path::RemotePath;

/// As many links as Linux follows in one path.
const MOST_LINKS: usize = 40;

/// The text under which a link of the directory `dir` is shown, or none if it leads outside.
///
/// It must stay inside both by its text and by where the kernel would end up: a chain through another link inside counts as
/// that link is shown. An absolute target inside the source is rewritten relative to `dir`, since under the mount the source is elsewhere.
pub(super) fn judge(place: &Place, root: &OwnedFd, dir: &RemotePath, target: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let depth = dir.components().count();
    let shown = if target.first() == Some(&b'/') {
        let Some(inside) = strip_root(place, target) else { return Ok(None) };
        let up = std::iter::repeat_n(b"..".as_slice(), depth);
        let text = up.chain(components(&inside)).collect::<Vec<_>>().join(b"/".as_slice());
        if text.is_empty() { b".".to_vec() } else { text }
    } else {
        target.to_vec()
    };
    if !stays_inside_as_text(depth, &shown) || !stays_inside_really(place, root, dir, &shown)? {
        return Ok(None);
    }
    Ok(Some(shown))
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|component| !component.is_empty() && component != b".")
}

/// What follows the source's own directory in an absolute path, if it begins with it.
fn strip_root(place: &Place, target: &[u8]) -> Option<Vec<u8>> {
    let target = Path::new(OsStr::from_bytes(target));
    let rest = place.spellings.iter().find_map(|root| target.strip_prefix(root).ok())?;
    Some(rest.as_os_str().as_bytes().to_vec())
}

fn stays_inside_as_text(mut depth: usize, target: &[u8]) -> bool {
    for component in components(target) {
        if component != b".." {
            depth += 1;
        } else if depth == 0 {
            return false;
        } else {
            depth -= 1;
        }
    }
    true
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
        // What is shown empty is not examined: it may be the mount that asks.
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
        // A circle inside: whoever follows it hears so from the kernel.
        if followed > MOST_LINKS {
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
