//! `Limit`: how many lines the log gets, whatever happens: at most 60 in any minute. It knows no file and no style.
//!
//! A kind is a place in the code that logs, together with the source that it logs about. Lines that are left out are counted by
//! kind, and told a minute after the first of them. A user who asks for `debug` or `trace` wants every line of these levels: they
//! are not counted.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Level, Metadata, warn};

/// The time within which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// The most lines of one kind: as many as a program that fails has to say.
const MAX_LINES_OF_KIND: usize = 25;
/// The most lines about one source.
const MAX_LINES_OF_SOURCE: usize = 30;
/// The most lines about all sources together; the rest is for the cache, the index and the mount.
const MAX_LINES_OF_SOURCES: usize = 44;
/// The most lines in all, those aside that tell how many were left out.
const MAX_LINES: usize = 52;
/// The most kinds of which a line tells how many lines were left out; one more line tells of all other kinds.
const MAX_KINDS_TOLD: usize = 7;

/// Bytes of the example of the lines that were left out.
const EXAMPLE_BYTES: usize = 200;

/// The target of the lines that tell how many were left out.
const LEFT_OUT: &str = concat!(env!("CARGO_PKG_NAME"), "::left_out");

static PROCESS: OnceLock<Limit> = OnceLock::new();

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    place: Identifier,
    source: Option<Arc<str>>,
}

/// Counts lines, and says which are left out. Cheap to share.
#[derive(Debug, Default, Clone)]
pub(super) struct Limit(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// When lines were let through, and about which source.
    passed: VecDeque<(Instant, Option<Arc<str>>)>,
    kinds: HashMap<Kind, KindLines>,
    /// Whether a call of [`Limit::left_out`] is due.
    will_be_told: bool,
}

/// The lines of one kind.
#[derive(Debug, Default)]
struct KindLines {
    /// When lines were let through, and a hash of each.
    passed: VecDeque<(Instant, u64)>,
    left_out: u64,
    /// The first that was left out.
    example: String,
}

impl Limit {
    /// The limit of this process's log.
    pub(super) fn of_process() -> Self {
        PROCESS.get_or_init(Self::default).clone()
    }

    /// Whether this event, about `source` and with these words, may be written.
    pub(super) fn admits(&self, event: &Metadata<'static>, source: Option<&str>, words: &str) -> bool {
        if *event.level() > Level::INFO || event.target() == LEFT_OUT {
            return true;
        }
        let kind = Kind { place: event.callsite(), source: source.map(Arc::from) };
        let (passes, is_first) = self.admit(kind, words, Instant::now());
        if is_first {
            let later = std::thread::Builder::new().name("log".into());
            // Without the thread, the end of the process tells.
            let _ = later.spawn(|| {
                std::thread::sleep(WINDOW);
                finish();
            });
        }
        passes
    }

    /// Whether a line may be written. The second is whether it is the first that is left out: then the caller has to call
    /// [`Limit::left_out`] after [`WINDOW`].
    fn admit(&self, kind: Kind, words: &str, now: Instant) -> (bool, bool) {
        let mut hasher = DefaultHasher::new();
        words.hash(&mut hasher);
        let hash = hasher.finish();
        let mut state = self.0.lock();
        let State { passed, kinds, will_be_told } = &mut *state;
        let is_over = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while passed.front().is_some_and(|(at, _)| is_over(*at)) {
            passed.pop_front();
        }
        let known = kinds.entry(kind.clone()).or_default();
        while known.passed.front().is_some_and(|(at, _)| is_over(*at)) {
            known.passed.pop_front();
        }
        let about = |wanted: &Kind| passed.iter().filter(|(_, source)| *source == wanted.source).count();
        let is_crowded = kind.source.is_some()
            && (about(&kind) >= MAX_LINES_OF_SOURCE
                || passed.iter().filter(|(_, of)| of.is_some()).count() >= MAX_LINES_OF_SOURCES);
        if passed.len() < MAX_LINES
            && !is_crowded
            && known.passed.len() < MAX_LINES_OF_KIND
            && !known.passed.iter().any(|(_, said)| *said == hash)
        {
            known.passed.push_back((now, hash));
            passed.push_back((now, kind.source));
            return (true, false);
        }
        if known.left_out == 0 {
            known.example = words[..words.floor_char_boundary(EXAMPLE_BYTES)].to_owned();
        }
        known.left_out += 1;
        (false, !std::mem::replace(will_be_told, true))
    }

    /// Lines that tell how many were left out since the last call.
    fn left_out(&self) -> Vec<String> {
        let mut state = self.0.lock();
        state.will_be_told = false;
        let mut all: Vec<_> = state.kinds.iter_mut().filter(|(_, known)| known.left_out > 0).collect();
        all.sort_by_key(|(kind, known)| (std::cmp::Reverse(known.left_out), kind.source.clone()));
        let mut lines = Vec::new();
        let (mut others, mut kinds) = (0, 0);
        for (kind, known) in all {
            let left_out = std::mem::take(&mut known.left_out);
            let example = std::mem::take(&mut known.example);
            if lines.len() == MAX_KINDS_TOLD {
                (others, kinds) = (others + left_out, kinds + 1);
                continue;
            }
            let source = kind.source.as_ref().map(|source| format!("source {source}: ")).unwrap_or_default();
            lines.push(format!("{source}… and {left_out} more of this kind, the first of them: {example}"));
        }
        if others > 0 {
            lines.push(format!("… and {others} more of {kinds} other kinds"));
        }
        lines
    }
}

/// Tells how many lines were left out so far.
pub(super) fn finish() {
    let Some(limit) = PROCESS.get() else { return };
    for line in limit.left_out() {
        warn!(target: LEFT_OUT, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::Interest;

    use super::*;

    const MINUTE: Duration = WINDOW;

    /// One of two places that log.
    fn place(which: bool) -> Identifier {
        struct Place(u8);
        impl tracing::Callsite for Place {
            fn set_interest(&self, _: Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                unreachable!("nobody asks")
            }
        }
        static PLACES: (Place, Place) = (Place(0), Place(1));
        assert_ne!(PLACES.0.0, PLACES.1.0);
        Identifier(if which { &PLACES.0 } else { &PLACES.1 })
    }

    fn of(source: &str, which: bool) -> Kind {
        Kind { place: place(which), source: (!source.is_empty()).then(|| source.into()) }
    }

    #[test]
    fn what_fails_again_and_again_is_told_once_a_minute() {
        let (limit, begin) = (Limit::default(), Instant::now());
        let mut told = 0;
        for second in 0..180 {
            let now = begin + Duration::from_secs(second);
            told += u32::from(limit.admit(of("far", true), "read /a: it failed", now).0);
            assert!(!limit.admit(of("far", true), "read /a: it failed", now).0);
        }
        assert_eq!(told, 3);
        assert!(limit.admit(of("far", true), "read /b: it failed", begin + 3 * MINUTE).0);
    }

    #[test]
    fn a_kind_is_cut_and_counted_and_others_are_not_cut_with_it() {
        let (limit, begin) = (Limit::default(), Instant::now());
        let mut first = 0;
        for number in 0..5000 {
            let (passes, is_first) = limit.admit(of("far", true), &format!("read /{number}: no"), begin);
            assert_eq!(passes, number < MAX_LINES_OF_KIND);
            first += u32::from(is_first);
        }
        assert_eq!(first, 1);
        assert!(limit.admit(of("far", false), "does not answer", begin).0);
        assert!(limit.admit(of("near", true), "read /x: no", begin).0);
        assert_eq!(
            limit.left_out(),
            [format!(
                "source far: … and {} more of this kind, the first of them: read /25: no",
                5000 - MAX_LINES_OF_KIND
            )]
        );
        assert_eq!(limit.left_out(), Vec::<String>::new());
        assert!(limit.admit(of("far", true), "read /1: no", begin + MINUTE).0);
    }

    #[test]
    fn no_minute_has_more_than_sixty_lines_whoever_logs() {
        let (limit, begin) = (Limit::default(), Instant::now());
        let mut lines = VecDeque::new();
        let mut told = begin;
        let mut most = 0;
        for tick in 0..3000_u32 {
            let now = begin + tick * Duration::from_millis(100);
            for source in 0..20 {
                for which in [true, false] {
                    let kind = of(&format!("s{source}"), which);
                    lines.extend(limit.admit(kind, &format!("{tick}"), now).0.then_some(now));
                }
            }
            if now.duration_since(told) >= WINDOW {
                told = now;
                let left_out = limit.left_out();
                assert!(left_out.last().is_some_and(|line| line.ends_with("33 other kinds")), "{left_out:?}");
                lines.extend(left_out.iter().map(|_| now));
            }
            while lines.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
                lines.pop_front();
            }
            most = most.max(lines.len());
        }
        assert!((MAX_LINES_OF_SOURCES..=60).contains(&most), "{most}");
        // Sources do not silence the cache.
        assert!(limit.admit(of("", true), "the cache is full", begin + 5 * MINUTE - Duration::from_secs(1)).0);
    }
}
