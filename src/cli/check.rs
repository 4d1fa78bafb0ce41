//! `check`: is the configuration right, and does every source do what the mount needs? It mounts nothing and caches nothing.

mod folders;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

use bytesize::ByteSize;
use futures::TryStreamExt as _;
use tempfile::TempDir;

use super::Failure;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::{self, sources::Configured};
use crate::name::{Localized, localize};
use crate::path::{Printable, RemotePath};
use crate::source::{Entry, EntryKind, LocalCopy, Retrieval, Source};

/// How many directories are listed in search of a file to retrieve.
const DIRECTORIES: usize = 20;

/// The largest file that is retrieved, in bytes: proof enough, and done in seconds.
const LARGEST: u64 = 16 << 20;

/// Checks the configuration in `file` and prints a line per step. The result is the exit code.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn check(file: &Path) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Error::new("start", ErrorKind::Other).caused_by(e))?;
    let (config, problems) = Config::examine(file)?;
    let configured = runtime.block_on(mount::examine(&config, problems))?;
    println!("{}: the configuration is right", file.display());
    let fine = runtime.block_on(async {
        let mut fine = true;
        for source in &configured {
            fine &= check_source(source).await;
        }
        for folder in &config.folders {
            fine &= folders::check(folder, &configured).await;
        }
        for source in &configured {
            source.link.disconnect().await;
        }
        fine
    });
    runtime.shutdown_background();
    Ok(u8::from(!fine))
}

async fn check_source(configured: &Configured) -> bool {
    println!("{} ({})", configured.config.name, configured.config.type_name);
    match steps(&*configured.link).await {
        Ok(()) => true,
        Err(error) => {
            println!("  FAILED  {error}");
            false
        }
    }
}

fn passed(began: Instant, what: &str) {
    println!("  ok      {what}  ({} ms)", began.elapsed().as_millis());
    let _ = std::io::stdout().flush();
}

async fn steps(source: &dyn Source) -> Result<()> {
    let began = Instant::now();
    source.connect().await?;
    passed(began, "connected");

    let began = Instant::now();
    let root = RemotePath::root();
    let entries = list(source, &root).await?;
    passed(began, &format!("listed {} entries", entries.len()));

    let Some(file) = find_file(source, entries).await? else {
        println!("  -       no file of at most {} to retrieve near the root", ByteSize::b(LARGEST));
        return Ok(());
    };
    let began = Instant::now();
    let size = retrieve(source, &file).await?;
    passed(began, &format!("retrieved and verified {} ({})", file.path, ByteSize::b(size)));
    Ok(())
}

async fn list(source: &dyn Source, dir: &RemotePath) -> Result<Vec<Entry>> {
    let localized = list_names(source, dir).await?;
    for (name, why) in localized.refused {
        println!("  note    {dir}: {:?} is left out: {why}", Printable(&name).to_string());
    }
    Ok(localized.named.into_iter().map(|(_, entry)| entry).collect())
}

async fn list_names(source: &dyn Source, dir: &RemotePath) -> Result<Localized> {
    let entries: Vec<Entry> = source.list_path(dir).await?.try_collect().await?;
    Ok(localize(entries, source.capabilities().verbatim_names))
}

/// A file near the root, not empty and not large.
async fn find_file(source: &dyn Source, mut entries: Vec<Entry>) -> Result<Option<Entry>> {
    let mut directories = VecDeque::new();
    for _ in 0..DIRECTORIES {
        let fits = |entry: &Entry| entry.size.is_none_or(|size| (1..=LARGEST).contains(&size));
        let file = entries.iter().find(|entry| matches!(entry.kind, EntryKind::File { .. }) && fits(entry));
        if let Some(file) = file {
            return Ok(Some(file.clone()));
        }
        directories.extend(entries.into_iter().filter(Entry::is_directory).map(|entry| entry.path));
        let Some(next) = directories.pop_front() else { break };
        entries = list(source, &next).await?;
    }
    Ok(None)
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
    let dir = TempDir::new().map_err(failed)?;
    let localized = localize(vec![entry.clone()], true);
    let name = localized.named.first().map_or(b"file".as_slice(), |(name, _)| name);
    let path = dir.path().join(OsStr::from_bytes(name));
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
