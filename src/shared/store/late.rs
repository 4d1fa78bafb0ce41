//! `Late`: a store that is opened when it is first asked, since the secret for it may take time to get.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{Store, Stored};
use crate::error::{Error, ErrorKind, Result};

/// Opens a store; it may block.
type Opening = dyn Fn() -> Result<Arc<dyn Store>> + Send + Sync;

/// A store that opens itself, and tries again with the next call if that fails.
pub struct Late {
    opening: Arc<Opening>,
    store: OnceCell<Arc<dyn Store>>,
}

impl Late {
    /// The store that `opening` opens.
    pub fn new(opening: impl Fn() -> Result<Arc<dyn Store>> + Send + Sync + 'static) -> Self {
        Self { opening: Arc::new(opening), store: OnceCell::new() }
    }

    async fn get_store(&self) -> Result<&Arc<dyn Store>> {
        let open = async || {
            let opening = self.opening.clone();
            let lost = |lost| Error::new("open the shared store", ErrorKind::Other).caused_by(lost);
            tokio::task::spawn_blocking(move || opening()).await.map_err(lost)?
        };
        self.store.get_or_try_init(open).await
    }
}

#[async_trait]
impl Store for Late {
    /// Before it is open, any file may have its values here.
    fn largest_file(&self) -> u64 {
        self.store.get().map_or(u64::MAX, |store| store.largest_file())
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        self.get_store().await?.get(name, range).await
    }

    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool> {
        self.get_store().await?.put_if_absent(name, value).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.get_store().await?.delete(name).await
    }

    async fn list(&self) -> Result<Vec<Stored>> {
        self.get_store().await?.list().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::shared::store::memory::Memory;

    #[tokio::test]
    async fn it_is_opened_once_and_again_if_that_fails() {
        let (memory, opened) = (Arc::<Memory>::default(), Arc::new(AtomicUsize::new(0)));
        let counting = opened.clone();
        let late = Late::new(move || match counting.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::new("read secret", ErrorKind::InvalidConfig)),
            _ => Ok(memory.clone()),
        });
        let name = "v1/aa/x";
        late.get(name, 0..1).await.expect_err("its secret is not there");
        assert!(late.put_if_absent(name, "v".into()).await.expect("it is open"));
        assert_eq!(late.get(name, 0..1).await.expect("it answers").as_deref(), Some(&b"v"[..]));
        assert_eq!(late.list().await.expect("it answers").len(), 1);
        late.delete(name).await.expect("it is removed");
        assert_eq!(opened.load(Ordering::SeqCst), 2);
    }
}
