//! `Links`: what becomes of a source's symbolic links, and their texts, judged as texts. It looks at no file.

use crate::source::settings::Reader;

/// Bytes of a text that Linux cannot hold as a link's (`PATH_MAX`).
const TOO_LONG: usize = 4096;

/// What becomes of a source's symbolic links: its key `links`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Links {
    /// They are shown as they are, wherever they lead.
    #[default]
    Keep,
    /// Those that stay inside the source are shown.
    Inside,
    /// What they lead to is shown in their place, if it is inside the source.
    Follow,
}

impl Links {
    /// Reads the key `links`.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        match reader.string("links").as_deref() {
            None | Some("keep") => Self::Keep,
            Some("inside") => Self::Inside,
            Some("follow") => Self::Follow,
            Some(other) => {
                let why = format!("`links` must be \"keep\", \"inside\" or \"follow\", not {other:?}");
                reader.problem(Some("links"), why);
                Self::Keep
            }
        }
    }
}

/// The text under which a link in a directory `depth` components below the root is kept. `inside` follows the root in an absolute target
/// that begins with it: such a target is shown relative, since under the mount the source is elsewhere.
pub(super) fn kept(depth: usize, target: &[u8], inside: Option<&[u8]>) -> Vec<u8> {
    match inside {
        Some(inside) if stays_inside(0, inside) => from_root(depth, inside),
        _ => target.to_vec(),
    }
}

/// Whether Linux takes this for the text of a link.
pub(super) fn is_text(target: &[u8]) -> bool {
    !target.is_empty() && target.len() < TOO_LONG && !target.contains(&0)
}

/// Whether a target goes up first and then only down: no link that it meets is left upwards.
pub(super) fn goes_up_then_down(target: &[u8]) -> bool {
    components(target).skip_while(|component| *component == b"..").all(|component| component != b"..")
}

/// The components of a path that lead somewhere: without empty ones and `.`.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|component| !component.is_empty() && component != b".")
}

/// Whether a relative target never leaves the source on its way, seen from a directory `depth` components below the root.
pub(super) fn stays_inside(mut depth: usize, target: &[u8]) -> bool {
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

/// The relative text, in a directory `depth` components below the root, that means `inside`, a path relative to the root.
pub(super) fn from_root(depth: usize, inside: &[u8]) -> Vec<u8> {
    let up = std::iter::repeat_n(b"..".as_slice(), depth);
    let text = up.chain(components(inside)).collect::<Vec<_>>().join(b"/".as_slice());
    if text.is_empty() { b".".to_vec() } else { text }
}

/// The part of a path that follows a directory, without a slash at its start; none if the path is elsewhere.
pub(super) fn strip_dir<'a>(path: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    match path.strip_prefix(dir)? {
        b"" => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_text_is_what_it_was_unless_it_is_absolute_and_inside() {
        for (depth, target, inside, shown) in [
            (1, "../../x", None, "../../x"),
            (0, "/etc/passwd", None, "/etc/passwd"),
            (2, "/srv/a/b", Some("a/b"), "../../a/b"),
            (0, "/srv", Some(""), "."),
            (1, "/srv/../etc", Some("../etc"), "/srv/../etc"),
        ] {
            assert_eq!(kept(depth, target.as_bytes(), inside.map(str::as_bytes)), shown.as_bytes(), "{target}");
        }
    }

    #[test]
    fn a_text_is_one_that_linux_can_hold() {
        for (text, fits) in
            [(vec![], false), (b"a\0b".to_vec(), false), (vec![b'a'; 4095], true), (vec![b'a'; 4096], false)]
        {
            assert_eq!(is_text(&text), fits);
        }
    }
}
