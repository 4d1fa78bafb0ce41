//! Plugins written for kitovu, through the adapter and a real mount.

mod contract;
mod faults;
mod installed;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::home::text;
use crate::kit::reaper;

/// Plugins in the style of kitovu's own two, and what else the tests are made from.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/python");

/// What stands for the service of a plugin: a directory, and beside it what the test does to the plugin and learns from it.
pub struct Service {
    root: TempDir,
}

impl Service {
    /// An empty one. Fixtures are copied to it, because Python leaves something beside what it imports.
    pub fn new() -> Self {
        let root = reaper::temporary();
        fs::create_dir(root.path().join("remote")).unwrap();
        for fixture in ["share.py", "courses.py"] {
            fs::copy(Path::new(FIXTURES).join(fixture), root.path().join(fixture)).unwrap();
        }
        Self { root }
    }

    /// The directory that `share:SharePlugin` shows.
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("remote")
    }

    /// A place for the test's own modules and things.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The table of a source with this plugin; more keys may follow.
    pub fn table(&self, name: &str, plugin: &str) -> String {
        let path = json!([text(self.root.path())]);
        format!("[sources.{name}]\ntype = \"python\"\nplugin = \"{plugin}\"\npath = {path}\n")
    }

    /// The table of the source `share`.
    pub fn share(&self) -> String {
        format!("{}directory = {:?}\n", self.table("share", "share:SharePlugin"), self.dir())
    }

    /// Writes a file of the service.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().expect("it is below the root")).unwrap();
        fs::write(path, content).unwrap();
    }

    /// From now on the plugin runs this statement at this place.
    pub fn fault(&self, place: &str, statement: &str) {
        let new = self.beside("faults.new");
        fs::write(&new, json!({place: statement}).to_string()).unwrap();
        fs::rename(new, self.beside("faults.json")).unwrap();
    }

    /// All is well again.
    pub fn heal(&self) {
        fs::remove_file(self.beside("faults.json")).unwrap();
    }

    /// How often a method of the plugin was called.
    pub fn calls(&self, method: &str) -> usize {
        let calls = fs::read_to_string(self.beside("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.split(' ').next() == Some(method)).count()
    }

    /// Writes what `courses:CoursesPlugin` is told by its service: for each course its files.
    pub fn write_courses(&self, token: &str, courses: &Value) {
        let new = self.beside("courses.new");
        fs::write(&new, json!({"token": token, "courses": courses}).to_string()).unwrap();
        fs::rename(new, self.beside("courses.json")).unwrap();
    }

    /// The table of the source `courses`.
    pub fn courses(&self) -> String {
        let table = self.table("courses", "courses:CoursesPlugin");
        format!("{table}service = {:?}\npassword = \"the-token\"\n", self.beside("courses.json"))
    }

    /// What the plugin of the courses was asked, in order.
    pub fn asked_of_courses(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.beside("courses.json.calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

/// A second source, which must go on whatever the first one does.
fn bystander() -> (TempDir, String) {
    let dir = reaper::temporary();
    File::create(dir.path().join("here")).unwrap();
    let table = crate::kit::home::local("other", dir.path());
    (dir, table)
}
