//! The text of a symbolic link, judged as text: it looks at no file.

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
