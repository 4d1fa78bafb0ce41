//! `Leases`: who of several machines retrieves what nobody has yet. They say nothing of what it is, and are never needed for being right.

#[cfg(test)]
pub(super) mod memory;

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::error::Result;

/// So long a lease lasts that is not renewed: when its holder has died, and nobody takes it over.
pub const TERM: Duration = Duration::from_secs(10);

/// Leases by name, of which each has one holder at most.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Takes a lease for [`TERM`], if nobody has it, or `from` has it, who is believed dead. Who has it, if that is another.
    async fn take(&self, name: &str, holder: &str, from: Option<&str>) -> Result<Option<String>>;

    /// Makes a lease last for [`TERM`] from now on. Whether the holder has it still.
    async fn renew(&self, name: &str, holder: &str) -> Result<bool>;

    /// Ends a lease, if the holder has it still, and tells those who listen.
    async fn release(&self, name: &str, holder: &str) -> Result<()>;

    /// Listens for the end of a lease, from when this returns.
    async fn listen(&self, name: &str) -> Result<Ends>;
}

/// The ends of a lease as they are told. What is told while nobody waits is kept.
pub struct Ends {
    heard: watch::Receiver<()>,
    _listening: Box<dyn Any + Send + Sync>,
}

impl Ends {
    /// Those that are told here, as long as `listening` lives.
    pub(super) fn new(heard: watch::Receiver<()>, listening: impl Any + Send + Sync) -> Self {
        Self { heard, _listening: Box::new(listening) }
    }

    /// Waits for the next one; for ever, if there can be none any more.
    pub async fn next(&mut self) {
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
