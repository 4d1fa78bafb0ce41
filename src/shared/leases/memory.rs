//! `Memory`: leases for tests, of the machines in one process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Ends, Leases, TERM};
use crate::error::{Error, ErrorKind, Result};

/// Holders by name, and until when.
#[derive(Default)]
pub struct Memory {
    held: Mutex<HashMap<String, (String, Instant)>>,
    listened: Mutex<HashMap<String, watch::Sender<()>>>,
    /// How often it was asked to give a lease.
    pub asked: AtomicUsize,
    /// It never answers.
    pub silent: AtomicBool,
    /// It refuses everything.
    pub broken: AtomicBool,
}

impl Memory {
    /// How many leases are held.
    pub fn held(&self) -> usize {
        self.held.lock().values().filter(|(_, until)| *until > Instant::now()).count()
    }

    async fn answer(&self) -> Result<()> {
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match self.broken.load(Ordering::Relaxed) {
            true => Err(Error::new("ask for a lease", ErrorKind::Other).because("they are broken")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Leases for Memory {
    async fn take(&self, name: &str, holder: &str, from: Option<&str>) -> Result<Option<String>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer().await?;
        let mut held = self.held.lock();
        if let Some((other, until)) = held.get(name)
            && *until > Instant::now()
            && Some(&**other) != from
        {
            return Ok(Some(other.clone()));
        }
        held.insert(name.to_owned(), (holder.to_owned(), Instant::now() + TERM));
        Ok(None)
    }

    async fn renew(&self, name: &str, holder: &str) -> Result<bool> {
        self.answer().await?;
        let mut held = self.held.lock();
        let mine = held.get_mut(name).filter(|(other, _)| other == holder);
        Ok(mine.map(|(_, until)| *until = Instant::now() + TERM).is_some())
    }

    async fn release(&self, name: &str, holder: &str) -> Result<()> {
        self.answer().await?;
        let mut held = self.held.lock();
        if held.get(name).is_some_and(|(other, _)| other == holder) {
            held.remove(name);
        }
        if let Some(sender) = self.listened.lock().get(name) {
            sender.send_replace(());
        }
        Ok(())
    }

    async fn listen(&self, name: &str) -> Result<Ends> {
        self.answer().await?;
        let mut listened = self.listened.lock();
        let sender = listened.entry(name.to_owned()).or_insert_with(|| watch::channel(()).0);
        Ok(Ends::new(sender.subscribe(), ()))
    }
}
