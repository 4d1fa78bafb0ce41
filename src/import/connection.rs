//! `Connection`: a connection of kitovu, and the source that it becomes. It knows kitovu's own plugins, and passes on what others are told.

use serde_json::{Map, Value};
use toml_edit::{InlineTable, Item, Table, value};

use super::{Folder, into_string};
use crate::source::settings::common_keys;
use crate::sources::moodle::course_name;

/// The defaults of kitovu's SMB plugin.
const SMB_DEFAULTS: [(&str, &str); 3] = [("hostname", "svm-c213.hsr.ch"), ("share", "skripte"), ("domain", "HSR")];

/// The default of its Moodle plugin.
const MOODLE_URL: &str = "https://moodle.hsr.ch/";

/// A connection, and what became of its name.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) name: String,
    plugin: String,
    settings: Map<String, Value>,
    /// The name of its source.
    pub(super) source: String,
    /// Whether a folder shows it.
    pub(super) is_used: bool,
}

/// Reads all connections. Of two with one name, kitovu knows the later.
pub(super) fn read(connections: Vec<Value>, notes: &mut Vec<String>) -> Vec<Connection> {
    let mut read: Vec<Connection> = Vec::new();
    for connection in connections {
        let Value::Object(mut settings) = connection else {
            notes.push("a connection that is no table is left out".into());
            continue;
        };
        let [name, plugin] = ["name", "plugin"].map(|key| settings.remove(key).and_then(into_string));
        let (Some(name), Some(plugin)) = (name, plugin) else {
            notes.push("a connection without `name` or `plugin` is left out".into());
            continue;
        };
        if let Some(before) = read.iter().position(|connection| connection.name == name) {
            notes.push(format!("connection `{name}` is there twice: the first is left out, as kitovu does"));
            read.remove(before);
        }
        let source = free_name(&source_name(&name), |name| read.iter().any(|other| other.source == name));
        if source != name {
            notes.push(format!("connection `{name}` is the source `{source}`: a source's name is a folder's name"));
        }
        read.push(Connection { name, plugin, settings, source, is_used: false });
    }
    read
}

/// Gives sources that have folders of their own names that nothing else has.
pub(super) fn keep_apart(connections: &mut [Connection], folders: &mut [Folder]) {
    let mut taken: Vec<String> = folders.iter().map(|folder| folder.path[0].clone()).collect();
    for connection in connections {
        // A hidden source leaves its name to a folder, but not to another source.
        if !connection.is_used {
            connection.source = free_name(&connection.source, |name| taken.iter().any(|taken| taken == name));
        }
        taken.push(connection.source.clone());
    }
}

/// This name, or the first one with a number behind it that is not taken.
fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name} {number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

fn source_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    match &*name {
        "" | "." | ".." => "source".into(),
        _ => name,
    }
}

impl Connection {
    /// The path below the source for what kitovu calls `remote-dir`, or none if it leads elsewhere or no name can be so.
    ///
    /// To its plugin for Moodle all of that is the name of one course, as the site writes it: HTML, and with slashes perhaps.
    pub(super) fn path(&self, remote_dir: &str) -> Option<Vec<String>> {
        match &*self.plugin {
            "moodle" => super::names(&course_name(remote_dir.trim_matches('/'))),
            _ => super::names(remote_dir),
        }
    }

    /// The source's table.
    pub(super) fn write(&self, notes: &mut Vec<String>) -> Table {
        let mut table = Table::new();
        let about = format!("connection `{}`", self.name);
        match &*self.plugin {
            "smb" => self.write_smb(&mut table, &about, notes),
            "moodle" => self.write_moodle(&mut table, &about, notes),
            _ => self.write_python(&mut table, &about, notes),
        }
        if self.is_used {
            table["hidden"] = value(true);
        }
        table
    }

    fn write_smb(&self, table: &mut Table, about: &str, notes: &mut Vec<String>) {
        table["type"] = value("smb");
        for (key, default) in SMB_DEFAULTS {
            match self.settings.get(key).and_then(Value::as_str) {
                Some(text) => table[key] = value(text),
                None => {
                    table[key] = value(default);
                    notes.push(format!("{about}: `{key}` is what kitovu takes for granted, {default:?}"));
                }
            }
        }
        match self.settings.get("username").and_then(Value::as_str) {
            Some(name) => table["username"] = value(name),
            None => notes.push(format!("{about}: `username` is missing; add it")),
        }
        let netbios = self.settings.get("is_direct_tcp") == Some(&Value::Bool(false));
        for (key, setting) in &self.settings {
            match (&**key, setting) {
                ("hostname" | "share" | "domain" | "username", _) => {}
                ("port", Value::Number(port)) if !netbios && port.is_i64() => {
                    table["port"] = value(port.as_i64().unwrap_or_default());
                }
                ("port", _) => notes.push(format!("{about}: `port` is left out: the usual one is used")),
                ("sign_options", Value::String(text)) if text != "never" => table["sign_options"] = value(text),
                ("sign_options", _) => notes.push(format!("{about}: `sign_options` is left out: all is signed here")),
                ("use_ntlm_v2" | "is_direct_tcp", Value::Bool(true)) | ("debug", Value::Bool(false)) => {}
                ("use_ntlm_v2", _) => notes.push(format!("{about}: `use_ntlm_v2` is left out: only NTLMv2 is spoken")),
                ("is_direct_tcp", _) => notes.push(format!(
                    "{about}: `is_direct_tcp` is left out: SMB is spoken directly over TCP (port 445), not over NetBIOS"
                )),
                ("debug", _) => notes.push(format!("{about}: `debug` is left out: set KITOVUFS_LOG=debug instead")),
                _ => notes.push(unknown(about, key)),
            }
        }
        table["password"] = keyring();
    }

    fn write_moodle(&self, table: &mut Table, about: &str, notes: &mut Vec<String>) {
        table["type"] = value("moodle");
        match self.settings.get("url").and_then(Value::as_str) {
            Some(url) => table["url"] = value(url),
            None => {
                table["url"] = value(MOODLE_URL);
                notes.push(format!("{about}: `url` is what kitovu takes for granted, {MOODLE_URL}"));
            }
        }
        for key in self.settings.keys().filter(|key| *key != "url") {
            notes.push(unknown(about, key));
        }
        table["token"] = keyring();
        // As kitovu names them.
        table["number_sections"] = value(true);
    }

    fn write_python(&self, table: &mut Table, about: &str, notes: &mut Vec<String>) {
        table["type"] = value("python");
        table["plugin"] = value(&*self.plugin);
        for (key, setting) in &self.settings {
            if common_keys().any(|common| common == &**key) || ["plugin", "python", "path"].contains(&&**key) {
                notes.push(format!(
                    "{about}: `{key}` is left out: it means something else here, so the plugin cannot have it"
                ));
                continue;
            }
            match to_toml(setting) {
                Some(item) => table[key] = Item::Value(item),
                None => notes.push(format!("{about}: `{key}` is left out: TOML has no such value")),
            }
        }
        notes.push(format!(
            "{about}: the plugin `{}` must be installed where python3 finds it; the passwords that it asks kitovu for come from the \
             keyring, as there",
            self.plugin
        ));
    }
}

fn unknown(about: &str, key: &str) -> String {
    format!("{about}: `{key}` is left out: nothing here corresponds to it")
}

fn keyring() -> Item {
    value(InlineTable::from_iter([("keyring", true)]))
}

/// None for what TOML cannot say: nothing at all, and numbers beyond 64 bits.
fn to_toml(setting: &Value) -> Option<toml_edit::Value> {
    Some(match setting {
        Value::Null => return None,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None if number.is_f64() => number.as_f64()?.into(),
            None => return None,
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => {
            toml_edit::Value::Array(items.iter().map(to_toml).collect::<Option<Vec<_>>>()?.into_iter().collect())
        }
        Value::Object(table) => {
            let mut inline = InlineTable::new();
            for (key, setting) in table {
                inline.insert(key, to_toml(setting)?);
            }
            toml_edit::Value::InlineTable(inline)
        }
    })
}
