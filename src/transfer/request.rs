//! `Request`: a run of blocks that is being retrieved, as far as its readers want it. It knows no source.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::error::Result;
use crate::source::turns::Urgency;

/// For how long a request whose reader has stopped keeps its connection. Then it is cut off, and what follows is asked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks meanwhile whether others want its place.
const LOOK: Duration = Duration::from_secs(1);

/// A request for a run of blocks that is under way.
///
/// Its answer may be much longer than what its readers want yet. It is read up to a limit that goes ahead of them, and cut off when
/// they have stopped, or when what is left is being retrieved by others.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) first: usize,
    /// The block after the last one; can only shrink.
    end: AtomicUsize,
    /// Blocks before this one are wanted; can only grow.
    limit: watch::Sender<usize>,
    /// A reader waits for a block that is so near, rather than asking for it anew.
    near: usize,
    pub(super) urgency: Urgency,
    pub(super) progress: watch::Sender<Progress>,
    cut: Notify,
}

#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Blocks before this one can be read.
    pub(super) upto: usize,
    /// Set at the end.
    pub(super) result: Option<Result<()>>,
}

impl Request {
    /// A request for the blocks from `first` to before `end`, of which those before `limit` are wanted yet.
    pub(super) fn new(first: usize, end: usize, limit: usize, near: usize, urgency: Urgency) -> Self {
        let progress = watch::Sender::new(Progress { upto: first, result: None });
        let limit = watch::Sender::new(limit);
        Self { first, end: AtomicUsize::new(end), limit, near, urgency, progress, cut: Notify::new() }
    }

    pub(super) fn end(&self) -> usize {
        self.end.load(Ordering::Relaxed)
    }

    /// The block that comes next.
    pub(super) fn upto(&self) -> usize {
        self.progress.borrow().upto
    }

    /// The blocks that come, and soon enough to be waited for.
    pub(super) fn coming(&self) -> Range<usize> {
        let upto = self.upto();
        let soon = (*self.limit.borrow()).max(upto + self.near);
        upto..self.end().min(soon)
    }

    /// Whether this block is among them.
    pub(super) fn covers(&self, block: usize) -> bool {
        self.coming().contains(&block)
    }

    /// Blocks before this one are wanted.
    pub(super) fn allow(&self, limit: usize) {
        self.limit.send_if_modified(|before| {
            let more = limit > *before;
            *before = limit.max(*before);
            more
        });
    }

    /// Others retrieve what begins with this block.
    pub(super) fn end_before(&self, block: usize) {
        if self.upto() < block {
            self.end.fetch_min(block, Ordering::Relaxed);
        }
    }

    /// Whether this block is wanted now.
    pub(super) fn wants(&self, block: usize) -> bool {
        block < *self.limit.borrow()
    }

    /// Returns when this block is wanted; never, if the request is cut off before. `is_in_the_way` says whether others wait for it.
    pub(super) async fn until_wanted(&self, block: usize, is_in_the_way: impl Fn() -> bool) {
        let mut limit = self.limit.subscribe();
        for _ in 0..PATIENCE.as_secs() / LOOK.as_secs() {
            if timeout(LOOK, limit.wait_for(|limit| block < *limit)).await.is_ok() {
                return;
            }
            if is_in_the_way() {
                break;
            }
        }
        self.cut_off().await
    }

    /// Ends the request here, as a success. Does not return: whoever carries the request out drops what waits for this.
    pub(super) async fn cut_off(&self) {
        self.cut.notify_one();
        std::future::pending().await
    }

    /// Returns when the request is to end.
    pub(super) async fn is_cut_off(&self) {
        self.cut.notified().await;
    }
}
