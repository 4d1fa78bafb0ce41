//! `Settings`: one source's own table, as `Kind::configure` reads it. It knows no file and no line numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::nearest::unknown_key;
use crate::keyring::Item;
use crate::path::expand_home;
use crate::revealed::Revealed;
use crate::room::Rooms;
use crate::secret::Secret;

/// Keys that every source's table may hold, and `[defaults]` for all of them.
pub(crate) const DEFAULTS_KEYS: [&str; 13] = [
    "fresh_for",
    "timeout",
    "patience",
    "offline",
    "unknown_size",
    "read_ahead",
    "umask",
    "file_mode",
    "dir_mode",
    "uid",
    "gid",
    "max_requests",
    "max_bandwidth",
];

/// Keys that every source's table may hold besides its own.
pub(crate) fn common_keys() -> impl Iterator<Item = &'static str> {
    ["type", "hidden", "live", "shared", "circle"].into_iter().chain(DEFAULTS_KEYS)
}

/// The password of the user in a URL: an argument shows in `ps` and in the shell's history, a variable does not.
pub(crate) const PASSWORD_VARIABLE: &str = "KITOVUFS_PASSWORD";

/// For how long an answer is current where the configuration says nothing.
pub(crate) const FRESH_FOR: Duration = Duration::from_secs(30);

/// One thing wrong with a source's settings. The configuration adds file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key that it is about; `None` if about the table as a whole (a missing key).
    pub key: Option<String>,
    /// The problem and its remedy.
    pub message: String,
    /// Whether it may end while the configuration stays as it is: a variable that is not set, a file or a directory that is not there.
    pub may_pass: bool,
}

impl Problem {
    /// A mistake in the value of `key`, or in the table as a whole.
    pub fn new(key: Option<&str>, message: impl Into<String>) -> Self {
        Self { key: key.map(str::to_owned), message: message.into(), may_pass: false }
    }
}

/// The forms of a secret, for messages.
pub(crate) const FORMS: &str = "{ env = \"NAME\" }, { command = \"…\" }, { file = \"…\" } or { keyring = true }";

/// The same of a secret that is no source's, for which a keyring has no place.
pub(crate) const FORMS_WITHOUT_KEYRING: &str = "{ env = \"NAME\" }, { command = \"…\" } or { file = \"…\" }";

/// A source's own table, without the keys that every source shares (`type`, `fresh_for`, `timeout` and so on).
///
/// The values may hold secrets as written: `Debug` shows the keys only.
#[derive(Clone)]
pub struct Settings {
    /// The source's name: its folder.
    pub(crate) name: String,
    /// Key and value as written.
    pub(crate) values: BTreeMap<String, toml::Value>,
    /// Whether only the user can read the file that the table stands in, so that plain secrets are allowed.
    pub(crate) private: bool,
    /// Directories of this process that a source must never show: the mount point and the cache directory, canonical.
    pub(crate) reserved: Vec<PathBuf>,
    /// For how long the mount takes an answer of this source for current.
    pub(crate) fresh_for: Duration,
    /// A directory for temporary files; not necessarily there yet.
    pub(crate) scratch: PathBuf,
    /// Environment variables that hold secrets of other sources: programs of this source must not inherit them.
    pub(crate) withheld: Vec<String>,
    /// Room for those files.
    pub(crate) rooms: Rooms,
    /// Notes that are no problems but concern the user.
    pub(crate) notes: Notes,
}

impl Settings {
    /// The secrets that are kept where `login` can put them, by their keys: in the keyring or in a file.
    pub(crate) fn kept_secrets(&self) -> Vec<(String, Secret)> {
        let kept = |value: &toml::Value| {
            let (form, place) = value.as_table().filter(|table| table.len() == 1)?.iter().next()?;
            match (&**form, place) {
                // Also where this program has no keyring: the failure to read it tells the user so.
                ("keyring", item) => Item::from_toml(item).map(Secret::Keyring),
                ("file", toml::Value::String(path)) => Some(Secret::File(expand_home(path))),
                _ => None,
            }
        };
        self.values.iter().filter_map(|(key, value)| Some((key.clone(), kept(value)?))).collect()
    }

    /// The first of these keys that the table has.
    #[cfg(feature = "shared")]
    pub(crate) fn first_of(&self, keys: &[&'static str]) -> Option<&'static str> {
        keys.iter().copied().find(|key| self.values.contains_key(*key))
    }

    /// Whether getting the secrets may make another program ask the user something: a command, or a keyring that is locked.
    pub(crate) fn may_ask(&self) -> bool {
        let asks = |form: &str| ["command", "keyring"].contains(&form);
        self.values.values().filter_map(toml::Value::as_table).any(|table| table.keys().any(|form| asks(form)))
    }

    /// The environment variables that the table names as secrets, wherever in it.
    pub(crate) fn variables(&self) -> BTreeSet<String> {
        fn gather(value: &toml::Value, names: &mut BTreeSet<String>) {
            match value {
                toml::Value::Table(table) => {
                    if let (1, Some(toml::Value::String(name))) = (table.len(), table.get("env")) {
                        names.insert(name.clone());
                    }
                    table.values().for_each(|value| gather(value, names));
                }
                toml::Value::Array(values) => values.iter().for_each(|value| gather(value, names)),
                _ => {}
            }
        }
        let mut names = BTreeSet::new();
        self.values.values().for_each(|value| gather(value, &mut names));
        names
    }

    /// The same table with secrets as the user has just typed them.
    #[must_use]
    pub(crate) fn with_secrets(mut self, secrets: impl IntoIterator<Item = (String, Revealed)>) -> Self {
        let plain = secrets.into_iter().map(|(key, secret)| (key, toml::Value::String(secret.expose().to_owned())));
        self.values.extend(plain);
        self.private = true;
        self
    }

    /// A table that only its user can read, with defaults for everything else.
    pub fn of(name: impl Into<String>, values: BTreeMap<String, toml::Value>) -> Self {
        Self {
            name: name.into(),
            values,
            private: true,
            reserved: Vec::new(),
            fresh_for: FRESH_FOR,
            scratch: std::env::temp_dir(),
            withheld: Vec::new(),
            rooms: Rooms::default(),
            notes: Notes::default(),
        }
    }

    /// The same table for a source whose files for a while are put into this directory, which is made if it is not there.
    #[must_use]
    pub fn staging_in(mut self, scratch: impl Into<PathBuf>) -> Self {
        self.scratch = scratch.into();
        self
    }

    /// Starts reading; see [`Reader`].
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { settings: self, known: Vec::new(), takes_rest: false, problems: Vec::new() }
    }
}

/// Notes of a source for the user, shared by all copies of a table: those of `configure`, which `check` and `mount` print, then what
/// the source finds out about its server, which `check` and `status` print.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    /// Adds one, with what to do about it.
    pub fn add(&self, note: String) {
        self.0.lock().push(note);
    }

    /// All that were not taken.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// Takes all of them.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("keys", &self.values.keys().collect::<Vec<_>>())
            .field("private", &self.private)
            .field("reserved", &self.reserved)
            .finish()
    }
}

/// A value of a source whose keys are not known here.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// As written.
    Value(toml::Value),
    /// A credential, which is got when it is needed.
    Secret(Secret),
}

/// Reads settings key by key and gathers every problem. A key that was not read is an unknown key.
#[derive(Debug)]
pub struct Reader<'a> {
    settings: &'a Settings,
    known: Vec<&'static str>,
    takes_rest: bool,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn value(&mut self, key: &'static str) -> Option<&'a toml::Value> {
        self.known.push(key);
        self.settings.values.get(key)
    }

    /// Notes a mistake in `key`, or in the whole table.
    pub fn problem(&mut self, key: Option<&str>, message: impl Into<String>) {
        self.problems.push(Problem::new(key, message));
    }

    /// Notes that what `key` names is not there now.
    pub fn absence(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem { may_pass: true, ..Problem::new(Some(key), message) });
    }

    fn wrong_type(&mut self, key: &str, wanted: &str, found: &toml::Value) {
        self.problem(Some(key), format!("`{key}` must be {wanted}, not {}", article(found.type_str())));
    }

    /// A string, or none.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            toml::Value::String(text) => Some(text.clone()),
            other => {
                self.wrong_type(key, "a string", other);
                None
            }
        }
    }

    /// A string that must be there; empty (with a problem noted) if it is not.
    pub fn required_string(&mut self, key: &'static str, example: &str) -> String {
        match self.value(key) {
            Some(_) => {
                self.known.pop();
                let text = self.string(key);
                if text.as_deref() == Some("") {
                    self.problem(Some(key), format!("`{key}` is empty; write for example: {key} = \"{example}\""));
                }
                text.unwrap_or_default()
            }
            None => {
                self.problem(None, format!("`{key}` is missing; add for example: {key} = \"{example}\""));
                String::new()
            }
        }
    }

    /// A boolean, or none.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            toml::Value::Boolean(flag) => Some(*flag),
            other => {
                self.wrong_type(key, "true or false", other);
                None
            }
        }
    }

    /// A whole number within `range`, or none.
    pub fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        match self.value(key)? {
            toml::Value::Integer(number) if range.contains(number) => Some(*number),
            toml::Value::Integer(number) => {
                self.problem(Some(key), format!("`{key}` must be {} to {}, not {number}", range.start(), range.end()));
                None
            }
            other => {
                self.wrong_type(key, "a whole number", other);
                None
            }
        }
    }

    /// A list of strings, or none.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let items = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        if let Some(Some(strings)) = items {
            return Some(strings);
        }
        self.wrong_type(key, "a list of strings", value);
        None
    }

    /// A list of strings that must be there; empty (with a problem noted) if it is not.
    pub fn required_strings(&mut self, key: &'static str, example: &str) -> Vec<String> {
        if !self.settings.values.contains_key(key) {
            self.known.push(key);
            self.problem(None, format!("`{key}` is missing; add for example: {key} = {example}"));
            return Vec::new();
        }
        let strings = self.strings(key);
        if strings.as_ref().is_some_and(Vec::is_empty) {
            self.problem(Some(key), format!("`{key}` is empty; write for example: {key} = {example}"));
        }
        strings.unwrap_or_default()
    }

    /// Every key that was not read, for a source whose keys are not known here; from now on none is unknown.
    ///
    /// A value in one of the forms of a secret is a secret, and so is a plain string if `is_secret` says so of its key.
    pub fn rest(&mut self, is_secret: impl Fn(&str) -> bool) -> BTreeMap<String, Setting> {
        self.takes_rest = true;
        let mut rest = BTreeMap::new();
        for (key, value) in &self.settings.values {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            if has_form_of_secret(value) || (is_secret(key) && value.is_str()) {
                rest.extend(self.secret_value(key, value).map(|secret| (key.clone(), Setting::Secret(secret))));
            } else {
                rest.insert(key.clone(), Setting::Value(value.clone()));
            }
        }
        rest
    }

    /// A credential in one of the secret forms, or none. An environment variable or file that is not there is a problem now,
    /// not at the first request.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let value = self.value(key)?;
        self.secret_value(key, value)
    }

    fn secret_value(&mut self, key: &str, value: &toml::Value) -> Option<Secret> {
        let secret = match secret_of(value, self.settings.private, FORMS) {
            Ok(secret) => secret,
            Err(why) => {
                self.problem(Some(key), format!("`{key}`: {why}"));
                return None;
            }
        };
        // Commands may be slow or ask something: they run when the source connects.
        if matches!(secret, Secret::Env(_) | Secret::File(_))
            && let Err(error) = secret.reveal()
        {
            self.absence(key, format!("`{key}`: {error}"));
            return None;
        }
        Some(secret)
    }

    /// Ends reading: an error with every problem, unknown keys included.
    pub fn finish(mut self) -> Result<(), Vec<Problem>> {
        for key in self.settings.values.keys() {
            if !self.takes_rest && !self.known.contains(&key.as_str()) {
                let known = self.known.iter().copied().chain(common_keys());
                let message = unknown_key(key, known);
                self.problems.push(Problem::new(Some(key), message));
            }
        }
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }

    /// Ends reading like `finish`, with the value that was made of the settings: `None` only where a problem was noted.
    pub fn finish_with<T>(self, made: Option<T>) -> Result<T, Vec<Problem>> {
        self.finish().and_then(|()| made.ok_or_else(Vec::new))
    }
}

/// Whether a value is written as a secret is.
fn has_form_of_secret(value: &toml::Value) -> bool {
    let forms = ["env", "command", "file", "keyring"];
    value.as_table().is_some_and(|table| table.len() == 1 && table.keys().all(|form| forms.contains(&form.as_str())))
}

/// Reads where a value says that a credential is; `forms` are those that errors name. They never quote the value: it may be the credential.
pub(crate) fn secret_of(value: &toml::Value, private: bool, forms: &str) -> Result<Secret, String> {
    let table = match value {
        toml::Value::String(text) if text.is_empty() => return Err(format!("the secret is empty; use {forms}")),
        toml::Value::String(text) if private => return Ok(Secret::Plain(Revealed::new(text.clone()))),
        toml::Value::String(_) => {
            return Err(format!("a secret in a file that others can read; run chmod 600 on the file, or use {forms}"));
        }
        toml::Value::Table(table) if table.len() == 1 => table,
        _ => return Err(format!("a secret is written as {forms}")),
    };
    match table.iter().next() {
        Some((form, toml::Value::String(name))) if form == "env" => Ok(Secret::Env(name.clone())),
        Some((form, toml::Value::String(command))) if form == "command" => Ok(Secret::Command(command.clone())),
        Some((form, toml::Value::String(path))) if form == "file" => Ok(Secret::File(expand_home(path))),
        Some((form, item)) if form == "keyring" => match Item::from_toml(item) {
            Some(item) if cfg!(feature = "keyring") => Ok(Secret::Keyring(item)),
            Some(_) => Err(format!("this kitovufs was built without a keyring; use {FORMS_WITHOUT_KEYRING}")),
            None => Err("a secret in the keyring is written as { keyring = true }".to_owned()),
        },
        _ => Err(format!("a secret is written as {forms}")),
    }
}

/// A TOML type with its article, for messages.
pub(crate) fn article(type_name: &str) -> String {
    match type_name {
        "integer" | "array" => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, private: bool) -> Settings {
        let table: toml::Table = text.parse().expect("the test's TOML is right");
        Settings { private, ..Settings::of("s", table.into_iter().collect()) }
    }

    fn secret_problem(text: &str) -> String {
        let settings = settings(text, false);
        let mut reader = settings.reader();
        assert_eq!(reader.secret("password"), None);
        let problems = reader.finish().expect_err("the secret is refused");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].key.as_deref(), Some("password"));
        problems[0].message.clone()
    }

    #[test]
    fn every_problem_is_gathered() {
        let settings = settings("host = 1\nport = 70000\ntls = 'yes'\nusernme = 'anna'\nshare = ''", true);
        let mut reader = settings.reader();
        assert_eq!(reader.required_string("host", "files.example.org"), "");
        assert_eq!(reader.required_string("path", "/srv"), "");
        assert_eq!(reader.required_string("share", "scripts"), "");
        assert_eq!(reader.integer("port", 1..=65535), None);
        assert_eq!(reader.boolean("tls"), None);
        assert_eq!(reader.string("username"), None);
        let problems = reader.finish().expect_err("there are six");
        let found: Vec<_> = problems.iter().map(|p| (p.key.as_deref(), p.message.as_str())).collect();
        assert_eq!(
            found,
            [
                (Some("host"), "`host` must be a string, not an integer"),
                (None, "`path` is missing; add for example: path = \"/srv\""),
                (Some("share"), "`share` is empty; write for example: share = \"scripts\""),
                (Some("port"), "`port` must be 1 to 65535, not 70000"),
                (Some("tls"), "`tls` must be true or false, not a string"),
                (Some("usernme"), "unknown key `usernme`; did you mean `username`?"),
            ]
        );
    }

    #[test]
    fn settings_show_their_keys_but_never_a_value() {
        let settings = settings("password = 'hunter2'\nendpoint = 'https://anna:hunter2@h'", true);
        let shown = format!("{settings:?} {:?}", settings.reader());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("password"), "{shown}");
    }

    #[test]
    fn a_plain_secret_needs_a_private_file() {
        let private = settings("password = 'hunter2'", true);
        assert_eq!(private.reader().secret("password"), Some(Secret::Plain(Revealed::new("hunter2"))));
        let message = secret_problem("password = 'hunter2'");
        assert!(message.contains("chmod 600") && message.contains("{ env = "), "{message}");
        assert!(!message.contains("hunter2"));
    }

    #[test]
    fn a_keyring_is_asked_when_the_source_connects() {
        let text = "password = { keyring = { service = 'kitovu-x', identifier = 'anna@h' } }";
        if cfg!(feature = "keyring") {
            let settings = settings(text, false);
            let mut reader = settings.reader();
            let item = Item { service: "kitovu-x".into(), identifier: "anna@h".into() };
            assert_eq!(reader.secret("password"), Some(Secret::Keyring(item)));
        } else {
            let message = secret_problem(text);
            assert!(message.contains("without a keyring") && message.contains("{ command = "), "{message}");
        }
        for wrong in ["{ keyring = false }", "{ keyring = 'x' }", "{ keyring = { service = 'x' } }"] {
            assert!(secret_problem(&format!("password = {wrong}")).contains("{ keyring = true }"));
        }
    }

    #[test]
    fn a_secret_of_another_form_is_refused_without_showing_it() {
        for text in
            ["password = { plain = 'hunter2' }", "password = ['hunter2']", "password = { env = 'A', file = 'hunter2' }"]
        {
            let message = secret_problem(text);
            assert!(message.contains("{ file = ") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_missing_variable_or_file_is_a_problem_at_once_but_a_command_waits() {
        assert!(secret_problem("password = { env = 'KITOVUFS_TEST_UNSET' }").contains("KITOVUFS_TEST_UNSET"));
        assert!(secret_problem("password = { file = '/nonexistent/pw' }").contains("/nonexistent/pw"));
        let settings = settings("password = { command = 'exit 1' }", false);
        assert_eq!(settings.reader().secret("password"), Some(Secret::Command("exit 1".into())));
    }
}
