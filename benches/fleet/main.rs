//! Machines that share, behind a line to their source. Run by `scripts/fleet`:
//!
//! - `--table`: what they cost their source, and the time that they take, by kind of store ([`table`]);
//! - `--simulate`: what a simulation has to know of one machine, and what eight are measured to ask ([`measure`]).

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]

mod measure;
mod services;
mod stage;
mod table;

fn main() {
    // `cargo bench` passes arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.first().map(String::as_str) {
        Some("measure") => measure::into(arguments[1].as_ref()),
        _ => table::print(&arguments),
    }
}
