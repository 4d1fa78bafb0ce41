//! `Key`: what identifies a version in the cache.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, hex};
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

    /// The key that these hexadecimal digits are; `None` if they are none.
    pub(super) fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}
