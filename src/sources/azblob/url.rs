//! URLs of containers.

use crate::source::url::{Typed, UrlSettings, Urls};
use crate::sources::reluctant;

pub(super) static URLS: Urls = Urls { schemes: &[("azblob", "azblob://account/container/prefix")], read };

/// Keys of the source, and the environment variables in which every tool of that world looks for them; the first that is set counts.
const VARIABLES: [(&str, &str); 2] = [("account_key", "AZURE_STORAGE_KEY"), ("sas_token", "AZURE_STORAGE_SAS_TOKEN")];

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    const FORM: &str = "such a URL is azblob://account/container/prefix";
    let url = typed.read_as("azblob")?;
    let [key, token] = VARIABLES.map(|(_, variable)| variable);
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
    let mut remote = UrlSettings::new(container);
    remote.set("account_name", account);
    remote.set("container", container);
    remote.set_root(root)?;
    if let Some((key, variable)) = VARIABLES.into_iter().find(|(_, variable)| (typed.is_set)(variable)) {
        remote.set_variable(key, variable);
    } else {
        remote.set(reluctant::KEY, true);
    }
    Ok(remote)
}
