//! URLs of buckets.

use ::url::Url;

use crate::source::identity::is_secret_key;
use crate::source::nearest::unknown_key;
use crate::source::url::{Typed, UrlSettings, Urls};
use crate::sources::reluctant;

pub(super) static URLS: Urls = Urls { schemes: &[("s3", "s3://bucket/prefix")], read };

/// Query keys of an s3 URL; they are the keys of the source.
const QUERY: [&str; 2] = ["endpoint", "region"];

/// Keys of the source, and the environment variables in which every tool of that world looks for them.
pub(super) const VARIABLES: [(&str, &str); 3] = [
    ("access_key_id", "AWS_ACCESS_KEY_ID"),
    ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("session_token", "AWS_SESSION_TOKEN"),
];

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    let credentials = VARIABLES.map(|(_, variable)| variable).join(", ");
    let elsewhere = format!("credentials come from the environment variables {credentials}");
    let url = typed.read_as("s3")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("a key in a URL shows in `ps` and in the shell's history; {elsewhere}"));
    }
    if url.port().is_some() || url.fragment().is_some() {
        return Err("an s3 URL is s3://bucket/prefix; the server is named by ?endpoint=https://host:port".into());
    }
    let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or("the URL names no bucket: s3://bucket/prefix")?;
    let mut remote = UrlSettings::new(bucket);
    remote.set("bucket", bucket);
    remote.set_root(url.path())?;
    for (key, value) in url.query_pairs() {
        if is_secret_key(&key) || key == "access_key_id" {
            return Err(format!("a key in a URL shows in `ps` and in the shell's history; {elsewhere}"));
        }
        if !QUERY.contains(&&*key) {
            return Err(format!("after `?`: {}", unknown_key(&key, QUERY.into_iter())));
        }
        if Url::parse(&value).is_ok_and(|endpoint| endpoint.password().is_some()) {
            return Err(format!("a password in a URL shows in `ps` and in the shell's history; {elsewhere}"));
        }
        remote.set(&key, value.as_ref());
    }
    for (key, variable) in VARIABLES {
        if (typed.is_set)(variable) {
            remote.set_variable(key, variable);
        }
    }
    if !VARIABLES.iter().any(|(_, variable)| (typed.is_set)(variable)) {
        remote.set(reluctant::KEY, true);
    }
    Ok(remote)
}
