//! Changes that sources report by themselves, on their way to the kernel, which remembers names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Weak};

use fuser::{INodeNo, Notifier};
use tokio::runtime::Runtime;
use tracing::debug;

use crate::fs::{ChangedNames, FileSystem, SourceIndex};
use crate::fuse::Directories;
use crate::path::Printable;
use crate::source::Changes;

/// Forwards every change that a source reports to the file system and the kernel, until the file system is gone.
pub(super) fn follow(runtime: &Runtime, fs: &Arc<FileSystem>, kernel: &Kernel, sources: Vec<(SourceIndex, Changes)>) {
    for (source, changes) in sources {
        runtime.spawn(forward(Arc::downgrade(fs), kernel.clone(), source, changes));
    }
}

async fn forward(fs: Weak<FileSystem>, kernel: Kernel, source: SourceIndex, mut changes: Changes) {
    while let Some(path) = changes.recv().await {
        let Some(fs) = fs.upgrade() else { return };
        debug!("{}: {path} has changed, says the source", Printable(&fs.sources()[source].name));
        kernel.clone().forget(fs.changed(source, &path)).await;
    }
}

/// The kernel, as far as it remembers names.
#[derive(Clone)]
pub(super) struct Kernel {
    pub(super) notifier: Notifier,
    pub(super) directories: Arc<Directories>,
}

impl Kernel {
    /// Has it ask anew about names.
    pub(super) async fn forget(self, names: ChangedNames) {
        let Self { notifier, directories } = self;
        let concerned: Vec<_> = names.iter().map(|(dir, _)| *dir).collect();
        // The kernel may hold the directory while it waits for an answer of ours: not on a thread that answers.
        let told = tokio::task::spawn_blocking(move || {
            for (dir, name) in names {
                // A name that the kernel does not remember is an error to it, and none to us.
                let _ = notifier.inval_entry(INodeNo(dir.0), OsStr::from_bytes(&name));
            }
        });
        let _ = told.await;
        directories.changed(concerned).await;
    }
}
