//! The request planner, case by case, and over a random history.

use std::cell::RefCell;

use super::super::stream::{Forward, Most, Streams};
use super::*;

/// A version of which nothing is under way, and of whose blocks those in `here` are here.
struct Bench {
    blocks: usize,
    here: Vec<Range<usize>>,
    under_way: Vec<UnderWay>,
    small: bool,
    ranges: bool,
    kept: bool,
}

fn large(blocks: usize) -> Bench {
    Bench { blocks, here: Vec::new(), under_way: Vec::new(), small: false, ranges: true, kept: true }
}

impl Bench {
    fn having(mut self, blocks: Range<usize>) -> Self {
        self.here.push(blocks);
        self
    }

    /// A request for `blocks`, of which those before `next` have come and those before `soon` come soon.
    fn coming(mut self, blocks: Range<usize>, next: usize, soon: usize) -> Self {
        self.under_way.push(UnderWay { first: blocks.start, next, end: blocks.end, soon });
        self
    }

    fn missing(&self, blocks: Range<usize>) -> Vec<usize> {
        blocks.filter(|block| !self.here.iter().any(|here| here.contains(block))).collect()
    }

    fn view<'a>(&self, missing: &'a dyn Fn(Range<usize>) -> Vec<usize>) -> View<'a> {
        let Self { blocks, small, ranges, kept, .. } = *self;
        View { blocks, small, ranges, kept, under_way: self.under_way.clone(), missing }
    }

    fn plan(&self, reader: &Reader, line: &Line) -> Plan {
        plan(self.view(&|blocks| self.missing(blocks)), reader, line)
    }

    fn beginning(&self, line: &Line) -> Option<Planned> {
        plan_beginning(&self.view(&|blocks| self.missing(blocks)), line)
    }
}

/// A line on which a request costs nothing, to a source that holds much for each: four requests at a time.
const FREE: Line = Line { cost: 0, at_once: 8, buffer: 16 << 20, crowded: false };

/// A reader that is alone, and has what it needs before it reads.
fn reader(blocks: Range<usize>, ahead: usize) -> Reader {
    Reader { blocks, ahead, waiting: None, alone: true }
}

/// One that waits.
fn waiting(blocks: Range<usize>, ahead: usize) -> Reader {
    Reader { waiting: Some(ahead * 2), ..reader(blocks, ahead) }
}

fn blocks(plan: &Plan) -> Vec<(usize, usize)> {
    plan.requests.iter().map(|planned| (planned.blocks.start, planned.blocks.end)).collect()
}

fn go_on(plan: &Plan) -> Vec<(usize, usize)> {
    plan.go_on.iter().map(|(index, limit)| (*index, limit.on_disk)).collect()
}

#[test]
fn p1_a_small_file_comes_in_one_request() {
    let small = Bench { small: true, ..large(5) };
    let plan = small.plan(&reader(2..3, 0), &FREE);
    let limit = Limit { on_disk: 5, in_memory: 5 };
    assert_eq!(plan.requests, [Planned { blocks: 0..5, limit, near: 5, waited_for: true }]);
}

#[test]
fn p1_a_file_of_a_source_without_ranges_comes_in_one_request() {
    let whole = Bench { ranges: false, ..large(10_000) };
    let plan = whole.plan(&reader(100..101, 64), &FREE);
    assert_eq!(blocks(&plan), [(0, 10_000)]);
    assert_eq!(plan.requests[0].limit, Limit { on_disk: 10_000, in_memory: 101 });
}

#[test]
fn p1_nothing_is_requested_of_a_file_that_is_here() {
    let here = Bench { ranges: false, ..large(10_000) }.having(0..10_000);
    assert_eq!(here.plan(&reader(0..1, 64), &FREE), Plan::default());
}

#[test]
fn p1_a_hole_far_behind_the_reader_is_found() {
    let hole = Bench { ranges: false, ..large(10_000) }.having(0..9_998).having(9_999..10_000);
    assert_eq!(blocks(&hole.plan(&reader(0..1, 0), &FREE)), [(0, 10_000)]);
}

#[test]
fn p1_what_was_read_and_is_not_kept_is_not_requested_again() {
    let through = Bench { ranges: false, kept: false, ..large(100) }.having(50..60);
    assert_eq!(through.plan(&reader(50..51, 8), &FREE), Plan::default());
    assert_eq!(blocks(&through.plan(&reader(60..61, 8), &FREE)), [(0, 100)]);
}

#[test]
fn p2_a_request_for_the_whole_file_goes_on_to_its_reader() {
    let whole = Bench { ranges: false, ..large(100) }.coming(0..100, 10, 100);
    let plan = whole.plan(&reader(20..21, 0), &FREE);
    assert_eq!(plan.go_on, [(0, Limit { on_disk: 100, in_memory: 21 })]);
    assert_eq!(plan.requests, []);
}

#[test]
fn p3_a_reader_that_jumped_gets_what_it_needs() {
    let plan = large(10_000).plan(&reader(500..502, 0), &FREE);
    let limit = Limit { on_disk: 502, in_memory: 502 };
    assert_eq!(plan.requests, [Planned { blocks: 500..502, limit, near: SHORTEST_REQUEST, waited_for: true }]);
}

#[test]
fn p3_only_what_is_missing_is_requested() {
    let plan = large(100).having(12..14).plan(&reader(10..16, 0), &FREE);
    assert_eq!(blocks(&plan), [(10, 12), (14, 16)]);
}

#[test]
fn p3_a_block_that_comes_soon_is_not_requested_again() {
    let plan = large(100).coming(0..64, 8, 64).plan(&reader(20..21, 0), &FREE);
    assert_eq!(plan.requests, []);
    assert_eq!(go_on(&plan), [(0, 21)]);
}

#[test]
fn p3_a_block_that_comes_late_is_requested_again() {
    let plan = large(100).coming(0..64, 8, 16).plan(&reader(20..21, 0), &FREE);
    assert_eq!(blocks(&plan), [(20, 21)]);
    assert_eq!(go_on(&plan), []);
}

#[test]
fn p3_nothing_beyond_the_end_of_the_file_is_requested() {
    let plan = large(100).plan(&reader(99..100, 64), &FREE);
    assert_eq!(blocks(&plan), [(99, 100)]);
}

#[test]
fn p4_the_way_ahead_is_split_evenly_over_four_requests() {
    let plan = large(10_000).having(0..10).plan(&reader(9..10, 64), &FREE);
    assert_eq!(blocks(&plan), [(10, 26), (26, 42), (42, 58), (58, 74)]);
    assert!(plan.requests.iter().all(|planned| !planned.waited_for));
}

#[test]
fn p4_a_source_that_holds_little_gets_up_to_eight() {
    let line = Line { buffer: 3 << 20, ..FREE };
    let plan = large(10_000).having(0..10).plan(&reader(9..10, 128), &line);
    assert_eq!(blocks(&plan).len(), 8);
    let line = Line { buffer: 6 << 20, ..FREE };
    assert_eq!(blocks(&large(10_000).having(0..10).plan(&reader(9..10, 160), &line)).len(), 5);
}

#[test]
fn p4_where_one_connection_brings_much_two_cover_the_way_ahead() {
    let requests = |at_once| blocks(&large(10_000).having(0..10).plan(&reader(9..10, 128), &Line { at_once, ..FREE }));
    assert_eq!(requests(1000), [(10, 74), (74, 138)]);
    assert_eq!(requests(40), [(10, 50), (50, 90), (90, 130), (130, 170)], "the last goes on");
    assert_eq!(requests(8).len(), 4);
}

#[test]
fn p4_no_request_is_shorter_than_a_mebibyte() {
    let plan = large(10_000).having(0..10).plan(&reader(9..10, 16), &FREE);
    assert_eq!(blocks(&plan), [(10, 18), (18, 26)]);
}

#[test]
fn p4_the_request_that_a_reader_waits_for_comes_first_and_is_urgent() {
    let plan = large(10_000).plan(&reader(0..1, 32), &FREE);
    assert_eq!(blocks(&plan), [(0, 8), (8, 16), (16, 24), (24, 32)]);
    let waited_for: Vec<_> = plan.requests.iter().map(|planned| planned.waited_for).collect();
    assert_eq!(waited_for, [true, false, false, false]);
}

#[test]
fn p4_what_has_no_place_on_disk_is_wanted_as_far_ahead_as_memory_has_room_for_now() {
    let plan = large(10_000).having(0..10).plan(&reader(9..10, 64), &FREE);
    let limit = plan.requests[3].limit;
    assert_eq!(limit, Limit { on_disk: 74, in_memory: 10 });
    let wanted = |more| (0..100).filter(|&block| limit.is_beyond(block, more)).count();
    assert_eq!([Some(0), Some(8), Some(64), Some(90), None].map(wanted), [10, 18, 74, 74, 74]);
}

#[test]
fn p4_no_more_come_at_once_than_the_line_carries_well() {
    let bench = large(10_000).having(0..10).coming(10..26, 12, 26).coming(26..42, 30, 42).coming(42..50, 42, 50);
    assert_eq!(blocks(&bench.plan(&reader(9..10, 64), &FREE)), [(50, 66)]);
    let bench = bench.coming(500..600, 510, 600);
    assert_eq!(blocks(&bench.plan(&reader(9..10, 64), &FREE)), []);
    assert_eq!(blocks(&bench.plan(&waiting(200..201, 64), &FREE)), [(200, 208)], "what a reader waits for does");
}

#[test]
fn p4_a_long_request_is_held_back_at_the_horizon_and_a_short_one_is_not() {
    let plan = large(10_000).having(0..10).plan(&reader(9..10, 64), &FREE);
    assert_eq!(plan.requests[0].limit.on_disk, 26, "two mebibytes come whatever the reader does");
    let plan = large(10_000).having(0..10).plan(&reader(9..10, 512), &FREE);
    assert_eq!(blocks(&plan)[0], (10, 138));
    assert_eq!(plan.requests[0].limit.on_disk, 10 + 512);
}

#[test]
fn p5_a_reader_that_frees_one_block_at_a_time_makes_no_request_for_it() {
    let ahead = large(10_000).having(0..73);
    assert_eq!(ahead.plan(&reader(9..10, 64), &FREE), Plan::default());
}

#[test]
fn p5_the_last_blocks_of_a_file_are_requested_however_few() {
    let end = large(74).having(0..73);
    assert_eq!(blocks(&end.plan(&reader(9..10, 64), &FREE)), [(73, 74)]);
}

#[test]
fn p5_half_of_what_is_wanted_is_enough() {
    let line = Line { buffer: 4 << 20, ..FREE };
    // Eight blocks ahead: four are half of them.
    assert_eq!(blocks(&large(1000).having(0..15).plan(&reader(9..10, 8), &line)), []);
    let shared = Reader { alone: false, ..reader(9..10, 8) };
    assert_eq!(blocks(&large(1000).having(0..14).plan(&shared, &line)), [(14, 18)]);
}

#[test]
fn p6_a_reader_for_whom_whole_requests_are_ahead_gets_the_next_one_before_all_of_it_is_wanted() {
    let line = Line { at_once: 64, ..FREE };
    let at = |here: usize, reader: &Reader| blocks(&large(10_000).having(0..here).plan(reader, &line));
    assert_eq!(at(107, &reader(9..10, 128)), [], "less than half of a request is wanted");
    assert_eq!(at(106, &reader(9..10, 128)), [(106, 170)]);
    let shared = Reader { alone: false, ..reader(9..10, 128) };
    assert_eq!([at(75, &shared), at(74, &shared)], [vec![], vec![(74, 138)]]);
}

const DEAR: Line = Line { cost: 20, ..FREE };

#[test]
fn p6_where_a_request_costs_much_it_goes_on_beyond_what_is_wanted() {
    let plan = large(10_000).having(0..10).plan(&reader(9..10, 4), &DEAR);
    assert_eq!(blocks(&plan), [(10, 10 + 20 * COSTS)]);
    assert_eq!(plan.requests[0].limit.on_disk, 14, "held back until the reader goes on");
    assert_eq!(plan.requests[0].near, 20);
}

#[test]
fn p6_it_ends_where_blocks_are_here_or_come_or_the_file_ends() {
    let reader = reader(9..10, 4);
    assert_eq!(blocks(&large(10_000).having(0..10).having(30..40).plan(&reader, &DEAR)), [(10, 30)]);
    assert_eq!(blocks(&large(10_000).having(0..10).coming(40..90, 45, 90).plan(&reader, &DEAR)), [(10, 40)]);
    assert_eq!(blocks(&large(50).having(0..10).plan(&reader, &DEAR)), [(10, 50)]);
}

#[test]
fn p6_long_requests_are_for_a_lone_reader_that_goes_forward_on_a_line_with_places() {
    let bench = large(10_000).having(0..10);
    let crowded = Line { crowded: true, ..DEAR };
    assert_eq!(blocks(&bench.plan(&reader(9..10, 4), &crowded)), [(10, 14)]);
    assert_eq!(blocks(&bench.plan(&Reader { alone: false, ..reader(9..10, 4) }, &DEAR)), [(10, 14)]);
    assert_eq!(blocks(&bench.plan(&reader(10..11, 1), &DEAR)), [(10, 12)], "it has read one block only");
}

#[test]
fn p7_requests_at_the_reader_or_ahead_go_on_as_far_as_it_wants() {
    let bench =
        large(10_000).having(0..100).coming(100..200, 110, 120).coming(200..300, 200, 210).coming(900..950, 900, 910);
    let plan = bench.plan(&reader(110..111, 128), &FREE);
    assert_eq!(go_on(&plan), [(0, 239), (1, 239)]);
    assert_eq!(plan.requests, [], "what goes on is not requested again");
}

#[test]
fn p7_a_request_behind_the_reader_does_not_go_on() {
    let bench = large(10_000).coming(0..100, 10, 20);
    let plan = bench.plan(&reader(500..501, 0), &FREE);
    assert_eq!(go_on(&plan), []);
    assert_eq!(blocks(&plan), [(500, 501)]);
}

#[test]
fn p8_an_opened_file_gets_its_first_block() {
    let first = Planned { blocks: 0..1, limit: Limit::anywhere(1), near: SHORTEST_REQUEST, waited_for: true };
    assert_eq!(large(10_000).beginning(&FREE), Some(first));
    assert_eq!(large(10_000).having(0..1).beginning(&FREE), None);
    assert_eq!(large(10_000).coming(0..64, 0, 64).beginning(&FREE), None);
}

#[test]
fn p9_where_a_request_costs_very_much_the_first_one_goes_on() {
    let dear = Line { cost: COSTLY, ..FREE };
    assert_eq!(large(10_000).beginning(&dear).map(|planned| planned.blocks), Some(0..COSTLY * COSTS_OF_COSTLY));
    assert_eq!(large(300).beginning(&dear).map(|planned| planned.blocks), Some(0..300));
    assert_eq!(large(10_000).having(5..6).beginning(&dear).map(|planned| planned.blocks), Some(0..5));
    assert_eq!(large(10_000).beginning(&Line { crowded: true, ..dear }).map(|planned| planned.blocks), Some(0..1));
    assert_eq!(large(10_000).beginning(&Line { cost: COSTLY - 1, ..FREE }).map(|planned| planned.blocks), Some(0..1));
}

#[test]
fn p10_an_opened_file_gets_its_end_too() {
    let end = |bench: &Bench, line: &Line| plan_end(&bench.view(&|blocks| bench.missing(blocks)), 98..100, line);
    let planned = Planned { blocks: 98..100, limit: Limit::anywhere(100), near: SHORTEST_REQUEST, waited_for: false };
    assert_eq!(end(&large(100).coming(0..1, 0, 1), &FREE), Some(planned));
    let others = [
        large(100).having(99..100),
        large(100).coming(0..100, 0, 100),
        Bench { kept: false, ..large(100) },
        Bench { small: true, ..large(100) },
        Bench { ranges: false, ..large(100) },
    ];
    for (number, bench) in others.iter().enumerate() {
        assert_eq!(end(bench, &FREE), None, "{number}");
    }
    for line in [Line { crowded: true, ..FREE }, Line { cost: COSTLY, ..FREE }, Line { at_once: 1, ..FREE }] {
        assert_eq!(end(&large(100), &line), None, "{line:?}");
    }
}

#[test]
fn a_costly_request_for_a_huge_file_overflows_nothing() {
    let dear = Line { cost: usize::MAX, ..FREE };
    let huge = large(1 << 40).having(0..10);
    let plan = plan(
        huge.view(&|blocks| {
            assert!(blocks.len() <= LOOKED_AT, "{blocks:?}");
            huge.missing(blocks)
        }),
        &reader(9..10, 4),
        &dear,
    );
    assert_eq!(blocks(&plan), [(10, 10 + AHEAD * COSTS_OF_COSTLY)]);
    assert_eq!(plan.requests[0].near, AHEAD);
}

#[test]
fn p11_for_a_reader_that_waits_twice_as_much_is_under_way() {
    let line = Line { buffer: 3 << 20, ..FREE };
    let waits = large(10_000).coming(9..26, 9, 26).coming(26..138, 26, 138);
    let plan = waits.plan(&waiting(9..10, 128), &line);
    assert_eq!(blocks(&plan), [(138, 170), (170, 202), (202, 234), (234, 266)]);
    assert_eq!(go_on(&plan), [(0, 266), (1, 266)]);
    let crowded = Line { crowded: true, ..line };
    assert_eq!(blocks(&waits.plan(&waiting(9..10, 128), &crowded)), [], "others wait too");
    assert_eq!(blocks(&waits.plan(&reader(9..10, 128), &line)), []);
}

#[test]
fn p11_the_first_requests_are_short_so_that_they_end_one_after_the_other() {
    let line = Line { buffer: 3 << 20, ..FREE };
    let lengths = |reader| -> Vec<_> {
        let plan = large(10_000).plan(&reader, &line);
        blocks(&plan).into_iter().map(|(start, end)| end - start).collect()
    };
    assert_eq!(lengths(waiting(9..10, 128)), [8, 8, 11, 14, 18, 21, 25, 28]);
    assert_eq!(lengths(reader(9..10, 128)), [16; 8]);
}

/// How many requests bring a GiB to a reader that goes through it, over a line that brings what is wanted before the next read. What has
/// come beyond the reader is little next to what it has read all the way.
fn requests_of_a_gibibyte(line: &Line) -> usize {
    const ALL: usize = 8192;
    let mut streams = Streams::default();
    let (mut here, mut under_way, mut requests) = (vec![false; ALL], Vec::<(UnderWay, usize)>::new(), 0);
    for block in 0..ALL {
        let Forward { ahead, .. } = streams.follow(&(block..block + 1), false, Most { ahead: AHEAD, waiting: AHEAD });
        let missing = |blocks: Range<usize>| blocks.filter(|&block| !here[block]).collect();
        let view = View {
            blocks: ALL,
            small: false,
            ranges: true,
            kept: true,
            under_way: under_way.iter().map(|(request, _)| request.clone()).collect(),
            missing: &missing,
        };
        let plan = plan(view, &reader(block..block + 1, ahead), line);
        for (index, limit) in plan.go_on {
            let (request, upto) = &mut under_way[index];
            (request.soon, *upto) = (request.soon.max(limit.on_disk), limit.on_disk.max(*upto));
        }
        requests += plan.requests.len();
        for Planned { blocks: Range { start, end }, limit, near, .. } in plan.requests {
            let soon = limit.on_disk.max(start + near);
            under_way.push((UnderWay { first: start, next: start, end, soon }, limit.on_disk));
        }
        for (request, upto) in &mut under_way {
            let upto = request.end.min(*upto);
            here.get_mut(request.next..upto).into_iter().flatten().for_each(|here| {
                assert!(!*here, "a block has come twice");
                *here = true;
            });
            request.next = request.next.max(upto);
            request.soon = request.soon.max(request.next + SHORTEST_REQUEST);
        }
        under_way.retain(|(request, _)| request.next < request.end);
        assert!(here[block], "block {block} has not come");
        let beyond = here[block + 1..(block + AHEAD).min(ALL)].iter().filter(|here| **here).count();
        assert!(beyond <= 128.max(block / 16) + AT_ONCE, "{beyond} blocks have come beyond block {block}");
    }
    requests
}

#[test]
fn a_gibibyte_takes_few_requests_where_one_connection_brings_much() {
    let requests = |at_once, cost| requests_of_a_gibibyte(&Line { cost, at_once, buffer: 3 << 20, crowded: false });
    // Without a limit; 125 and 60 MB/s a connection; 25 and 12 MB/s over 40 ms.
    let counts = [(1000, 0), (100, 1), (50, 1), (20, 6), (10, 3)].map(|(at_once, cost)| requests(at_once, cost));
    assert_eq!(counts, [87, 105, 169, 292, 325]);
}

/// Whatever is here and comes: needed blocks are covered afterwards, nothing is requested twice, and nothing that is here.
#[test]
fn a_random_history_of_reads_requests_each_block_once() {
    use rand::{Rng, SeedableRng};
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for _ in 0..2_000 {
        let all = random.random_range(9..600);
        let asked = RefCell::new(vec![0_u32; all]);
        let mut bench = large(all);
        let line = Line {
            cost: random.random_range(0..64),
            at_once: random.random_range(0..64),
            buffer: 1 << random.random_range(20..26),
            crowded: random.random(),
        };
        for _ in 0..random.random_range(1..20) {
            let start = random.random_range(0..all);
            let end = (start + random.random_range(1..9)).min(all);
            let ahead = random.random_range(0..200);
            let waiting = random.random::<bool>().then_some(ahead * 2);
            let reader = Reader { blocks: start..end, ahead, waiting, alone: random.random() };
            let plan = bench.plan(&reader, &line);
            for (index, limit) in &plan.go_on {
                bench.under_way[*index].soon = bench.under_way[*index].soon.max(limit.on_disk);
            }
            for planned in plan.requests {
                let Planned { blocks, limit, near, .. } = planned;
                assert!(!blocks.is_empty() && blocks.end <= all, "{blocks:?} of {all}");
                for request in &mut bench.under_way {
                    if request.next < blocks.start {
                        request.end = request.end.min(blocks.start);
                    }
                }
                for block in blocks.clone() {
                    assert!(!bench.here.iter().any(|here| here.contains(&block)), "block {block} is here");
                    asked.borrow_mut()[block] += 1;
                }
                let soon = limit.on_disk.max(blocks.start + near);
                bench.under_way.push(UnderWay { first: blocks.start, next: blocks.start, end: blocks.end, soon });
            }
            let view = bench.view(&|_| Vec::new());
            let uncovered = bench.missing(reader.blocks.clone()).into_iter().find(|&block| !view.is_coming(block));
            assert_eq!(uncovered, None, "a block that {reader:?} needs neither is here nor comes");
            // Some requests end.
            while random.random() && !bench.under_way.is_empty() {
                let request = bench.under_way.remove(random.random_range(0..bench.under_way.len()));
                bench.here.push(request.next..request.end);
            }
        }
    }
}
