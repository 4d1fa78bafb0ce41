//! `Request`: a run of blocks that is being retrieved, as far as its readers want it; a version makes those that the planner decides on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::debug;

use super::plan::{AHEAD, AHEAD_IN_MEMORY, Limit, Line, Planned, Reader, UnderWay, View, plan, plan_beginning};
use super::{OpenVersion, SMALL, State};
use crate::cache::block::{BLOCK, block_count};
use crate::error::Result;
use crate::source::Capabilities;
use crate::source::turns::Urgency;

/// For how long a request whose reader has stopped keeps its connection. Then it is cut off, and what follows is asked for again.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a request whose reader has stopped checks whether other requests want its place.
const PAUSE_CHECK: Duration = Duration::from_secs(1);

/// A request for a run of blocks that is under way.
///
/// Its answer may be much longer than what its readers want yet. It is read up to a limit that goes ahead of them, and cut off when
/// they have stopped, or when what is left is being retrieved by others.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) first: usize,
    /// The block after the last one; can only shrink.
    end: AtomicUsize,
    /// Which blocks are wanted; can only grow.
    limit: watch::Sender<Limit>,
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
    /// A request as planned, of which nothing has come yet.
    pub(super) fn new(planned: Planned) -> Self {
        let Planned { blocks, limit, near, waited_for } = planned;
        let progress = watch::Sender::new(Progress { upto: blocks.start, result: None });
        let limit = watch::Sender::new(limit);
        let urgency = if waited_for { Urgency::interactive() } else { Urgency::ahead() };
        Self {
            first: blocks.start,
            end: AtomicUsize::new(blocks.end),
            limit,
            near,
            urgency,
            progress,
            cut: Notify::new(),
        }
    }

    pub(super) fn end(&self) -> usize {
        self.end.load(Ordering::Relaxed)
    }

    /// The block that comes next.
    pub(super) fn upto(&self) -> usize {
        self.progress.borrow().upto
    }

    /// How far it is, for the planner.
    pub(super) fn under_way(&self) -> UnderWay {
        let next = self.upto();
        let soon = self.limit.borrow().on_disk.max(next + self.near);
        UnderWay { first: self.first, next, end: self.end(), soon }
    }

    /// Whether it brings this block, and soon enough to be waited for.
    pub(super) fn covers(&self, block: usize) -> bool {
        self.under_way().coming().contains(&block)
    }

    /// Blocks within this limit are wanted.
    pub(super) fn allow(&self, limit: Limit) {
        self.limit.send_if_modified(|before| {
            let both =
                Limit { on_disk: limit.on_disk.max(before.on_disk), in_memory: limit.in_memory.max(before.in_memory) };
            std::mem::replace(before, both) != both
        });
    }

    /// Others retrieve what begins with this block.
    pub(super) fn end_before(&self, block: usize) {
        if self.upto() < block {
            self.end.fetch_min(block, Ordering::Relaxed);
        }
    }

    /// Whether this block, which would wait in memory or not, is wanted now.
    pub(super) fn wants(&self, block: usize, in_memory: bool) -> bool {
        self.limit.borrow().is_beyond(block, in_memory)
    }

    /// Returns when this block is wanted; never, if the request is cut off before. `in_memory` says whether it would wait in memory,
    /// `is_in_the_way` whether others wait for the request's end.
    pub(super) async fn until_wanted(
        &self,
        block: usize,
        in_memory: impl Fn() -> bool,
        is_in_the_way: impl Fn() -> bool,
    ) {
        let mut limit = self.limit.subscribe();
        for _ in 0..PAUSE_TIMEOUT.as_secs() / PAUSE_CHECK.as_secs() {
            if timeout(PAUSE_CHECK, limit.wait_for(|limit| limit.is_beyond(block, in_memory()))).await.is_ok() {
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

impl OpenVersion {
    /// Requests what a reader at `blocks` needs now and is likely to need next.
    pub(super) fn request_ahead(self: &Arc<Self>, blocks: &Range<usize>) {
        let room = self.transfer.cache.limits().max_size;
        // Not so far that a small cache would be turned over by one reader.
        let limit = self.ahead_in_memory().unwrap_or(AHEAD.min(block_count(room / 8)).max(AHEAD_IN_MEMORY));
        let mut state = self.state.lock();
        let ahead = state.streams.follow(blocks, limit);
        self.request(&mut state, blocks, ahead);
    }

    /// How many blocks ahead of a reader are brought at most while they have no place on disk. `None` while they have.
    pub(super) fn ahead_in_memory(&self) -> Option<usize> {
        let share = self.transfer.cache.ahead_in_memory(self.version.size)?;
        Some(share.clamp(1, AHEAD_IN_MEMORY))
    }

    /// Requests the first block.
    pub(super) fn request_beginning(self: &Arc<Self>) {
        if self.is_doubtful() {
            return;
        }
        let mut state = self.state.lock();
        let missing = |blocks| self.missing(blocks);
        let planned = plan_beginning(&self.view(&state, &missing), &self.line());
        if let Some(planned) = planned {
            self.launch(&mut state, planned);
        }
    }

    /// Retrieves all of a small file, and of a large one the first block, before anybody reads it; less urgently than what readers wait
    /// for. Returns whether a request was made.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn retrieve_ahead(self: &Arc<Self>) -> Result<bool> {
        let request = {
            let mut state = self.state.lock();
            let Some(planned) = self.plan_ahead(&state) else { return Ok(false) };
            self.launch(&mut state, planned)
        };
        let mut progress = request.progress.subscribe();
        let ended = progress.wait_for(|progress| progress.result.is_some()).await;
        ended.ok().and_then(|progress| progress.result.clone()).unwrap_or(Ok(())).map(|()| true)
    }

    /// The request for what is retrieved ahead of readers, unless it is here, comes, or has no place on disk.
    fn plan_ahead(&self, state: &State) -> Option<Planned> {
        let is_refused = state.first_attempt.is_some() || self.transfer.evidence.damage(self.copy.key()).is_some();
        if self.copy.is_proven() || is_refused || self.ahead_in_memory().is_some() || !state.requests.is_empty() {
            return None;
        }
        let missing = |blocks| self.missing(blocks);
        let (view, line) = (self.view(state, &missing), self.line());
        let planned = if view.small {
            let reader = Reader { blocks: 0..view.blocks, ahead: 0, alone: true };
            plan(view, &reader, &line).requests.into_iter().next()
        } else {
            plan_beginning(&view, &line).map(|planned| Planned { blocks: 0..1, ..planned })
        };
        planned.map(|planned| Planned { waited_for: false, ..planned })
    }

    /// Requests every missing block of `blocks` that is not under way, and up to `ahead` blocks beyond where that is worth a request.
    pub(super) fn request(self: &Arc<Self>, state: &mut State, blocks: &Range<usize>, ahead: usize) {
        let reader = Reader { blocks: blocks.clone(), ahead, alone: state.streams.is_alone() };
        let missing = |blocks| self.missing(blocks);
        let plan = plan(self.view(state, &missing), &reader, &self.line());
        for (index, limit) in plan.go_on {
            state.requests[index].allow(limit);
        }
        for planned in plan.requests {
            self.launch(state, planned);
        }
    }

    /// What the planner sees of this version.
    fn view<'a>(&self, state: &State, missing: &'a dyn Fn(Range<usize>) -> Vec<usize>) -> View<'a> {
        View {
            blocks: block_count(self.version.size),
            small: self.version.size <= SMALL,
            ranges: self.transfer.source.capabilities().ranges,
            kept: self.ahead_in_memory().is_none(),
            under_way: state.requests.iter().map(|request| request.under_way()).collect(),
            missing,
        }
    }

    /// What the planner knows of the line to the source.
    fn line(&self) -> Line {
        let Capabilities { buffer, concurrency, .. } = self.transfer.source.capabilities();
        let cost = usize::try_from(self.transfer.pace.cost() / BLOCK).unwrap_or(usize::MAX);
        let crowded = self.transfer.in_flight.load(Ordering::Relaxed) >= concurrency / 2;
        Line { cost, buffer, crowded }
    }

    /// Begins to carry out a request. Others that would come to the same blocks later end before them.
    fn launch(self: &Arc<Self>, state: &mut State, planned: Planned) -> Arc<Request> {
        let request = Arc::new(Request::new(planned));
        for other in &state.requests {
            other.end_before(request.first);
        }
        self.transfer.in_flight.fetch_add(1, Ordering::Relaxed);
        state.requests.push(request.clone());
        let (version, launched) = (self.clone(), request.clone());
        // A task of its own: a reader that gives up must not take the bytes from the others.
        tokio::spawn(async move {
            let result = version.carry_out(&request).await;
            version.transfer.in_flight.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = &result {
                debug!("{error}");
            }
            version.state.lock().requests.retain(|other| !Arc::ptr_eq(other, &request));
            request.progress.send_modify(|progress| progress.result = Some(result));
        });
        launched
    }
}
