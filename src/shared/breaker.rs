//! `Breaker`: leaves a store alone for a while that has failed again and again. It knows not what is asked.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// So many failures one after another open it.
const FAILURES: u32 = 5;

/// For how long it stays open; then each further failure opens it again, and a success closes it.
const REST: Duration = Duration::from_secs(30);

/// Whether a store is to be asked.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When the latest of them was told.
    failed: Option<Instant>,
    until: Option<Instant>,
}

impl Breaker {
    /// Whether the store is left alone now.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().until.is_some_and(|until| Instant::now() < until)
    }

    /// It has answered.
    pub(super) fn worked(&self) {
        *self.0.lock() = State::default();
    }

    /// It has failed what was asked at this time. Whether this opens the breaker. Questions that were asked at once fail once: a moment in
    /// which nothing answers is no reason to leave it alone.
    pub(super) fn failed(&self, asked: Instant) -> bool {
        let mut state = self.0.lock();
        if state.failed.is_some_and(|failed| asked < failed) {
            return false;
        }
        state.failed = Some(Instant::now());
        state.failures = (state.failures + 1).min(FAILURES);
        let opens = state.failures == FAILURES && state.until.is_none_or(|until| until <= Instant::now());
        if opens {
            state.until = Some(Instant::now() + REST);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(breaker: &Breaker) -> bool {
        breaker.failed(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_leave_the_store_alone_for_half_a_minute() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!fails(&breaker));
        }
        breaker.worked();
        for _ in 0..4 {
            assert!(!fails(&breaker) && !breaker.is_open());
        }
        assert!(fails(&breaker) && breaker.is_open());
        tokio::time::advance(REST - Duration::from_millis(1)).await;
        assert!(breaker.is_open());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!breaker.is_open());
        assert!(fails(&breaker) && breaker.is_open(), "one more failure is enough");
        tokio::time::advance(REST).await;
        breaker.worked();
        assert!(!fails(&breaker) && !breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_that_were_asked_at_once_fail_once() {
        let breaker = Breaker::default();
        for round in 1..=5 {
            let asked = Instant::now();
            tokio::time::advance(Duration::from_millis(100)).await;
            let opened = (0..20).filter(|_| breaker.failed(asked)).count();
            assert_eq!((opened, breaker.is_open()), (usize::from(round == 5), round == 5));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
}
