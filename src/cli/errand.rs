//! Errands that the process of a mount carries out for a command, on everything at and below a place. It prints how far they are.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::output::outln;
use super::place::Place;
use super::progress::{Amount, Line, Progress, described, tell};
use super::status::{connected, safe, unanswered};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Tally;
use crate::mount::point::Mounted;
use crate::path::Exact;

/// Counts the files at and below a place, and what is missing of them.
///
/// # Errors
/// The mount's process does not answer, or refuses.
pub fn count(op: &'static str, place: &Place) -> Result<Tally> {
    run(op, "count", &place.mounted, at(place), None)
}

/// Has a mount's process do this with everything at and below a place, which is so much work, and tells what has failed.
///
/// # Errors
/// It does not answer, or refuses.
pub fn carry_out(op: &'static str, method: &str, place: &Place, all: Option<Amount>) -> Result<Tally> {
    let tally = run(op, method, &place.mounted, at(place), all)?;
    tell_failures(op, &tally);
    Ok(tally)
}

/// The parameters that name a place.
pub fn at(place: &Place) -> Value {
    json!({"path": Exact::of(&place.below())})
}

/// Tells with what an errand has failed.
pub fn tell_failures(op: &str, tally: &Tally) {
    tally.failures.iter().for_each(|failure| tell(&format!("{op}: {failure}")));
    match tally.failed - tally.failures.len() as u64 {
        0 => {}
        more => tell(&format!("{op}: {more} more have failed")),
    }
}

/// Has a mount's process do what `params` tell, and shows how far it is.
///
/// # Errors
/// It does not answer, or refuses.
pub fn run(op: &'static str, method: &str, mounted: &Mounted, params: Value, all: Option<Amount>) -> Result<Tally> {
    let mut progress = Progress::begin();
    let hear = |_: &str, told: Value| {
        let Ok(tally) = serde_json::from_value::<Tally>(told) else { return };
        progress.show(|after| match all {
            Some(all) => described(done(method, &tally), all, done(method, &tally).bytes, after),
            None => Line::endless(format!(
                "{} files in {} folders, {}",
                tally.files,
                tally.directories,
                ByteSize::b(tally.bytes)
            )),
        });
    };
    let end = connected(mounted)?.ask_hearing(method, params, hear);
    progress.clear();
    let tally = end.map_err(|failure| unanswered(op, mounted, failure))?;
    let odd = |e| Error::new(op, ErrorKind::Protocol).on(mounted.path.display()).caused_by(e);
    serde_json::from_value(tally).map_err(odd)
}

/// How much of the work is done.
fn done(method: &str, tally: &Tally) -> Amount {
    let bytes = if method == "pin" { tally.retrieved_bytes } else { tally.bytes };
    Amount { files: tally.files, bytes }
}

/// Prints a tally for scripts, with the path that it is of.
pub fn print_json(path: &Path, tally: &Tally) {
    print_told(path, json!(tally));
}

/// Prints an object for scripts, with the path that it is about.
pub fn print_told(path: &Path, mut told: Value) {
    told["path"] = json!(Exact::of(path.as_os_str().as_bytes()));
    outln!("{}", safe(&told.to_string()));
}
