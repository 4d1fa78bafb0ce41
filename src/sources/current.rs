//! `Current`: the connection that a source holds from `connect` to `disconnect`. It opens and closes nothing.

use std::sync::Arc;

use parking_lot::RwLock;

use super::purpose::Purpose;
use crate::error::{Error, ErrorKind, Result};

/// The connection that serves now, if there is one.
#[derive(Debug)]
pub(super) struct Current<T>(RwLock<Option<Arc<T>>>);

impl<T> Default for Current<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Current<T> {
    /// The connection, for one request.
    ///
    /// # Errors
    /// `Unreachable` before `connect` and after `disconnect`.
    pub(super) fn get(&self, purpose: Purpose<'_>) -> Result<Arc<T>> {
        self.0.read().clone().ok_or_else(|| not_connected(purpose))
    }

    /// From now on this one serves. The result is the one that did before.
    pub(super) fn set(&self, fresh: impl Into<Arc<T>>) -> Option<Arc<T>> {
        self.0.write().replace(fresh.into())
    }

    /// The same if there is one already; none (and nothing changes) after `disconnect`.
    pub(super) fn replace(&self, fresh: Arc<T>) -> Option<Arc<T>> {
        self.0.write().as_mut().map(|connection| std::mem::replace(connection, fresh))
    }

    /// From now on none serves. The result is the one that did.
    pub(super) fn take(&self) -> Option<Arc<T>> {
        self.0.write().take()
    }
}

/// The error of a request before `connect` and after `disconnect`.
pub(super) fn not_connected(purpose: Purpose<'_>) -> Error {
    purpose.error(ErrorKind::Unreachable).because("not connected")
}
