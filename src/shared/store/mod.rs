//! `Store`: where shared values lie. It knows no keys: whatever it answers may be a lie.

mod directory;
#[cfg(test)]
pub(super) mod memory;

use std::ops::Range;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

pub use directory::Directory;

/// A store of values by name. Names are those of [`super::key`]; a store may rely on that.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The bytes of a value in this range, fewer if it is shorter; `None` if there is no such value.
    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>>;

    /// Puts a value where none is, all of it or nothing. Whether there was none.
    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool>;

    /// Removes a value, if it is there.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Every value that this program could have put there.
    async fn list(&self) -> Result<Vec<Stored>>;
}

/// A value that is in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// When it was put there or read, as far as the store tells.
    pub used: SystemTime,
}
