//! `Local`: a directory of this computer as a source. It knows nothing of the mount that shows it, but for the places it must not show.

mod links;
mod listing;
mod stamp;

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::links::End;
use self::listing::Reading;
use self::stamp::Stamp;
use super::alone;
use super::links::Links;
use crate::beneath;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::settings::Reader;
use crate::source::url::Urls;
use crate::source::{
    Capabilities, EntryStream, Kind, LeftOut, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink,
    Source,
};

/// How many bytes one `pread` asks for.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// A directory as a source: `type = "local"`.
///
/// Everything is opened relative to the directory and never outside it, whatever links others put there meanwhile.
/// The directory itself must be there: one that has gone is an outage ([`ErrorKind::Unreachable`]), never an empty tree.
#[derive(Debug)]
pub struct Local {
    place: Arc<Place>,
}

/// The directory of the source.
#[derive(Debug)]
struct Place {
    /// Without symbolic links.
    root: PathBuf,
    /// Spellings of the root by which an absolute link may mean it.
    spellings: Vec<PathBuf>,
    /// The paths that must not be shown, relative to the root.
    reserved: Vec<RemotePath>,
    /// What becomes of links.
    links: Links,
    /// Device and file system id of the root, to notice a disk that has gone from under its mount point.
    volume: (u64, u64),
}

/// The type `local`.
pub struct LocalKind;

#[async_trait]
impl Kind for LocalKind {
    fn type_name(&self) -> &'static str {
        "local"
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    fn names_account(&self, _settings: &Settings) -> bool {
        // There is no login.
        true
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let mut reader = settings.reader();
        let text = reader.required_string("path", "/usr/share/doc");
        let links = Links::read(&mut reader);
        let place = (!text.is_empty()).then(|| Place::find(&mut reader, &text, links, &settings.reserved)).flatten();
        Ok(Box::new(Local { place: Arc::new(reader.finish_with(place)?) }))
    }
}

impl Local {
    /// Runs what blocks where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        op: &'static str,
        path: &RemotePath,
        work: impl FnOnce(&Place, &RemotePath) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (place, wanted) = (Arc::clone(&self.place), path.clone());
        match tokio::task::spawn_blocking(move || work(&place, &wanted)).await {
            Ok(result) => result,
            Err(lost) => Err(Error::new(op, ErrorKind::Other).on(path).caused_by(lost)),
        }
    }
}

#[async_trait]
impl Source for Local {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            digest_from_listing: true,
            ranges: true,
            content_digest: false,
            proven_whole: false,
            unconfirmed: false,
            verbatim_names: true,
            names_alone: true,
            buffer: CHUNK_BYTES,
            concurrency: 8,
        }
    }

    async fn connect(&self) -> Result<()> {
        self.blocking("connect", &RemotePath::root(), |place, _| place.open_root("connect").map(drop)).await
    }

    async fn disconnect(&self) {}

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let opened = self
            .blocking("list_path", dir, |place, dir| {
                if place.is_reserved(dir) {
                    return Ok(None);
                }
                let root = place.open_root("list_path")?;
                let way = place.way(&root, dir)?;
                if way.last().is_some_and(|real| place.is_reserved(real)) {
                    return Ok(None);
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
                let fd = place.open(&root, "list_path", dir, flags)?;
                Ok(Some((root, fd, way)))
            })
            .await?;
        let Some((root, fd, way)) = opened else {
            return Ok(EntryStream::new(futures::stream::empty()));
        };
        let (sender, receiver) = mpsc::channel(4);
        let (left_out, span) = (LeftOut::default(), tracing::Span::current());
        let (root, fd) = (Arc::new(root), Arc::new(fd));
        let reading =
            Reading { place: self.place.clone(), root, fd, dir: dir.clone(), way, left_out: left_out.clone() };
        let asked = reading.clone();
        let ask = move |name| asked.clone().look_up(name).boxed();
        if let Some(answered) = alone::without_listing(&ask).await {
            return Ok(answered);
        }
        tokio::task::spawn_blocking(move || span.in_scope(|| reading.run(&sender)));
        Ok(alone::listing(Instant::now(), listing::received(receiver, dir), left_out, ask))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        const OP: &str = "create_remote_digest";
        self.blocking(OP, file, |place, file| {
            let root = place.open_root(OP)?;
            let fd = place.open(&root, OP, file, OFlags::PATH)?;
            let metadata = File::from(fd).metadata().map_err(|e| failed(OP, file, &e))?;
            if metadata.is_dir() {
                return Err(Error::new(OP, ErrorKind::IsADirectory).on(file));
            }
            if !metadata.is_file() {
                return Err(Error::new(OP, ErrorKind::Unsupported).on(file).because("not a regular file"));
            }
            let digest = Digest::new(Stamp::of_metadata(&metadata).digest(SystemTime::now()));
            Ok(RemoteDigest { digest, size: Some(metadata.len()), modified: metadata.modified().ok() })
        })
        .await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        super::same_size(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        const OP: &str = "retrieve_file";
        let digest = request.digest.clone();
        let (mut file, modified) = self
            .blocking(OP, request.path, move |place, path| {
                let root = place.open_root(OP)?;
                let fd = place.open(&root, OP, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
                let file = File::from(fd);
                settle(&file);
                let metadata = same_version(&file, path, &digest)?;
                Ok((file, metadata.modified().ok()))
            })
            .await?;
        let mut at = request.range.start;
        while at < request.range.end {
            let next = request.range.end.min(at + CHUNK_BYTES);
            let digest = request.digest.clone();
            let chunk;
            (file, chunk) = self
                .blocking(OP, request.path, move |_, path| {
                    let mut chunk = vec![0; usize::try_from(next - at).unwrap_or(0)];
                    match file.read_exact_at(&mut chunk, at) {
                        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                            return Err(Error::new(OP, ErrorKind::Changed).on(path));
                        }
                        result => result.map_err(|e| failed(OP, path, &e))?,
                    }
                    // Overwriting the file meanwhile has changed its time.
                    same_version(&file, path, &digest)?;
                    Ok((file, chunk))
                })
                .await?;
            out.write(Bytes::from(chunk)).await?;
            at = next;
        }
        Ok(Retrieved::confirmed(modified))
    }
}

impl Place {
    /// The place that `text` names; none if it cannot be used, which is noted.
    fn find(reader: &mut Reader<'_>, text: &str, links: Links, reserved: &[PathBuf]) -> Option<Self> {
        const KEY: &str = "path";
        let written = crate::path::expand_home(text);
        if !written.is_absolute() {
            reader.problem(Some(KEY), format!("`path` must be absolute or begin with ~/, not {text:?}"));
            return None;
        }
        let shown = written.display();
        let root = written.canonicalize().map_err(|e| reader.absence(KEY, format!("cannot open {shown}: {e}"))).ok()?;
        if !root.is_dir() {
            reader.problem(Some(KEY), format!("{shown} is not a directory"));
            return None;
        }
        let mut hidden = Vec::new();
        for place in reserved {
            if root.starts_with(place) {
                let place = place.display();
                let why = format!("{shown} is inside {place}, which kitovufs itself uses; choose another directory");
                reader.problem(Some(KEY), why);
                return None;
            }
            if let Ok(relative) = place.strip_prefix(&root)
                && let Ok(relative) = RemotePath::parse(relative.as_os_str().as_bytes())
            {
                tracing::warn!("{} is inside {shown}: it is shown empty there", place.display());
                hidden.push(relative);
            }
        }
        let volume = File::open(&root).and_then(|opened| Ok(volume_of(&opened)?));
        let volume = volume.map_err(|e| reader.absence(KEY, format!("cannot open {shown}: {e}"))).ok()?;
        Some(Self { spellings: vec![root.clone(), written], root, reserved: hidden, links, volume })
    }

    /// Opens the root anew, so that a disk which went away and came back serves again.
    fn open_root(&self, op: &'static str) -> Result<OwnedFd> {
        let shown = self.root.display();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let gone = |why: String| Error::new(op, ErrorKind::Unreachable).because(why);
        let fd = match rustix::fs::open(&self.root, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ACCESS | Errno::PERM) => {
                return Err(Error::new(op, ErrorKind::PermissionDenied).because(format!("{shown} may not be opened")));
            }
            Err(e) => return Err(gone(format!("the directory {shown} is not there: {e}"))),
        };
        match volume_of(&fd) {
            // A disk that was plugged in again may have another device number, and still is the same file system.
            Ok((device, id)) if device == self.volume.0 || (id == self.volume.1 && id != 0) => Ok(fd),
            Ok(_) => Err(gone(format!("{shown} is on another file system than before: is its disk mounted?"))),
            Err(e) => Err(gone(format!("the directory {shown} cannot be examined: {e}"))),
        }
    }

    /// Where a path is if links are followed; itself if they are not.
    fn real<'a>(&self, root: &OwnedFd, op: &'static str, path: &'a RemotePath) -> Result<Cow<'a, RemotePath>> {
        if self.links != Links::Follow {
            return Ok(Cow::Borrowed(path));
        }
        match links::resolve(self, root, &RemotePath::root(), path.as_bytes()) {
            Ok(End::Inside(real)) => Ok(Cow::Owned(real)),
            // The listing shows none that lead elsewhere: this one was put there since.
            Ok(End::Outside | End::Circle) => {
                let flags = if op == "list_path" { OFlags::DIRECTORY } else { OFlags::empty() };
                Err(refused(op, path, flags, Errno::LOOP))
            }
            Err(errno) => Err(failed(op, path, &errno.into())),
        }
    }

    fn open(&self, root: &OwnedFd, op: &'static str, path: &RemotePath, flags: OFlags) -> Result<OwnedFd> {
        let real = self.real(root, op, path)?;
        if self.hides(&real) {
            return Err(Error::new(op, ErrorKind::NotFound).on(path));
        }
        beneath::open(root, real.as_bytes(), flags, Mode::empty()).map_err(|errno| refused(op, path, flags, errno))
    }

    /// Where the directories on the way to `dir` are, itself last, if links are followed; else itself only.
    fn way(&self, root: &OwnedFd, dir: &RemotePath) -> Result<Vec<RemotePath>> {
        let mut way = Vec::new();
        let mut at = Some(dir.clone());
        while let Some(dir) = at {
            way.insert(0, self.real(root, "list_path", &dir)?.into_owned());
            at = dir.parent().filter(|_| self.links == Links::Follow);
        }
        Ok(way)
    }

    /// Whether this directory is one that is shown empty.
    fn is_reserved(&self, path: &RemotePath) -> bool {
        self.reserved.contains(path)
    }

    /// Whether this is below a directory that is shown empty.
    fn hides(&self, path: &RemotePath) -> bool {
        let below = |reserved: &RemotePath| {
            path.as_bytes().strip_prefix(reserved.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        self.reserved.iter().any(below)
    }
}

/// The error of a path that cannot be opened.
fn refused(op: &'static str, path: &RemotePath, flags: OFlags, errno: Errno) -> Error {
    let kind = match errno {
        Errno::NOENT => ErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM => ErrorKind::PermissionDenied,
        Errno::NOTDIR => ErrorKind::NotADirectory,
        // A link, or what became one: it is never followed here.
        Errno::LOOP | Errno::XDEV if flags.contains(OFlags::DIRECTORY) => ErrorKind::NotADirectory,
        Errno::LOOP | Errno::XDEV => ErrorKind::Changed,
        Errno::NXIO => ErrorKind::Unsupported,
        errno => outage(errno),
    };
    Error::new(op, kind).on(path).caused_by(errno)
}

/// Waits until a change to the file from now on would show in its times.
fn settle(file: &File) {
    if let Ok(metadata) = file.metadata() {
        std::thread::sleep(Stamp::of_metadata(&metadata).unsettled_for(SystemTime::now()));
    }
}

/// Fails with `Changed` unless the open file still is the version that `digest` identifies.
fn same_version(file: &File, path: &RemotePath, digest: &Digest) -> Result<Metadata> {
    let metadata = file.metadata().map_err(|e| failed("retrieve_file", path, &e))?;
    if !metadata.is_file() || Stamp::of_metadata(&metadata).base() != digest.base() {
        return Err(Error::new("retrieve_file", ErrorKind::Changed).on(path));
    }
    Ok(metadata)
}

fn volume_of(fd: impl std::os::fd::AsFd) -> rustix::io::Result<(u64, u64)> {
    let device = rustix::fs::fstat(&fd)?.st_dev;
    Ok((device, rustix::fs::fstatvfs(&fd)?.f_fsid))
}

fn failed(op: &'static str, path: &RemotePath, error: &std::io::Error) -> Error {
    let errno = Errno::from_io_error(error);
    let kind = match errno {
        Some(Errno::ACCESS | Errno::PERM) => ErrorKind::PermissionDenied,
        Some(errno) => outage(errno),
        None => ErrorKind::Other,
    };
    Error::new(op, kind).on(path).because(error.to_string())
}

/// The disk, or the server behind a network file system, is not there.
fn outage(errno: Errno) -> ErrorKind {
    match errno {
        Errno::STALE | Errno::NODEV | Errno::NOTCONN | Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::CONNREFUSED => {
            ErrorKind::Unreachable
        }
        Errno::TIMEDOUT => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests;
mod url;
