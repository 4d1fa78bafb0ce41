//! The proof of a complete copy: do its bytes have the digest under which they were asked for? What was proven may still be doubted, and
//! what was read be retracted. It retrieves nothing.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{debug, warn};

use super::{OpenVersion, SMALL};
use crate::cache::OpenCopy;
use crate::content::Algorithm;
use crate::digest::Digest;
use crate::disk::Asked;
use crate::error::{Error, ErrorKind, Result};
use crate::freshness::{Promise, Proof, proof, still_counts};
use crate::source::LocalCopy;

/// A complete copy that is ready for its proof.
struct Prepared {
    /// The path of its file.
    place: PathBuf,
    /// Whether its digest is the hash of its bytes.
    agrees: bool,
    /// Whether it was taken for whole already, unless its file was changed meanwhile.
    counts: bool,
}

/// Takes a copy for whole. A program that has asked for the last block has a copy that survives a kill, unless the disk hangs; what was asked
/// for ahead of its reader has that a moment later.
fn mark_whole(copy: &OpenCopy, local: Digest, is_waited_for: bool, asked: &Asked) {
    if copy.mark_whole(local) && is_waited_for {
        copy.settle(asked);
    }
}

impl OpenVersion {
    /// Decides by the digest about a file that the index does not know any more.
    pub async fn take_found(self: &Arc<Self>) {
        if self.copy.is_found() {
            let digest = self.version.digest.clone();
            self.ask_disk(move |copy, asked| copy.take_found(&digest, asked)).await;
        }
    }

    /// Goes on with the hash of the content, if there is one to compute and this block is what it waited for.
    pub(super) fn hash_along(self: &Arc<Self>, arrived: usize) {
        let Some(algorithm) = self.hash.filter(|_| self.version.size > SMALL) else { return };
        if self.copy.is_hash_due(arrived) {
            let version = self.clone();
            tokio::task::spawn_blocking(move || version.copy.hash_arrived(algorithm));
        }
    }

    /// Whether the digest is a hash of the content, and agrees with the complete copy.
    fn is_hash_right(&self, asked: &Asked) -> bool {
        let Some((algorithm, expected)) = Algorithm::of(&self.version.digest) else { return false };
        let hash = self.copy.content_hash(algorithm, asked);
        hash.is_some_and(|hash| hash.eq_ignore_ascii_case(expected))
    }

    /// Makes the complete copy ready for its proof. `None` if a block of it is damaged, or the disk hangs. If its digest is the hash of its
    /// bytes, and nothing speaks against that they are the first ones, it counts at once. The disk is asked at most once.
    async fn prepare(self: &Arc<Self>, is_waited_for: bool) -> Option<Prepared> {
        let (retrieved, is_first) = {
            let state = self.state.lock();
            (state.retrieved_modified, !self.is_doubtful(&state))
        };
        if self.hash.is_none() && self.copy.is_dressed(retrieved) {
            return Some(Prepared { place: self.copy.place(), agrees: false, counts: false });
        }
        let checking = self.clone();
        let check = move |copy: &OpenCopy, asked: &Asked| {
            if !copy.check_all(asked) {
                return None;
            }
            let agrees = checking.is_hash_right(asked);
            copy.dress(retrieved);
            let (place, counts) = (copy.place(), agrees && is_first);
            if counts {
                mark_whole(copy, checking.version.digest.clone(), is_waited_for, asked);
            }
            Some(Prepared { place, agrees, counts })
        };
        self.ask_disk(check).await.flatten()
    }

    /// Every block is there: the local digest decides whether the copy counts (see `freshness`, cases C1 to C8).
    pub(super) async fn judge(self: &Arc<Self>, is_waited_for: bool) -> Result<()> {
        let Some(Prepared { place, agrees, counts }) = self.prepare(is_waited_for).await else {
            // Readers find the damaged blocks missing, and request them; all of them while the disk hangs.
            return Ok(());
        };
        let Self { transfer, version, copy, .. } = &**self;
        let local_copy =
            LocalCopy { file: &place, path: &version.path, retrieved_as: &version.digest, size: version.size };
        let local = match agrees {
            true => {
                transfer.proven.iter().for_each(|proven| proven(&local_copy));
                version.digest.clone()
            }
            // Not a hash, or not of these bytes: the source knows more.
            false => match transfer.source.create_local_digest(&local_copy).await {
                Ok(local) => local,
                Err(error) if self.is_out_of_place().await => {
                    debug!("{error}: its file has left its place");
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        if agrees && transfer.evidence.proved_true() {
            transfer.doubt_all().await;
        }
        let first_attempt = self.state.lock().first_attempt.clone();
        // Damage that is known already need not come twice.
        let known = || transfer.evidence.damage(copy.key()).filter(|damage| *damage == local);
        let first_attempt = first_attempt.or_else(known);
        let decision = proof(&version.digest, &local, first_attempt.as_ref(), self.promise());
        // Bytes that are proven are in doubt at no time: a reader may have been shown them before.
        let is_proven = matches!(decision, Proof::Whole | Proof::Baseline);
        self.state.lock().first_attempt = (!is_proven).then(|| local.clone());
        match decision {
            // A file that was changed meanwhile is not proven, and its readers ask again.
            Proof::Whole => {
                transfer.evidence.discard_damage(copy.key());
                if first_attempt.is_some() && !self.is_as_shown() {
                    self.retract();
                }
                if !counts {
                    self.mark_whole(local, is_waited_for).await;
                }
            }
            Proof::Baseline => {
                warn!(
                    "{}: the remote digest {} never equals the local one, {local}; the pair counts as valid",
                    version.path, version.digest
                );
                transfer.evidence.count_unconverged(*copy.key());
                self.mark_whole(local, is_waited_for).await;
            }
            Proof::Again => {
                warn!(
                    "{}: the bytes have the digest {local}, not {}: retrieved once more",
                    version.path, version.digest
                );
                self.state.lock().shown_before = (!self.copy.withheld().is_empty()).then(|| self.copy.hashes());
                self.discard().await;
            }
            Proof::Changed => {
                self.discard().await;
                self.retract();
                let error = Error::new("retrieve_file", ErrorKind::ChangedDuringRead)
                    .on(&version.path)
                    .because(format!("the bytes have the digest {local}, not {}", version.digest));
                transfer.counters.failed(&error);
                return Err(error);
            }
            Proof::Damaged => {
                // Noted first, so that who finds the bytes gone does not ask for them again.
                let error = self.damaged(local);
                self.discard().await;
                self.retract();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether the copy's file is not where the source has looked for it. Then readers find its blocks missing, and request them.
    async fn is_out_of_place(self: &Arc<Self>) -> bool {
        self.ask_disk(|copy, _| copy.is_out_of_place()).await.unwrap_or(true)
    }

    /// Takes the copy for whole, on a thread that may wait for the disk.
    async fn mark_whole(self: &Arc<Self>, local: Digest, is_waited_for: bool) {
        if !is_waited_for && self.copy.mark_whole_remembered(&local) {
            return;
        }
        let _ = self.ask_disk(move |copy, asked| mark_whole(copy, local, is_waited_for, asked)).await;
    }

    /// Notes that the version is damaged.
    fn damaged(&self, local: Digest) -> Error {
        let Self { transfer, version, copy, .. } = self;
        let error = Error::new("retrieve_file", ErrorKind::ChangedDuringRead).on(&version.path).because(format!(
            "the server sends damaged bytes: they have the digest {local} each time, not {}; store the file anew, since it cannot be \
             read until its digest changes",
            version.digest,
        ));
        transfer.counters.failed(&error);
        transfer.cache.counters().quarantined.fetch_add(1, Ordering::Relaxed);
        transfer.evidence.note_damage(*copy.key(), local, &error);
        error
    }

    /// The claim of this version's digest about its bytes.
    fn promise(&self) -> Promise {
        let content_digest = self.transfer.source.capabilities().content_digest;
        self.transfer.evidence.promise(content_digest, self.hash.is_some())
    }

    /// Whether blocks can be withheld until all are proven (see [`Sink::withhold`](crate::source::Sink::withhold)).
    pub(super) fn may_withhold(&self) -> bool {
        // The whole must have a place until it is proven.
        self.ahead_in_memory().is_none() && !self.withholds_nothing.load(Ordering::SeqCst)
    }

    /// Throws away what is withheld, since it cannot be kept until it is proven: it comes anew, from the source itself.
    pub(super) async fn withhold_nothing(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            self.withholds_nothing.store(true, Ordering::SeqCst);
            state.streams.stop();
            state.requests.iter().for_each(|request| request.stop());
        }
        // Those that are under way may bring more of it still.
        self.settle().await;
        self.discard().await;
    }

    /// Whether readers had nothing of the first attempt but what is in these bytes too: what others gave was withheld.
    fn is_as_shown(&self) -> bool {
        let shown = self.state.lock().shown_before.take();
        shown.is_some_and(|shown| self.copy.has_hashes(&shown))
    }

    /// Throws the bytes away.
    async fn discard(self: &Arc<Self>) {
        // At once, also where the disk takes its time.
        self.copy.forget_memory();
        self.tell_disk(|copy| {
            copy.discard();
            copy.withheld().lift();
        })
        .await;
        self.state.lock().answers.clear();
        self.discards.fetch_add(1, Ordering::SeqCst);
    }

    /// Throws away bytes that need not belong to those that come next, and ends their readers.
    pub(super) async fn begin_anew(self: &Arc<Self>) {
        self.discard().await;
        self.retract();
    }

    /// Blocks were shown before they were proven, and now they are, or will not be. Readers go on with those on disk, if any.
    pub(super) fn end_preview(&self, blocks: Range<usize>, are_proven: bool) {
        self.copy.unspill(blocks);
        if !are_proven {
            self.discards.fetch_add(1, Ordering::SeqCst);
            self.retract();
        }
    }

    /// The same of bytes that count as read, whoever has them.
    pub(super) async fn throw_away(self: &Arc<Self>) {
        self.is_handed_out.store(true, Ordering::SeqCst);
        let version = self.clone();
        // A task of its own: a caller who is interrupted must not leave it half done.
        let _ = tokio::spawn(async move { version.begin_anew().await }).await;
    }

    /// Bytes that somebody may have read are not those of the version.
    fn retract(&self) {
        if self.is_handed_out.swap(false, Ordering::SeqCst) {
            self.transfer.evidence.note_retraction(*self.copy.key());
            self.retractions.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Throws away a copy that counts no longer, and counts one that does though its digests differ.
    pub(super) async fn doubt(self: &Arc<Self>) {
        let Self { transfer, version, copy, .. } = &**self;
        let Some(local) = copy.local_digest().filter(|local| *local != version.digest) else { return };
        if still_counts(&version.digest, &local, self.promise()) {
            return transfer.evidence.count_unconverged(*copy.key());
        }
        warn!(
            "{}: a digest of this source proved true, and this one is not that of the bytes: retrieved anew",
            version.path
        );
        transfer.cache.counters().quarantined.fetch_add(1, Ordering::Relaxed);
        transfer.evidence.uncount(copy.key());
        self.throw_away().await;
    }
}
