//! The walk of a reader through a tree, and which directories it probably opens next. Pure decisions over numbered cases.
//!
//! | case | the reader opens | decision |
//! |---|---|---|
//! | W1 | a first directory | nothing ahead |
//! | W2 | a directory in the last one | it looks for something: nothing ahead |
//! | W3 | the first directory of the first directory of one that it opened | it walks: what follows is listed ahead |
//! | W4 | two directories of the same one | the same, with less ahead at first |
//! | W5 | one that was listed ahead | it is used, and more may be ahead |
//! | W6 | another one while it walks | what follows there is listed ahead too |
//! | W7 | one whose listing was known before | nothing ahead of it |
//! | W8 | nothing for a while | the walk is over: nothing more ahead, and what was not used was in vain |
//!
//! What follows is what a walk into the depth comes to next, and beside that some directories in which others are still to be found. Nothing is
//! deeper than the reader has gone: perhaps it looks at one level.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::path::RemotePath;

/// A reader that opens nothing for so long has ended its walk.
const PAUSE: Duration = Duration::from_secs(3);

/// Directories ahead, at first and at most.
const WINDOW: (usize, usize) = (8, 64);

/// The same at first of a reader that has gone down to the first directory each time (W3), which hardly anything but a walk does: what follows
/// on two levels is asked for in one round trip.
const WINDOW_OF_WALK: usize = 16;

/// A fourth of what is ahead is for directories in which others are still to be found: without them, there would soon be nothing to list but
/// what one of them holds.
const INNER_SHARE: usize = 4;

/// Directories ahead at most where they are seldom used.
const WINDOW_DOUBTED: usize = 2;

/// Directories by which a walk is recognised: the latest that were opened.
const LOOKED_AT: usize = 16;

/// Directories that wait to be listed ahead, at most.
const WAITING: usize = 2048;

/// The listings that are known.
pub(super) trait Tree {
    /// The first `most` directories in `dir` in order, those after `after` if that is given; none if its listing is not known.
    fn subdirectories(&self, dir: &RemotePath, after: Option<&RemotePath>, most: usize) -> Vec<RemotePath>;
}

/// The part that a directory has in its reader's walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    /// Its listing was known before the walk.
    Known,
    /// It was listed ahead, or is just being listed: whether it has come.
    Ahead { came: bool },
    /// The source is asked for its listing.
    Asked,
}

/// The directories that a reader opens, one of which all others are in.
#[derive(Debug)]
pub(super) struct Walk {
    top: RemotePath,
    /// The latest.
    opened: Vec<RemotePath>,
    is_recognised: bool,
    /// How much is ahead at first.
    window: usize,
    /// The place of the last one, and when it was opened or answered.
    last: (Place, Instant),
    /// As deep as the reader has gone.
    depth: usize,
    /// Directories that it has not come to, in the order of the walk.
    next: BTreeMap<Place, RemotePath>,
    /// Those of them that are less deep than the reader has gone.
    inner: BTreeSet<Place>,
    /// Listings whose directories are deeper than it has gone.
    deeper: Vec<RemotePath>,
    /// What is ahead of it, and whether that has come.
    ahead: HashMap<RemotePath, bool>,
    used: usize,
}

/// The place of a directory in a walk into the depth: its components in order, each before what is in it.
type Place = Vec<u8>;

fn place(dir: &RemotePath) -> Place {
    dir.as_bytes().iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect()
}

fn depth(dir: &RemotePath) -> usize {
    dir.components().count()
}

impl Walk {
    /// Case W1: a reader may begin a walk at `top`.
    pub(super) fn new(top: RemotePath, now: Instant) -> Self {
        Self {
            opened: Vec::new(),
            is_recognised: false,
            window: WINDOW.0,
            last: (place(&top), now),
            depth: depth(&top),
            top,
            next: BTreeMap::new(),
            inner: BTreeSet::new(),
            deeper: Vec::new(),
            ahead: HashMap::new(),
            used: 0,
        }
    }

    /// Whether `dir` is where the walk began, or in there.
    pub(super) fn leads_to(&self, dir: &RemotePath) -> bool {
        let below = dir.as_bytes().strip_prefix(self.top.as_bytes());
        below.is_some_and(|below| self.top.is_root() || below.is_empty() || below[0] == b'/')
    }

    /// Cases W1 to W7: `dir` is opened. `is_known`: the source need not be asked for it, or is being asked ahead.
    pub(super) fn opened(&mut self, dir: &RemotePath, is_known: bool, now: Instant, tree: &impl Tree) -> Opens {
        let planned = self.ahead.remove(dir);
        let is_planned = planned.is_some();
        self.last = (place(dir), now);
        match (is_planned, is_known) {
            (false, true) => {
                self.look_at(dir);
                return Opens::Known;
            }
            (true, true) => self.used += 1,
            (_, false) => {}
        }
        self.go_down(depth(dir), tree);
        if self.is_recognised && !is_planned {
            self.follow(dir, tree);
        } else if let Some(window) = self.recognised(dir, tree) {
            (self.is_recognised, self.window) = (true, window);
            let way = std::iter::successors(Some(dir.clone()), RemotePath::parent);
            way.take(depth(dir) - depth(&self.top)).for_each(|at| self.follow(&at, tree));
        }
        self.look_at(dir);
        self.next.remove(&self.last.0);
        self.inner.remove(&self.last.0);
        if is_known { Opens::Ahead { came: planned == Some(true) } } else { Opens::Asked }
    }

    /// The listing of `dir` is known now. `asked`: when the reader got it.
    pub(super) fn arrived(&mut self, dir: &RemotePath, asked: Option<Instant>, tree: &impl Tree) {
        self.last.1 = asked.unwrap_or(self.last.1);
        if self.is_recognised && depth(dir) < self.depth {
            self.add(tree.subdirectories(dir, None, WAITING));
        } else if self.is_recognised && self.deeper.len() < WAITING {
            self.deeper.push(dir.clone());
        }
    }

    /// The directories that are to be listed now, in order. They count as ahead.
    pub(super) fn plan(&mut self, is_doubted: bool) -> Vec<RemotePath> {
        let window = match is_doubted {
            true => WINDOW_DOUBTED,
            // A tenth may be left out, as by a reader that passes over some.
            false => (self.window << self.used.min(8)).min(WINDOW.1.max(self.used / 10)),
        };
        let mut planned = Vec::new();
        let counts = !self.inner.is_empty();
        let mut inner = self.ahead.keys().filter(|dir| counts && self.is_inner(dir)).count();
        while self.ahead.len() < window {
            let nearest_inner = if inner < window / INNER_SHARE { self.nearest_inner() } else { None };
            let Some(place) = nearest_inner.or_else(|| self.nearest()) else { break };
            inner += usize::from(self.inner.remove(&place));
            planned.extend(self.next.remove(&place));
            self.ahead.extend(planned.last().map(|dir| (dir.clone(), false)));
        }
        planned.sort_by_cached_key(|dir| {
            let place = place(dir);
            (place < self.last.0, place)
        });
        planned
    }

    /// Whether a directory is less deep than the reader has gone, so that those in it are listed too.
    fn is_inner(&self, dir: &RemotePath) -> bool {
        depth(dir) < self.depth
    }

    /// The place that the reader comes to next; where there is none, the first one that it has passed.
    fn nearest(&self) -> Option<Place> {
        let mut after = self.next.range(self.last.0.clone()..);
        after.next().or_else(|| self.next.first_key_value()).map(|(place, _)| place.clone())
    }

    fn nearest_inner(&self) -> Option<Place> {
        self.inner.range(self.last.0.clone()..).next().or_else(|| self.inner.first()).cloned()
    }

    /// `dir` has been listed ahead. Whether it is ahead of the reader still.
    pub(super) fn came(&mut self, dir: &RemotePath) -> bool {
        self.ahead.get_mut(dir).map(|came| *came = true).is_some()
    }

    /// `dir` was not listed after all.
    pub(super) fn forget(&mut self, dir: &RemotePath) {
        self.ahead.remove(dir);
    }

    /// The source does not answer: nothing is listed ahead until the reader goes on.
    pub(super) fn rest(&mut self) {
        self.next.clear();
        self.inner.clear();
    }

    /// Case W8: what was in vain, if the walk is over.
    pub(super) fn ended(&self, now: Instant) -> Option<u64> {
        (now.saturating_duration_since(self.last.1) > PAUSE).then(|| self.unused())
    }

    /// How many directories were listed ahead and not opened.
    pub(super) fn unused(&self) -> u64 {
        self.ahead.len() as u64
    }

    fn look_at(&mut self, dir: &RemotePath) {
        if self.opened.len() >= LOOKED_AT {
            self.opened.remove(0);
        }
        self.opened.push(dir.clone());
    }

    /// Cases W2 to W4: how much is ahead at first, if the walk is recognised by this directory.
    fn recognised(&self, dir: &RemotePath, tree: &impl Tree) -> Option<usize> {
        if self.is_recognised {
            return None;
        }
        let parent = dir.parent()?;
        let is_sibling = |other: &RemotePath| other != dir && other.parent().as_ref() == Some(&parent);
        if self.opened.iter().any(is_sibling) {
            return Some(WINDOW.0);
        }
        let is_first = |dir: &RemotePath, of: &RemotePath| tree.subdirectories(of, None, 1).first() == Some(dir);
        let above = parent.parent()?;
        let are_opened = self.opened.contains(&parent) && self.opened.contains(&above);
        (are_opened && is_first(&parent, &above) && is_first(dir, &parent)).then_some(WINDOW_OF_WALK)
    }

    /// The reader has come so deep.
    fn go_down(&mut self, depth: usize, tree: &impl Tree) {
        if depth > self.depth {
            self.depth = depth;
            self.inner =
                self.next.iter().filter(|(_, dir)| self.is_inner(dir)).map(|(place, _)| place.clone()).collect();
            std::mem::take(&mut self.deeper).iter().for_each(|dir| self.arrived(dir, None, tree));
        }
    }

    /// What stands after `dir` in the same directory comes next.
    fn follow(&mut self, dir: &RemotePath, tree: &impl Tree) {
        if let Some(parent) = dir.parent().filter(|_| *dir != self.top) {
            self.add(tree.subdirectories(&parent, Some(dir), WAITING));
        }
    }

    fn add(&mut self, dirs: Vec<RemotePath>) {
        let room = WAITING.saturating_sub(self.next.len());
        let new = dirs.into_iter().filter(|dir| !self.ahead.contains_key(dir)).take(room);
        for dir in new.collect::<Vec<_>>() {
            let place = place(&dir);
            if self.is_inner(&dir) {
                self.inner.insert(place.clone());
            }
            self.next.insert(place, dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in which each directory has so many others, by depth; all listings are known.
    struct Even(&'static [usize]);

    impl Tree for Even {
        fn subdirectories(&self, dir: &RemotePath, after: Option<&RemotePath>, most: usize) -> Vec<RemotePath> {
            let count = self.0.get(depth(dir)).copied().unwrap_or_default();
            let all = (0..count).map(|number| dir.child(format!("{number:02}").as_bytes()).expect("a name"));
            all.skip_while(|path| after.is_some_and(|after| path <= after)).take(most).collect()
        }
    }

    fn path(text: &str) -> RemotePath {
        RemotePath::parse(text.as_bytes()).expect("a path")
    }

    struct Reader {
        walk: Walk,
        tree: Even,
        now: Instant,
    }

    impl Reader {
        fn at(top: &str, tree: &'static [usize]) -> Self {
            let now = Instant::now();
            let mut reader = Self { walk: Walk::new(path(top), now), tree: Even(tree), now };
            assert_eq!(reader.opens(top), Vec::<String>::new(), "W1");
            reader
        }

        /// What is listed ahead when this directory is opened, and its listing has arrived.
        fn opens(&mut self, dir: &str) -> Vec<String> {
            let is_known = self.walk.ahead.contains_key(&path(dir));
            self.walk.opened(&path(dir), is_known, self.now, &self.tree);
            self.arrives(dir)
        }

        fn arrives(&mut self, dir: &str) -> Vec<String> {
            self.walk.arrived(&path(dir), Some(self.now), &self.tree);
            let planned = self.walk.plan(false);
            planned.iter().map(|dir| String::from_utf8_lossy(dir.as_bytes()).into_owned()).collect()
        }
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn cases_w1_and_w2_going_down_to_something_lists_nothing_else() {
        let mut reader = Reader::at("", &[20, 20, 20, 20]);
        for dir in ["07", "07/03", "07/03/09"] {
            assert_eq!(reader.opens(dir), NOTHING);
        }
    }

    #[test]
    fn case_w3_what_a_walk_into_the_depth_comes_to_is_ahead() {
        let mut reader = Reader::at("", &[3, 4, 2]);
        assert_eq!(reader.opens("00"), NOTHING);
        let ahead = ["00/01", "00/02", "00/03", "01", "02"];
        assert_eq!(reader.opens("00/00"), ahead, "and nothing deeper than the reader has gone");
        assert_eq!(reader.arrives("01"), ["01/00", "01/01", "01/02", "01/03"]);
        reader.opens("00/00/00");
        assert_eq!(reader.opens("00/01")[..2], ["00/01/00", "00/01/01"]);
    }

    #[test]
    fn case_w4_whoever_opens_two_directories_of_one_gets_the_others_and_nothing_below() {
        let mut reader = Reader::at("", &[12, 5]);
        assert_eq!(reader.opens("03"), NOTHING);
        assert_eq!(reader.opens("04"), ["05", "06", "07", "08", "09", "10", "11"]);
        assert_eq!(reader.arrives("05"), NOTHING);
        assert_eq!(reader.opens("05"), NOTHING);
        assert_eq!(reader.opens("05/00")[..4], ["05/01", "05/02", "05/03", "05/04"], "now it goes deeper");
    }

    #[test]
    fn a_walk_over_ten_times_ten_directories_waits_for_five_round_trips() {
        let (tree, mut now) = (Even(&[10, 10]), Instant::now());
        let mut walk = Walk::new(path(""), now);
        let (mut known, mut under_way) = (Vec::new(), BTreeMap::new());
        let (mut waiting, mut waited) = (vec![path("")], 0);
        while let Some(dir) = waiting.pop() {
            let mut is_known = known.contains(&dir) || under_way.contains_key(&dir);
            walk.opened(&dir, is_known, now, &tree);
            loop {
                let mut planned = walk.plan(false);
                while let Some(dir) = planned.pop() {
                    // What is known is not listed again, and leaves its place to others.
                    if known.contains(&dir) {
                        walk.forget(&dir);
                        planned.extend(walk.plan(false));
                    } else {
                        under_way.entry(dir).or_insert(now);
                    }
                }
                if known.contains(&dir) {
                    break;
                }
                if !is_known {
                    (is_known, _) = (true, under_way.insert(dir.clone(), now));
                }
                // The answers to what was asked for first.
                let asked = *under_way.values().min().expect("the reader waits for something");
                (now, waited) = (now.max(asked + PAUSE / 10), waited + 1);
                under_way.retain(|dir, began| {
                    let is_due = *began == asked;
                    if is_due {
                        walk.arrived(dir, None, &tree);
                        known.push(dir.clone());
                    }
                    !is_due
                });
            }
            waiting.extend(tree.subdirectories(&dir, None, 99).into_iter().rev());
        }
        assert_eq!((known.len(), waited), (111, 5));
    }

    #[test]
    fn case_w5_more_is_ahead_the_more_is_used() {
        let mut reader = Reader::at("", &[99]);
        reader.opens("00");
        let mut ahead = vec![reader.opens("01").len()];
        for number in 2..8 {
            assert_eq!(
                reader.walk.opened(&path(&format!("{number:02}")), true, reader.now, &reader.tree),
                Opens::Ahead { came: false }
            );
            reader.walk.plan(false);
            ahead.push(reader.walk.ahead.len());
        }
        assert_eq!(ahead, [8, 16, 32, 64, 64, 64, 64]);
    }

    #[test]
    fn case_w6_another_order_is_followed_too() {
        let mut reader = Reader::at("", &[40]);
        reader.opens("20");
        assert_eq!(reader.opens("30")[0], "31");
        reader.opens("05");
        reader.walk.ahead.clear();
        assert_eq!(reader.walk.plan(false)[0], path("06"));
    }

    #[test]
    fn case_w7_known_directories_bring_nothing_and_count_as_the_way() {
        let mut reader = Reader::at("", &[3, 3]);
        for dir in ["00", "01"] {
            assert_eq!(reader.walk.opened(&path(dir), true, reader.now, &reader.tree), Opens::Known);
            assert_eq!(reader.arrives(dir), NOTHING);
        }
        assert_eq!(reader.opens("02/00"), NOTHING);
        assert_eq!(reader.opens("02/01"), ["02/02"]);
    }

    #[test]
    fn case_w8_a_walk_is_over_after_a_pause() {
        let mut reader = Reader::at("a", &[0, 5]);
        reader.opens("a/00");
        assert_eq!(reader.opens("a/01").len(), 3);
        assert_eq!(reader.walk.ended(reader.now + PAUSE), None);
        assert_eq!(reader.walk.ended(reader.now + PAUSE + Duration::from_millis(1)), Some(3));
        assert!(reader.walk.leads_to(&path("a")) && reader.walk.leads_to(&path("a/b")));
        assert!(!reader.walk.leads_to(&path("ab")) && !reader.walk.leads_to(&path("")));
    }

    #[test]
    fn each_directory_of_a_tree_is_planned_once() {
        let (tree, mut planned) = (Even(&[10, 10]), Vec::new());
        let mut walk = Walk::new(path(""), Instant::now());
        let (mut waiting, mut arrives) = (vec![path("")], Vec::new());
        while let Some(dir) = waiting.pop() {
            walk.opened(&dir, false, Instant::now(), &tree);
            walk.arrived(&dir, Some(Instant::now()), &tree);
            while let Some(next) = {
                arrives.extend(walk.plan(false));
                arrives.pop()
            } {
                walk.arrived(&next, None, &tree);
                planned.push(next);
            }
            waiting.extend(tree.subdirectories(&dir, None, 99).into_iter().rev());
        }
        let count = planned.len();
        planned.sort();
        planned.dedup();
        assert_eq!((count, planned.len()), (108, 108), "all but the three by which the walk is recognised");
    }

    #[test]
    fn little_is_ahead_where_it_is_seldom_used() {
        let mut reader = Reader::at("", &[40]);
        reader.walk.opened(&path("00"), false, reader.now, &reader.tree);
        reader.walk.opened(&path("01"), false, reader.now, &reader.tree);
        assert_eq!(reader.walk.plan(true), [path("02"), path("03")]);
    }
}
