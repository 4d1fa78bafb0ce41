//! `remove`: takes a source out of the configuration file. Its secret and its copies stay where they are.

use std::path::Path;

use super::edit::Edited;
use super::output::outln;
use super::{Failure, login, overview};
use crate::config::Config;
use crate::path::PrintableLines;
use crate::secret::Secret;

/// Removes the source `name` from `file`, and tells what is left of it. The result is the exit code.
///
/// # Errors
/// There is no such source, or a folder shows it; then nothing is changed.
pub fn remove(file: &Path, name: &str) -> Result<u8, Failure> {
    let (before, _) = Config::examine(file)?;
    let mut edited = Edited::read(file)?;
    if edited.names().all(|other| other != name) {
        return Err(login::unknown(name, &edited.names().collect::<Vec<_>>()));
    }
    if let Some(folder) = before.folders.iter().find(|folder| folder.parts.iter().any(|part| part.source == name)) {
        let (shown, name) = (folder.path.join("/"), name.escape_debug());
        let why = format!("the folder `{}` shows `{name}`; remove that [[folders]] first", shown.escape_debug());
        return Err(Failure::Usage(why));
    }
    let configured = before.sources.iter().find(|source| source.name == name);
    let kept = configured.map(|source| source.settings.kept_secrets()).unwrap_or_default();
    let left = edited.remove(name)?;
    if left > 0 {
        edited.examine()?;
    }
    edited.write()?;
    outln!("[sources.{}] is no longer in {}", name.escape_debug(), file.display());
    for (key, place) in kept {
        match place {
            Secret::Keyring(item) => {
                outln!("{}", PrintableLines(&format!("`{key}` is still in the keyring ({item})")))
            }
            Secret::File(path) => outln!("`{key}` is still in {}", path.display()),
            Secret::Plain(_) | Secret::Env(_) | Secret::Command(_) => {}
        }
    }
    if left == 0 {
        outln!("there is no source left; next: kitovufs add URL");
    } else {
        outln!("{}", overview::next_step(&before));
    }
    Ok(0)
}
