//! URLs of Google's buckets.

use crate::source::url::{Typed, UrlSettings, Urls};
use crate::sources::reluctant;
use crate::sources::tokens::google::FILE_VARIABLE;

pub(super) static URLS: Urls = Urls { schemes: &[("gs", "gs://bucket/prefix"), ("gcs", "")], read };

/// A token for Google, as other tools of that world read it.
const TOKEN_VARIABLE: &str = "GOOGLE_OAUTH_ACCESS_TOKEN";

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    const FORM: &str = "such a URL is gs://bucket/prefix";
    let url = typed.read_as("gs")?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        let elsewhere = format!("a login comes from the environment variable {TOKEN_VARIABLE} or {FILE_VARIABLE}");
        return Err(format!("{FORM}; a key in a URL shows in `ps` and in the shell's history: {elsewhere}"));
    }
    let bucket = url.host_str().filter(|host| !host.is_empty() && url.port().is_none()).ok_or(FORM)?;
    let mut remote = UrlSettings::new(bucket);
    remote.set("bucket", bucket);
    remote.set_root(url.path())?;
    if (typed.is_set)(TOKEN_VARIABLE) {
        remote.set_variable("token", TOKEN_VARIABLE);
    } else if (typed.is_set)(FILE_VARIABLE) {
        remote.set("disable_config_load", false);
    } else {
        remote.set(reluctant::KEY, true);
    }
    Ok(remote)
}
