//! `import`: turns a configuration of kitovu into ours, and tells which parts could not be carried. The conversion is
//! `crate::import`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Failure;
use super::output::{errln, out};
use crate::error::{Error, ErrorKind};
use crate::import;
use crate::path::PrintableLines;

/// Converts `file`, and writes the result to `output`, or to standard output. The result is the exit code.
///
/// # Errors
/// The file is no configuration of kitovu, or `output` is there already.
pub fn import(file: &Path, output: Option<&Path>) -> Result<u8, Failure> {
    let failed = |path: &Path| Error::new("import", ErrorKind::Other).on(path.display());
    let text = fs::read_to_string(file).map_err(|e| failed(file).caused_by(e))?;
    let imported = import::convert(&text).map_err(|why| failed(file).because(why))?;
    match output {
        Some(path) => write(path, &imported.toml).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                failed(path).because("it is there already; move it away, or name another file")
            }
            _ => failed(path).caused_by(e),
        })?,
        None => out!("{}", imported.toml),
    }
    for note in &imported.notes {
        errln!("note: {}", PrintableLines(note));
    }
    if let Some(path) = output {
        errln!("{} is written; next: kitovufs check -c {0}", path.display());
    }
    Ok(0)
}

/// Only for its owner, since a plugin's settings may be secrets.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
