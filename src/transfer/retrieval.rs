//! Making the requests that the planner decides on, and carrying them out: each is a task of its own, which brings its blocks into the copy.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::debug;

use super::plan::{AHEAD, AHEAD_IN_MEMORY, Line, Planned, Reader, View, plan, plan_beginning};
use super::request::Request;
use super::sink::BlockSink;
use super::{OpenVersion, SMALL, State, Version};
use crate::cache::block::{BLOCK, block_count, bytes_of};
use crate::error::{ErrorKind, Result};
use crate::source::retry::retry_read;
use crate::source::{Capabilities, Retrieval};

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
    fn launch(self: &Arc<Self>, state: &mut State, planned: Planned) {
        let request = Arc::new(Request::new(planned));
        for other in &state.requests {
            other.end_before(request.first);
        }
        self.transfer.in_flight.fetch_add(1, Ordering::Relaxed);
        state.requests.push(request.clone());
        let version = self.clone();
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
    }

    async fn carry_out(self: &Arc<Self>, request: &Request) -> Result<()> {
        let (first, end) = (request.first, request.end());
        let sink = tokio::sync::Mutex::new(BlockSink::new(self, request, end));
        let Capabilities { ranges, buffer, .. } = self.transfer.source.capabilities();
        let asked = bytes_of(&(first..end), self.version.size);
        let held = self.transfer.memory.reserve(buffer.min(asked.end - asked.start) + BLOCK).await;
        let progress = || request.progress.borrow().upto as u64;
        let retrieving = retry_read(self.transfer.short_break, progress, async || {
            let mut sink = sink.lock().await;
            sink.begin(if ranges { None } else { Some(first) });
            let range = bytes_of(&(sink.next..end), self.version.size);
            if range.is_empty() {
                return Ok(());
            }
            let Version { path, digest, size, .. } = &self.version;
            let (urgency, opened) = (request.urgency.clone(), self.opened);
            let retrieval = Retrieval { path, digest, size: Some(*size), range: range.clone(), urgency, opened };
            let retrieved = self.transfer.source.retrieve_file(&retrieval, &mut *sink).await?;
            if retrieved.modified.is_some() {
                self.state.lock().retrieved_modified = retrieved.modified;
            }
            sink.expect_end(&range)
        });
        let result = tokio::select! {
            result = retrieving => result,
            () = request.is_cut_off() => {
                debug!("{}: the request for blocks {first} to {end} was cut off", self.version.path);
                Ok(())
            }
        };
        drop(held);
        let mut sink = sink.into_inner();
        sink.note_pace();
        match result {
            // What came before the source noticed may be of the new version: nobody must find it here.
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                let came = first..sink.next;
                // Who finds them missing before the end of this request waits for that, and asks no other.
                request.progress.send_modify(|progress| progress.upto = first);
                self.tell_disk(|copy| copy.discard_blocks(came)).await;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) if sink.complete => self.judge().await,
            Ok(()) => Ok(()),
        }
    }
}
