//! `pin`, `unpin`, `evict` and `refresh`: what the cache keeps, drops, and asks about. The process of the mount does it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde_json::Value;

use super::errand::{self, carry_out, print_json};
use super::output::outln;
use super::place::Place;
use super::progress::{Amount, tell};
use super::status::{self, connected, local_time, shown_pin, unanswered};
use crate::error::Result;
use crate::fs::Tally;

/// Pins places: what is missing of them is retrieved, and kept. Returns the exit code: 1 if not all of it is in the cache then.
///
/// # Errors
/// A path is in no mount of this user, or its mount does not answer.
pub fn pin(paths: &[PathBuf], json: bool) -> Result<u8> {
    if paths.is_empty() {
        return list();
    }
    let mut code = 0;
    for place in places("pin", paths)? {
        let tally = pinned("pin", &place)?;
        let Tally { files, bytes, failed, live, .. } = tally;
        if json {
            print_json(&place.path, &tally);
        } else if failed == 0 {
            outln!("{}: all {} ({}) are in the cache, and stay there", place.shown(), count(files), ByteSize::b(bytes));
        } else {
            tell(&format!("{}: pinned; not all of its {} are in the cache", place.shown(), count(files)));
        }
        tell_live(&place, live);
        code |= u8::from(failed > 0);
    }
    Ok(code)
}

/// Pins a place, once it is known how much is missing of it.
pub fn pinned(op: &'static str, place: &Place) -> Result<Tally> {
    let Tally { files, missing_bytes, .. } = errand::count(op, place)?;
    carry_out(op, "pin", place, Some(Amount { files, bytes: missing_bytes }))
}

/// Tells of files that can never be kept.
pub fn tell_live(place: &Place, live: u64) {
    if live > 0 {
        tell(&format!("{}: {} are live, and never in the cache", place.shown(), count(live)));
    }
}

/// So many files.
pub fn count(files: u64) -> String {
    if files == 1 { "1 file".into() } else { format!("{files} files") }
}

/// The places that these paths lead to.
pub fn places(op: &'static str, paths: &[PathBuf]) -> Result<Vec<Place>> {
    paths.iter().map(|path| Place::of(op, path)).collect()
}

/// Prints what is pinned.
fn list() -> Result<u8> {
    let mut code = 0;
    for mounted in status::ours("pin")? {
        let pins = status::of(&mounted).map(|status| status.pins).unwrap_or_else(|error| {
            tell(&error.to_string());
            code = 1;
            BTreeMap::new()
        });
        for (path, pin) in pins {
            let looked = match &pin.looked_at {
                None => "not looked at yet".to_owned(),
                Some(at) if pin.failed > 0 => format!("NOT ALL OF IT IS KEPT, as of {}", local_time(at)),
                Some(at) => format!("{} ({}), as of {}", count(pin.files), ByteSize::b(pin.bytes), local_time(at)),
            };
            outln!("{}  {}: {looked}", mounted.path.display(), shown_pin(&path));
        }
    }
    Ok(code)
}

/// Unpins places and what is pinned below them; the copies stay until something else needs their room.
///
/// # Errors
/// A path is in no mount of this user, its mount does not answer, or nothing is pinned there.
pub fn unpin(paths: &[PathBuf]) -> Result<u8> {
    for place in places("unpin", paths)? {
        ask("unpin", &place)?;
        outln!("{}: no longer pinned", place.shown());
    }
    Ok(0)
}

/// Drops what is in the cache of these places. Returns the exit code: 1 if something of it could not be dropped.
///
/// # Errors
/// A path is in no mount of this user, or its mount does not answer.
pub fn evict(paths: &[PathBuf], pinned_too: bool, json: bool) -> Result<u8> {
    let mut code = 0;
    for place in places("evict", paths)? {
        if pinned_too {
            ask("unpin", &place)?;
        }
        let tally = carry_out("evict", "evict", &place, None)?;
        let Tally { dropped, dropped_bytes, pinned, open, failed, .. } = tally;
        if json {
            print_json(&place.path, &tally);
        } else {
            outln!("{}: {} ({}) dropped from the cache", place.shown(), count(dropped), ByteSize::b(dropped_bytes));
        }
        if pinned > 0 {
            tell(&format!("{}: {} stay, being pinned; evict --pinned unpins them", place.shown(), count(pinned)));
        }
        if open > 0 {
            tell(&format!("{}: {} stay, being open", place.shown(), count(open)));
        }
        code |= u8::from(failed + open > 0);
    }
    Ok(code)
}

/// Asks the sources about these places now.
///
/// # Errors
/// A path is in no mount of this user, its mount does not answer, or its source cannot be asked.
pub fn refresh(paths: &[PathBuf]) -> Result<u8> {
    for place in places("refresh", paths)? {
        let told = ask("refresh", &place)?;
        let what = match (told["names"].as_u64(), told["changed"].as_bool()) {
            (Some(names), _) => format!("asked now: {names} names"),
            (_, Some(true)) => "asked now: there is another version".into(),
            (_, Some(false)) => "asked now: it is the same version".into(),
            _ => "asked now: it is gone".into(),
        };
        outln!("{}: {what}", place.shown());
    }
    Ok(0)
}

/// Asks for something that has no progress, but may have to wait for a source.
fn ask(method: &'static str, place: &Place) -> Result<Value> {
    let answer = connected(&place.mounted)?.ask_patiently(method, errand::at(place));
    answer.map_err(|failure| unanswered(method, &place.mounted, failure))
}
