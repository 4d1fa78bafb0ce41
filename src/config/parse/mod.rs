//! From the text of a configuration file to a `Config`: walks the tables, and gathers what is wrong with its line. It reads no file.

mod address;
mod folders;
#[cfg_attr(not(feature = "shared"), path = "unshared.rs")]
mod shared;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::GlobSet;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::syntax::{Lines, Syntax, without_stops};
use super::{Access, CacheConfig, Config, Diagnostic, Diagnostics, Origin, SourceConfig, about_source, value};
use crate::freshness::Offline;
use crate::fs::{Modes, UnknownSize};
use crate::path::expand_home;
use crate::secret::Secret;
use crate::source::keyring;
use crate::source::nearest::{listed, nearest, unknown_key};
use crate::source::settings::{DEFAULTS_KEYS, FORMS_WITHOUT_KEYRING, FRESH_FOR, Settings, secret_of};
use crate::sources::{self, KINDS};

const ROOT_KEYS: [&str; 9] =
    ["mountpoint", "allow_other", "allow_root", "cache", "shared", "web", "defaults", "sources", "folders"];
const CACHE_KEYS: [&str; 3] = ["dir", "max_size", "min_free"];

/// A cache that cannot hold a single block is no cache.
const MIN_CACHE_BYTES: u64 = 1 << 20;

/// Bytes a second below which nothing ever arrives.
const MIN_BANDWIDTH: u64 = 1024;

/// The facts about a file that its text does not tell.
pub(super) struct Place<'a> {
    /// The file as the user named it, for messages.
    pub(super) shown: &'a Path,
    /// The file, absolute: relative paths start at its directory.
    pub(super) file: &'a Path,
    /// Whether only the owner can read it.
    pub(super) private: bool,
    /// The cache directory if the text names none.
    pub(super) cache_dir: PathBuf,
}

/// Returns the part of `text` that could be understood, and all its problems in the order of lines.
pub(super) fn parse(text: &str, place: &Place<'_>) -> (Config, Diagnostics) {
    let (rest, mut errors) = without_stops(text);
    let (root, more) = DeTable::parse_recoverable(&rest);
    errors.extend(more);
    let mut walk = Walk::new(text, &errors, place);
    let config = walk.root(root.get_ref());
    walk.found.sort_by_key(|diagnostic| diagnostic.line);
    (config, Diagnostics(walk.found))
}

/// The keys that each source may set for itself.
#[derive(Clone, Copy)]
pub(super) struct Common {
    pub(super) fresh_for: Duration,
    pub(super) timeout: Duration,
    pub(super) patience: Duration,
    pub(super) offline: Offline,
    pub(super) unknown_size: UnknownSize,
    pub(super) read_ahead: bool,
    pub(super) modes: Modes,
    pub(super) max_requests: Option<usize>,
    pub(super) max_bandwidth: Option<u64>,
}

impl Common {
    /// The values of keys that the configuration does not set.
    pub(super) const DEFAULT: Self = Self {
        fresh_for: FRESH_FOR,
        timeout: Duration::from_secs(30),
        patience: Duration::from_secs(2),
        offline: Offline::Serve,
        unknown_size: UnknownSize::Retrieve,
        read_ahead: true,
        modes: Modes { file: None, directory: None, umask: 0, uid: None, gid: None },
        max_requests: None,
        max_bandwidth: None,
    };

    /// A source with these values, shown in a folder of its own; of no file.
    pub(super) fn source(self, type_name: String, settings: Settings) -> SourceConfig {
        SourceConfig {
            name: settings.name.clone(),
            settings,
            type_name,
            hidden: false,
            live: GlobSet::empty(),
            sharing: None,
            fresh_for: self.fresh_for,
            timeout: self.timeout,
            patience: self.patience,
            offline: self.offline,
            unknown_size: self.unknown_size,
            read_ahead: self.read_ahead,
            modes: self.modes,
            max_requests: self.max_requests,
            max_bandwidth: self.max_bandwidth,
            origin: Origin::default(),
        }
    }

    fn set(&mut self, key: &str, value: &DeValue<'_>) -> Result<(), String> {
        match key {
            "fresh_for" => self.fresh_for = value::duration(key, value)?,
            "timeout" => match value::duration(key, value)? {
                Duration::ZERO => return Err("`timeout` must be longer than nothing; write for example \"30s\"".into()),
                timeout => self.timeout = timeout,
            },
            "patience" => self.patience = value::duration(key, value)?,
            "unknown_size" => self.unknown_size = value::unknown_size(key, value)?,
            "read_ahead" => self.read_ahead = value::flag(key, value)?,
            "umask" => self.modes.umask = value::mode(key, value)?,
            "file_mode" => self.modes.file = Some(value::mode(key, value)?),
            "dir_mode" => self.modes.directory = Some(value::mode(key, value)?),
            "uid" => self.modes.uid = Some(value::id(key, value)?),
            "gid" => self.modes.gid = Some(value::id(key, value)?),
            "max_requests" => self.max_requests = Some(value::count(key, value)?),
            "max_bandwidth" => match value::size(key, value)? {
                0..MIN_BANDWIDTH => return Err("`max_bandwidth` must be at least \"1KiB\" (a second)".into()),
                rate => self.max_bandwidth = Some(rate),
            },
            _ => self.offline = value::offline(key, value)?,
        }
        Ok(())
    }
}

struct Walk<'a> {
    place: &'a Place<'a>,
    dir: &'a Path,
    lines: Lines,
    /// About these nothing is said, and while there are any, nothing is called missing, since it may be what is broken.
    doubtful: BTreeSet<usize>,
    found: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    fn new(text: &str, errors: &[toml::de::Error], place: &'a Place<'a>) -> Self {
        let lines = Lines::new(text);
        let Syntax { problems, doubtful } = Syntax::new(text, &lines, errors);
        let dir = place.file.parent().unwrap_or(place.file);
        let mut walk = Self { place, dir, lines, doubtful, found: Vec::new() };
        for (line, message) in problems {
            walk.push(Some(line), message);
        }
        walk
    }

    fn push(&mut self, line: Option<usize>, message: String) {
        self.found.push(Diagnostic { file: Some(self.place.shown.into()), line, message });
    }

    fn wrong(&mut self, span: Range<usize>, message: String) {
        let line = self.lines.of(&span);
        // A value that the parser put in the place of a broken one has no place in the text.
        let is_made_up = span.is_empty() && !self.doubtful.is_empty();
        if !is_made_up && !self.doubtful.contains(&line) {
            self.push(Some(line), message);
        }
    }

    fn missing(&mut self, line: Option<usize>, message: String) {
        if self.doubtful.is_empty() {
            self.push(line, message);
        }
    }

    fn root(&mut self, root: &DeTable<'_>) -> Config {
        let mut named_sources = false;
        for (key, value) in root {
            let name: &str = key.get_ref();
            if ROOT_KEYS.contains(&name) {
                named_sources |= name == "sources";
                continue;
            }
            named_sources |= nearest(name, ROOT_KEYS.into_iter()) == Some("sources");
            let mut message = unknown_key(name, ROOT_KEYS.into_iter());
            if value.get_ref().as_table().is_some_and(|table| table.contains_key("type")) {
                message = format!("unknown key `{0}`; a source is written as [sources.{0}]", name.escape_debug());
                named_sources = true;
            }
            self.wrong(key.span(), message);
        }
        let mountpoint = root.get_key_value("mountpoint").and_then(|(key, value)| self.path(key, value));
        let access = match (self.flag(root, "allow_other"), self.flag(root, "allow_root")) {
            (true, _) => Access::Everyone,
            (false, true) => Access::Root,
            (false, false) => Access::Owner,
        };
        let cache = self.cache(root);
        let web = self.web(root);
        let defaults = self.defaults(root);
        let sources = match table_of(root, "sources") {
            Some(Ok(table)) => {
                named_sources &= !table.is_empty();
                table.iter().filter_map(|(name, value)| self.source(name, value, defaults)).collect()
            }
            Some(Err((key, _))) => {
                self.wrong(
                    key,
                    "`sources` must hold one table for each source, named like its folder: [sources.docs]".into(),
                );
                Vec::new()
            }
            None => Vec::new(),
        };
        if !named_sources {
            let example = "[sources.docs], and below it type = \"local\" and path = \"/usr/share/doc\"";
            self.missing(None, format!("there is no source; add for example {example}"));
        }
        let folders = self.folders(root, &sources);
        let shared = self.shared(root, &sources);
        Config {
            mountpoint,
            cache,
            shared,
            modes: defaults.modes,
            access,
            web,
            sources,
            folders,
            at_root: false,
            file: Some(self.place.file.into()),
        }
    }

    fn flag(&mut self, root: &DeTable<'_>, name: &str) -> bool {
        let Some(value) = root.get(name) else { return false };
        let flag = value::flag(name, value.get_ref());
        flag.map_err(|message| self.wrong(value.span(), message)).unwrap_or_default()
    }

    fn cache(&mut self, root: &DeTable<'_>) -> CacheConfig {
        let mut cache = CacheConfig::in_dir(self.place.cache_dir.clone());
        for (key, value) in self.own_table(root, "cache") {
            let name: &str = key.get_ref();
            match name {
                "dir" => cache.dir = self.path(key, value).unwrap_or(cache.dir),
                "max_size" => match value::size(name, value.get_ref()) {
                    Ok(size) if size < MIN_CACHE_BYTES => {
                        self.wrong(
                            value.span(),
                            "`max_size` must be at least \"1MiB\"; \"20GiB\" is the default".into(),
                        );
                    }
                    Ok(size) => cache.max_size = size,
                    Err(message) => self.wrong(value.span(), message),
                },
                "min_free" => match value::size(name, value.get_ref()) {
                    Ok(size) => cache.min_free = size,
                    Err(message) => self.wrong(value.span(), message),
                },
                _ => self.wrong(key.span(), unknown_key(name, CACHE_KEYS.into_iter())),
            }
        }
        cache
    }

    fn defaults(&mut self, root: &DeTable<'_>) -> Common {
        let mut defaults = Common::DEFAULT;
        for (key, value) in self.own_table(root, "defaults") {
            let name: &str = key.get_ref();
            if !DEFAULTS_KEYS.contains(&name) {
                self.wrong(key.span(), unknown_key(name, DEFAULTS_KEYS.into_iter()));
            } else if let Err(message) = defaults.set(name, value.get_ref()) {
                self.wrong(value.span(), message);
            }
        }
        defaults
    }

    fn source(&mut self, key: &Key<'_>, value: &Spanned<DeValue<'_>>, defaults: Common) -> Option<SourceConfig> {
        let name = key.get_ref().to_string();
        let name_fits = value::folder_name(&name);
        if let Err(message) = &name_fits {
            self.wrong(key.span(), message.clone());
        }
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(key.span(), format!("`{0}` must be a table: [sources.{0}]", name.escape_debug()));
            return None;
        };
        let mut common = defaults;
        let mut type_name = None;
        let mut hidden = false;
        let mut live = GlobSet::empty();
        let (mut shares, mut circle) = (None, None);
        let mut values = BTreeMap::new();
        let mut key_lines = BTreeMap::new();
        for (key, value) in table {
            let own_name: &str = key.get_ref();
            key_lines.insert(own_name.to_owned(), self.lines.of(&key.span()));
            let result = match own_name {
                "type" => source_type(value.get_ref()).map(|known| type_name = known),
                "hidden" => value::flag(own_name, value.get_ref()).map(|flag| hidden = flag),
                "shared" => value::flag(own_name, value.get_ref()).map(|flag| shares = Some(flag)),
                "circle" => value::word(own_name, value.get_ref()).map(|name| circle = Some(name)),
                "live" => value::globs(own_name, value.get_ref())
                    .and_then(|globs| value::set_of(own_name, globs))
                    .map(|set| live = set),
                _ if DEFAULTS_KEYS.contains(&own_name) => common.set(own_name, value.get_ref()),
                _ => self.plain(own_name, value.get_ref()).map(|plain| {
                    values.insert(own_name.to_owned(), plain);
                }),
            };
            if let Err(message) = result {
                self.wrong(value.span(), about_source(&name, &message));
            }
        }
        let line = Some(self.lines.of(&key.span()));
        let sharing = shared::sharing(shares, circle).unwrap_or_else(|message| {
            let key = ["circle", "shared"].into_iter().find_map(|key| table.get(key)).map_or(0..0, Spanned::span);
            self.wrong(key, about_source(&name, &message));
            None
        });
        if !table.contains_key("type") {
            let message = format!("`type` is missing; add for example: type = \"local\" ({} are known)", known_types());
            self.missing(line, about_source(&name, &message));
        }
        name_fits.ok()?;
        if let Some(kind) = type_name.as_deref().and_then(sources::kind) {
            match address::spell_out(kind, &mut values) {
                Ok(Some(address)) => {
                    let line = key_lines[address];
                    values.keys().for_each(|key| _ = key_lines.entry(key.clone()).or_insert(line));
                }
                Ok(None) => {}
                Err((key, message)) => {
                    let span = table.get(key).map_or(0..0, Spanned::span);
                    self.wrong(span, about_source(&name, &message));
                    return None;
                }
            }
        }
        self.name_keyring_items(table, &name, type_name.as_deref()?, &mut values);
        let settings = Settings { private: self.place.private, ..Settings::of(name, values) };
        let origin = Origin { file: Some(self.place.shown.into()), line, key_lines };
        Some(SourceConfig { hidden, live, sharing, origin, ..common.source(type_name?, settings) })
    }

    /// Puts the names of the item in place of the `true` of `{ keyring = true }`: only here are type and table together.
    fn name_keyring_items(
        &mut self,
        table: &DeTable<'_>,
        name: &str,
        type_name: &str,
        values: &mut BTreeMap<String, toml::Value>,
    ) {
        let in_keyring = |value: &&toml::Value| {
            let only = value.as_table().filter(|table| table.len() == 1).and_then(|table| table.get("keyring"));
            only == Some(&toml::Value::Boolean(true))
        };
        let keys: Vec<String> =
            values.iter().filter(|(_, value)| in_keyring(value)).map(|(key, _)| key.clone()).collect();
        // An unknown type has been reported already.
        let Some(kind) = sources::kind(type_name) else { return };
        for key in keys {
            match keyring::item(kind, &key, keyring::Table { name, values }) {
                Ok(item) => {
                    let form = toml::Table::from_iter([("keyring".to_owned(), item.to_toml())]);
                    values.insert(key, form.into());
                }
                Err(message) => {
                    let span = table.get(&*key).map_or(0..0, Spanned::span);
                    self.wrong(span, about_source(name, &format!("`{key}`: {message}")));
                }
            }
        }
    }

    fn path(&mut self, key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Option<PathBuf> {
        value::path(key.get_ref(), value.get_ref(), self.dir).map_err(|message| self.wrong(value.span(), message)).ok()
    }

    /// A source's own value, without its place. The file of a secret starts, like every path, at the directory of this file.
    fn plain(&self, key: &str, value: &DeValue<'_>) -> Result<toml::Value, String> {
        let plain = plain(key, value)?;
        match plain.as_table().and_then(|table| table.get("file")).and_then(toml::Value::as_str) {
            Some(file) if plain.as_table().is_some_and(|table| table.len() == 1) => {
                let file = self.dir.join(expand_home(file)).into_os_string();
                let file = file.into_string().map_err(|_| format!("`{key}`: the file's path is not UTF-8"))?;
                Ok(toml::Value::Table([("file".to_owned(), file.into())].into_iter().collect()))
            }
            _ => Ok(plain),
        }
    }

    /// A secret of a table that is no source's, for which the keyring has no place.
    pub(super) fn secret(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Secret, String> {
        let plain = self.plain(name, value.get_ref())?;
        if plain.as_table().is_some_and(|table| table.contains_key("keyring")) {
            return Err(format!("`{name}`: the keyring has no place for it; use {FORMS_WITHOUT_KEYRING}"));
        }
        secret_of(&plain, self.place.private, FORMS_WITHOUT_KEYRING).map_err(|why| format!("`{name}`: {why}"))
    }

    /// The entries of a table of the file's own; none if it is not there or no table.
    fn own_table<'t, 'i>(&mut self, root: &'t DeTable<'i>, name: &str) -> Vec<(&'t Key<'i>, &'t Spanned<DeValue<'i>>)> {
        match table_of(root, name) {
            Some(Ok(table)) => table.iter().collect(),
            Some(Err((key, found))) => {
                self.wrong(key, format!("{}: [{name}]", value::wrong_type(name, "a table", found)));
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

type Key<'i> = Spanned<DeString<'i>>;

/// The table under `name`, or where its key is and what stands there instead.
fn table_of<'t, 'i>(
    root: &'t DeTable<'i>,
    name: &str,
) -> Option<Result<&'t DeTable<'i>, (Range<usize>, &'t DeValue<'i>)>> {
    let (key, value) = root.get_key_value(name)?;
    Some(value.get_ref().as_table().ok_or((key.span(), value.get_ref())))
}

fn type_names() -> impl Iterator<Item = &'static str> {
    let mut names = KINDS.map(|kind| kind.type_name());
    names.sort_unstable();
    names.into_iter()
}

fn known_types() -> String {
    listed(type_names())
}

fn source_type(value: &DeValue<'_>) -> Result<Option<String>, String> {
    let Some(text) = value.as_str() else {
        return Err(value::wrong_type("type", "a string", value));
    };
    if sources::kind(text).is_some() {
        return Ok(Some(text.to_owned()));
    }
    let guess = nearest(text, type_names()).map(|near| format!("did you mean `{near}`? "));
    let shown = value::shown(value);
    Err(format!("unknown type {shown}; {}the known types are {}", guess.unwrap_or_default(), known_types()))
}

fn plain(key: &str, value: &DeValue<'_>) -> Result<toml::Value, String> {
    Ok(match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => toml::Value::Integer(
            value::integer(number).ok_or_else(|| format!("`{key}` is a number that does not fit 64 bits"))?,
        ),
        DeValue::Float(number) => toml::Value::Float(
            number.as_str().parse().map_err(|_| format!("`{key}` is a number that cannot be understood"))?,
        ),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(items) => {
            toml::Value::Array(items.iter().map(|item| plain(key, item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => toml::Value::Table(
            table
                .iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), plain(key.get_ref(), value.get_ref())?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}
