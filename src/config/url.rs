//! What a URL on the command line means: one source's type and settings. It reads no environment; it is told which variables are set.

use std::collections::BTreeMap;
use std::path::Path;

use ::url::Url;
use toml::Value;

use super::identity::is_secret_key;
use super::nearest::nearest;
use super::parse::Common;
use super::settings::Settings;
use super::{Origin, SourceConfig, unknown_key, value};

const KNOWN: &str = "write webdavs://host/path, webdav://host/path, sftp://user@host/path, s3://bucket/prefix, \
    smb://host/share/path, file:///path, or an absolute directory";
const SCHEMES: [&str; 8] = ["webdavs", "webdav", "davs", "dav", "sftp", "s3", "smb", "file"];

/// The password of a URL: an argument shows in `ps` and in the shell's history, a variable does not.
const PASSWORD_VARIABLE: &str = "KITOVUFS_PASSWORD";

const NO_HOST: &str = "the URL names no host";

/// Query keys of an s3 URL; they are the keys of the source.
const S3_QUERY: [&str; 2] = ["endpoint", "region"];

/// Keys of the s3 source, and the environment variables in which every tool of that world looks for them.
const S3_VARIABLES: [(&str, &str); 3] = [
    ("access_key_id", "AWS_ACCESS_KEY_ID"),
    ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("session_token", "AWS_SESSION_TOKEN"),
];

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

    /// The user of the URL, and where that one's password is.
    fn set_user(&mut self, url: &Url, is_set: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if url.username().is_empty() {
            return Ok(());
        }
        self.set("username", percent_decoded(url.username())?);
        if is_set(PASSWORD_VARIABLE) {
            self.set_variable("password", PASSWORD_VARIABLE);
        }
        Ok(())
    }

    /// The source, with what all sources share by default.
    pub(super) fn into_source(self) -> SourceConfig {
        let Common { fresh_for, timeout, offline, max_requests, max_bandwidth } = Common::DEFAULT;
        SourceConfig {
            settings: Settings { name: self.name.clone(), values: self.values, private: true, reserved: Vec::new() },
            name: self.name,
            type_name: self.type_name.to_owned(),
            fresh_for,
            timeout,
            offline,
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
        "file" => match Url::parse(&format!("file://{rest}")).map(|url| url.to_file_path()) {
            Ok(Ok(path)) => local(path.to_str().ok_or("the path is not UTF-8, so it needs a configuration file")?),
            _ => Err("a file URL has no host: file:///path".into()),
        },
        "http" | "https" => Err(format!("a web folder is mounted by WebDAV; {KNOWN}")),
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
    let url = of_host(text, "webdav")?;
    let host = url.host_str().ok_or(NO_HOST)?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let mut remote = Remote::new(host, "webdav");
    remote.set("endpoint", format!("{}://{host}{port}", url.scheme()));
    remote.set_root(url.path())?;
    remote.set_user(&url, is_set)?;
    Ok(remote)
}

fn sftp(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<Remote, String> {
    let url = of_host(text, "sftp")?;
    // Brackets are a URL's way to write an IPv6 address, and percent signs its way to write other names.
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(NO_HOST)?;
    let host = percent_decoded(host.trim_matches(['[', ']']))?;
    let mut remote = Remote::new(&host, "sftp");
    remote.set("host", host);
    if let Some(port) = url.port() {
        remote.set("port", i64::from(port));
    }
    remote.set_root(url.path())?;
    remote.set_user(&url, is_set)?;
    Ok(remote)
}

/// A URL of a host with a path and perhaps a user, and nothing else.
fn of_host(text: &str, scheme: &str) -> Result<Url, String> {
    let url = read(text)?;
    if url.password().is_some() {
        let instead = format!("put it into the environment variable {PASSWORD_VARIABLE}");
        return Err(format!(
            "a password in a URL shows in `ps` and in the shell's history; {instead} and leave it out"
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("a {scheme} URL ends with its path; write %3F for `?` and %23 for `#`"));
    }
    Ok(url)
}

fn smb(text: &str) -> Result<Remote, String> {
    let url = of_host(text, "smb")?;
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
mod tests {
    use super::*;

    fn table(text: &str) -> BTreeMap<String, Value> {
        text.parse::<toml::Table>().expect("the test's TOML is right").into_iter().collect()
    }

    fn remote(url: &str, variables: &[&str]) -> Remote {
        parse(url, &|name| variables.contains(&name)).expect("the URL is right")
    }

    fn refusal(url: &str) -> String {
        parse(url, &|_| true).expect_err("the URL is refused")
    }

    #[test]
    fn webdav_urls_become_http_endpoints() {
        for (url, endpoint) in [
            ("webdav://Host.example/", "http://host.example"),
            ("dav://host.example:80", "http://host.example"),
            ("webdavs://host.example:8443", "https://host.example:8443"),
            ("DAVS://[::1]:1", "https://[::1]:1"),
        ] {
            let remote = remote(url, &[]);
            assert_eq!(remote.values, table(&format!("endpoint = '{endpoint}'")), "{url}");
            assert_eq!(remote.type_name, "webdav");
        }
    }

    #[test]
    fn path_and_user_of_a_webdav_url_are_decoded() {
        let expected = "endpoint = 'https://h'\nroot = '/a b/ü%'\nusername = 'anna@x'";
        assert_eq!(remote("webdavs://anna%40x@h/a%20b/ü%25/", &[]).values, table(expected));
    }

    #[test]
    fn the_password_of_a_webdav_user_comes_from_the_environment() {
        let values = remote("webdav://anna@h", &["KITOVUFS_PASSWORD"]).values;
        assert_eq!(values["password"], Value::Table("env = 'KITOVUFS_PASSWORD'".parse().expect("TOML")));
        assert!(!remote("webdav://h", &["KITOVUFS_PASSWORD"]).values.contains_key("password"), "nobody's password");
    }

    #[test]
    fn sftp_urls_name_host_user_port_and_directory() {
        let sftp = remote("sftp://anna@Host.example:2222/srv/a%20b/", &["KITOVUFS_PASSWORD"]);
        let expected = "host = 'host.example'\nport = 2222\nroot = '/srv/a b'\nusername = 'anna'\npassword = { env = 'KITOVUFS_PASSWORD' }";
        assert_eq!((sftp.type_name, sftp.values), ("sftp", table(&expected.replace("host.example", "Host.example"))));
        assert_eq!(remote("sftp://[::1]/~/docs", &[]).values, table("host = '::1'\nroot = '/~/docs'"));
        assert_eq!(remote("SFTP://h/", &[]).values, table("host = 'h'"));
        assert!(refusal("sftp:///x").contains("no host"));
        assert!(refusal("sftp://h/x?y").contains("%3F"));
        assert!(!refusal("sftp://anna:hunter2@h").contains("hunter2"));
    }

    #[test]
    fn a_secret_in_a_url_is_refused_and_not_repeated() {
        for url in [
            "webdavs://anna:hunter2@h/x",
            "s3://anna:hunter2@b",
            "s3://b?secret_access_key=hunter2",
            "s3://b?endpoint=https%3A%2F%2Fanna:hunter2@h",
        ] {
            let message = refusal(url);
            assert!(message.contains("`ps`") && message.contains("environment variable"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert!(refusal("webdavs://anna:hunter2@h/x").contains("KITOVUFS_PASSWORD"));
        for broken in ["webdav://anna:hunter2/x@h", "anna:hunter2@h://", "anna:hunter2@h/x"] {
            assert!(!refusal(broken).contains("hunter2"), "{broken}");
        }
    }

    #[test]
    fn smb_urls_name_domain_user_server_share_and_folder() {
        let written = "smb://EXAMPLE;anna%40x@Files.example:4450/my%20share/a/b%20c/";
        let expected = "hostname = 'Files.example'\nport = 4450\nshare = 'my share'\nroot = '/a/b c'\n\
             domain = 'EXAMPLE'\nusername = 'anna@x'\npassword = { env = 'KITOVUFS_PASSWORD' }";
        let smb = remote(written, &[]);
        assert_eq!(smb.values, table(expected));
        assert_eq!((smb.type_name, &*smb.name), ("smb", "my share"));
        let guest = "hostname = '::1'\nshare = 's'\nguest = true";
        assert_eq!(remote("smb://[::1]/s", &[]).values, table(guest));
        for no_share in ["smb://h", "smb://h/", "smb:///s"] {
            assert!(refusal(no_share).contains("smb://host/share/path"), "{no_share}");
        }
        assert!(!refusal("smb://anna:hunter2@h/s").contains("hunter2"));
    }

    #[test]
    fn s3_urls_name_bucket_prefix_and_server() {
        let s3 = remote("s3://My_bucket/a%20b/?endpoint=http://localhost:9000&region=eu-1", &[]);
        let expected = "bucket = 'My_bucket'\nroot = '/a b'\nendpoint = 'http://localhost:9000'\nregion = 'eu-1'";
        assert_eq!(s3.values, table(expected));
        assert_eq!((s3.type_name, &*s3.name), ("s3", "My_bucket"));
    }

    #[test]
    fn s3_credentials_come_from_the_usual_variables_if_set() {
        let expected = "bucket = 'b'\naccess_key_id = { env = 'AWS_ACCESS_KEY_ID' }\nsecret_access_key = { env = 'AWS_SECRET_ACCESS_KEY' }";
        assert_eq!(remote("s3://b", &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]).values, table(expected));
        assert!(remote("s3://b", &["AWS_SESSION_TOKEN"]).values.contains_key("session_token"));
        assert!(refusal("s3://b?regoin=x").contains("did you mean `region`?"));
        assert!(refusal("s3:///x").contains("bucket"));
    }

    #[test]
    fn directories_are_local_sources() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("a UTF-8 path").to_owned();
        for url in [path.clone(), format!("{path}/"), format!("file://{path}"), format!("file://localhost{path}")] {
            let local = remote(&url, &[]);
            assert_eq!(local.values, table(&format!("path = '{path}'")), "{url}");
            assert_eq!(local.type_name, "local");
        }
        assert_eq!(remote("/", &[]).name, "local");
        assert!(refusal("/nonexistent").contains("no directory \"/nonexistent\""));
        assert!(refusal("relative/dir").contains("absolute directory"));
        assert!(refusal("file://server/x").contains("file:///path"));
    }

    #[test]
    fn an_unknown_scheme_lists_the_known_ones() {
        for url in ["gopher://h/x", "https://h/x"] {
            let message = refusal(url);
            for known in ["webdavs://", "webdav://", "sftp://", "s3://", "smb://", "file://"] {
                assert!(message.contains(known), "{message}");
            }
        }
        assert!(refusal("webdva://h").contains("did you mean webdav://?"));
    }
}
