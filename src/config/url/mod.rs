//! The meaning of a URL on the command line: one source's type and settings. It knows no scheme: types of sources tell theirs.

use std::collections::BTreeMap;

use toml::Value;

use super::parse::Common;
use super::{SourceConfig, value};
use crate::source::Settings;
use crate::source::nearest::nearest;
use crate::source::url::{self, Typed};
use crate::sources::KINDS;

/// A source as a URL tells it.
#[derive(Debug, PartialEq)]
pub(super) struct UrlSource {
    name: String,
    type_name: &'static str,
    values: BTreeMap<String, Value>,
}

impl UrlSource {
    /// The source, with what all sources share by default.
    pub(super) fn into_source(self) -> SourceConfig {
        Common::DEFAULT.source(self.type_name.to_owned(), Settings::of(self.name, self.values))
    }
}

/// Reads `text`; `is_set` tells whether an environment variable has a value. An error never repeats the URL: it may hold a password.
pub(super) fn parse(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<UrlSource, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (scheme, known) = (scheme.to_ascii_lowercase(), known());
    for kind in KINDS {
        let Some(urls) = kind.urls().filter(|urls| urls.schemes.iter().any(|(name, _)| *name == scheme)) else {
            continue;
        };
        let url::UrlSettings { name, values } = (urls.read)(&Typed { scheme: &scheme, rest, is_set, known: &known })?;
        let type_name = kind.type_name();
        let name = if value::folder_name(&name).is_ok() { name } else { type_name.to_owned() };
        return Ok(UrlSource { name, type_name, values });
    }
    let is_scheme = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let shown = if is_scheme { format!("{scheme}://") } else { "this".into() };
    let names = schemes().map(|(name, _)| name).filter(|name| !name.is_empty());
    match nearest(&scheme, names) {
        Some(near) => Err(format!("{shown} is not known; did you mean {near}://? Or {known}")),
        None => Err(format!("{shown} is not known; {known}")),
    }
}

fn schemes() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.into_iter().filter_map(|kind| kind.urls()).flat_map(|urls| urls.schemes.iter().copied())
}

/// All forms of URLs, for messages.
fn known() -> String {
    let forms: Vec<_> = schemes().map(|(_, form)| form).filter(|form| !form.is_empty()).collect();
    match forms.split_last() {
        Some((last, others)) => format!("write {}, or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
