//! The request planner: which missing blocks are requested for a reader, and how they are split into requests. Pure decisions over
//! numbered cases: it does no I/O, takes no lock and reads no clock.
//!
//! | case | file | reader | decision |
//! |---|---|---|---|
//! | P1 | comes whole (small, or without ranges), nothing under way | needs a missing block | one request for the whole file |
//! | P2 | comes whole, a request under way | | no second one; the first goes on to the reader |
//! | P3 | comes in ranges | needs missing blocks that do not come | requests them at once, ahead of other requests |
//! | P4 | | reads forward | the blocks ahead, split over as many requests as the line carries well; over fewer, down to two, where one connection alone brings much. While little of them is under way the next ones are short, so that they end one after the other |
//! | P5 | | reads forward, and only a few blocks more are wanted | nothing yet, so that no request is for so little |
//! | P6 | | reads forward alone, so far that whole requests are ahead, or on a line where a request costs much | the last request goes on beyond what is wanted |
//! | P7 | a request under way at the reader, or ahead of it | | it goes on as far as the reader wants |
//! | P8 | is opened | has read nothing yet | its first block |
//! | P9 | is opened, on a line where a request costs very much | | the first block, and what follows it |
//! | P10 | the same as P8, on a line that brings the end at once and has a place left | | its end beside it |
//! | P11 | comes in ranges | reads forward, and waits for what has not come | more blocks ahead, of which about half have come by then |
//!
//! A block is requested only if it is neither here nor *coming*: asked for by a request under way that soon gets there.

use std::ops::Range;

/// How far ahead of a reader who has gone forward for long is retrieved at most, in blocks: 128 MiB.
pub(super) const AHEAD: usize = 1024;

/// How far ahead at most (8 MiB) when blocks cannot be kept on disk: they wait in memory, which all readers share.
pub(super) const AHEAD_IN_MEMORY: usize = 64;

/// How many requests at once cover the way ahead. Four are as fast as it gets on a line that has no limits (`s3`, `webdav`, at 0 and
/// 20 ms); where every connection has one, more are faster, if they hold little memory.
const AT_A_TIME: (usize, usize) = (4, 8);

/// How many at once at the least, however fast they are: one brings bytes while the other begins.
const AT_LEAST: usize = 2;

/// What those may hold together, in bytes, for being more than the least.
const AT_A_TIME_HOLD: u64 = 30 << 20;

/// A request for less than this many blocks (1 MiB) costs more than its bytes.
const SHORTEST_REQUEST: usize = 8;

/// A reader for whom this many blocks ahead are wanted has read on, and not only the kernel for it: a long request is worth its while.
const FORWARD: usize = 2;

/// How many times its cost (see `Pace`) a long request brings at least: its cost is then a third of the whole, and others bring bytes
/// meanwhile. More would leave too little to retrieve at once where every connection is slow.
const COSTS: usize = 2;

/// The same where a request is [`COSTLY`]: few are made side by side there.
const COSTS_OF_COSTLY: usize = 4;

/// Where a request costs as much as this many blocks (32 MiB), the first one for a file goes on: its reader probably does too, and if not,
/// what the line holds by then is little next to another request.
const COSTLY: usize = 256;

/// A request for no more blocks than this (4 MiB) is not worth holding back when its reader stops, if they have a place on disk.
const AT_ONCE: usize = 32;

/// How many blocks are looked at together in a search for a missing one: a file may have more than can be listed.
const LOOKED_AT: usize = 4096;

/// Blocks before these are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// If they have a place on disk.
    pub(super) on_disk: usize,
    /// If they wait in memory, and so many more as their version may have there now.
    pub(super) in_memory: usize,
}

impl Limit {
    /// Those before `block`, wherever they go.
    pub(super) fn anywhere(block: usize) -> Self {
        Self { on_disk: block, in_memory: block }
    }

    /// Whether it is beyond a block of a version that may have so many blocks more `in_memory`, if they have no place on disk.
    pub(super) fn is_beyond(self, block: usize, in_memory: Option<usize>) -> bool {
        block
            < match in_memory {
                Some(more) => (self.in_memory + more).min(self.on_disk.max(self.in_memory)),
                None => self.on_disk,
            }
    }
}

/// One version of a file, as the planner sees it.
pub(super) struct View<'a> {
    /// How many blocks the file has.
    pub(super) blocks: usize,
    /// Whether the file is so small that every request is for all of it.
    pub(super) small: bool,
    /// Whether the source can be asked for a part of a file.
    pub(super) ranges: bool,
    /// Whether retrieved blocks have a place on disk. Otherwise they wait in memory for their readers.
    pub(super) kept: bool,
    /// The requests under way, as they were before `missing` is called: the block that a request brings next may be here at any moment, and
    /// must not seem to be neither coming nor here.
    pub(super) under_way: Vec<UnderWay>,
    /// Which of these blocks are not here.
    pub(super) missing: &'a dyn Fn(Range<usize>) -> Vec<usize>,
}

/// A request under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// The first block that it was made for.
    pub(super) first: usize,
    /// The block that it brings next.
    pub(super) next: usize,
    /// The block after its last one.
    pub(super) end: usize,
    /// Blocks before this one come soon enough to be waited for.
    pub(super) soon: usize,
}

/// A reader of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    /// The blocks that it needs now.
    pub(super) blocks: Range<usize>,
    /// How many blocks beyond it is likely to need next.
    pub(super) ahead: usize,
    /// How many, if it has waited for what it read just now.
    pub(super) waiting: Option<usize>,
    /// Whether it has been the only reader of the version for a while.
    pub(super) alone: bool,
}

/// The line to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// The cost of a request (see `Pace`), in blocks.
    pub(super) cost: usize,
    /// How many blocks one connection brings so fast that other requests hardly notice.
    pub(super) at_once: usize,
    /// How many bytes the source holds in memory for each request.
    pub(super) buffer: u64,
    /// Whether half of the places for requests are taken. The other half is left to short requests.
    pub(super) crowded: bool,
}

/// The requests to make for a reader.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Requests under way, by their index, that may go on to this limit.
    pub(super) go_on: Vec<(usize, Limit)>,
    /// New requests, in this order.
    pub(super) requests: Vec<Planned>,
}

/// A request to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// The blocks to ask for.
    pub(super) blocks: Range<usize>,
    /// How far they are wanted yet.
    pub(super) limit: Limit,
    /// A later reader waits for a block that is at most so far from the one that comes next, rather than asking for it anew.
    pub(super) near: usize,
    /// Whether a reader waits for the first of them.
    pub(super) waited_for: bool,
}

impl UnderWay {
    /// The blocks that it brings, and soon enough.
    pub(super) fn coming(&self) -> Range<usize> {
        self.next..self.end.min(self.soon)
    }
}

impl View<'_> {
    fn comes_whole(&self) -> bool {
        self.small || !self.ranges
    }

    /// Whether one of these blocks is not here.
    fn lacks(&self, blocks: Range<usize>) -> bool {
        let mut parts = blocks.clone().step_by(LOOKED_AT).map(|first| first..(first + LOOKED_AT).min(blocks.end));
        parts.any(|part| !(self.missing)(part).is_empty())
    }

    fn is_coming(&self, block: usize) -> bool {
        self.under_way.iter().any(|request| request.coming().contains(&block))
    }

    /// Which of these blocks neither are here nor come.
    fn uncovered(&self, blocks: Range<usize>) -> Vec<usize> {
        let mut missing = (self.missing)(blocks);
        missing.retain(|&block| !self.is_coming(block));
        missing
    }

    /// Case P7: the requests that go on to `limit` for a reader that needs `block` next.
    fn go_on(&mut self, block: usize, limit: Limit) -> Vec<(usize, Limit)> {
        let mut go_on = Vec::new();
        for (index, request) in self.under_way.iter_mut().enumerate() {
            if request.coming().contains(&block) || (block..=limit.on_disk).contains(&request.next) {
                request.soon = request.soon.max(limit.on_disk);
                go_on.push((index, limit));
            }
        }
        go_on
    }

    /// Where the uncovered blocks from `from` on end; at most at `most`, and before the first block of any request under way.
    fn end_of_hole(&self, from: usize, most: usize) -> usize {
        let most =
            self.under_way.iter().map(|request| request.first).filter(|&first| first >= from).fold(most, usize::min);
        let uncovered = self.uncovered(from..most);
        from + uncovered.iter().zip(from..).take_while(|&(&block, expected)| block == expected).count()
    }
}

impl Line {
    /// The shortest request that is worth what it costs, and at most 512 MiB; 0 where requests cost nothing.
    fn worthwhile(&self) -> usize {
        self.cost.min(AHEAD) * if self.cost >= COSTLY { COSTS_OF_COSTLY } else { COSTS }
    }

    fn near(&self) -> usize {
        self.cost.clamp(SHORTEST_REQUEST, AHEAD)
    }

    /// How many blocks all requests bring while each brings so many.
    pub(super) fn brings(&self, each: u64) -> usize {
        usize::try_from(each).unwrap_or(usize::MAX).saturating_mul(self.at_a_time())
    }

    /// How long a request is of those that are `longest` at most, while so many blocks before it have not come: where few have been asked
    /// for each is longer than the one before, so that the line brings the next ones while a first one ends.
    fn length(&self, longest: usize, to_come: usize) -> usize {
        (2 * to_come * longest / self.at_a_time()).isqrt().clamp(SHORTEST_REQUEST.min(longest), longest)
    }

    fn at_a_time(&self) -> usize {
        usize::try_from(AT_A_TIME_HOLD / self.buffer.max(1)).unwrap_or(usize::MAX).clamp(AT_A_TIME.0, AT_A_TIME.1)
    }
}

/// Cases P1 to P7.
pub(super) fn plan(view: View<'_>, reader: &Reader, line: &Line) -> Plan {
    if view.comes_whole() { plan_whole(&view, reader) } else { plan_ranges(view, reader, line) }
}

/// Cases P8 and P9.
pub(super) fn plan_beginning(view: &View<'_>, line: &Line) -> Option<Planned> {
    if view.is_coming(0) || !view.lacks(0..1) {
        return None;
    }
    let goes_on = line.cost >= COSTLY && !line.crowded;
    let end = if goes_on { view.end_of_hole(1, line.worthwhile().min(view.blocks)) } else { 1 };
    Some(Planned { blocks: 0..end, limit: Limit::anywhere(1), near: line.near(), waited_for: true })
}

/// Case P10: `end` are the blocks of the file's end. They have a place on disk, or they would push others out of memory.
pub(super) fn plan_end(view: &View<'_>, end: Range<usize>, line: &Line) -> Option<Planned> {
    let is_cheap = line.cost < COSTLY && !line.crowded && end.len() <= line.at_once;
    if view.comes_whole() || !view.kept || !is_cheap || view.uncovered(end.clone()).len() < end.len() {
        return None;
    }
    Some(Planned { limit: Limit::anywhere(end.end), blocks: end, near: line.near(), waited_for: false })
}

/// Cases P1 and P2. The only request brings the whole file, as fast as its readers go on where it has no place on disk.
fn plan_whole(view: &View<'_>, reader: &Reader) -> Plan {
    let all = view.blocks;
    let in_memory = if view.small { all } else { reader.blocks.end };
    let limit = Limit { on_disk: all, in_memory };
    let go_on = (0..view.under_way.len()).map(|index| (index, limit)).collect();
    // A block that was read and is not kept is missing again, and nobody needs it.
    let wanted = if view.kept { 0..all } else { reader.blocks.clone() };
    let needed = view.under_way.is_empty() && view.lacks(wanted);
    let request = needed.then_some(Planned { blocks: 0..all, limit, near: all, waited_for: true });
    Plan { go_on, requests: request.into_iter().collect() }
}

/// Cases P3 to P7, and P11.
fn plan_ranges(mut view: View<'_>, reader: &Reader, line: &Line) -> Plan {
    let Reader { blocks, ahead, alone, .. } = reader;
    let all = view.blocks;
    let waiting = reader.waiting.filter(|_| !line.crowded);
    let horizon = (blocks.end + waiting.unwrap_or(*ahead)).min(all);
    let limit = Limit { on_disk: horizon, in_memory: blocks.end };
    let go_on = view.go_on(blocks.start, limit);
    // Several readers of one file soon come to where another has been: no long requests for them.
    let goes_on = *ahead >= FORWARD && !line.crowded && *alone;
    let worthwhile = if goes_on { line.worthwhile() } else { 0 };
    // An even share of what is left: the last request does not go on alone when the others are done.
    let left = horizon.saturating_sub(blocks.end);
    let share = (left / line.at_a_time()).max(line.at_once.min(left / AT_LEAST));
    let longest = share.max(SHORTEST_REQUEST).max(blocks.len()).max(worthwhile);
    // What is asked for a reader that waits may all come in vain, unless it is held back in memory.
    let is_bound = waiting.is_some() && view.kept;
    let goes_beyond = if goes_on && *ahead >= longest && !is_bound { longest } else { worthwhile };
    let shortest = blocks.len().max(if worthwhile > share { worthwhile } else { 0 });
    let enough = (ahead / 2).min(longest - goes_beyond / 2);
    let places = line.at_a_time().saturating_sub(view.under_way.len());
    let missing = (view.missing)(blocks.start..horizon);
    let mut requests = Vec::new();
    for run in view.uncovered(blocks.start..horizon).chunk_by(|a, b| a + 1 == *b) {
        let run = run[0]..run[run.len() - 1] + 1;
        let is_enough = run.len() >= enough || run.end == all;
        if run.start >= blocks.end && !is_enough {
            continue;
        }
        let mut start = run.start;
        while start < run.end && (start < blocks.end || requests.len() < places) {
            let to_come = missing.partition_point(|&block| block < start);
            let length = if waiting.is_some() { line.length(longest, to_come).max(shortest) } else { longest };
            let mut end = (start + length).min(run.end);
            if end == horizon && goes_beyond.min(length) > end - start {
                end = view.end_of_hole(end, (start + goes_beyond.min(length)).min(all));
            }
            let on_disk = if end - start <= AT_ONCE { end } else { horizon };
            let limit = Limit { on_disk, ..limit };
            requests.push(Planned { blocks: start..end, limit, near: line.near(), waited_for: start < blocks.end });
            start = end;
        }
    }
    Plan { go_on, requests }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
