//! `[[folders]]`: folders that are put together from sources. It knows the names of the sources, and asks none of them.

use std::collections::BTreeSet;
use std::ops::Range;

use globset::Glob;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::{Walk, table_of};
use crate::config::{FolderConfig, PartConfig, SourceConfig, value};
use crate::source::nearest::{listed, nearest, unknown_key};

const FOLDER_KEYS: [&str; 3] = ["path", "from", "ignore"];
const PART_KEYS: [&str; 3] = ["source", "path", "ignore"];

/// The form of parts, for messages.
const EXAMPLE: &str = "from = [ { source = \"docs\", path = \"some/folder\" } ]";

impl Walk<'_> {
    /// All folders, and what is wrong with them together.
    pub(super) fn folders(&mut self, root: &DeTable<'_>, sources: &[SourceConfig]) -> Vec<FolderConfig> {
        // Sources with another mistake are there all the same.
        let names: BTreeSet<String> = match table_of(root, "sources") {
            Some(Ok(table)) => table.keys().map(|key| key.get_ref().to_string()).collect(),
            _ => BTreeSet::new(),
        };
        let mut folders: Vec<(FolderConfig, Range<usize>)> = Vec::new();
        for item in self.array_of_tables(root) {
            let Some(table) = item.get_ref().as_table() else {
                self.wrong(item.span(), "a folder is written as a table: [[folders]]".into());
                continue;
            };
            let Some((folder, at)) = self.folder(table, item.span(), &names) else { continue };
            if let Some(why) = collision(&folder, sources, folders.iter().map(|(folder, _)| folder)) {
                self.wrong(at.clone(), format!("folder `{}`: {why}", shown(&folder.path)));
            }
            folders.push((folder, at));
        }
        let used: BTreeSet<&str> =
            folders.iter().flat_map(|(folder, _)| &folder.parts).map(|part| &*part.source).collect();
        for source in sources.iter().filter(|source| source.hidden && !used.contains(&*source.name)) {
            let why = "it is hidden, and no folder shows it; remove `hidden`, or name it in a [[folders]]";
            let line = source.origin.key_lines.get("hidden").copied();
            self.missing(line, super::about_source(&source.name, why));
        }
        folders.into_iter().map(|(folder, _)| folder).collect()
    }

    fn array_of_tables<'t, 'i>(&mut self, root: &'t DeTable<'i>) -> &'t [Spanned<DeValue<'i>>] {
        let Some((key, value)) = root.get_key_value("folders") else { return &[] };
        match value.get_ref() {
            DeValue::Array(items) => items,
            // The parser guesses at a header below one that is broken.
            other => {
                let wrong = value::wrong_type("folders", "a list of tables", other);
                self.missing(Some(self.lines.of(&key.span())), format!("{wrong}; each folder begins with [[folders]]"));
                &[]
            }
        }
    }

    /// A folder, and where it says its path. None if it has no path.
    fn folder(
        &mut self,
        table: &DeTable<'_>,
        at: Range<usize>,
        sources: &BTreeSet<String>,
    ) -> Option<(FolderConfig, Range<usize>)> {
        let mut path = None;
        let mut from = None;
        let mut ignore = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let result = match name {
                "path" => path_of(value.get_ref()).map(|names| path = Some((names, value.span()))),
                "from" => parts_of(value.get_ref()).map(|parts| from = Some(parts)),
                "ignore" => value::globs(name, value.get_ref()).map(|globs| ignore = globs),
                _ => {
                    self.wrong(key.span(), unknown_key(name, FOLDER_KEYS.into_iter()));
                    continue;
                }
            };
            if let Err(message) = result {
                self.wrong(value.span(), message);
            }
        }
        let line = Some(self.lines.of(&at));
        if !table.contains_key("path") {
            self.missing(line, "`path` of the folder is missing; add for example: path = \"EPJ\"".into());
        }
        if !table.contains_key("from") {
            self.missing(line, format!("`from` of the folder is missing; add for example: {EXAMPLE}"));
        }
        let items = from.map_or(&[][..], |items| items);
        let parts = items.iter().filter_map(|item| self.part(item, &ignore, sources)).collect();
        let (path, at) = path?;
        Some((FolderConfig { path, parts }, at))
    }

    fn part(&mut self, item: &Spanned<DeValue<'_>>, ignore: &[Glob], sources: &BTreeSet<String>) -> Option<PartConfig> {
        let Some(table) = item.get_ref().as_table() else {
            self.wrong(item.span(), format!("a part of a folder is a table; write for example: {EXAMPLE}"));
            return None;
        };
        let mut source = None;
        let mut path = Vec::new();
        let mut ignore = ignore.to_vec();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let result = match name {
                "source" => source_named(value.get_ref(), sources).map(|name| source = Some(name)),
                "path" => value::names(name, value.get_ref()).map(|names| path = names),
                "ignore" => value::globs(name, value.get_ref()).map(|globs| ignore.extend(globs)),
                _ => {
                    self.wrong(key.span(), unknown_key(name, PART_KEYS.into_iter()));
                    continue;
                }
            };
            if let Err(message) = result {
                // A table that is broken may be the one that is missing.
                if name != "source" || self.doubtful.is_empty() {
                    self.wrong(value.span(), message);
                }
            }
        }
        if !table.contains_key("source") {
            self.missing(
                Some(self.lines.of(&item.span())),
                format!("`source` is missing; write for example: {EXAMPLE}"),
            );
        }
        let ignore = value::set_of("ignore", ignore).map_err(|why| self.wrong(item.span(), why)).ok()?;
        Some(PartConfig { source: source?, path, ignore })
    }
}

fn path_of(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value::names("path", value)? {
        names if names.is_empty() => {
            Err("`path` is empty, and the root is there already; name the folder, for example \"EPJ\"".into())
        }
        names => Ok(names),
    }
}

fn parts_of<'t, 'i>(value: &'t DeValue<'i>) -> Result<&'t DeArray<'i>, String> {
    match value {
        DeValue::Array(items) if items.is_empty() => Err(format!("`from` is empty; write for example: {EXAMPLE}")),
        DeValue::Array(items) => Ok(items),
        other => Err(format!("{}; write for example: {EXAMPLE}", value::wrong_type("from", "a list of tables", other))),
    }
}

fn source_named(value: &DeValue<'_>, sources: &BTreeSet<String>) -> Result<String, String> {
    let Some(name) = value.as_str() else { return Err(value::wrong_type("source", "a source's name", value)) };
    if sources.contains(name) {
        return Ok(name.to_owned());
    }
    let names = || sources.iter().map(String::as_str);
    let advice = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if sources.is_empty() => "there is none; add one".to_owned(),
        None => format!("the sources are {}", listed(names())),
    };
    Err(format!("there is no source {}; {advice}", value::shown(value)))
}

/// Why this folder cannot be where it wants to be.
fn collision<'a>(
    folder: &FolderConfig,
    sources: &[SourceConfig],
    mut others: impl Iterator<Item = &'a FolderConfig>,
) -> Option<String> {
    if let Some(source) = sources.iter().find(|source| !source.hidden && source.name == folder.path[0]) {
        let name = source.name.escape_debug();
        return Some(format!(
            "there is the folder of the source `{name}` already; choose another path, or hide the source's own folder: \
             hidden = true in [sources.{name}]"
        ));
    }
    let other = others.find(|other| folder.path.starts_with(&other.path) || other.path.starts_with(&folder.path))?;
    if other.path == folder.path {
        return Some("it is here for the second time; put all its parts into one `from`".into());
    }
    Some(format!("it and the folder `{}` would be one inside the other; choose another path", shown(&other.path)))
}

fn shown(path: &[String]) -> String {
    path.join("/").escape_debug().to_string()
}
