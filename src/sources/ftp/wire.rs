//! Text on an FTP connection: the library speaks in strings and the server in bytes, so every byte is one character.

use std::io;

use suppaftp::Encoding;

/// Bytes as the characters of the same numbers, which loses nothing.
#[derive(Debug)]
pub(super) struct Bytes;

impl Encoding for Bytes {
    fn decode(&self, bytes: &[u8]) -> String {
        text_of(bytes)
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        let byte = |c: char| u8::try_from(u32::from(c));
        text.chars().map(byte).collect::<Result<_, _>>().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
    }
}

pub(super) fn text_of(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The bytes of a text from [`text_of`]; what is in none is dropped.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
