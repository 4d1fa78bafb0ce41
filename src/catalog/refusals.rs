//! Files that the source refuses to this login: it is not asked for them again at each open. Which questions those are is its callers' business.

use std::num::NonZeroUsize;

use lru::LruCache;
use tokio::time::Instant;

use super::Catalog;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::freshness::{BeforeAsking, REFUSED_FOR, before_asking};
use crate::path::RemotePath;
use crate::source::Entry;

/// How many refused files are remembered. One that is forgotten is asked for again, and refused again.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// The refusals of one source that count still, or have not been asked about since.
#[derive(Debug)]
pub(super) struct Refusals {
    known: LruCache<RemotePath, Refusal>,
    /// How often some were forgotten. The answer to a question from before is not remembered.
    forgotten: u64,
}

#[derive(Debug)]
struct Refusal {
    /// The refused version, as far as it was known.
    digest: Option<Digest>,
    error: Error,
    asked: Instant,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { known: LruCache::new(REMEMBERED), forgotten: 0 }
    }
}

impl Refusals {
    /// Forgets the refusals of this file, or of the files in this directory.
    pub(super) fn expire(&mut self, path: &RemotePath) {
        self.forgotten += 1;
        let is_affected = |known: &RemotePath| known == path || known.parent().as_ref() == Some(path);
        let affected: Vec<_> =
            self.known.iter().map(|(known, _)| known).filter(|known| is_affected(known)).cloned().collect();
        affected.iter().for_each(|path| _ = self.known.pop(path));
    }

    fn forget_all(&mut self) {
        self.forgotten += 1;
        self.known.clear();
    }
}

impl Catalog {
    /// The answer to a question about this version of a file; none is asked while its refusal counts (see `freshness`, R1 to R3).
    pub async fn unless_refused<T>(&self, entry: &Entry, question: impl Future<Output = Result<T>>) -> Result<T> {
        if let Some(refusal) = self.refusal(entry) {
            return Err(refusal);
        }
        let (asked, forgotten) = (Instant::now(), self.refusals.lock().forgotten);
        let answer = question.await;
        match &answer {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let mut refusals = self.refusals.lock();
                if forgotten == refusals.forgotten {
                    let refusal = Refusal { digest: entry.digest.clone(), error: error.clone(), asked };
                    refusals.known.put(entry.path.clone(), refusal);
                }
            }
            // The next login may have more rights than this one.
            Err(error) if error.kind() == ErrorKind::Unauthenticated => self.forget_refusals(),
            _ => {}
        }
        answer
    }

    /// Forgets that this name was refused.
    pub fn forget_refusal(&self, dir: &RemotePath, name: &[u8]) {
        let listed = self.last_entry(dir, name).map(|entry| entry.path);
        if let Some(path) = listed.or_else(|| dir.child(name).ok()) {
            self.refusals.lock().expire(&path);
        }
    }

    /// Forgets what was refused: the next login may have more rights.
    pub fn forget_refusals(&self) {
        self.refusals.lock().forget_all();
    }

    fn refusal(&self, entry: &Entry) -> Option<Error> {
        let refusals = self.refusals.lock();
        let refusal = refusals.known.peek(&entry.path).filter(|refusal| refusal.digest == entry.digest)?;
        match before_asking(Some(Some(refusal.asked.elapsed())), self.policy.fresh_for.min(REFUSED_FOR)) {
            BeforeAsking::Serve(_) => Some(refusal.error.clone()),
            BeforeAsking::Ask => None,
        }
    }
}
