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
    match find_program(program) {
        Ok(program) => Some(Launch { program, args, env: Vec::new(), withheld: Vec::new(), longest_file: None }),
        Err(why) => {
            reader.problem(Some("command"), format!("`command`: {why}"));
            None
        }
    }
}

/// The program as an absolute path: written so, below the home, or a name that is looked for in `$PATH`.
///
/// # Errors
/// What is wrong and what to write.
pub fn find_program(written: &str) -> Result<PathBuf, String> {
    let path = crate::path::expand_home(written);
    if written.contains('/') {
        return match () {
            () if !path.is_absolute() => Err(format!("the program must be absolute or begin with ~/, not {written:?}")),
            () if !is_program(&path) => Err(format!("{} is no program: is it there, and executable?", path.display())),
            () => Ok(path),
        };
    }
    let places = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&places)
        .map(|dir| dir.join(written))
        .find(|place| place.is_absolute() && is_program(place));
    found.ok_or_else(|| format!("there is no program {written:?} in $PATH"))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
