//! `verify` and `offline`: whether what is in the cache is sound, and whether it is enough without a network. The process of the mount
//! looks.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde_json::Value;

use super::errand::{self, carry_out, print_json, tell_failures};
use super::output::outln;
use super::pin::{all_are, count, each, pinned, statuses, tell_live};
use super::place::Place;
use super::progress::{Amount, tell};
use crate::error::Result;
use crate::fs::Tally;

/// The bits of the exit code of `verify`.
const FAILED: u8 = 1;
const DAMAGED: u8 = 4;

/// Hashes what is in the cache of these places, or everything that is in it; what is damaged is dropped, and of a place retrieved again.
/// Returns the exit code: bits for damage that was found, and for something that has failed.
///
/// # Errors
/// No mount answers.
pub fn verify(paths: &[PathBuf], json: bool) -> Result<u8> {
    let mut code = 0;
    if paths.is_empty() {
        let (answers, others_are_silent) = statuses("verify")?;
        code |= u8::from(others_are_silent) * FAILED;
        for (mounted, _) in answers {
            match errand::run("verify", "verify", &mounted, Value::Null, None) {
                Ok(tally) => {
                    tell_failures("verify", &tally);
                    code |= verdict(&mounted.path, &tally, json);
                }
                Err(error) => {
                    tell(&error.to_string());
                    code |= FAILED;
                }
            }
        }
    }
    code |= each("verify", paths, json, |place| {
        let Tally { files, bytes, .. } = errand::count("verify", place)?;
        let tally = carry_out("verify", "verify", place, Some(Amount { files, bytes }))?;
        Ok(verdict(&place.path, &tally, json))
    });
    Ok(code)
}

fn verdict(path: &Path, tally: &Tally, json: bool) -> u8 {
    let shown = path.display();
    let Tally { verified, damaged, repaired, failed, .. } = tally;
    if json {
        print_json(path, tally);
    } else if *damaged == 0 {
        outln!("{shown}: what is in the cache of {} is sound", count(*verified));
    } else {
        let again = if repaired == damaged { "retrieved again" } else { "comes again when it is read" };
        let (verified, damaged) = (count(*verified), count(*damaged));
        outln!("{shown}: of {verified}, {damaged} had damage, which was dropped and {again}");
    }
    (u8::from(*failed > 0) * FAILED) | (u8::from(*damaged > 0) * DAMAGED)
}

/// Whether these places will work without a network. Unless this is only a `check`, what is missing is retrieved and pinned, and everything
/// is proven by its hash. Returns the exit code: 1 if they will not, a path is in no mount of this user, or its mount does not answer.
pub fn offline(paths: &[PathBuf], check: bool, json: bool) -> u8 {
    each("offline", paths, json, |place| {
        if !check {
            pinned("offline", place)?;
            let Tally { files, bytes, .. } = errand::count("offline", place)?;
            carry_out("offline", "verify", place, Some(Amount { files, bytes }))?;
        }
        let tally = errand::count("offline", place)?;
        if check {
            tell_failures("offline", &tally);
        }
        Ok(u8::from(!works(place, &tally, check, json)))
    })
}

/// Says whether a place will work.
fn works(place: &Place, tally: &Tally, check: bool, json: bool) -> bool {
    let Tally { files, bytes, missing, missing_bytes, failed, live, .. } = tally;
    let works = *missing == 0 && *failed == 0;
    let shown = place.shown();
    if json {
        print_json(&place.path, tally);
    } else if works {
        let how = if check { "in the cache (not hashed now)" } else { "in the cache, pinned and proven" };
        outln!("{shown}: works offline: {} {how}", all_are(*files, ByteSize::b(*bytes)));
    } else if *missing > 0 {
        let (missing_bytes, bytes) = (ByteSize::b(*missing_bytes), ByteSize::b(*bytes));
        let verb = if *missing == 1 { "is" } else { "are" };
        let what = format!("{missing} of {} ({missing_bytes} of {bytes}) {verb} missing", count(*files));
        tell(&format!(
            "{shown}: does not work offline: {what}{}",
            if check { "; offline without --check gets them" } else { "" }
        ));
    } else {
        tell(&format!("{shown}: does not work offline: {failed} of its folders and files cannot be had"));
    }
    tell_live(place, *live);
    works
}
