//! A line in a simulation: how full the planner keeps it for a reader that takes bytes as fast as they come. No time passes.

use super::super::stream::{Forward, Most, Streams};
use super::*;

/// A line in a simulation, in seconds and blocks.
#[derive(Clone, Copy)]
struct Simulated {
    round_trip: f64,
    /// Blocks a second that a connection brings, and all of them.
    rate: f64,
    all: f64,
    /// How many blocks are confirmed at once, for which it takes another round trip.
    piece: usize,
    /// How many may wait in memory, if they have no place on disk.
    in_memory: Option<usize>,
}

/// A request in a simulation.
struct Simulation {
    under_way: UnderWay,
    limit: Limit,
    asked: f64,
    arrived: f64,
    /// Until when so many blocks are confirmed.
    pieces: Vec<(f64, usize)>,
}

impl Simulated {
    /// How long this line takes to bring so many blocks of a large file to a reader that takes them as they come, how many requests that is, and
    /// how many blocks have come by the end that it has not read.
    fn read(&self, wanted: usize) -> (f64, usize, usize) {
        const TICK: f64 = 0.000_5;
        let all = wanted * 4;
        let rate = self.rate.min(self.all / 8.0);
        let line = Line {
            cost: (self.round_trip * rate) as usize,
            at_once: (rate / 10.0) as usize,
            buffer: 5 << 19,
            crowded: false,
        };
        let mut streams = Streams::default();
        let (mut here, mut requests, mut made) = (vec![false; all], Vec::<Simulation>::new(), 0);
        // The kernel has two reads under way.
        let (mut read, mut asked, mut time, mut is_over) = (0, 0, 0.0, false);
        while read < wanted {
            while asked < read + 2 || std::mem::take(&mut is_over) {
                let is_new = asked < read + 2;
                asked += usize::from(is_new);
                let block = asked - 1;
                let most = Most {
                    ahead: self.in_memory.unwrap_or(AHEAD),
                    waiting: self.in_memory.map_or(AHEAD, |most| most * 2),
                };
                let Forward { ahead, waiting } = match streams.latest().filter(|_| !is_new) {
                    Some((_, forward)) => forward,
                    None => streams.follow(&(block..asked), !here[block], most),
                };
                let missing = |blocks: Range<usize>| blocks.filter(|&block| !here[block]).collect();
                let under_way = requests.iter().map(|request| request.under_way.clone()).collect();
                let kept = self.in_memory.is_none();
                let view = View { blocks: all, small: false, ranges: true, kept, under_way, missing: &missing };
                let plan = plan(view, &Reader { blocks: block..asked, ahead, waiting, alone: true }, &line);
                for (index, limit) in plan.go_on {
                    let Simulation { under_way, limit: before, .. } = &mut requests[index];
                    *before = Limit {
                        on_disk: before.on_disk.max(limit.on_disk),
                        in_memory: before.in_memory.max(limit.in_memory),
                    };
                    under_way.soon = under_way.soon.max(limit.on_disk);
                }
                made += plan.requests.len();
                for Planned { blocks: Range { start, end }, limit, near, .. } in plan.requests {
                    for Simulation { under_way, .. } in &mut requests {
                        under_way.end = if under_way.next < start { under_way.end.min(start) } else { under_way.end };
                    }
                    let soon = limit.on_disk.max(start + near);
                    let under_way = UnderWay { first: start, next: start, end, soon };
                    requests.push(Simulation { under_way, limit, asked: time, arrived: 0.0, pieces: Vec::new() });
                }
            }
            let brings = |request: &&mut Simulation| {
                let Simulation { under_way: UnderWay { first, next, end, .. }, limit, asked, arrived, .. } = request;
                let is_held = !limit.is_beyond(*next, self.in_memory) && *arrived as usize > next - first + self.piece;
                time >= asked + self.round_trip && (*arrived as usize) < end - first && !is_held
            };
            let count = requests.iter_mut().filter(brings).count().max(1);
            for request in requests.iter_mut().filter(brings) {
                let before = request.arrived as usize;
                request.arrived += (self.all / count as f64).min(self.rate) * TICK;
                let (arrived, length) = (request.arrived as usize, request.under_way.end - request.under_way.first);
                if arrived > before && (arrived % self.piece == 0 || arrived >= length) {
                    request.pieces.push((time + self.round_trip, arrived.min(length)));
                }
            }
            for Simulation { under_way, limit, pieces, .. } in &mut requests {
                let confirmed = pieces.iter().filter(|(at, _)| *at <= time).map(|(_, upto)| *upto).max().unwrap_or(0);
                while under_way.next < under_way.end.min(under_way.first + confirmed)
                    && limit.is_beyond(under_way.next, self.in_memory)
                {
                    assert!(!std::mem::replace(&mut here[under_way.next], true), "a block has come twice");
                    under_way.next += 1;
                    under_way.soon = under_way.soon.max(under_way.next + SHORTEST_REQUEST);
                }
            }
            let before = requests.len();
            requests.retain(|Simulation { under_way, .. }| under_way.next < under_way.end);
            is_over = requests.len() < before;
            // Memory brings a block in a tenth of a millisecond.
            read += here[read..(read + 5).min(wanted)].iter().take_while(|here| **here).count();
            time += TICK;
            assert!(time < 100.0, "the reader waits at block {read}");
        }
        (time, made, here[wanted..].iter().filter(|here| **here).count())
    }
}

/// 40 ms, 200 Mbit/s a connection, 800 in all.
const FAR: Simulated = Simulated { round_trip: 0.04, rate: 190.0, all: 762.0, piece: 8, in_memory: None };

#[test]
fn a_far_line_is_filled_for_a_reader_that_waits_for_it() {
    let (time, requests, beyond) = FAR.read(2048);
    let least = 2048.0 / FAR.all;
    println!("{time:.2} s of {least:.2} s at least, {requests} requests, {beyond} blocks beyond");
    assert!(time < least * 1.2, "{time} s");
    assert!(requests < 2048 / 16, "{requests} requests");
    assert!(beyond < 2048 / 10, "{beyond} blocks have come in vain");
}

#[test]
fn a_far_line_is_filled_through_memory_too() {
    let (time, requests, _) = Simulated { in_memory: Some(AHEAD_IN_MEMORY), ..FAR }.read(2048);
    let least = 2048.0 / FAR.all;
    println!("{time:.2} s of {least:.2} s at least, {requests} requests");
    assert!(time < least * 1.3, "{time} s");
}
