//! `Calls`: the calls of one connection that are under way, and where their events go. It reads and writes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use super::log::PluginLog;
use super::process::Process;
use super::wire::{Entry, Refusal};
use crate::path::RemotePath;
use crate::sources::records::Records;

/// A message of the plugin about a call.
#[derive(Debug)]
pub enum Event {
    /// Part of a listing.
    Entries(Records<Entry>),
    /// It is being worked on.
    Progress,
    /// The end.
    End(Result<Value, Refusal>),
    /// The plugin said something that makes this call worthless.
    Broken(String),
}

/// Is called with each path that the plugin reports as changed.
pub type OnChange = Box<dyn Fn(RemotePath) + Send + Sync>;

/// The calls under way, shared by those who call and the tasks that read and write the pipes.
pub struct Calls {
    state: Mutex<State>,
    /// As many permits as calls may be under way at once.
    pub turns: Arc<Semaphore>,
    /// The log of its standard error and its `log` messages.
    pub log: Arc<PluginLog>,
    /// Lines that were no messages.
    pub noise_lines: AtomicU32,
    /// Called when the plugin reports a change.
    pub on_change: OnChange,
}

#[derive(Debug)]
struct State {
    /// `None` once it has ended.
    process: Option<Process>,
    /// Dropped, the plugin's standard input ends.
    outgoing: Option<mpsc::Sender<Vec<u8>>>,
    calls: HashMap<u64, Open>,
    /// Why there is no more to be said.
    closed: Option<String>,
    last_words: String,
}

#[derive(Debug)]
struct Open {
    events: mpsc::Sender<Event>,
    is_listing: bool,
}

impl Calls {
    /// No calls yet to `process`, which is written to through `outgoing`.
    pub fn new(process: Process, outgoing: mpsc::Sender<Vec<u8>>, log: Arc<PluginLog>, on_change: OnChange) -> Self {
        let (calls, last_words) = (HashMap::new(), String::new());
        let state = State { process: Some(process), outgoing: Some(outgoing), calls, closed: None, last_words };
        let (state, turns) = (Mutex::new(state), Arc::new(Semaphore::new(1)));
        Self { state, turns, log, noise_lines: AtomicU32::new(0), on_change }
    }

    /// Notes a call whose events go to `events`. Returns where its request is to be sent; none if the process has ended.
    pub fn open(&self, id: u64, events: mpsc::Sender<Event>, is_listing: bool) -> Option<mpsc::Sender<Vec<u8>>> {
        let mut state = self.state.lock();
        let outgoing = state.outgoing.clone().filter(|_| state.closed.is_none())?;
        state.calls.insert(id, Open { events, is_listing });
        Some(outgoing)
    }

    /// The channel to the plugin's standard input; none if that is closed.
    pub fn outgoing(&self) -> Option<mpsc::Sender<Vec<u8>>> {
        self.state.lock().outgoing.clone()
    }

    /// Whether the process has ended.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed.is_some()
    }

    /// Closes the standard input of the process, and takes the process; none if it was taken before.
    pub fn take_process(&self) -> Option<Process> {
        let mut state = self.state.lock();
        state.outgoing = None;
        state.process.take()
    }

    /// Ends everything, at once: what is under way has failed.
    pub fn shut_down(&self, why: &str) {
        let (process, calls) = {
            let mut state = self.state.lock();
            if state.closed.is_none() {
                let said = if state.last_words.is_empty() {
                    String::new()
                } else {
                    format!("; it said: {}", state.last_words)
                };
                state.closed = Some(format!("{why}{said}"));
            }
            state.outgoing = None;
            (state.process.take(), std::mem::take(&mut state.calls))
        };
        self.turns.close();
        drop(calls);
        drop(process);
    }

    /// Why the process has ended.
    pub fn reason(&self) -> String {
        self.state.lock().closed.clone().unwrap_or_else(|| "the process is being ended".into())
    }

    /// Keeps the last line of standard error, which may say why the process ends.
    pub fn note_words(&self, words: &str) {
        if !words.trim().is_empty() {
            let words = self.log.redact(words);
            self.state.lock().last_words = words;
        }
    }

    /// The channel for the events of a call.
    pub fn events_of(&self, id: u64) -> Option<mpsc::Sender<Event>> {
        self.state.lock().calls.get(&id).map(|open| open.events.clone())
    }

    /// Removes a call, and returns the channel for its end.
    pub fn take_call(&self, id: u64) -> Option<mpsc::Sender<Event>> {
        self.state.lock().calls.remove(&id).map(|open| open.events)
    }

    /// Removes all listings, some entries of which may have been lost, and returns the channels for their ends.
    pub fn take_listings(&self) -> Vec<mpsc::Sender<Event>> {
        let calls = &mut self.state.lock().calls;
        calls.extract_if(|_, open| open.is_listing).map(|(_, open)| open.events).collect()
    }
}
