//! URLs of directories of this computer, and paths that stand in their place.

use std::path::{Path, PathBuf};

use ::url::Url;

use crate::source::url::{Typed, UrlSettings, Urls};

pub(super) static URLS: Urls = Urls { schemes: &[("file", "file:///path"), ("", "an absolute directory")], read };

fn read(typed: &Typed<'_>) -> Result<UrlSettings, String> {
    if typed.scheme.is_empty() {
        return directory(typed.rest, typed.known);
    }
    match Url::parse(&format!("file://{}", typed.rest)).map(|url| url.to_file_path()) {
        Ok(Ok(path)) => {
            directory(path.to_str().ok_or("the path is not UTF-8, so it needs a configuration file")?, typed.known)
        }
        _ => Err("a file URL has no host: file:///path".into()),
    }
}

fn directory(path: &str, known: &str) -> Result<UrlSettings, String> {
    if !path.starts_with('/') {
        return Err(format!("this is neither a URL nor an absolute directory; {known}"));
    }
    let dir = Path::new(path);
    if !dir.is_dir() {
        return Err(format!("there is no directory {path:?}; name one that exists, or {known}"));
    }
    // Rebuilt from its parts: `/a/` and `/a` are the same remote.
    let dir: PathBuf = dir.components().collect();
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or("local");
    let mut remote = UrlSettings::new(name);
    remote.set("path", dir.to_str().ok_or("the path is not UTF-8, so it needs a configuration file")?);
    Ok(remote)
}
