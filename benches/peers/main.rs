//! What a reader waits for, through kitovufs, through other mounts, and through a plain client that knows what it wants. Run by `scripts/bench`.
//!
//! All take turns on the same server over the same line, each with a fresh mount and an empty cache, for several rounds, so that a machine
//! that grows slow slows all of them. The results are printed, and a run of all cases writes them into `docs/benchmarks.md`.

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]

use std::collections::BTreeMap;

mod case;
mod figure;
mod participant;
mod report;
mod stage;

use case::{CASES, Case};
use figure::Figure;
use participant::Participant;
use stage::{Protocol, Stage};

/// How often everybody takes a turn.
const ROUNDS: usize = 3;

/// What one participant did in each round of a case.
type Turns = BTreeMap<(Protocol, Participant), Vec<Figure>>;

fn main() {
    // `cargo bench` passes arguments of its own; the others choose by name.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |case: &&Case| wanted.is_empty() || wanted.iter().any(|name| name == case.name);
    let cases: Vec<&Case> = CASES.iter().filter(chosen).collect();
    if cases.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        eprintln!("no case is called {}; there are: {}", wanted.join(" or "), names.join(", "));
        std::process::exit(2);
    }
    let mut results = Vec::new();
    for case in cases {
        let turns = measure(case);
        print!("{}", report::table(case, &turns));
        results.push((case, turns));
    }
    if wanted.is_empty() {
        report::write(&results);
    }
}

fn measure(case: &Case) -> Turns {
    let mut turns = Turns::new();
    for &protocol in case.protocols {
        let stage = Stage::new(case, protocol);
        for round in 0..ROUNDS {
            for participant in participant::of(case, protocol) {
                let figure = stage.turn(participant);
                eprintln!("{} {protocol} {participant} {}/{ROUNDS}: {figure}", case.name, round + 1);
                turns.entry((protocol, participant)).or_default().push(figure);
            }
        }
    }
    turns
}
