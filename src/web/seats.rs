//! `Seats`: the connections that are open at once, and which of them gives way to a new one. It reads and answers nothing.
//!
//! | case | of the connections, when all seats are taken | decision |
//! |---|---|---|
//! | S1 | some have not been let in yet | the oldest of these is closed |
//! | S2 | else some do not follow the status at present | the same |
//! | S3 | all follow it | the new one is turned away |
//!
//! A process that may not look can therefore keep nobody out, however many connections it opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::task::AbortHandle;

/// How far a connection has come: the later gives way later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// It has asked for nothing yet, or for what it may not have.
    Stranger,
    /// It was let in once.
    LetIn,
    /// It is told the status for as long as it reads that.
    Follows,
}

/// The seat of one connection.
#[derive(Debug, Default)]
pub(super) struct Seat(AtomicU8);

impl Seat {
    /// The connection has come so far.
    pub(super) fn note(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::Relaxed);
    }

    fn is(&self, stage: Stage) -> bool {
        self.0.load(Ordering::Relaxed) == stage as u8
    }
}

/// So many connections at most, the oldest first.
pub(super) struct Seats {
    most: usize,
    taken: Vec<(Arc<Seat>, AbortHandle)>,
}

impl Seats {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Vec::new() }
    }

    /// Cases S1 to S3: whether there is a seat, for which an older connection may have been closed.
    pub(super) fn make_room(&mut self) -> bool {
        self.taken.retain(|(_, task)| !task.is_finished());
        if self.taken.len() < self.most {
            return true;
        }
        let oldest = |stage| self.taken.iter().position(|(seat, _)| seat.is(stage));
        let Some(number) = oldest(Stage::Stranger).or_else(|| oldest(Stage::LetIn)) else { return false };
        self.taken.remove(number).1.abort();
        true
    }

    /// The connection that `task` serves takes a seat.
    pub(super) fn take(&mut self, seat: Arc<Seat>, task: AbortHandle) {
        self.taken.push((seat, task));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinHandle;

    use super::*;

    fn connect(seats: &mut Seats, stage: Stage) -> JoinHandle<()> {
        let (seat, task) = (Arc::new(Seat::default()), tokio::spawn(pending()));
        seat.note(stage);
        seats.take(seat, task.abort_handle());
        task
    }

    #[tokio::test]
    async fn the_oldest_of_those_that_have_come_least_far_gives_way() {
        let mut seats = Seats::new(4);
        assert!(seats.make_room(), "nobody is there");
        let let_in = connect(&mut seats, Stage::LetIn);
        let follows = connect(&mut seats, Stage::Follows);
        let [first, second] = [(); 2].map(|()| connect(&mut seats, Stage::Stranger));
        for gone in [first, second, let_in] {
            assert!(!gone.is_finished() && seats.make_room());
            assert!(gone.await.expect_err("it is closed").is_cancelled());
            connect(&mut seats, Stage::Follows);
        }
        assert!(!seats.make_room(), "all follow");
        follows.abort();
        follows.await.expect_err("it is gone");
        assert!(seats.make_room());
    }
}
