//! The text under which a symbolic link is shown. It asks nothing.

use super::connection::Connection;
use crate::path::RemotePath;
use crate::sources::links::{components, from_root, goes_up_then_down, kept, stays_inside, strip_dir};

/// The text under which a link of the directory `dir` is shown where every link is.
pub(super) fn keep(connection: &Connection, dir: &RemotePath, target: &[u8]) -> Vec<u8> {
    kept(dir.components().count(), target, after_root(connection, target))
}

/// The text under which a link of the directory `dir` is shown where only those that stay inside are, or none if it leads outside.
///
/// `real` is where the server says that the link ends; none if it leads into nothing. Only a text that goes up first and
/// down then is shown as it is: whatever links it meets on its way down, each of them is judged by itself and none can be left
/// upwards. Any other text is replaced by one that leads to the real place.
pub(super) fn judge(connection: &Connection, dir: &RemotePath, target: &[u8], real: Option<&[u8]>) -> Option<Vec<u8>> {
    let real = match real {
        Some(real) => Some(connection.inside(real)?),
        None => None,
    };
    let depth = dir.components().count();
    if target.first() != Some(&b'/') && goes_up_then_down(target) {
        return stays_inside(depth, target).then(|| target.to_vec());
    }
    match real {
        // Resolved by the server, and inside.
        Some(inside) => Some(from_root(depth, inside)),
        None => {
            let inside = after_root(connection, target)?;
            components(inside).all(|component| component != b"..").then(|| from_root(depth, inside))
        }
    }
}

/// What follows the root in a target, in either of its spellings. Only an absolute target begins with an absolute root.
fn after_root<'a>(connection: &Connection, target: &'a [u8]) -> Option<&'a [u8]> {
    connection.inside(target).or_else(|| strip_dir(target, connection.spelling.as_ref()?))
}
