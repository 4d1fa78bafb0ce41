//! `Seal`: what one block of a value is in the store: encrypted, bound to its place, and signed where writers sign. It knows no store, and
//! not what the block holds.
//!
//! A block is `nonce (12) ‖ AES-256-GCM (as long as the block) ‖ tag (16)`, and where writers sign, `‖ Ed25519 signature (64)`. The key
//! belongs to the value; the block's number is authenticated with it. The nonce is a keyed hash of number and content: the same content
//! gives the same bytes on every machine, and no nonce serves two contents, even where a source calls two contents by one digest.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::key::{Derived, Keys};
use super::trust::{SIGNATURE, Trust};

/// The bytes of a nonce and a tag.
const SEALED: usize = NONCE_LEN + 16;

/// Seals the blocks of one value, and opens them.
#[derive(Clone)]
pub(super) struct Seal {
    key: LessSafeKey,
    nonce: [u8; 32],
    /// What the value is, for signatures.
    place: [u8; 32],
    trust: Option<Arc<Trust>>,
}

impl Seal {
    /// With what belongs to a value of those who have these keys.
    pub(super) fn new(keys: &Keys, derived: &Derived) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &derived.seal).expect("the key has the length that the cipher wants");
        Self { key: LessSafeKey::new(key), nonce: derived.nonce, place: derived.place, trust: keys.trust().cloned() }
    }

    /// The bytes that a block takes more in the store.
    pub(super) fn overhead(&self) -> usize {
        SEALED + if self.trust.is_some() { SIGNATURE } else { 0 }
    }

    /// Appends a sealed block. Where writers sign, only one that does can.
    pub(super) fn seal(&self, number: u64, content: &[u8], value: &mut BytesMut) {
        let number = number.to_le_bytes();
        let mut hash = blake3::Hasher::new_keyed(&self.nonce);
        hash.update(&number).update(content);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hash.finalize().as_bytes()[..NONCE_LEN]);
        let mut block = value.split_off(value.len());
        block.extend_from_slice(&nonce);
        let mut sealed = block.split_off(NONCE_LEN);
        sealed.extend_from_slice(content);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(number), &mut sealed);
        let tag = tag.expect("a block is much shorter than what the cipher takes");
        block.unsplit(sealed);
        block.extend_from_slice(tag.as_ref());
        if let Some(trust) = &self.trust {
            let signature = trust.sign(&self.place, &number, &block);
            block.extend_from_slice(&signature);
        }
        value.unsplit(block);
    }

    /// Believes its signer no more if this block is something else than what is right.
    pub(super) fn accuse(&self, number: u64, block: Bytes, right: &[u8]) {
        let Some(trust) = &self.trust else { return };
        let is_right = self.open(number, BytesMut::from(block.clone())).is_some_and(|content| content == right);
        if !is_right && block.len() >= self.overhead() {
            let (block, signature) = block.split_at(block.len() - SIGNATURE);
            trust.accuse(&self.place, &number.to_le_bytes(), block, signature);
        }
    }

    /// The content of a block; `None` if it is not what was sealed there, by one who is trusted.
    pub(super) fn open(&self, number: u64, mut block: BytesMut) -> Option<Bytes> {
        let number = number.to_le_bytes();
        if block.len() < self.overhead() {
            return None;
        }
        if let Some(trust) = &self.trust {
            let signature = block.split_off(block.len() - SIGNATURE);
            if !trust.has_signed(&self.place, &number, &block, &signature) {
                return None;
            }
        }
        let nonce = Nonce::try_assume_unique_for_key(&block.split_to(NONCE_LEN)).ok()?;
        let length = self.key.open_in_place(nonce, Aad::from(number), &mut block).ok()?.len();
        block.truncate(length);
        Some(block.freeze())
    }
}
