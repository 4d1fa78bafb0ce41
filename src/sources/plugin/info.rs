//! `Info`: the source's own table, as it goes to `configure`. It knows no key of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;
use crate::secret::Secret;
use crate::source::settings::{Reader, Setting};

/// What the name of a setting ends with whose plain value is a secret.
const SECRET_KEYS: [&str; 7] = ["password", "passwd", "passphrase", "secret", "token", "api_key", "access_key"];

/// The settings that are the plugin's own business.
#[derive(Debug, Clone, Default)]
pub struct Info(BTreeMap<String, Setting>);

impl Info {
    /// Takes every key that was not read yet.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let is_secret = |key: &str| {
            let key = key.to_ascii_lowercase().replace('-', "_");
            SECRET_KEYS.iter().any(|end| key.ends_with(end))
        };
        Self(reader.rest(is_secret))
    }

    /// Whether a command or the keyring must be asked to know them, which may take long, or ask somebody something.
    pub fn asks(&self) -> bool {
        self.0.values().any(|setting| matches!(setting, Setting::Secret(Secret::Command(_) | Secret::Keyring(_))))
    }

    /// As JSON, and the secrets in it. May run commands and read files.
    ///
    /// # Errors
    /// `InvalidConfig` naming the setting whose secret is not there.
    pub async fn reveal(&self) -> Result<(Value, Vec<Revealed>)> {
        let settings = self.0.clone();
        let revealing = tokio::task::spawn_blocking(move || {
            let (mut info, mut secrets) = (Map::new(), Vec::new());
            for (key, setting) in settings {
                let value = match setting {
                    Setting::Value(value) => json(value),
                    Setting::Secret(secret) => {
                        let secret = secret.reveal().map_err(|e| e.on(&key))?;
                        secrets.push(secret.clone());
                        Value::String(secret.expose().to_owned())
                    }
                };
                info.insert(key, value);
            }
            Ok((Value::Object(info), secrets))
        });
        revealing.await.map_err(|lost| Error::new("read secret", ErrorKind::Other).caused_by(lost))?
    }
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        // Infinities and NaN have no form in JSON.
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json).collect()),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::settings::Settings;

    #[tokio::test]
    async fn every_key_arrives_and_secrets_are_known_as_such() {
        let table = "command = ['x']\nurl = 'u'\nn = 1\nwhen = 2026-01-02\n'my-token' = 't0ken'\n[list]\na = [1.5, true]\n\
                     [password]\ncommand = 'echo hunter2'";
        let settings = Settings::of("s", toml::from_str(table).expect("it is right"));
        let mut reader = settings.reader();
        reader.strings("command");
        let info = Info::read(&mut reader);
        reader.finish().expect("no key is unknown");
        assert!(info.asks() && !format!("{info:?}").contains("t0ken"), "{info:?}");
        let (value, secrets) = info.reveal().await.expect("the command works");
        let expected = json!({"url": "u", "n": 1, "when": "2026-01-02", "my-token": "t0ken", "list": {"a": [1.5, true]},
            "password": "hunter2"});
        assert_eq!(value, expected);
        let secrets: Vec<_> = secrets.iter().map(Revealed::expose).collect();
        assert_eq!(secrets, ["t0ken", "hunter2"]);
    }

    #[test]
    fn a_plain_secret_needs_a_private_file() {
        let values = toml::from_str("password = 'hunter2'").expect("it is right");
        let settings = Settings { private: false, ..Settings::of("s", values) };
        let mut reader = settings.reader();
        Info::read(&mut reader);
        let problems = reader.finish().expect_err("others can read it");
        assert!(problems[0].message.contains("chmod 600") && !problems[0].message.contains("hunter2"), "{problems:?}");
    }
}
