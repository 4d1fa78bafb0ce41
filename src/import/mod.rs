//! A configuration of kitovu, and what it means here: connections become sources, subjects become folders. It reads no file.
//!
//! The format as far as it is known: `root-dir`; `global-ignore`, a list of names; `connections`, a list with `name`, `plugin` and
//! the plugin's own settings; `subjects`, a list with `name` and `sources`, each of which has `connection`, `remote-dir` and,
//! optionally, `ignore` and `local-dir`.

mod connection;

use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, value};

use connection::Connection;

/// The result of a conversion.
#[derive(Debug)]
pub struct Imported {
    /// Ours, as TOML.
    pub toml: String,
    /// The settings that could not be carried, and other facts for the user. No secret is in it.
    pub notes: Vec<String>,
}

/// Converts the text of a `kitovu.yaml`.
///
/// # Errors
/// It is no such thing; says why.
pub fn convert(yaml: &str) -> Result<Imported, String> {
    // `y` is a name more often than a yes, and Python's YAML takes it for one.
    let options = serde_saphyr::options! { strict_booleans: true };
    // The error's message may quote the text, which may hold a secret.
    let root: Value = serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
        let place = error.location().map(|at| format!(", line {}", at.line())).unwrap_or_default();
        format!("this is not YAML{place}")
    })?;
    let Value::Object(mut root) = root else { return Err("this is no configuration of kitovu".into()) };
    let mut notes = Vec::new();
    let Some(connections) = root.remove("connections").and_then(into_array).filter(|all| !all.is_empty()) else {
        return Err("this is no configuration of kitovu, or one without `connections`".into());
    };
    let subjects = root.remove("subjects").and_then(into_array).unwrap_or_default();
    let ignore = globs(root.remove("global-ignore"), "global-ignore", &mut notes);
    let root_dir = root.remove("root-dir").and_then(into_string);
    for key in root.keys() {
        notes.push(format!("`{key}` is left out: nothing here corresponds to it"));
    }

    let mut connections = connection::read(connections, &mut notes);
    let mut folders: Vec<Folder> = Vec::new();
    for subject in subjects {
        read_subject(subject, root_dir.as_deref(), &connections, &mut folders, &mut notes);
    }
    keep_apart(&mut folders, &mut notes);
    for connection in &mut connections {
        connection.is_used =
            folders.iter().flat_map(|folder| &folder.parts).any(|part| part.source == connection.source);
    }
    connection::keep_apart(&mut connections, &mut folders);
    Ok(Imported { toml: write(root_dir.as_deref(), &connections, &folders, &ignore, &mut notes), notes })
}

/// A folder to be, from one or several subjects.
#[derive(Debug)]
struct Folder {
    path: Vec<String>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// The name of the connection's source.
    source: String,
    path: String,
    ignore: Vec<String>,
}

fn read_subject(
    subject: Value,
    root_dir: Option<&str>,
    connections: &[Connection],
    folders: &mut Vec<Folder>,
    notes: &mut Vec<String>,
) {
    let Value::Object(mut subject) = subject else {
        return notes.push("a subject that is no table is left out".into());
    };
    let Some(name) = subject.remove("name").and_then(into_string) else {
        return notes.push("a subject without `name` is left out".into());
    };
    let about = format!("subject `{name}`");
    let ignore = globs(subject.remove("ignore"), &about, notes);
    let sources = subject.remove("sources").and_then(into_array).unwrap_or_default();
    for key in subject.keys() {
        notes.push(format!("{about}: `{key}` is left out: nothing here corresponds to it"));
    }
    if sources.is_empty() {
        notes.push(format!("{about} is left out: it has no `sources`"));
    }
    for source in sources {
        let Value::Object(mut source) = source else {
            notes.push(format!("{about}: a source that is no table is left out"));
            continue;
        };
        let local_dir = source.remove("local-dir").and_then(into_string);
        let path = folder_path(&name, local_dir.as_deref(), root_dir, notes);
        let part = read_part(source, &about, &ignore, connections, notes);
        let (Some(path), Some(part)) = (path, part) else { continue };
        match folders.iter_mut().find(|folder| folder.path == path) {
            Some(folder) => folder.parts.push(part),
            None => folders.push(Folder { path, parts: vec![part] }),
        }
    }
}

fn read_part(
    mut source: Map<String, Value>,
    about: &str,
    ignore: &[String],
    connections: &[Connection],
    notes: &mut Vec<String>,
) -> Option<Part> {
    let wanted = source.remove("connection").and_then(into_string).unwrap_or_default();
    let remote_dir = source.remove("remote-dir").and_then(into_string).unwrap_or_default();
    let own = globs(source.remove("ignore"), about, notes);
    for key in source.keys() {
        notes.push(format!("{about}: `{key}` is left out: nothing here corresponds to it"));
    }
    let Some(connection) = connections.iter().find(|connection| connection.name == wanted) else {
        notes.push(format!("{about}: its part from `{wanted}` is left out: there is no such connection"));
        return None;
    };
    let Some(path) = connection.path(&remote_dir) else {
        notes.push(format!("{about}: its part from `{wanted}` is left out: `{remote_dir}` leads elsewhere"));
        return None;
    };
    let ignore = ignore.iter().cloned().chain(own).collect();
    Some(Part { source: connection.source.clone(), path: path.join("/"), ignore })
}

/// The path of a subject: below `root-dir`, by its name or its own `local-dir`.
fn folder_path(
    name: &str,
    local_dir: Option<&str>,
    root_dir: Option<&str>,
    notes: &mut Vec<String>,
) -> Option<Vec<String>> {
    if let Some(dir) = local_dir {
        let inside = root_dir.and_then(|root| dir.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/'));
        match inside.and_then(names).filter(|names| !names.is_empty()) {
            Some(path) => return Some(path),
            None => notes.push(format!(
                "subject `{name}`: it was put into `{dir}`, outside of `root-dir`; a mount has one place, so it appears by its name"
            )),
        }
    }
    let path = names(name).filter(|names| !names.is_empty());
    if path.is_none() {
        notes.push(format!("subject `{name}` is left out: no folder can have this name"));
    }
    path
}

/// Folders inside other folders cannot be.
fn keep_apart(folders: &mut Vec<Folder>, notes: &mut Vec<String>) {
    let paths: Vec<_> = folders.iter().map(|folder| folder.path.clone()).collect();
    folders.retain(|folder| {
        let Some(around) = paths.iter().find(|path| folder.path.len() > path.len() && folder.path.starts_with(path))
        else {
            return true;
        };
        let (inner, outer) = (folder.path.join("/"), around.join("/"));
        notes.push(format!(
            "the folder `{inner}` is left out: it would be inside the folder `{outer}`, which is made of sources"
        ));
        false
    });
}

/// The names of a path below some place, or none if one leads elsewhere or cannot be a name.
fn names(path: &str) -> Option<Vec<String>> {
    let names = path.split('/').filter(|name| !name.is_empty() && *name != ".");
    names.map(|name| (name != ".." && !name.chars().any(char::is_control)).then(|| name.to_owned())).collect()
}

/// Names to be left out, as patterns.
fn globs(listed: Option<Value>, about: &str, notes: &mut Vec<String>) -> Vec<String> {
    let names = listed.and_then(into_array).unwrap_or_default().into_iter().filter_map(into_string);
    let (kept, useless): (Vec<_>, Vec<_>) = names.partition(|name| !name.contains('/'));
    for name in useless {
        notes.push(format!(
            "{about}: `{name}` is no longer ignored: with a slash it is no file's name, and never had an effect"
        ));
    }
    let pattern = |name: String| if globset::Glob::new(&name).is_ok() { name } else { globset::escape(&name) };
    kept.into_iter().map(pattern).collect()
}

fn write(
    root_dir: Option<&str>,
    connections: &[Connection],
    folders: &[Folder],
    ignore: &[String],
    notes: &mut Vec<String>,
) -> String {
    let mut document = DocumentMut::new();
    if let Some(dir) = root_dir {
        document["mountpoint"] = value(dir);
        notes.push(format!(
            "kitovu has put its copies into {dir}; a folder is mounted where nothing is: move them away, or change `mountpoint`"
        ));
    }
    let mut sources = Table::new();
    sources.set_implicit(true);
    for connection in connections {
        sources.insert(&connection.source, Item::Table(connection.write(notes)));
    }
    document.insert("sources", Item::Table(sources));
    let mut all = ArrayOfTables::new();
    for folder in folders {
        let mut table = Table::new();
        table["path"] = value(folder.path.join("/"));
        let mut from: Array = folder.parts.iter().map(write_part).collect();
        if from.len() > 1 {
            from.iter_mut().for_each(|part| part.decor_mut().set_prefix("\n    "));
            from.set_trailing("\n");
            from.set_trailing_comma(true);
        }
        table["from"] = value(from);
        if !ignore.is_empty() {
            table["ignore"] = value(ignore.iter().collect::<Array>());
        }
        all.push(table);
    }
    if !all.is_empty() {
        document.insert("folders", Item::ArrayOfTables(all));
    }
    document.to_string()
}

fn write_part(part: &Part) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("source", part.source.as_str().into());
    if !part.path.is_empty() {
        table.insert("path", part.path.as_str().into());
    }
    if !part.ignore.is_empty() {
        table.insert("ignore", part.ignore.iter().collect::<Array>().into());
    }
    table
}

fn into_array(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(items) = value { Some(items) } else { None }
}

/// Text, also what YAML takes for a number or a truth value.
fn into_string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
