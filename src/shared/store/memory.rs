//! `Memory`: a store for tests, which they may alter behind the back of its users.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{Store, Stored};
use crate::error::{Error, ErrorKind, Result};

/// Values by name.
#[derive(Default)]
pub struct Memory {
    /// What is there.
    pub values: Mutex<BTreeMap<String, Bytes>>,
    /// How often it was asked.
    pub asked: AtomicUsize,
    /// How often it has answered.
    pub answered: AtomicUsize,
    /// How long an answer takes, in milliseconds.
    pub take: AtomicU64,
    /// The largest file that it keeps; 0: any.
    pub largest: AtomicU64,
    /// It refuses everything.
    pub broken: AtomicBool,
    /// It takes nothing, and answers.
    pub full: AtomicBool,
    /// It never answers.
    pub silent: AtomicBool,
}

impl Memory {
    fn has_room(&self) -> Result<()> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(Error::new("write to store", ErrorKind::Other).because("it is full")),
            false => Ok(()),
        }
    }

    async fn answer(&self) -> Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let take = self.take.load(Ordering::Relaxed);
        if take > 0 {
            tokio::time::sleep(Duration::from_millis(take)).await;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        match self.broken.load(Ordering::Relaxed) {
            true => Err(Error::new("ask store", ErrorKind::Other).because("it is broken")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Memory {
    fn largest_file(&self) -> u64 {
        match self.largest.load(Ordering::Relaxed) {
            0 => u64::MAX,
            largest => largest,
        }
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        self.answer().await?;
        let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).expect("a test's value is small"));
        let values = self.values.lock();
        Ok(values.get(name).map(|value| value.slice(start.min(value.len())..end.min(value.len()))))
    }

    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool> {
        self.answer().await?;
        self.has_room()?;
        let mut values = self.values.lock();
        let is_absent = !values.contains_key(name);
        values.entry(name.to_owned()).or_insert(value);
        Ok(is_absent)
    }

    async fn put(&self, name: &str, value: Bytes, _kept_for: Duration) -> Result<()> {
        self.answer().await?;
        self.has_room()?;
        self.values.lock().insert(name.to_owned(), value);
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.answer().await?;
        self.values.lock().remove(name);
        Ok(())
    }

    async fn list(&self, found: &Arc<AtomicU64>) -> Result<Vec<Stored>> {
        self.answer().await?;
        let values = self.values.lock();
        found.fetch_add(values.len() as u64, Ordering::Relaxed);
        let stored = |(name, value): (&String, &Bytes)| Stored {
            name: name.clone(),
            size: value.len() as u64,
            used: SystemTime::UNIX_EPOCH,
            is_odd: false,
        };
        Ok(values.iter().map(stored).collect())
    }
}
