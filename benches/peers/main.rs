//! What a reader waits for, through kitovufs, through other mounts, and through a plain client that knows what it wants. Run by `scripts/bench`.
//!
//! All take turns on the same server over the same line, each with a fresh mount and an empty cache, for several rounds, so that a machine
//! that grows slow slows all of them. Results are printed and kept in `target/bench-results`, and `docs/benchmarks.md` is made of them.

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

mod case;
mod figure;
mod participant;
mod report;
mod results;
mod stage;

use case::{CASES, Case};
use results::{Results, Turns};
use stage::Stage;

/// How often everybody takes a turn.
const ROUNDS: usize = 3;

/// Whoever takes longer for a turn, preparation included, has no other: what a median of such times would add is not worth the wait.
const SLOW: Duration = Duration::from_secs(45);

fn main() {
    // `cargo bench` passes arguments of its own; the others choose by name.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if wanted == ["report"] {
        return report::write(results::all());
    }
    let chosen = |case: &&Case| wanted.is_empty() || wanted.iter().any(|name| name == case.name);
    let cases: Vec<&Case> = CASES.iter().filter(chosen).collect();
    if cases.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        eprintln!("no case is called {}; there are: {}", wanted.join(" or "), names.join(", "));
        std::process::exit(2);
    }
    for case in cases {
        let results = Results::new(measure(case));
        print!("{}", report::table(case, &results));
        results.keep(case.name);
    }
    if wanted.is_empty() {
        report::write(results::all());
    }
}

fn measure(case: &Case) -> Turns {
    let mut turns = Turns::new();
    for &protocol in case.protocols {
        let stage = Stage::new(case, protocol);
        let mut slow = BTreeSet::new();
        for round in 0..ROUNDS {
            for participant in participant::of(case, protocol) {
                if slow.contains(&participant) {
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
