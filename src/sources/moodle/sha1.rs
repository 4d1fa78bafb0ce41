//! `Sha1`: the hash by which Moodle keeps files, and which it tells as their entity tag. It proves copies; it protects nothing.

use std::io::Read as _;
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::digest::hex;

/// Bytes that are read of a file at once.
const PIECE: usize = 256 * 1024;

/// A hash of bytes as they arrive.
#[derive(Clone)]
pub(super) struct Sha1(Context);

impl Sha1 {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In lower-case hexadecimal.
    pub(super) fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }

    pub(super) fn of(bytes: &[u8]) -> String {
        let mut hash = Self::new();
        hash.update(bytes);
        hash.finish()
    }

    /// Reads a whole file: call it where blocking is allowed.
    pub(super) fn of_file(path: &Path) -> std::io::Result<String> {
        let (mut file, mut hash, mut buffer) = (std::fs::File::open(path)?, Self::new(), vec![0; PIECE]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.finish()),
                len => hash.update(&buffer[..len]),
            }
        }
    }
}
