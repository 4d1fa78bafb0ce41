//! `OneName`: the name for whose sake a directory is listed, and what the source tells of it in place of all names. It asks nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Entry;

tokio::task_local! {
    static IN_LARGE: Vec<u8>;
}

/// Lists a directory, known to be large, for the sake of `name` alone: the source may tell of that without a look at other names.
pub(crate) async fn in_large_directory<T>(name: &[u8], list: impl Future<Output = T>) -> T {
    IN_LARGE.scope(name.to_vec(), list).await
}

/// The name for whose sake alone the directory is listed, if it is known to be large.
pub(crate) fn wanted_in_large_directory() -> Option<Vec<u8>> {
    IN_LARGE.try_with(Clone::clone).ok()
}

/// A directory of more names is large where one answer tells all of them: stores of keys tell as many in one.
pub const LARGE_NAMES: usize = 1_000;

/// A listing that takes longer than this is slow: a name for whose sake it is made is asked for beside it. Directories of ordinary sizes
/// are listed by then, over long lines and by busy servers too, so that they cost no further question; it is as long as the default of
/// `patience`. Where each answer takes longer, the listing, which goes on, is there before that about the name.
pub const SLOW_LISTING: Duration = Duration::from_secs(2);

/// The name for whose sake one listing is made, if it is. Clones belong to the same listing.
#[derive(Debug, Clone, Default)]
pub struct OneName(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    wanted: Option<Vec<u8>>,
    told: Option<Vec<Entry>>,
}

impl OneName {
    /// Only this name is wanted.
    pub(super) fn want(&self, name: &[u8]) {
        self.0.lock().wanted = Some(name.to_vec());
    }

    /// The name, the first time that the source asks.
    pub(crate) fn take_wanted(&self) -> Option<Vec<u8>> {
        self.0.lock().wanted.take()
    }

    /// Tells the entry of the wanted name, or none if there is no such, and perhaps others whose names begin with it. The listing ends with this.
    pub(crate) fn tell(&self, entries: Vec<Entry>) {
        self.0.lock().told = Some(entries);
    }

    /// Whether something was told.
    #[cfg(feature = "shared")]
    pub(super) fn has_told(&self) -> bool {
        self.0.lock().told.is_some()
    }

    pub(super) fn take_told(&self) -> Option<Vec<Entry>> {
        self.0.lock().told.take()
    }
}
