//! `Dialogue`: the Python adapter as a process, asked in its protocol. It knows no host: a test says what a host would.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kitovufs::internals::Adapter;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::reaper;
use crate::kit::wait::{SOON, wait};

/// A running adapter with one plugin.
#[derive(Debug)]
pub struct Dialogue {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    dir: TempDir,
    asked: u64,
    logged: Vec<String>,
}

/// What a method led to.
#[derive(Debug, Default)]
pub struct Answer {
    /// The entries that were told, in order.
    pub entries: Vec<Value>,
    /// How many notifications told them.
    pub batches: usize,
    /// `result`, or null.
    pub result: Value,
    /// `error`, or null.
    pub error: Value,
}

impl Answer {
    /// The kind of the error.
    pub fn kind(&self) -> &str {
        self.error["data"]["kind"].as_str().unwrap_or("no error")
    }

    /// What the error says to people.
    pub fn message(&self) -> &str {
        self.error["message"].as_str().unwrap_or_default()
    }

    /// The paths that were told.
    pub fn paths(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry["path"].as_str().expect("the path is UTF-8")).collect()
    }
}

impl Dialogue {
    /// Starts the adapter with the class `Plugin` of this module.
    pub fn of(module: &str) -> Self {
        Self::with(module, |_| ())
    }

    /// The same; the test changes how it is started.
    pub fn with(module: &str, change: impl FnOnce(&mut Adapter)) -> Self {
        let dir = reaper::reachable();
        fs::write(dir.path().join("example.py"), module).unwrap();
        let mut adapter =
            Adapter { python: "python3".into(), plugin: "example:Plugin".into(), path: vec![dir.path().to_owned()] };
        change(&mut adapter);
        let launch = adapter.launch();
        let mut command = Command::new(launch.program);
        command.args(launch.args).envs(launch.env);
        command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(dir.path().join("log")).unwrap());
        let mut child = reaper::spawn(&mut command);
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, requests, answers, dir, asked: 0, logged: Vec::new() }
    }

    /// A directory for the test's own things; `example.py` is in it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The adapter's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends one request and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Answer {
        let id = self.send(method, params);
        self.answer(id)
    }

    /// `hello`, `configure` with this table, `connect`: all must work.
    #[track_caller]
    pub fn begin(&mut self, info: Value) {
        for (method, params) in
            [("hello", json!({"protocol": 1})), ("configure", json!({"info": info})), ("connect", json!({}))]
        {
            let answer = self.ask(method, params);
            assert!(answer.error.is_null(), "{method}: {}", answer.error);
        }
    }

    /// Sends one request, and returns its number.
    pub fn send(&mut self, method: &str, params: Value) -> u64 {
        self.asked += 1;
        self.write(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}));
        self.asked
    }

    /// Tells the adapter that nobody waits for this request.
    pub fn cancel(&mut self, id: u64) {
        self.write(&json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id}}));
    }

    fn write(&mut self, message: &Value) {
        self.write_line(&message.to_string());
    }

    /// Writes a line as it is.
    pub fn write_line(&mut self, line: &str) {
        let requests = self.requests.as_mut().expect("the dialogue goes on");
        requests.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for the answer to a request. Every line must be a message of the protocol, and none about another request.
    #[track_caller]
    pub fn answer(&mut self, id: u64) -> Answer {
        let mut answer = Answer::default();
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).unwrap();
            assert!(!line.is_empty(), "the adapter ended: {}", self.log());
            assert!(line.len() <= 1 << 20, "a line of {} bytes", line.len());
            let mut message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no message: {line}"));
            if message["method"] == "entries" {
                assert_eq!(message["params"]["id"], id);
                answer.batches += 1;
                answer.entries.append(message["params"]["entries"].as_array_mut().expect("entries are a list"));
            } else if message["method"] == "log" {
                let params = &message["params"];
                self.logged.push(format!(
                    "{} {}",
                    params["level"].as_str().unwrap(),
                    params["message"].as_str().unwrap()
                ));
            } else if message["method"] == "progress" {
                assert_eq!(message["params"]["id"], id);
            } else {
                assert_eq!(message["id"], id, "{line}");
                answer.result = message["result"].take();
                answer.error = message["error"].take();
                return answer;
            }
        }
    }

    /// Waits for the first entries that tell of this request.
    pub fn await_entries(&mut self, id: u64) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&message["method"], &message["params"]["id"]), (&json!("entries"), &json!(id)), "{line}");
    }

    /// A new, empty file for a retrieval.
    pub fn staging(&self) -> PathBuf {
        let path = self.dir.path().join(format!("staging {}", self.asked));
        File::create(&path).unwrap();
        path
    }

    /// What came to be logged with a level, which is the first word.
    pub fn logged(&self) -> String {
        self.logged.join("\n")
    }

    /// What was written to standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// Closes the adapter's standard input, after which it must end by itself; returns what it wrote to standard error.
    pub fn end(mut self) -> String {
        drop(self.requests.take());
        let ended = wait(&mut self.child, SOON).is_some();
        assert!(ended, "it goes on: {}", self.log());
        self.log()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        reaper::end(&mut self.child);
    }
}
