//! The meaning of a URL, on the command line or in a file: one source's type and settings. Types of sources tell their schemes;
//! it knows only which of them have a key for the address of a web server.

use std::collections::BTreeMap;

use toml::Value;

use super::value;
use crate::source::Kind;
use crate::source::nearest::nearest;
use crate::source::url::{self, Typed};
use crate::sources::KINDS;

/// A source as a URL tells it.
#[derive(Debug, PartialEq)]
pub(super) struct UrlSource {
    pub(super) name: String,
    pub(super) type_name: &'static str,
    pub(super) values: BTreeMap<String, Value>,
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

/// The settings that a URL in a table of this type stands for, without secrets; `None` if it is in a form that the type itself reads.
///
/// # Errors
/// It is no URL of this type, or is wrong. An error never repeats the URL.
pub(super) fn settings(kind: &dyn Kind, text: &str) -> Option<Result<url::UrlSettings, String>> {
    let urls = kind.urls()?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let scheme = scheme.to_ascii_lowercase();
    let is_web = matches!(&*scheme, "http" | "https");
    if is_web && matches!(kind.type_name(), "http" | "moodle") {
        return None;
    }
    let is_own = urls.schemes.iter().any(|(name, _)| *name == scheme) || is_web && kind.type_name() == "webdav";
    let forms = urls.schemes.iter().map(|(_, form)| *form).filter(|form| !form.is_empty());
    let forms = forms.collect::<Vec<_>>().join(" or ");
    if !is_own {
        return Some(Err(format!("`url` of a source of type {} is written as {forms}", kind.type_name())));
    }
    if ::url::Url::parse(text).is_ok_and(|url| url.password().is_some()) {
        return Some(Err(
            "leave the password out of `url`, and write for example password = { command = \"pass NAME\" }".into(),
        ));
    }
    let told = (urls.read)(&Typed { scheme: &scheme, rest, is_set: &|_| false, known: &forms });
    Some(told.map(|mut told| {
        // The table has keys for logins; what is found by itself is for the command line.
        told.values.retain(|key, value| !value.is_table() && key != "load_if_refused");
        told
    }))
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
