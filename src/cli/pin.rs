//! `pin`, `unpin`, `evict` and `refresh`: what the cache keeps, drops, and asks about. The process of the mount does it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::errand::{self, carry_out, print_json, print_told};
use super::output::outln;
use super::place::Place;
use super::progress::{Amount, tell};
use super::status::{self, connected, local_time, shown_pin, unanswered};
use crate::error::Result;
use crate::fs::Tally;
use crate::mount::point::Mounted;
use crate::status::Status;

/// Pins places: what is missing of them is retrieved, and kept; or shows what is pinned. Returns the exit code: 1 if not all of it is in the
/// cache then, a path is in no mount of this user, or a mount does not answer.
///
/// # Errors
/// Nothing is mounted.
pub fn pin(paths: &[PathBuf], json: bool) -> Result<u8> {
    if paths.is_empty() {
        return list(json);
    }
    Ok(each("pin", paths, json, |place| {
        let tally = pinned("pin", place)?;
        let Tally { files, bytes, failed, live, unfit, .. } = tally;
        if json {
            print_json(&place.path, &tally);
        } else if failed == 0 {
            let all = all_are(files, ByteSize::b(bytes));
            outln!("{}: {all} in the cache, and {} there", place.shown(), if files == 1 { "stays" } else { "stay" });
        } else if failed == unfit {
            tell(&format!(
                "{}: pinned; {} of its {} are in the cache, and stay there",
                place.shown(),
                files - unfit,
                count(files)
            ));
        } else {
            tell(&format!("{}: pinned; not all of its {} are in the cache", place.shown(), count(files)));
        }
        tell_live(place, live);
        Ok(u8::from(failed > 0))
    }))
}

/// Pins a place, once it is known how much is missing of it.
pub fn pinned(op: &'static str, place: &Place) -> Result<Tally> {
    let Tally { files, missing_bytes, .. } = errand::count(op, place)?;
    carry_out(op, "pin", place, Some(Amount { files, bytes: missing_bytes }))
}

/// Tells of files that can never be kept.
pub fn tell_live(place: &Place, live: u64) {
    if live > 0 {
        tell(&format!("{}: {} live, and never in the cache", place.shown(), are(live)));
    }
}

/// So many files.
pub fn count(files: u64) -> String {
    if files == 1 { "1 file".into() } else { format!("{files} files") }
}

/// Does something with each of the places that these paths lead to, and tells with which it has failed, scripts on a line of its own.
/// Returns the exit code: the bits of all, and 1 if it has failed with one.
pub fn each(op: &'static str, paths: &[PathBuf], json: bool, mut work: impl FnMut(&Place) -> Result<u8>) -> u8 {
    paths.iter().fold(0, |code, path| {
        let done = Place::of(op, path).and_then(|place| work(&place));
        code | done.unwrap_or_else(|error| {
            let why = error.to_string();
            if json {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                print_told(&absolute, json!({"failed": 1, "failures": [why]}));
            }
            tell(&why);
            1
        })
    })
}

/// That so many files are.
pub fn are(files: u64) -> String {
    format!("{} {}", count(files), if files == 1 { "is" } else { "are" })
}

/// That all of so many files are, which have so many bytes.
pub fn all_are(files: u64, bytes: ByteSize) -> String {
    if files == 1 { format!("1 file ({bytes}) is") } else { format!("all {} ({bytes}) are", count(files)) }
}

/// The status of each of this user's mounts that answers, and whether there are others. A dead one is told, and stands in the way of no other.
///
/// # Errors
/// None of them answers.
pub fn statuses(op: &'static str) -> Result<(Vec<(Mounted, Status)>, bool)> {
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    for mounted in status::ours(op)? {
        match status::of(&mounted) {
            Ok(status) => answers.push((mounted, status)),
            Err(error) => failures.push(error),
        }
    }
    if answers.is_empty()
        && let Some(error) = failures.pop()
    {
        failures.iter().for_each(|error| tell(&error.to_string()));
        return Err(error);
    }
    failures.iter().for_each(|error| tell(&error.to_string()));
    Ok((answers, !failures.is_empty()))
}

/// Prints what is pinned.
fn list(json: bool) -> Result<u8> {
    let (answers, others_are_silent) = statuses("pin")?;
    for (mounted, status) in answers {
        for (path, pin) in status.pins {
            if json {
                print_told(&mounted.path.join(OsStr::from_bytes(pin.path.bytes())), json!(pin));
                continue;
            }
            let looked = match &pin.looked_at {
                None => "not looked at yet".to_owned(),
                Some(at) if pin.failed > 0 => format!("NOT ALL OF IT IS KEPT, as of {}", local_time(at)),
                Some(at) => format!("{} ({}), as of {}", count(pin.files), ByteSize::b(pin.bytes), local_time(at)),
            };
            outln!("{}  {}: {looked}", mounted.path.display(), shown_pin(&path));
        }
    }
    Ok(u8::from(others_are_silent))
}

/// Unpins places and what is pinned below them; the copies stay until something else needs their room. Returns the exit code: 1 if a path is
/// in no mount of this user, its mount does not answer, or nothing is pinned there.
pub fn unpin(paths: &[PathBuf], json: bool) -> u8 {
    each("unpin", paths, json, |place| {
        let unpinned = ask("unpin", place)?;
        if json {
            print_told(&place.path, json!({"unpinned": unpinned}));
        } else {
            outln!("{}: no longer pinned", place.shown());
        }
        Ok(0)
    })
}

/// Drops what is in the cache of these places. Returns the exit code: 1 if something of it could not be dropped, a path is in no mount of this
/// user, or its mount does not answer.
pub fn evict(paths: &[PathBuf], pinned_too: bool, json: bool) -> u8 {
    each("evict", paths, json, |place| {
        if pinned_too && is_pinned(place)? {
            ask("unpin", place)?;
        }
        let tally = carry_out("evict", "evict", place, None)?;
        let Tally { dropped, dropped_bytes, pinned, open, failed, .. } = tally;
        if json {
            print_json(&place.path, &tally);
        } else {
            outln!("{}: {} ({}) dropped from the cache", place.shown(), count(dropped), ByteSize::b(dropped_bytes));
        }
        if pinned > 0 {
            // Only a pin of a folder above the place is left.
            let again = if pinned_too { "unpin the folder that is" } else { "evict --pinned unpins first" };
            tell(&format!("{}: {} kept, being pinned; {again}", place.shown(), are(pinned)));
        }
        if open > 0 {
            tell(&format!("{}: {} kept, being open", place.shown(), are(open)));
        }
        Ok(u8::from(failed + open > 0))
    })
}

/// Whether something at or below a place is pinned, or something that it lies in.
fn is_pinned(place: &Place) -> Result<bool> {
    let below = place.below();
    let below = Path::new(OsStr::from_bytes(&below));
    let pins = status::of(&place.mounted)?.pins;
    let mut pinned = pins.values().map(|pin| Path::new(OsStr::from_bytes(pin.path.bytes())));
    Ok(pinned.any(|pin| pin.starts_with(below) || below.starts_with(pin)))
}

/// Asks the sources about these places now. Returns the exit code: 1 if a path is in no mount of this user, its mount does not answer, or its
/// source cannot be asked.
pub fn refresh(paths: &[PathBuf], json: bool) -> u8 {
    each("refresh", paths, json, |place| {
        let told = ask("refresh", place)?;
        if json {
            print_told(&place.path, told);
            return Ok(0);
        }
        let what = match (told["names"].as_u64(), told["changed"].as_bool()) {
            (Some(names), _) => format!("asked now: {names} names"),
            (_, Some(true)) => "asked now: there is another version".into(),
            (_, Some(false)) => "asked now: it is the same version".into(),
            _ => "asked now: it is gone".into(),
        };
        outln!("{}: {what}", place.shown());
        Ok(0)
    })
}

/// Asks for something that has no progress, but may have to wait for a source.
fn ask(method: &'static str, place: &Place) -> Result<Value> {
    let answer = connected(&place.mounted)?.ask_patiently(method, errand::at(place));
    answer.map_err(|failure| unanswered(method, &place.mounted, failure))
}
