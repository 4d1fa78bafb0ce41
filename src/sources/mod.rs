//! The sources that come with kitovufs, by type name.

mod alone;
mod arriving;
mod authorities;
pub(crate) mod azblob;
mod current;
mod dial;
pub(crate) mod ftp;
pub(crate) mod gcs;
mod heap;
mod http;
mod keys;
mod links;
pub(crate) mod local;
mod loose;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod moodle;
pub(crate) mod plugin;
mod purpose;
pub(crate) mod python;
mod records;
mod reluctant;
mod renewal;
pub(crate) mod s3;
pub(crate) mod sftp;
pub(crate) mod smb;
mod spelling;
mod stamp;
mod tokens;
pub(crate) mod web;
pub(crate) mod webdav;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::beneath;
use crate::content::Algorithm;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Kind, LocalCopy, Problem, Settings, Source};

/// The types of sources that this build has.
pub(crate) static KINDS: [&dyn Kind; 12] = [
    &webdav::WebdavKind,
    &web::WebKind,
    &ftp::FtpKind,
    &sftp::SftpKind,
    &s3::S3Kind,
    &smb::SmbKind,
    &azblob::AzblobKind,
    &gcs::GcsKind,
    &moodle::MoodleKind,
    &local::LocalKind,
    &plugin::KIND,
    &python::KIND,
];

/// The type of this name, if there is one.
pub(crate) fn kind(type_name: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|kind| kind.type_name() == type_name)
}

/// A source of the given type (`webdav`, `s3`, `local`, …), ready to be connected. It does no network request.
///
/// ```
/// use kitovufs::source::Settings;
/// use kitovufs::sources::configure;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), toml::de::Error> {
/// let settings = Settings::of("docs", toml::from_str("url = 'https://cloud.example.org/dav'\nusr = 'anna'")?);
/// let Err(problems) = configure("webdav", &settings).await else { panic!("there is no key `usr`") };
/// assert!(problems.iter().any(|problem| problem.key.as_deref() == Some("usr")));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Everything that is wrong with the settings; there is no such type.
pub async fn configure(type_name: &str, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
    match kind(type_name) {
        Some(kind) => kind.configure(settings).await,
        None => Err(vec![Problem::new(None, format!("there is no type of sources `{type_name}`"))]),
    }
}

/// The type of this name if its sources are programs that speak the plugin protocol.
pub(crate) fn plugin_kind(type_name: &str) -> Option<&'static plugin::PluginKind> {
    match type_name {
        "plugin" => Some(&plugin::KIND),
        "python" => Some(&python::KIND),
        _ => None,
    }
}

/// The local digest where digests are not computed from bytes: what the copy was retrieved as, or, for a copy of
/// another size, a text that equals no digest.
async fn same_size(copy: &LocalCopy<'_>) -> Result<Digest> {
    let failed = |e| Error::new("create_local_digest", ErrorKind::Cache).on(copy.path).caused_by(e);
    let found = match beneath::remembered_length(copy.file) {
        Some(length) => length,
        None => tokio::fs::metadata(copy.file).await.map_err(failed)?.len(),
    };
    if found == copy.size {
        return Ok(copy.retrieved_as.clone());
    }
    Ok(Digest::damage(format_args!("{found} of {} bytes", copy.size)))
}

/// The same where a digest may be a hash of the bytes: for one that has the form, the hash that they have.
async fn same_hash(copy: &LocalCopy<'_>) -> Result<Digest> {
    let same = same_size(copy).await?;
    let Some((algorithm, hash)) = Algorithm::of(copy.retrieved_as).filter(|_| same == *copy.retrieved_as) else {
        return Ok(same);
    };
    let file = copy.file.to_owned();
    let found = tokio::task::spawn_blocking(move || algorithm.hash_file(&file)).await;
    let failed = |e: std::io::Error| Error::new("create_local_digest", ErrorKind::Cache).on(copy.path).caused_by(e);
    let found = found.unwrap_or_else(|lost| Err(std::io::Error::other(lost))).map_err(failed)?;
    let name = copy.retrieved_as.as_str().split(':').next().unwrap_or_default();
    Ok(if found.eq_ignore_ascii_case(hash) { same } else { Digest::new(format!("{name}:{found}")) })
}

/// Reads `root`, in which no component may lead elsewhere.
fn read_root(reader: &mut crate::source::settings::Reader<'_>) -> RemotePath {
    let text = reader.string("root").unwrap_or_default();
    let text = text.trim_matches('/');
    RemotePath::parse(text.as_bytes()).unwrap_or_else(|bad| {
        reader.problem(Some("root"), format!("`root` cannot be used: {bad}"));
        RemotePath::root()
    })
}

/// Notes where credentials travel in the clear to another machine, and what to write instead.
fn warn_of_clear_text(settings: &Settings, host: &str, instead: &str) {
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_here = host == "localhost" || host.ends_with(".localhost") || address.is_some_and(|at| at.is_loopback());
    if !is_here {
        let note = format!("credentials travel unencrypted to {host}; if the server can do better, write {instead}");
        settings.notes.add(note);
    }
}

/// A number that no other observation of this process has, and none of an earlier one: nanoseconds since 1970.
fn observation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let last = LAST.fetch_max(now, Ordering::Relaxed);
    if last < now { now } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 }
}
