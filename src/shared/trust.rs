//! `Trust`: whose values a machine takes, where not everybody who has the key of the circle is believed: signatures, and who was found to
//! lie. It encrypts nothing.

use std::fmt;

use parking_lot::Mutex;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use tracing::warn;

use crate::digest::{hex, unhex};

/// The bytes of a signature.
pub(super) const SIGNATURE: usize = 64;

/// The bytes of a key, of either kind.
const BYTES: usize = 32;

/// What is signed. The text keeps it apart from everything else that such a key may sign.
const CONTEXT: &str = "kitovufs shared cache v1, signature of a block";

/// The key by which a machine signs what it gives, written as 64 hexadecimal digits.
pub struct SigningKey {
    seed: [u8; BYTES],
    pair: Ed25519KeyPair,
}

/// The key by which others know what that machine has signed, written as 64 hexadecimal digits. It is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; BYTES]);

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn random() -> Result<Self, ring::error::Unspecified> {
        let mut seed = [0; BYTES];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)?;
        Ok(Self::of(seed))
    }

    /// The key that this text is. The error does not repeat it.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = "it is no key of 64 hexadecimal digits; `kitovufs shared key new --signing FILE` makes one";
        unhex(text.trim().as_bytes()).map(Self::of).ok_or_else(|| wrong.into())
    }

    fn of(seed: [u8; BYTES]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed is any 32 bytes");
        Self { seed, pair }
    }

    /// The key as text. It is the secret itself.
    pub fn expose(&self) -> String {
        hex(&self.seed)
    }

    /// The key by which others know it.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl PublicKey {
    /// The key that this text is; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text.trim().as_bytes()).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Whose values are taken, and by whom this machine signs its own.
pub struct Trust {
    trusted: Vec<PublicKey>,
    signing: Option<SigningKey>,
    /// Those of them that have lied.
    liars: Mutex<Vec<PublicKey>>,
}

impl Trust {
    /// Values are taken of those whose keys these are, and what this machine has signed itself.
    pub fn new(mut trusted: Vec<PublicKey>, signing: Option<SigningKey>) -> Self {
        trusted.extend(signing.as_ref().map(SigningKey::public));
        Self { trusted, signing, liars: Mutex::default() }
    }

    /// Whether this machine can give anything.
    pub(super) fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    pub(super) fn sign(&self, place: &[u8; 32], number: &[u8], block: &[u8]) -> [u8; SIGNATURE] {
        let mut bytes = [0; SIGNATURE];
        // Whoever cannot sign gives nothing; a signature of nobody is refused by all.
        if let Some(SigningKey { pair, .. }) = &self.signing {
            bytes.copy_from_slice(pair.sign(&message(place, number, block)).as_ref());
        }
        bytes
    }

    /// Whether one who is trusted has signed this.
    pub(super) fn has_signed(&self, place: &[u8; 32], number: &[u8], block: &[u8], signature: &[u8]) -> bool {
        self.signer(place, number, block, signature).is_some_and(|signer| !self.liars.lock().contains(&signer))
    }

    /// Believes whoever has signed this no more.
    pub(super) fn accuse(&self, place: &[u8; 32], number: &[u8], block: &[u8], signature: &[u8]) {
        let Some(signer) = self.signer(place, number, block, signature) else { return };
        let mut liars = self.liars.lock();
        if !liars.contains(&signer) {
            warn!("shared: {signer} has signed wrong bytes, and is not trusted any more until this is mounted anew");
            liars.push(signer);
        }
    }

    fn signer(&self, place: &[u8; 32], number: &[u8], block: &[u8], signature: &[u8]) -> Option<PublicKey> {
        let message = message(place, number, block);
        let signs = |key: &&PublicKey| UnparsedPublicKey::new(&ED25519, key.0).verify(&message, signature).is_ok();
        self.trusted.iter().find(signs).copied()
    }
}

fn message(place: &[u8; 32], number: &[u8], block: &[u8]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key(CONTEXT);
    hash.update(place).update(number).update(block);
    *hash.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_shows_nowhere_else() {
        let key = SigningKey::random().expect("there is randomness");
        let again = SigningKey::parse(&format!("{}\n", key.expose())).expect("it is one");
        assert_eq!((again.expose(), again.public()), (key.expose(), key.public()));
        assert_eq!(format!("{key:?}"), "[secret]");
        assert_eq!(PublicKey::parse(&key.public().to_string()), Some(key.public()));
        assert_ne!(key.public().to_string(), key.expose());
        for wrong in ["", "12", &"g".repeat(64), &"é".repeat(32), &format!("{}0", key.expose())] {
            let why = SigningKey::parse(wrong).expect_err("it is none");
            assert!(why.contains("64 hexadecimal digits"), "{why}");
            assert_eq!(PublicKey::parse(wrong), None);
        }
    }

    #[test]
    fn what_is_signed_is_believed_at_its_place_from_those_who_are_trusted() {
        let key = || SigningKey::random().expect("there is randomness");
        let (one, other) = (key(), key());
        let public = [one.public(), other.public()];
        let [one, other] = [one, other].map(|key| Trust::new(Vec::new(), Some(key)));
        let signature = one.sign(&[1; 32], b"0", b"block");
        let reader = |trusted: &[PublicKey]| Trust::new(trusted.to_vec(), None);
        assert!(reader(&public).has_signed(&[1; 32], b"0", b"block", &signature));
        assert!(one.has_signed(&[1; 32], b"0", b"block", &signature), "its own");
        assert!(!other.has_signed(&[1; 32], b"0", b"block", &signature));
        assert!(!reader(&public[1..]).has_signed(&[1; 32], b"0", b"block", &signature));
        let others: [([u8; 32], &[u8], &[u8]); 3] =
            [([2; 32], b"0", b"block"), ([1; 32], b"1", b"block"), ([1; 32], b"0", b"block!")];
        for (place, number, block) in others {
            assert!(!reader(&public).has_signed(&place, number, block, &signature));
        }
        let nobody = reader(&public);
        assert!(!nobody.can_sign());
        let unsigned = nobody.sign(&[1; 32], b"0", b"block");
        assert!(!nobody.has_signed(&[1; 32], b"0", b"block", &unsigned));
    }
}
