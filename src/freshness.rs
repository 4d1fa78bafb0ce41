//! What may be served, what must be asked, what fails: pure decisions over numbered cases. It does no I/O and reads no clock.
//!
//! **A listing (or one entry of it) that is asked for:**
//!
//! | case | known | age | asking | `offline` | decision |
//! |---|---|---|---|---|---|
//! | L1 | no | | not yet | | ask |
//! | L2 | yes | below `fresh_for` | not yet | | serve |
//! | L3 | yes | `fresh_for` or more, or from an earlier run | not yet | | ask |
//! | L4 | | | the source refused (not found, forbidden, no directory) | | fail with that |
//! | L5 | yes | | failed otherwise | `serve` | serve what is known |
//! | L6 | yes | | failed otherwise | `fail` | fail with that |
//! | L7 | no | | failed otherwise | | fail with that |
//!
//! **While the source has not answered yet.** A question whose answer nobody waits for any longer goes on. A source is *slow* once a
//! question has had `patience`, and no other that was asked since has ended; until one does.
//!
//! | case | known | source | `offline` | decision |
//! |---|---|---|---|---|
//! | L8 | yes | slow, and enough questions are under way | `serve` | serve what is known, and ask nothing |
//! | L9 | yes | slow, or asked `patience` ago or earlier | `serve` | serve what is known |
//! | L10 | yes | asked just now | `serve` | wait for what is left of `patience` |
//! | L11 | yes | | `fail` | wait for the answer |
//! | L12 | no | | | wait for the answer |
//!
//! The bytes of a partial copy are what is known of a file in the sense of L8 to L12 when it is opened.
//!
//! An outage therefore never looks like an absence: `NotFound` leaves this table only where a source said so (L4).
//!
//! **A copy that was just retrieved, or is about to count as whole:**
//!
//! | case | local digest | attempt | content digest | decision |
//! |---|---|---|---|---|
//! | C1 | equals the remote one | | | whole |
//! | C2 | differs | first | | throw away, retrieve once more |
//! | C3 | differs, equal to the first attempt's | second | no | whole, with the pair as its baseline |
//! | C4 | differs otherwise | second | | fail: changed during read |
//!
//! C3 is a digest that never converges (a remote that counts another size than it delivers); a source that declares
//! `content_digest` promises that this cannot happen, so there a second difference is damage.

use std::time::Duration;

use crate::config::Offline;
use crate::digest::Digest;
use crate::error::ErrorKind;

/// So many questions are enough to notice that a slow source answers again: a walk through a known tree must not leave thousands.
pub const WHILE_SLOW: usize = 4;

/// Whether to answer from memory or ask the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeAsking {
    /// Answer from what is known; it counts as current for this much longer.
    Serve(Duration),
    /// Ask the source.
    Ask,
}

/// Whether an answer that could not be renewed is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// Serve what is known.
    Serve,
    /// Pass the error on.
    Fail,
}

/// What to do while the source is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileAsking {
    /// Wait for its answer, until it fails.
    Wait,
    /// Wait for its answer for so long, then decide again.
    WaitFor(Duration),
    /// Serve what is known.
    Serve,
}

/// What a retrieved copy counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The copy is whole.
    Whole,
    /// The copy is whole; its two digests differ and always will.
    Baseline,
    /// The bytes are thrown away and retrieved once more.
    Again,
    /// The bytes are thrown away and the reader gets an error.
    Changed,
}

/// Cases L1 to L3. `age` is the age of the known answer: `None` if nothing is known, `Some(None)` if it is from an earlier run.
pub fn before_asking(age: Option<Option<Duration>>, fresh_for: Duration) -> BeforeAsking {
    match age {
        None | Some(None) => BeforeAsking::Ask,
        Some(Some(age)) if age < fresh_for => BeforeAsking::Serve(fresh_for - age),
        Some(Some(_)) => BeforeAsking::Ask,
    }
}

/// Case L8: whether a known answer is served without another question to a slow source. `under_way` questions wait for it already.
pub fn spares_question(slow: bool, under_way: usize, offline: Offline) -> bool {
    slow && under_way >= WHILE_SLOW && offline == Offline::Serve
}

/// Cases L9 to L12. `asked` is how long ago the source was asked.
pub fn while_asking(known: bool, slow: bool, asked: Duration, patience: Duration, offline: Offline) -> WhileAsking {
    match offline {
        Offline::Serve if known && (slow || asked >= patience) => WhileAsking::Serve,
        Offline::Serve if known => WhileAsking::WaitFor(patience - asked),
        _ => WhileAsking::Wait,
    }
}

/// Cases L4 to L7.
pub fn after_failure(known: bool, kind: ErrorKind, offline: Offline) -> AfterFailure {
    match kind {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            AfterFailure::Fail
        }
        _ if known && offline == Offline::Serve => AfterFailure::Serve,
        _ => AfterFailure::Fail,
    }
}

/// Cases C1 to C4. `first_attempt` is the local digest of the first attempt, `None` on the first.
pub fn proof(remote: &Digest, local: &Digest, first_attempt: Option<&Digest>, content_digest: bool) -> Proof {
    match first_attempt {
        _ if local == remote => Proof::Whole,
        None => Proof::Again,
        Some(first) if first == local && !content_digest => Proof::Baseline,
        Some(_) => Proof::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH_FOR: Duration = Duration::from_secs(30);

    #[test]
    fn cases_l1_to_l3() {
        let seconds = Duration::from_secs;
        assert_eq!(before_asking(None, FRESH_FOR), BeforeAsking::Ask);
        assert_eq!(before_asking(Some(Some(seconds(10))), FRESH_FOR), BeforeAsking::Serve(seconds(20)));
        assert_eq!(before_asking(Some(Some(seconds(30))), FRESH_FOR), BeforeAsking::Ask);
        assert_eq!(before_asking(Some(None), FRESH_FOR), BeforeAsking::Ask);
        assert_eq!(before_asking(Some(Some(seconds(0))), Duration::ZERO), BeforeAsking::Ask);
    }

    #[test]
    fn case_l4_a_refusal_is_passed_on_even_if_something_is_known() {
        for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::NotADirectory] {
            assert_eq!(after_failure(true, kind, Offline::Serve), AfterFailure::Fail);
        }
    }

    #[test]
    fn cases_l5_to_l7() {
        for kind in [ErrorKind::Unreachable, ErrorKind::TimedOut, ErrorKind::Unauthenticated, ErrorKind::Protocol] {
            assert_eq!(after_failure(true, kind, Offline::Serve), AfterFailure::Serve);
            assert_eq!(after_failure(true, kind, Offline::Fail), AfterFailure::Fail);
            assert_eq!(after_failure(false, kind, Offline::Serve), AfterFailure::Fail);
        }
    }

    #[test]
    fn case_l8_a_slow_source_is_not_asked_by_everybody() {
        assert!(spares_question(true, WHILE_SLOW, Offline::Serve));
        assert!(!spares_question(true, WHILE_SLOW - 1, Offline::Serve));
        assert!(!spares_question(false, WHILE_SLOW, Offline::Serve));
        assert!(!spares_question(true, WHILE_SLOW, Offline::Fail));
    }

    #[test]
    fn case_l9_what_is_known_is_served_when_patience_is_over_or_the_source_slow() {
        let [one, two] = [1, 2].map(Duration::from_secs);
        assert_eq!(while_asking(true, false, two, two, Offline::Serve), WhileAsking::Serve);
        assert_eq!(while_asking(true, true, Duration::ZERO, two, Offline::Serve), WhileAsking::Serve);
        assert_eq!(while_asking(true, false, one, Duration::ZERO, Offline::Serve), WhileAsking::Serve);
    }

    #[test]
    fn case_l10_who_comes_later_waits_for_what_is_left_of_patience() {
        let [one, two, three] = [1, 2, 3].map(Duration::from_secs);
        assert_eq!(while_asking(true, false, Duration::ZERO, three, Offline::Serve), WhileAsking::WaitFor(three));
        assert_eq!(while_asking(true, false, one, three, Offline::Serve), WhileAsking::WaitFor(two));
    }

    #[test]
    fn cases_l11_and_l12_the_answer_is_waited_for() {
        let [two, nine] = [2, 9].map(Duration::from_secs);
        for slow in [true, false] {
            assert_eq!(while_asking(true, slow, nine, two, Offline::Fail), WhileAsking::Wait);
            assert_eq!(while_asking(false, slow, nine, two, Offline::Serve), WhileAsking::Wait);
        }
    }

    #[test]
    fn cases_c1_to_c4() {
        let [a, b, c] = ["a", "b", "c"].map(Digest::new);
        assert_eq!(proof(&a, &a, None, true), Proof::Whole);
        assert_eq!(proof(&a, &a, Some(&b), true), Proof::Whole);
        assert_eq!(proof(&a, &b, None, false), Proof::Again);
        assert_eq!(proof(&a, &b, Some(&b), false), Proof::Baseline);
        assert_eq!(proof(&a, &b, Some(&b), true), Proof::Changed);
        assert_eq!(proof(&a, &b, Some(&c), false), Proof::Changed);
    }
}
