//! `Interrupts`: waiting requests whose callers were sent a signal that ends or interrupts them. It does not know their operations.
//!
//! The kernel would tell of a signal by FUSE_INTERRUPT, which fuser answers with ENOSYS before our code sees it. So the callers of
//! requests that have waited for a while are looked at in `/proc` (proc(5)), and a request whose caller has such a signal pending
//! is refused.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, test_kill_process};
use tracing::debug;

/// How long a request waits before its caller is looked at: most are answered by then.
const WATCHED_AFTER: Duration = Duration::from_millis(300);

/// How often callers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// For how long a caller that was interrupted is refused without being looked at: an interactive shell's `cd` asks three times, and the
/// first answer has consumed the signal.
const JUST_INTERRUPTED: Duration = Duration::from_secs(1);

/// How long a request of a caller that was just interrupted may wait nevertheless: an answer of memory or of a prompt source still
/// arrives.
const GRACE: Duration = Duration::from_millis(50);

/// The most that is read of a `status` file, in bytes. The signals follow the list of supplementary groups, of which there may be 65,536.
const MAX_STATUS_BYTES: u64 = 1 << 20;

/// The signals that end or interrupt a wait. Others, such as SIGALRM, SIGWINCH and SIGURG, must not: programs that use them as clocks would
/// never get an answer.
const INTERRUPTING: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::KILL, Signal::TERM];

/// The closure that refuses a request.
type Refuse = Box<dyn FnOnce() + Send>;

/// The waiting requests of one mount, and the thread that looks at their callers. The thread ends when this is dropped.
pub struct Interrupts {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Wakes the thread.
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: HashMap<u64, Request>,
    next: u64,
    /// Which threads were interrupted, and when.
    interrupted: HashMap<u32, Instant>,
    looked: Option<Instant>,
    /// The thread waits until it is woken.
    parked: bool,
    closed: bool,
}

struct Request {
    /// The caller's thread id.
    thread: u32,
    since: Instant,
    /// Its caller was interrupted just before.
    interrupted: bool,
    refuse: Refuse,
}

/// A request that waits. Dropping it means that the request waits no longer.
pub struct Entered {
    shared: Arc<Shared>,
    number: Option<u64>,
}

impl Interrupts {
    /// Begins to watch.
    ///
    /// # Errors
    /// There cannot be another thread.
    pub fn watch() -> io::Result<Self> {
        let shared = Arc::new(Shared { waiting: Mutex::default(), wake: Condvar::new() });
        let watching = shared.clone();
        std::thread::Builder::new().name("interrupts".into()).spawn(move || watching.watch())?;
        Ok(Self { shared })
    }

    /// A request of `thread` waits from now on; `refuse` is called at most once, on another thread, if its caller is interrupted.
    ///
    /// `thread` is 0 for a caller in a PID namespace that cannot be seen from here. It waits for the answer, whatever it is sent.
    pub fn enter(&self, thread: u32, refuse: Refuse) -> Entered {
        if thread == 0 {
            return Entered { shared: self.shared.clone(), number: None };
        }
        let mut waiting = self.shared.waiting.lock();
        let (number, hurry) = waiting.enter(Instant::now(), thread, refuse);
        if hurry {
            self.shared.wake.notify_one();
        }
        Entered { shared: self.shared.clone(), number: Some(number) }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // The value is dropped after the lock is released.
        let _request = self.number.and_then(|number| self.shared.waiting.lock().requests.remove(&number));
    }
}

impl Shared {
    fn watch(&self) {
        let mut buffer = Vec::new();
        let mut waiting = self.waiting.lock();
        while !waiting.closed {
            match waiting.next_look() {
                None => {
                    waiting.parked = true;
                    self.wake.wait(&mut waiting);
                    waiting.parked = false;
                }
                Some(at) if at > Instant::now() => _ = self.wake.wait_until(&mut waiting, at),
                Some(_) => {
                    let threads = waiting.due(Instant::now());
                    drop(waiting);
                    let stopped: Vec<_> =
                        threads.into_iter().filter(|&thread| has_stopped_waiting(thread, &mut buffer)).collect();
                    let refused = self.waiting.lock().interrupt(Instant::now(), &stopped);
                    for request in refused {
                        debug!("thread {} is interrupted after {:?}", request.thread, request.since.elapsed());
                        (request.refuse)();
                    }
                    waiting = self.waiting.lock();
                }
            }
        }
    }
}

impl Waiting {
    /// The number of the request, and whether the watching thread must hear of it now.
    fn enter(&mut self, now: Instant, thread: u32, refuse: Refuse) -> (u64, bool) {
        let interrupted = self.interrupted.get(&thread).is_some_and(|&at| now < at + JUST_INTERRUPTED);
        let number = self.next;
        self.next += 1;
        self.requests.insert(number, Request { thread, since: now, interrupted, refuse });
        (number, self.parked || interrupted)
    }

    /// When the thread should look next; `None` if no request waits.
    fn next_look(&self) -> Option<Instant> {
        let again = self.looked.map(|looked| looked + LOOK_INTERVAL);
        let due = |request: &Request| {
            if request.interrupted {
                return request.since + GRACE;
            }
            let due = request.since + WATCHED_AFTER;
            again.map_or(due, |again| due.max(again))
        };
        self.requests.values().map(due).min()
    }

    /// The threads to look at now.
    fn due(&mut self, now: Instant) -> HashSet<u32> {
        self.looked = Some(now);
        self.interrupted.retain(|_, at| now < *at + JUST_INTERRUPTED);
        let due = self.requests.values().filter(|request| request.since + WATCHED_AFTER <= now);
        due.map(|request| request.thread).collect()
    }

    /// Takes out the requests of those that have `stopped` waiting, and those of threads that were interrupted just before.
    fn interrupt(&mut self, now: Instant, stopped: &[u32]) -> Vec<Request> {
        self.interrupted.extend(stopped.iter().map(|&thread| (thread, now)));
        let refused = self.requests.extract_if(|_, request| {
            stopped.contains(&request.thread) || (request.interrupted && request.since + GRACE <= now)
        });
        refused.map(|(_, request)| request).collect()
    }
}

/// Whether this thread no longer waits for an answer. One that cannot be seen is taken to wait.
fn has_stopped_waiting(thread: u32, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    let read =
        File::open(format!("/proc/{thread}/status")).and_then(|file| file.take(MAX_STATUS_BYTES).read_to_end(buffer));
    if read.is_ok() {
        return is_interrupted(buffer).unwrap_or(false);
    }
    // In a /proc that is mounted with hidepid, threads of other users are missing.
    let Some(pid) = i32::try_from(thread).ok().and_then(Pid::from_raw) else { return false };
    matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// Whether a thread with this `status` file has ended, or has a signal pending that it waits no longer for. `None` if this is no such file.
///
/// A signal without a handler that ends the process is pending for the thread, as SIGKILL; one with a handler is pending for the process.
fn is_interrupted(status: &[u8]) -> Option<bool> {
    let value = |key: &str| {
        let mut lines = status.split(|&byte| byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(key.as_bytes()))?;
        Some(std::str::from_utf8(value).ok()?.trim())
    };
    if value("State:")?.starts_with(['Z', 'X']) {
        return Some(true);
    }
    let set = |key: &str| u64::from_str_radix(value(key)?, 16).ok();
    let pending = (set("SigPnd:")? | set("ShdPnd:")?) & !set("SigBlk:")? & !set("SigIgn:")?;
    Some(INTERRUPTING.iter().any(|signal| pending & (1 << (signal.as_raw() - 1)) != 0))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// The lines of a `status` file that count, among others.
    fn status(state: &str, [pending, shared, blocked, ignored]: [u64; 4]) -> String {
        format!(
            "Name:\tcat\nUmask:\t0022\nState:\t{state}\nTgid:\t7\nPid:\t7\nGroups:\t0 7 \nThreads:\t1\nSigQ:\t1/63780\n\
             SigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n\
             SigCgt:\t0000000000000000\nSeccomp:\t0\n"
        )
    }

    fn bit(signal: Signal) -> u64 {
        1 << (signal.as_raw() - 1)
    }

    #[test]
    fn a_signal_that_ends_or_interrupts_counts_for_the_thread_and_for_its_process() {
        let waits = "D (disk sleep)";
        for signal in INTERRUPTING {
            let pending = bit(signal);
            assert_eq!(is_interrupted(status(waits, [pending, 0, 0, 0]).as_bytes()), Some(true), "{signal:?}");
            assert_eq!(is_interrupted(status(waits, [0, pending, 0, 0]).as_bytes()), Some(true), "{signal:?}");
            assert_eq!(is_interrupted(status(waits, [0, pending, pending, 0]).as_bytes()), Some(false), "blocked");
            assert_eq!(is_interrupted(status(waits, [0, pending, 0, pending]).as_bytes()), Some(false), "ignored");
        }
    }

    #[test]
    fn clocks_and_notices_do_not_count() {
        for signal in [Signal::ALARM, Signal::WINCH, Signal::URG, Signal::CHILD, Signal::USR1, Signal::TSTP] {
            let status = status("D (disk sleep)", [bit(signal), bit(signal), 0, 0]);
            assert_eq!(is_interrupted(status.as_bytes()), Some(false), "{signal:?}");
        }
    }

    #[test]
    fn who_has_ended_no_longer_waits_and_other_texts_tell_nothing() {
        assert_eq!(is_interrupted(status("Z (zombie)", [0; 4]).as_bytes()), Some(true));
        assert_eq!(is_interrupted(b""), None);
        let cut = status("S (sleeping)", [bit(Signal::KILL), 0, 0, 0]).replace("ShdPnd", "Shared");
        assert_eq!(is_interrupted(cut.as_bytes()), None);
    }

    #[test]
    fn this_thread_waits_and_one_that_there_is_not_does_not() {
        let mut buffer = Vec::new();
        assert!(!has_stopped_waiting(std::process::id(), &mut buffer));
        let past_the_largest = 1 << 23;
        assert!(has_stopped_waiting(past_the_largest, &mut buffer));
    }

    fn nothing() -> Refuse {
        Box::new(|| ())
    }

    #[test]
    fn only_who_has_waited_for_a_while_is_looked_at_and_only_now_and_then() {
        let begun = Instant::now();
        let mut waiting = Waiting::default();
        assert_eq!(waiting.next_look(), None);
        waiting.enter(begun, 7, nothing());
        waiting.enter(begun, 7, nothing());
        waiting.enter(begun + WATCHED_AFTER, 8, nothing());
        assert_eq!(waiting.next_look(), Some(begun + WATCHED_AFTER));
        assert_eq!(waiting.due(begun + WATCHED_AFTER), HashSet::from([7]), "once, however many requests it has");
        assert_eq!(waiting.next_look(), Some(begun + WATCHED_AFTER + LOOK_INTERVAL));
        assert_eq!(waiting.due(begun + 2 * WATCHED_AFTER), HashSet::from([7, 8]));
        let refused = waiting.interrupt(begun + 2 * WATCHED_AFTER, &[7]);
        assert_eq!(refused.iter().map(|request| request.thread).collect::<Vec<_>>(), [7, 7]);
        assert_eq!(waiting.requests.len(), 1);
    }

    #[test]
    fn who_was_just_interrupted_is_refused_without_being_looked_at() {
        let begun = Instant::now();
        let mut waiting = Waiting::default();
        waiting.interrupt(begun, &[7]);
        assert!(waiting.enter(begun, 7, nothing()).1, "the watching thread hears of it");
        assert!(!waiting.enter(begun, 8, nothing()).1);
        assert_eq!(waiting.next_look(), Some(begun + GRACE));
        assert_eq!(waiting.due(begun + GRACE), HashSet::new());
        assert_eq!(waiting.interrupt(begun + GRACE, &[]).len(), 1);
        // That request was refused without a signal: a request after the time waits as usual.
        waiting.enter(begun + JUST_INTERRUPTED, 7, nothing());
        assert!(waiting.interrupt(begun + JUST_INTERRUPTED + GRACE, &[]).is_empty());
    }

    #[test]
    fn the_watch_refuses_once_and_forgets_what_waits_no_longer() {
        let interrupts = Interrupts::watch().expect("there can be a thread");
        let (refused, refusals) = mpsc::channel();
        let refuse = |name: &'static str| -> Refuse {
            let refused = refused.clone();
            Box::new(move || refused.send(name).expect("somebody listens"))
        };
        let past_the_largest = 1 << 23;
        let gone = interrupts.enter(past_the_largest, refuse("gone"));
        let _here = interrupts.enter(std::process::id(), refuse("here"));
        let _unseen = interrupts.enter(0, refuse("unseen"));
        assert_eq!(refusals.recv(), Ok("gone"));
        drop(gone);
        drop(interrupts.enter(past_the_largest, refuse("answered")));
        assert!(refusals.recv_timeout(2 * LOOK_INTERVAL).is_err());
    }
}
