//! `Late`: a service that is opened when it is first asked, since the secret for it may take time to get.

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::redis::{LARGEST_FILE, Redis};
use super::{Place, Store, Stored, open};
use crate::error::{Error, ErrorKind, Result};
use crate::flight::Flights;
use crate::shared::leases::{Ends, Leases};

/// Opens a service; it may block.
type Opening<S> = dyn Fn() -> Result<Arc<S>> + Send + Sync;

/// A service that opens itself, and tries again with the next call if that fails.
pub struct Late<S: ?Sized> {
    opening: Arc<Opening<S>>,
    opened: Arc<OnceLock<Arc<S>>>,
    under_way: Arc<Flights<(), Result<Arc<S>>>>,
    largest_file: u64,
}

impl Late<dyn Store> {
    /// The store at the place that this gets.
    pub fn store(place: impl Fn() -> Result<Place> + Send + Sync + 'static) -> Self {
        Self::new(move || open(&place()?), u64::MAX)
    }
}

impl Late<Redis> {
    /// Redis at the place that this gets.
    pub fn redis(place: impl Fn() -> Result<Place> + Send + Sync + 'static) -> Self {
        Self::new(move || Redis::new(&place()?).map(Arc::new), LARGEST_FILE)
    }
}

impl<S: Send + Sync + ?Sized + 'static> Late<S> {
    fn new(opening: impl Fn() -> Result<Arc<S>> + Send + Sync + 'static, largest_file: u64) -> Self {
        let (opened, under_way) = <(Arc<_>, Arc<_>)>::default();
        Self { opening: Arc::new(opening), opened, under_way, largest_file }
    }

    /// Opens it if that has not been done. A caller may give up sooner, as a person who is asked for a secret takes his time: one opening is under
    /// way, whoever waits for it.
    async fn open(&self) -> Result<&S> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let failed = || Error::new("open the shared store", ErrorKind::Other);
        let begin = || {
            let (opening, opened) = (self.opening.clone(), self.opened.clone());
            async move {
                // It may have been opened before this began.
                if let Some(opened) = opened.get() {
                    return Ok(opened.clone());
                }
                // Some are opened only within a runtime.
                let runtime = tokio::runtime::Handle::current();
                let open = move || {
                    let _within = runtime.enter();
                    opening()
                };
                let service = tokio::task::spawn_blocking(open).await.map_err(|lost| failed().caused_by(lost))??;
                Ok(opened.get_or_init(|| service).clone())
            }
        };
        self.under_way.join((), begin).await.unwrap_or_else(|| Err(failed().because("it was abandoned")))?;
        self.opened.get().map(|opened| &**opened).ok_or_else(failed)
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Late<S> {
    fn largest_file(&self) -> u64 {
        self.largest_file
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        self.open().await?.get(name, range).await
    }

    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool> {
        self.open().await?.put_if_absent(name, value).await
    }

    async fn put(&self, name: &str, value: Bytes, kept_for: Duration) -> Result<()> {
        self.open().await?.put(name, value, kept_for).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.open().await?.delete(name).await
    }

    async fn list(&self, found: &Arc<AtomicU64>) -> Result<Vec<Stored>> {
        self.open().await?.list(found).await
    }
}

#[async_trait]
impl<S: Leases + ?Sized> Leases for Late<S> {
    async fn take(&self, name: &str, holder: &str, from: Option<&str>) -> Result<Option<String>> {
        self.open().await?.take(name, holder, from).await
    }

    async fn renew(&self, name: &str, holder: &str) -> Result<bool> {
        self.open().await?.renew(name, holder).await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<()> {
        self.open().await?.release(name, holder).await
    }

    async fn listen(&self, name: &str) -> Result<Ends> {
        self.open().await?.listen(name).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::shared::store::memory::Memory;

    #[tokio::test]
    async fn who_gives_up_does_not_make_it_open_anew() {
        let (answer, answered) = mpsc::channel::<()>();
        let (answered, opened) = (std::sync::Mutex::new(answered), Arc::new(AtomicUsize::new(0)));
        let counting = opened.clone();
        let opening = move || {
            counting.fetch_add(1, Ordering::SeqCst);
            answered.lock().expect("nobody panicked").recv().expect("the secret is typed");
            Ok(Arc::<Memory>::default())
        };
        let late = Late::new(opening, 9);
        for _ in 0..3 {
            let asked = tokio::time::timeout(Duration::from_millis(20), late.get("v1/aa/x", 0..1));
            asked.await.expect_err("somebody types");
        }
        answer.send(()).expect("it is waited for");
        assert_eq!(late.get("v1/aa/x", 0..1).await.expect("it answers"), None);
        assert_eq!(opened.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn it_is_opened_once_and_again_if_that_fails() {
        let (memory, opened) = (Arc::<Memory>::default(), Arc::new(AtomicUsize::new(0)));
        let counting = opened.clone();
        let opening = move || match counting.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::new("read secret", ErrorKind::InvalidConfig)),
            _ => Ok(memory.clone()),
        };
        let late = Late::new(opening, 9);
        let name = "v1/aa/x";
        late.get(name, 0..1).await.expect_err("its secret is not there");
        assert!(late.put_if_absent(name, "v".into()).await.expect("it is open"));
        assert_eq!(late.get(name, 0..1).await.expect("it answers").as_deref(), Some(&b"v"[..]));
        assert_eq!(late.list(&Arc::default()).await.expect("it answers").len(), 1);
        late.delete(name).await.expect("it is removed");
        assert_eq!((opened.load(Ordering::SeqCst), late.largest_file()), (2, 9));
    }
}
