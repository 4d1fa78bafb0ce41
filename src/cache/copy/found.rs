//! Found files: those of copies that the index does not know any more. It believes nothing but the digest.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

use tracing::debug;

use crate::cache::OpenCopy;
use crate::cache::block::{Hash, block_count, hash};
use crate::cache::index::Fingerprint;
use crate::cache::store::Store;
use crate::cachedir::is_other_type;
use crate::content::{Algorithm, Hasher};
use crate::digest::Digest;
use crate::disk::Asked;

/// A found file that was hashed.
struct Hashed {
    file: File,
    /// As it was before.
    before: Fingerprint,
    /// The hash of all its bytes.
    hash: String,
    /// Those of its blocks.
    blocks: Vec<Hash>,
}

impl OpenCopy {
    /// Whether there is a file of which nobody knows how much is right.
    pub fn is_found(&self) -> bool {
        self.look(|state| state.contents.is_found() && !state.is_shut()).unwrap_or(false)
    }

    /// Takes a found file in as a whole copy if `digest` is a hash of the content and its bytes have it; throws it away if they do not, or
    /// if nothing can tell. Reads the whole file, and waits for the disk.
    pub fn take_found(&self, digest: &Digest, asked: &Asked) {
        let Some((algorithm, expected)) = Algorithm::of(digest) else { return self.discard_found() };
        match self.hash_found(algorithm, asked) {
            Ok(Some(hashed)) if hashed.hash.eq_ignore_ascii_case(expected) => {
                if self.adopt(hashed) {
                    self.dress(None);
                    if self.mark_whole(digest.clone()) {
                        debug!("cache: {}: proven again by its digest", self.path.display());
                    }
                }
            }
            Ok(_) => self.discard_found(),
            Err(e) if e.kind() == ErrorKind::NotFound || is_other_type(&e) => self.discard_found(),
            Err(e) => self.shut(&mut self.state.lock(), &e),
        }
    }

    /// Throws the found file away, unless somebody has done that already: by now it may be another's.
    fn discard_found(&self) {
        let mut state = self.state.lock();
        if state.contents.is_found() {
            self.reset(&mut state);
        }
    }

    /// Takes in the file with the hashes of all its blocks. The copy is complete, and waits for its proof. `false`, and nothing has changed, if
    /// the file is not as it was hashed, or is found no more.
    fn adopt(&self, Hashed { file, before, blocks, .. }: Hashed) -> bool {
        let mut state = self.state.lock();
        let is_same = file.metadata().is_ok_and(|now| Fingerprint::of(&now) == before);
        if !is_same || !state.contents.is_found() {
            return false;
        }
        self.left(&mut state, &file);
        state.file = Some(Arc::new(file));
        for (block, hash) in blocks.iter().enumerate() {
            state.contents.put(block, *hash);
        }
        true
    }

    /// Hashes the file; `None` if it has not the version's size.
    fn hash_found(&self, algorithm: Algorithm, asked: &Asked) -> std::io::Result<Option<Hashed>> {
        let file = self.cache.store.open_file(&self.key, &self.name, false)?;
        let meta = file.metadata()?;
        if meta.len() != self.size {
            return Ok(None);
        }
        let (mut hasher, mut blocks) = (Hasher::new(algorithm), Vec::new());
        for block in 0..block_count(self.size) {
            let bytes = Store::read(&file, &self.bytes_of(block))?;
            hasher.update(&bytes);
            blocks.push(hash(&bytes));
            asked.step();
        }
        Ok(Some(Hashed { file, before: Fingerprint::of(&meta), hash: hasher.finish(), blocks }))
    }
}
