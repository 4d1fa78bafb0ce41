//! `shared`: makes keys of circles, and looks after the store that machines have in common. It shares nothing itself.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytesize::ByteSize;
use futures::future::join_all;
use serde_json::json;

use super::Failure;
use super::output::{outln, say};
use super::progress::{Line, Progress};
use super::runtime::on_runtime;
use crate::config::{Config, SharedConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::share;
use crate::shared::{CircleKey, Services, SigningKey, Store, Tally, Work, shrink, tally};

/// What is wanted.
#[derive(Debug)]
pub enum SharedRequest {
    /// A new key, in a new file.
    NewKey {
        /// The file.
        file: PathBuf,
        /// A key that signs, and not that of a circle.
        signing: bool,
    },
    /// What is in the store.
    Status {
        /// The configuration file.
        file: PathBuf,
        /// For scripts.
        json: bool,
    },
    /// A store that takes no more room than this.
    Shrink {
        /// The configuration file.
        file: PathBuf,
        /// The bytes of what stays.
        max_size: ByteSize,
    },
    /// A store without values.
    Forget {
        /// The configuration file.
        file: PathBuf,
    },
}

/// Does it. The result is the exit code.
///
/// # Errors
/// The configuration has no store; the store does not work.
pub fn run(request: SharedRequest) -> Result<u8, Failure> {
    match request {
        SharedRequest::NewKey { file, signing } => new_key(&file, signing)?,
        SharedRequest::Status { file, json } => {
            let stores = stores(&configured(&file)?);
            let work = Work::default();
            let counting = join_all(stores.iter().map(|(_, store)| tally(&**store, &work)));
            let tallies = on_runtime(async { Ok(Progress::of(counting, || line(&work)).await) })?;
            let mut code = 0;
            for ((url, _), tally) in stores.iter().zip(tallies) {
                let tally = match tally {
                    Ok(tally) => tally,
                    // The other one may work.
                    Err(error) => {
                        code = 1;
                        if json {
                            outln!("{}", json!({ "store": url, "error": error.to_string() }));
                        } else {
                            say(&format!("{url}: FAILED: {error}\n"));
                        }
                        continue;
                    }
                };
                if json {
                    let [oldest, newest] = [0, 1].map(|which| time(&tally, which));
                    let Tally { values, bytes, odd, .. } = tally;
                    let told = json!({
                        "store": url, "values": values, "bytes": bytes, "other": odd, "oldest": oldest, "newest": newest
                    });
                    outln!("{told}");
                } else {
                    let advice = if tally.odd > 0 { ", which `kitovufs shared gc` or `forget` removes" } else { "" };
                    say(&format!("{url}: {}{advice}{}\n", counted(&tally), between(&tally)));
                }
            }
            return Ok(code);
        }
        SharedRequest::Shrink { file, max_size } => {
            let shared = configured(&file)?;
            let Some((url, store)) = stores(&shared).into_iter().next().filter(|_| shared.store.is_some()) else {
                let why = "there is no `store`, and Redis makes itself smaller (maxmemory, allkeys-lru)";
                return Err(Error::new("make the store smaller", ErrorKind::InvalidConfig).because(why).into());
            };
            make_smaller(&url, &*store, max_size.as_u64())?;
        }
        SharedRequest::Forget { file } => {
            let mut result = Ok(());
            for (url, store) in stores(&configured(&file)?) {
                result = result.and(make_smaller(&url, &*store, 0));
            }
            result?;
        }
    }
    Ok(0)
}

/// Writes a new key into a new file that only its owner can read.
fn new_key(file: &Path, signing: bool) -> Result<()> {
    let failed = |e| Error::new("write key", ErrorKind::Other).on(file.display()).caused_by(e);
    let none = |_| failed(std::io::Error::other("the system has no random bytes"));
    let shown = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let (key, advice) = if signing {
        let key = SigningKey::random().map_err(none)?;
        let public = key.public();
        let advice = format!(
            "write into [shared] of this machine: signing_key = {{ file = {shown:?} }}\nand of every machine that shares: trusted = [\"{public}\"]"
        );
        (key.expose(), advice)
    } else {
        let advice = format!(
            "copy it to every machine that shares, and write into [shared] there: key = {{ file = {shown:?} }}"
        );
        (CircleKey::random().map_err(none)?.expose(), advice)
    };
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let written = writeln!(new, "{key}").and_then(|()| new.sync_all());
    written.inspect_err(|_| _ = std::fs::remove_file(file)).map_err(failed)?;
    say(&format!("{}: a new key; {advice}\n", file.display()));
    Ok(())
}

fn configured(file: &Path) -> Result<SharedConfig, Failure> {
    let (config, problems) = Config::examine(file)?;
    problems.or(())?;
    let none = || {
        let why = "there is no table [shared]; it needs for example store = \"file:///mnt/lab/kitovufs\"";
        Error::new("open the shared store", ErrorKind::InvalidConfig).on(file.display()).because(why)
    };
    Ok(config.shared.ok_or_else(none)?)
}

/// Where values lie, each with its URL: the store first.
fn stores(shared: &SharedConfig) -> Vec<(String, Arc<dyn Store>)> {
    let Services { store, small, .. } = share::services(shared);
    let named = [(&shared.store, store), (&shared.redis, small)].into_iter();
    named.filter_map(|(remote, store)| Some((remote.as_ref()?.url.to_string(), store?))).collect()
}

fn make_smaller(url: &str, store: &dyn Store, max_bytes: u64) -> Result<(), Failure> {
    let work = Work::default();
    let (gone, left) = on_runtime(async { Ok(Progress::of(shrink(store, max_bytes, &work), || line(&work)).await?) })?;
    say(&format!("{url}: {} removed; {} stay\n", counted(&gone), counted(&left)));
    Ok(())
}

/// How far work is.
fn line(work: &Work) -> Line {
    let [found, all, removed] =
        [&work.found, &work.to_remove, &work.removed].map(|count| count.load(Ordering::Relaxed));
    if all == 0 {
        return Line::endless(format!("{found} values found so far"));
    }
    Line::part(removed, all, format!("{removed} of {all} values removed"))
}

fn counted(tally: &Tally) -> String {
    let values = if tally.values == 1 { "1 value".into() } else { format!("{} values", tally.values) };
    let odd = match tally.odd {
        0 => String::new(),
        odd => format!(", and {odd} other things in the place of values"),
    };
    format!("{values}, {}{odd}", ByteSize::b(tally.bytes))
}

/// When values were last used.
fn between(tally: &Tally) -> String {
    match (time(tally, 0), time(tally, 1)) {
        (Some(oldest), Some(newest)) => format!(", last used between {oldest} and {newest}"),
        _ => String::new(),
    }
}

fn time(tally: &Tally, which: usize) -> Option<String> {
    let times: [SystemTime; 2] = tally.used?.into();
    Some(humantime::format_rfc3339_seconds(times[which]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_what_was_found_and_how_much_of_it_is_removed() {
        let work = Work::default();
        work.found.store(1200, Ordering::Relaxed);
        assert_eq!(line(&work), Line::endless("1200 values found so far".into()));
        work.to_remove.store(200, Ordering::Relaxed);
        work.removed.store(50, Ordering::Relaxed);
        assert_eq!(line(&work), Line::part(1, 4, "50 of 200 values removed".into()));
    }
}
