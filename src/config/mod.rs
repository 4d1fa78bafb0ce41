//! `Config`: what the configuration file, or a URL in its place, means. It knows the keys that all sources share, never a source's own.

mod diagnostic;
mod parse;
mod syntax;
mod url;
mod value;

use std::collections::BTreeMap;
use std::fs::{File, FileType};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use globset::GlobSet;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::freshness::Offline;
use crate::fs::{Modes, UnknownSize};
use crate::secret::Secret;
use crate::source::identity::identity;
use crate::source::{Problem, Settings};
pub use diagnostic::{Diagnostic, Diagnostics};
use parse::Common;
use url::UrlSource;

/// The permission bits of users other than the owner.
const OTHERS_MODE_BITS: u32 = 0o077;

/// Everything that is configured, checked as far as one can without asking the sources.
#[derive(Debug, Clone)]
pub struct Config {
    /// The mount point; the command line may name another. Absolute.
    pub mountpoint: Option<PathBuf>,
    /// The directory and the limits of the cache.
    pub cache: CacheConfig,
    /// The permissions and owners of the folders that the mount makes itself.
    pub modes: Modes,
    /// Who may look into the mounted folder.
    pub access: Access,
    /// Where content is that machines have in common; `None` for nowhere.
    pub shared: Option<SharedConfig>,
    /// Where the page is served; `None` for nowhere.
    pub web: Option<WebConfig>,
    /// The sources in the order of their names; at least one.
    pub sources: Vec<SourceConfig>,
    /// The folders that are put together from sources, in the order of the file.
    pub folders: Vec<FolderConfig>,
    /// The only source is shown at the mount's root instead of as a folder (URL mounts).
    pub at_root: bool,
    /// The file that this was read from, absolute; `None` if it comes from a URL.
    pub file: Option<PathBuf>,
}

/// Who may look into the mounted folder, as far as permissions let them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// The user who mounts.
    #[default]
    Owner,
    /// That user, and root.
    Root,
    /// Everybody.
    Everyone,
}

/// The directory of copies, and the room that they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The cache's own directory; absolute, not necessarily there yet.
    pub dir: PathBuf,
    /// Bytes that all copies together may take; at least 1 MiB.
    pub max_size: u64,
    /// Bytes that stay free on the disk.
    pub min_free: u64,
}

/// The page, the metrics and the status for browsers and Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebConfig {
    /// The address to listen on; of another machine's reach only with a token.
    pub listen: SocketAddr,
    /// What whoever asks must bring; without it, only the mount's user and root may ask.
    pub token: Option<Secret>,
}

/// The store that machines have in common, and how it is used.
#[cfg(feature = "shared")]
#[derive(Debug, Clone)]
pub struct SharedConfig {
    /// Where files of every size lie; `None` if `redis` is all there is.
    pub store: Option<Remote>,
    /// Where small ones lie, and who of several machines retrieves what none has yet.
    pub redis: Option<Remote>,
    /// The key of those who share; without it, each source has one of its own secret.
    pub key: Option<Secret>,
    /// Who may read what is shared with that key.
    pub access: crate::shared::Access,
    /// Whether what only size and time tell apart is shared too.
    pub weak: bool,
    /// Whether listings are shared too.
    pub listings: bool,
    /// Whose values are taken; with none and no `signing_key`, those of everybody who has the key.
    pub trusted: Vec<crate::shared::PublicKey>,
    /// The key by which what is given is signed.
    pub signing_key: Option<Secret>,
    /// How the store is used.
    pub tuning: crate::shared::Tuning,
}

/// A service that machines have in common, with what it takes to be let in.
#[cfg(feature = "shared")]
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where it is, without a password.
    pub url: ::url::Url,
    /// The service, where the URL names none.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// The account.
    pub account: Option<Secret>,
    /// The secret of that account.
    pub secret: Option<Secret>,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

#[cfg(feature = "shared")]
impl Remote {
    /// The service at this place, which lets everybody in.
    fn at(url: ::url::Url) -> Self {
        let (endpoint, region, account, secret, ca_file) = Default::default();
        Self { url, endpoint, region, account, secret, ca_file }
    }

    /// It with its secrets, for which a command may be run.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn place(&self) -> crate::error::Result<crate::shared::Place> {
        let reveal = |secret: &Option<Secret>| secret.as_ref().map(Secret::reveal).transpose();
        Ok(crate::shared::Place {
            access_key_id: reveal(&self.account)?,
            secret_access_key: reveal(&self.secret)?,
            ..self.open_place()
        })
    }

    /// It as whoever has no account sees it.
    fn open_place(&self) -> crate::shared::Place {
        let Self { url, endpoint, region, ca_file, .. } = self.clone();
        crate::shared::Place { endpoint, region, ca_file, ..crate::shared::Place::of(url) }
    }
}

#[cfg(feature = "shared")]
impl SharedConfig {
    /// Where it is, for people.
    pub fn shown(&self) -> String {
        let urls = [&self.store, &self.redis].into_iter().flatten().map(|remote| remote.url.as_str());
        urls.collect::<Vec<_>>().join(", ")
    }

    /// The environment variables that hold its secrets.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        let remotes = [&self.store, &self.redis].into_iter().flatten();
        let remotes = remotes.flat_map(|remote| [&remote.account, &remote.secret]);
        let secrets = remotes.chain([&self.key, &self.signing_key]).flatten();
        secrets.filter_map(|secret| match secret {
            Secret::Env(name) => Some(name.clone()),
            _ => None,
        })
    }
}

/// There is none in a program without what machines have in common.
#[cfg(not(feature = "shared"))]
pub type SharedConfig = std::convert::Infallible;

/// Nothing is shared by a program without that.
#[cfg(not(feature = "shared"))]
pub type Sharing = std::convert::Infallible;

/// That the content of a source is shared, and with whom.
#[cfg(feature = "shared")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// The name of those who share it, whatever account they have; `None`: those with the same account.
    pub circle: Option<String>,
}

impl CacheConfig {
    /// The limits that hold where nothing is configured: 20 GiB, and 2 GiB stay free.
    fn in_dir(dir: PathBuf) -> Self {
        Self { dir, max_size: 20 << 30, min_free: 2 << 30 }
    }
}

/// One source: the keys that all sources share, and its own table.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The name of its folder.
    pub name: String,
    /// The name of one of [`crate::sources::KINDS`].
    pub type_name: String,
    /// It has no folder of its own, and is seen only through [`Config::folders`].
    pub hidden: bool,
    /// The names of its files that grow while they are read.
    pub live: GlobSet,
    /// With whom its content is shared; `None` with nobody.
    pub sharing: Option<Sharing>,
    /// Its own table, which only the source understands.
    pub settings: Settings,
    /// The time for which an answer of the source counts as current.
    pub fresh_for: Duration,
    /// No remote operation waits longer than this without progress. Never zero.
    pub timeout: Duration,
    /// The time that the source has to confirm a known answer, before that is served.
    pub patience: Duration,
    /// The use of known answers while it cannot be reached.
    pub offline: Offline,
    /// The way to learn the size of a file of which it tells none.
    pub unknown_size: UnknownSize,
    /// Whether files that are probably opened next are retrieved ahead.
    pub read_ahead: bool,
    /// The permissions and owners that its files and directories show.
    pub modes: Modes,
    /// The most requests that are under way at once; `None`: as many as the source serves well.
    pub max_requests: Option<usize>,
    /// The most bytes of content that arrive in a second; `None`: no limit.
    pub max_bandwidth: Option<u64>,
    origin: Origin,
}

/// A folder that is put together from directories of sources.
#[derive(Debug, Clone)]
pub struct FolderConfig {
    /// Its path below the mount's root: one or more names, of which the first is no shown source's.
    pub path: Vec<String>,
    /// The directories that it shows, in the order of precedence; at least one.
    pub parts: Vec<PartConfig>,
}

/// A directory of a source, as one part of a folder.
#[derive(Debug, Clone)]
pub struct PartConfig {
    /// The source's name.
    pub source: String,
    /// Which of its directories, by the names that its own folder would show; empty: all of it.
    pub path: Vec<String>,
    /// Names that are left out, at every depth: the folder's and the part's own.
    pub ignore: GlobSet,
}

/// The place of a source in its file.
#[derive(Debug, Clone, Default)]
struct Origin {
    file: Option<PathBuf>,
    line: Option<usize>,
    key_lines: BTreeMap<String, usize>,
}

impl Config {
    /// Reads a file that must be right.
    ///
    /// # Errors
    /// Everything that is wrong, at once. What only the sources can judge, their own settings, is not looked at.
    #[cfg(test)]
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        let (config, problems) = Self::examine(path)?;
        problems.or(config)
    }

    /// Reads a file that may be wrong: returns the part that could be understood, and the problems of the rest, to which a caller
    /// may add those that the sources find in their settings.
    ///
    /// # Errors
    /// The file cannot be read at all.
    pub fn examine(path: &Path) -> Result<(Self, Diagnostics), Diagnostics> {
        let wrong = |line, message| Diagnostic { file: Some(path.into()), line, message };
        let (bytes, private) = read(path).map_err(|error| wrong(None, cannot_read(&error)))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            wrong(Some(line), "this is not UTF-8 text; save the file as UTF-8".into())
        })?;
        Self::examine_text(&text, path, private)
    }

    /// The same for a text that is to be in that file, which only its owner can read, or not.
    ///
    /// # Errors
    /// There is no current or home directory.
    pub fn examine_text(text: &str, path: &Path, private: bool) -> Result<(Self, Diagnostics), Diagnostics> {
        let wrong = |message| Diagnostic { file: Some(path.into()), line: None, message };
        let file = std::path::absolute(path).map_err(|error| wrong(cannot_read(&error)))?;
        let cache_dir = default_cache_dir()?;
        Ok(parse::parse(text, &parse::Place { shown: path, file: &file, private, cache_dir }))
    }

    /// A name, the type and the table of the source that a URL means, without secrets.
    ///
    /// # Errors
    /// The problem of the URL. A password in it is refused and not repeated.
    pub fn table_of_url(url: &str) -> Result<(String, &'static str, BTreeMap<String, toml::Value>), Diagnostics> {
        let UrlSource { name, type_name, mut values } = url::parse(url, &|_| false).map_err(Diagnostic::new)?;
        // Variables are for the command line.
        values.retain(|_, value| !value.is_table());
        Ok((name, type_name, values))
    }

    /// The configuration of a URL, or of an absolute directory in its place: one source at the mount's root, with a cache directory
    /// of its own below the default one, all else by default.
    ///
    /// # Errors
    /// The problem of the URL. A password in it is refused and not repeated.
    pub fn from_url(url: &str) -> Result<Self, Diagnostics> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let UrlSource { name, type_name, values } = url::parse(url, &is_set).map_err(Diagnostic::new)?;
        let source = Common::DEFAULT.source(type_name.to_owned(), Settings::of(name, values));
        // A directory for each remote: one process holds a cache directory, and several URLs may be mounted at once.
        let identity = hex(&Sha256::digest(source.identity())[..8]);
        Ok(Self {
            mountpoint: None,
            cache: CacheConfig::in_dir(default_cache_dir()?.join("urls").join(identity)),
            modes: source.modes,
            access: Access::Owner,
            shared: None,
            web: None,
            sources: vec![source],
            folders: Vec::new(),
            at_root: true,
            file: None,
        })
    }

    /// The file that is read if none is named: `kitovufs/config.toml` in the XDG configuration directory.
    pub fn default_path() -> PathBuf {
        let dir = match etcetera::choose_base_strategy() {
            Ok(dirs) => dirs.config_dir(),
            // Without a home, the directory for the whole system remains.
            Err(_) => PathBuf::from("/etc"),
        };
        dir.join("kitovufs/config.toml")
    }
}

impl SourceConfig {
    /// Gives a problem that the source found in its settings the place where it stands.
    pub fn locate(&self, problem: &Problem) -> Diagnostic {
        let key_line = problem.key.as_ref().and_then(|key| self.origin.key_lines.get(key)).copied();
        Diagnostic {
            file: self.origin.file.clone(),
            line: key_line.or(self.origin.line),
            message: about_source(&self.name, &problem.message),
        }
    }

    /// The identity of the remote, for keys of the cache: the type and all its settings that are no secrets. Independent of the
    /// source's name, of the order of keys and of the keys that every source shares ([`crate::source::settings::common_keys`]).
    /// Contains no secret.
    pub fn identity(&self) -> String {
        identity(&self.type_name, self.settings.values.iter())
    }

    /// The same without these keys.
    #[cfg(feature = "shared")]
    pub fn identity_without(&self, keys: &[&str]) -> String {
        let values = self.settings.values.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
        identity(&self.type_name, values)
    }
}

/// The identities of these sources' remotes, each different: those that have the same settings have their names in them, since their logins, which
/// may be all that differs, may see different files.
pub fn identities<'a>(sources: impl Iterator<Item = &'a SourceConfig>) -> Vec<String> {
    let all: Vec<_> = sources.map(|source| (&source.name, source.identity())).collect();
    let own = |(name, identity): &(&String, String)| {
        let is_alone = all.iter().filter(|(_, other)| other == identity).count() == 1;
        if is_alone { identity.clone() } else { format!("{identity}\nfolder {}", name.escape_debug()) }
    };
    all.iter().map(own).collect()
}

fn about_source(name: &str, message: &str) -> String {
    format!("source `{}`: {message}", name.escape_debug())
}

/// Reads a file; the result says also whether it is its owner's alone. It waits for nobody, as reading a FIFO would.
///
/// # Errors
/// It cannot be read, or is no regular file.
pub fn read(path: &Path) -> std::io::Result<(Vec<u8>, bool)> {
    let mut file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    // Of the open file, not of the path: what is checked is what is read.
    let metadata = file.metadata()?;
    if let Some(kind) = other_kind(metadata.file_type()) {
        return Err(std::io::Error::other(format!("it is {kind}, and must be a file")));
    }
    let private = metadata.mode() & OTHERS_MODE_BITS == 0;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((bytes, private))
}

/// What it is, if it is no regular file.
fn other_kind(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("a directory"),
        kind if kind.is_fifo() => Some("a FIFO"),
        kind if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

fn cannot_read(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file; `kitovufs add URL` writes one, -c FILE names \
             another, and a URL is mounted without one"
            .into(),
        _ => format!("cannot read the file: {error}"),
    }
}

fn default_cache_dir() -> Result<PathBuf, Diagnostic> {
    etcetera::choose_base_strategy()
        .map(|dirs| dirs.cache_dir().join("kitovufs"))
        .map_err(|_| Diagnostic::new("there is no home directory to put the cache in; set the variable HOME"))
}

#[cfg(test)]
mod folders_tests;
#[cfg(all(test, feature = "shared"))]
mod shared_tests;
#[cfg(test)]
mod tests;
