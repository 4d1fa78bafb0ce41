//! Which symbolic links may be shown: those that stay inside the source by their text and by where the server says they lead.

use super::connection::{Connection, strip_dir};
use crate::path::RemotePath;
use crate::sources::link_text::{components, from_root, stays_inside};

/// The text under which a link of the directory `dir` is shown, or none if it leads outside.
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
            // Only an absolute target begins with an absolute root.
            let spelled = || strip_dir(target, connection.spelling.as_ref()?);
            let inside = connection.inside(target).or_else(spelled)?;
            components(inside).all(|component| component != b"..").then(|| from_root(depth, inside))
        }
    }
}

fn goes_up_then_down(target: &[u8]) -> bool {
    components(target).skip_while(|component| *component == b"..").all(|component| component != b"..")
}
