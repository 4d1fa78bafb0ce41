//! The tasks on the pipes of a plugin: they write requests, read its lines within limits, and hand each on to the call that it is for.

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
use crate::sources::records::Records;

/// The longest line, in bytes without its end.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// The process is ended when it writes more lines than this within the window that are no part of an answer.
const MAX_NOISE_LINES: u32 = 10_000;
const NOISE_WINDOW: Duration = Duration::from_secs(10);

/// Longer lines of standard error are logged in pieces of so many bytes.
const MAX_STDERR_LINE: usize = 4096;

/// How long to wait for the exit status after the output has ended, and for the rest of the output after the exit.
const EXIT_GRACE: Duration = Duration::from_millis(500);

/// Writes requests to standard input until the connection is closed.
pub(super) async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Vec<u8>>, calls: Arc<Calls>) {
    while let Some(line) = lines.recv().await {
        if let Err(e) = stdin.write_all(&line).await {
            // Its last output is read first, and may say why.
            tokio::time::sleep(EXIT_GRACE).await;
            return calls.shut_down(&format!("it does not read its standard input: {e}"));
        }
    }
}

/// Reads messages from standard output until it ends.
pub(super) async fn read(
    stdout: ChildStdout,
    stderr: JoinHandle<()>,
    mut ended: watch::Receiver<Option<String>>,
    calls: Arc<Calls>,
) {
    let mut reader = LineReader { calls: &calls, noise: 0, since: Instant::now() };
    let why = tokio::select! {
        why = reader.run(BufReader::new(stdout)) => why,
        // A child of the process may hold the output open for ever.
        () = async { let _ = ended.wait_for(Option::is_some).await; tokio::time::sleep(EXIT_GRACE).await } => String::new(),
    };
    // Its last line of standard error may say why it ended.
    let _ = timeout(EXIT_GRACE, stderr).await;
    let end = if why.is_empty() { timeout(EXIT_GRACE, ended.wait_for(Option::is_some)).await.ok() } else { None };
    let end = end.and_then(|end| end.ok().and_then(|end| end.clone()));
    calls.shut_down(&end.unwrap_or(if why.is_empty() { "it closed its standard output".into() } else { why }));
}

/// Logs standard error until it ends.
pub(super) async fn log_stderr(stderr: ChildStderr, calls: Arc<Calls>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = read_line(&mut reader, MAX_STDERR_LINE, &mut line).await {
        calls.note_words(&String::from_utf8_lossy(&line));
        calls.log.write_stderr(&line);
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

struct LineReader<'a> {
    calls: &'a Calls,
    /// Lines since `since`, or since the last part of an answer, that were none.
    noise: u32,
    since: Instant,
}

impl LineReader<'_> {
    /// Reads lines until the output ends. Returns why, or nothing if it ended between two lines.
    async fn run(&mut self, mut reader: impl AsyncBufRead + Unpin) -> String {
        let mut line = Vec::new();
        loop {
            match read_line(&mut reader, MAX_LINE_BYTES, &mut line).await {
                Ok(0) => return String::new(),
                Ok(_) if line.last() == Some(&b'\n') => {}
                Ok(_) if line.len() > MAX_LINE_BYTES => return "it wrote a line of more than 1 MiB".into(),
                // The process ended in the middle of a line, and how it did says more.
                Ok(_) => return String::new(),
                Err(e) => return format!("its output cannot be read: {e}"),
            }
            let is_answer = self.take(&line).await;
            if is_answer || self.since.elapsed() > NOISE_WINDOW {
                (self.noise, self.since) = (0, Instant::now());
            }
            self.noise += u32::from(!is_answer);
            if self.noise > MAX_NOISE_LINES {
                return format!("it wrote more than {MAX_NOISE_LINES} lines that answer nothing");
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
            entries: Records<Entry>,
        }
        let id = params.get("id").and_then(Value::as_u64);
        match Part::deserialize(params) {
            Ok(Part { id, entries }) => match self.calls.events_of(id) {
                // The entries of a cancelled call count as part of an answer.
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
        // One unread progress event is enough.
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
        self.calls.log.write(text("level"), text("message"));
        false
    }

    async fn garbage(&self, line: &[u8]) -> bool {
        self.calls.noise_lines.fetch_add(1, Ordering::Relaxed);
        let shown = Printable(&line[..line.len().min(200)]).to_string();
        self.calls.log.write("warn", &format!("this on standard output is no message: {shown}"));
        // The line may have been a part of a listing, which is then incomplete.
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
