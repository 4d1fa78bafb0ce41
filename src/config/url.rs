//! What a URL on the command line means: one source's type and settings. It reads no environment; it is told which variables are set.

use std::collections::BTreeMap;
use std::path::Path;

use ::url::Url;
use toml::Value;

use super::identity::is_secret_key;
use super::parse::Common;
use super::{Origin, SourceConfig, value};
use crate::source::Settings;
use crate::source::nearest::{nearest, unknown_key};
use crate::source::settings::PASSWORD_VARIABLE;

const KNOWN: &str = "write webdavs://host/path, webdav://host/path, https://host/path/, http://host/path/, ftps://host/path, \
                     ftp://host/path, sftp://user@host/path, s3://bucket/prefix, smb://host/share/path, \
                     azblob://account/container/prefix, gs://bucket/prefix, moodle://host/path, file:///path, or an absolute directory";
const SCHEMES: [&str; 17] = [
    "webdavs",
    "webdav",
    "davs",
    "dav",
    "https",
    "http",
    "ftps",
    "ftp",
    "sftp",
    "s3",
    "smb",
    "azblob",
    "gs",
    "gcs",
    "moodle",
    "moodle+http",
    "file",
];

/// Query keys of an s3 URL; they are the keys of the source.
const S3_QUERY: [&str; 2] = ["endpoint", "region"];

/// Keys of the s3 source, and the environment variables in which every tool of that world looks for them.
const S3_VARIABLES: [(&str, &str); 3] = [
    ("access_key_id", "AWS_ACCESS_KEY_ID"),
    ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("session_token", "AWS_SESSION_TOKEN"),
];

/// The same for azblob; the first that is set counts.
const AZURE_VARIABLES: [(&str, &str); 2] =
    [("account_key", "AZURE_STORAGE_KEY"), ("sas_token", "AZURE_STORAGE_SAS_TOKEN")];

/// A token for Google, as other tools of that world read it.
const GOOGLE_VARIABLE: &str = "GOOGLE_OAUTH_ACCESS_TOKEN";

/// A source as a URL tells it.
#[derive(Debug, PartialEq)]
pub(super) struct Remote {
    name: String,
    type_name: &'static str,
    values: BTreeMap<String, Value>,
}

impl Remote {
    fn new(name: &str, type_name: &'static str) -> Self {
        let name = if value::folder_name(name).is_ok() { name } else { type_name };
        Self { name: name.to_owned(), type_name, values: BTreeMap::new() }
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    fn set_variable(&mut self, key: &str, variable: &str) {
        self.set(key, Value::Table([("env".to_owned(), variable.into())].into_iter().collect()));
    }

    /// The path of the URL becomes `root`, if it says more than `/`.
    fn set_root(&mut self, path: &str) -> Result<(), String> {
        let root = percent_decoded(path)?;
        if !root.trim_matches('/').is_empty() {
            self.set("root", format!("/{}", root.trim_matches('/')));
        }
        Ok(())
    }

    /// The user of the URL becomes `username`; a variable holds the password.
    fn set_login(&mut self, url: &Url, is_set: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if !url.username().is_empty() {
            self.set("username", percent_decoded(url.username())?);
            if is_set(PASSWORD_VARIABLE) {
                self.set_variable("password", PASSWORD_VARIABLE);
            }
        }
        Ok(())
    }

    /// The source, with what all sources share by default.
    pub(super) fn into_source(self) -> SourceConfig {
        let Common { fresh_for, timeout, patience, offline, unknown_size, max_requests, max_bandwidth } =
            Common::DEFAULT;
        SourceConfig {
            settings: Settings::of(self.name.clone(), self.values),
            name: self.name,
            type_name: self.type_name.to_owned(),
            hidden: false,
            fresh_for,
            timeout,
            patience,
            offline,
            unknown_size,
            max_requests,
            max_bandwidth,
            origin: Origin::default(),
        }
    }
}

/// Reads `text`; `is_set` tells whether an environment variable has a value. An error never repeats the URL: it may hold a password.
pub(super) fn parse(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return local(text);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "webdavs" | "davs" => webdav(&format!("https://{rest}"), is_set),
        "webdav" | "dav" => webdav(&format!("http://{rest}"), is_set),
        "sftp" => sftp(&format!("sftp://{rest}"), is_set),
        "smb" => smb(&format!("smb://{rest}")),
        "s3" => s3(&format!("s3://{rest}"), is_set),
        "azblob" => azblob(&format!("azblob://{rest}"), is_set),
        "moodle" => moodle(&format!("https://{rest}")),
        "moodle+http" => moodle(&format!("http://{rest}")),
        "gs" | "gcs" => gcs(&format!("gs://{rest}"), is_set),
        "file" => match Url::parse(&format!("file://{rest}")).map(|url| url.to_file_path()) {
            Ok(Ok(path)) => local(path.to_str().ok_or("the path is not UTF-8, so it needs a configuration file")?),
            _ => Err("a file URL has no host: file:///path".into()),
        },
        scheme @ ("http" | "https") => http(&format!("{scheme}://{rest}"), is_set),
        // A scheme of which the URL crate knows that it has hosts.
        "ftp" => ftp(&format!("ftp://{rest}"), false, is_set),
        "ftps" => ftp(&format!("ftp://{rest}"), true, is_set),
        other => {
            let is_scheme = other.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            let scheme = if is_scheme { format!("{other}://") } else { "this".into() };
            match nearest(other, SCHEMES.into_iter()) {
                Some(near) => Err(format!("{scheme} is not known; did you mean {near}://? Or {KNOWN}")),
                None => Err(format!("{scheme} is not known; {KNOWN}")),
            }
        }
    }
}

fn webdav(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    let url = read_server(text)?;
    let mut remote = Remote::new(url.host_str().unwrap_or_default(), "webdav");
    remote.set("endpoint", url.origin().ascii_serialization());
    remote.set_root(url.path())?;
    remote.set_login(&url, is_set)?;
    Ok(remote)
}

fn http(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    let mut url = read_server(text)?;
    let mut remote = Remote::new(url.host_str().unwrap_or_default(), "http");
    remote.set_login(&url, is_set)?;
    url.set_username("").map_err(|()| "the URL names no host")?;
    remote.set("url", url.as_str());
    Ok(remote)
}

fn moodle(text: &str) -> Result<Remote, String> {
    let mut url = read_server(text)?;
    let mut remote = Remote::new(url.host_str().unwrap_or_default(), "moodle");
    // No site shows anything to nobody: without the variable, the source says so.
    if url.username().is_empty() {
        remote.set_variable("token", PASSWORD_VARIABLE);
    } else {
        remote.set("username", percent_decoded(url.username())?);
        remote.set_variable("password", PASSWORD_VARIABLE);
    }
    url.set_username("").map_err(|()| "the URL names no host")?;
    remote.set("url", url.as_str());
    Ok(remote)
}

fn sftp(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    let url = read_server(text)?;
    // Brackets are a URL's way to write an IPv6 address, and percent signs its way to write other names.
    let host = percent_decoded(url.host_str().unwrap_or_default().trim_matches(['[', ']']))?;
    let mut remote = Remote::new(&host, "sftp");
    remote.set("host", host);
    if let Some(port) = url.port() {
        remote.set("port", i64::from(port));
    }
    remote.set_root(url.path())?;
    remote.set_login(&url, is_set)?;
    Ok(remote)
}

fn ftp(text: &str, tls: bool, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    let url = read_server(text)?;
    // Brackets belong to a URL, not to an address.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let mut remote = Remote::new(host, "ftp");
    remote.set("host", host);
    if let Some(port) = url.port() {
        remote.set("port", i64::from(port));
    }
    if tls {
        remote.set("tls", true);
    }
    remote.set_root(url.path())?;
    remote.set_login(&url, is_set)?;
    Ok(remote)
}

/// A URL that names a host and perhaps a user, and ends with its path.
fn read_server(text: &str) -> Result<Url, String> {
    let url = read(text)?;
    if url.password().is_some() {
        let instead = format!("put it into the environment variable {PASSWORD_VARIABLE}");
        return Err(format!(
            "a password in a URL shows in `ps` and in the shell's history; {instead} and leave it out"
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("such a URL ends with its path; write %3F for `?` and %23 for `#`".into());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL names no host".into());
    }
    Ok(url)
}

fn smb(text: &str) -> Result<Remote, String> {
    let url = read_server(text)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the URL names no host: smb://host/share/path")?;
    let path = percent_decoded(url.path())?;
    let (share, root) = path.trim_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
    if share.is_empty() {
        return Err("the URL names no share: smb://host/share/path".into());
    }
    let mut remote = Remote::new(share, "smb");
    remote.set("hostname", percent_decoded(host)?.trim_matches(['[', ']']));
    if let Some(port) = url.port() {
        remote.set("port", i64::from(port));
    }
    remote.set("share", share);
    if !root.is_empty() {
        remote.set("root", format!("/{root}"));
    }
    let user = percent_decoded(url.username())?;
    if user.is_empty() {
        remote.set("guest", true);
        return Ok(remote);
    }
    match user.split_once(';') {
        Some((domain, user)) => {
            remote.set("domain", domain);
            remote.set("username", user);
        }
        None => remote.set("username", user),
    }
    // An smb login needs one: without the variable, the source says so.
    remote.set_variable("password", PASSWORD_VARIABLE);
    Ok(remote)
}

fn s3(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    let credentials = S3_VARIABLES.map(|(_, variable)| variable).join(", ");
    let elsewhere = format!("credentials come from the environment variables {credentials}");
    let url = read(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("a key in a URL shows in `ps` and in the shell's history; {elsewhere}"));
    }
    if url.port().is_some() || url.fragment().is_some() {
        return Err("an s3 URL is s3://bucket/prefix; the server is named by ?endpoint=https://host:port".into());
    }
    let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or("the URL names no bucket: s3://bucket/prefix")?;
    let mut remote = Remote::new(bucket, "s3");
    remote.set("bucket", bucket);
    remote.set_root(url.path())?;
    for (key, value) in url.query_pairs() {
        if is_secret_key(&key) || key == "access_key_id" {
            return Err(format!("a key in a URL shows in `ps` and in the shell's history; {elsewhere}"));
        }
        if !S3_QUERY.contains(&&*key) {
            return Err(format!("after `?`: {}", unknown_key(&key, S3_QUERY.into_iter())));
        }
        if Url::parse(&value).is_ok_and(|endpoint| endpoint.password().is_some()) {
            return Err(format!("a password in a URL shows in `ps` and in the shell's history; {elsewhere}"));
        }
        remote.set(&key, value.as_ref());
    }
    for (key, variable) in S3_VARIABLES {
        if is_set(variable) {
            remote.set_variable(key, variable);
        }
    }
    Ok(remote)
}

fn azblob(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    const FORM: &str = "such a URL is azblob://account/container/prefix";
    let url = read(text)?;
    let [key, token] = AZURE_VARIABLES.map(|(_, variable)| variable);
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        let elsewhere = format!("credentials come from the environment variable {key} or {token}");
        return Err(format!("{FORM}; a key in a URL shows in `ps` and in the shell's history: {elsewhere}"));
    }
    let account = url.host_str().filter(|host| !host.is_empty()).ok_or(FORM)?;
    let path = url.path().trim_start_matches('/');
    let (container, root) = path.split_once('/').unwrap_or((path, ""));
    if container.is_empty() || url.port().is_some() || url.fragment().is_some() {
        return Err(FORM.into());
    }
    let mut remote = Remote::new(container, "azblob");
    remote.set("account_name", account);
    remote.set("container", container);
    remote.set_root(root)?;
    if let Some((key, variable)) = AZURE_VARIABLES.into_iter().find(|(_, variable)| is_set(variable)) {
        remote.set_variable(key, variable);
    }
    Ok(remote)
}

fn gcs(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    const FORM: &str = "such a URL is gs://bucket/prefix";
    let url = read(text)?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        let elsewhere = format!("a token comes from the environment variable {GOOGLE_VARIABLE}");
        return Err(format!("{FORM}; a key in a URL shows in `ps` and in the shell's history: {elsewhere}"));
    }
    let bucket = url.host_str().filter(|host| !host.is_empty() && url.port().is_none()).ok_or(FORM)?;
    let mut remote = Remote::new(bucket, "gcs");
    remote.set("bucket", bucket);
    remote.set_root(url.path())?;
    if is_set(GOOGLE_VARIABLE) {
        remote.set_variable("token", GOOGLE_VARIABLE);
    }
    Ok(remote)
}

fn local(path: &str) -> Result<Remote, String> {
    if !path.starts_with('/') {
        return Err(format!("this is neither a URL nor an absolute directory; {KNOWN}"));
    }
    let dir = Path::new(path);
    if !dir.is_dir() {
        return Err(format!("there is no directory {path:?}; name one that exists, or {KNOWN}"));
    }
    // Rebuilt from its parts: `/a/` and `/a` are the same remote.
    let dir: std::path::PathBuf = dir.components().collect();
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or("local");
    let mut remote = Remote::new(name, "local");
    remote.set("path", dir.to_str().ok_or("the path is not UTF-8, so it needs a configuration file")?);
    Ok(remote)
}

fn read(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| format!("the URL cannot be read: {error}; {KNOWN}"))
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_err(|_| "the URL is not UTF-8, so it needs a configuration file".into())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests;
