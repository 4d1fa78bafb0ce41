//! Local names: what a name is inside one directory of the mount. It knows no remote name.

use std::sync::Arc;

/// The longest name that Linux takes, in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// A name inside one directory of the mount: 1 to [`NAME_MAX`] bytes without `/` and NUL, neither `.` nor `..`.
pub type LocalName = Arc<[u8]>;

/// Whether these bytes are a [`LocalName`].
pub fn is_local_name(name: &[u8]) -> bool {
    let is_special = matches!(name, b"" | b"." | b"..");
    !is_special && name.len() <= NAME_MAX && !name.contains(&b'/') && !name.contains(&0)
}
