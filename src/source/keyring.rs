//! The names by which the keyring keeps a setting's secret: the service is `kitovu-<type>`, and the type tells the user name.
//!
//! The names are those of kitovu where it has some. The place is in the name, so that a secret never goes to another place than the
//! one that it was stored for.

use std::collections::BTreeMap;

use toml::Value;

use super::Kind;
use super::identity::without_password;
use crate::keyring::Item;

/// The keys whose value may name the account, in this order.
const ACCOUNTS: [&str; 4] = ["username", "user", "access_key_id", "account_name"];

/// The keys whose value may name the place, in this order.
const PLACES: [&str; 6] = ["url", "endpoint", "hostname", "host", "bucket", "container"];

/// A source's own table, as far as it tells where a secret is valid.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// The source's name.
    pub name: &'a str,
    /// Key and value as written.
    pub values: &'a BTreeMap<String, Value>,
}

impl Table<'_> {
    /// The first of the keys that is there and holds a text, without a password in it.
    pub fn first(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| self.values.get(*key).and_then(Value::as_str).map(without_password))
    }

    /// `user@place`, and the key if it is neither `password` nor `token`: the user name where a type has no other.
    pub fn account_and_place(&self, key: &str) -> String {
        let account = self.first(&ACCOUNTS).map(|account| account + "@").unwrap_or_default();
        let port = self.values.get("port").and_then(Value::as_integer).map(|port| format!(":{port}"));
        // A source without any place is known by its name only.
        let place = self.first(&PLACES).unwrap_or_else(|| self.name.to_owned()) + &port.unwrap_or_default();
        let which = if ["password", "token"].contains(&key) { String::new() } else { format!(" {key}") };
        format!("{account}{place}{which}")
    }
}

/// The item of the secret under `key`.
///
/// # Errors
/// With the advice what to write instead.
pub fn item(kind: &dyn Kind, key: &str, table: Table<'_>) -> Result<Item, String> {
    let identifier = kind.keyring_user(key, table)?;
    Ok(Item { service: format!("kitovu-{}", kind.type_name()), identifier })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str, text: &str) -> String {
        let values = text.parse::<toml::Table>().expect("the test's TOML is right").into_iter().collect();
        Table { name: "courses", values: &values }.account_and_place(key)
    }

    #[test]
    fn secrets_have_account_and_place_in_their_names() {
        let webdav = "endpoint = 'https://anna:hunter2@cloud.example.edu/dav'\nusername = 'anna'";
        assert_eq!(name("password", webdav), "anna@https://anna@cloud.example.edu/dav");
        let ssh = "host = 'lab'\nport = 2222\nusername = 'anna'\nroot = '/srv'";
        assert_eq!(name("password", ssh), "anna@lab:2222");
        assert_eq!(name("passphrase", ssh), "anna@lab:2222 passphrase");
        let s3 = "bucket = 'b'\naccess_key_id = 'AK'";
        assert_eq!(name("secret_access_key", s3), "AK@b secret_access_key");
        assert_eq!(name("password", "plugin = 'x:Y'"), "courses");
    }
}
