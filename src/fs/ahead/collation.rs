//! Keys of names: who sorts files for people to read compares these, by and large. They know no files.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use icu_normalizer::DecomposingNormalizerBorrowed;

/// Accents and what else stands on a letter, once it is taken apart.
const MARKS: RangeInclusive<char> = '\u{300}'..='\u{36f}';

/// The characters of ASCII that are neither letters nor digits, in the order of the root collation of Unicode's CLDR, which ICU has.
const PUNCTUATION: &str = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";

/// A key, and then what decides between names with the same one.
pub(super) type Key = (String, Vec<u8>);

/// Punctuation, then digits by their value, then letters: what photo viewers and file managers show. `img2` is before `IMG10`.
pub(super) fn natural(name: &[u8]) -> Key {
    let letters = letters(name);
    let (mut key, mut rest) = (String::with_capacity(letters.len() + 4), letters.as_str());
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()).max(first.len_utf8());
        let (run, after) = rest.split_at(length);
        if first.is_ascii_digit() {
            // Of numbers without zeros in front, the one with more digits is the larger.
            let value = run.trim_start_matches('0');
            let digits = char::from_u32(value.len() as u32).unwrap_or(char::MAX);
            key.extend(['0', digits]);
            key.push_str(value);
        } else if let Some(rank) = PUNCTUATION.find(first) {
            key.push(char::from(1 + rank as u8));
        } else {
            key.push(first);
        }
        rest = after;
    }
    (key, lower_first(name))
}

/// Letters and digits alone, one by one: what the locales of glibc compare first, in which a shell's `*` and `ls` sort.
pub(super) fn collated(name: &[u8]) -> Key {
    let mut letters = letters(name);
    letters.retain(char::is_alphanumeric);
    (letters, lower_first(name))
}

/// The name without accents, in lower case.
fn letters(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let apart =
        if name.is_ascii() { Cow::Borrowed(&*name) } else { DecomposingNormalizerBorrowed::new_nfd().normalize(&name) };
    apart.chars().filter(|c| !MARKS.contains(c)).flat_map(char::to_lowercase).collect()
}

/// Of `a` and `A` both sort `a` first.
fn lower_first(name: &[u8]) -> Vec<u8> {
    let swapped = |byte: &u8| byte ^ (u8::from(byte.is_ascii_alphabetic()) << 5);
    name.iter().map(swapped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_in_order(key: fn(&[u8]) -> Key, names: &str) {
        let names: Vec<_> = names.lines().map(str::trim).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.sort_by_cached_key(|name| key(name.as_bytes()));
        assert_eq!(sorted, names);
    }

    #[test]
    fn names_are_collated_as_by_glibc() {
        // From `sort` of glibc 2.36 in en_US.UTF-8.
        assert_in_order(
            collated,
            "(1).pdf
            2024-01-02.log
            2024_01_03.log
            20240104.log
            2.pdf
            a-2.txt
            ab.txt
            a.txt
            A.txt
            ~backup.doc
            Cargo.toml
            _config.yml
            DSC00017.JPG
            dsc00018.jpg
            elan.flac
            Élan.flac
            File(10).pdf
            file1.pdf
            .gitignore
            IMG_0001.JPG
            IMG_0002.jpg
            img-0003.jpg
            Makefile
            new text document (2).txt
            New Text Document.txt
            README
            README.md
            readme.txt
            track 10.mp3
            Track 1.mp3
            Track 2.mp3
            track_3.mp3
            Übung_1.pdf
            übung-3.pdf
            Uebung
            vorlesung_02.pdf
            Vorlesung-03.pdf
            привет2.txt
            Привет.txt
            日本.txt",
        );
    }

    #[test]
    fn natural_order_is_that_of_icu() {
        // From `Intl.Collator('en', { numeric: true })` of ICU 78.
        assert_in_order(
            natural,
            "_config.yml
            .gitignore
            (1).pdf
            [draft].doc
            #notes.txt
            ~backup.doc
            01.pdf
            2.pdf
            2024_01_02.log
            2024-01-02.log
            20240104.log
            a.txt
            A.txt
            a1.txt
            elan.flac
            Élan.flac
            file_a.txt
            file-a.txt
            file.txt
            file(2).pdf
            File(10).pdf
            file1.pdf
            File2.pdf
            filea.txt
            IMG_0001.JPG
            img_4.jpg
            img-0003.jpg
            img1.jpg
            img2.jpg
            IMG3.JPG
            img10.jpg
            Img20.jpg
            Track 2.mp3
            track 10.mp3
            Übung_1.pdf
            übung-3.pdf
            v1.2.10.txt
            v1.9.txt
            v1.10.txt
            Привет.txt
            привет2.txt
            日本.txt",
        );
    }

    #[test]
    fn any_bytes_have_keys() {
        for name in [b"".as_slice(), b"\xff9\xfe", &[b'9'; 255], "a\u{301}9\u{660}".as_bytes()] {
            assert_ne!((natural(name), collated(name)), (natural(b"b"), collated(b"b")));
        }
    }
}
