//! `MountService`: the methods that a mount's daemon has for its user. It knows no socket.
//!
//! | method | params | what it does |
//! |---|---|---|
//! | `status` | none | the result is the status |
//! | `follow` | none | tells `status` now, every second and when a source's state changes, without end |
//! | `log_in` | `source` | that source logs in with the secret that is kept by now |

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::server::{Service, Telling};
use super::wire::{INVALID_PARAMS, Refusal, Request, UNKNOWN_METHOD};
use crate::fs::FileSystem;
use crate::status::{Report, Status};

/// How often a status is told to who follows it, at least and at most.
const EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Answers for one mount.
pub struct MountService {
    fs: Arc<FileSystem>,
    report: Report,
}

#[derive(Deserialize)]
struct LogIn {
    source: String,
}

impl MountService {
    /// Answers for `fs`, about which `report` tells.
    pub fn new(fs: Arc<FileSystem>, report: Report) -> Self {
        Self { fs, report }
    }

    async fn follow(&self, telling: &mut Telling) -> Result<Value, Refusal> {
        loop {
            let (told, at) = (self.report.now(), Instant::now());
            telling.tell("status", &told).await?;
            while at.elapsed() < EVERY && !has_changed(&told, &self.report.now()) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// Whether something changed that is worth a line before the second is over.
fn has_changed(before: &Status, now: &Status) -> bool {
    before.sources.iter().any(|(name, before)| now.sources.get(name).is_none_or(|now| now.state != before.state))
}

#[async_trait]
impl Service for MountService {
    async fn answer(&self, request: &Request, telling: &mut Telling) -> Result<Value, Refusal> {
        match &*request.method {
            "status" => Ok(serde_json::to_value(self.report.now()).expect("a report has only strings and numbers")),
            "follow" => self.follow(telling).await,
            "log_in" => {
                let LogIn { source } = params(request)?;
                self.fs.log_in_anew(source.as_bytes()).await;
                Ok(Value::Null)
            }
            other => Err(Refusal::new(UNKNOWN_METHOD, format!("there is no method {other:?} in this version"))),
        }
    }
}

fn params<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    T::deserialize(&request.params).map_err(|e| Refusal::new(INVALID_PARAMS, format!("{}: {e}", request.method)))
}
