//! `Revealed`: a credential in the clear, and texts from which those are taken out. It knows not where credentials come from.

use std::fmt;

use parking_lot::RwLock;

/// A credential in the clear, shown as `[secret]` everywhere but through [`Revealed::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed(String);

impl Revealed {
    /// Wraps a credential.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential itself; for the request that needs it and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Shorter secrets than this would blot out ordinary words.
const MIN_CONCEALED_BYTES: usize = 6;

/// The secrets that were revealed so far.
static REVEALED: RwLock<Vec<Revealed>> = RwLock::new(Vec::new());

/// From now on this does not appear in what is written for people.
pub fn conceal(secret: &Revealed) {
    let is_new = !REVEALED.read().contains(secret);
    if is_new && secret.expose().len() >= MIN_CONCEALED_BYTES {
        REVEALED.write().push(secret.clone());
    }
}

/// A text for people without the secrets that were revealed so far: a server may have repeated what it was told.
pub fn concealed(mut text: String) -> String {
    for secret in &*REVEALED.read() {
        if text.contains(secret.expose()) {
            text = text.replace(secret.expose(), "[secret]");
        }
    }
    text
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
