//! Runs what a command does on the async runtime. It knows no command.

use std::io;

use futures::future::select_all;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::children;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::stop::Stop;

/// The exit code of a process that a signal ended while it had changed the terminal.
pub(super) const ENDED: i32 = 1;

/// Does something once a signal wants to end this process, which no longer ends it by itself; as long as the result is kept.
pub(super) fn when_signalled(work: impl FnOnce() + Send + 'static) -> io::Result<Runtime> {
    let runtime = Runtime::new()?;
    let entered = runtime.enter();
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        let mut signal = signal(kind)?;
        signals.push(Box::pin(async move { signal.recv().await }));
    }
    runtime.spawn(async move {
        select_all(signals).await;
        work();
    });
    drop(entered);
    Ok(runtime)
}

/// Does what may block, outside of a runtime. A signal to end ends this process and its children: once a runtime has listened for signals, they do
/// so no longer by themselves.
pub(super) fn endable<T>(work: impl FnOnce() -> T) -> Result<T> {
    let ending = when_signalled(|| {
        children::end_all();
        std::process::exit(ENDED);
    });
    let listening = ending.map_err(|e| Error::new("start", ErrorKind::Other).caused_by(e))?;
    let done = work();
    listening.shutdown_background();
    Ok(done)
}

/// Runs work on an async runtime. A signal to end ends this process and its children; a source that hangs does not keep it.
pub(super) fn on_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Runtime::new().map_err(|e| Error::new("start", ErrorKind::Other).caused_by(e))?;
    let _stop = Stop::listen(&runtime);
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
