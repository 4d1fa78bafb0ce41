//! The conformance suite for authors: what the protocol says, tried on a plugin with whatever it shows. It changes nothing anywhere.

mod edge_cases;
mod exchange;
mod files;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::exchange::{Checker, Outcome};
use super::log::PluginLog;
use super::process::Launch;
use super::schema;
use super::session::{START_TIMEOUT, Session};
use super::wire::{Entry, Hello, PROTOCOL};
use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;

/// Something that the protocol wants, and whether the plugin does it.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The method, or what else it is about.
    pub about: &'static str,
    /// What the protocol wants.
    pub wanted: String,
    /// What was sent.
    pub sent: String,
    /// What came.
    pub came: String,
    /// Why that is not what is wanted; none if it is.
    pub wrong: Option<String>,
    /// Lines that tell where in the plugin an unexpected exception was raised.
    pub traceback: Vec<String>,
}

/// What to check, and with which settings.
#[derive(Debug)]
pub struct Subject {
    /// How the plugin is started.
    pub launch: Launch,
    /// Its settings, as `configure` tells them.
    pub info: Value,
    /// What of them must not be shown.
    pub secrets: Vec<Revealed>,
    /// How long any answer may take.
    pub timeout: Duration,
}

/// Checks a plugin and tells each finding as it is made. `scratch` is a directory for staging files and copies. The result tells
/// whether all holds.
///
/// # Errors
/// The plugin cannot be started, or `scratch` not be used.
pub async fn check(subject: &Subject, scratch: &Path, tell: &mut (dyn FnMut(&Finding) + Send)) -> Result<bool> {
    let log = Arc::new(PluginLog::new("checked"));
    log.add_secrets(subject.secrets.clone());
    let connection = super::connection::Connection::start(&subject.launch, &log, Box::new(|_| {}))?;
    let mut checker = Checker::new(connection, log, subject.timeout, tell);
    if let Some(session) = begin(&mut checker, subject).await {
        let files = checker.listings(&session).await;
        for file in &files {
            checker.file(&session, file, scratch).await?;
        }
        if files.is_empty() {
            checker.note(
                "content",
                "there is a file to retrieve",
                "no file of at most 16 MiB was found: digests and bytes were not checked",
            );
        }
        checker.missing_paths(&session).await;
        checker.unexpected_messages(&session).await;
        checker.reconnect_and_end(&session).await;
    }
    Ok(checker.holds)
}

/// From `hello` to `connect`; none if there is no going on.
async fn begin(checker: &mut Checker<'_>, subject: &Subject) -> Option<Session> {
    let host = concat!("kitovufs ", env!("CARGO_PKG_VERSION"));
    let hello = checker
        .ask_within(START_TIMEOUT, "hello", json!({"protocol": PROTOCOL, "host": host, "unheard-of": [1]}))
        .await;
    let hello = checker.expect(
        "hello",
        "the answer has `protocol` 1 and a `name`; unknown fields are ignored",
        &hello,
        |result| {
            let hello: Hello = serde_json::from_value(result.clone()).map_err(|e| e.to_string())?;
            match hello.protocol {
                PROTOCOL => Ok(hello),
                other => Err(format!("it speaks version {other}")),
            }
        },
    )?;
    checker.connection.set_abilities(&hello.capabilities);
    let unknown = checker.ask("kitovufs_no_such_method", json!({})).await;
    checker.refused("unknown method", "it is answered with the error -32601", &unknown, |refusal| {
        refusal.is_unknown_method()
    });
    if let Some(schema) = &hello.schema {
        let problems = schema::problems(schema, &subject.info);
        let wrong = match &problems {
            Ok(problems) if problems.is_empty() => None,
            Ok(problems) => Some(problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")),
            Err(why) => Some(format!("the schema cannot be used: {why}")),
        };
        checker.find("schema", "it is a JSON Schema, and the settings fit it", String::new(), String::new(), wrong);
    }
    let configured = checker.ask_within(START_TIMEOUT, "configure", json!({"info": subject.info})).await;
    if let Some(Err(refusal)) = &configured.end
        && refusal.data.kind == "invalid_config"
    {
        let wrong = format!("{} (give settings with --set KEY=VALUE)", refusal.message);
        checker.find("configure", "the settings are accepted", configured.sent.clone(), configured.came(), Some(wrong));
        return None;
    }
    checker.expect("configure", "the settings are accepted", &configured, |_| Ok(()))?;
    let connected = checker.ask("connect", json!({})).await;
    let is_absent = matches!(&connected.end, Some(Err(refusal)) if refusal.is_unknown_method());
    if !is_absent {
        checker.expect("connect", "it succeeds", &connected, |_| Ok(()))?;
    }
    Some(Session::of(Arc::clone(&checker.connection), hello, Arc::clone(&checker.log)))
}

/// The entries of an answer, in an order of their own, so that two can be compared.
fn sorted(outcome: &Outcome) -> Vec<String> {
    let mut paths: Vec<_> =
        outcome.entries.iter().map(|entry: &Entry| format!("{:?} {:?}", entry.path, entry.kind)).collect();
    paths.sort();
    paths
}

fn failed(error: std::io::Error) -> Error {
    Error::new("check", ErrorKind::Cache).because("cannot write to the directory for temporary files").caused_by(error)
}
