//! `doctor --bundle`: writes what a report of a bug needs into one text. Secrets are not in it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use toml::Value;

use super::output::say;
use super::status::Form;
use super::{Failure, show_log, status};
use crate::config::{Config, SourceConfig};
use crate::error::{Error, ErrorKind};
use crate::path::PrintableLines;

/// So many of the last lines of the log are in it.
const LOG_LINES: usize = 200;

/// The settings whose values are in it: they tell where a source is.
const SHOWN: [&str; 9] = ["bucket", "endpoint", "host", "hostname", "path", "region", "root", "share", "url"];

/// Does what `doctor` does, and writes its findings and more to the new file `to`. The result is the exit code of `doctor`.
///
/// # Errors
/// It cannot be written, or is there already.
pub fn write(config: &Path, to: &Path) -> Result<u8, Failure> {
    let failed = |e| Error::new("write", ErrorKind::Other).on(to.display()).caused_by(e);
    // A process of its own, so that what it prints, which has no secrets, can be read.
    let mut doctor = Command::new(std::env::current_exe().map_err(failed)?);
    doctor.args(["doctor", "-c"]).arg(config).stdin(Stdio::null()).stderr(Stdio::inherit());
    let doctor = doctor.output().map_err(failed)?;
    let found = String::from_utf8_lossy(&doctor.stdout);
    say(&found);

    let version = env!("CARGO_PKG_VERSION");
    let log = show_log::last(LOG_LINES).unwrap_or_else(|e| format!("{e}\n"));
    let (configured, mounts) = (configured(config), mounts());
    let text = format!(
        "kitovufs {version}\n\n== doctor\n{found}\n== configuration\n{configured}\n== status\n{mounts}\n== log\n{log}"
    );
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    write!(file, "{}", PrintableLines(&text)).map_err(failed)?;
    say(&format!(
        "{}: what is above, the configuration without secrets, the status of the mounts and the last {LOG_LINES} lines of the log. \
         It names servers, users, folders and files: read it before you give it to somebody.\n",
        to.display()
    ));
    Ok(u8::from(!doctor.status.success()))
}

/// The places in a configuration, and its sources. Its comments are not in it, since they may hold anything.
fn configured(file: &Path) -> String {
    let config = match Config::examine(file) {
        Ok((config, _)) => config,
        Err(problems) => return format!("{problems}\n"),
    };
    let mut out = format!("mountpoint {:?}\n{:?}\n", config.mountpoint, config.cache);
    for source in &config.sources {
        writeln!(out, "source {}: {}", source.name, without_secrets(source)).expect("writing to a string cannot fail");
    }
    out
}

/// The type and the settings of a source: the values of [`SHOWN`] only, since a key that is mistyped may have a secret, too.
fn without_secrets(source: &SourceConfig) -> String {
    // Which settings of a plugin are secret is known to its author only.
    let is_plugin = ["plugin", "python"].contains(&&*source.type_name);
    let settings = source.settings.values.iter().map(|(key, value)| match value {
        Value::String(text) if SHOWN.contains(&&**key) && !is_plugin => format!("{key} = {}", place(text)),
        _ => key.clone(),
    });
    format!("{}: {}", source.type_name, settings.collect::<Vec<_>>().join(", "))
}

/// A URL, host or path without what may let somebody in: who logs in, and a query.
fn place(text: &str) -> String {
    let (before, query) = text.split_once('?').map_or((text, ""), |(before, _)| (before, "?…"));
    // Of the whole text, since a password may have any character.
    let (user, _) = text.rsplit_once('@').unwrap_or_default();
    match before.get(user.len()..) {
        Some(rest) if !user.is_empty() => format!("…{rest}{query}"),
        Some(rest) => format!("{rest}{query}"),
        None => "…".to_owned(),
    }
}

/// The status of this user's mounts, as JSON.
fn mounts() -> String {
    match status::show(None, Form::Json) {
        Ok((mut shown, failures)) => {
            failures.iter().for_each(|failure| shown.push_str(&format!("{failure}\n")));
            shown
        }
        Err(error) => format!("{error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_without_what_may_let_somebody_in() {
        assert_eq!(place("https://host/a"), "https://host/a");
        assert_eq!(place("https://anna:hunter2@host/a"), "…@host/a");
        assert_eq!(place("anna:hunter2@host"), "…@host");
        assert_eq!(place("https://host/a?t=hunter2"), "https://host/a?…");
        assert_eq!(place("https://anna:hunter?2@host/a"), "…");
    }
}
