//! Freshness: pure decisions over numbered cases about what is served, asked anew, or fails. It does no I/O and reads no clock.
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
//! | L15 | yes | | the login is refused, was not accepted since the mount, and the settings do not say whose it is | | fail with that |
//!
//! L15: what is known came with a login that the settings do not tell from any other (a token, keys of the environment), and may be another's.
//! Where they name the account, what is known of another one has other keys in the cache.
//!
//! **While the source has not answered yet.** A question goes on when no caller waits for its answer any longer. A source is *slow* once a
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
//! **A name that the known listing is without**, where that could not be renewed. The source is asked about the name alone, unless it is slow:
//!
//! | case | asking | decision |
//! |---|---|---|
//! | L13 | failed, and may succeed a moment later (an outage) | it is not there, as the source said last |
//! | L14 | failed otherwise (a refused login, an answer that makes no sense) | fail with that |
//!
//! L13 keeps what is known usable without a network: most programs look for names that are not there.
//!
//! An outage therefore never looks like an absence: `NotFound` leaves these tables only where a source said so (L4, L13).
//!
//! **A directory of which an answer leaves no name** (it is empty, or not found):
//!
//! | case | known names | answer | decision |
//! |---|---|---|---|
//! | E1 | none | | believe it |
//! | E2 | some | first | ask again after [`WAIT_BEFORE_EMPTYING`] |
//! | E3 | some | second, the same | believe it |
//!
//! A server that restarts may show an empty directory for a moment, before its disk is mounted. The root of a source is never
//! *not found*: that is an outage.
//!
//! **A file that is opened.** It is a version: a name, and the digest that it had when it was looked up. First, what the name leads to now:
//!
//! | case | listed digest | size | the source | decision |
//! |---|---|---|---|---|
//! | O1 | another, or none | | | ask which one there is now, and fail: changed, so that the kernel looks the name up again |
//! | O2 | the same | unknown | | retrieve the whole file, which tells its size |
//! | O3 | the same | known | has digests that only a whole copy can have (`proven_whole`) | retrieve and prove the whole file |
//! | O4 | the same | known | | open its copy |
//!
//! Then, what is here of it. The listing that O1 compares with may be old by `fresh_for`, so a file that is not here is asked for now: after
//! the open a change can no longer be answered by looking the name up again.
//!
//! | case | size | copy | asked within `fresh_for` | decision |
//! |---|---|---|---|---|
//! | O5 | small | | | read it all: what is missing is retrieved, what is here is checked |
//! | O6 | large | whole and in order | | serve it |
//! | O7 | large | partial, in order | yes | serve it |
//! | O8 | large | lacks its first block, and that can be retrieved by itself | no, or a damaged copy | retrieve the first block |
//! | O9 | large | otherwise | no, or a damaged copy | ask for the digest |
//!
//! Where the version is gone by then, the kernel looks the name up again and opens once more, and not twice. So what that open will need
//! is retrieved first ([`OPEN_ATTEMPTS`]): a file that is replaced every few milliseconds can be opened too.
//!
//! A question (O8, O9) that fails:
//!
//! | case | failure | copy | decision |
//! |---|---|---|---|
//! | O10 | an outage that was known before (but see L15) | some blocks are here | serve those |
//! | O11 | otherwise | | fail with it |
//!
//! **A file that the source refuses to this login**, while the rest of it is shown:
//!
//! | case | the refusal | decision |
//! |---|---|---|
//! | R1 | of this version, `fresh_for` ago or less, and [`REFUSED_FOR`] at most | fail with that, and ask nothing; what is here is served |
//! | R2 | older, or of another version | ask |
//! | R3 | before a `refresh`, a reported change, or another login | ask |
//!
//! **A copy that was just retrieved, or is about to count as whole:**
//!
//! | case | local digest | attempt | the remote digest says of the bytes | decision |
//! |---|---|---|---|---|
//! | C1 | equals the remote one | | | whole |
//! | C2 | differs | first | | throw away, retrieve once more |
//! | C3 | differs, equal to the first attempt's | second | nothing | whole, with the pair as its baseline; `status` counts it |
//! | C4 | differs otherwise | second | | fail: changed during read |
//! | C5 | differs, equal to the first attempt's | second | their hash, as the source promises (`content_digest`) | fail: damaged |
//! | C6 | differs, equal to the first attempt's | second | has the form of a hash; another one of the source proved true | fail: damaged |
//! | C7 | differs, equal to the first attempt's | second | has the form of a hash; none of the source has proved true | as C3, until one does |
//! | C8 | says that it is damaged, twice | second | | fail: damaged |
//!
//! C3 is a digest that never converges (a remote that counts another size than it delivers).
//!
//! C6 and C7 are entity tags that look like an MD5. Most stores make them so; some make other tags of the same form, and must stay
//! readable. One tag that is the hash of its bytes is no accident, so from then on a tag of the source that is not means damaged bytes.
//! A store that encrypts says with each answer for which objects that does not hold, and its source compares nothing there (C1).
//! Before the first proof two retrievals that agree are all that there is. What counted by C7 is thrown away with the first tag that
//! proves true ([`still_counts`]), and its next retrieval is decided by C6. That a tag has proved true is stored in the index.
//!
//! **A version found damaged (C5, C6, C8)** fails until its digest changes, and is not retrieved again before
//! [`asked_again_after`]: a minute, doubling to an hour. The bytes that are retrieved then are read only once they are proven.

use std::time::Duration;

use crate::digest::Digest;
use crate::error::ErrorKind;

/// The use of known answers while a source cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// The last known tree and the cached bytes.
    Serve,
    /// An error.
    Fail,
}

/// The most questions under way at a slow source. A few notice that it answers again; a walk through a known tree must not leave
/// thousands.
pub const MAX_QUESTIONS_WHILE_SLOW: usize = 4;

/// The time for which a damaged version is not retrieved, at first and at most: a server that is mended is noticed within the hour,
/// and one that is not costs two retrievals and then one each hour.
const DAMAGED_WAITS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// For so long at most a refusal of a file counts: some servers refuse one in passing, and who is allowed to read it by now should not wait.
pub const REFUSED_FOR: Duration = Duration::from_secs(5);

/// How many versions of a file that is being opened are asked for, each because the one before is gone.
pub const OPEN_ATTEMPTS: usize = 8;

/// The time between the first answer that would take all names away and the second question.
pub const WAIT_BEFORE_EMPTYING: Duration = Duration::from_secs(1);

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

/// The decision while the source is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileAsking {
    /// Wait for its answer, until it fails.
    Wait,
    /// Wait for its answer for this long, then decide again.
    WaitFor(Duration),
    /// Serve what is known.
    Serve,
}

/// Whether an answer that leaves no name of a directory counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptying {
    /// It does: the names go.
    Believe,
    /// The source is asked again first.
    AskAgain,
}

/// The decision about a version before its copy is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeOpening {
    /// The name leads elsewhere by now: it must be looked up again.
    LookUpAgain,
    /// The whole file is retrieved to learn its size.
    Measure,
    /// The whole file is retrieved and proven.
    RetrieveWhole,
    /// Nothing.
    Open,
}

/// The decision about a version whose copy has been opened, before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtOpen {
    /// All of it is read, and retrieved where it is missing.
    ReadAll,
    /// Nothing.
    Serve,
    /// The first block is retrieved.
    RetrieveFirst,
    /// The source is asked for the digest.
    AskDigest,
}

/// The state of the copy of a version that is being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here {
    /// Whether all blocks are here and proven.
    pub whole: bool,
    /// Whether the copy may be damaged.
    pub suspect: bool,
    /// Whether the first block is missing, and could be retrieved by itself.
    pub can_begin: bool,
}

/// The decision about a retrieved copy.
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
    /// The same, and the version fails from now on without being retrieved.
    Damaged,
}

/// The meaning of a remote digest for the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Nothing: it stands for a version.
    Nothing,
    /// It has the form of a hash of them. `proved`: another digest of the source was the hash of its bytes.
    Form {
        /// Whether one was.
        proved: bool,
    },
    /// It is a hash of them, as the source promises.
    Hash,
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
    slow && under_way >= MAX_QUESTIONS_WHILE_SLOW && offline == Offline::Serve
}

/// Cases L9 to L12. `asked` is how long ago the source was asked.
pub fn while_asking(known: bool, slow: bool, asked: Duration, patience: Duration, offline: Offline) -> WhileAsking {
    match offline {
        Offline::Serve if known && (slow || asked >= patience) => WhileAsking::Serve,
        Offline::Serve if known => WhileAsking::WaitFor(patience - asked),
        _ => WhileAsking::Wait,
    }
}

/// Cases L4 to L7, and L15. `is_of_account`: what is known cannot be another account's.
pub fn after_failure(known: bool, kind: ErrorKind, offline: Offline, is_of_account: bool) -> AfterFailure {
    match kind {
        ErrorKind::Unauthenticated if !is_of_account => AfterFailure::Fail,
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            AfterFailure::Fail
        }
        _ if known && offline == Offline::Serve => AfterFailure::Serve,
        _ => AfterFailure::Fail,
    }
}

/// Cases L13 and L14.
pub fn after_failure_to_find(kind: ErrorKind) -> AfterFailure {
    if kind.is_temporary() { AfterFailure::Serve } else { AfterFailure::Fail }
}

/// Cases E1 to E3. `known` is how many names are known, `answers` how many answers in a row were without any.
pub fn before_emptying(known: usize, answers: usize) -> Emptying {
    if known > 0 && answers < 2 { Emptying::AskAgain } else { Emptying::Believe }
}

/// Cases O1 to O4. `same`: the listing has the version's digest.
pub fn before_opening(same: bool, size_known: bool, proven_whole: bool) -> BeforeOpening {
    match (same, size_known, proven_whole) {
        (false, _, _) => BeforeOpening::LookUpAgain,
        (true, false, _) => BeforeOpening::Measure,
        (true, true, true) => BeforeOpening::RetrieveWhole,
        (true, true, false) => BeforeOpening::Open,
    }
}

/// Cases O5 to O9. `asked`: the source was asked for the digest within `fresh_for`.
pub fn at_open(small: bool, here: Here, asked: bool) -> AtOpen {
    match here {
        _ if small => AtOpen::ReadAll,
        Here { suspect: false, whole, .. } if whole || asked => AtOpen::Serve,
        Here { can_begin: true, .. } => AtOpen::RetrieveFirst,
        Here { can_begin: false, .. } => AtOpen::AskDigest,
    }
}

/// Cases O10 and O11, and L15. `unconfirmed`: the source could not be asked for the listing either. `begun`: some blocks are here.
pub fn after_failed_open(kind: ErrorKind, unconfirmed: bool, begun: bool, is_of_account: bool) -> AfterFailure {
    let may_be_anothers = kind == ErrorKind::Unauthenticated && !is_of_account;
    if may_be_anothers {
        return AfterFailure::Fail;
    }
    if kind.is_outage() && unconfirmed && begun { AfterFailure::Serve } else { AfterFailure::Fail }
}

/// Cases C1 to C8. `first_attempt` is the local digest of the first attempt, `None` on the first.
pub fn proof(remote: &Digest, local: &Digest, first_attempt: Option<&Digest>, promise: Promise) -> Proof {
    let Some(first) = first_attempt.filter(|_| local != remote) else {
        return if local == remote { Proof::Whole } else { Proof::Again };
    };
    match promise {
        _ if first != local => Proof::Changed,
        _ if local.is_damage() => Proof::Damaged,
        Promise::Hash | Promise::Form { proved: true } => Proof::Damaged,
        Promise::Nothing | Promise::Form { proved: false } => Proof::Baseline,
    }
}

/// Whether a copy that counts as whole still does: not if it does by C7 alone and a digest of the source has proved true since.
pub fn still_counts(remote: &Digest, local: &Digest, promise: Promise) -> bool {
    local == remote || promise != Promise::Form { proved: true }
}

/// The time for which a version that was found damaged `times` times is not retrieved.
pub fn asked_again_after(times: u32) -> Duration {
    DAMAGED_WAITS.0.saturating_mul(1 << times.saturating_sub(1).min(10)).min(DAMAGED_WAITS.1)
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
            assert_eq!(after_failure(true, kind, Offline::Serve, true), AfterFailure::Fail);
        }
    }

    #[test]
    fn cases_l5_to_l7() {
        for kind in [ErrorKind::Unreachable, ErrorKind::TimedOut, ErrorKind::Unauthenticated, ErrorKind::Protocol] {
            assert_eq!(after_failure(true, kind, Offline::Serve, true), AfterFailure::Serve);
            assert_eq!(after_failure(true, kind, Offline::Fail, true), AfterFailure::Fail);
            assert_eq!(after_failure(false, kind, Offline::Serve, true), AfterFailure::Fail);
        }
    }

    #[test]
    fn case_l15_what_may_be_anothers_is_not_served_to_a_refused_login() {
        let kind = ErrorKind::Unauthenticated;
        assert_eq!(after_failure(true, kind, Offline::Serve, false), AfterFailure::Fail);
        assert_eq!(after_failed_open(kind, true, true, false), AfterFailure::Fail);
        for kind in [ErrorKind::Unreachable, ErrorKind::TimedOut] {
            assert_eq!(after_failure(true, kind, Offline::Serve, false), AfterFailure::Serve);
            assert_eq!(after_failed_open(kind, true, true, false), AfterFailure::Serve);
        }
    }

    #[test]
    fn case_l8_a_slow_source_is_not_asked_by_everybody() {
        assert!(spares_question(true, MAX_QUESTIONS_WHILE_SLOW, Offline::Serve));
        assert!(!spares_question(true, MAX_QUESTIONS_WHILE_SLOW - 1, Offline::Serve));
        assert!(!spares_question(false, MAX_QUESTIONS_WHILE_SLOW, Offline::Serve));
        assert!(!spares_question(true, MAX_QUESTIONS_WHILE_SLOW, Offline::Fail));
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
    fn cases_e1_to_e3() {
        assert_eq!(before_emptying(0, 1), Emptying::Believe);
        assert_eq!(before_emptying(1, 1), Emptying::AskAgain);
        assert_eq!(before_emptying(1, 2), Emptying::Believe);
    }

    #[test]
    fn case_o1_a_version_that_is_gone_is_looked_up_again_whatever_else_is_known() {
        for (size_known, proven_whole) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(before_opening(false, size_known, proven_whole), BeforeOpening::LookUpAgain);
        }
    }

    #[test]
    fn case_o2_a_file_of_unknown_size_is_measured() {
        assert_eq!(before_opening(true, false, false), BeforeOpening::Measure);
        assert_eq!(before_opening(true, false, true), BeforeOpening::Measure);
    }

    #[test]
    fn cases_o3_and_o4_a_file_is_retrieved_whole_if_nothing_less_can_be_proven() {
        assert_eq!(before_opening(true, true, true), BeforeOpening::RetrieveWhole);
        assert_eq!(before_opening(true, true, false), BeforeOpening::Open);
    }

    const NOTHING: Here = Here { whole: false, suspect: false, can_begin: true };
    const PARTIAL: Here = Here { can_begin: false, ..NOTHING };
    const WHOLE: Here = Here { whole: true, ..PARTIAL };
    const DAMAGED: Here = Here { suspect: true, ..WHOLE };

    #[test]
    fn case_o5_a_small_file_is_read_whatever_is_here() {
        for here in [NOTHING, PARTIAL, WHOLE, DAMAGED] {
            assert_eq!(at_open(true, here, true), AtOpen::ReadAll);
            assert_eq!(at_open(true, here, false), AtOpen::ReadAll);
        }
    }

    #[test]
    fn case_o6_a_whole_copy_in_order_is_served() {
        assert_eq!(at_open(false, WHOLE, false), AtOpen::Serve);
        assert_eq!(at_open(false, WHOLE, true), AtOpen::Serve);
    }

    #[test]
    fn case_o7_a_file_that_was_asked_for_lately_is_not_asked_for_again() {
        assert_eq!(at_open(false, PARTIAL, true), AtOpen::Serve);
        assert_eq!(at_open(false, NOTHING, true), AtOpen::Serve);
    }

    #[test]
    fn case_o8_a_file_that_is_not_here_is_asked_for_with_its_first_block() {
        assert_eq!(at_open(false, NOTHING, false), AtOpen::RetrieveFirst);
        let damaged = Here { suspect: true, ..NOTHING };
        assert_eq!(at_open(false, damaged, true), AtOpen::RetrieveFirst);
    }

    #[test]
    fn case_o9_a_partial_or_damaged_copy_is_asked_for_by_its_digest() {
        assert_eq!(at_open(false, PARTIAL, false), AtOpen::AskDigest);
        assert_eq!(at_open(false, DAMAGED, true), AtOpen::AskDigest);
    }

    #[test]
    fn case_o10_what_is_here_is_served_during_an_outage() {
        for kind in [ErrorKind::Unreachable, ErrorKind::TimedOut] {
            assert_eq!(after_failed_open(kind, true, true, true), AfterFailure::Serve);
        }
    }

    #[test]
    fn case_o11_other_failures_are_passed_on() {
        assert_eq!(after_failed_open(ErrorKind::Unreachable, false, true, true), AfterFailure::Fail);
        assert_eq!(after_failed_open(ErrorKind::Unreachable, true, false, true), AfterFailure::Fail);
        assert_eq!(after_failed_open(ErrorKind::Changed, true, true, true), AfterFailure::Fail);
        assert_eq!(after_failed_open(ErrorKind::PermissionDenied, true, true, true), AfterFailure::Fail);
    }

    #[test]
    fn cases_c1_c2_and_c4_hold_whatever_is_promised() {
        let [a, b, c] = ["a", "b", "c"].map(Digest::new);
        for promise in
            [Promise::Nothing, Promise::Form { proved: false }, Promise::Form { proved: true }, Promise::Hash]
        {
            assert_eq!(proof(&a, &a, None, promise), Proof::Whole);
            assert_eq!(proof(&a, &a, Some(&b), promise), Proof::Whole);
            assert_eq!(proof(&a, &b, None, promise), Proof::Again);
            assert_eq!(proof(&a, &b, Some(&c), promise), Proof::Changed);
        }
    }

    #[test]
    fn cases_c3_and_c5_to_c8() {
        let [a, b] = ["a", "b"].map(Digest::new);
        let twice_the_same = |promise| proof(&a, &b, Some(&b), promise);
        assert_eq!(twice_the_same(Promise::Nothing), Proof::Baseline);
        assert_eq!(twice_the_same(Promise::Hash), Proof::Damaged);
        assert_eq!(twice_the_same(Promise::Form { proved: true }), Proof::Damaged);
        assert_eq!(twice_the_same(Promise::Form { proved: false }), Proof::Baseline);
        let damage = Digest::damage("4 of 5 bytes");
        assert_eq!(proof(&a, &damage, Some(&damage), Promise::Nothing), Proof::Damaged);
    }

    #[test]
    fn what_counts_without_evidence_counts_until_there_is_some() {
        let [a, b] = ["a", "b"].map(Digest::new);
        for (promise, counts) in
            [(Promise::Nothing, true), (Promise::Form { proved: false }, true), (Promise::Form { proved: true }, false)]
        {
            assert_eq!(still_counts(&a, &b, promise), counts, "{promise:?}");
            assert!(still_counts(&a, &a, promise));
        }
    }

    #[test]
    fn a_damaged_version_is_asked_for_ever_more_rarely() {
        let minutes: Vec<_> = (1..=8).map(|times| asked_again_after(times).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(asked_again_after(u32::MAX).as_secs(), 3600);
    }
}
