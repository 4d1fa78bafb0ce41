//! Listing one directory: a thread reads it in batches, a stream hands them on.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::links::{self, End};
use super::stamp::Stamp;
use super::{Place, failed};
use crate::beneath;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind, LeftOut, permission_bits};
use crate::sources::links::Links;

/// How many entries travel together from the listing thread.
const BATCH_ENTRIES: usize = 256;

/// A message of the listing thread: entries, and at the end the proof that these were all.
pub(super) enum Batch {
    Entries(Vec<Entry>),
    Complete,
    Failed(Error),
}

/// A directory that a thread reads.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) place: Arc<Place>,
    pub(super) root: Arc<OwnedFd>,
    pub(super) fd: Arc<OwnedFd>,
    pub(super) dir: RemotePath,
    /// Where the directories on the way here are, this one last: another place than their paths where links are followed.
    pub(super) way: Vec<RemotePath>,
    pub(super) left_out: LeftOut,
}

impl Reading {
    /// Reads to the end. Runs on a thread of its own and stops when the receiver was dropped.
    pub(super) fn run(&self, sender: &mpsc::Sender<Batch>) {
        let end = match self.entries(sender) {
            Ok(()) => Batch::Complete,
            Err(errno) => Batch::Failed(failed("list_path", &self.dir, &errno.into())),
        };
        // A receiver that has gone wants no end either.
        let _ = sender.blocking_send(end);
    }

    fn entries(&self, sender: &mpsc::Sender<Batch>) -> Result<(), Errno> {
        let mut batch = Vec::with_capacity(BATCH_ENTRIES);
        for item in rustix::fs::Dir::read_from(&self.fd)? {
            let item = item?;
            let name = item.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            match self.entry(name, item.file_type()) {
                Ok(Some(entry)) => batch.push(entry),
                Ok(None) | Err(Errno::NOENT) => {}
                Err(errno) => self.left_out.add_unreadable(name, errno),
            }
            if batch.len() == BATCH_ENTRIES && sender.blocking_send(Batch::Entries(std::mem::take(&mut batch))).is_err()
            {
                return Ok(());
            }
        }
        let _ = sender.blocking_send(Batch::Entries(batch));
        Ok(())
    }

    /// What the listing shows of this name; `None` if only the listing can tell. It runs on a thread that may wait for the disk.
    pub(super) async fn look_up(self, name: Vec<u8>) -> Option<Vec<Entry>> {
        let span = tracing::Span::current();
        // What is left out of the listing is counted there.
        let reading = Self { left_out: LeftOut::default(), ..self };
        tokio::task::spawn_blocking(move || span.in_scope(|| reading.alone(&name))).await.ok().flatten()
    }

    fn alone(&self, name: &[u8]) -> Option<Vec<Entry>> {
        match self.entry(name, FileType::Unknown) {
            // What a name leads to need not be listed, or not in this spelling (other case, short names of FAT, `.zfs`): the names are
            // looked through, which costs little, since nothing is asked of other files.
            Ok(Some(entry)) => self.lists(name).ok().map(|is_listed| Vec::from_iter(is_listed.then_some(entry))),
            Ok(None) | Err(Errno::NOENT) => Some(Vec::new()),
            Err(_) => None,
        }
    }

    fn lists(&self, name: &[u8]) -> Result<bool, Errno> {
        for item in rustix::fs::Dir::read_from(&self.fd)? {
            if item?.file_name().to_bytes() == name {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One entry; none for what is not shown.
    fn entry(&self, name: &[u8], told: FileType) -> Result<Option<Entry>, Errno> {
        let Some(path) = self.left_out.child(&self.dir, name) else { return Ok(None) };
        // The mount itself is never asked about itself.
        if self.here().child(name).is_ok_and(|real| self.place.is_reserved(&real)) {
            return Ok(Some(bare(path, EntryKind::Directory)));
        }
        if matches!(told, FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice) {
            self.left_out.hide();
            return Ok(None);
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let stat = rustix::fs::statx(&self.fd, OsStr::from_bytes(name), flags, StatxFlags::BASIC_STATS)?;
        match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&self.fd, OsStr::from_bytes(name), Vec::new())?;
                self.link(path, &stat, target.to_bytes())
            }
            _ => Ok(described(path, &stat)),
        }
    }

    /// The place of this directory, without links.
    fn here(&self) -> &RemotePath {
        self.way.last().unwrap_or(&self.dir)
    }

    /// What is shown of a link; none for one that is left out.
    fn link(&self, path: RemotePath, stat: &Statx, target: &[u8]) -> Result<Option<Entry>, Errno> {
        let text = match self.place.links {
            Links::Keep => Some(links::keep(&self.place, &self.dir, target)),
            Links::Inside => links::judge(&self.place, &self.root, &self.dir, target)?,
            Links::Follow => {
                let followed = self.followed(&path, target)?;
                return Ok(followed.or_else(|| self.leave_out(&path)));
            }
        };
        let modified = Stamp::of(stat).modified();
        let entry = |target| Entry { modified, ..bare(path.clone(), EntryKind::Symlink { target }) };
        Ok(text.map(entry).or_else(|| self.leave_out(&path)))
    }

    /// What a link leads to, in its place. None if that is nothing inside, or a directory on the way here: the tree would have no end.
    fn followed(&self, path: &RemotePath, target: &[u8]) -> Result<Option<Entry>, Errno> {
        let End::Inside(real) = links::resolve(&self.place, &self.root, self.here(), target)? else { return Ok(None) };
        if self.place.is_reserved(&real) {
            return Ok(Some(bare(path.clone(), EntryKind::Directory)));
        }
        if self.place.hides(&real) || self.way.contains(&real) {
            return Ok(None);
        }
        match beneath::open(&self.root, real.as_bytes(), OFlags::PATH, Mode::empty()) {
            Ok(fd) => {
                let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
                let stat = rustix::fs::statx(fd, "", flags, StatxFlags::BASIC_STATS)?;
                Ok(described(path.clone(), &stat))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn leave_out(&self, path: &RemotePath) -> Option<Entry> {
        tracing::debug!("{path} leads to nothing that is shown and is left out");
        self.left_out.hide();
        None
    }
}

/// A file or a directory; none for what is neither.
fn described(path: RemotePath, stat: &Statx) -> Option<Entry> {
    let stamp = Stamp::of(stat);
    let permissions = Some(permission_bits(stat.stx_mode.into()));
    let modified = stamp.modified();
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => Some(Entry { permissions, modified, ..bare(path, EntryKind::Directory) }),
        FileType::RegularFile => {
            let digest = Some(Digest::new(stamp.digest(SystemTime::now())));
            Some(Entry { permissions, size: Some(stamp.size), modified, digest, ..bare(path, EntryKind::File) })
        }
        _ => None,
    }
}

/// An entry of which nothing but its kind is known.
fn bare(path: RemotePath, kind: EntryKind) -> Entry {
    let name = path.name().to_vec();
    Entry { name, path, kind, permissions: None, size: None, modified: None, digest: None }
}

/// The entries in batches, as a stream that ends well only after the listing thread said that these were all.
pub(super) fn received(
    receiver: mpsc::Receiver<Batch>,
    dir: &RemotePath,
) -> impl futures::Stream<Item = Result<Vec<Entry>>> {
    let lost = Error::new("list_path", ErrorKind::Other).on(dir).because("the listing thread ended early");
    let state = (Some(receiver), lost);
    futures::stream::unfold(state, |(receiver, lost)| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Batch::Entries(entries)) => Some((Ok(entries), (Some(receiver), lost))),
            Some(Batch::Complete) => None,
            Some(Batch::Failed(error)) => Some((Err(error), (None, lost))),
            None => Some((Err(lost.clone()), (None, lost))),
        }
    })
}
