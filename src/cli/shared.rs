//! `shared`: makes keys of circles, and looks after the store that machines have in common. It shares nothing itself.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytesize::ByteSize;
use serde_json::json;

use super::Failure;
use super::output::{outln, say};
use super::runtime::on_runtime;
use crate::config::{Config, SharedConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::share;
use crate::shared::{CircleKey, Services, Store, Tally, shrink, tally};

/// What is wanted.
#[derive(Debug)]
pub enum SharedRequest {
    /// A new key, in a new file.
    NewKey(PathBuf),
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
        SharedRequest::NewKey(file) => new_key(&file)?,
        SharedRequest::Status { file, json } => {
            let shared = configured(&file)?;
            for (url, store) in stores(&shared) {
                let tally = on_runtime(async { Ok(tally(&*store).await?) })?;
                if json {
                    let [oldest, newest] = [0, 1].map(|which| time(&tally, which));
                    let (values, bytes) = (tally.values, tally.bytes);
                    let told =
                        json!({ "store": url, "values": values, "bytes": bytes, "oldest": oldest, "newest": newest });
                    outln!("{told}");
                } else {
                    say(&format!("{url}: {}{}\n", counted(&tally), between(&tally)));
                }
            }
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
            for (url, store) in stores(&configured(&file)?) {
                make_smaller(&url, &*store, 0)?;
            }
        }
    }
    Ok(0)
}

/// Writes a new key into a new file that only its owner can read.
fn new_key(file: &Path) -> Result<()> {
    let failed = |e| Error::new("write key", ErrorKind::Other).on(file.display()).caused_by(e);
    let none = |_| failed(std::io::Error::other("the system has no random bytes"));
    let key = CircleKey::random().map_err(none)?;
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let written = writeln!(new, "{}", key.expose()).and_then(|()| new.sync_all());
    written.inspect_err(|_| _ = std::fs::remove_file(file)).map_err(failed)?;
    say(&format!(
        "{}: a new key; copy it to every machine that shares, and write into [shared] there: key = {{ file = {:?} }}\n",
        file.display(),
        std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
    ));
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
    let (gone, left) = on_runtime(async { Ok(shrink(store, max_bytes).await?) })?;
    say(&format!("{url}: {} removed; {} stay\n", counted(&gone), counted(&left)));
    Ok(())
}

fn counted(tally: &Tally) -> String {
    format!("{} values, {}", tally.values, ByteSize::b(tally.bytes))
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
