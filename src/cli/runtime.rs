//! Runs what a command does on the async runtime. It knows no command.

use super::Failure;
use crate::error::{Error, ErrorKind};
use crate::mount::stop::Stop;

/// Runs work on an async runtime. A signal to end ends this process and its children; a source that hangs does not keep it.
pub(super) fn on_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Error::new("start", ErrorKind::Other).caused_by(e))?;
    let _stop = Stop::listen(&runtime);
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
