//! A first plugin, as a program to begin with. It knows the templates, and nothing of the protocol.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cli::language::Language;
use crate::error::{Error, ErrorKind, Result};

/// A file to write: its path below the directory, its text, and whether it is a program.
type File = (&'static str, &'static str, bool);

const PYTHON: [File; 1] = [("plugin.py", include_str!("../../../templates/plugin/python/plugin.py"), true)];
const KITOVU: [File; 1] = [("my_plugin.py", include_str!("../../../templates/plugin/kitovu/my_plugin.py"), false)];
const SH: [File; 1] = [("plugin.sh", include_str!("../../../templates/plugin/sh/plugin.sh"), true)];
const RUST: [File; 2] = [
    ("Cargo.toml", include_str!("../../../templates/plugin/rust/Cargo.toml.template"), false),
    ("src/main.rs", include_str!("../../../templates/plugin/rust/src/main.rs"), false),
];

/// Writes a plugin into `dir`, and prints the next steps. Replaces nothing.
///
/// # Errors
/// A file is there already, or cannot be written.
pub fn write(language: Language, dir: &Path) -> Result<String> {
    let (files, program): (&[File], _) = match language {
        Language::Python => (&PYTHON, "plugin.py"),
        Language::Kitovu => (&KITOVU, "my_plugin.py"),
        Language::Sh => (&SH, "plugin.sh"),
        Language::Rust => (&RUST, "target/debug/my-plugin"),
    };
    let mut said = String::new();
    for (name, content, is_program) in files {
        let path = dir.join(name);
        let failed = |e: std::io::Error| {
            let error = Error::new("write", ErrorKind::Other).on(path.display());
            match e.kind() {
                std::io::ErrorKind::AlreadyExists => error.because("it is there already; name another directory"),
                _ => error.caused_by(e),
            }
        };
        fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(failed)?;
        let mode = if *is_program { 0o777 } else { 0o666 };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(failed)?;
        file.write_all(content.as_bytes()).map_err(failed)?;
        said += &format!("{} is written\n", path.display());
    }
    let build = if language == Language::Rust {
        format!("cd {} && cargo build && cd - && ", dir.display())
    } else {
        String::new()
    };
    let dir = if dir.is_absolute() || dir.starts_with(".") { dir.to_owned() } else { Path::new(".").join(dir) };
    let whom = match language {
        Language::Kitovu => format!("--python my_plugin:MyPlugin --set path={}", dir.display()),
        _ => dir.join(program).display().to_string(),
    };
    Ok(format!("{said}try it: {build}kitovufs plugin check --set greeting=Hello {whom}\n"))
}
