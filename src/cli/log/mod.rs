//! Where log lines go, and which are written: to standard error in front, to a file otherwise. It knows no source.

mod file;
mod limit;
mod line;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use etcetera::BaseStrategy as _;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use file::LogFile;
pub use file::aside;
use limit::Limit;
use line::{Fields, Line};

/// The environment variable with the filter.
const FILTER: &str = "KITOVUFS_LOG";

/// Our own targets, which are paths of modules.
const OURS: &str = env!("CARGO_PKG_NAME");

/// Logs to standard error the lines that `KITOVUFS_LOG` selects, or else those from `level` on.
pub fn to_stderr(level: &str) {
    log(level, io::stderr);
}

/// Logs to [`file`](mod@file): events too, not only failures.
///
/// # Errors
/// The file cannot be opened.
pub fn to_file() -> io::Result<()> {
    let path = file();
    let file = LogFile::open(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    log("info", Arc::new(file));
    Ok(())
}

/// Tells how many lines were left out, before the process ends.
pub fn finish() {
    limit::finish();
}

/// `kitovufs/kitovufs.log` in the XDG state directory.
pub fn file() -> PathBuf {
    let strategy = etcetera::choose_base_strategy().ok();
    let state = strategy.and_then(|dirs| dirs.state_dir()).unwrap_or_else(std::env::temp_dir);
    state.join("kitovufs").join("kitovufs.log")
}

fn log<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(level: &str, writer: W) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(level));
    lines(filter, Limit::of_process(), writer).init();
}

/// Writes the lines that `filter` selects, within `limit`.
fn lines<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(
    filter: EnvFilter,
    limit: Limit,
    writer: W,
) -> impl Subscriber + Send + Sync {
    // Without a level of its own it would have the libraries make every line that they could log, only for it to be dropped.
    let filter = filter.and(filter_fn(is_safe).with_max_level_hint(LevelFilter::TRACE));
    let lines =
        tracing_subscriber::fmt::layer::<Registry>().fmt_fields(Fields).event_format(Line(limit)).with_writer(writer);
    tracing_subscriber::registry().with(lines.with_filter(filter))
}

/// Whether the code that logs knows which text is a secret. Other crates do not (they log commands with passwords, keys, requests
/// with tokens), whatever level the user selects: their errors come back as errors of the source, in better words. Only the errors
/// of the kernel's side of FUSE have no other way, except for one: that the kernel no longer wants to hear about a request that was
/// interrupted.
fn is_safe(meta: &Metadata<'_>) -> bool {
    let target = meta.target();
    let is_fuse = target.starts_with("fuser::") && target != "fuser::reply" && *meta.level() == Level::ERROR;
    target.split("::").next() == Some(OURS) || is_fuse
}

#[cfg(test)]
mod tests;
