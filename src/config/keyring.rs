//! By which names a setting's secret is kept in the keyring: those of kitovu where it has some, and a like rule for the rest.
//!
//! | type, key | service | user name |
//! |---|---|---|
//! | `smb`, `password` | `kitovu-smb` | user, domain and host, a line each |
//! | `moodle`, `token` | `kitovu-moodle` | the URL, with a slash at its end |
//! | other | `kitovu-<type>` | `user@place`, and the key if it is neither `password` nor `token` |
//!
//! The place is in the name, so that a secret never goes to another place than the one that it was stored for.

use std::collections::BTreeMap;

use toml::Value;

use crate::keyring::Item;
use crate::source::identity::without_password;

/// What may name the account, in this order.
const ACCOUNTS: [&str; 4] = ["username", "user", "access_key_id", "account_name"];

/// What may name the place, in this order.
const PLACES: [&str; 6] = ["url", "endpoint", "hostname", "host", "bucket", "container"];

/// The item of the secret under `key`, in the table of the source `name`.
///
/// # Errors
/// What to write instead.
pub(super) fn item(type_name: &str, name: &str, key: &str, table: &BTreeMap<String, Value>) -> Result<Item, String> {
    let text = |key: &str| table.get(key).and_then(Value::as_str).map(without_password);
    let first = |keys: &[&str]| keys.iter().find_map(|key| text(key));
    let identifier = match (type_name, key) {
        ("smb", "password") => {
            let (user, domain) = (text("username").unwrap_or_default(), text("domain"));
            let (domain, user) = match (domain, user.split_once('\\')) {
                (None, Some((domain, user))) => (domain.to_owned(), user.to_owned()),
                (domain, _) => (domain.unwrap_or_default(), user),
            };
            format!("{user}\n{domain}\n{}", first(&["hostname", "host"]).unwrap_or_default())
        }
        ("moodle", "token") => {
            let url = text("url").unwrap_or_default();
            if url.ends_with('/') { url } else { url + "/" }
        }
        ("moodle", "password") => {
            return Err(format!(
                "a password for Moodle is not kept, only the token that the site gives for it; write token = \
                 {{ keyring = true }} in place of `username` and `password`, and run: kitovufs login --username NAME {name}"
            ));
        }
        _ => {
            let account = first(&ACCOUNTS).map(|account| account + "@").unwrap_or_default();
            let port = table.get("port").and_then(Value::as_integer).map(|port| format!(":{port}"));
            // A source without any place is known by its name only.
            let place = first(&PLACES).unwrap_or_else(|| name.to_owned()) + &port.unwrap_or_default();
            let which = if ["password", "token"].contains(&key) { String::new() } else { format!(" {key}") };
            format!("{account}{place}{which}")
        }
    };
    Ok(Item { service: format!("kitovu-{type_name}"), identifier })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(type_name: &str, key: &str, text: &str) -> (String, String) {
        let table: toml::Table = text.parse().expect("the test's TOML is right");
        let item = item(type_name, "courses", key, &table.into_iter().collect()).expect("it can be kept");
        assert_eq!(Item::from_toml(&item.to_toml()), Some(item.clone()));
        (item.service, item.identifier)
    }

    fn are(service: &str, identifier: &str) -> (String, String) {
        (service.into(), identifier.into())
    }

    #[test]
    fn secrets_that_kitovu_stored_are_found() {
        let smb = "username = 'anna'\nhostname = 'files.example.edu'\n";
        let with_domain = format!("{smb}domain = 'HSR'\nport = 4450\nshare = 's'");
        assert_eq!(names("smb", "password", &with_domain), are("kitovu-smb", "anna\nHSR\nfiles.example.edu"));
        assert_eq!(names("smb", "password", smb), are("kitovu-smb", "anna\n\nfiles.example.edu"));
        let windows = "username = 'HSR\\anna'\nhost = 'h'";
        assert_eq!(names("smb", "password", windows), are("kitovu-smb", "anna\nHSR\nh"));
        for url in ["https://moodle.example.edu", "https://moodle.example.edu/"] {
            let names = names("moodle", "token", &format!("url = '{url}'"));
            assert_eq!(names, are("kitovu-moodle", "https://moodle.example.edu/"));
        }
    }

    #[test]
    fn other_secrets_have_account_and_place_in_their_names() {
        let webdav = "endpoint = 'https://anna:hunter2@cloud.example.edu/dav'\nusername = 'anna'";
        let names_of = names("webdav", "password", webdav);
        assert_eq!(names_of, are("kitovu-webdav", "anna@https://anna@cloud.example.edu/dav"));
        let ssh = "host = 'lab'\nport = 2222\nusername = 'anna'\nroot = '/srv'";
        assert_eq!(names("sftp", "password", ssh), are("kitovu-sftp", "anna@lab:2222"));
        assert_eq!(names("sftp", "passphrase", ssh), are("kitovu-sftp", "anna@lab:2222 passphrase"));
        let s3 = "bucket = 'b'\naccess_key_id = 'AK'";
        assert_eq!(names("s3", "secret_access_key", s3), are("kitovu-s3", "AK@b secret_access_key"));
        assert_eq!(names("python", "password", "plugin = 'x:Y'"), are("kitovu-python", "courses"));
    }

    #[test]
    fn a_password_for_moodle_is_not_kept() {
        let message = item("moodle", "courses", "password", &BTreeMap::new()).expect_err("only its token is");
        assert!(message.contains("token = { keyring = true }") && message.contains("courses"), "{message}");
    }
}
