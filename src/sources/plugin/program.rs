//! Which program a plugin is, as the configuration writes it. It starts none.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::process::Launch;
use crate::source::settings::Reader;

/// Reads `command`: the program and its arguments.
pub(super) fn command(reader: &mut Reader<'_>) -> Option<Launch> {
    let command = reader.required_strings("command", "[\"~/bin/my-plugin\", \"--verbose\"]");
    let (program, args) = command.split_first()?;
    let args = args.iter().map(OsString::from).collect();
    let program = find_program(reader, "command", program)?;
    Some(Launch { program, args, env: Vec::new(), withheld: Vec::new(), longest_file: None })
}

/// The program that a key names as an absolute path: written so, below the home, or a name that is looked for in `$PATH`. None if there is
/// none, which is noted.
pub fn find_program(reader: &mut Reader<'_>, key: &str, written: &str) -> Option<PathBuf> {
    let path = crate::path::expand_home(written);
    if !written.contains('/') {
        let places = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&places).map(|dir| dir.join(written));
        let found = places.find(|place| place.is_absolute() && is_program(place));
        if found.is_none() {
            reader.absence(key, format!("`{key}`: there is no program {written:?} in $PATH"));
        }
        return found;
    }
    if !path.is_absolute() {
        reader.problem(Some(key), format!("`{key}`: the program must be absolute or begin with ~/, not {written:?}"));
        return None;
    }
    if !is_program(&path) {
        reader.absence(key, format!("`{key}`: {} is no program: is it there, and executable?", path.display()));
        return None;
    }
    Some(path)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
