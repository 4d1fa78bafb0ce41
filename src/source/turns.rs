//! `Turns`: a queue of requests to a source, ordered by urgency. Requests that a reader waits for go first, then those that
//! retrieve ahead, then warming.
//!
//! **How many have a turn at once** follows what the source takes (additive increase, multiplicative decrease):
//!
//! | case | what is seen | turns at once |
//! |---|---|---|
//! | T1 | a request that was sent since the last change is refused because the source is busy | half of those that are taken, at least one |
//! | T2 | a turn ends [`RAISED_AFTER`] after the last change | one more, up to the number that the source has |

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use crate::error::{Error, ErrorKind, Result};

/// For how long a busy source is left with as few turns at once as it has.
const RAISED_AFTER: Duration = Duration::from_secs(5);

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
    /// The turns of the source that the task asks, of which it has one.
    static TURNS: Arc<Turns>;
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
    /// The most turns at once.
    most: usize,
    state: Mutex<State>,
    /// Whether a request waits.
    wanted: Arc<AtomicBool>,
}

#[derive(Debug)]
struct State {
    /// The number of turns at once for now.
    allowed: usize,
    taken: usize,
    /// When `allowed` changed.
    changed: Option<Instant>,
    /// In order of arrival.
    waiting: Vec<(Urgency, oneshot::Sender<Result<()>>)>,
}

/// The right to ask, given back when dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    /// When the latest request of this turn was sent.
    asked: Instant,
}

/// A turn besides the one that a task has, given back when dropped.
#[derive(Debug)]
pub struct Spare(Arc<Turns>);

impl Spare {
    /// One for the task whose request needs several answers of the source that can be asked for side by side, if one is free; it takes
    /// none for which another request waits. A task of which no turns are known gets none.
    pub fn take() -> Option<Self> {
        TURNS.try_with(|turns| turns.is_taken_if_free().then(|| Self(turns.clone()))).ok().flatten()
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Turns {
    /// Runs `request`, which has one of these turns and may take what is left of them ([`Spare::take`]).
    pub(super) fn during<F: Future>(self: &Arc<Self>, request: F) -> impl Future<Output = F::Output> {
        TURNS.scope(self.clone(), request)
    }

    fn is_taken_if_free(&self) -> bool {
        let mut state = self.state.lock();
        let is_free = state.taken < state.allowed;
        state.taken += usize::from(is_free);
        is_free
    }

    /// A queue with so many turns, at least one.
    pub fn new(count: usize) -> Self {
        let most = count.max(1);
        let state = State { allowed: most, taken: 0, changed: None, waiting: Vec::new() };
        Self { most, state: Mutex::new(state), wanted: Arc::default() }
    }

    /// Returns when it is this request's turn: the most urgent first, among equals the one that came first.
    ///
    /// # Errors
    /// The error with which another turn ended ([`Turn::note`]) while this request waited for its own.
    pub async fn take(&self, urgency: &Urgency) -> Result<Turn<'_>> {
        let _ = urgency.0.wanted.set(self.wanted.clone());
        let receiver = {
            let mut state = self.state.lock();
            if state.taken < state.allowed {
                state.taken += 1;
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
        let now = Instant::now();
        *urgency.0.turn.lock() = Some(now);
        Turn { turns: self, asked: now }
    }

    /// Case T1, for a request that was sent then.
    fn lower(&self, asked: Instant) {
        let mut state = self.state.lock();
        // What was under way before the last change says nothing about it.
        if state.changed.is_some_and(|changed| asked <= changed) {
            return;
        }
        let allowed = (state.taken.min(state.allowed) / 2).max(1);
        if allowed < state.allowed {
            debug!("the source is busy: at most {allowed} requests at once for now");
        }
        (state.allowed, state.changed) = (allowed, Some(Instant::now()));
    }

    /// Case T2.
    fn raise(&self, state: &mut State) {
        if state.allowed < self.most && state.changed.is_none_or(|changed| changed.elapsed() >= RAISED_AFTER) {
            (state.allowed, state.changed) = (state.allowed + 1, Some(Instant::now()));
        }
    }

    fn give_back(&self) {
        let mut state = self.state.lock();
        state.taken -= 1;
        self.raise(&mut state);
        while state.taken < state.allowed {
            let next = (0..state.waiting.len()).rev().max_by_key(|&place| state.waiting[place].0.level());
            let Some(next) = next else { break };
            // A request whose caller gave up waiting is passed over.
            if state.waiting.remove(next).1.send(Ok(())).is_ok() {
                state.taken += 1;
            }
        }
        self.wanted.store(!state.waiting.is_empty(), Ordering::Relaxed);
    }
}

impl Turn<'_> {
    /// Notes the result of the turn's request. After an outage the requests that wait for a turn fail with the same error, before
    /// the turn is given back: otherwise each would wait for a source that is known not to answer. A source that was still busy
    /// when the request had waited long enough counts as one.
    pub fn note<T>(&self, result: &Result<T>) {
        let Err(error) = result else { return };
        if error.kind() == ErrorKind::RateLimited {
            self.turns.lower(self.asked);
        }
        if error.kind().is_outage() || (error.kind() == ErrorKind::RateLimited && error.is_remembered()) {
            self.turns.refuse(&error.clone().remembered());
        }
    }

    /// Notes that another request is sent in this turn.
    pub fn ask_again(&mut self) {
        self.asked = Instant::now();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.give_back();
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

    #[tokio::test(start_paused = true)]
    async fn cases_t1_and_t2() {
        let turns = Turns::new(8);
        let busy: Result<()> = Err(Error::new("x", ErrorKind::RateLimited));
        let allowed = || turns.state.lock().allowed;
        let urgency = Urgency::interactive();
        let mut all = Vec::new();
        for _ in 0..8 {
            all.push(turns.take(&urgency).await.expect("they are free"));
        }
        all.iter().for_each(|turn| turn.note(&busy));
        assert_eq!(allowed(), 4, "all were sent before it was known");
        drop(all);
        for expected in [1, 1] {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns.take(&urgency).await.expect("one is free").note(&busy);
            assert_eq!(allowed(), expected, "one alone was too many");
        }
        for expected in [2, 3, 4, 5, 6, 7, 8, 8] {
            tokio::time::sleep(RAISED_AFTER).await;
            for _ in 0..3 {
                drop(turns.take(&urgency).await.expect("one is free"));
            }
            assert_eq!(allowed(), expected);
        }
    }

    #[tokio::test]
    async fn a_task_takes_what_is_left_of_the_turns_and_gives_it_back() {
        assert!(Spare::take().is_none(), "no turns are known");
        let (turns, urgency) = (Arc::new(Turns::new(3)), Urgency::interactive());
        let _own = turns.take(&urgency).await.expect("one is free");
        let spare = turns.during(async { [(); 3].map(|()| Spare::take()) }).await;
        assert_eq!(spare.each_ref().map(Option::is_some), [true, true, false]);
        let mut waiting = Box::pin(turns.take(&urgency));
        assert!((&mut waiting).now_or_never().is_none());
        drop(spare);
        let _other = waiting.now_or_never().expect("one was given back");
        let spare = turns.during(async { [(); 2].map(|()| Spare::take()) }).await;
        assert_eq!(spare.each_ref().map(Option::is_some), [true, false]);
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
