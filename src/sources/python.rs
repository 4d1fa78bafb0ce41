//! The type `python`: plugins written for kitovu, through an adapter that makes plugins of kitovufs of them. It knows how the adapter is
//! started, and leaves the talking to [`super::plugin`].

use std::process::Command;

/// The adapter's modules, in the order in which they import each other.
const MODULES: [(&str, &str); 7] = [
    ("wire", include_str!("python/adapter/wire.py")),
    ("streams", include_str!("python/adapter/streams.py")),
    ("loading", include_str!("python/adapter/loading.py")),
    ("failures", include_str!("python/adapter/failures.py")),
    ("passwords", include_str!("python/adapter/passwords.py")),
    ("stand_ins", include_str!("python/adapter/stand_ins.py")),
    ("main", include_str!("python/adapter/main.py")),
];

const LOADER: &str = include_str!("python/adapter/loader.py");

/// The environment variable in which the adapter travels: there is no file that could be missing or be another version's, and a list
/// of processes shows what the process is for.
const VARIABLE: &str = "KITOVUFS_ADAPTER";

/// Runs what is in [`VARIABLE`]; understood by every Python.
const BOOTSTRAP: &str = "import os; exec(os.environ.pop('KITOVUFS_ADAPTER'))";

/// Which plugin the adapter runs, and with which Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// The Python: a name on `PATH` or a path.
    pub python: String,
    /// `module:Class`, or the name of an entry point.
    pub plugin: String,
    /// Directories from which modules may be imported besides Python's own.
    pub path: Vec<String>,
    /// Keys of settings of which the values are credentials.
    pub secrets: Vec<String>,
}

impl Adapter {
    /// The command that starts it, ready to talk on its standard streams.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-c", BOOTSTRAP]);
        for directory in &self.path {
            command.args(["--path", directory]);
        }
        for key in &self.secrets {
            command.args(["--secret", key]);
        }
        command.args(["--", &self.plugin]);
        command.env(VARIABLE, program());
        command
    }
}

/// The whole adapter as one text.
fn program() -> String {
    // What JSON writes for lists and texts, Python reads.
    format!("SOURCES = {}\n{LOADER}", serde_json::json!(MODULES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adapter_fits_into_an_environment_variable_of_any_locale() {
        const MAX_ARG_STRLEN: usize = 128 << 10;
        let program = program();
        assert!(program.len() < MAX_ARG_STRLEN / 2, "{} bytes", program.len());
        assert!(program.is_ascii());
        assert!(!program.contains('\0'));
    }

    #[test]
    fn modules_import_only_what_is_there_before_them() {
        for (index, (name, text)) in MODULES.iter().enumerate() {
            for line in text.lines().filter_map(|line| line.strip_prefix("from kitovufs_adapter import ")) {
                for imported in line.split(", ") {
                    let before = MODULES[..index].iter().any(|(earlier, _)| *earlier == imported);
                    assert!(before, "{name} imports {imported}");
                }
            }
        }
    }
}
