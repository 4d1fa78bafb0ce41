//! `Reluctant`: whether a source carries a login that it looks for only once the store has refused a request without one. It knows no login.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::renewal::Renewal;
use crate::error::{Error, ErrorKind, Result};
use crate::source::settings::Reader;

/// The key that asks for it. URLs on the command line do: a bucket that is open to everybody needs no login, and is not slow for want of
/// one.
pub(super) const KEY: &str = "load_if_refused";

/// Whether requests carry the login.
#[derive(Debug, Default)]
pub(super) struct Reluctant {
    is_reluctant: bool,
    is_logged_in: AtomicBool,
    looked: Mutex<Renewal>,
}

impl Reluctant {
    /// Reads the key.
    pub(super) fn read(reader: &mut Reader<'_>) -> bool {
        reader.boolean(KEY).unwrap_or_default()
    }

    /// Requests carry the login from the first one on, unless the source `is_reluctant`.
    pub(super) fn new(is_reluctant: bool) -> Self {
        Self { is_reluctant, ..Self::default() }
    }

    /// Whether requests carry the login.
    pub(super) fn carries(&self) -> bool {
        !self.is_reluctant || self.is_logged_in.load(Ordering::Relaxed)
    }

    /// Whether to look for the login now, since a request without it failed so: at most once a minute.
    ///
    /// `is_bad_request`: the store called the request a bad one (400). Some do so where a login is missing, and say that in a body, which an
    /// answer to HEAD lacks.
    pub(super) fn is_to_look(&self, refusal: &Error, is_bad_request: bool) -> bool {
        let is_refused = matches!(refusal.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied);
        (is_refused || is_bad_request) && !self.carries() && self.looked.lock().is_due()
    }

    /// Notes whether the login was found.
    ///
    /// # Errors
    /// It was not: the refusal, and why.
    pub(super) fn note(&self, refusal: Error, found: Result<()>) -> Result<()> {
        let told = refusal.reason();
        found.map_err(|why| refusal.because(format!("{told}; nor was a login found: {}", why.reason())))?;
        self.is_logged_in.store(true, Ordering::Relaxed);
        tracing::info!("requests without a login are refused: the one that was found is used");
        Ok(())
    }
}
