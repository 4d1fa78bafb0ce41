//! `Checker`: sends one request at a time, keeps what went to and fro, and says what it thinks of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::calls::Event;
use super::super::connection::Connection;
use super::super::log::PluginLog;
use super::super::wire::{Entry, Listed, Refusal};
use super::Finding;
use crate::duration::Shown;
use crate::sources::records::Records;

/// Bytes of a message that are shown.
const SHOWN: usize = 300;

/// A conversation that is judged.
pub struct Checker<'a> {
    pub connection: Arc<Connection>,
    pub log: Arc<PluginLog>,
    pub timeout: Duration,
    /// Whether all that was found is right.
    pub holds: bool,
    /// Requests that failed, each with its error: a fault that another request shows again is no other one.
    failed: HashSet<(String, String)>,
    tell: &'a mut (dyn FnMut(&Finding) + Send),
}

/// The outcome of one request.
#[derive(Debug)]
pub struct Outcome {
    pub sent: String,
    pub entries: Vec<Entry>,
    /// The answer; none if none came.
    pub end: Option<Result<Value, Refusal>>,
    /// Why none came, or what came that is worth nothing.
    pub trouble: Option<String>,
}

impl Outcome {
    /// Adds entries; those that cannot be understood are trouble.
    fn add(&mut self, part: Records<Entry>) {
        self.entries.extend(part.known);
        if let Some(told) = part.omitted.told() {
            self.trouble = Some(format!("entries that cannot be understood: {told}"));
        }
    }

    /// Where in the plugin the error was raised, if it tells.
    fn traceback(&self) -> &str {
        match &self.end {
            Some(Err(refusal)) => refusal.data.traceback.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    /// What came, for people.
    pub fn came(&self) -> String {
        let listed = match self.entries.as_slice() {
            [] => String::new(),
            [first, ..] => {
                let first = serde_json::to_string(first).unwrap_or_default();
                format!("{} entries, the first {first}; ", self.entries.len())
            }
        };
        let end = match (&self.trouble, &self.end) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(Ok(result))) => result.to_string(),
            (None, Some(Err(refusal))) => {
                format!("error {} {:?} {:?}", refusal.code, refusal.data.kind, refusal.message)
            }
            (None, None) => "nothing".into(),
        };
        format!("{listed}{end}")
    }
}

impl<'a> Checker<'a> {
    pub fn new(
        connection: Arc<Connection>,
        log: Arc<PluginLog>,
        timeout: Duration,
        tell: &'a mut (dyn FnMut(&Finding) + Send),
    ) -> Self {
        Self { connection, log, timeout, holds: true, failed: HashSet::new(), tell }
    }

    /// Tells a finding.
    pub fn find(&mut self, about: &'static str, wanted: &str, sent: String, came: String, wrong: Option<String>) {
        self.find_with(about, wanted, sent, came, wrong, "");
    }

    fn find_with(
        &mut self,
        about: &'static str,
        wanted: &str,
        sent: String,
        came: String,
        wrong: Option<String>,
        traceback: &str,
    ) {
        self.holds &= wrong.is_none();
        let shown = |text: String| {
            let text = self.log.redact(&text);
            let end = text.floor_char_boundary(SHOWN);
            if end < text.len() { format!("{}…", &text[..end]) } else { text }
        };
        let (sent, came, wrong) = (shown(sent), shown(came), wrong.map(shown));
        let traceback = traceback.lines().map(|line| self.log.redact_line(line)).collect();
        (self.tell)(&Finding { about, wanted: wanted.into(), sent, came, wrong, traceback });
    }

    /// Tells something that is neither right nor wrong.
    pub fn note(&mut self, about: &'static str, wanted: &str, came: &str) {
        self.find(about, wanted, String::new(), came.into(), None);
    }

    /// Asks, and waits as long as any answer may take.
    pub async fn ask(&mut self, method: &'static str, params: Value) -> Outcome {
        self.ask_within(self.timeout, method, params).await
    }

    /// Asks, and waits so long for each part of the answer.
    pub async fn ask_within(&mut self, limit: Duration, method: &'static str, params: Value) -> Outcome {
        let sent = json!({"method": method, "params": params}).to_string();
        let mut outcome = Outcome { sent, entries: Vec::new(), end: None, trouble: None };
        let mut call = match self.connection.call(method, params).await {
            Ok(call) => call,
            Err(failure) => {
                outcome.trouble = Some(failure.error(method, &self.log).to_string());
                return outcome;
            }
        };
        loop {
            match timeout(limit, call.next()).await {
                Ok(Ok(Event::Entries(part))) => outcome.add(part),
                Ok(Ok(Event::Progress)) => {}
                Ok(Ok(Event::Broken(why))) => {
                    outcome.trouble = Some(why);
                    return outcome;
                }
                Ok(Ok(Event::End(result))) => {
                    if let Ok(result) = &result
                        && let Ok(listed) = serde_json::from_value::<Listed>(result.clone())
                    {
                        outcome.add(listed.entries);
                    }
                    outcome.end = Some(result);
                    return outcome;
                }
                Ok(Err(failure)) => {
                    outcome.trouble = Some(failure.error(method, &self.log).to_string());
                    return outcome;
                }
                Err(_) => {
                    outcome.trouble = Some(format!("no answer within {}", Shown(limit)));
                    return outcome;
                }
            }
        }
    }

    /// The answer must be a result that `judge` accepts.
    pub fn expect<T>(
        &mut self,
        about: &'static str,
        wanted: &str,
        outcome: &Outcome,
        judge: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let judged = match (&outcome.trouble, &outcome.end) {
            (None, Some(Ok(result))) => judge(result),
            (None, Some(Err(_))) => Err("it is an error".into()),
            _ => Err("there is no answer".into()),
        };
        let (result, wrong) = match judged {
            Ok(value) => (Some(value), None),
            Err(why) => (None, Some(why)),
        };
        if wrong.is_some() && !self.failed.insert((outcome.sent.clone(), outcome.came())) {
            return None;
        }
        self.find_with(about, wanted, outcome.sent.clone(), outcome.came(), wrong, outcome.traceback());
        result
    }

    /// The answer must be an error that `judge` accepts.
    pub fn refused(
        &mut self,
        about: &'static str,
        wanted: &str,
        outcome: &Outcome,
        judge: impl FnOnce(&Refusal) -> bool,
    ) {
        let wrong = match &outcome.end {
            Some(Err(refusal)) if judge(refusal) => None,
            Some(Err(_)) => Some("it is another error".to_owned()),
            Some(Ok(_)) => Some("it is no error".into()),
            None => Some("there is no answer".into()),
        };
        self.find(about, wanted, outcome.sent.clone(), outcome.came(), wrong);
    }
}
