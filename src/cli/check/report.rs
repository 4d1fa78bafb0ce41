//! `Report`: the findings about one source, folder or other thing that is checked, for people and for scripts. It checks nothing.

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

use crate::cli::output::{outln, say};
use crate::cli::status::safe;

/// What a finding is, and the word for it at the beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Note,
    Failed,
    /// What to do about what failed.
    Advice,
    /// Something could not be tried.
    Untried,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Failed => "FAILED",
            Self::Advice => "",
            Self::Untried => "-",
        }
    }
}

#[derive(Debug, Serialize)]
struct Finding {
    result: Verdict,
    text: String,
    /// How long it took, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
}

/// What was found about one thing.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Report {
    /// What it is: `machine`, `configuration`, `mount`, `source`, `folder`, `web` or `shared`.
    kind: &'static str,
    name: String,
    /// The type of a source.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    works: bool,
    findings: Vec<Finding>,
}

impl Report {
    pub(in crate::cli) fn about(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), type_name: None, works: true, findings: Vec::new() }
    }

    pub(super) fn of_type(self, type_name: &str) -> Self {
        Self { type_name: Some(type_name.to_owned()), ..self }
    }

    pub(in crate::cli) fn works(&self) -> bool {
        self.works
    }

    fn found(&mut self, result: Verdict, text: impl Into<String>) {
        self.findings.push(Finding { result, text: text.into(), milliseconds: None });
    }

    pub(in crate::cli) fn ok(&mut self, what: impl Into<String>) {
        self.found(Verdict::Ok, what);
    }

    pub(super) fn note(&mut self, what: impl Into<String>) {
        self.found(Verdict::Note, what);
    }

    pub(super) fn untried(&mut self, why: impl Into<String>) {
        self.found(Verdict::Untried, why);
    }

    pub(super) fn advise(&mut self, what: impl Into<String>) {
        self.found(Verdict::Advice, what);
    }

    pub(in crate::cli) fn fail(&mut self, why: impl Into<String>) {
        self.found(Verdict::Failed, why);
        self.works = false;
    }

    pub(super) fn passed(&mut self, began: Instant, what: impl Into<String>) {
        let milliseconds = u64::try_from(began.elapsed().as_millis()).ok();
        self.findings.push(Finding { result: Verdict::Ok, text: what.into(), milliseconds });
    }

    /// Prints it: an object on a line for scripts, else a line for each finding.
    pub(in crate::cli) fn print(&self, json: bool) {
        if json {
            let object = serde_json::to_string(self).expect("a report is lists and text");
            outln!("{}", safe(&object));
        } else {
            say(&self.lines());
        }
    }

    fn lines(&self) -> String {
        let mut lines = match (self.kind, &self.type_name) {
            ("source", Some(type_name)) => format!("{} ({type_name})\n", self.name),
            ("folder", _) => format!("{} (folder)\n", self.name),
            _ => format!("{}\n", self.name),
        };
        for Finding { result, text, milliseconds } in &self.findings {
            let took = milliseconds.map(|took| format!("  ({took} ms)")).unwrap_or_default();
            writeln!(lines, "  {:6}  {text}{took}", result.word()).expect("writing to a string cannot fail");
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_lines_for_people_and_an_object_for_scripts() {
        let mut report = Report::about("source", "cloud").of_type("webdav");
        report.ok("connected");
        report.fail("list_path /: credentials not accepted");
        report.advise("run: kitovufs login cloud");
        assert_eq!(
            report.lines(),
            "cloud (webdav)\n  ok      connected\n  FAILED  list_path /: credentials not accepted\n          run: kitovufs login cloud\n"
        );
        let object = serde_json::to_value(&report).expect("it can be written");
        assert_eq!(object["works"], false);
        assert_eq!(object["type"], "webdav");
        assert_eq!(object["findings"][2], serde_json::json!({"result": "advice", "text": "run: kitovufs login cloud"}));
    }
}
