//! `Queue`: what waits for the thread of the database, which takes much at once. It knows not what that is.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The most that is taken at once.
pub(super) const MAX_BATCH: usize = 10_000;

/// What nobody waits for is taken after this time at the latest, together with what has come meanwhile: a kill loses no more, and files
/// that are retrieved side by side share a transaction.
pub(super) const GATHER: Duration = Duration::from_millis(20);

/// First in, first out, for one thread that takes.
pub(super) struct Queue<T> {
    gather: Duration,
    state: Mutex<State<T>>,
    woken: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// When the first of them came.
    since: Instant,
    /// Somebody waits for one of them.
    is_waited_for: bool,
    /// Nothing more comes.
    is_closed: bool,
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("gather", &self.gather).finish_non_exhaustive()
    }
}

impl<T> Queue<T> {
    /// An empty queue of which what nobody waits for is taken after the time `gather`.
    pub(super) fn new(gather: Duration) -> Self {
        let (waiting, since) = (VecDeque::new(), Instant::now());
        let state = State { waiting, since, is_waited_for: false, is_closed: false };
        Self { gather, state: Mutex::new(state), woken: Condvar::new() }
    }

    /// Adds something, unless the queue is closed: then it is dropped.
    pub(super) fn push(&self, new: T, is_waited_for: bool) {
        let mut state = self.state.lock();
        if state.is_closed {
            drop(state);
            return drop(new);
        }
        if state.waiting.is_empty() {
            state.since = Instant::now();
        }
        state.waiting.push_back(new);
        let is_news = is_waited_for && !std::mem::replace(&mut state.is_waited_for, is_waited_for);
        // Else the thread knows already when to wake.
        if is_news || state.waiting.len() == 1 || state.waiting.len() == MAX_BATCH {
            self.woken.notify_one();
        }
    }

    /// Nothing more comes; what waits is taken still.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.woken.notify_one();
    }

    /// Nobody takes any more: what waits is dropped, and what comes.
    pub(super) fn abandon(&self) {
        self.close();
        let abandoned = std::mem::take(&mut self.state.lock().waiting);
        drop(abandoned);
    }

    /// Returns what has gathered, once it is time; `None` when the queue is closed and empty.
    pub(super) fn take(&self) -> Option<VecDeque<T>> {
        let mut state = self.state.lock();
        loop {
            if state.waiting.is_empty() {
                if state.is_closed {
                    return None;
                }
                self.woken.wait(&mut state);
                continue;
            }
            let is_due = state.is_waited_for || state.is_closed || state.waiting.len() >= MAX_BATCH;
            let until = state.since + self.gather;
            if is_due || self.woken.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        let rest = state.waiting.len().min(MAX_BATCH);
        let rest = state.waiting.split_off(rest);
        state.is_waited_for &= !rest.is_empty();
        Some(std::mem::replace(&mut state.waiting, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn what_nobody_waits_for_is_taken_with_the_first_that_somebody_waits_for() {
        let queue = Queue::new(LONG);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| queue.take());
            (0..100).for_each(|number| queue.push(number, false));
            queue.push(100, true);
            assert_eq!(taken.join().expect("it ends"), Some((0..=100).collect()));
        });
        queue.push(101, true);
        assert_eq!(queue.take(), Some([101].into()));
    }

    #[test]
    fn what_nobody_waits_for_is_taken_after_a_while() {
        let queue = Queue::new(Duration::from_millis(1));
        queue.push(1, false);
        assert_eq!(queue.take(), Some([1].into()));
    }

    #[test]
    fn no_more_is_taken_at_once_than_fits_a_transaction() {
        let queue = Queue::new(LONG);
        (0..MAX_BATCH + 1).for_each(|number| queue.push(number, false));
        queue.push(MAX_BATCH + 1, true);
        assert_eq!(queue.take().map(|taken| taken.len()), Some(MAX_BATCH));
        assert_eq!(queue.take(), Some([MAX_BATCH, MAX_BATCH + 1].into()));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing_more() {
        let queue = Queue::new(LONG);
        queue.push(1, false);
        queue.close();
        queue.push(2, false);
        assert_eq!((queue.take(), queue.take()), (Some([1].into()), None));
    }

    #[test]
    fn what_waits_when_nobody_takes_any_more_is_dropped() {
        let queue = Queue::new(LONG);
        let (told, heard) = std::sync::mpsc::channel::<()>();
        queue.push(told.clone(), false);
        queue.abandon();
        queue.push(told, true);
        assert!(heard.recv().is_err(), "both are gone");
    }
}
