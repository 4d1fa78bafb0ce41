//! What a reader waits for, through kitovufs, through other mounts, and through a plain client that knows what it wants. Run by `scripts/bench`.
//!
//! All take turns on the same server over the same line, each with a fresh mount and an empty cache, for several rounds, so that a machine
//! that grows slow slows all of them. Results are printed and kept in `target/bench-results`, and `docs/benchmarks.md` is made of them.

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

mod bounds;
mod case;
mod figure;
mod participant;
mod picture;
mod report;
mod results;
mod stage;

use case::{CASES, Case};
use participant::Participant;
use results::{Results, Turns};
use stage::Stage;

/// How often everybody takes a turn.
const ROUNDS: usize = 3;

/// Whoever takes longer for a turn, preparation included, has no other: what a median of such times would add is not worth the wait.
const SLOW: Duration = Duration::from_secs(20);

fn main() {
    // `cargo bench` passes arguments of its own; the others choose by name.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if wanted == ["report"] {
        return report::write(results::all());
    }
    let only: Vec<Participant> = wanted.iter().filter_map(|name| participant::named(name)).collect();
    let wanted_cases: Vec<_> = wanted.iter().filter(|name| participant::named(name).is_none()).collect();
    if let Some(unknown) = wanted_cases.iter().find(|name| CASES.iter().all(|case| case.name != **name)) {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        let participants: Vec<String> = participant::ALL.iter().map(Participant::word).collect();
        eprintln!(
            "no case is called {unknown}; there are: {}; and participants: {}",
            names.join(", "),
            participants.join(", ")
        );
        std::process::exit(2);
    }
    let chosen = |case: &&Case| wanted_cases.is_empty() || wanted_cases.iter().any(|name| *name == case.name);
    for case in CASES.iter().filter(chosen) {
        let results = Results::new(measure(case, &only));
        print!("{}", report::table(case, &results));
        // A result without the others says nothing about who was faster.
        if only.is_empty() {
            results.keep(case.name);
        }
    }
    if wanted.is_empty() {
        report::write(results::all());
    }
}

/// Everybody's turns, or those of some.
fn measure(case: &Case, only: &[Participant]) -> Turns {
    let mut turns = Turns::new();
    for &protocol in case.protocols {
        let stage = Stage::new(case, protocol);
        let mut slow = BTreeSet::new();
        for round in 0..ROUNDS {
            for participant in participant::of(case, protocol) {
                if slow.contains(&participant) || !(only.is_empty() || only.contains(&participant)) {
                    continue;
                }
                let begun = Instant::now();
                let figure = stage.turn(participant);
                if begun.elapsed() > SLOW {
                    slow.insert(participant);
                }
                eprintln!("{} {protocol} {participant} {}/{ROUNDS}: {figure}", case.name, round + 1);
                turns.entry((protocol, participant)).or_default().push(figure);
            }
        }
    }
    turns
}
