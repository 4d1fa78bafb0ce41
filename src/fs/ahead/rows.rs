//! `Rows`: the orders in which the reader of one directory may go, followed side by side, and which of them leads: all that is ahead of
//! the reader is ahead in that one. Pure decisions over numbered cases; `plan` decides about each row.
//!
//! | case | what is seen | decision |
//! |---|---|---|
//! | F1 | no row leads, and files are opened in a pattern in one or more | the longest leads; orders whose rows this open has broken are dropped |
//! | F2 | a row leads | it alone plans; an order whose row is broken meanwhile is dropped |
//! | F3 | the row that leads is broken | what was ahead was in vain, and F1 |
//! | F4 | all rows that are followed are broken at once, and none led, or for the second time one that did | orders that were dropped, or not there yet, are computed, and followed |
//! | F5 | the same; all are followed, or being computed | nothing: the reader goes in no order |
//!
//! The listing's own order is never dropped, since it takes no memory. A reader that keeps to it causes no other to be computed.

use std::sync::{Arc, Weak};

use super::order::{Order, Ordered};
use super::plan::{Budget, Pattern, Siblings, Told};

/// A reader whose row was broken so often goes by an order in which neighbours by name follow each other here and there.
const LOST: usize = 2;

/// The rows of one directory. Files are known by their numbers in the listing.
pub(super) struct Rows {
    /// That in the listing's own order first.
    rows: Vec<Row>,
    /// Whether the other orders were asked for, and none was dropped since.
    has_all: bool,
    /// How often a row that led was broken with all others.
    lost: usize,
}

/// The files of a directory in one order, and what is ahead of the reader there: nothing unless it leads.
#[derive(Default)]
struct Row {
    /// `None` is the listing's own.
    order: Option<Order>,
    pattern: Pattern,
    /// Whether the latest open has broken it.
    is_broken: bool,
    leads: bool,
    /// Retrievals that have not begun are dropped with it.
    alive: Arc<()>,
}

/// The consequences of an open.
#[derive(Default)]
pub(super) struct Opened {
    /// The news about the files ahead.
    pub(super) told: Told,
    /// The files that are to be retrieved now.
    pub(super) planned: Vec<Planned>,
    /// Whether all orders are to be computed, for [`Rows::follow`].
    pub(super) wants_orders: bool,
}

/// A file that is to be retrieved ahead of its reader.
pub(super) struct Planned {
    /// Its number in the listing.
    pub(super) number: usize,
    /// The bytes that are retrieved of it.
    pub(super) bytes: u64,
    /// Once nobody has this any more, the reader has left the row.
    pub(super) row: Weak<()>,
}

impl Default for Rows {
    fn default() -> Self {
        Self { rows: vec![Row::default()], has_all: false, lost: 0 }
    }
}

impl Rows {
    /// The file with this number is opened. `whole`: all of it is here.
    pub(super) fn opened(&mut self, number: usize, whole: bool, siblings: &impl Siblings, budget: Budget) -> Opened {
        let was_led = self.leader().is_some();
        let (mut told, mut all_broken) = (Told::default(), true);
        for row in &mut self.rows {
            let of_row = row.opened(number, siblings);
            all_broken &= of_row.broken;
            if row.leads {
                row.leads = !of_row.broken;
                told = of_row;
            }
        }
        self.choose();
        let asks_for_more = told.asks_for_more(whole);
        let planned = self.leader().filter(|_| asks_for_more).map(|row| row.plan(siblings, budget)).unwrap_or_default();
        self.lost += usize::from(was_led && all_broken);
        let wants_orders = all_broken && !self.has_all && (!was_led || self.lost >= LOST);
        self.has_all |= wants_orders;
        Opened { told, planned, wants_orders }
    }

    /// These are all other orders that the files of the directory have.
    pub(super) fn follow(&mut self, orders: Vec<Order>) {
        self.has_all = self.leader().is_none();
        if self.has_all {
            self.rows.truncate(1);
            self.rows.extend(orders.into_iter().map(|order| Row { order: Some(order), ..Row::default() }));
        }
    }

    /// Drops all orders but the listing's own, with what is ahead there.
    pub(super) fn drop_orders(&mut self) {
        self.has_all &= self.rows.len() == 1;
        self.rows.truncate(1);
    }

    /// The file has been retrieved. Whether it is ahead of the reader still.
    pub(super) fn came(&mut self, number: usize) -> bool {
        self.leader().is_some_and(|row| row.place(number).is_some_and(|place| row.pattern.came(place)))
    }

    /// The file was not retrieved after all.
    pub(super) fn forget(&mut self, number: usize) {
        if let Some(row) = self.leader()
            && let Some(place) = row.place(number)
        {
            row.pattern.forget(place);
        }
    }

    fn leader(&mut self) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.leads)
    }

    /// Cases F1 to F3: lets a row lead, unless one does.
    fn choose(&mut self) {
        if self.leader().is_none() {
            // Of several the first is the last one here, and so taken.
            let longest = self.rows.iter_mut().rev().max_by_key(|row| row.pattern.row());
            let Some(row) = longest.filter(|row| row.pattern.row().is_some()) else { return };
            row.leads = true;
        }
        let followed = self.rows.len();
        self.rows.retain(|row| row.order.is_none() || !row.is_broken);
        self.has_all &= self.rows.len() == followed;
    }
}

impl Row {
    /// The place of the file with this number in the order.
    fn place(&self, number: usize) -> Option<usize> {
        self.order.as_ref().map_or(Some(number), |order| order.place(number))
    }

    fn opened(&mut self, number: usize, siblings: &impl Siblings) -> Told {
        let Some(place) = self.place(number) else { return Told::default() };
        let told = self.pattern.opened(place, &Ordered { order: self.order.as_ref(), siblings });
        self.is_broken = told.broken;
        if told.broken {
            self.alive = Arc::default();
        }
        told
    }

    fn plan(&mut self, siblings: &impl Siblings, budget: Budget) -> Vec<Planned> {
        let places = self.pattern.plan(&Ordered { order: self.order.as_ref(), siblings }, budget);
        let planned = |place| Planned {
            number: self.order.as_ref().map_or(place, |order| order.number(place)),
            bytes: self.pattern.bytes_ahead(place),
            row: Arc::downgrade(&self.alive),
        };
        places.into_iter().map(planned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Sibling;
    use super::*;

    const OPEN: Budget = Budget { line: u64::MAX, ahead: 0, lost: 0, is_doubted: false };

    /// So many files.
    struct Files(usize);

    impl Siblings for Files {
        fn count(&self) -> usize {
            self.0
        }

        fn at(&self, _number: usize) -> Option<Sibling> {
            Some(Sibling { bytes: Some(4096), extension: 0 })
        }
    }

    const FILES: Files = Files(400);

    /// Every file so many after another, then those behind them, and so on: nobody goes by name here.
    fn striding(by: usize) -> Vec<usize> {
        (0..by).flat_map(|first| (first..FILES.0).step_by(by)).collect()
    }

    fn order(numbers: &[usize]) -> Order {
        Order::of(FILES.0, numbers.iter().map(|&number| number as u32).collect())
    }

    /// The sum of all opens of a reader.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        planned: Vec<usize>,
        used: usize,
        in_vain: usize,
        wants_orders: usize,
    }

    fn read(rows: &mut Rows, numbers: impl IntoIterator<Item = usize>) -> Seen {
        let mut seen = Seen::default();
        for number in numbers {
            let opened = rows.opened(number, false, &FILES, OPEN);
            seen.planned.extend(opened.planned.iter().map(|planned| planned.number));
            seen.used += usize::from(opened.told.used);
            seen.in_vain += opened.told.in_vain;
            seen.wants_orders += usize::from(opened.wants_orders);
            let leading = rows.rows.iter().filter(|row| row.leads).count();
            assert!(leading <= 1 && (leading == 1 || opened.planned.is_empty()));
        }
        seen
    }

    /// The rows of a reader that does not go by name, in these orders too.
    fn following(orders: &[&[usize]]) -> Rows {
        let mut rows = Rows::default();
        assert_eq!(read(&mut rows, [200, 100]), Seen { wants_orders: 1, ..Seen::default() });
        rows.follow(orders.iter().map(|numbers| order(numbers)).collect());
        rows
    }

    #[test]
    fn case_f1_the_order_in_which_the_reader_goes_leads_and_the_others_are_dropped() {
        let (sevens, nines) = (striding(7), striding(9));
        let mut rows = following(&[&sevens, &nines]);
        let seen = read(&mut rows, nines.iter().copied());
        assert_eq!(seen, Seen { planned: nines[3..].to_vec(), used: 397, ..Seen::default() });
        assert_eq!(rows.rows.len(), 2);
    }

    #[test]
    fn case_f1_of_several_that_show_the_same_none_is_dropped() {
        let mut other = striding(7);
        other[20..].reverse();
        let mut rows = following(&[&striding(7), &other]);
        read(&mut rows, other[..10].iter().copied());
        assert_eq!(rows.rows.len(), 3);
        let seen = read(&mut rows, other[10..].iter().copied());
        assert!(seen.in_vain <= 64 && seen.planned.len() <= other.len() + 64, "{seen:?}");
        assert_eq!((seen.used > 360, seen.wants_orders, rows.rows.len()), (true, 0, 2), "{seen:?}");
    }

    #[test]
    fn case_f2_a_row_that_does_not_lead_plans_nothing() {
        // Ten neighbours by name, and then ten others.
        let tens = (0..20).map(|tens| tens % 2 * 200 + tens / 2 * 10);
        let order: Vec<_> = [390, 380, 370].into_iter().chain(tens.flat_map(|first| first..first + 10)).collect();
        let mut rows = following(&[&order]);
        let seen = read(&mut rows, order.iter().copied());
        assert_eq!(seen, Seen { planned: order[3..].to_vec(), used: 200, ..Seen::default() });
    }

    #[test]
    fn case_f3_a_reader_that_goes_on_by_name_is_followed_there() {
        let sevens = striding(7);
        let mut rows = following(&[&sevens]);
        let before = read(&mut rows, sevens[..10].iter().copied());
        let ahead = rows.rows[1].alive.clone();
        let seen = read(&mut rows, 300..303);
        let in_vain = before.planned.len() - before.used;
        assert_eq!(seen, Seen { planned: (303..311).collect(), in_vain, ..Seen::default() });
        assert_eq!((Arc::strong_count(&ahead), rows.rows.len()), (1, 1));
    }

    #[test]
    fn cases_f4_and_f5_orders_are_computed_once_for_each_that_was_dropped() {
        let (sevens, nines) = (striding(7), striding(9));
        let mut rows = following(&[&sevens, &nines]);
        let random = |seed: usize| (0..100).map(move |at| (at * 77 + seed) % FILES.0);
        assert_eq!(read(&mut rows, random(1)), Seen::default(), "F5");
        let seen = read(&mut rows, sevens[..50].iter().copied());
        assert_eq!(seen.wants_orders, 0, "one of them leads");
        let in_vain = seen.planned.len() - seen.used;
        let elsewhere = read(&mut rows, [sevens[200]]);
        assert_eq!(elsewhere, Seen { in_vain, ..Seen::default() }, "it may go on in the same order");
        assert_eq!(read(&mut rows, random(2)), Seen { wants_orders: 1, ..Seen::default() }, "F4");
    }

    #[test]
    fn orders_that_come_while_a_row_leads_are_dropped() {
        let sevens = striding(7);
        let mut rows = Rows::default();
        assert_eq!(read(&mut rows, [200, 100, 101, 102]).wants_orders, 1);
        rows.follow(vec![order(&sevens)]);
        assert_eq!(rows.rows.len(), 1);
        assert_eq!(read(&mut rows, [300, 200]).wants_orders, 1);
    }

    #[test]
    fn case_f4_a_row_that_is_broken_again_and_again_is_of_another_order() {
        // Five neighbours by name, and then five others, as a language sorts upper and lower case.
        let fives = (0..40).map(|fives| fives % 2 * 200 + fives / 2 * 5);
        let order: Vec<_> = fives.flat_map(|first| first..first + 5).collect();
        let mut rows = Rows::default();
        assert_eq!(read(&mut rows, order[..10].iter().copied()).wants_orders, 0);
        assert_eq!(read(&mut rows, order[10..11].iter().copied()).wants_orders, 1);
        rows.follow(vec![self::order(&order)]);
        let seen = read(&mut rows, order[11..].iter().copied());
        assert!(seen.used >= 180 && seen.in_vain <= 64, "{} used, {} in vain", seen.used, seen.in_vain);
        rows.drop_orders();
        assert_eq!(rows.rows.len(), 1);
    }

    #[test]
    fn who_goes_by_name_wants_no_other_order() {
        let seen = read(&mut Rows::default(), (0..200).chain(300..400));
        assert_eq!(seen.wants_orders, 0, "{seen:?}");
    }

    #[test]
    fn what_comes_and_what_fails_is_ahead_in_the_row_that_leads() {
        let sevens = striding(7);
        let mut rows = following(&[&sevens]);
        read(&mut rows, sevens[..3].iter().copied());
        assert!(rows.came(sevens[3]) && !rows.came(3));
        rows.forget(sevens[4]);
        assert!(!rows.came(sevens[4]));
        let opened = rows.opened(sevens[3], true, &FILES, OPEN);
        assert_eq!(opened.told, Told { used: true, came: true, bytes: 4096, ..Told::default() });
    }
}
