//! The table `[shared]`, and what a source's table says of it: where content is that machines have in common. It opens nothing.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::super::{SharedConfig, SourceConfig, about_source, value};
use super::{MIN_BANDWIDTH, Walk, table_of};
use crate::config::Sharing;
use crate::secret::Secret;
use crate::shared::{self, Access, Place, Role, Tuning};
use crate::source::nearest::unknown_key;
use crate::source::settings::secret_of;
use crate::sources;

const KEYS: [&str; 7] = ["store", "key", "access", "role", "weak", "patience", "max_upload"];

const EXAMPLE: &str = "write for example \"file:///mnt/lab/kitovufs\"";

impl Walk<'_> {
    /// The table, and everything that is wrong between it and the sources.
    pub(super) fn shared(&mut self, root: &DeTable<'_>, sources: &[SourceConfig]) -> Option<SharedConfig> {
        let (mut store, mut key, mut access, mut weak) = (None, None, None, false);
        let mut tuning = Tuning::default();
        let before = self.found.len();
        for (written, value) in self.own_table(root, "shared") {
            let name: &str = written.get_ref();
            let result = match name {
                "store" => place(value.get_ref()).map(|url| store = Some(url)),
                "key" => self.circle_key(value).map(|secret| key = Some(secret)),
                "access" => access_of(value.get_ref()).map(|who| access = Some((who, value.span()))),
                "role" => role(value.get_ref()).map(|role| tuning.role = role),
                "weak" => value::flag(name, value.get_ref()).map(|flag| weak = flag),
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
                _ => {
                    self.wrong(written.span(), unknown_key(name, KEYS.into_iter()));
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
            && !table.contains_key("store")
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
        store.map(|store| SharedConfig { store, key, access, weak, tuning })
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

    fn circle_key(&self, value: &Spanned<DeValue<'_>>) -> Result<Secret, String> {
        let plain = self.plain("key", value.get_ref()).map_err(|why| format!("`key`: {why}"))?;
        if plain.as_table().is_some_and(|table| table.contains_key("keyring")) {
            let forms = "use { file = \"…\" }, { command = \"…\" } or { env = \"NAME\" }";
            return Err(format!("`key`: the keyring has no place for it; {forms}"));
        }
        secret_of(&plain, self.place.private).map_err(|why| format!("`key`: {why}"))
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

fn place(value: &DeValue<'_>) -> Result<Url, String> {
    let DeValue::String(text) = value else {
        return Err(format!("{}; {EXAMPLE}", value::wrong_type("store", "a URL", value)));
    };
    // What it holds is not shown: there may be a password in it.
    let url = Url::parse(text).map_err(|_| format!("`store` is no URL; {EXAMPLE}"))?;
    if url.password().is_some() {
        return Err(format!("`store` has a password in it, which shows wherever the URL does; {EXAMPLE}"));
    }
    shared::open(&Place::of(url.clone())).map_err(|error| format!("`store`: {error}"))?;
    Ok(url)
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
