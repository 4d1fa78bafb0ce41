//! `Config`: what the settings of an SFTP source mean. It connects to nothing.

use std::path::PathBuf;

use nix::unistd::{User, getuid};

use crate::path::expand_home;
use crate::secret::Secret;
use crate::source::settings::Reader;
use crate::source::{Problem, Settings};
use crate::sources::links::Links;

/// The address of a server, the account, and the way to connect.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// A host name or address, or with [`Way::Program`] whatever `ssh` takes for one.
    pub(super) host: String,
    pub(super) way: Way,
    /// The directory shown: absolute, or relative to the home directory there. Empty for that itself.
    pub(super) root: Vec<u8>,
    pub(super) links: Links,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// By the SSH client inside.
    Inside(Box<Inside>),
    /// By the program `ssh`, which reads its own configuration.
    Program(Program),
}

/// The settings of the SSH client inside.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    pub(super) port: u16,
    pub(super) username: String,
    pub(super) password: Option<Secret>,
    pub(super) key: Option<PathBuf>,
    pub(super) passphrase: Option<Secret>,
    /// The socket of an agent; it need not be there.
    pub(super) agent: Option<PathBuf>,
    pub(super) known_hosts: Vec<PathBuf>,
}

/// The options for the program `ssh`, besides its own configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct Program {
    /// The configuration to read instead of the user's and the system's.
    pub(super) file: Option<PathBuf>,
    pub(super) port: Option<u16>,
    pub(super) username: Option<String>,
    pub(super) key: Option<PathBuf>,
    pub(super) known_hosts: Option<PathBuf>,
    pub(super) agent: Option<PathBuf>,
    /// Environment variables with secrets of other sources, which it does not inherit.
    pub(super) withheld: Vec<String>,
}

impl Config {
    /// Reads a source's table.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn read(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut reader = settings.reader();
        let host = host(&mut reader);
        let port = reader.integer("port", 1..=65535).and_then(|port| u16::try_from(port).ok());
        let username = reader.string("username");
        let (password, passphrase) = (reader.secret("password"), reader.secret("passphrase"));
        let [key, known_hosts, agent] = ["key", "known_hosts", "agent"].map(|key| file(&mut reader, key));
        let (root, links) = (root(&mut reader), Links::read(&mut reader));
        let way = match program(&mut reader, settings) {
            Some(file) => {
                for (key, there) in [("password", password.is_some()), ("passphrase", passphrase.is_some())] {
                    if there {
                        let why = "cannot be handed to ssh, which `ssh_config` asks for; use a key in an agent, or leave `ssh_config` out";
                        reader.problem(Some(key), format!("`{key}` {why}"));
                    }
                }
                let withheld = settings.withheld.clone();
                Way::Program(Program { file, port, username, key, known_hosts, agent, withheld })
            }
            None => {
                if passphrase.is_some() && key.is_none() {
                    reader.problem(Some("passphrase"), "`passphrase` needs `key`, the file that it opens");
                }
                if let Some(key) = &key
                    && let Err(e) = std::fs::File::open(key)
                {
                    reader.absence("key", format!("`key`: cannot read {}: {e}", key.display()));
                }
                Way::Inside(Box::new(Inside {
                    port: port.unwrap_or(22),
                    username: username.or_else(login_name).unwrap_or_else(|| {
                        reader.problem(None, "`username` is missing; add for example: username = \"anna\"");
                        String::new()
                    }),
                    password,
                    key,
                    passphrase,
                    agent: agent.or_else(|| std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from)),
                    known_hosts: known_hosts.map_or_else(default_known_hosts, |file| vec![file]),
                }))
            }
        };
        reader.finish().map(|()| Self { host, way, root, links })
    }
}

fn host(reader: &mut Reader<'_>) -> String {
    let host = reader.required_string("host", "files.example.org");
    // ssh takes an argument that begins with a dash for an option.
    let strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '[' | ']');
    if host.starts_with('-') || host.contains(strange) {
        reader.problem(
            Some("host"),
            "`host` must be a name or an address alone; user, port and path have keys of their own",
        );
    }
    host
}

fn file(reader: &mut Reader<'_>, key: &'static str) -> Option<PathBuf> {
    let path = expand_home(&reader.string(key)?);
    if !path.is_absolute() {
        reader.problem(Some(key), format!("`{key}` must be absolute or begin with ~/"));
    }
    Some(path)
}

/// `/srv/x` is absolute; `x`, `~/x` and `/~/x` (as a URL writes it) are below the home directory there.
fn root(reader: &mut Reader<'_>) -> Vec<u8> {
    let text = reader.string("root").unwrap_or_default();
    let home = text == "~" || text == "/~";
    let below = text.strip_prefix("/~/").or(text.strip_prefix("~/"));
    let root = if home { "" } else { below.unwrap_or(&text) };
    if root.contains('\0') || root.split('/').any(|component| component == "..") {
        reader.problem(Some("root"), "`root` must not have a component `..` or a NUL");
    }
    match root.trim_end_matches('/') {
        "" if root.starts_with('/') && below.is_none() => b"/".to_vec(),
        trimmed => trimmed.as_bytes().to_vec(),
    }
}

/// Whether the program `ssh` is to be used, as far as the settings are right. It may ask the user what it likes.
pub(super) fn asks_for_program(settings: &Settings) -> bool {
    !matches!(settings.values.get("ssh_config"), None | Some(toml::Value::Boolean(false)))
}

/// Whether the program `ssh` is to be used, and with which configuration.
fn program(reader: &mut Reader<'_>, settings: &Settings) -> Option<Option<PathBuf>> {
    const KEY: &str = "ssh_config";
    if let Some(toml::Value::String(_)) = settings.values.get(KEY) {
        let path = file(reader, KEY)?;
        if let Err(e) = std::fs::File::open(&path) {
            reader.absence(KEY, format!("`{KEY}`: cannot read {}: {e}", path.display()));
        }
        return Some(Some(path));
    }
    reader.boolean(KEY).filter(|wanted| *wanted).map(|_| None)
}

/// The name of the user who runs this; services have no variable that tells it.
fn login_name() -> Option<String> {
    let told =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    told.or_else(|| Some(User::from_uid(getuid()).ok()??.name))
}

fn default_known_hosts() -> Vec<PathBuf> {
    ["~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts"].map(expand_home).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Vec<Option<String>>> {
        let table: toml::Table = text.parse().expect("the test's TOML is right");
        let settings = Settings::of("s", table.into_iter().collect());
        Config::read(&settings).map_err(|problems| problems.into_iter().map(|problem| problem.key).collect())
    }

    #[test]
    fn roots_are_absolute_or_below_home() {
        for (text, root) in [
            ("", ""),
            ("/", "/"),
            ("/~", ""),
            ("~/", ""),
            ("/~/", ""),
            ("/srv/ü/", "/srv/ü"),
            ("docs", "docs"),
            ("~/docs", "docs"),
            ("/~/docs/", "docs"),
        ] {
            let config = read(&format!("host = 'h'\nusername = 'a'\nroot = '{text}'")).expect("right");
            assert_eq!(config.root, root.as_bytes(), "{text}");
        }
    }

    #[test]
    fn problems_are_told_all_at_once() {
        let some = |keys: &[&str]| keys.iter().map(|key| Some((*key).to_owned())).collect::<Vec<_>>();
        for (text, keys) in [
            ("host = '-oProxyCommand=x'", vec!["host"]),
            ("host = 'a@h'\nport = 0\nroot = 'a/../b'", vec!["host", "port", "root"]),
            ("host = 'h'\npassphrase = 'x'", vec!["passphrase"]),
            ("host = 'h'\nkey = '/nonexistent/key'\nknown_hosts = 'x'", vec!["known_hosts", "key"]),
            ("host = 'h'\nssh_config = true\npassword = 'x'", vec!["password"]),
            ("host = 'h'\nssh_config = '/nonexistent'", vec!["ssh_config"]),
            ("host = 'h'\nlinks = 'some'", vec!["links"]),
            ("host = 'h'\nssh_config = 1\npasword = 'x'", vec!["ssh_config", "pasword"]),
        ] {
            assert_eq!(read(&format!("username = 'a'\n{text}")).expect_err(text), some(&keys), "{text}");
        }
        assert_eq!(read("username = 'a'").expect_err("no host"), [None]);
    }

    #[test]
    fn the_program_is_used_only_if_asked_for() {
        let way = |text: &str| read(&format!("host = 'h'\nusername = 'a'\n{text}")).expect("right").way;
        assert!(matches!(way(""), Way::Inside(inside) if inside.port == 22));
        assert!(matches!(way("ssh_config = false"), Way::Inside(_)));
        assert!(matches!(way("ssh_config = true\nport = 7"), Way::Program(Program { file: None, port: Some(7), .. })));
    }
}
