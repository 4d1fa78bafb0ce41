//! Checks a folder that is put together from sources: is there everything that it is made of?

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;

use super::list_names;
use super::report::Report;
use crate::config::{FolderConfig, PartConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::sources::Configured;
use crate::path::RemotePath;
use crate::source::Source;
use crate::source::nearest::nearest;

/// Looks for every part of a folder, a line for each.
pub(super) async fn check(folder: &FolderConfig, sources: &[Configured]) -> Report {
    let mut report = Report::about("folder", folder.path.join("/").escape_debug().to_string());
    for part in &folder.parts {
        let Some(source) = sources.iter().find(|source| source.config.name == part.source) else { continue };
        let began = Instant::now();
        match walk(&*source.connection, part).await {
            Ok(names) => report.passed(began, format!("{} has {names} names for it", shown(part))),
            Err(error) => report.fail(format!("{}: {error}", shown(part))),
        }
    }
    report
}

fn shown(part: &PartConfig) -> String {
    format!("{}:/{}", part.source.escape_debug(), part.path.join("/").escape_debug())
}

/// Goes to the part's directory by the names that the source shows. Returns the number of names in it.
async fn walk(source: &dyn Source, part: &PartConfig) -> Result<usize> {
    let mut dir = RemotePath::root();
    for name in &part.path {
        let named = match list_names(source, &dir).await {
            Ok(localized) => localized.named,
            // As in a mount: a user who may not list a directory may still be let through it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                dir = dir
                    .child(name.as_bytes())
                    .map_err(|bad| Error::new("list_path", ErrorKind::InvalidConfig).on(bad))?;
                continue;
            }
            Err(error) => return Err(error),
        };
        dir = match named.get(name.as_bytes()) {
            Some(entry) if entry.is_directory() => entry.path,
            Some(_) => {
                let why = format!("`{}` is a file; a folder is made of directories", name.escape_debug());
                return Err(Error::new("find directory", ErrorKind::NotADirectory).on(&dir).because(why));
            }
            None => {
                let directories = named.iter().filter(|(_, entry)| entry.is_directory());
                let names: Vec<_> = directories.filter_map(|(name, _)| String::from_utf8(name.to_vec()).ok()).collect();
                let guess = nearest(name, names.iter().map(String::as_str));
                let guess = guess.map(|near| format!("; did you mean `{}`?", near.escape_debug())).unwrap_or_default();
                let why = format!("there is no `{}`{guess}", name.escape_debug());
                return Err(Error::new("find directory", ErrorKind::NotFound).on(&dir).because(why));
            }
        };
    }
    let named = list_names(source, &dir).await?.named;
    Ok(named.iter().filter(|(name, _)| !part.ignore.is_match(OsStr::from_bytes(name))).count())
}
