//! What is shown of a symbolic link, by its text: all that the server tells of it. It asks nothing.

use crate::path::RemotePath;
use crate::sources::links::{Links, components, from_root, goes_up_then_down, is_text, kept, stays_inside, strip_dir};

/// The text under which a link of the directory `dir` is shown; none if it is left out, or followed. `root` is the source's at the server.
pub(super) fn text(links: Links, root: &[u8], dir: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
    let text = match links {
        Links::Keep => Some(kept(dir.components().count(), target, strip_dir(target, root))),
        Links::Inside => text_inside(root, dir, target),
        Links::Follow => None,
    };
    text.filter(|text| is_text(text))
}

/// Whether the server may be asked what a link leads to: its text, if that is known, leads inside, and not to a directory on the way to
/// `dir`, in which the tree would have no end.
pub(super) fn may_follow(root: &[u8], dir: &RemotePath, target: &[u8]) -> bool {
    if target.is_empty() {
        return true;
    }
    let Some(text) = text_inside(root, dir, target) else { return false };
    let here: Vec<_> = dir.components().collect();
    let up = components(&text).take_while(|component| *component == b"..").count();
    let end: Vec<_> = here[..here.len() - up].iter().copied().chain(components(&text).skip(up)).collect();
    !here.starts_with(&end)
}

/// The text of a link that stays inside, whatever other links it meets.
fn text_inside(root: &[u8], dir: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
    let depth = dir.components().count();
    if target.first() == Some(&b'/') {
        let inside = strip_dir(target, root)?;
        return components(inside).all(|component| component != b"..").then(|| from_root(depth, inside));
    }
    (goes_up_then_down(target) && stays_inside(depth, target)).then(|| target.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_shown_by_their_text_or_followed_where_that_has_an_end() {
        let dir = RemotePath::parse(b"a/b").expect("a path");
        // The text, as it is kept, as it is shown if it is inside, and whether it is followed.
        for (target, keep, inside, follow) in [
            ("../x", "../x", Some("../x"), true),
            ("../../../x", "../../../x", None, false),
            ("/pub/x/y", "../../x/y", Some("../../x/y"), true),
            ("/pub/../x", "/pub/../x", None, false),
            ("/etc/x", "/etc/x", None, false),
            ("c/../../x", "c/../../x", None, false),
            ("..", "..", Some(".."), false),
            ("../b", "../b", Some("../b"), false),
            ("../bc", "../bc", Some("../bc"), true),
            (".", ".", Some("."), false),
            ("/pub", "../..", Some("../.."), false),
        ] {
            let told = target.as_bytes();
            assert_eq!(text(Links::Keep, b"/pub", &dir, told).as_deref(), Some(keep.as_bytes()), "{target}");
            assert_eq!(text(Links::Inside, b"/pub", &dir, told).as_deref(), inside.map(str::as_bytes), "{target}");
            assert_eq!(may_follow(b"/pub", &dir, told), follow, "{target}");
        }
        assert_eq!(text(Links::Keep, b"/pub", &dir, b""), None);
        assert!(may_follow(b"/pub", &dir, b""));
    }
}
