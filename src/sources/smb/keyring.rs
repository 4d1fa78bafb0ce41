//! By which user name kitovu, and so we, keep the password of a share in the keyring: user, domain and host, a line each.

use crate::source::keyring::Table;

pub(super) fn user(key: &str, table: Table<'_>) -> String {
    if key != "password" {
        return table.account_and_place(key);
    }
    let (user, domain) = (table.first(&["username"]).unwrap_or_default(), table.first(&["domain"]));
    let (domain, user) = match (domain, user.split_once('\\')) {
        (None, Some((domain, user))) => (domain.to_owned(), user.to_owned()),
        (domain, _) => (domain.unwrap_or_default(), user),
    };
    format!("{user}\n{domain}\n{}", table.first(&["hostname", "host"]).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::keyring::item;
    use crate::sources::smb::SmbKind;

    fn name(text: &str) -> String {
        let values = text.parse::<toml::Table>().expect("the test's TOML is right").into_iter().collect();
        let item = item(&SmbKind, "password", Table { name: "s", values: &values }).expect("it can be kept");
        assert_eq!(item.service, "kitovu-smb");
        item.identifier
    }

    #[test]
    fn passwords_that_kitovu_stored_are_found() {
        let smb = "username = 'anna'\nhostname = 'files.example.edu'\n";
        let with_domain = format!("{smb}domain = 'HSR'\nport = 4450\nshare = 's'");
        assert_eq!(name(&with_domain), "anna\nHSR\nfiles.example.edu");
        assert_eq!(name(smb), "anna\n\nfiles.example.edu");
        assert_eq!(name("username = 'HSR\\anna'\nhost = 'h'"), "anna\nHSR\nh");
    }
}
