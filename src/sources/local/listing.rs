//! Listing one directory: a thread reads it in batches, a stream hands them on.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::time::SystemTime;

use futures::StreamExt as _;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::stamp::Stamp;
use super::{Place, failed, links};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind, LeftOut, permission_bits};

/// How many entries travel together from the listing thread.
const BATCH_ENTRIES: usize = 256;

/// A message of the listing thread: entries, and at the end the proof that these were all.
pub(super) enum Batch {
    Entries(Vec<Entry>),
    Complete,
    Failed(Error),
}

/// Reads a directory to its end. Runs on a thread of its own and stops when the receiver was dropped.
pub(super) fn list(
    place: &Place,
    root: &OwnedFd,
    fd: &OwnedFd,
    dir: &RemotePath,
    sender: &mpsc::Sender<Batch>,
    left_out: &LeftOut,
) {
    let end = match list_entries(place, root, fd, dir, sender, left_out) {
        Ok(()) => Batch::Complete,
        Err(errno) => Batch::Failed(failed("list_path", dir, &errno.into())),
    };
    // A receiver that has gone wants no end either.
    let _ = sender.blocking_send(end);
}

fn list_entries(
    place: &Place,
    root: &OwnedFd,
    fd: &OwnedFd,
    dir: &RemotePath,
    sender: &mpsc::Sender<Batch>,
    left_out: &LeftOut,
) -> Result<(), Errno> {
    let mut batch = Vec::with_capacity(BATCH_ENTRIES);
    for item in rustix::fs::Dir::read_from(fd)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        match entry(place, root, fd, dir, name, item.file_type(), left_out) {
            Ok(Some(entry)) => batch.push(entry),
            Ok(None) | Err(Errno::NOENT) => {}
            Err(errno) => left_out.add_unreadable(name, errno),
        }
        if batch.len() == BATCH_ENTRIES && sender.blocking_send(Batch::Entries(std::mem::take(&mut batch))).is_err() {
            return Ok(());
        }
    }
    let _ = sender.blocking_send(Batch::Entries(batch));
    Ok(())
}

/// One entry; none for what is not shown.
fn entry(
    place: &Place,
    root: &OwnedFd,
    fd: &OwnedFd,
    dir: &RemotePath,
    name: &[u8],
    told: FileType,
    left_out: &LeftOut,
) -> Result<Option<Entry>, Errno> {
    let Some(path) = left_out.child(dir, name) else { return Ok(None) };
    let bare = |kind| Entry {
        name: name.to_vec(),
        path: path.clone(),
        kind,
        permissions: None,
        size: None,
        modified: None,
        digest: None,
    };
    // The mount itself is never asked about itself.
    if place.is_reserved(&path) {
        return Ok(Some(bare(EntryKind::Directory)));
    }
    if matches!(told, FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice) {
        left_out.hide();
        return Ok(None);
    }
    let stat = rustix::fs::statx(
        fd,
        OsStr::from_bytes(name),
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        rustix::fs::StatxFlags::BASIC_STATS,
    )?;
    let stamp = Stamp::of(&stat);
    let permissions = Some(permission_bits(stat.stx_mode.into()));
    let entry = match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => Entry { permissions, modified: stamp.modified(), ..bare(EntryKind::Directory) },
        FileType::RegularFile => Entry {
            permissions,
            size: Some(stamp.size),
            modified: stamp.modified(),
            digest: Some(Digest::new(stamp.digest(SystemTime::now()))),
            ..bare(EntryKind::File)
        },
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(fd, OsStr::from_bytes(name), Vec::new())?;
            match links::judge(place, root, dir, target.to_bytes())? {
                Some(target) => Entry { modified: stamp.modified(), ..bare(EntryKind::Symlink { target }) },
                None => {
                    tracing::debug!("{path} leads outside the source and is left out");
                    left_out.hide();
                    return Ok(None);
                }
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(entry))
}

/// The entries as a stream that ends well only after the listing thread said that these were all.
pub(super) fn received(
    receiver: mpsc::Receiver<Batch>,
    dir: &RemotePath,
) -> impl futures::Stream<Item = Result<Entry>> {
    let lost = Error::new("list_path", ErrorKind::Other).on(dir).because("the listing thread ended early");
    let state = (Some(receiver), lost);
    futures::stream::unfold(state, |(receiver, lost)| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Batch::Entries(entries)) => {
                Some((entries.into_iter().map(Ok).collect::<Vec<_>>(), (Some(receiver), lost)))
            }
            Some(Batch::Complete) => None,
            Some(Batch::Failed(error)) => Some((vec![Err(error)], (None, lost))),
            None => Some((vec![Err(lost.clone())], (None, lost))),
        }
    })
    .map(futures::stream::iter)
    .flatten()
}
