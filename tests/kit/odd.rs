//! `Odd`: a plugin that does what a test tells it to (`odd.py`), and what it was asked. It mounts nothing.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::reaper;

/// A plugin that keeps to the protocol but where it is told not to.
#[derive(Debug)]
pub struct Odd {
    dir: TempDir,
    info: Value,
}

impl Odd {
    /// A plugin with these files.
    pub fn with_files(files: &[(&str, &str)]) -> Self {
        let files: serde_json::Map<_, _> =
            files.iter().map(|(path, content)| ((*path).into(), (*content).into())).collect();
        let dir = reaper::reachable();
        // An argument has its limits; files in plenty come in a file of their own.
        std::fs::write(dir.path().join("files"), Value::from(files).to_string()).unwrap();
        Self { info: json!({"files": dir.path().join("files"), "journal": dir.path().join("journal")}), dir }
    }

    /// Sets something that `odd.py` knows.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.info[key] = value;
        self
    }

    /// Lets a method go wrong.
    #[must_use]
    pub fn wrong(mut self, method: &str, what: &str) -> Self {
        self.info["wrong"][method] = what.into();
        self
    }

    /// The source's table.
    pub fn table(&self) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("odd.py");
        let command =
            toml::Value::from(vec!["python3".to_owned(), script.display().to_string(), self.info.to_string()]);
        format!("type = \"plugin\"\ncommand = {command}\n")
    }

    /// Every request so far.
    pub fn journal(&self) -> Vec<String> {
        let journal = std::fs::read_to_string(self.dir.path().join("journal")).unwrap_or_default();
        journal.lines().map(str::to_owned).collect()
    }

    /// Where the journal is; every process of this plugin has it in its arguments.
    pub fn journal_path(&self) -> String {
        self.dir.path().join("journal").display().to_string()
    }

    /// How many requests begin like this.
    pub fn count(&self, request: &str) -> usize {
        self.journal().iter().filter(|line| line.starts_with(request)).count()
    }
}
