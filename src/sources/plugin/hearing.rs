//! What a plugin writes, line by line, and where each line goes; within limits, whatever it writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::calls::{Calls, Event};
use super::wire::{self, Entry, Incoming, Text};
use crate::path::{Printable, RemotePath};

/// The longest line, in bytes without its end.
pub const LONGEST_LINE: usize = 1 << 20;

/// So many lines that lead nowhere, in so long a time, are a flood.
const USELESS: u32 = 10_000;
const TIME: Duration = Duration::from_secs(10);

/// Bytes of standard error that are one line at most.
const WORDS: usize = 4096;

/// How long the end of a process may follow the end of its output.
const SHORTLY: Duration = Duration::from_millis(500);

/// Writes what the host says, until nobody is left to say anything.
pub(super) async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Vec<u8>>, calls: Arc<Calls>) {
    while let Some(line) = lines.recv().await {
        if let Err(e) = stdin.write_all(&line).await {
            // What it has still said comes first.
            tokio::time::sleep(SHORTLY).await;
            return calls.shut_down(&format!("it does not read its standard input: {e}"));
        }
    }
}

/// Reads what the plugin says to the host.
pub(super) async fn read(
    stdout: ChildStdout,
    words: JoinHandle<()>,
    mut ended: watch::Receiver<Option<String>>,
    calls: Arc<Calls>,
) {
    let mut listening = Listening { calls: &calls, useless: 0, since: Instant::now() };
    let why = tokio::select! {
        why = listening.listen(BufReader::new(stdout)) => why,
        // Somebody else may hold the output open for ever.
        () = async { let _ = ended.wait_for(Option::is_some).await; tokio::time::sleep(SHORTLY).await } => String::new(),
    };
    // What it has said to people last may be why.
    let _ = timeout(SHORTLY, words).await;
    let end = if why.is_empty() { timeout(SHORTLY, ended.wait_for(Option::is_some)).await.ok() } else { None };
    let end = end.and_then(|end| end.ok().and_then(|end| end.clone()));
    calls.shut_down(&end.unwrap_or(if why.is_empty() { "it closed its standard output".into() } else { why }));
}

/// Reads what the plugin says to people.
pub(super) async fn read_words(stderr: ChildStderr, calls: Arc<Calls>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = read_line(&mut reader, WORDS, &mut line).await {
        calls.note_words(&String::from_utf8_lossy(&line));
        calls.voice.heard(&line);
    }
}

/// The next line, cut after `longest` bytes and its end. 0 at the end of everything.
async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    longest: usize,
    line: &mut Vec<u8>,
) -> std::io::Result<usize> {
    line.clear();
    reader.take(longest as u64 + 1).read_until(b'\n', line).await
}

struct Listening<'a> {
    calls: &'a Calls,
    /// Lines since `since` or the last answer that led nowhere.
    useless: u32,
    since: Instant,
}

impl Listening<'_> {
    /// Listens until there is no more to hear; says why not, or nothing if the output ended between two lines.
    async fn listen(&mut self, mut reader: impl AsyncBufRead + Unpin) -> String {
        let mut line = Vec::new();
        loop {
            match read_line(&mut reader, LONGEST_LINE, &mut line).await {
                Ok(0) => return String::new(),
                Ok(_) if line.last() == Some(&b'\n') => {}
                Ok(_) if line.len() > LONGEST_LINE => return "it wrote a line of more than 1 MiB".into(),
                // The process ended in the middle of a line, and how it did says more.
                Ok(_) => return String::new(),
                Err(e) => return format!("its output cannot be read: {e}"),
            }
            let useful = self.take(&line).await;
            if useful || self.since.elapsed() > TIME {
                (self.useless, self.since) = (0, Instant::now());
            }
            self.useless += u32::from(!useful);
            if self.useless > USELESS {
                return format!("it wrote more than {USELESS} lines that answer nothing");
            }
        }
    }

    /// Whether a line was part of an answer.
    async fn take(&mut self, line: &[u8]) -> bool {
        match wire::read(line) {
            Some(Incoming::Answer { id, result }) => match self.calls.take_call(id) {
                Some(events) => events.send(Event::End(result)).await.is_ok(),
                None => false,
            },
            Some(Incoming::Notification { method, params }) => match method.as_str() {
                "entries" => self.entries(params).await,
                "progress" => self.progress(&params),
                "changed" => self.changed(params),
                "log" => self.log(&params),
                _ => false,
            },
            None => self.garbage(line).await,
        }
    }

    async fn entries(&self, params: Value) -> bool {
        #[derive(Deserialize)]
        struct Part {
            id: u64,
            entries: Vec<Entry>,
        }
        let id = params.get("id").and_then(Value::as_u64);
        match Part::deserialize(params) {
            Ok(Part { id, entries }) => match self.calls.events_of(id) {
                // Nobody may be waiting for them any more: they count as part of an answer nevertheless.
                Some(events) => {
                    let _ = events.send(Event::Entries(entries)).await;
                    true
                }
                None => false,
            },
            Err(e) => {
                let why = format!("entries that cannot be understood: {e}");
                match id.and_then(|id| self.calls.take_call(id)) {
                    Some(events) => drop(events.send(Event::Broken(why)).await),
                    None => self.break_listings(&why).await,
                }
                false
            }
        }
    }

    fn progress(&self, params: &Value) -> bool {
        let listener = params.get("id").and_then(Value::as_u64).and_then(|id| self.calls.events_of(id));
        // Whoever has not read the last one yet needs no other.
        listener.is_some_and(|events| events.try_send(Event::Progress).is_ok())
    }

    fn changed(&self, mut params: Value) -> bool {
        let path = params.get_mut("path").map(Value::take).and_then(|path| Text::deserialize(path).ok());
        let path = path.and_then(|path| path.bytes()).and_then(|path| RemotePath::parse(&path).ok());
        if let Some(path) = path {
            (self.calls.on_change)(path);
        }
        false
    }

    fn log(&self, params: &Value) -> bool {
        let text = |name| params.get(name).and_then(Value::as_str).unwrap_or_default();
        self.calls.voice.say(text("level"), text("message"));
        false
    }

    async fn garbage(&self, line: &[u8]) -> bool {
        self.calls.noise_lines.fetch_add(1, Ordering::Relaxed);
        let shown = Printable(&line[..line.len().min(200)]).to_string();
        self.calls.voice.say("warn", &format!("this on standard output is no message: {shown}"));
        // It may have been a part of a listing, which then is not complete.
        let was_message = ["\"jsonrpc\"", "\"entries\"", "\"id\""];
        if was_message.iter().any(|word| line.windows(word.len()).any(|part| part == word.as_bytes())) {
            self.break_listings("a line that is not valid JSON").await;
        }
        false
    }

    async fn break_listings(&self, why: &str) {
        for events in self.calls.take_listings() {
            let _ = events.send(Event::Broken(why.to_owned())).await;
        }
    }
}
