//! The meaning of a URL on the command line to a type of source. It reads no environment; it is told which variables are set.

use std::collections::BTreeMap;

use ::url::Url;
use toml::Value;

use super::settings::PASSWORD_VARIABLE;

/// The URLs of one type of source.
pub struct Urls {
    /// Each scheme, and the form of its URLs for messages; an empty form for another name of a scheme.
    pub schemes: &'static [(&'static str, &'static str)],
    /// Reads a URL with one of the schemes. An error never repeats the URL: it may hold a password.
    pub read: fn(&Typed<'_>) -> Result<UrlSettings, String>,
}

/// A URL as it was typed.
pub struct Typed<'a> {
    /// The text before `://`, in lower case; empty if that is missing.
    pub scheme: &'a str,
    /// The text after `://`.
    pub rest: &'a str,
    /// Whether an environment variable has a value.
    pub is_set: &'a dyn Fn(&str) -> bool,
    /// All forms of URLs, for messages.
    pub known: &'a str,
}

impl Typed<'_> {
    /// The URL, under a scheme that the parser of URLs reads as this one is meant.
    pub fn read_as(&self, scheme: &str) -> Result<Url, String> {
        let url = Url::parse(&format!("{scheme}://{}", self.rest));
        url.map_err(|error| format!("the URL cannot be read: {error}; {}", self.known))
    }

    /// The same for a URL that names a host and perhaps a user, and ends with its path.
    pub fn read_server_as(&self, scheme: &str) -> Result<Url, String> {
        let url = self.read_as(scheme)?;
        if url.password().is_some() {
            let instead = format!("put it into the environment variable {PASSWORD_VARIABLE}");
            return Err(format!(
                "a password in a URL shows in `ps` and in the shell's history; {instead} and leave it out"
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("such a URL ends with its path; write %3F for `?` and %23 for `#`".into());
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("the URL names no host".into());
        }
        Ok(url)
    }
}

/// A source's name and settings, as a URL tells them.
#[derive(Debug, PartialEq)]
pub struct UrlSettings {
    /// The name that its directory may have.
    pub name: String,
    /// Its settings.
    pub values: BTreeMap<String, Value>,
}

impl UrlSettings {
    /// A source of this name without any settings.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), values: BTreeMap::new() }
    }

    /// Adds a setting.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    /// Adds a secret that an environment variable holds.
    pub fn set_variable(&mut self, key: &str, variable: &str) {
        self.set(key, Value::Table([("env".to_owned(), variable.into())].into_iter().collect()));
    }

    /// The path of the URL becomes `root`, if it says more than `/`.
    pub fn set_root(&mut self, path: &str) -> Result<(), String> {
        let root = percent_decoded(path)?;
        if !root.trim_matches('/').is_empty() {
            self.set("root", format!("/{}", root.trim_matches('/')));
        }
        Ok(())
    }

    /// The port of the URL becomes `port`, if it has one.
    pub fn set_port(&mut self, url: &Url) {
        if let Some(port) = url.port() {
            self.set("port", i64::from(port));
        }
    }

    /// The user of the URL becomes `username`; a variable holds the password.
    pub fn set_login(&mut self, url: &Url, typed: &Typed<'_>) -> Result<(), String> {
        if !url.username().is_empty() {
            self.set("username", percent_decoded(url.username())?);
            if (typed.is_set)(PASSWORD_VARIABLE) {
                self.set_variable("password", PASSWORD_VARIABLE);
            }
        }
        Ok(())
    }

    /// The URL without its user becomes `url`.
    pub fn set_url(&mut self, mut url: Url) -> Result<(), String> {
        url.set_username("").map_err(|()| "the URL names no host")?;
        self.set("url", url.as_str());
        Ok(())
    }
}

/// Decodes the percent-encoded bytes of a part of a URL.
pub fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_err(|_| "the URL is not UTF-8, so it needs a configuration file".into())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
