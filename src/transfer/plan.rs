//! What is requested, and when: what a reader needs now, and what it is likely to need next. It moves no bytes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::request::{Limit, Request};
use super::{OpenVersion, SMALL, State};
use crate::cache::block::{BLOCK, block_count};
use crate::source::turns::Urgency;

/// How far ahead of a reader who has gone forward for long is retrieved at most, in blocks: 128 MiB.
const AHEAD: usize = 1024;

/// How many requests at once cover the way ahead. Four are as fast as it gets on a line that has no limits (`s3`, `webdav`, at 0 and
/// 20 ms); where every connection has one, more are faster, if they hold little memory.
const AT_A_TIME: (usize, usize) = (4, 8);

/// What those may hold together, in bytes, for being more than the least.
const AT_A_TIME_HOLD: u64 = 44 << 20;

/// A request for less than this many blocks (1 MiB) costs more than its bytes.
const SHORTEST_REQUEST: usize = 8;

/// How far ahead at most when blocks cannot be kept on disk: they wait in memory, which all readers share.
const AHEAD_IN_MEMORY: usize = 8;

/// A reader for whom so many blocks ahead are wanted has read on, and not only the kernel for it: a long request is worth its while.
const FORWARD: usize = 2;

/// How many times what a request costs (see `Pace`) it should bring at least, where readers go forward: its cost is then a fifth. More
/// would leave too little to retrieve at once where every connection is slow.
const COSTS: usize = 4;

/// Where a request costs as much as so many blocks (32 MiB), the first one for a file goes on: its reader probably does too, and if not,
/// what the line holds by then is little next to another request.
const COSTLY: usize = 256;

/// A request for no more blocks than this (4 MiB) is not worth holding back when its reader stops, if they have a place on disk.
const AT_ONCE: usize = 32;

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
        if state.covers(0) || self.missing(0..1).is_empty() {
            return;
        }
        let cost = self.cost();
        let end = if cost >= COSTLY && !self.is_crowded() {
            self.end_of_hole(&state, 1, cost.saturating_mul(COSTS).min(block_count(self.version.size)))
        } else {
            1
        };
        self.launch(
            &mut state,
            Request::new(0, end, Limit::anywhere(1), cost.max(SHORTEST_REQUEST), Urgency::interactive()),
        );
    }

    /// Requests every missing block of `blocks` that is not under way, and up to `ahead` blocks beyond where that is worth a request.
    pub(super) fn request(self: &Arc<Self>, state: &mut State, blocks: &Range<usize>, ahead: usize) {
        let all = block_count(self.version.size);
        let near = if self.version.size <= SMALL { all } else { (blocks.end + AHEAD_IN_MEMORY).min(all) };
        if self.version.size <= SMALL || !self.transfer.source.capabilities().ranges {
            // What was read and is not kept would be missing again.
            let wanted = if self.ahead_in_memory().is_some() { blocks.clone() } else { 0..all };
            if state.requests.is_empty() && self.copy.lacks(&self.transfer.cache, wanted) {
                let limit = Limit { on_disk: all, in_memory: near };
                self.launch(state, Request::new(0, all, limit, all, Urgency::interactive()));
            }
            // Its only request brings the whole file, as fast as its readers go on where it has no place on disk.
            for request in &state.requests {
                request.allow(Limit { on_disk: all, in_memory: near });
            }
            return;
        }
        let horizon = (blocks.end + ahead).min(all);
        let wanted = Limit { on_disk: horizon, in_memory: near.min(horizon) };
        for request in &state.requests {
            // Whether it is where the reader is, or ahead of it as far as the reader wants.
            if request.covers(blocks.start) || (blocks.start..=horizon).contains(&request.upto()) {
                request.allow(wanted);
            }
        }
        let cost = self.cost();
        // Where several read one file, one would soon come to where another has been.
        let long = ahead >= FORWARD && !self.is_crowded() && state.streams.is_alone();
        let worthwhile = if long { cost.saturating_mul(COSTS) } else { 0 };
        // A part of what is left: the last request must not go on alone when the others are done.
        let longest =
            ((horizon - blocks.end) / self.at_a_time()).max(SHORTEST_REQUEST).max(blocks.len()).max(worthwhile);
        for run in self.uncovered(state, blocks.start..horizon).chunk_by(|a, b| a + 1 == *b) {
            let run = run[0]..run[run.len() - 1] + 1;
            let waited_for = run.start < blocks.end;
            // A reader that goes forward frees one block at a time: no request for so little.
            let worth_it = waited_for || run.len() >= (ahead / 2).min(longest) || run.end == all;
            if !worth_it {
                continue;
            }
            for start in run.clone().step_by(longest) {
                let urgency = if start < blocks.end { Urgency::interactive() } else { Urgency::ahead() };
                let mut end = (start + longest).min(run.end);
                if end == horizon && worthwhile > end - start {
                    end = self.end_of_hole(state, end, (start + worthwhile).min(all));
                }
                let at_once = end - start <= AT_ONCE;
                let limit = Limit { on_disk: if at_once { end } else { horizon }, ..wanted };
                self.launch(state, Request::new(start, end, limit, cost.max(SHORTEST_REQUEST), urgency));
            }
        }
    }

    /// What a request costs, in blocks; at most the file.
    fn cost(&self) -> usize {
        let cost = usize::try_from(self.transfer.pace.cost() / BLOCK).unwrap_or(usize::MAX);
        cost.min(block_count(self.version.size))
    }

    /// Long requests keep a place for long: half of the source's places are left for others.
    fn is_crowded(&self) -> bool {
        self.transfer.in_flight.load(Ordering::Relaxed) >= self.transfer.source.capabilities().concurrency / 2
    }

    fn at_a_time(&self) -> usize {
        let held = self.transfer.source.capabilities().buffer.max(1);
        usize::try_from(AT_A_TIME_HOLD / held).unwrap_or(usize::MAX).clamp(AT_A_TIME.0, AT_A_TIME.1)
    }

    /// How far what is missing at `from`, and is not under way, goes on; at most to `most`.
    fn end_of_hole(&self, state: &State, from: usize, most: usize) -> usize {
        let most =
            state.requests.iter().map(|request| request.first).filter(|&first| first >= from).fold(most, usize::min);
        let uncovered = self.uncovered(state, from..most);
        from + uncovered.iter().zip(from..).take_while(|&(&block, expected)| block == expected).count()
    }

    /// Which of these blocks neither are here nor come. In this order: what comes is here from one moment to the next.
    fn uncovered(&self, state: &State, blocks: Range<usize>) -> Vec<usize> {
        let coming: Vec<_> = state.requests.iter().map(|request| request.coming()).collect();
        let mut missing = self.missing(blocks);
        missing.retain(|block| !coming.iter().any(|come| come.contains(block)));
        missing
    }
}
