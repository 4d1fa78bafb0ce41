//! `Directory`: a store in a directory that the machines have in common, as over NFS. It trusts none of its files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;

use super::{Store, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::shared::key::is_name;

/// The number of calls that may wait for the directory at once: one that hangs must not take every thread.
const CALLS: usize = 16;

/// A directory with a file for each value.
pub struct Directory {
    dir: PathBuf,
    calls: Arc<Semaphore>,
}

impl Directory {
    /// The store in `dir`, which need not be there yet; it is not made.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, calls: Arc::new(Semaphore::new(CALLS)) }
    }

    async fn call<T: Send + 'static>(
        &self,
        op: &'static str,
        name: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let failed = |e| Error::new(op, ErrorKind::Other).on(self.dir.display()).caused_by(e);
        let turn = self.calls.clone().acquire_owned().await.map_err(failed_to_wait(op))?;
        let (path, dir) = (self.dir.join(name), self.dir.clone());
        let working = tokio::task::spawn_blocking(move || {
            // Held as long as the thread, even if nobody waits for it any more.
            let _turn = turn;
            // Where the directory is not mounted, its place is empty, which must not look like a store without values.
            fs::metadata(&dir).and_then(|_| work(&path))
        });
        working.await.map_err(failed_to_wait(op))?.map_err(failed)
    }
}

fn failed_to_wait<E: std::error::Error + Send + Sync + 'static>(op: &'static str) -> impl Fn(E) -> Error {
    move |e| Error::new(op, ErrorKind::Other).caused_by(e)
}

/// The beginning of the names of files whose values are being written.
const UNNAMED: &str = ".new-";
/// No machine takes longer for that.
const WRITTEN_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens a regular file, and nothing that an open or a read could wait for.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read(path: &Path, range: &Range<u64>) -> io::Result<Option<Bytes>> {
    let is_odd = || fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
    let mut file = match open(path) {
        Ok(file) if file.metadata()?.is_file() => file,
        Ok(_) => return Ok(Some(Bytes::new())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A link, or a socket.
        Err(_) if is_odd() => return Ok(Some(Bytes::new())),
        Err(e) => return Err(e),
    };
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    file.take(range.end - range.start).read_to_end(&mut bytes)?;
    Ok(Some(bytes.into()))
}

/// The value in a file that has no name yet.
fn prepare(path: &Path, value: &[u8]) -> io::Result<NamedTempFile> {
    let dir = path.parent().expect("a name has directories above it");
    fs::create_dir_all(dir)?;
    // Others may read it as far as the umask of this process allows: it is sealed.
    let permissions = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(UNNAMED).permissions(permissions).tempfile_in(dir)?;
    file.write_all(value)?;
    Ok(file)
}

fn replace(path: &Path, value: &[u8]) -> io::Result<()> {
    match prepare(path, value)?.persist(path) {
        // A directory is in its place.
        Err(e) if e.error.kind() == io::ErrorKind::IsADirectory => {
            remove(path)?;
            e.file.persist(path).map(drop).map_err(|e| e.error)
        }
        result => result.map(drop).map_err(|e| e.error),
    }
}

fn write(path: &Path, value: &[u8]) -> io::Result<bool> {
    match prepare(path, value)?.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e.error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // Links in it are not followed.
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) => fs::remove_dir_all(path),
        result => result,
    }
}

/// What is two directories below `format`, by its names in the store.
fn walk(dir: &Path, counting: &AtomicU64) -> io::Result<Vec<Stored>> {
    let mut found = Vec::new();
    let below = |dir: &Path| match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect::<io::Result<Vec<_>>>(),
    };
    let format = dir.join("v1");
    for above in below(&format)? {
        if !above.file_type()?.is_dir() {
            continue;
        }
        for entry in below(&above.path())? {
            let path = entry.path();
            // Another machine may have removed it meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            // A machine that was killed has left it.
            let is_litter = entry.file_name().as_encoded_bytes().starts_with(UNNAMED.as_bytes())
                && metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > WRITTEN_WITHIN));
            let name = path.strip_prefix(dir).ok().and_then(Path::to_str).filter(|name| is_litter || is_name(name));
            let Some(name) = name else { continue };
            let is_odd = is_litter || !metadata.is_file();
            let times = [metadata.modified(), metadata.accessed()];
            let used = times.into_iter().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH);
            let size = if is_odd { 0 } else { metadata.len() };
            found.push(Stored { name: name.to_owned(), size, used, is_odd });
            counting.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(found)
}

#[async_trait]
impl Store for Directory {
    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        self.call("read from the shared store", name, move |path| read(path, &range)).await
    }

    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool> {
        self.call("write to the shared store", name, move |path| write(path, &value)).await
    }

    async fn put(&self, name: &str, value: Bytes, _kept_for: Duration) -> Result<()> {
        self.call("write to the shared store", name, move |path| replace(path, &value)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.call("remove from the shared store", name, remove).await
    }

    async fn list(&self, found: &Arc<AtomicU64>) -> Result<Vec<Stored>> {
        let counting = found.clone();
        self.call("list the shared store", "", move |dir| walk(dir, &counting)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(digit: char) -> String {
        format!("v1/{digit}{digit}/{}", digit.to_string().repeat(64))
    }

    #[tokio::test]
    async fn a_value_is_put_once_read_in_parts_listed_and_deleted() {
        let dir = kit::reaper::temporary();
        let store = Directory::new(dir.path().to_owned());
        let (a, b) = (name('a'), name('b'));
        assert_eq!(store.get(&a, 0..4).await.expect("it answers"), None);
        assert!(store.put_if_absent(&a, "value".into()).await.expect("it takes it"));
        assert!(!store.put_if_absent(&a, "other".into()).await.expect("it answers"));
        assert_eq!(store.get(&a, 1..3).await.expect("it answers").as_deref(), Some(&b"al"[..]));
        assert_eq!(store.get(&a, 3..99).await.expect("it answers").as_deref(), Some(&b"ue"[..]));
        assert!(store.put_if_absent(&b, "b".into()).await.expect("it takes it"));
        fs::write(dir.path().join("v1/aa/theirs"), "").expect("another file");
        let mut listed = store.list(&Arc::default()).await.expect("it lists");
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        let listed: Vec<_> = listed.iter().map(|stored| (&stored.name, stored.size)).collect();
        assert_eq!(listed, [(&a, 5), (&b, 1)], "what others have put there is no value");
        store.delete(&a).await.expect("it is deleted");
        store.delete(&a).await.expect("that it is not there is no failure");
        assert_eq!(store.list(&Arc::default()).await.expect("it lists").len(), 1);
        let left = walkdir::WalkDir::new(dir.path()).into_iter().flatten().filter(|entry| entry.path().is_file());
        assert_eq!(left.count(), 2, "nothing else is left behind");
    }

    #[tokio::test]
    async fn what_a_killed_machine_was_writing_is_removed_after_a_day() {
        let dir = kit::reaper::temporary();
        let store = Directory::new(dir.path().to_owned());
        assert!(store.put_if_absent(&name('a'), "value".into()).await.expect("it takes it"));
        let written = dir.path().join(name('a')).with_file_name(".new-x");
        fs::write(&written, "val").expect("it is written");
        assert_eq!(store.list(&Arc::default()).await.expect("it lists").len(), 1, "somebody may be writing it");
        kit::files::set_modified(&written, SystemTime::now() - 2 * WRITTEN_WITHIN);
        let listed = store.list(&Arc::default()).await.expect("it lists");
        let odd: Vec<_> = listed.iter().filter(|stored| stored.is_odd).collect();
        assert!(listed.len() == 2 && odd.len() == 1, "{listed:?}");
        store.delete(&odd[0].name).await.expect("it is removed");
        assert!(!written.exists());
    }

    #[tokio::test]
    async fn what_is_no_regular_file_is_an_empty_value_that_can_be_removed() {
        let dir = kit::reaper::temporary();
        let store = Directory::new(dir.path().to_owned());
        let [link, pipe, below] = ['a', 'b', 'c'].map(|digit| dir.path().join(name(digit)));
        for place in [&link, &pipe, &below] {
            fs::create_dir_all(place.parent().expect("there is one")).expect("a directory");
        }
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        fs::create_dir_all(below.join("more")).expect("a directory");
        let odd = store.list(&Arc::default()).await.expect("it lists");
        assert_eq!(odd.iter().map(|odd| (odd.is_odd, odd.size)).collect::<Vec<_>>(), [(true, 0); 3]);
        for path in [link, pipe, below] {
            let name = path.strip_prefix(dir.path()).expect("it is below").to_str().expect("it is text").to_owned();
            assert_eq!(store.get(&name, 0..9).await.expect("it answers").as_deref(), Some(&b""[..]));
            store.delete(&name).await.expect("it is removed");
            assert!(store.put_if_absent(&name, "v".into()).await.expect("it takes it"));
        }
        assert!(fs::exists("/etc/passwd").expect("it is known"), "what a link leads to stays");
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_a_failure_and_not_a_store_without_values() {
        let dir = kit::reaper::temporary();
        let store = Directory::new(dir.path().join("not-mounted"));
        let error = store.get(&name('a'), 0..1).await.expect_err("there is nothing");
        assert!(error.to_string().contains("not-mounted"), "{error}");
        store.put_if_absent(&name('a'), "v".into()).await.expect_err("it is not made");
        assert!(!dir.path().join("not-mounted").exists());
    }
}
