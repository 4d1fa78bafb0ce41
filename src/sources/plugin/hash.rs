//! The hash of a local copy, where that is the digest. It asks no plugin.

use std::io::Read as _;

use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::wire::Hash;
use crate::digest::{Digest, hex};
use crate::error::{Error, ErrorKind, Result};
use crate::source::LocalCopy;

/// Bytes that are hashed at once.
const CHUNK: usize = 256 * 1024;

/// The hash of the copy's bytes, in lower-case hexadecimal.
///
/// # Errors
/// `Cache` if the copy cannot be read.
pub async fn of_file(algorithm: Hash, copy: &LocalCopy<'_>) -> Result<Digest> {
    let failed = || Error::new("create_local_digest", ErrorKind::Cache).on(copy.path);
    let path = copy.file.to_owned();
    let hashing = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(path)?;
        hash(algorithm, file)
    });
    let hash = hashing.await.map_err(|lost| failed().caused_by(lost))?;
    hash.map(Digest::new).map_err(|e| failed().caused_by(e))
}

/// The hash of these bytes, written in the same way.
pub fn of_bytes(algorithm: Hash, bytes: &[u8]) -> String {
    hash(algorithm, bytes).expect("memory can always be read")
}

fn hash(algorithm: Hash, mut bytes: impl std::io::Read) -> std::io::Result<String> {
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    let mut sha1 = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        if bytes.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)? == 0 {
            break;
        }
        match algorithm {
            Hash::Md5 => md5.update(&chunk),
            Hash::Sha1 => sha1.update(&chunk),
            Hash::Sha256 => sha256.update(&chunk),
        }
    }
    Ok(match algorithm {
        Hash::Md5 => hex(&md5.finalize()),
        Hash::Sha1 => hex(sha1.finish().as_ref()),
        Hash::Sha256 => hex(&sha256.finalize()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_the_known_ones() {
        let of = |algorithm| hash(algorithm, b"abc".as_slice()).expect("memory can be read");
        assert_eq!(of(Hash::Md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(of(Hash::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(of(Hash::Sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
