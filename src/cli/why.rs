//! `why`: what is known of one file and its source, in sentences. It asks through extended attributes, and retrieves nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytesize::ByteSize;

use super::place::{Place, attribute};
use super::status::{self, local_time, safe, shown_pin, state};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::xattr::NAMES;

/// What is known of a file that `live` names.
const LIVE: &str = "It is live: what it holds is what the source says now, which is asked once a second at most. Nothing of it is in the \
                    cache: every read retrieves what it reads.";

/// Attributes by name.
type Known = BTreeMap<&'static str, String>;

/// What is known of `typed`: sentences, or JSON.
///
/// # Errors
/// It is in no mount of this user, or cannot be looked at.
pub fn why(typed: &Path, json: bool) -> Result<String> {
    let place = Place::of("why", typed)?;
    let Place { path, mounted } = &place;
    let failed = |e| Error::new("why", ErrorKind::Other).on(typed.display()).caused_by(e);
    let mut known = Known::new();
    for name in NAMES {
        if let Some(value) = attribute(path, name).map_err(failed)? {
            known.insert(name, value);
        }
    }
    let metadata = path.metadata().map_err(failed)?;
    // The source may have been asked just now, so its state is told as it is after that.
    let status = status::of(mounted)?;
    let below = place.below();
    let is_above = |pin: &[u8]| Path::new(OsStr::from_bytes(&below)).starts_with(OsStr::from_bytes(pin));
    let pin = status.pins.into_iter().find(|(_, pin)| is_above(pin.path.bytes()));
    known.extend(pin.map(|(name, _)| ("pinned", shown_pin(&name).to_owned())));
    let source = known.get("source").and_then(|name| Some((name, status.sources.get(name)?)));
    let source_state = source.map(|(name, source)| state(name, source));
    if json {
        known.extend(source.map(|(_, source)| ("source_state", source.state.clone())));
        known.insert("size", metadata.len().to_string());
        return Ok(safe(&format!("{:#}\n", serde_json::json!(known))));
    }
    let mut sentences = vec![belongs(path, &known)];
    sentences.extend(source_state.map(|state| format!("The source: {state}.")));
    if known.get("state").is_some_and(|state| state == "live") {
        sentences.push(LIVE.into());
    } else if metadata.is_file() {
        sentences.extend([version(&metadata, &known), asked(&known), cost(&metadata, &known)]);
    }
    if let Some(pin) = known.get("pinned") {
        sentences.push(format!("It is pinned ({pin}): kept in the cache, and retrieved again when it has changed."));
    }
    Ok(sentences.join("\n") + "\n")
}

/// Which file of which source it is.
fn belongs(path: &Path, known: &Known) -> String {
    let path = path.display();
    match (known.get("source"), known.get("path")) {
        (Some(source), Some(remote)) => format!("{path} is {remote} of {source}."),
        (Some(sources), None) => format!("{path} is put together from {}.", sources.replace('\n', ", ")),
        _ => format!("{path} is a folder of kitovufs itself."),
    }
}

/// Which version it is, and since when.
fn version(metadata: &Metadata, known: &Known) -> String {
    let size = ByteSize::b(metadata.len());
    let since = metadata.modified().ok().filter(|&at| at != UNIX_EPOCH);
    let since = since.and_then(|at| jiff::Timestamp::try_from(at).ok());
    let since =
        since.map_or("the source does not tell of when".into(), |at| format!("of {}", local_time(&at.to_string())));
    let digest = known.get("digest").map_or("without a digest", |digest| digest);
    format!("Its version: {size}, {since}; {digest}.")
}

/// When the source was asked, and why nothing newer is shown.
fn asked(known: &Known) -> String {
    if known.get("state").is_some_and(|state| state == "stale") {
        return "A newer version is known: this one is shown until the name is looked up again.".into();
    }
    let Some(checked) = known.get("checked") else {
        return "The source was not asked about it since the mount: what it told before is shown.".into();
    };
    let asked = format!("The source was asked at {}, and told of nothing newer", local_time(checked));
    let fresh_for = known.get("fresh_for").and_then(|text| humantime::parse_duration(text).ok());
    let until = checked.parse::<jiff::Timestamp>().ok().zip(fresh_for).and_then(|(at, long)| at.checked_add(long).ok());
    match until {
        Some(until) if until > jiff::Timestamp::now() => {
            let (until, long) = (local_time(&until.to_string()), &known["fresh_for"]);
            format!("{asked}; that counts until {until} (fresh_for = {long}).")
        }
        Some(_) => format!("{asked}; it is asked again when the name is looked up or the file is opened."),
        None => format!("{asked}."),
    }
}

/// What an open and a read of everything would cost now, and whether the copy is proven.
fn cost(metadata: &Metadata, known: &Known) -> String {
    let proof = match (known.get("digest"), known.get("local_digest")) {
        (Some(remote), Some(local)) if remote == local => "its digest is the one that the source tells",
        _ => {
            "the source's digest cannot prove its bytes, hashes of the cache's own do that they stayed what was retrieved"
        }
    };
    match known.get("state").map(String::as_str) {
        Some("cached") => format!("All of it is in the cache: {proof}. Reading it retrieves nothing."),
        Some("offline") => {
            format!("All of it is in the cache: {proof}. It is served although the source cannot be asked.")
        }
        _ => match known.get("missing").and_then(|missing| missing.parse().ok()) {
            Some(missing) => {
                let (missing, all) = (ByteSize::b(missing), ByteSize::b(metadata.len()));
                format!("Reading it retrieves {missing} of {all}, which the cache does not have.")
            }
            None => "Opening it retrieves all of it: the source does not tell its size.".into(),
        },
    }
}
