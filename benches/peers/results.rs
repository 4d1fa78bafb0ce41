//! `Results`: what came of a case, which is kept until it is measured again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::case::{CASES, Case};
use super::figure::{Figure, Value, middle};
use super::participant::Participant;
use super::stage::Protocol;

/// What each participant did in each round of a case.
pub type Turns = BTreeMap<(Protocol, Participant), Vec<Figure>>;

/// A case's turns, and when they were taken.
pub struct Results {
    /// Everybody's turns.
    pub turns: Turns,
    /// The day.
    pub day: String,
    /// The commit of kitovufs.
    pub commit: String,
}

/// The same as a file: keys of JSON's objects are text.
#[derive(Serialize, Deserialize)]
struct Kept {
    day: String,
    commit: String,
    turns: Vec<(Protocol, Participant, Vec<Figure>)>,
}

impl Results {
    /// Of these turns, which have just been taken.
    pub fn new(turns: Turns) -> Self {
        let day = said("date", &["--utc", "+%Y-%m-%d"]);
        Self { turns, day, commit: said("git", &["describe", "--always", "--dirty", "--abbrev=8"]) }
    }

    /// Keeps them in place of the earlier ones of this case.
    pub fn keep(self, case: &str) {
        let turns = self.turns.into_iter().map(|((protocol, participant), figures)| (protocol, participant, figures));
        let kept = Kept { day: self.day, commit: self.commit, turns: turns.collect() };
        fs::create_dir_all(place("")).unwrap();
        fs::write(place(case), serde_json::to_vec_pretty(&kept).unwrap()).unwrap();
    }

    /// The median of what a participant's turns at a server have of something; `None` if they have nothing.
    pub fn median(&self, protocol: Protocol, participant: Participant, value: Value) -> Option<f64> {
        middle(self.turns.get(&(protocol, participant))?, value)
    }

    /// The median of the seconds that its reader waited.
    pub fn seconds(&self, protocol: Protocol, participant: Participant) -> Option<f64> {
        self.median(protocol, participant, Figure::waited)
    }
}

/// The latest results of each case that was measured, in the order of [`CASES`].
pub struct Measured(Vec<(&'static Case, Results)>);

impl Measured {
    /// Those of the case with this name.
    pub fn of(&self, name: &str) -> Option<&Results> {
        self.iter().find(|(case, _)| case.name == name).map(|(_, results)| results)
    }

    /// Each case with its results.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Case, &Results)> {
        self.0.iter().map(|(case, results)| (*case, results))
    }
}

/// The latest results of every case, and the names of those of which there are none.
pub fn all() -> (Measured, Vec<&'static str>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for case in CASES {
        match fs::read(place(case.name)) {
            Ok(text) => {
                let Kept { day, commit, turns } = serde_json::from_slice(&text).unwrap();
                let turns =
                    turns.into_iter().map(|(protocol, participant, figures)| ((protocol, participant), figures));
                found.push((case, Results { turns: turns.collect(), day, commit }));
            }
            Err(_) => missing.push(case.name),
        }
    }
    (Measured(found), missing)
}

fn place(case: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-results");
    if case.is_empty() { dir } else { dir.join(case).with_extension("json") }
}

/// The first line that a program says.
pub fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}
