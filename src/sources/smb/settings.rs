//! `Config`: what a source of type `smb` is told. The keys are those of kitovu's SMB plugin, and a few more.

use crate::path::RemotePath;
use crate::secret::Secret;
use crate::source::settings::Reader;
use crate::source::{Problem, Settings};

/// The port of SMB without NetBIOS.
const PORT: u16 = 445;

/// The address of the share, and the account.
#[derive(Debug)]
pub(super) struct Config {
    /// A name or an address, without brackets.
    pub(super) host: String,
    port: u16,
    pub(super) share: String,
    /// Only what is below, in the share; as the wire has it.
    pub(super) root: String,
    pub(super) user: User,
}

/// The account that logs in.
#[derive(Debug)]
pub(super) enum User {
    Guest,
    Account { username: String, domain: String, password: Secret },
}

impl Config {
    /// Reads every key.
    pub(super) fn read(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut reader = settings.reader();
        let host = host(&mut reader, settings);
        let port = reader.integer("port", 1..=65535).and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT);
        let share = reader.required_string("share", "scripts");
        if share.contains(['/', '\\']) {
            reader.problem(Some("share"), "`share` is one name; folders below it go into `root`");
        }
        let root = root(&mut reader);
        let user = user(&mut reader, settings);
        protocol(&mut reader, settings);
        Ok(Self { user: reader.finish_with(user)?, host, port, share, root })
    }

    /// The address to connect to.
    pub(super) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn host(reader: &mut Reader<'_>, settings: &Settings) -> String {
    let host = match (reader.string("hostname"), reader.string("host")) {
        (Some(_), Some(_)) => {
            reader.problem(Some("host"), "`host` and `hostname` mean the same; write one of them");
            return String::new();
        }
        (Some(host), None) | (None, Some(host)) => host,
        (None, None) => {
            if !settings.values.contains_key("hostname") && !settings.values.contains_key("host") {
                reader.problem(None, "`hostname` is missing; add for example: hostname = \"files.example.edu\"");
            }
            return String::new();
        }
    };
    let bare = host.trim().trim_start_matches('[').trim_end_matches(']');
    let key = if settings.values.contains_key("host") { "host" } else { "hostname" };
    if bare.is_empty() {
        reader.problem(Some(key), format!("`{key}` is empty; write for example: {key} = \"files.example.edu\""));
    } else if bare.contains(['/', '\\', '@', ' ']) {
        reader.problem(Some(key), format!("`{key}` is a name or an address only; the share goes into `share`"));
    }
    bare.to_owned()
}

/// Reads `root`, in which no component may lead elsewhere.
fn root(reader: &mut Reader<'_>) -> String {
    let text = reader.string("root").unwrap_or_default().replace('\\', "/");
    let text = text.trim_matches('/');
    if let Err(bad) = RemotePath::parse(text.as_bytes()) {
        reader.problem(Some("root"), format!("`root` cannot be used: {bad}"));
    }
    smb2::encode_path(text)
}

/// None after a problem.
fn user(reader: &mut Reader<'_>, settings: &Settings) -> Option<User> {
    let guest = reader.boolean("guest").unwrap_or_default();
    let (username, domain) = (reader.string("username"), reader.string("domain"));
    let password = reader.secret("password");
    let told = [("username", username.is_some()), ("domain", domain.is_some()), ("password", password.is_some())];
    if guest {
        for (key, _) in told.into_iter().filter(|(_, there)| *there) {
            reader.problem(Some(key), format!("`{key}` and `guest = true` exclude each other"));
        }
        return Some(User::Guest);
    }
    let Some(username) = username.filter(|name| !name.is_empty()) else {
        reader.problem(None, "`username` is missing; add for example: username = \"anna\", or guest = true");
        return None;
    };
    let Some(password) = password else {
        if !settings.values.contains_key("password") {
            reader.problem(None, "`password` is missing; add for example: password = { env = \"NAME\" }");
        }
        return None;
    };
    // The way that Windows writes both.
    let (domain, username) = match (domain, username.split_once('\\')) {
        (None, Some((domain, name))) => (domain.to_owned(), name.to_owned()),
        (domain, _) => (domain.unwrap_or_default(), username),
    };
    Some(User::Account { username, domain, password })
}

/// Reads the settings of the protocol that kitovu has, and warns of those that have no effect here.
fn protocol(reader: &mut Reader<'_>, settings: &Settings) {
    match reader.string("sign_options").as_deref() {
        None | Some("when_supported" | "when_required") => {}
        Some("never") => tracing::warn!(
            "source {}: sign_options = \"never\" has no effect: whatever an account asks is signed",
            settings.name
        ),
        Some(_) => reader.problem(
            Some("sign_options"),
            "`sign_options` must be \"when_supported\", \"when_required\" or \"never\"; whatever it says, \
             all that an account asks is signed",
        ),
    }
    if reader.boolean("use_ntlm_v2") == Some(false) {
        let why = "only NTLMv2 is spoken, because older logins give the password away; leave `use_ntlm_v2` out";
        reader.problem(Some("use_ntlm_v2"), why);
    }
    if reader.boolean("is_direct_tcp") == Some(false) {
        let why = "only SMB directly over TCP is spoken, not over NetBIOS (port 139); leave `is_direct_tcp` out";
        reader.problem(Some("is_direct_tcp"), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Vec<Problem>> {
        let table: toml::Table = text.parse().expect("the test's TOML is right");
        let values = table.into_iter().collect();
        Config::read(&Settings::of("s", values))
    }

    fn keys(text: &str) -> Vec<Option<String>> {
        read(text).expect_err("it is refused").into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_keys_of_kitovu_are_understood() {
        let config = read(
            "hostname = 'files.example.edu'\nport = 4450\nshare = 'scripts'\nusername = 'anna'\ndomain = 'HSR'\n\
             password = 'x'\nsign_options = 'when_required'\nuse_ntlm_v2 = true\nis_direct_tcp = true\nroot = '\\a\\b\\'",
        )
        .expect("it is right");
        assert_eq!(config.address(), "files.example.edu:4450");
        assert_eq!((config.share.as_str(), config.root.as_str()), ("scripts", "a\\b"));
        assert!(matches!(config.user, User::Account { username, domain, .. } if username == "anna" && domain == "HSR"));
    }

    #[test]
    fn a_domain_may_stand_before_the_user() {
        let config = read("host = '[::1]'\nshare = 's'\nusername = 'HSR\\anna'\npassword = 'x'").expect("it is right");
        assert_eq!(config.address(), "[::1]:445");
        assert!(matches!(config.user, User::Account { username, domain, .. } if username == "anna" && domain == "HSR"));
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_why() {
        let rest = "host = 'h'\nshare = 's'\nguest = true\n";
        for (line, key, word) in [
            ("use_ntlm_v2 = false", "use_ntlm_v2", "NTLMv2"),
            ("is_direct_tcp = false", "is_direct_tcp", "NetBIOS"),
            ("sign_options = 'maybe'", "sign_options", "signed"),
            ("username = 'anna'", "username", "exclude"),
            ("root = 'a/../b'", "root", "`..`"),
            ("port = 0", "port", "1 to 65535"),
        ] {
            let problems = read(&format!("{rest}{line}")).expect_err("it is refused");
            assert_eq!(problems[0].key.as_deref(), Some(key));
            assert!(problems[0].message.contains(word), "{}", problems[0].message);
        }
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        assert_eq!(keys(""), [None, None, None]);
        assert_eq!(
            keys("host = 'h'\nhostname = 'h'\nshare = 'a/b'\nguest = true"),
            [Some("host"), Some("share")].map(|key| key.map(str::to_owned))
        );
        assert_eq!(keys("host = 'h'\nshare = 's'\nusername = 'anna'"), [None]);
        assert_eq!(
            keys("host = 'h'\nshare = 's'\nusername = 'anna'\npassword = { env = 'KITOVUFS_TEST_UNSET' }").len(),
            1
        );
    }
}
