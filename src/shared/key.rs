//! `CircleKey`: the secret of the machines that share, and the keys and names that are derived of it. It encrypts nothing.

use std::fmt;
use std::sync::Arc;

use super::trust::Trust;
use crate::cache::Key;
use crate::digest::{hex, unhex};
use crate::path::RemotePath;

/// The bytes of a key.
const BYTES: usize = 32;

/// What the keys are for. The text keeps them apart from each other and from those of any other program.
const NAMES: &str = "kitovufs shared cache v1, names of values";
const SEALS: &str = "kitovufs shared cache v1, encryption of blocks";
const NONCES: &str = "kitovufs shared cache v1, nonces of blocks";
const LISTINGS: &str = "kitovufs shared cache v1, names of listings";
const SIGNED: &str = "kitovufs shared cache v1, values that are signed";
const OF_SECRET: &str = "kitovufs shared cache v1, circle of those who have a secret";
const OF_CIRCLE: &str = "kitovufs shared cache v1, circle of a name";

/// A secret with fewer bytes could be guessed by trying, for which a value in the store is enough.
const MIN_SECRET_BYTES: usize = 16;

/// The secret that machines have in common: 32 random bytes, written as 64 hexadecimal digits. Who holds it, and the store, can read
/// everything that is shared with it.
#[derive(Clone)]
pub struct CircleKey([u8; BYTES]);

impl CircleKey {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn random() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; BYTES];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)?;
        Ok(Self(bytes))
    }

    /// The key that this text is. The error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("it is no key of {} hexadecimal digits; `kitovufs shared key new FILE` makes one", 2 * BYTES);
        unhex(text.trim().as_bytes()).map(Self).ok_or_else(wrong)
    }

    /// The key of those who have this secret, which a program has made, such as a token: what a person thinks of is guessed by trying.
    /// `None` if it is too short for that.
    pub fn of_secret(secret: &str) -> Option<Self> {
        (secret.len() >= MIN_SECRET_BYTES).then(|| Self(blake3::derive_key(OF_SECRET, secret.as_bytes())))
    }

    /// The key of the circle of this name among those who have this key.
    #[must_use]
    pub fn of_circle(&self, name: &str) -> Self {
        let key = blake3::derive_key(OF_CIRCLE, &self.0);
        Self(*blake3::keyed_hash(&key, name.as_bytes()).as_bytes())
    }

    /// The key as text. It is the secret itself.
    pub fn expose(&self) -> String {
        hex(&self.0)
    }

    /// The keys that are derived of it; others where writers sign, so that nobody takes the one kind of value for the other.
    pub(super) fn derive(&self, trust: Option<Arc<Trust>>) -> Keys {
        let key = if trust.is_some() { blake3::derive_key(SIGNED, &self.0) } else { self.0 };
        let purposes = [NAMES, LISTINGS, SEALS, NONCES];
        let [names, listings, seals, nonces] = purposes.map(|purpose| blake3::derive_key(purpose, &key));
        Keys { names, listings, seals, nonces, trust }
    }
}

impl fmt::Debug for CircleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The keys of a circle.
pub(super) struct Keys {
    names: [u8; BYTES],
    listings: [u8; BYTES],
    seals: [u8; BYTES],
    nonces: [u8; BYTES],
    trust: Option<Arc<Trust>>,
}

/// The name and the keys of one value.
pub(super) struct Derived {
    /// What it is.
    pub(super) place: [u8; BYTES],
    /// Where its value lies.
    pub(super) name: String,
    /// Encrypts its blocks.
    pub(super) seal: [u8; BYTES],
    /// Chooses their nonces.
    pub(super) nonce: [u8; BYTES],
}

impl Keys {
    /// What belongs to the extent of this number of a version of `size` bytes.
    pub(super) fn of_extent(&self, version: &Key, size: u64, number: u64) -> Derived {
        let mut hash = blake3::Hasher::new_keyed(&self.names);
        hash.update(version.as_bytes()).update(&size.to_le_bytes()).update(&number.to_le_bytes());
        self.of(*hash.finalize().as_bytes())
    }

    /// What belongs to the listing of a directory.
    pub(super) fn of_listing(&self, source_id: &str, dir: &RemotePath) -> Derived {
        let mut hash = blake3::Hasher::new_keyed(&self.listings);
        hash.update(&(source_id.len() as u64).to_le_bytes()).update(source_id.as_bytes()).update(dir.as_bytes());
        self.of(*hash.finalize().as_bytes())
    }

    /// Whose values are taken, if not those of everybody who has the key.
    pub(super) fn trust(&self) -> Option<&Arc<Trust>> {
        self.trust.as_ref()
    }

    /// Whether writers sign.
    pub(super) fn has_signatures(&self) -> bool {
        self.trust.is_some()
    }

    /// Whether this machine can make values.
    pub(super) fn can_give(&self) -> bool {
        self.trust.as_ref().is_none_or(|trust| trust.can_sign())
    }

    fn of(&self, place: [u8; BYTES]) -> Derived {
        Derived {
            name: name_of(&place),
            seal: *blake3::keyed_hash(&self.seals, &place).as_bytes(),
            nonce: *blake3::keyed_hash(&self.nonces, &place).as_bytes(),
            place,
        }
    }
}

/// The directories above a value: which format it has, and the first digits, so that none has too many entries.
const FORMAT: &str = "v1";

/// A name that no value has.
pub(super) fn random_name() -> Result<String, ring::error::Unspecified> {
    CircleKey::random().map(|key| name_of(&key.0))
}

fn name_of(hash: &[u8; BYTES]) -> String {
    let digits = hex(hash);
    format!("{FORMAT}/{}/{digits}", &digits[..2])
}

/// Whether a name is one that this program gives.
pub(super) fn is_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let (format, above, digits, end) = (parts.next(), parts.next(), parts.next(), parts.next());
    let is_digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    format == Some(FORMAT)
        && digits.is_some_and(|digits| digits.len() == 2 * BYTES && is_digits(digits) && above == Some(&digits[..2]))
        && end.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_key_survives_its_text_and_shows_nowhere_else() {
        let key = CircleKey::random().expect("there is randomness");
        let again = CircleKey::parse(&format!("{}\n", key.expose())).expect("it is one");
        assert_eq!(again.expose(), key.expose());
        assert_eq!(format!("{key:?}"), "[secret]");
        for wrong in ["", "12", &"g".repeat(64), &"é".repeat(32), &format!("{}0", key.expose())] {
            let why = CircleKey::parse(wrong).expect_err("it is none");
            assert!(
                why.contains("64 hexadecimal digits") && (wrong.is_empty() || !why.contains(&format!("`{wrong}`")))
            );
        }
    }

    #[test]
    fn a_secret_and_a_name_of_a_circle_are_keys_of_their_own() {
        let key = CircleKey([1; BYTES]);
        let of_secret = |secret| CircleKey::of_secret(secret).map(|key| key.expose());
        assert_eq!(of_secret("hunter2"), None);
        assert_eq!(of_secret("0123456789abcdef"), of_secret("0123456789abcdef"));
        let others = [
            key.expose(),
            of_secret("0123456789abcdef").expect("it is long"),
            of_secret("0123456789abcdeg").expect("it is long"),
            of_secret(&key.expose()).expect("it is long"),
            key.of_circle("lab").expose(),
            key.of_circle("").expose(),
            key.of_circle("lab").of_circle("lab").expose(),
        ];
        let different: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(different.len(), others.len());
    }

    #[test]
    fn a_name_belongs_to_one_extent_of_one_version_in_one_circle() {
        let version = |path: &str, digest: &str| {
            Key::new("webdav", &RemotePath::parse(path.as_bytes()).expect("a path"), &Digest::new(digest))
        };
        let [one, two] = [[1; BYTES], [2; BYTES]].map(|bytes| CircleKey(bytes).derive(None));
        let names = [
            one.of_extent(&version("/a", "etag:1"), 9, 0).name,
            one.of_extent(&version("/b", "etag:1"), 9, 0).name,
            one.of_extent(&version("/a", "etag:2"), 9, 0).name,
            one.of_extent(&version("/a", "etag:1"), 8, 0).name,
            one.of_extent(&version("/a", "etag:1"), 9, 1).name,
            two.of_extent(&version("/a", "etag:1"), 9, 0).name,
            one.of_listing("webdav", &RemotePath::parse(b"/a").expect("a path")).name,
            one.of_listing("webdav", &RemotePath::root()).name,
            one.of_listing("webda", &RemotePath::parse(b"/a").expect("a path")).name,
        ];
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert_eq!(one.of_extent(&version("/a", "etag:1"), 9, 0).name, names[0], "every machine finds it");
        assert!(names.iter().all(|name| is_name(name)));
        for other in ["v1/00/x", "v0/00/00", "../../etc/passwd", "", &names[0][1..], &format!("{}/x", names[0])] {
            assert!(!is_name(other), "{other}");
        }
    }
}
