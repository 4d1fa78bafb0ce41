//! The type `python`: plugins written for kitovu, run by an adapter that makes plugins of kitovufs of them. It knows how the adapter is
//! started; the talking is [`super::plugin`]'s.

use std::ffi::OsString;
use std::path::PathBuf;

use super::plugin::{Launch, PluginKind, find_program};
use crate::source::settings::Reader;

/// The adapter's modules, in the order in which they import each other.
const MODULES: [(&str, &str); 7] = [
    ("wire", include_str!("adapter/wire.py")),
    ("streams", include_str!("adapter/streams.py")),
    ("loading", include_str!("adapter/loading.py")),
    ("failures", include_str!("adapter/failures.py")),
    ("passwords", include_str!("adapter/passwords.py")),
    ("stand_ins", include_str!("adapter/stand_ins.py")),
    ("main", include_str!("adapter/main.py")),
];

const LOADER: &str = include_str!("adapter/loader.py");

/// The environment variable in which the adapter travels: there is no file that could be missing or be another version's, and a list
/// of processes shows what the process is for.
const VARIABLE: &str = "KITOVUFS_ADAPTER";

/// Runs what is in [`VARIABLE`]; understood by every Python.
const BOOTSTRAP: &str = "import os; exec(os.environ.pop('KITOVUFS_ADAPTER'))";

/// A source whose plugin is a Python class: `type = "python"`.
///
/// Keys: `plugin` (required): `module:Class`, or the name of an entry point; `python`: the Python that runs it; `path`: directories to
/// import from. Everything else goes to the plugin.
pub static KIND: PluginKind = PluginKind::new("python", |reader| Some(Adapter::read(reader)?.launch()));

/// Which plugin the adapter runs, and with which Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// The Python, absolute.
    pub python: PathBuf,
    /// `module:Class`, or the name of an entry point.
    pub plugin: String,
    /// Directories from which modules may be imported besides Python's own; absolute.
    pub path: Vec<PathBuf>,
}

impl Adapter {
    /// Reads its keys; none if something is wrong with them, which is noted.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let plugin = reader.required_string("plugin", "my_plugin:MyPlugin");
        let python = reader.string("python").unwrap_or_else(|| "python3".into());
        let python = find_program(reader, "python", &python);
        let mut path = Vec::new();
        for written in reader.strings("path").unwrap_or_default() {
            let directory = crate::path::expand_home(&written);
            if directory.is_absolute() {
                path.push(directory);
            } else {
                reader.problem(
                    Some("path"),
                    format!("`path`: a directory must be absolute or begin with ~/, not {written:?}"),
                );
            }
        }
        (!plugin.is_empty()).then_some(Self { python: python?, plugin, path })
    }

    /// The command that starts it.
    pub fn launch(&self) -> Launch {
        let mut args = vec![OsString::from("-c"), BOOTSTRAP.into()];
        for directory in &self.path {
            args.extend(["--path".into(), directory.into()]);
        }
        args.extend(["--".into(), OsString::from(&self.plugin)]);
        Launch {
            program: self.python.clone(),
            args,
            env: vec![(VARIABLE.into(), program().into())],
            withheld: Vec::new(),
            longest_file: None,
        }
    }
}

/// The whole adapter as one text.
fn program() -> String {
    // Lists and texts are written alike in JSON and in Python.
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
