//! `check`: tells whether the configuration is right, and whether every source does what the mount needs. It mounts nothing and
//! caches nothing.

mod folders;
pub(super) mod report;
#[cfg(feature = "shared")]
mod shared;
mod web;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;

use self::report::Report;
use super::Failure;
use super::output::say;
use super::runtime::on_runtime;
use crate::catalog::localize::{Localized, localize};
use crate::config::{Access, Config, Diagnostics};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::{self, sources::Configured};
use crate::path::RemotePath;
use crate::source::packed::Packed;
use crate::source::{Entry, EntryKind, LocalCopy, Omitted, Retrieval, Source};

/// The number of directories that are listed in search of a file to retrieve.
const MAX_DIRECTORIES: usize = 20;

/// The largest file that is retrieved, in bytes: proof enough, and done in seconds.
const MAX_RETRIEVED_BYTES: u64 = 16 << 20;

/// The longest that a source may take to answer: `timeout` may be longer, for readers that wait for bytes.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// For how long a source may say goodbye.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The name of the configuration in reports.
const CONFIGURATION: &str = "configuration";

/// The number of sources that are tried at once.
const SOURCES_AT_ONCE: usize = 16;

/// Checks the configuration in `file` and prints a line per step, or an object for each thing that is checked. The result is the exit code.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn check(file: &Path, json: bool) -> Result<u8, Failure> {
    carry_out(file, json).inspect_err(|failure| {
        if json && let Failure::Config(problems) = failure {
            wrong(problems).print(json);
        }
    })
}

/// The report about a configuration with these problems.
pub(super) fn wrong(problems: &Diagnostics) -> Report {
    let mut wrong = Report::about("configuration", CONFIGURATION);
    problems.to_string().lines().for_each(|problem| wrong.fail(problem));
    wrong
}

/// Checks as [`check`] does, and leaves a wrong configuration to be told by its caller.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub(super) fn carry_out(file: &Path, json: bool) -> Result<u8, Failure> {
    let (mut config, problems) = Config::examine(file)?;
    for source in &mut config.sources {
        source.timeout = source.timeout.min(CHECK_TIMEOUT);
    }
    on_runtime(async {
        let configured = mount::examine(&config, problems).await?;
        let mut right = Report::about("configuration", CONFIGURATION);
        right.ok(format!("{} is right", file.display()));
        if let Some(shortage) = mount::disk::shortage(&config.cache) {
            right.note(shortage);
        }
        right.print(json);
        // All at once, so that one that hangs does not hold up the others, and told in the order of the configuration.
        let mount = check_access(config.access);
        let sources = futures::stream::iter(&configured).map(check_source).buffered(SOURCES_AT_ONCE);
        let sources = told(sources, json).await;
        let folders = futures::stream::iter(&config.folders).map(|folder| folders::check(folder, &configured));
        let folders = told(folders.buffered(SOURCES_AT_ONCE), json).await;
        let web = told(futures::stream::iter(&config.web).then(web::check), json).await;
        #[cfg(feature = "shared")]
        let shared =
            told(futures::stream::iter(&config.shared).then(|shared| shared::check(shared, &config)), json).await;
        #[cfg(not(feature = "shared"))]
        let shared = Outcome::default();
        // What does not work comes last, where it is seen.
        for report in
            sources.failed.iter().chain(&folders.failed).chain(&web.failed).chain(&shared.failed).chain(&mount)
        {
            report.print(json);
        }
        if !json {
            say(&format!("{} of {} sources work\n", sources.passed, configured.len()));
        }
        // The time to disconnect is limited, so that a source that does not answer is not waited for once more.
        let goodbyes = configured.iter().map(|source| source.connection.disconnect());
        let _ = tokio::time::timeout(DISCONNECT_TIMEOUT, futures::future::join_all(goodbyes)).await;
        let failed = [&sources, &folders, &web, &shared].iter().any(|outcome| !outcome.failed.is_empty());
        Ok(u8::from(failed || mount.is_some()))
    })
}

/// The reports of what was checked.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: Vec<Report>,
}

/// Prints reports of what works as they come, and keeps the others.
async fn told(reports: impl Stream<Item = Report>, json: bool) -> Outcome {
    let mut reports = std::pin::pin!(reports);
    let mut outcome = Outcome::default();
    while let Some(report) = reports.next().await {
        if report.works() {
            report.print(json);
            outcome.passed += 1;
        } else {
            outcome.failed.push(report);
        }
    }
    outcome
}

/// The finding that nobody else can be let in, if that is wanted.
fn check_access(wanted: Access) -> Option<Report> {
    let error = mount::point::check_access(wanted).err()?;
    let mut report = Report::about("mount", "mount");
    report.fail(error.to_string());
    Some(report)
}

async fn check_source(configured: &Configured) -> Report {
    let mut report = Report::about("source", &configured.config.name).of_type(&configured.config.type_name);
    let source = &*configured.connection;
    for note in &configured.notes {
        report.note(note);
    }
    if let Err(error) = steps(source, !configured.config.live.is_empty(), &mut report).await {
        report.fail(error.to_string());
        if error.kind() == ErrorKind::Unauthenticated && !configured.config.settings.kept_secrets().is_empty() {
            report.advise(format!("run: kitovufs login {}", configured.config.name));
        } else if let Some(advice) = advice(error.kind()) {
            report.advise(advice);
        }
    }
    for note in configured.config.settings.notes.take() {
        report.note(note);
    }
    report
}

/// The advice for errors that do not tell by themselves what to try.
fn advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Unauthenticated => Some("Check who logs in and with what: user and password, key or token."),
        ErrorKind::PermissionDenied => Some("Check whether this user may list and read there."),
        ErrorKind::TimedOut => Some(
            "Check host and port: a firewall may be in between, or a server of another kind; or the command for a secret does not end.",
        ),
        ErrorKind::Unsupported | ErrorKind::Protocol => Some("Check the address, and that the server is of this type."),
        _ => None,
    }
}

async fn steps(source: &dyn Source, has_live: bool, report: &mut Report) -> Result<()> {
    // Some servers are asked nothing before they are listed, so that a connection alone proves nothing.
    let began = Instant::now();
    source.connect().await?;
    let root = RemotePath::root();
    let entries = list(source, &root, report).await?;
    report.passed(began, format!("connected, listed {} entries", entries.len()));

    let Some(file) = find_file(source, entries, report).await? else {
        report.untried(format!("no file of at most {} to retrieve near the root", ByteSize::b(MAX_RETRIEVED_BYTES)));
        return Ok(());
    };
    let began = Instant::now();
    let size = retrieve(source, &file).await?;
    report.passed(began, format!("retrieved and verified {} ({})", file.path, ByteSize::b(size)));
    if has_live && !gives_parts(source, &file, size).await? {
        report.note("`live` has no effect here: parts of files cannot be had, so each read would retrieve all of one");
    }
    Ok(())
}

async fn list(source: &dyn Source, dir: &RemotePath, report: &mut Report) -> Result<Vec<Entry>> {
    let localized = list_names(source, dir).await?;
    if let Some(told) = localized.omitted.told() {
        report.note(format!("{dir}: {told}"));
    }
    Ok(localized.named.iter().map(|(_, entry)| entry).collect())
}

async fn list_names(source: &dyn Source, dir: &RemotePath) -> Result<Localized> {
    let mut listing = source.list_path(dir).await?;
    let mut entries = Packed::new(dir.clone());
    while let Some(entry) = listing.try_next().await? {
        entries.push(&entry);
    }
    localize(entries, listing.omitted(), source.capabilities().verbatim_names).if_usable(dir)
}

/// A file, not empty and not large: of the root, or of what lies below, the deepest directory first.
async fn find_file(source: &dyn Source, mut entries: Vec<Entry>, report: &mut Report) -> Result<Option<Entry>> {
    let mut directories = Vec::new();
    for _ in 0..MAX_DIRECTORIES {
        let fits = |entry: &Entry| entry.size.is_none_or(|size| (1..=MAX_RETRIEVED_BYTES).contains(&size));
        let file = entries.iter().find(|entry| matches!(entry.kind, EntryKind::File) && fits(entry));
        if let Some(file) = file {
            return Ok(Some(file.clone()));
        }
        // In reverse, so that the first of them comes next.
        directories.extend(entries.into_iter().rev().filter(Entry::is_directory).map(|entry| entry.path));
        let Some(next) = directories.pop() else { break };
        entries = list(source, &next, report).await?;
    }
    Ok(None)
}

/// Whether the source gives a part of a file, which is of `size`, for which some servers have to be tried.
async fn gives_parts(source: &dyn Source, entry: &Entry, size: u64) -> Result<bool> {
    if size > 1 && source.capabilities().ranges {
        let digest = source.create_remote_digest(&entry.path).await?.digest;
        source.retrieve_file(&Retrieval::new(&entry.path, &digest, size, 0..1), &mut Vec::new()).await?;
    }
    let capabilities = source.capabilities();
    Ok(capabilities.ranges && !capabilities.proven_whole)
}

async fn retrieve(source: &dyn Source, entry: &Entry) -> Result<u64> {
    let remote = source.create_remote_digest(&entry.path).await?;
    let mut bytes = Vec::new();
    let retrieval = match remote.size.or(entry.size) {
        Some(size) => Retrieval::new(&entry.path, &remote.digest, size, 0..size),
        None => Retrieval::of_unknown_size(&entry.path, &remote.digest),
    };
    let retrieved = source.retrieve_file(&retrieval, &mut bytes).await?;
    let size = bytes.len() as u64;

    let failed = |e: std::io::Error| Error::new("check", ErrorKind::Other).on(&entry.path).caused_by(e);
    let dir = TempDir::new().map_err(|e| {
        let told = format!("no temporary file can be made ({e}); TMPDIR may name another directory");
        Error::new("check", ErrorKind::Other).caused_by(std::io::Error::new(e.kind(), told))
    })?;
    let mut alone = Packed::new(RemotePath::root());
    alone.push(entry);
    let named = localize(alone, Omitted::default(), true).named;
    let path = dir.path().join(OsStr::from_bytes(if named.is_empty() { b"file" } else { named.name(0) }));
    std::fs::write(&path, &bytes).map_err(failed)?;
    if let Some(modified) = retrieved.modified.or(remote.modified) {
        std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(modified))
            .map_err(failed)?;
    }
    let copy = LocalCopy { file: &path, path: &entry.path, retrieved_as: &remote.digest, size };
    let local = source.create_local_digest(&copy).await?;
    if local != remote.digest {
        return Err(Error::new("create_local_digest", ErrorKind::ChangedDuringRead)
            .on(&entry.path)
            .because(format!("the bytes have the digest {local}, the source says {}", remote.digest)));
    }
    Ok(size)
}
