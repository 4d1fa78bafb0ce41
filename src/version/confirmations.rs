//! `Confirmations`: files that came ahead of their readers, whose bytes are confirmed together: one listing tells for all files of a directory that
//! their versions are there still. It retrieves nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{OpenVersion, Transfer, Version};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::retry::retry;

/// When no other file of a directory has come for so long, those that have are confirmed.
const GATHER: Duration = Duration::from_secs(1);

/// After this time at the latest.
const LONGEST: Duration = Duration::from_secs(5);

/// A listing of so many names costs a source no more than one question: where fewer files wait, it is asked one by one.
const NAMES_OF_A_QUESTION: usize = 32;

/// How often a listing is tried.
const ATTEMPTS: usize = 3;

/// So many files are asked about one by one, however small their directory.
const FEW: usize = 4;

/// How many files the source is asked about at a time.
const AT_A_TIME: usize = 8;

/// The files that wait.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    /// By their directory, which is here as long as a task of its own gathers its files and has them confirmed: one at a time.
    waiting: Mutex<HashMap<RemotePath, Vec<Waiting>>>,
    /// Shared by everybody who is asking the source.
    asking: RwLock<()>,
}

impl Confirmations {
    /// Adds a file. Whether its directory has no task yet.
    fn add(&self, dir: &RemotePath, file: Waiting) -> bool {
        let mut waiting = self.waiting.lock();
        if let Some(files) = waiting.get_mut(dir) {
            files.push(file);
            return false;
        }
        waiting.insert(dir.clone(), vec![file]);
        true
    }

    /// How many files of a directory wait.
    fn count(&self, dir: &RemotePath) -> usize {
        self.waiting.lock().get(dir).map_or(0, Vec::len)
    }

    /// Takes the files of a directory; if there are none, its task is to end.
    fn take(&self, dir: &RemotePath) -> Option<Vec<Waiting>> {
        let mut waiting = self.waiting.lock();
        let files = std::mem::take(waiting.get_mut(dir)?);
        if files.is_empty() {
            waiting.remove(dir);
            return None;
        }
        Some(files)
    }

    /// Takes all files.
    fn take_all(&self) -> Vec<(RemotePath, Vec<Waiting>)> {
        let mut waiting = self.waiting.lock();
        waiting.iter_mut().map(|(dir, files)| (dir.clone(), std::mem::take(files))).collect()
    }
}

/// A file whose bytes are to be confirmed.
#[derive(Debug)]
struct Waiting {
    version: Version,
    name: LocalName,
    /// The number of their retrieval (see [`crate::cache::OpenCopy::begin_unconfirmed`]).
    retrieval: u64,
    /// How many names its directory has.
    names: usize,
}

impl Waiting {
    /// Whether the source tells of the same version.
    fn is_told(&self, digest: &Digest) -> bool {
        self.version.digest.is_same_observation(digest)
    }
}

/// How a retrieval ended whose bytes could come unconfirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All bytes that it brought, if any, are confirmed.
    Confirmed,
    /// They are not.
    Unconfirmed,
    /// With an error, in the middle.
    Failed,
}

impl OpenVersion {
    /// A retrieval has ended that could have brought unconfirmed bytes: they are to be confirmed, or thrown away.
    pub(super) async fn have_confirmed(self: &Arc<Self>, retrieval: u64, ended: Ended) {
        if ended == Ended::Confirmed {
            return self.transfer.cache.confirmed(self.copy.key(), retrieval);
        }
        let (version, name) = (self.version.clone(), self.copy.name().clone());
        let names = self.names_beside.load(Ordering::Relaxed);
        let file = Waiting { version, name, retrieval, names };
        match ended {
            // Nothing of it was proven, so that it is known whether somebody has read some.
            Ended::Failed => self.begin_anew().await,
            _ if self.missing_bytes() == 0 && self.copy.is_unconfirmed(retrieval) => self.transfer.confirm_soon(file),
            // Of what has no place on the disk, or has left it, nobody knows later that it is unconfirmed.
            _ if self.transfer.is_there(&file).await => self.transfer.confirmed(&file),
            _ => self.throw_away().await,
        }
    }
}

impl Transfer {
    fn confirm_soon(self: &Arc<Self>, file: Waiting) {
        let dir = file.version.path.parent().unwrap_or_else(RemotePath::root);
        if self.confirmations.add(&dir, file) {
            tokio::spawn(gather(Arc::downgrade(self), dir));
        }
    }

    /// Has everything confirmed that has come, and returns when that is done. It goes on if nobody waits for that.
    pub async fn confirm_now(self: &Arc<Self>) {
        let transfer = self.clone();
        let confirming = tokio::spawn(async move {
            let asking = transfer.confirmations.asking.read().await;
            let waiting = transfer.confirmations.take_all().into_iter();
            let confirm = |(dir, files)| {
                let transfer = &transfer;
                async move { transfer.confirm_all(&dir, files).await }
            };
            join_all(waiting.map(confirm)).await;
            drop(asking);
            let _others = transfer.confirmations.asking.write().await;
        });
        let _ = confirming.await;
    }

    /// Has the source confirm these files of a directory, which have come already.
    async fn confirm_all(self: &Arc<Self>, dir: &RemotePath, mut waiting: Vec<Waiting>) {
        let names = waiting.iter().map(|file| file.names).max().unwrap_or_default();
        if waiting.len() > FEW.max(names / NAMES_OF_A_QUESTION) {
            let told = match self.told_by_listing_in_time(dir, &waiting).await {
                Ok(told) => told,
                Err(error) => {
                    debug!("{dir}: is not listed, so that nothing of it is confirmed: {error}");
                    stream::iter(waiting).for_each(|file| async move { self.throw_away(&file).await }).await;
                    return;
                }
            };
            let is_told = |file: &Waiting| told.get(&file.version.path).is_some_and(|digest| file.is_told(digest));
            let confirmed: Vec<_> = waiting.extract_if(.., |file| is_told(file)).collect();
            for file in confirmed {
                self.confirmed(&file);
                // Let other tasks run: there may be thousands.
                tokio::task::consume_budget().await;
            }
        }
        let one_by_one = stream::iter(waiting);
        one_by_one.for_each_concurrent(AT_A_TIME, |file| async move { self.confirm(&file).await }).await;
    }

    /// The same as [`Transfer::told_by_listing`], asked again after a while where the source does not answer or wants to be left alone.
    async fn told_by_listing_in_time(
        &self,
        dir: &RemotePath,
        waiting: &[Waiting],
    ) -> Result<HashMap<RemotePath, Digest>> {
        for _ in 1..ATTEMPTS {
            match retry(|| self.told_by_listing(dir, waiting)).await {
                Err(error) if error.kind().is_outage() || error.kind() == ErrorKind::RateLimited => {
                    sleep(error.wait().unwrap_or(LONGEST).min(LONGEST)).await;
                }
                told => return told,
            }
        }
        self.told_by_listing(dir, waiting).await
    }

    /// The digests of these files that the source tells when it lists their directory.
    async fn told_by_listing(&self, dir: &RemotePath, waiting: &[Waiting]) -> Result<HashMap<RemotePath, Digest>> {
        let wanted: HashSet<_> = waiting.iter().map(|file| &file.version.path).collect();
        let (mut listing, mut told) = (self.source.list_path(dir).await?, HashMap::new());
        while told.len() < wanted.len()
            && let Some(entry) = listing.try_next().await?
        {
            if let Some(digest) = entry.digest.filter(|_| wanted.contains(&entry.path)) {
                told.insert(entry.path, digest);
            }
            // Let other tasks run where all entries are here already.
            tokio::task::consume_budget().await;
        }
        // A listing that another machine had before the bytes came says nothing of them.
        Ok(if listing.age().is_zero() { told } else { HashMap::new() })
    }

    /// Asks about one file. Bytes that are not confirmed, for whatever reason, are thrown away.
    async fn confirm(self: &Arc<Self>, file: &Waiting) {
        match self.is_there(file).await {
            true => self.confirmed(file),
            false => self.throw_away(file).await,
        }
    }

    /// Whether the source says that a file has the same version still.
    async fn is_there(&self, file: &Waiting) -> bool {
        let version = &file.version;
        match retry(|| self.source.create_remote_digest(&version.path)).await {
            Ok(remote) if file.is_told(&remote.digest) => return true,
            Ok(remote) => debug!("{}: came as {}, and is {} now", version.path, version.digest, remote.digest),
            Err(error) => debug!("{}: is not confirmed: {error}", version.path),
        }
        false
    }

    async fn throw_away(self: &Arc<Self>, file: &Waiting) {
        let open = self.open(&file.version, &file.name).await;
        if open.copy.is_unconfirmed(file.retrieval) {
            open.throw_away().await;
        }
    }

    fn confirmed(&self, file: &Waiting) {
        self.cache.confirmed(&self.key(&file.version.path, &file.version.digest), file.retrieval);
    }
}

/// The task of a directory: waits until no more files of it come, and has those that came confirmed, as long as there are some.
async fn gather(transfer: Weak<Transfer>, dir: RemotePath) {
    let (mut began, mut known) = (Instant::now(), 0);
    loop {
        sleep(GATHER).await;
        let Some(transfer) = transfer.upgrade() else { return };
        let count = transfer.confirmations.count(&dir);
        if count == known || began.elapsed() >= LONGEST {
            // First, so that who wants all confirmed waits for these.
            let _asking = transfer.confirmations.asking.read().await;
            let Some(waiting) = transfer.confirmations.take(&dir) else { return };
            transfer.confirm_all(&dir, waiting).await;
            (began, known) = (Instant::now(), 0);
        } else {
            known = count;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cache::{Cache, Limits};
    use crate::sources::memory::Memory;

    #[tokio::test(start_paused = true)]
    async fn what_found_no_place_or_went_meanwhile_is_thrown_away() {
        for has_gone in [false, true] {
            let dir = kit::reaper::temporary();
            let (cache, _) = Cache::open(dir.path(), Limits { max_size: 1 << 30, min_free: 0 }).expect("a cache");
            let (source, short_break) = (Arc::new(Memory::new().unconfirmed()), Duration::ZERO);
            let transfer = Transfer::new(source, "id".into(), Arc::default(), cache, Arc::default(), short_break, None);
            let path = RemotePath::parse(b"file").expect("a path");
            let version = Version { path, digest: Digest::new("tag"), size: 5, modified: None };
            let open = transfer.open(&version, &b"file".as_slice().into()).await;
            let retrieval = open.copy.begin_unconfirmed();
            let bytes = Bytes::from_static(b"hello");
            if has_gone {
                open.copy.discard();
                open.copy.store(0, bytes);
                open.copy.dress(None);
                assert!(open.copy.mark_whole(version.digest.clone()));
            } else {
                open.copy.spill(0, &bytes);
            }
            assert!(open.missing(0..1).is_empty());
            open.have_confirmed(retrieval, Ended::Unconfirmed).await;
            assert_eq!((open.missing(0..1), open.retractions()), (vec![0], 1));
            assert!(transfer.confirmations.waiting.lock().is_empty());
        }
    }
}
