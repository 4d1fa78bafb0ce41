//! `Digest`: what identifies one version of one file. It compares; it does not compute.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Begins the end of a digest whose version was changed within the tick of the clock that stamps it: two versions in one tick share
/// everything else. What follows is the time of the observation in nanoseconds since 1970, so that it never equals a later one.
pub(crate) const UNSETTLED: &str = ";unsettled=";

/// Begins what is no digest, but says that bytes are not those that were asked for.
const DAMAGED: &str = "damaged:";

/// A source's identifier of a version: the same digest of the same path means the same bytes.
///
/// The text belongs to the source (`etag:…`, `stat:…`); other code only compares it. Only `md5:`, `sha1:` and `sha256:` mean the
/// same for every source: the rest is that hash of all bytes.
///
/// ```
/// use kitovufs::digest::Digest;
///
/// let [first, second] = ["stat:5-17;unsettled=1", "stat:5-17;unsettled=2"].map(Digest::new);
/// assert!(first != second && first.is_same_observation(&second));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Arc<str>);

impl Digest {
    /// A digest with the source's own text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The local digest of bytes that cannot be those of the version, whatever its digest is made of. `what` tells their damage.
    pub fn damage(what: impl fmt::Display) -> Self {
        Self::new(format!("{DAMAGED}{what}"))
    }

    /// Whether it is one of those.
    pub fn is_damage(&self) -> bool {
        self.0.starts_with(DAMAGED)
    }

    /// The source's own text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text without what marks it as unsettled.
    pub fn base(&self) -> &str {
        self.0.split(UNSETTLED).next().unwrap_or_default()
    }

    /// When a version was observed that may still change without its digest showing it; `None` for a settled one.
    pub fn unsettled_since(&self) -> Option<SystemTime> {
        unsettled_since(&self.0)
    }

    /// Whether two observations are of the same version as far as can be told yet: both unsettled, with the same base. A settled
    /// digest equals itself only, so that bytes that were retrieved before it settled are retrieved anew.
    pub fn is_same_observation(&self, other: &Self) -> bool {
        self == other
            || (self.base() == other.base() && self.unsettled_since().is_some() && other.unsettled_since().is_some())
    }
}

/// When a version with a digest of this text was observed, if it may still change.
fn unsettled_since(text: &str) -> Option<SystemTime> {
    // Nearly every digest is settled, and to look for one byte takes much less time.
    let (_, nanoseconds) = text.contains(';').then(|| text.split_once(UNSETTLED))??;
    let since = Duration::from_nanos(nanoseconds.parse().ok()?);
    UNIX_EPOCH.checked_add(since)
}

/// Whether a digest of this text is unsettled.
pub(crate) fn is_unsettled(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| unsettled_since(text).is_some())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The 32 bytes that are written as these hexadecimal digits, in either case; `None` if they are not.
pub(crate) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            b'A'..=b'F' => Some(digit - b'A' + 10),
            _ => None,
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Lower-case hexadecimal, as digests are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// Appends lower-case hexadecimal, as digests are written.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};

    #[test]
    fn observations_before_a_version_settles_are_one_and_the_settled_one_is_another() {
        let [first, second, settled, other] = ["a;unsettled=1", "a;unsettled=2", "a", "b;unsettled=3"].map(Digest::new);
        assert!(first.is_same_observation(&second) && first.is_same_observation(&first));
        assert!(!first.is_same_observation(&settled) && !first.is_same_observation(&other));
        assert!(settled.is_same_observation(&settled));
        assert_eq!(first.unsettled_since(), Some(UNIX_EPOCH + Duration::from_nanos(1)));
    }

    #[test]
    fn hexadecimal_is_read_as_it_is_written() {
        let bytes = std::array::from_fn(|n| (n as u8).wrapping_mul(11));
        assert_eq!(hex(&bytes)[..8], *"000b1621");
        assert_eq!(unhex(hex(&bytes).as_bytes()), Some(bytes));
    }

    #[test]
    fn fuzz_digest() {
        let corpus = Corpus::of("digest");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let bytes = corpus.bytes(input);
            let digest = Digest::new(&*String::from_utf8_lossy(&bytes));
            let _ = digest.unsettled_since();
            assert!(digest.as_str().starts_with(digest.base()) && digest.is_same_observation(&digest));
        });
    }
}
