//! Fuzzing of parsers: the files of a corpus, changed as bolero says. It knows no parser; each has a test `fuzz_…` beside it.
//!
//! `cargo test` gives each of them a second of random changes and prints the seed of a failure; `BOLERO_RANDOM_TEST_TIME_MS` makes it longer.
//! `cargo bolero test` lets coverage choose the changes.

use std::fs;
use std::path::PathBuf;

/// The longest input, in bytes: enough for every file of the corpus, and small enough for many a second.
const MAX_INPUT_BYTES: usize = 32 << 10;

/// Words at which parsers go wrong.
const TOKENS: [&[u8]; 40] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"-1",
    b"0",
    b"00",
    b"1e400",
    b"NaN",
    b"255",
    b"65536",
    b"4294967295",
    b"9223372036854775807",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"-9223372036854775808",
    b"/",
    b"..",
    b"../",
    b"//",
    b"\\",
    b"%2f",
    b"%00",
    b"%",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u{202e}\u{feff}".as_bytes(),
    b"<![CDATA[",
    b"]]>",
    b"&#0;",
    b"&lt;",
    b"<!--",
    b"<a href=\"",
    b"\"",
    b"\\u0000",
    b"null",
    b"[[[[{",
];

/// One input: which file it begins with, and what is done to it.
pub(crate) type Input = (u8, Vec<(Change, u16, u16)>);

/// A change at a place; the two numbers after it are that place and a length, or a choice.
#[derive(Debug, Clone, Copy, bolero::TypeGenerator)]
pub(crate) enum Change {
    Overwrite,
    Insert,
    Delete,
    Repeat,
    Splice,
    Cut,
    Token,
    Number,
}

/// Inputs that a parser is known to meet.
pub(crate) struct Corpus(Vec<Vec<u8>>);

impl Corpus {
    /// The files in this directory of `tests/fuzz/corpus`.
    pub(crate) fn of(parser: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(parser);
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("it is listable").path()).collect();
        // The seed must lead to the same input on every machine.
        paths.sort();
        assert!(!paths.is_empty(), "no input in {}", dir.display());
        Self(paths.iter().map(|path| fs::read(path).expect("it is readable")).collect())
    }

    /// The bytes of an input.
    pub(crate) fn bytes(&self, (first, changes): &Input) -> Vec<u8> {
        let file = |number: usize| &self.0[number % self.0.len()];
        let mut bytes = file(usize::from(*first)).clone();
        for (change, at, more) in changes {
            let (at, more) = (usize::from(*at) % (bytes.len() + 1), usize::from(*more));
            // Short pieces are the interesting ones.
            let end = (at + 1 + more % 64).min(bytes.len());
            match change {
                Change::Overwrite => bytes.get_mut(at).into_iter().for_each(|byte| *byte = more as u8),
                Change::Insert => bytes.insert(at, more as u8),
                Change::Delete => drop(bytes.drain(at..end.max(at))),
                Change::Repeat => {
                    let piece = bytes[at..end.max(at)].repeat(1 + more / 64 % 32);
                    bytes.splice(at..at, piece);
                }
                Change::Splice => {
                    let other = file(more);
                    let from = (more / 7) % (other.len() + 1);
                    bytes.splice(at..at, other[from..(from + 64).min(other.len())].iter().copied());
                }
                Change::Cut => bytes.truncate(at),
                Change::Token => drop(bytes.splice(at..at, TOKENS[more % TOKENS.len()].iter().copied())),
                Change::Number => {
                    let is_digit = |byte: &u8| byte.is_ascii_digit();
                    let Some(start) = bytes[at..].iter().position(is_digit).map(|found| at + found) else { continue };
                    let length = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
                    let token = TOKENS[7 + more % 12];
                    bytes.splice(start..start + length, token.iter().copied());
                }
            }
            bytes.truncate(MAX_INPUT_BYTES);
        }
        bytes
    }
}
