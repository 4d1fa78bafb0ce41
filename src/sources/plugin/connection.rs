//! `Connection`: a JSON-RPC client of one running plugin: calls, and what comes back. It knows no meaning of any method.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::failure::Failure;
use super::hearing;
use super::process::{self, Launch, Process};
use super::voice::Voice;
use super::wire::{Abilities, Entry, Refusal};
use crate::error::Result;
use crate::path::RemotePath;
use crate::source::waits::note_progress;

/// How long a call that nobody waits for any more may be silent before the process is taken for hung.
const GRACE: Duration = Duration::from_secs(2);

/// How long such a call may take, whatever it says, if the plugin does not understand that nobody waits; else [`GRACE`].
const END: Duration = Duration::from_secs(10);

/// How many messages of one call may wait to be read; more wait in the pipe, and the plugin with them.
const UNREAD: usize = 4;

/// What comes back during a call.
#[derive(Debug)]
pub enum Event {
    /// Part of a listing.
    Entries(Vec<Entry>),
    /// It is being worked on.
    Progress,
    /// The end.
    End(Result<Value, Refusal>),
    /// The plugin said something that makes this call worthless.
    Broken(String),
}

/// The connection to a running plugin. Dropped, the process ends at once; see [`Connection::end`].
pub struct Connection {
    shared: Arc<Shared>,
    next_id: AtomicU64,
    turns: Arc<Semaphore>,
    cancels: AtomicBool,
}

/// Hears of paths that are no longer as they were told.
pub type OnChange = Box<dyn Fn(RemotePath) + Send + Sync>;

/// What the tasks that listen share with those who call.
pub(super) struct Shared {
    state: Mutex<State>,
    turns: Arc<Semaphore>,
    pub(super) voice: Arc<Voice>,
    /// Lines that were no messages.
    pub(super) noise_lines: AtomicU32,
    pub(super) on_change: OnChange,
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

impl Connection {
    /// Starts a program and listens to it. Until [`Connection::set_abilities`], one call at a time.
    ///
    /// # Errors
    /// Those of [`process::start`].
    pub fn start(launch: &Launch, voice: &Arc<Voice>, on_change: OnChange) -> Result<Arc<Self>> {
        let (process, pipes) = process::start(launch)?;
        let ended = process.watch();
        let (outgoing, lines) = mpsc::channel(16);
        let turns = Arc::new(Semaphore::new(1));
        let state = State {
            process: Some(process),
            outgoing: Some(outgoing),
            calls: HashMap::new(),
            closed: None,
            last_words: String::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            turns: Arc::clone(&turns),
            voice: Arc::clone(voice),
            noise_lines: AtomicU32::new(0),
            on_change,
        });
        tokio::spawn(hearing::write(pipes.stdin, lines, Arc::clone(&shared)));
        let words = tokio::spawn(hearing::read_words(pipes.stderr, Arc::clone(&shared)));
        tokio::spawn(hearing::read(pipes.stdout, words, ended, Arc::clone(&shared)));
        Ok(Arc::new(Self { shared, next_id: AtomicU64::new(1), turns, cancels: AtomicBool::new(false) }))
    }

    /// From now on, what the plugin says that it can do: so many calls at once, and being told that nobody waits any more.
    pub fn set_abilities(&self, abilities: &Abilities) {
        self.turns.add_permits(abilities.concurrency() - 1);
        self.cancels.store(abilities.cancel, Ordering::Relaxed);
    }

    /// Whether there is somebody to talk to.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().closed.is_some()
    }

    /// Begins a call when it is its turn.
    ///
    /// # Errors
    /// `Lost` if the process has ended.
    pub async fn call(self: &Arc<Self>, method: &'static str, params: Value) -> Result<Call, Failure> {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else { return Err(self.lost()) };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel(UNREAD);
        let outgoing = {
            let mut state = self.shared.state.lock();
            let (None, Some(outgoing)) = (&state.closed, state.outgoing.clone()) else {
                drop(state);
                return Err(self.lost());
            };
            state.calls.insert(id, Open { events: sender, is_listing: method == "list_path" });
            outgoing
        };
        let call = Call { connection: Arc::clone(self), id, open: Some((events, turn)) };
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        outgoing.send(line(&message)).await.map_err(|_| self.lost())?;
        Ok(call)
    }

    /// A call that has nothing to say before its end.
    ///
    /// # Errors
    /// `Refused` by the plugin, `Lost` or `Broken`.
    pub async fn ask(self: &Arc<Self>, method: &'static str, params: Value) -> Result<Value, Failure> {
        let mut call = self.call(method, params).await?;
        loop {
            match call.next().await? {
                Event::Entries(_) | Event::Progress => {}
                Event::End(result) => return Ok(result?),
                Event::Broken(why) => return Err(Failure::Broken(why)),
            }
        }
    }

    /// How many lines so far were no messages.
    pub fn noise_lines(&self) -> u32 {
        self.shared.noise_lines.load(Ordering::Relaxed)
    }

    /// Writes a line as it is; for what tests how a plugin takes it.
    pub async fn write_raw(&self, text: &str) {
        let outgoing = self.shared.state.lock().outgoing.clone();
        if let Some(outgoing) = outgoing {
            let _ = outgoing.send(format!("{text}\n").into_bytes()).await;
        }
    }

    /// Ends the process: its standard input is closed, and it is given a little time before it is made to end. Returns how it ended.
    pub async fn end(&self) -> String {
        let process = {
            let mut state = self.shared.state.lock();
            state.outgoing = None;
            state.process.take()
        };
        let Some(process) = process else { return self.shared.reason() };
        let how = process.end().await;
        self.shared.shut_down(&how);
        how
    }

    /// Ends the process at once: it must not do any more of what it does.
    pub fn kill(&self, why: &str) {
        self.shared.shut_down(why);
    }

    fn lost(&self) -> Failure {
        Failure::Lost(self.shared.reason())
    }

    /// Says that nobody waits for a call any more, and sees to it that it does not stay for ever.
    fn cancel(self: Arc<Self>, id: u64, mut events: mpsc::Receiver<Event>, turn: OwnedSemaphorePermit) {
        let cancel = json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id}});
        let cancels = self.cancels.load(Ordering::Relaxed);
        let outgoing = if cancels { self.shared.state.lock().outgoing.clone() } else { None };
        // A plugin that does not even read its input learns nothing from one more line.
        let _ = outgoing.map(|outgoing| outgoing.try_send(line(&cancel)));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let ending = async {
                loop {
                    match timeout(GRACE, events.recv()).await {
                        Ok(None | Some(Event::End(_) | Event::Broken(_))) => return true,
                        Ok(Some(_)) => {}
                        Err(_) => return false,
                    }
                }
            };
            let most = if cancels { GRACE } else { END };
            if !timeout(most, ending).await.unwrap_or_default() {
                self.shared.shut_down("it did not answer a call in time");
            }
            drop(turn);
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.shut_down("it is no longer needed");
    }
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A call under way. Dropped before its end, it is cancelled.
pub struct Call {
    connection: Arc<Connection>,
    id: u64,
    /// `None` after the end.
    open: Option<(mpsc::Receiver<Event>, OwnedSemaphorePermit)>,
}

impl Call {
    /// Its id in JSON-RPC.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The next event; nothing may be asked after the end. Only the end is progress: of what comes before, whoever asked knows whether it
    /// brings anything.
    ///
    /// # Errors
    /// `Lost` if the process has ended.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        let event = match &mut self.open {
            Some((events, _)) => events.recv().await,
            None => None,
        };
        match event {
            Some(event @ (Event::Entries(_) | Event::Progress)) => Ok(event),
            Some(end) => {
                note_progress();
                self.open = None;
                Ok(end)
            }
            None => {
                self.open = None;
                Err(self.connection.lost())
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some((events, turn)) = self.open.take() {
            Arc::clone(&self.connection).cancel(self.id, events, turn);
        }
    }
}

impl Shared {
    /// Ends everything, at once: what is under way has failed.
    pub(super) fn shut_down(&self, why: &str) {
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

    fn reason(&self) -> String {
        self.state.lock().closed.clone().unwrap_or_else(|| "the process is being ended".into())
    }

    pub(super) fn note_words(&self, words: &str) {
        if !words.trim().is_empty() {
            let words = self.voice.fit(words);
            self.state.lock().last_words = words;
        }
    }

    /// Where the events of a call go.
    pub(super) fn events_of(&self, id: u64) -> Option<mpsc::Sender<Event>> {
        self.state.lock().calls.get(&id).map(|open| open.events.clone())
    }

    /// Where the end of a call goes.
    pub(super) fn take_call(&self, id: u64) -> Option<mpsc::Sender<Event>> {
        self.state.lock().calls.remove(&id).map(|open| open.events)
    }

    /// Where the ends of all listings go, of which some entries may have been lost.
    pub(super) fn take_listings(&self) -> Vec<mpsc::Sender<Event>> {
        let calls = &mut self.state.lock().calls;
        calls.extract_if(|_, open| open.is_listing).map(|(_, open)| open.events).collect()
    }
}
