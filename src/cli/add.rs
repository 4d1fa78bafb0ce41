//! `add`: writes a source into the configuration file, once it has worked. It asks for what the URL does not tell, and never shows a secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::Table;

use super::edit::Edited;
use super::output::{errln, outln};
use super::{Failure, login, overview, prompt};
use crate::config::{Config, SourceConfig};
use crate::error::{Error, ErrorKind};
use crate::keyring;
use crate::path::PrintableLines;
use crate::source::settings::PASSWORD_VARIABLE;

/// The keys of a URL's source that tell who logs in, and the key of the secret that belongs to them. Types that are not here need none, or
/// tell it by their URL.
const LOGINS: [(&str, &str, &str); 5] = [
    ("webdav", "username", "password"),
    ("smb", "username", "password"),
    ("ftp", "username", "password"),
    ("http", "username", "password"),
    ("s3", "access_key_id", "secret_access_key"),
];

/// The source to add.
#[derive(Debug)]
pub struct AddRequest {
    /// The configuration file, which need not be there.
    pub file: PathBuf,
    /// Its URL, or an absolute directory.
    pub url: String,
    /// The name of its folder; `None` for the one that the URL tells.
    pub name: Option<String>,
    /// Ask for a password, though the type has other ways to log in.
    pub password: bool,
    /// Write it without trying it.
    pub untried: bool,
}

/// Adds the source and prints the result. The result is the exit code.
///
/// # Errors
/// The URL or the file is wrong, or the source does not work; then nothing is written.
pub fn add(request: &AddRequest) -> Result<u8, Failure> {
    let mut edited = Edited::read(&request.file)?;
    let (name, type_name, mut values) = Config::table_of_url(&request.url)?;
    let name = match &request.name {
        Some(name) => name.clone(),
        None => typed("name of the folder", &name)?.unwrap_or(name),
    };
    if edited.names().any(|other| other == name) {
        return Err(Failure::Usage(format!(
            "there is a source `{0}` already; name another: kitovufs add URL NAME, or first: kitovufs remove {0}",
            name.escape_debug()
        )));
    }
    ask_account(type_name, &mut values)?;
    let given = std::env::var(PASSWORD_VARIABLE).ok().filter(|given| !given.is_empty());
    // With a password, `mount` would log in with it, too.
    let wanted = request.password || (given.is_some() && type_name == "sftp" && values.contains_key("username"));
    let secret = secret_key(type_name, &values, wanted).map(|key| (key, place(&request.file, &name)));
    edited.add(&name, table(type_name, &values, secret))?;
    let config = edited.examine_all().inspect_err(|_| {
        errln!("kitovufs: nothing is written, for the configuration would not be right:");
    })?;
    let source = login::named(&config, &name)?;
    let said = if request.untried { untried(source) } else { tried(&config, source, given)? };
    edited.write()?;
    for line in said {
        outln!("{}", PrintableLines(&line));
    }
    outln!("[sources.{}] is in {} now", name.escape_debug(), request.file.display());
    outln!("{}", overview::next_step(&config));
    Ok(0)
}

/// Asks who logs in, where the URL does not tell and the type has accounts.
fn ask_account(type_name: &str, values: &mut BTreeMap<String, toml::Value>) -> Result<(), Failure> {
    let login = LOGINS.into_iter().find(|(of, account, _)| *of == type_name && !values.contains_key(*account));
    if let Some((_, account, _)) = login
        && let Some(user) = typed(account, "none")?
    {
        values.insert(account.to_owned(), user.into());
        values.remove("guest");
    }
    Ok(())
}

/// Asks for the source's secret, if it has one that is not given, tries it, and keeps the secret. Returns what is to be said.
fn tried(config: &Config, source: &SourceConfig, mut given: Option<String>) -> Result<Vec<String>, Failure> {
    let mut ask = |what: &str| match given.take() {
        Some(secret) => {
            errln!("{what}that in {PASSWORD_VARIABLE}");
            Ok(secret)
        }
        None => prompt::ask_secret(what),
    };
    let tried = login::log_in(config, source, None, &mut ask, &*keyring::system());
    tried
        .inspect_err(|_| errln!("kitovufs: nothing is written, for it does not work; --untried writes it all the same"))
}

fn untried(source: &SourceConfig) -> Vec<String> {
    let name = source.name.escape_debug();
    let has_secret = !source.settings.kept_secrets().is_empty();
    let command = if has_secret { format!("login {name}") } else { "check".to_owned() };
    vec![format!("{name}: not tried; kitovufs {command} does")]
}

/// The key of the secret that must be asked for, if one must.
fn secret_key(type_name: &str, values: &BTreeMap<String, toml::Value>, wanted: bool) -> Option<&'static str> {
    if type_name == "moodle" {
        return Some(if values.contains_key("username") { "password" } else { "token" });
    }
    let of_login = LOGINS.into_iter().find(|(of, account, _)| *of == type_name && values.contains_key(*account));
    of_login.map(|(_, _, secret)| secret).or(wanted.then_some("password"))
}

/// The place of a secret: in the keyring if there is one, else in a new file beside the configuration `file`.
fn place(file: &Path, name: &str) -> toml_edit::InlineTable {
    let mut place = toml_edit::InlineTable::new();
    match keyring::system().check() {
        Ok(()) => place.insert("keyring", true.into()),
        Err(_) => place.insert("file", free_file(file.parent().unwrap_or(Path::new("")), name).into()),
    };
    place
}

/// A file for a secret that is not there, as the secret of another configuration's source of this name may be.
fn free_file(dir: &Path, name: &str) -> String {
    let further = (2..).map(|number| format!("secrets/{name} {number}"));
    let mut files = std::iter::once(format!("secrets/{name}")).chain(further);
    files.find(|file| dir.join(file).symlink_metadata().is_err()).unwrap_or_default()
}

fn table(
    type_name: &str,
    values: &BTreeMap<String, toml::Value>,
    secret: Option<(&str, toml_edit::InlineTable)>,
) -> Table {
    let mut table = Table::new();
    table.insert("type", toml_edit::value(type_name));
    for (key, value) in values {
        let value: toml_edit::Value = match value {
            toml::Value::Integer(number) => (*number).into(),
            toml::Value::Boolean(flag) => (*flag).into(),
            toml::Value::String(text) => text.into(),
            // A URL tells nothing else.
            _ => continue,
        };
        table.insert(key, toml_edit::value(value));
    }
    if let Some((key, place)) = secret {
        table.insert(key, toml_edit::value(place));
    }
    table
}

/// What the user types at a terminal; `None` where there is none, or for an empty line.
fn typed(what: &str, otherwise: &str) -> Result<Option<String>, Failure> {
    Ok(prompt::ask(what, otherwise).map_err(|e| Error::new("read", ErrorKind::Other).caused_by(e))?)
}
