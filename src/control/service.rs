//! `MountService`: the methods that a mount's daemon has for its user; `docs/status.md` lists them. It knows no socket.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use scopeguard::defer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::server::{Service, Telling};
use super::wire::{FAILED, INVALID_PARAMS, Refusal, Request, UNKNOWN_METHOD};
use crate::error::Error;
use crate::fs::{ChangedNames, Errand, FileSystem, Refreshed, Tally};
use crate::path::Exact;
use crate::status::Report;

/// How often a status is told to who follows it, at least and at most.
const EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How often the progress of an errand is told.
const PROGRESS: Duration = Duration::from_millis(500);

/// Has the kernel ask anew about names.
pub type Forget = dyn Fn(ChangedNames) -> BoxFuture<'static, ()> + Send + Sync;

/// Answers for one mount.
pub struct MountService {
    fs: Arc<FileSystem>,
    report: Arc<Report>,
    forget: Box<Forget>,
}

#[derive(Deserialize)]
struct LogIn {
    source: String,
}

#[derive(Deserialize)]
struct At {
    path: Exact,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(FAILED, error.to_string())
    }
}

impl MountService {
    /// Answers for `fs`, about which `report` tells; `forget` tells the kernel.
    pub fn new(fs: Arc<FileSystem>, report: Arc<Report>, forget: Box<Forget>) -> Self {
        Self { fs, report, forget }
    }

    async fn follow(&self, telling: &mut Telling) -> Result<Value, Refusal> {
        loop {
            let (told, at) = (self.report.now(), Instant::now());
            telling.tell("status", &told).await?;
            while at.elapsed() < EVERY && !self.report.has_changed(&told) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    async fn pin(&self, path: &[u8], telling: &mut Telling) -> Result<Value, Refusal> {
        let pin = self.fs.pin(path).await?;
        // A client that goes before the end leaves the rest to the keeper.
        defer! { self.fs.wake_keeper() }
        let tally = Mutex::default();
        counted(self.fs.keep(&pin, &tally), &tally, telling).await
    }

    async fn verify_all(&self, telling: &mut Telling) -> Result<Value, Refusal> {
        // Pinned files that were damaged are retrieved again.
        defer! { self.fs.wake_keeper() }
        let tally = Mutex::default();
        counted(self.fs.verify_all(&tally), &tally, telling).await
    }

    async fn carry_out(&self, errand: Errand, path: &[u8], telling: &mut Telling) -> Result<Value, Refusal> {
        let (node, tally) = (self.fs.node_at(path).await?, Mutex::default());
        let work = async { _ = self.fs.carry_out(errand, node, &tally).await };
        counted(work, &tally, telling).await
    }

    async fn refresh(&self, path: &[u8]) -> Result<Value, Refusal> {
        Ok(match self.fs.refresh(path, async |names| (self.forget)(names).await).await? {
            Refreshed::Directory(names) => json!({"names": names}),
            Refreshed::Same => json!({"changed": false}),
            Refreshed::Newer => json!({"changed": true}),
            Refreshed::Gone => json!({"gone": true}),
        })
    }

    fn unpin(&self, path: &[u8]) -> Result<Value, Refusal> {
        let paths: Vec<_> = self.fs.unpin(path)?.iter().map(|path| Exact::of(path)).collect();
        Ok(json!(paths))
    }
}

/// Does work, and tells meanwhile what is counted. The end is what was counted.
async fn counted(
    work: impl Future<Output = ()>,
    tally: &Mutex<Tally>,
    telling: &mut Telling,
) -> Result<Value, Refusal> {
    let (mut work, mut ticks) = (pin!(work), interval(PROGRESS));
    loop {
        tokio::select! {
            () = &mut work => return Ok(json!(*tally.lock())),
            _ = ticks.tick() => {
                let told = tally.lock().clone();
                telling.tell("progress", &told).await?;
            }
        }
    }
}

#[async_trait]
impl Service for MountService {
    async fn answer(&self, request: &Request, telling: &mut Telling) -> Result<Value, Refusal> {
        let path = || params(request).map(|At { path }| path);
        match &*request.method {
            "status" => Ok(json!(self.report.now())),
            "follow" => self.follow(telling).await,
            "log_in" => {
                let LogIn { source } = params(request)?;
                self.fs.log_in_anew(source.as_bytes()).await;
                Ok(Value::Null)
            }
            "count" => self.carry_out(Errand::Count, path()?.bytes(), telling).await,
            "verify" if request.params.is_null() => self.verify_all(telling).await,
            "verify" => self.carry_out(Errand::Verify, path()?.bytes(), telling).await,
            "evict" => self.carry_out(Errand::Drop, path()?.bytes(), telling).await,
            "pin" => self.pin(path()?.bytes(), telling).await,
            "unpin" => self.unpin(path()?.bytes()),
            "refresh" => self.refresh(path()?.bytes()).await,
            other => Err(Refusal::new(UNKNOWN_METHOD, format!("there is no method {other:?} in this version"))),
        }
    }
}

fn params<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    T::deserialize(&request.params).map_err(|e| Refusal::new(INVALID_PARAMS, format!("{}: {e}", request.method)))
}
