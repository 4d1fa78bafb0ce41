//! `sources`: lists the configured sources. It asks none of them.

use std::path::Path;

use serde::Serialize;

use super::Failure;
use super::output::outln;
use crate::config::{Config, SourceConfig};
use crate::error::{Error, ErrorKind};
use crate::source::identity::without_password;

/// The keys whose values tell where a source is, in the order in which they are shown.
const PLACES: [&str; 11] =
    ["url", "endpoint", "hostname", "host", "share", "bucket", "container", "plugin", "command", "path", "root"];

/// A source, as scripts read it.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
    place: String,
    hidden: bool,
}

/// Prints a line for each source in `file`, or JSON. The result is the exit code.
///
/// # Errors
/// The file is wrong.
pub fn list(file: &Path, json: bool) -> Result<u8, Failure> {
    let (config, problems) = Config::examine(file)?;
    problems.or(())?;
    let listed: Vec<_> = config.sources.iter().map(listed).collect();
    if json {
        let text = serde_json::to_string_pretty(&listed);
        outln!("{}", text.map_err(|e| Error::new("list", ErrorKind::Other).caused_by(e))?);
        return Ok(0);
    }
    let widest = |of: fn(&Listed<'_>) -> usize| listed.iter().map(of).max().unwrap_or_default();
    let (names, types) = (widest(|source| source.name.chars().count()), widest(|source| source.type_name.len()));
    for Listed { name, type_name, place, hidden } in &listed {
        let hidden = if *hidden { "  (hidden)" } else { "" };
        outln!("{name:names$}  {type_name:types$}  {}{hidden}", place.escape_debug());
    }
    Ok(0)
}

fn listed(source: &SourceConfig) -> Listed<'_> {
    let values = &source.settings.values;
    let shown = |value: &toml::Value| {
        // Of a command, the program: its arguments may hold anything.
        let first = value.as_array().and_then(|words| words.first());
        first.unwrap_or(value).as_str().map(without_password)
    };
    let parts = PLACES.iter().filter_map(|key| shown(values.get(*key)?));
    Listed {
        name: &source.name,
        type_name: &source.type_name,
        place: parts.collect::<Vec<_>>().join(" "),
        hidden: source.hidden,
    }
}
