//! Where log lines go: to standard error in front, to a file otherwise. One style, no colours, no secrets.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use tracing_subscriber::EnvFilter;

/// The environment variable with the filter.
const FILTER: &str = "KITOVUFS_LOG";

/// A log file larger than this, in bytes, is put aside (`.old`) before a mount begins to log.
const PUT_ASIDE: u64 = 4 << 20;

fn filter(default: &str) -> EnvFilter {
    // The kernel's side of the library warns about requests that a read-only file system need not know, and finds it an error that
    // the kernel no longer wants to hear about a request that was interrupted.
    // What these libraries call errors comes back as an error of the source, in better words.
    let default = format!("{default},fuser=error,fuser::reply=off,smb2=off,rustls_platform_verifier=off");
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default));
    // This library logs the commands that it sends, with the password.
    filter.add_directive("suppaftp=off".parse().expect("the directive is right"))
}

/// Logs to standard error what `KITOVUFS_LOG` says, or else from `level` on.
pub fn to_stderr(level: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}

/// Logs to [`file`]: what happens too, not only what goes wrong.
///
/// # Errors
/// The file cannot be opened.
pub fn to_file() -> io::Result<()> {
    let path = file();
    let file = open(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter("info"))
        .with_writer(file)
        .with_ansi(false)
        .with_target(false)
        .init();
    Ok(())
}

/// `kitovufs/kitovufs.log` in the XDG state directory.
pub fn file() -> PathBuf {
    let strategy = etcetera::choose_base_strategy().ok();
    let state = strategy.and_then(|dirs| dirs.state_dir()).unwrap_or_else(std::env::temp_dir);
    state.join("kitovufs").join("kitovufs.log")
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > PUT_ASIDE) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
