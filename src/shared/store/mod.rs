//! `Store`: where shared values lie. It knows no keys: whatever it answers may be a lie.

#[cfg(test)]
pub(super) mod conformance;
mod directory;
mod late;
#[cfg(test)]
pub(super) mod memory;
mod redis;
mod s3;
#[cfg(test)]
mod server_tests;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;

pub use directory::Directory;
pub use late::Late;
pub use redis::Redis;

/// Where a store lies, and what it takes to be let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// What kind of store it is, and where: `file:///mnt/shared`.
    pub url: Url,
    /// The service, where the URL names none.
    pub endpoint: Option<String>,
    /// Its region, for services that have some.
    pub region: Option<String>,
    /// The account.
    pub access_key_id: Option<Revealed>,
    /// The secret of that account.
    pub secret_access_key: Option<Revealed>,
    /// A file of certificates in PEM that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Place {
    /// The place that this URL is by itself.
    pub fn of(url: Url) -> Self {
        let (endpoint, region, access_key_id, secret_access_key, ca_file) = Default::default();
        Self { url, endpoint, region, access_key_id, secret_access_key, ca_file }
    }

    /// What is in the file of certificates, if there is one.
    fn certificates(&self) -> Result<Option<Vec<u8>>> {
        let Some(file) = &self.ca_file else { return Ok(None) };
        let unreadable = |e| {
            let error = Error::new("open the shared store", ErrorKind::InvalidConfig);
            error.because(format!("`ca_file`: cannot read {}: {e}", file.display()))
        };
        std::fs::read(file).map(Some).map_err(unreadable)
    }
}

/// As people may read it: without a password that the URL should not have.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        // A URL that has no room for a password has none.
        let _ = url.set_password(None);
        f.write_str(url.as_str())
    }
}

/// The store at `place`. It asks nothing of it: a store that is not there is found out by the first call.
///
/// # Errors
/// `InvalidConfig`: this program knows no such store, or not with these settings.
pub fn open(place: &Place) -> Result<Arc<dyn Store>> {
    let wrong = |why: String| Error::new("open the shared store", ErrorKind::InvalidConfig).because(why);
    match place.url.scheme() {
        "file" => {
            let dir = place.url.to_file_path().ok().filter(|_| place.url.query().is_none());
            let dir = dir.ok_or_else(|| wrong(format!("{place:?} is no directory; write for example {EXAMPLE}")))?;
            Ok(Arc::new(Directory::new(dir)))
        }
        "s3" => Ok(Arc::new(s3::S3::new(place)?)),
        "redis" | "rediss" | "redis+unix" => Ok(Arc::new(Redis::new(place)?)),
        other => Err(wrong(format!("there is no kind of store `{other}`; write for example {EXAMPLE}"))),
    }
}

/// Whether there is such a store, as far as that can be told without asking it anything.
///
/// # Errors
/// `InvalidConfig`, as of [`open`].
pub fn check(place: &Place) -> Result<()> {
    match place.url.scheme() {
        "redis" | "rediss" | "redis+unix" => Redis::address(place).map(drop),
        _ => open(place).map(drop),
    }
}

/// Places that are right, for messages.
const EXAMPLE: &str = "s3://my-bucket/kitovufs, redis://cache.example.edu or file:///mnt/lab/kitovufs";

/// TLS is the one of `ring`, as everywhere in this program.
fn use_ring() {
    static PROVIDER: Once = Once::new();
    // An error says that the process has a provider already, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// A store of values by name. Names are those of [`super::key`]; a store may rely on that.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// No file of more bytes has its values here: who gives them asks another store.
    fn largest_file(&self) -> u64 {
        u64::MAX
    }

    /// The bytes of a value in this range, fewer if it is shorter; `None` if there is no such value. Something else in its place is a
    /// value without bytes.
    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>>;

    /// Puts a value where none is, all of it or nothing. Whether there was none.
    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool>;

    /// Puts a value, in the place of another if there is one, for so long at least.
    async fn put(&self, name: &str, value: Bytes, kept_for: Duration) -> Result<()>;

    /// Removes a value, or what is in its place.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Every value that this program could have put there, and what else is in the place of one. Counts them in `found` as they are found, for
    /// who waits.
    async fn list(&self, found: &Arc<AtomicU64>) -> Result<Vec<Stored>>;
}

/// A value that is in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// When it was put there or read; 1970 if the store does not tell.
    pub used: SystemTime,
    /// Something else is in its place, such as a directory, or a list in Redis.
    pub is_odd: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        let refused = open(&Place::of(Url::parse(url).expect("a URL")));
        refused.err().expect("there is no such store").to_string()
    }

    #[test]
    fn a_place_that_is_no_store_is_refused_without_its_password() {
        assert!(open(&Place::of(Url::parse("file:///mnt/lab").expect("a URL"))).is_ok());
        for url in ["gopher://anna:hunter2@h/x", "file://host.example/x", "file:///x?y=z"] {
            let message = refusal(url);
            assert!(message.contains("file:///mnt/lab/kitovufs") && !message.contains("hunter2"), "{message}");
        }
    }
}
