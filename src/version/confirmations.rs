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
use crate::error::Result;
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::retry::retry;

/// When no other file of a directory has come for so long, those that have are confirmed.
const GATHER: Duration = Duration::from_secs(1);

/// After this time at the latest.
const LONGEST: Duration = Duration::from_secs(5);

/// A listing costs a source about as much as one question for so many of its names: where fewer files wait, it is asked one by one.
const NAMES_OF_A_QUESTION: usize = 8;

/// So many files are asked about one by one, however small their directory.
const FEW: usize = 4;

/// How many files the source is asked about at a time.
const AT_A_TIME: usize = 4;

/// The files that wait.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    /// By their directory.
    waiting: Mutex<HashMap<RemotePath, Vec<Waiting>>>,
    /// Whoever asks the source shares it.
    asking: RwLock<()>,
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

impl OpenVersion {
    /// A retrieval has ended that could have brought unconfirmed bytes: they are to be confirmed, if they are here and that is so.
    pub(super) async fn have_confirmed(self: &Arc<Self>, retrieval: u64, has_succeeded: bool, is_unconfirmed: bool) {
        if !is_unconfirmed || !self.copy.is_begun() {
            return self.transfer.cache.confirmed(self.copy.key(), retrieval);
        }
        if !has_succeeded {
            return self.begin_anew().await;
        }
        let (version, name) = (self.version.clone(), self.copy.name().clone());
        let names = self.names_beside.load(Ordering::Relaxed);
        self.transfer.confirm_soon(Waiting { version, name, retrieval, names });
    }
}

impl Transfer {
    fn confirm_soon(self: &Arc<Self>, waiting: Waiting) {
        let dir = waiting.version.path.parent().unwrap_or_else(RemotePath::root);
        let is_first = {
            let mut all = self.confirmations.waiting.lock();
            let of_dir = all.entry(dir.clone()).or_default();
            of_dir.push(waiting);
            of_dir.len() == 1
        };
        if is_first {
            tokio::spawn(gather(Arc::downgrade(self), dir));
        }
    }

    /// Has everything confirmed that has come, and returns when that is done.
    pub async fn confirm_now(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.confirmations.waiting.lock());
        join_all(waiting.into_iter().map(|(dir, files)| async move { self.confirm_all(&dir, files).await })).await;
        let _others = self.confirmations.asking.write().await;
    }

    /// Has the source confirm these files of a directory, which have come already.
    async fn confirm_all(self: &Arc<Self>, dir: &RemotePath, mut waiting: Vec<Waiting>) {
        let _asking = self.confirmations.asking.read().await;
        let names = waiting.iter().map(|file| file.names).max().unwrap_or(usize::MAX);
        let is_worth_a_listing = waiting.len() > FEW.max(names / NAMES_OF_A_QUESTION);
        if is_worth_a_listing && self.capabilities().digest_from_listing {
            match retry(|| self.told_by_listing(dir, &waiting)).await {
                Ok(told) => {
                    let is_told =
                        |file: &Waiting| told.get(&file.version.path).is_some_and(|digest| file.is_told(digest));
                    waiting.extract_if(.., |file| is_told(file)).for_each(|file| self.confirmed(&file));
                }
                Err(error) => debug!("{dir}: a listing confirms nothing: {error}"),
            }
        }
        let one_by_one = stream::iter(waiting);
        one_by_one.for_each_concurrent(AT_A_TIME, |file| async move { self.confirm(&file).await }).await;
    }

    /// What the source tells of these files when it lists their directory.
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
        // What another machine was told before the bytes came says nothing of them.
        Ok(if listing.age().is_zero() { told } else { HashMap::new() })
    }

    /// Asks about one file. Bytes that are not confirmed, for whatever reason, are thrown away.
    async fn confirm(self: &Arc<Self>, file: &Waiting) {
        let Waiting { version, name, retrieval, .. } = file;
        match retry(|| self.source.create_remote_digest(&version.path)).await {
            Ok(remote) if file.is_told(&remote.digest) => return self.confirmed(file),
            Ok(remote) => debug!("{}: came as {}, and is {} now", version.path, version.digest, remote.digest),
            Err(error) => debug!("{}: is not confirmed: {error}", version.path),
        }
        let open = self.open(version, name).await;
        if open.copy.is_unconfirmed(*retrieval) {
            // Somebody may have read them.
            open.is_handed_out.store(true, Ordering::SeqCst);
            open.begin_anew().await;
        }
    }

    fn confirmed(&self, file: &Waiting) {
        self.cache.confirmed(&self.key(&file.version.path, &file.version.digest), file.retrieval);
    }
}

/// Waits until no more files of a directory come, and has those that came confirmed.
async fn gather(transfer: Weak<Transfer>, dir: RemotePath) {
    let (began, mut known) = (Instant::now(), 0);
    loop {
        sleep(GATHER).await;
        let Some(transfer) = transfer.upgrade() else { return };
        let count = transfer.confirmations.waiting.lock().get(&dir).map_or(0, Vec::len);
        if count == known || began.elapsed() >= LONGEST {
            let waiting = transfer.confirmations.waiting.lock().remove(&dir).unwrap_or_default();
            return transfer.confirm_all(&dir, waiting).await;
        }
        known = count;
    }
}
