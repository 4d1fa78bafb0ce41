//! The table `[shared]`, and what a source's table says of it: where content is that machines have in common. It opens nothing.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::super::{SharedConfig, SourceConfig, about_source, value};
use super::{Key, MIN_BANDWIDTH, Walk, table_of};
use crate::config::{Remote, Sharing};
use crate::revealed::Revealed;
use crate::secret::Secret;
use crate::shared::{self, Access, Place, PublicKey, Role, Tuning};
use crate::source::nearest::unknown_key;
use crate::sources;

/// The keys of the services, those first that name them.
const REMOTE_KEYS: [&str; 9] = [
    "store",
    "redis",
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "redis_username",
    "redis_password",
    "ca_file",
];

/// The others.
const KEYS: [&str; 11] = [
    "key",
    "access",
    "role",
    "weak",
    "listings",
    "trusted",
    "signing_key",
    "audit",
    "prove_first",
    "patience",
    "max_upload",
];

const EXAMPLE: &str = "write for example \"s3://my-bucket/kitovufs\" or \"file:///mnt/lab/kitovufs\"";

const REDIS_EXAMPLE: &str = "write for example \"rediss://cache.example.edu:6379/0\"";

type Entry<'t, 'i> = (&'t Key<'i>, &'t Spanned<DeValue<'i>>);

impl Walk<'_> {
    /// The table, and everything that is wrong between it and the sources.
    pub(super) fn shared(&mut self, root: &DeTable<'_>, sources: &[SourceConfig]) -> Option<SharedConfig> {
        let (mut key, mut access, mut weak) = (None, None, false);
        let (mut listings, mut trusted, mut signing_key) = (false, Vec::new(), None);
        let mut tuning = Tuning::default();
        let before = self.found.len();
        let entries = self.own_table(root, "shared");
        let (store, redis) = self.remotes(&entries);
        for (written, value) in entries {
            let name: &str = written.get_ref();
            let result = match name {
                "key" => self.secret(name, value).map(|secret| key = Some(secret)),
                "access" => access_of(value.get_ref()).map(|who| access = Some((who, value.span()))),
                "role" => role(value.get_ref()).map(|role| tuning.role = role),
                "weak" => value::flag(name, value.get_ref()).map(|flag| weak = flag),
                "listings" => value::flag(name, value.get_ref()).map(|flag| listings = flag),
                "trusted" => keys_of(value.get_ref()).map(|keys| trusted = keys),
                "signing_key" => self.secret(name, value).map(|secret| signing_key = Some(secret)),
                "audit" => share_of(value.get_ref()).map(|share| tuning.audit = share),
                "prove_first" => value::size(name, value.get_ref()).map(|most| tuning.prove_first = most),
                "patience" => match value::duration(name, value.get_ref()) {
                    Ok(Duration::ZERO) => {
                        Err("`patience` must be longer than nothing; write for example \"250ms\"".into())
                    }
                    patience => patience.map(|patience| tuning.patience = Some(patience)),
                },
                "max_upload" => match value::size(name, value.get_ref()) {
                    Ok(0..MIN_BANDWIDTH) => Err("`max_upload` must be at least \"1KiB\" (a second)".into()),
                    rate => rate.map(|rate| tuning.max_upload = Some(rate)),
                },
                // These have been read.
                _ if REMOTE_KEYS.contains(&name) => Ok(()),
                _ => {
                    let known = REMOTE_KEYS.into_iter().chain(KEYS);
                    self.wrong(written.span(), unknown_key(name, known));
                    continue;
                }
            };
            if let Err(message) = result {
                self.wrong(value.span(), message);
            }
        }
        let is_right = self.found.len() == before;
        let table = table_of(root, "shared").and_then(Result::ok);
        let line = root.get_key_value("shared").map(|(key, _)| self.lines.of(&key.span()));
        if let Some(table) = table
            && !["store", "redis"].iter().any(|key| table.contains_key(*key))
        {
            self.missing(line, format!("[shared] has no `store`; {EXAMPLE}"));
        }
        if let (None, Some((_, span))) = (&key, &access) {
            let message = "`access` says who may read what is shared with a `key` of [shared], and there is none";
            self.wrong(span.clone(), message.into());
        }
        self.sharing(sources, table.is_some(), is_right && key.is_none());
        if is_right && table.is_some() && sources.iter().all(|source| source.sharing.is_none()) {
            let message = "[shared] has no effect: no source has shared = true; write it into the table of each whose \
                           content machines may have in common";
            self.missing(line, message.into());
        }
        let access = access.map_or(Access::Proven, |(access, _)| access);
        let is_somewhere = store.is_some() || redis.is_some();
        let config = SharedConfig { store, redis, key, access, weak, listings, trusted, signing_key, tuning };
        is_somewhere.then_some(config)
    }

    /// The services: the store, and Redis.
    fn remotes(&mut self, entries: &[Entry<'_, '_>]) -> (Option<Remote>, Option<Remote>) {
        let written = |name: &str| entries.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| *value);
        let (mut store, mut redis) = (None, None);
        for (name, remote, is_kind) in [("store", &mut store, is_store as IsKind), ("redis", &mut redis, is_redis)] {
            let Some(value) = written(name) else { continue };
            match place(name, value.get_ref(), is_kind) {
                Ok(url) => *remote = Some(Remote::at(url)),
                Err(message) => self.wrong(value.span(), message),
            }
        }
        let is_bucket = store.as_ref().is_some_and(|store| store.url.scheme() == "s3");
        // Of a service that is wrong itself, the other keys may be right.
        let [bad_store, bad_redis] =
            [("store", store.is_none()), ("redis", redis.is_none())].map(|(name, bad)| bad && written(name).is_some());
        for name in REMOTE_KEYS.into_iter().skip(2) {
            let Some(value) = written(name) else { continue };
            let is_of_redis = name.starts_with("redis_");
            let [for_store, for_redis] = [!is_of_redis, is_of_redis || name == "ca_file"];
            let fits = (for_store && (is_bucket || bad_store)) || (for_redis && (redis.is_some() || bad_redis));
            let mut result = Ok(());
            if let Some(store) = store.as_mut().filter(|_| for_store && is_bucket) {
                result = self.set(store, name, value);
            }
            if let Some(redis) = redis.as_mut().filter(|_| for_redis) {
                result = result.and_then(|()| self.set(redis, name, value));
            }
            if !fits && is_of_redis {
                result = Err(format!("`{name}` is for `redis`, and there is none"));
            } else if !fits {
                let example = "store = \"s3://my-bucket/kitovufs\"";
                result = Err(format!("`{name}` is for a store in a bucket, such as {example}"));
            }
            if let Err(message) = result {
                self.wrong(value.span(), message);
            }
        }
        for (name, remote) in [("store", &store), ("redis", &redis)] {
            let (Some(remote), Some(value)) = (remote, written(name)) else { continue };
            let is_half = written("access_key_id").is_some() != written("secret_access_key").is_some();
            if is_half && name == "store" {
                let message = "`access_key_id` and `secret_access_key` belong together; one is missing";
                self.wrong(value.span(), message.into());
            } else if let Err(message) = usable(name, remote) {
                self.wrong(value.span(), message);
            }
        }
        (store, redis)
    }

    fn set(&self, remote: &mut Remote, name: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        match name {
            "endpoint" => remote.endpoint = Some(value::word(name, value.get_ref())?),
            "region" => remote.region = Some(value::word(name, value.get_ref())?),
            // A name is no secret, so it may be written plainly anywhere.
            "access_key_id" | "redis_username" if value.get_ref().is_str() => {
                remote.account = Some(Secret::Plain(Revealed::new(value::word(name, value.get_ref())?)));
            }
            "access_key_id" | "redis_username" => remote.account = Some(self.secret(name, value)?),
            "secret_access_key" | "redis_password" => remote.secret = Some(self.secret(name, value)?),
            _ => remote.ca_file = Some(value::path(name, value.get_ref(), self.dir)?),
        }
        Ok(())
    }

    /// What is wrong with each source that shares; `is_keyless` if `[shared]` is right and has no key.
    fn sharing(&mut self, sources: &[SourceConfig], has_table: bool, is_keyless: bool) {
        for source in sources {
            let Some(Sharing { circle }) = &source.sharing else { continue };
            let line = source.origin.key_lines.get("shared").copied();
            let key_of_its_own =
                sources::kind(&source.type_name).and_then(|kind| kind.lasting_secret(&source.settings));
            let message = if !has_table {
                "`shared` needs the table [shared], which says where; add for example [shared], and below it \
                 store = \"file:///mnt/lab/kitovufs\""
            } else if !is_keyless {
                continue;
            } else if circle.is_some() {
                "`circle` needs a `key` in [shared], which those have who belong to it; `kitovufs shared key new FILE` \
                 makes one"
            } else if key_of_its_own.is_none() {
                "there is nothing to make a key of: a password could be guessed, and this source has no secret that a \
                 program has made, such as a token; add key = { file = \"…\" } to [shared], for which \
                 `kitovufs shared key new FILE` makes one"
            } else {
                continue;
            };
            self.missing(line, about_source(&source.name, message));
        }
    }
}

/// Whether a source shares, as it says itself.
pub(super) fn sharing(shared: Option<bool>, circle: Option<String>) -> Result<Option<Sharing>, String> {
    match (shared, circle) {
        (Some(true), circle) => Ok(Some(Sharing { circle })),
        (_, Some(_)) => Err("`circle` needs shared = true beside it".into()),
        (_, None) => Ok(None),
    }
}

fn place(name: &str, value: &DeValue<'_>, is_kind: IsKind) -> Result<Url, String> {
    let example = if name == "store" { EXAMPLE } else { REDIS_EXAMPLE };
    let DeValue::String(text) = value else {
        return Err(format!("{}; {example}", value::wrong_type(name, "a URL", value)));
    };
    // What it holds is not shown: there may be a password in it.
    let url = Url::parse(text).map_err(|_| format!("`{name}` is no URL; {example}"))?;
    if url.password().is_some() {
        return Err(format!("`{name}` has a password in it, which shows wherever the URL does; {example}"));
    }
    if !is_kind(url.scheme()) {
        return Err(format!("`{name}`: this kitovufs knows no `{}` there; {example}", url.scheme()));
    }
    Ok(url)
}

/// Whether the services could be used, as far as that can be told without their secrets.
fn usable(name: &str, remote: &Remote) -> Result<(), String> {
    let place = Place { ca_file: None, ..remote.open_place() };
    shared::check(&place).map_err(|error| format!("`{name}`: {error}"))
}

type IsKind = fn(&str) -> bool;

fn is_store(scheme: &str) -> bool {
    ["file", "s3"].contains(&scheme)
}

fn is_redis(scheme: &str) -> bool {
    ["redis", "rediss", "redis+unix"].contains(&scheme)
}

fn role(value: &DeValue<'_>) -> Result<Role, String> {
    match value {
        DeValue::String(text) if text == "read-write" => Ok(Role::ReadWrite),
        DeValue::String(text) if text == "read" => Ok(Role::Read),
        DeValue::String(text) if text == "write" => Ok(Role::Write),
        _ => Err(format!(
            "`role` must be \"read-write\", \"read\" (nothing is given to the store) or \"write\" (it is not asked), not {}",
            value::shown(value)
        )),
    }
}

/// The keys of those who are trusted.
fn keys_of(value: &DeValue<'_>) -> Result<Vec<PublicKey>, String> {
    let example = "`kitovufs shared key new --signing FILE` makes one and prints what belongs here";
    let DeValue::Array(items) = value else {
        return Err(format!("{}; {example}", value::wrong_type("trusted", "a list of keys", value)));
    };
    let key = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        // What is wrong may be the secret one.
        DeValue::String(text) => PublicKey::parse(text)
            .ok_or_else(|| format!("`trusted` has something that is no key of 64 hexadecimal digits; {example}")),
        other => Err(format!("{}; {example}", value::wrong_type("trusted", "a list of keys", other))),
    };
    items.iter().map(key).collect()
}

fn share_of(value: &DeValue<'_>) -> Result<f64, String> {
    let share = match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => value::integer(number).and_then(|number| u32::try_from(number).ok()).map(f64::from),
        _ => None,
    };
    let wrong = || {
        format!(
            "`audit` is the share of what comes from the store that is compared with the source, from 0.0 to 1.0, not {}; write for \
             example 0.01",
            value::shown(value)
        )
    };
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(wrong)
}

fn access_of(value: &DeValue<'_>) -> Result<Access, String> {
    match value {
        DeValue::String(text) if text == "own" => Ok(Access::Proven),
        DeValue::String(text) if text == "key" => Ok(Access::Same),
        _ => Err(format!(
            "`access` must be \"own\" (of each version, the first bytes come from the source, which refuses who may not read it) or \
             \"key\" (who has the key may read everything that is shared with it), not {}",
            value::shown(value)
        )),
    }
}
