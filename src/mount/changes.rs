//! Changes that sources report by themselves, on their way to the kernel, which remembers names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Weak};

use fuser::{INodeNo, Notifier};
use tokio::runtime::Runtime;
use tracing::debug;

use crate::fs::{ChangedNames, FileSystem, SourceIndex};
use crate::path::Printable;
use crate::source::Changes;

/// Forwards every change that a source reports to the file system and the kernel, until the file system is gone.
pub(super) fn follow(
    runtime: &Runtime,
    fs: &Arc<FileSystem>,
    notifier: &Notifier,
    sources: Vec<(SourceIndex, Changes)>,
) {
    for (source, changes) in sources {
        runtime.spawn(forward(Arc::downgrade(fs), notifier.clone(), source, changes));
    }
}

async fn forward(fs: Weak<FileSystem>, notifier: Notifier, source: SourceIndex, mut changes: Changes) {
    while let Some(path) = changes.recv().await {
        let Some(fs) = fs.upgrade() else { return };
        debug!("{}: {path} has changed, says the source", Printable(&fs.sources()[source].name));
        forget(notifier.clone(), fs.changed(source, &path)).await;
    }
}

/// Has the kernel ask anew about names.
pub(super) async fn forget(notifier: Notifier, names: ChangedNames) {
    // The kernel may hold the directory while it waits for an answer of ours: not on a thread that answers.
    let told = tokio::task::spawn_blocking(move || {
        for (dir, name) in names {
            // A name that the kernel does not remember is an error to it, and none to us.
            let _ = notifier.inval_entry(INodeNo(dir.0), OsStr::from_bytes(&name));
        }
    });
    let _ = told.await;
}
