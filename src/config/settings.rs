//! `Settings`: one source's own table, as `Source::configure` reads it. It knows no file and no line numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::secret::{Revealed, Secret};

/// One thing wrong with a source's settings. The configuration adds file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key that it is about; `None` if about the table as a whole (a missing key).
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

/// A source's own table, without the keys that every source shares (`type`, `fresh_for`, `timeout`, `offline`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// The source's name: its folder.
    pub name: String,
    /// Key and value as written.
    pub values: BTreeMap<String, toml::Value>,
    /// Whether only the user can read the file that the table stands in, so that plain secrets are allowed.
    pub private: bool,
    /// Directories of this process that a source must never show: the mount point and the cache directory, canonical.
    pub reserved: Vec<PathBuf>,
}

impl Settings {
    /// Starts reading; see [`Reader`].
    pub fn reader(&self) -> Reader<'_> {
        Reader { settings: self, known: Vec::new(), problems: Vec::new() }
    }
}

/// Reads settings key by key and gathers every problem. A key that nobody asked for is an unknown key.
#[derive(Debug)]
pub struct Reader<'a> {
    settings: &'a Settings,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn value(&mut self, key: &'static str) -> Option<&'a toml::Value> {
        self.known.push(key);
        self.settings.values.get(key)
    }

    /// Notes a problem of `key`, or of the whole table.
    pub fn problem(&mut self, key: Option<&str>, message: impl Into<String>) {
        self.problems.push(Problem { key: key.map(str::to_owned), message: message.into() });
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
                self.string(key).unwrap_or_default()
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

    /// A credential in one of the secret forms, or none. An environment variable or file that is not there is a problem now,
    /// not at the first request.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        const FORMS: &str = "{ env = \"NAME\" }, { command = \"…\" } or { file = \"…\" }";
        let secret = match self.value(key)? {
            toml::Value::String(text) => {
                if !self.settings.private {
                    self.problem(
                        Some(key),
                        format!(
                            "`{key}` is written in a file that others can read; \
                             run chmod 600 on the file, or use {FORMS}"
                        ),
                    );
                    return None;
                }
                return Some(Secret::Plain(Revealed::new(text.clone())));
            }
            toml::Value::Table(table) if table.len() == 1 => {
                let (form, value) = table.iter().next().expect("the table has one key");
                match (form.as_str(), value) {
                    ("env", toml::Value::String(name)) => Secret::Env(name.clone()),
                    ("command", toml::Value::String(command)) => Secret::Command(command.clone()),
                    ("file", toml::Value::String(path)) => Secret::File(super::expand_home(path)),
                    _ => {
                        self.problem(Some(key), format!("`{key}`: a secret is written as {FORMS}"));
                        return None;
                    }
                }
            }
            _ => {
                self.problem(Some(key), format!("`{key}`: a secret is written as {FORMS}"));
                return None;
            }
        };
        match &secret {
            // Commands may be slow or ask something: they run when the source connects.
            Secret::Command(_) | Secret::Plain(_) => {}
            Secret::Env(_) | Secret::File(_) => {
                if let Err(error) = secret.reveal() {
                    self.problem(Some(key), format!("`{key}`: {error}"));
                    return None;
                }
            }
        }
        Some(secret)
    }

    /// Ends reading: an error with every problem, unknown keys included.
    pub fn finish(mut self) -> Result<(), Vec<Problem>> {
        for key in self.settings.values.keys() {
            if !self.known.contains(&key.as_str()) {
                let known = self.known.iter().copied().chain(super::COMMON_KEYS);
                let message = super::unknown_key(key, known);
                self.problems.push(Problem { key: Some(key.clone()), message });
            }
        }
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }
}

fn article(type_name: &str) -> String {
    match type_name {
        "integer" | "array" => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}
