//! `Kept`: files that stay open at the server between retrievals, so that a random read does not wait for an `open`. It reads nothing.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::client::Handle;
use super::stamp::Stamp;
use crate::path::RemotePath;

/// How many files of a connection stay open at most; OpenSSH's server has room for 100 or more.
pub(super) const MOST: usize = 16;

/// After how long without a retrieval a file is closed: some servers let nobody rename or delete an open file.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// The open files of a connection, the one kept last at the end.
#[derive(Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<Open>>>);

#[derive(Debug)]
struct Open {
    path: RemotePath,
    stamp: Stamp,
    handle: Arc<Handle>,
    used: Instant,
}

impl Kept {
    /// The handle of this version, if it is open.
    pub(super) fn get(&self, path: &RemotePath, stamp: Stamp) -> Option<Arc<Handle>> {
        let mut files = self.0.lock();
        let open = files.iter_mut().find(|open| open.path == *path && open.stamp == stamp)?;
        open.used = Instant::now();
        Some(Arc::clone(&open.handle))
    }

    /// Whether this version is open.
    pub(super) fn has(&self, path: &RemotePath, stamp: Stamp) -> bool {
        self.0.lock().iter().any(|open| open.path == *path && open.stamp == stamp)
    }

    /// Keeps the handle of this version, instead of another of the same path, until it was idle for a while.
    pub(super) fn keep(&self, path: &RemotePath, stamp: Stamp, handle: Arc<Handle>) {
        self.forget(path);
        let open = Open { path: path.clone(), stamp, handle, used: Instant::now() };
        let (first, surplus) = {
            let mut files = self.0.lock();
            files.push(open);
            let surplus = (files.len() > MOST).then(|| files.remove(0));
            (files.len() == 1, surplus)
        };
        drop(surplus);
        if first {
            tokio::spawn(close_idle(Arc::downgrade(&self.0)));
        }
    }

    /// Closes what is open at this path, once nobody reads from it any longer.
    pub(super) fn forget(&self, path: &RemotePath) {
        let closed: Vec<_> = self.0.lock().extract_if(.., |open| open.path == *path).collect();
        drop(closed);
    }
}

/// Closes files that are idle, until none is open.
async fn close_idle(files: Weak<Mutex<Vec<Open>>>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(files) = files.upgrade() else { return };
        let mut open = files.lock();
        let closed: Vec<_> = open.extract_if(.., |open| open.used.elapsed() >= IDLE).collect();
        let none = open.is_empty();
        drop(open);
        drop(closed);
        if none {
            return;
        }
    }
}
