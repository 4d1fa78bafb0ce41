//! The identity of a remote: a text that is the same as long as it is the same remote. It never contains a secret.

use std::collections::BTreeMap;

use ::url::Url;
use toml::Value;

/// The type and all settings that are no secrets, sorted by key. A changed password is the same remote; a changed user is not,
/// since another user may see other files.
pub fn identity<'a>(type_name: &str, values: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    let mut text = type_name.to_owned();
    for (key, value) in sorted(values) {
        text.push_str(&format!("\n{} = {}", quoted(key), canonical(value)));
    }
    text
}

fn sorted<'a>(values: impl Iterator<Item = (&'a String, &'a Value)>) -> BTreeMap<&'a String, &'a Value> {
    values.filter(|(key, value)| !is_secret_key(key) && !is_secret_form(value)).collect()
}

fn canonical(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(&without_password(text)),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(", "))
        }
        Value::Table(table) => {
            let entries = sorted(table.iter()).into_iter().map(|(k, v)| format!("{} = {}", quoted(k), canonical(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// JSON's quoting, which no release of Rust or of a crate changes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Removes the password from a URL: users leave passwords in `https://anna:pw@host`.
pub fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    if url.password().is_some() && url.set_password(None).is_ok() { url.into() } else { text.to_owned() }
}

/// Whether a key's name says that its value is a credential. `access_key_id` is none: it names an account.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    ["password", "passphrase", "token", "secret", "credential"].iter().any(|word| key.contains(word))
        || key == "key"
        || key.ends_with("_key")
}

fn is_secret_form(value: &Value) -> bool {
    let Value::Table(table) = value else { return false };
    table.len() == 1 && ["env", "command", "file", "keyring"].iter().any(|form| table.contains_key(*form))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let table: toml::Table = text.parse().expect("the test's TOML is right");
        identity("s3", table.iter())
    }

    #[test]
    fn identity_is_independent_of_the_order_of_keys() {
        assert_eq!(
            of("bucket = 'b'\nroot = '/r'\nx = { c = 1, a = [1, 'z'] }"),
            of("x = { a = [1, 'z'], c = 1 }\nroot = '/r'\nbucket = 'b'")
        );
    }

    #[test]
    fn identity_is_independent_of_secrets() {
        let plain = of("endpoint = 'https://h'\naccess_key_id = 'AK'");
        for secret in [
            "password = 'hunter2'",
            "password = { env = 'PW' }",
            "token = 'hunter2'",
            "session_token = 'hunter2'",
            "secret_access_key = 'hunter2'",
            "encryption_key = 'hunter2'",
            "whatever = { command = 'echo hunter2' }",
            "whatever = { keyring = true }",
        ] {
            assert_eq!(of(&format!("endpoint = 'https://h'\naccess_key_id = 'AK'\n{secret}")), plain, "{secret}");
        }
        assert_eq!(of("endpoint = 'https://anna:hunter2@h/'"), of("endpoint = 'https://anna@h/'"));
        assert!(!of("nested = { password = 'hunter2', x = 1 }").contains("hunter2"));
    }

    #[test]
    fn identity_depends_on_every_other_setting() {
        assert_eq!(of("bucket = 'b'\naccess_key_id = 'AK'"), "s3\n\"access_key_id\" = \"AK\"\n\"bucket\" = \"b\"");
        assert_ne!(of("bucket = 'b'"), of("bucket = 'c'"));
        assert_ne!(of("username = 'anna'"), of("username = 'ben'"));
        assert_ne!(of("x = '1'"), of("x = 1"));
        assert_ne!(of("a = \"1\\n\\\"b\\\" = 2\""), of("a = '1'\nb = 2"));
    }
}
