//! `Extent`: 4 MiB of one version as a value of the store, sealed block by block. It stores nothing.
//!
//! A value is its sealed blocks one after another, so that one block can be had alone. Their key belongs to the extent of the version.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::key::Keys;
use super::seal::Seal;
use crate::cache::Key;
use crate::cache::block::{BLOCK, block_count, bytes_of};

/// The number of blocks of an extent; the last one of a file may have fewer.
pub(super) const BLOCKS: usize = 32;

/// The bytes of an extent.
pub(super) const EXTENT: u64 = BLOCKS as u64 * BLOCK;

/// One extent of one version.
#[derive(Clone)]
pub(super) struct Extent {
    /// The name of its value.
    pub(super) name: String,
    /// Which blocks of the file it has.
    pub(super) blocks: Range<usize>,
    /// The bytes of the file.
    pub(super) size: u64,
    seal: Seal,
}

impl Extent {
    /// The extent in which this block of a version lies.
    pub(super) fn around(keys: &Keys, version: &Key, size: u64, block: usize) -> Self {
        let number = block / BLOCKS;
        let derived = keys.of_extent(version, size, number as u64);
        let seal = Seal::new(keys, &derived);
        let blocks = number * BLOCKS..((number + 1) * BLOCKS).min(block_count(size));
        Self { name: derived.name, blocks, size, seal }
    }

    /// The bytes that a block of the file has.
    pub(super) fn length(&self, block: usize) -> usize {
        let bytes = bytes_of(&(block..block + 1), self.size);
        usize::try_from(bytes.end - bytes.start).expect("a block fits in memory")
    }

    /// Where these blocks of the file lie in the value.
    pub(super) fn place(&self, blocks: &Range<usize>) -> Range<u64> {
        let overhead = self.seal.overhead() as u64;
        let first = (blocks.start - self.blocks.start) as u64 * (BLOCK + overhead);
        let content = bytes_of(blocks, self.size);
        first..first + (content.end - content.start) + blocks.len() as u64 * overhead
    }

    /// The value, of all its blocks in order.
    pub(super) fn seal(&self, content: &[Bytes]) -> Bytes {
        let length: usize = content.iter().map(|block| block.len() + self.seal.overhead()).sum();
        let mut value = BytesMut::with_capacity(length);
        for (number, content) in self.blocks.clone().zip(content) {
            self.seal.seal(number as u64, content, &mut value);
        }
        value.freeze()
    }

    /// Believes nobody any more who has signed something else for these blocks than what is right, in what lies at their [`Extent::place`].
    pub(super) fn accuse(&self, blocks: &Range<usize>, value: &Bytes, right: &[u8]) {
        let first = self.place(blocks).start;
        for number in blocks.clone() {
            let place = self.place(&(number..number + 1));
            let at = |at: u64| usize::try_from(at - first).unwrap_or(usize::MAX).min(value.len());
            let from = (number - blocks.start) * BLOCK as usize;
            let right = right.get(from..from + self.length(number)).unwrap_or_default();
            self.seal.accuse(number as u64, value.slice(at(place.start)..at(place.end)), right);
        }
    }

    /// The contents of these blocks, of what lies at their [`Extent::place`]; `None` if any is not what was sealed there.
    pub(super) fn open(&self, blocks: &Range<usize>, value: Bytes) -> Option<Vec<Bytes>> {
        let mut value = BytesMut::from(value);
        let mut contents = Vec::with_capacity(blocks.len());
        for number in blocks.clone() {
            let length = self.length(number) + self.seal.overhead();
            if value.len() < length {
                return None;
            }
            contents.push(self.seal.open(number as u64, value.split_to(length))?);
        }
        Some(contents)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::digest::Digest;
    use crate::path::RemotePath;
    use crate::shared::{CircleKey, PublicKey, SigningKey, Trust};

    const NONCE_LEN: usize = 12;
    const OVERHEAD: u64 = 28;
    const SIZE: u64 = EXTENT + BLOCK + 77;

    fn keys(byte: u8) -> Keys {
        CircleKey::parse(&format!("{byte:02x}").repeat(32)).expect("a key").derive(None)
    }

    fn version(digest: &str) -> Key {
        Key::new("webdav", &RemotePath::parse(b"/a").expect("a path"), &Digest::new(digest))
    }

    /// The last extent of a file, and its two blocks.
    fn last() -> (Extent, Vec<Bytes>) {
        let extent = Extent::around(&keys(1), &version("etag:1"), SIZE, 33);
        let content = extent.blocks.clone().map(|block| vec![block as u8; extent.length(block)].into());
        let content = content.collect();
        (extent, content)
    }

    #[test]
    fn each_block_can_be_had_alone() {
        let (extent, content) = last();
        assert_eq!(extent.blocks, 32..34);
        let value = extent.seal(&content);
        assert_eq!(extent.place(&extent.blocks), 0..value.len() as u64);
        for blocks in [32..33, 33..34, 32..34] {
            let place = extent.place(&blocks);
            let part =
                value.slice(usize::try_from(place.start).expect("small")..usize::try_from(place.end).expect("small"));
            let wanted = &content[blocks.start - 32..blocks.end - 32];
            assert_eq!(extent.open(&blocks, part).as_deref(), Some(wanted), "{blocks:?}");
        }
    }

    #[test]
    fn equal_content_is_an_equal_value_and_other_content_has_another_nonce() {
        let (extent, content) = last();
        assert_eq!(extent.seal(&content), extent.seal(&content));
        let other = [Bytes::from(vec![9; content[0].len()]), content[1].clone()];
        let [one, two] = [&content[..], &other].map(|content| extent.seal(content));
        assert_ne!(one[..NONCE_LEN], two[..NONCE_LEN], "one key never serves two contents with one nonce");
    }

    #[test]
    fn a_value_does_not_show_its_content() {
        let (extent, content) = last();
        let value = extent.seal(&content);
        assert!(!value.windows(16).any(|bytes| bytes == &content[0][..16]));
    }

    #[test]
    fn whatever_bit_is_flipped_and_wherever_it_is_cut_nothing_is_opened() {
        let (extent, content) = last();
        let value = extent.seal(&content);
        let second = (BLOCK + OVERHEAD) as usize;
        // A bit of the nonce, of the content and of the tag, of both blocks.
        let places = [0, 11, 12, 1000, second - 1, second, second + 12, second + 50, value.len() - 1];
        for (place, bit) in places.into_iter().flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut altered = value.to_vec();
            altered[place] ^= 1 << bit;
            assert_eq!(extent.open(&extent.blocks, altered.into()), None, "bit {bit} of byte {place}");
        }
        for length in [0, 1, 12, 28, second - 1, second, value.len() - 1] {
            assert_eq!(extent.open(&extent.blocks, value.slice(..length)), None, "cut to {length} bytes");
        }
    }

    #[test]
    fn nothing_is_opened_in_the_place_of_another() {
        let (extent, content) = last();
        let value = extent.seal(&content);
        let others = [
            ("another circle", Extent::around(&keys(2), &version("etag:1"), SIZE, 33)),
            ("another version", Extent::around(&keys(1), &version("etag:2"), SIZE, 33)),
            ("another file's size", Extent::around(&keys(1), &version("etag:1"), SIZE + EXTENT, 33)),
            ("another extent", Extent::around(&keys(1), &version("etag:1"), SIZE, 0)),
        ];
        for (which, other) in others {
            let first = other.blocks.start;
            assert_eq!(other.open(&(first..first + 1), value.clone()), None, "{which}");
        }
        let same = Extent::around(&keys(1), &version("etag:1"), SIZE, 32);
        assert!(same.open(&same.blocks, value.clone()).is_some(), "and by another machine of the circle it is");
        // The two blocks of a value of equal blocks, exchanged.
        let whole = Extent::around(&keys(1), &version("etag:1"), SIZE, 0);
        let value = whole.seal(&vec![Bytes::from(vec![7; BLOCK as usize]); BLOCKS]);
        let stride = (BLOCK + OVERHEAD) as usize;
        let exchanged = [&value[stride..2 * stride], &value[..stride], &value[2 * stride..]].concat();
        assert_eq!(whole.open(&(0..2), exchanged.into()), None);
    }

    #[test]
    fn where_writers_sign_only_what_a_trusted_one_has_signed_is_opened() {
        let key = |digit: &str| SigningKey::parse(&digit.repeat(64)).expect("a key");
        let of = |trusted: Vec<PublicKey>, signing| {
            let trust = Some(Arc::new(Trust::new(trusted, signing)));
            let keys = CircleKey::parse(&"1".repeat(64)).expect("a key").derive(trust);
            Extent::around(&keys, &version("etag:1"), SIZE, 33)
        };
        let (_, content) = last();
        let (one, other) = (of(Vec::new(), Some(key("2"))), of(Vec::new(), Some(key("3"))));
        let reader = of(vec![key("2").public()], None);
        let value = one.seal(&content);
        assert_eq!(one.place(&one.blocks), 0..value.len() as u64);
        assert_eq!(value.len(), content.iter().map(|block| block.len() + 92).sum::<usize>());
        assert_eq!(reader.open(&reader.blocks, value.clone()), Some(content.clone()));
        assert_eq!((reader.open(&reader.blocks, other.seal(&content)), one.name == reader.name), (None, true));
        assert_eq!(reader.open(&reader.blocks, reader.seal(&content)), None, "who has no key to sign with");
        for place in [0, 12, 1000, value.len() - 65, value.len() - 1] {
            let mut altered = value.to_vec();
            altered[place] ^= 1;
            assert_eq!(reader.open(&reader.blocks, altered.into()), None, "byte {place}");
        }
        let unsigned = last().0;
        assert_ne!(unsigned.name, one.name, "those that are signed have names of their own");
    }
}
