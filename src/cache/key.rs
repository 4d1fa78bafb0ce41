//! `Key`: what identifies a version in the cache.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, hex, unhex};
use crate::path::RemotePath;

/// Identifies one version of one file of one source: SHA-256 over the three.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub(super) [u8; 32]);

impl Key {
    /// The key of a version. `source_id` is the source's identity, not its folder name.
    pub fn new(source_id: &str, path: &RemotePath, digest: &Digest) -> Self {
        let mut hash = Sha256::new();
        for part in [source_id.as_bytes(), path.as_bytes(), digest.as_str().as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that these lower-case hexadecimal digits are; `None` if they are none.
    pub(super) fn from_hex(text: &[u8]) -> Option<Self> {
        let is_lower_case = !text.iter().any(u8::is_ascii_uppercase);
        is_lower_case.then(|| unhex(text)).flatten().map(Self)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}
