//! The errors of the TOML parser: the messages worth reading, and the lines that cannot be trusted. It knows no key.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::{DeTable, Error};

/// A file that is no configuration at all need not be understood to its end.
const MAX_STOPS: usize = 50;

/// The text without the lines at which the parser would stop, everything else being where it was, and the errors of those lines.
/// The parser goes on after every error but a key without a value, and then what follows would not be checked.
pub(super) fn without_stops(text: &str) -> (String, Vec<Error>) {
    let mut text = text.to_owned();
    let mut stops = Vec::new();
    while stops.len() < MAX_STOPS {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let stop = errors.into_iter().find(|error| error.message().starts_with("key with no value"));
        let Some((stop, at)) = stop.and_then(|stop| stop.span().map(|span| (stop, span.start))) else { break };
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
        if text[start..end].trim().is_empty() {
            break;
        }
        text.replace_range(start..end, &" ".repeat(end - start));
        stops.push(stop);
    }
    (text, stops)
}

/// The offsets at which lines begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line, counted from 1, in which `span` begins.
    pub(super) fn of(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|start| *start <= span.start)
    }
}

/// The syntax errors of a text.
pub(super) struct Syntax {
    /// Line and message, one for each line at most.
    pub(super) problems: Vec<(usize, String)>,
    /// Lines that are broken, or whose table is unknown because a header above them is. What the parser made of them is
    /// guesswork: nothing else can be said about them.
    pub(super) doubtful: BTreeSet<usize>,
}

impl Syntax {
    /// Only an error's message is used: its `Display` quotes the line, and the line may hold a secret.
    pub(super) fn new(text: &str, lines: &Lines, errors: &[Error]) -> Self {
        let mut syntax = Self { problems: Vec::new(), doubtful: BTreeSet::new() };
        let (duplicates, broken): (Vec<_>, Vec<_>) =
            errors.iter().partition(|error| error.message() == "duplicate key");
        let place = |error: &Error| lines.of(&error.span().unwrap_or(0..0));

        let mut unclosed = None;
        for error in broken {
            let line = place(error);
            // A bracket that is never closed makes every further line an error.
            let is_unclosed = is_within_brackets(error.message());
            let is_consequence = is_unclosed && unclosed.is_some_and(|before| line <= before + 1);
            unclosed = is_unclosed.then_some(line);
            if syntax.doubtful.insert(line) && !is_consequence {
                syntax.problems.push((line, format!("this is not TOML: {}", error.message())));
            }
        }
        for line in syntax.doubtful.clone() {
            if text.lines().nth(line - 1).is_some_and(|line| line.contains(['[', ']'])) {
                syntax.doubtful.extend(below(text, line));
            }
        }

        // The keys below a header that is there twice are compared with those of the first; one message says it all.
        let mut repeated = 0..0;
        for error in duplicates {
            let line = place(error);
            if repeated.contains(&line) || syntax.doubtful.contains(&line) {
                continue;
            }
            if text.lines().nth(line - 1).is_some_and(is_header) {
                repeated = below(text, line);
            }
            let key = error.span().and_then(|span| text.get(span)).unwrap_or("a key").escape_debug();
            syntax
                .problems
                .push((line, format!("`{key}` is here for the second time; rename or remove one of the two")));
        }
        syntax
    }
}

/// The lines below `line` that belong to the same table.
fn below(text: &str, line: usize) -> Range<usize> {
    let count = text.lines().skip(line).take_while(|line| !is_header(line)).count();
    line + 1..line + 1 + count
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

fn is_within_brackets(message: &str) -> bool {
    ["missing comma between", "missing key for inline", "missing assignment between"]
        .iter()
        .any(|start| message.starts_with(start))
}
