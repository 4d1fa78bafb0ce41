//! `Turns`: a queue of requests to a source, ordered by urgency. Requests that a reader waits for go first, then those that
//! retrieve ahead, then warming.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{Error, Result};

/// The urgency of a request. Shared with the request while it waits, so that it can become more urgent.
#[derive(Debug, Clone)]
pub struct Urgency(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    /// Whether others wait for the turn that the request has; unset before it has one.
    wanted: OnceLock<Arc<AtomicBool>>,
    /// When it got its latest turn.
    turn: Mutex<Option<Instant>>,
}

tokio::task_local! {
    static URGENCY: Urgency;
}

/// Whether the task makes a listing for which no reader waits yet.
pub(super) fn is_ahead() -> bool {
    URGENCY.try_with(|urgency| !urgency.is_interactive()).unwrap_or(false)
}

/// The urgencies, least first.
const AHEAD: u8 = 0;
const INTERACTIVE: u8 = 1;

impl Urgency {
    /// The urgency of a request that a reader waits for.
    pub fn interactive() -> Self {
        Self::of(INTERACTIVE)
    }

    /// The urgency of a request that no reader waits for yet.
    pub fn ahead() -> Self {
        Self::of(AHEAD)
    }

    /// The urgency of the listing that the task makes; interactive where none was said ([`Urgency::during`]).
    pub(super) fn of_task() -> Self {
        URGENCY.try_with(Self::clone).unwrap_or_else(|_| Self::interactive())
    }

    /// Runs `listing`, whose requests have this urgency.
    pub fn during<F: Future>(&self, listing: F) -> impl Future<Output = F::Output> {
        URGENCY.scope(self.clone(), listing)
    }

    fn of(level: u8) -> Self {
        Self(Arc::new(Shared { level: AtomicU8::new(level), wanted: OnceLock::new(), turn: Mutex::default() }))
    }

    /// Notes that a reader waits for the answer now.
    pub fn raise(&self) {
        self.0.level.store(INTERACTIVE, Ordering::Relaxed);
    }

    /// Whether a reader waits for the answer.
    pub(crate) fn is_interactive(&self) -> bool {
        self.level() == INTERACTIVE
    }

    /// Whether other requests wait for the turn that this one has; requests that can end early then do.
    pub fn is_turn_wanted(&self) -> bool {
        self.0.wanted.get().is_some_and(|wanted| wanted.load(Ordering::Relaxed))
    }

    /// When the source was really asked: not before the request had its turn.
    pub fn turn_began(&self) -> Option<Instant> {
        *self.0.turn.lock()
    }

    fn level(&self) -> u8 {
        self.0.level.load(Ordering::Relaxed)
    }
}

/// A number of turns that are taken and given back.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    /// Whether a request waits.
    wanted: Arc<AtomicBool>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// In order of arrival.
    waiting: Vec<(Urgency, oneshot::Sender<Result<()>>)>,
}

/// The right to ask, given back when dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Turns);

impl Turns {
    /// A queue with so many turns, at least one.
    pub fn new(count: usize) -> Self {
        Self { state: Mutex::new(State { free: count.max(1), waiting: Vec::new() }), wanted: Arc::default() }
    }

    /// Returns when it is this request's turn: the most urgent first, among equals the one that came first.
    ///
    /// # Errors
    /// The error with which another turn ended ([`Turn::note`]) while this request waited for its own.
    pub async fn take(&self, urgency: &Urgency) -> Result<Turn<'_>> {
        let _ = urgency.0.wanted.set(self.wanted.clone());
        let receiver = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(self.turn(urgency));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push((urgency.clone(), sender));
            self.wanted.store(true, Ordering::Relaxed);
            receiver
        };
        let mut waiting = Waiting { turns: self, receiver, taken: false };
        let given = (&mut waiting.receiver).await.expect("a turn is given or waited for");
        waiting.taken = true;
        given.map(|()| self.turn(urgency))
    }

    /// Makes all requests that wait for a turn fail.
    fn refuse(&self, error: &Error) {
        let waiting = {
            let mut state = self.state.lock();
            self.wanted.store(false, Ordering::Relaxed);
            std::mem::take(&mut state.waiting)
        };
        for (_, sender) in waiting {
            // A request whose caller gave up waiting needs no error.
            let _ = sender.send(Err(error.clone()));
        }
    }

    fn turn(&self, urgency: &Urgency) -> Turn<'_> {
        *urgency.0.turn.lock() = Some(Instant::now());
        Turn(self)
    }

    fn give_back(&self) {
        let mut state = self.state.lock();
        loop {
            let next = (0..state.waiting.len()).rev().max_by_key(|&place| state.waiting[place].0.level());
            let Some(next) = next else {
                state.free += 1;
                self.wanted.store(false, Ordering::Relaxed);
                return;
            };
            // A request whose caller gave up waiting is passed over.
            if state.waiting.remove(next).1.send(Ok(())).is_ok() {
                self.wanted.store(!state.waiting.is_empty(), Ordering::Relaxed);
                return;
            }
        }
    }
}

impl Turn<'_> {
    /// Notes the result of the turn. After an outage the requests that wait for a turn fail with the same error, before the turn is
    /// given back: otherwise each would wait for a source that is known not to answer.
    pub fn note<T>(&self, result: &Result<T>) {
        if let Err(error) = result
            && error.kind().is_outage()
        {
            self.0.refuse(&error.clone().remembered());
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// Gives a turn back that arrived after its request gave up.
struct Waiting<'a> {
    turns: &'a Turns,
    receiver: oneshot::Receiver<Result<()>>,
    taken: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.receiver.close();
            if matches!(self.receiver.try_recv(), Ok(Ok(()))) {
                self.turns.give_back();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_most_urgent_goes_first_and_equals_in_order() {
        let turns = Turns::new(1);
        let held = turns.take(&Urgency::interactive()).await.expect("one is free");
        let (ahead, raised, urgent) = (Urgency::ahead(), Urgency::ahead(), Urgency::interactive());
        let mut first = Box::pin(turns.take(&ahead));
        let mut second = Box::pin(turns.take(&raised));
        let mut third = Box::pin(turns.take(&urgent));
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.now_or_never().is_none());
        }
        raised.raise();
        drop(held);
        drop(second.as_mut().now_or_never().expect("raised, and before the third"));
        drop(third.as_mut().now_or_never().expect("urgent"));
        drop(first.as_mut().now_or_never().expect("nobody else is left"));
    }

    #[tokio::test]
    async fn whoever_has_a_turn_knows_whether_others_wait() {
        let turns = Turns::new(1);
        let [first, second] = [Urgency::ahead(), Urgency::ahead()];
        let held = turns.take(&first).await.expect("one is free");
        assert!(!first.is_turn_wanted());
        let mut waiting = Box::pin(turns.take(&second));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(first.is_turn_wanted());
        drop(held);
        let _held = waiting.now_or_never().expect("nobody else is there");
        assert!(!second.is_turn_wanted());
    }

    #[tokio::test]
    async fn whoever_gives_up_takes_no_turn_along() {
        let turns = Turns::new(1);
        let held = turns.take(&Urgency::interactive()).await.expect("one is free");
        let urgency = Urgency::interactive();
        let mut gave_up = Box::pin(turns.take(&urgency));
        let mut late = Box::pin(turns.take(&urgency));
        assert!((&mut gave_up).now_or_never().is_none() && (&mut late).now_or_never().is_none());
        drop(gave_up);
        drop(held);
        drop(late);
        assert!(turns.take(&urgency).now_or_never().is_some());
    }
}
