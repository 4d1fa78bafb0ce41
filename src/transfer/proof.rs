//! The proof of a complete copy: do its bytes have the digest under which they were asked for? It retrieves nothing.

use std::sync::Arc;

use tracing::warn;

use super::{OpenVersion, SMALL};
use crate::content::Algorithm;
use crate::error::{Error, ErrorKind, Result};
use crate::freshness::{Proof, proof};
use crate::source::LocalCopy;

impl OpenVersion {
    /// Decides by the digest about a file that the index does not know any more.
    pub async fn take_found(self: &Arc<Self>) {
        if self.copy.is_found() {
            let version = self.clone();
            let taking = move || version.copy.take_found(&version.transfer.cache, &version.version.digest);
            if let Err(lost) = tokio::task::spawn_blocking(taking).await {
                warn!("{}: the copy that was found could not be looked at: {lost}", self.version.path);
            }
        }
    }

    /// Goes on with the hash of the content, if there is one to compute and this block is what it waited for.
    pub(super) fn hash_along(self: &Arc<Self>, arrived: usize) {
        let Some(algorithm) = self.hash.filter(|_| self.version.size > SMALL) else { return };
        if self.copy.is_hash_due(arrived) {
            let version = self.clone();
            tokio::task::spawn_blocking(move || version.copy.hash_arrived(&version.transfer.cache, algorithm));
        }
    }

    /// Whether the digest is a hash of the content, and agrees with the complete copy.
    fn is_hash_right(&self) -> bool {
        let Some((algorithm, expected)) = Algorithm::of(&self.version.digest) else { return false };
        let hash = self.copy.content_hash(&self.transfer.cache, algorithm);
        hash.is_some_and(|hash| hash.eq_ignore_ascii_case(expected))
    }

    /// Every block is there: the local digest decides whether the copy counts (see `freshness`, cases C1 to C4).
    pub(super) async fn prove(self: &Arc<Self>) -> Result<()> {
        let checking = self.clone();
        let (sound, agrees) = tokio::task::spawn_blocking(move || {
            let sound = checking.copy.check_all(&checking.transfer.cache);
            (sound, sound && checking.is_hash_right())
        })
        .await
        .unwrap_or_default();
        if !sound {
            // Readers find the damaged blocks missing, and request them.
            return Ok(());
        }
        let Self { transfer, version, copy, .. } = &**self;
        copy.dress(self.state.lock().retrieved_modified);
        let local_copy =
            LocalCopy { file: copy.path(), path: &version.path, retrieved_as: &version.digest, size: version.size };
        let local = match agrees {
            true => version.digest.clone(),
            // Not a hash, or not of these bytes: the source knows more.
            false => transfer.source.create_local_digest(&local_copy).await?,
        };
        let content_digest = transfer.source.capabilities().content_digest;
        let first_attempt = self.state.lock().first_attempt.replace(local.clone());
        let decision = proof(&version.digest, &local, first_attempt.as_ref(), content_digest);
        match decision {
            // A file that was changed meanwhile is not proven, and its readers ask again.
            Proof::Whole => {
                copy.prove(&transfer.cache, local);
                // Whoever has read the last block has a copy that survives a kill.
                transfer.cache.settled().await;
            }
            Proof::Baseline => {
                warn!(
                    "{}: the remote digest {} never equals the local one, {local}; the pair counts as valid",
                    version.path, version.digest
                );
                copy.prove(&transfer.cache, local);
            }
            Proof::Again => {
                warn!(
                    "{}: the bytes have the digest {local}, not {}: retrieved once more",
                    version.path, version.digest
                );
                copy.discard(&transfer.cache);
            }
            Proof::Changed => {
                copy.discard(&transfer.cache);
                return Err(Error::new("retrieve_file", ErrorKind::ChangedDuringRead)
                    .on(&version.path)
                    .because(format!("the bytes have the digest {local}, not {}", version.digest)));
            }
        }
        Ok(())
    }
}
