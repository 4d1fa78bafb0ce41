//! By which user name kitovu, and so we, keep a site's token in the keyring: the URL, with a slash at its end.

use crate::source::keyring::Table;

/// # Errors
/// The setting to write instead of a password.
pub(super) fn user(key: &str, table: Table<'_>) -> Result<String, String> {
    match key {
        "token" => {
            let url = table.first(&["url"]).unwrap_or_default();
            Ok(if url.ends_with('/') { url } else { url + "/" })
        }
        "password" => Err(format!(
            "a password for Moodle is not kept, only the token that the site gives for it; write token = \
             {{ keyring = true }} in place of `username` and `password`, and run: kitovufs login --username NAME {}",
            table.name
        )),
        _ => Ok(table.account_and_place(key)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::source::keyring::item;
    use crate::sources::moodle::MoodleKind;

    #[test]
    fn tokens_that_kitovu_stored_are_found() {
        for url in ["https://moodle.example.edu", "https://moodle.example.edu/"] {
            let values = BTreeMap::from([("url".to_owned(), url.into())]);
            let item = item(&MoodleKind, "token", Table { name: "m", values: &values }).expect("it can be kept");
            assert_eq!((&*item.service, &*item.identifier), ("kitovu-moodle", "https://moodle.example.edu/"));
        }
    }

    #[test]
    fn a_password_for_moodle_is_not_kept() {
        let table = Table { name: "courses", values: &BTreeMap::new() };
        let message = user("password", table).expect_err("only its token is");
        assert!(message.contains("token = { keyring = true }") && message.contains("courses"), "{message}");
    }
}
