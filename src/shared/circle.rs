//! `Circle`: by what a source shares with those of other machines: keys, who may read, and the name of its remote. It asks no store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::key::{CircleKey, Keys};
use super::listing::SealedListing;
use super::seal::Seal;
use super::sealed::Extent;
use super::trust::Trust;
use crate::cache::Key;
use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;

/// Who may read what is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Every mount that has the key may read what any of them may.
    #[default]
    Same,
    /// Mounts may have different rights at one source: of each version, the first bytes come from the source, which refuses those who may not.
    Proven,
}

/// The circle of machines in which a source shares.
pub struct Circle {
    keys: Keys,
    access: Access,
    source_id: Arc<str>,
    is_quarantined: AtomicBool,
}

impl Circle {
    /// That in which values of everybody are taken who has `key`.
    #[cfg(test)]
    pub fn new(key: &CircleKey, access: Access, source_id: impl Into<Arc<str>>) -> Self {
        Self::signing(key, access, source_id, None)
    }

    /// The circle of those who have `key`, in which values are taken only of those who are trusted. A version has the same name for all who
    /// call its remote `source_id`.
    pub fn signing(key: &CircleKey, access: Access, source_id: impl Into<Arc<str>>, trust: Option<Arc<Trust>>) -> Self {
        Self { keys: key.derive(trust), access, source_id: source_id.into(), is_quarantined: AtomicBool::new(false) }
    }

    /// Whether writers sign.
    pub(super) fn has_signatures(&self) -> bool {
        self.keys.has_signatures()
    }

    /// Takes nothing from others any more: somebody who has the key lies.
    pub(super) fn quarantine(&self) {
        self.is_quarantined.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is taken from others.
    pub(super) fn is_quarantined(&self) -> bool {
        self.is_quarantined.load(Ordering::SeqCst)
    }

    /// Whether this machine can give anything.
    pub(super) fn can_give(&self) -> bool {
        self.keys.can_give()
    }

    /// The place of the listing of a directory.
    pub(super) fn listing(&self, dir: &RemotePath) -> SealedListing {
        let derived = self.keys.of_listing(&self.source_id, dir);
        SealedListing::new(Seal::new(&self.keys, &derived), derived.name, dir.clone())
    }

    /// Who may read.
    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// The key of a version.
    pub(super) fn version(&self, path: &RemotePath, digest: &Digest) -> Key {
        Key::new(&self.source_id, path, digest)
    }

    /// The extent in which a block of a version lies.
    pub(super) fn extent(&self, version: &Key, size: u64, block: usize) -> Extent {
        Extent::around(&self.keys, version, size, block)
    }
}

/// A version that may be shared, with whom.
pub(super) struct Subject {
    pub(super) circle: Arc<Circle>,
    pub(super) key: Key,
    /// Bytes of the file.
    pub(super) size: u64,
}

/// Gets a circle, for which a secret may have to be had: it may block.
type Unlock = dyn Fn() -> Result<Circle> + Send + Sync;

/// For how long a secret that could not be had is not asked for again.
const REST: Duration = Duration::from_secs(60);

/// A circle that is there once its secret is.
pub struct LateCircle {
    circle: OnceLock<Arc<Circle>>,
    unlock: Box<Unlock>,
    tried: Mutex<Option<Instant>>,
    /// Why it was not there when it was tried last.
    failure: Mutex<Option<String>>,
}

impl LateCircle {
    /// The circle that `unlock` gets when it is first wanted.
    pub fn new(unlock: impl Fn() -> Result<Circle> + Send + Sync + 'static) -> Arc<Self> {
        let (circle, tried, failure) = Default::default();
        Arc::new(Self { circle, unlock: Box::new(unlock), tried, failure })
    }

    /// Why it is not there, if it was tried.
    pub fn why_locked(&self) -> Option<String> {
        self.failure.lock().clone().filter(|_| self.circle.get().is_none())
    }

    /// Gets it now, where it takes no other program's or person's time.
    ///
    /// # Errors
    /// The secret is not there.
    pub fn unlock(&self) -> Result<()> {
        if self.circle.get().is_none() {
            let circle = (self.unlock)().inspect_err(|error| *self.failure.lock() = Some(error.to_string()))?;
            // Another thread may have been faster; both got the same.
            let _ = self.circle.set(Arc::new(circle));
        }
        Ok(())
    }

    /// The circle, if it is there; if not, it is got in the background.
    pub(super) fn get(self: &Arc<Self>) -> Option<&Arc<Circle>> {
        let circle = self.circle.get();
        if circle.is_none() && self.may_try() {
            let late = self.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = late.unlock() {
                    warn!("shared: without the key of its circle a source shares nothing: {error}");
                }
            });
        }
        circle
    }

    /// Whether it was not tried lately.
    fn may_try(&self) -> bool {
        let mut tried = self.tried.lock();
        let may = tried.is_none_or(|tried| tried.elapsed() >= REST);
        if may {
            *tried = Some(Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::error::{Error, ErrorKind};

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_is_not_there_is_asked_for_again_after_a_while() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counting = asked.clone();
        let late = LateCircle::new(move || match counting.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::new("read secret", ErrorKind::InvalidConfig)),
            _ => Ok(Circle::new(&CircleKey::parse(&"1".repeat(64)).expect("a key"), Access::Same, "s")),
        });
        for _ in 0..10 {
            assert!(late.get().is_none());
        }
        while late.why_locked().is_none() {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(REST).await;
        assert!(late.why_locked().is_some_and(|why| why.contains("read secret")));
        while late.get().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!((asked.load(Ordering::SeqCst), late.why_locked()), (2, None));
    }

    #[test]
    fn a_secret_that_is_there_is_there_at_once() {
        let key = CircleKey::parse(&"1".repeat(64)).expect("a key");
        let late = LateCircle::new(move || Ok(Circle::new(&key, Access::Proven, "s")));
        late.unlock().expect("it is there");
        assert_eq!(late.get().map(|circle| circle.access()), Some(Access::Proven));
    }
}
