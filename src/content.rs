//! Hashes of a file's bytes, of the kinds that sources use as digests. It knows no source and no cache.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use md5::{Digest as _, Md5};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::digest::{Digest, hex};

/// The number of bytes of a file that are hashed at once.
const PIECE_BYTES: usize = 256 * 1024;

/// The algorithm of a hash. All of them detect accidents; none has to withstand an attacker who owns the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `md5:` and 32 digits: S3's entity tags, unless an object came in parts.
    Md5,
    /// `sha1:` and 40 digits: Moodle.
    Sha1,
    /// `sha256:` and 64 digits.
    Sha256,
}

impl Algorithm {
    /// The algorithm and the value (hexadecimal, in either case) of a digest whose text says that it is a hash of all bytes: `md5:…`,
    /// `sha1:…` or `sha256:…`, up to the end or a `;`. `None` for every other digest.
    pub fn of(digest: &Digest) -> Option<(Self, &str)> {
        let (name, value) = digest.as_str().split_once(':')?;
        let value = value.split(';').next().unwrap_or_default();
        let (algorithm, digits) = match name {
            "md5" => (Self::Md5, 32),
            "sha1" => (Self::Sha1, 40),
            "sha256" => (Self::Sha256, 64),
            _ => return None,
        };
        let is_hash = value.len() == digits && value.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hash.then_some((algorithm, value))
    }

    /// The hash of a whole file, in lower case. Reads all of it: call it where blocking is allowed.
    pub fn hash_file(self, path: &Path) -> io::Result<String> {
        let (mut file, mut hasher, mut piece) = (File::open(path)?, Hasher::new(self), vec![0; PIECE_BYTES]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hasher.finish()),
                length => hasher.update(&piece[..length]),
            }
        }
    }
}

/// A hash that grows with the bytes.
pub struct Hasher(State);

enum State {
    Md5(Md5),
    Sha(Context),
}

impl Hasher {
    /// The hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Md5 => State::Md5(Md5::new()),
            Algorithm::Sha1 => State::Sha(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            Algorithm::Sha256 => State::Sha(Context::new(&SHA256)),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Md5(hash) => hash.update(bytes),
            State::Sha(hash) => hash.update(bytes),
        }
    }

    /// The hash of all bytes, in lower case.
    pub fn finish(self) -> String {
        match self.0 {
            State::Md5(hash) => hex(&hash.finalize()),
            State::Sha(hash) => hex(hash.finish().as_ref()),
        }
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_is_a_hash_says_so() {
        let of_nothing = [
            (Algorithm::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
            (Algorithm::Sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (Algorithm::Sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ];
        for ((algorithm, hash), name) in of_nothing.into_iter().zip(["md5", "sha1", "sha256"]) {
            assert_eq!(Hasher::new(algorithm).finish(), hash);
            for text in [format!("{name}:{hash}"), format!("{name}:{hash};size=0")] {
                assert_eq!(Algorithm::of(&Digest::new(text)), Some((algorithm, hash)));
            }
        }
    }

    #[test]
    fn other_digests_are_no_hashes() {
        let hash = "d41d8cd98f00b204e9800998ecf8427e";
        for text in [format!("etag:{hash}"), format!("md5:{hash}-2"), format!("sha1:{hash}"), hash.into(), "md5".into()]
        {
            assert_eq!(Algorithm::of(&Digest::new(text.as_str())), None, "{text}");
        }
    }
}
