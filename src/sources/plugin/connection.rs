//! `Connection`: a JSON-RPC client of one running plugin: calls, and what comes back. It knows no meaning of any method.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::calls::{Calls, Event, OnChange};
use super::failure::Failure;
use super::log::PluginLog;
use super::pipes;
use super::process::{self, Launch};
use super::wire::Abilities;
use crate::error::Result;
use crate::source::waits::note_progress;

/// How long a cancelled call may be silent before the process is taken for hung.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a cancelled call may take in all, if the plugin does not understand `cancel`; else [`SILENCE_TIMEOUT`].
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How many events of one call may wait to be read. More wait in the pipe, and the plugin with them.
const MAX_UNREAD_EVENTS: usize = 4;

/// The connection to a running plugin. Dropped, the process ends at once; see [`Connection::end`].
pub struct Connection {
    calls: Arc<Calls>,
    next_id: AtomicU64,
    cancels: AtomicBool,
}

impl Connection {
    /// RestartBackoff a program and listens to it. Until [`Connection::set_abilities`], one call at a time.
    ///
    /// # Errors
    /// Those of [`process::start`].
    pub fn start(launch: &Launch, log: &Arc<PluginLog>, on_change: OnChange) -> Result<Arc<Self>> {
        let (process, pipes) = process::start(launch)?;
        let ended = process.watch();
        let (outgoing, lines) = mpsc::channel(16);
        let calls = Arc::new(Calls::new(process, outgoing, Arc::clone(log), on_change));
        tokio::spawn(pipes::write(pipes.stdin, lines, Arc::clone(&calls)));
        let stderr = tokio::spawn(pipes::log_stderr(pipes.stderr, Arc::clone(&calls)));
        tokio::spawn(pipes::read(pipes.stdout, stderr, ended, Arc::clone(&calls)));
        Ok(Arc::new(Self { calls, next_id: AtomicU64::new(1), cancels: AtomicBool::new(false) }))
    }

    /// Applies the abilities of the plugin: how many calls may be under way at once, and whether it understands `cancel`.
    pub fn set_abilities(&self, abilities: &Abilities) {
        self.calls.turns.add_permits(abilities.concurrency() - 1);
        self.cancels.store(abilities.cancel, Ordering::Relaxed);
    }

    /// Whether the process has ended.
    pub fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    /// Begins a call when it is its turn.
    ///
    /// # Errors
    /// `Lost` if the process has ended.
    pub async fn call(self: &Arc<Self>, method: &'static str, params: Value) -> Result<Call, Failure> {
        let Ok(turn) = Arc::clone(&self.calls.turns).acquire_owned().await else { return Err(self.lost()) };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel(MAX_UNREAD_EVENTS);
        let outgoing = self.calls.open(id, sender, method == "list_path").ok_or_else(|| self.lost())?;
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

    /// The number of lines so far that were no messages.
    pub fn noise_lines(&self) -> u32 {
        self.calls.noise_lines.load(Ordering::Relaxed)
    }

    /// Writes a line as it is; for what tests how a plugin takes it.
    pub async fn write_raw(&self, text: &str) {
        let outgoing = self.calls.outgoing();
        if let Some(outgoing) = outgoing {
            let _ = outgoing.send(format!("{text}\n").into_bytes()).await;
        }
    }

    /// Ends the process: its standard input is closed, and it is given a little time before it is made to end. Returns how it ended.
    pub async fn end(&self) -> String {
        let Some(process) = self.calls.take_process() else { return self.calls.reason() };
        let how = process.end().await;
        self.calls.shut_down(&how);
        how
    }

    /// Ends the process at once: it must not do any more of what it does.
    pub fn kill(&self, why: &str) {
        self.calls.shut_down(why);
    }

    fn lost(&self) -> Failure {
        Failure::Lost(self.calls.reason())
    }

    /// Tells the plugin that a call is cancelled, and ends the process if the call does not end in time.
    fn cancel(self: Arc<Self>, id: u64, mut events: mpsc::Receiver<Event>, turn: OwnedSemaphorePermit) {
        let cancel = json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id}});
        let cancels = self.cancels.load(Ordering::Relaxed);
        let outgoing = if cancels { self.calls.outgoing() } else { None };
        // A plugin that does not even read its input learns nothing from one more line.
        let _ = outgoing.map(|outgoing| outgoing.try_send(line(&cancel)));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let ending = async {
                loop {
                    match timeout(SILENCE_TIMEOUT, events.recv()).await {
                        Ok(None | Some(Event::End(_) | Event::Broken(_))) => return true,
                        Ok(Some(_)) => {}
                        Err(_) => return false,
                    }
                }
            };
            let most = if cancels { SILENCE_TIMEOUT } else { CANCEL_TIMEOUT };
            if !timeout(most, ending).await.unwrap_or_default() {
                self.calls.shut_down("it did not answer a call in time");
            }
            drop(turn);
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.calls.shut_down("it is no longer needed");
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
