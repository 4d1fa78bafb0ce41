//! `Waits`: the calls of a source that are under way, which of them wait for its answer and since when, and for which programs. It ends
//! no wait.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Retrieval;
use crate::path::RemotePath;

/// A call that takes longer than this counts as waiting. Status tells of it within the first second.
const STALLED_AFTER: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// The thread of the program for which a task works.
    static CALLER: u32;
}

/// Runs `work` for the program whose thread this is, so that the program is known to wait.
pub fn on_behalf_of<F: Future>(thread: u32, work: F) -> impl Future<Output = F::Output> {
    CALLER.scope(thread, work)
}

/// When a call began to be silent; `None` while it does not wait for the source.
pub(super) type Silence = Arc<Mutex<Option<Instant>>>;

tokio::task_local! {
    /// The silence of the call that is under way.
    pub(super) static SILENT_SINCE: Silence;
}

/// Notes that the call under way makes progress, for a source that knows it before it has anything to deliver.
pub fn note_progress() {
    let note = |since: &Silence| {
        let mut since = since.lock();
        if since.is_some() {
            *since = Some(Instant::now());
        }
    };
    // Without a deadline there is no timer to restart.
    let _ = SILENT_SINCE.try_with(note);
}

/// The waits for one source. Readable at any time.
#[derive(Debug, Default)]
pub struct Waits {
    calls: Mutex<Calls>,
    /// The number of operations that wait, by the threads for which they do. 0 stands for all threads that are not known.
    threads: Mutex<HashMap<u32, usize>>,
}

#[derive(Debug, Default)]
struct Calls {
    under_way: HashMap<u64, Call>,
    next: u64,
}

#[derive(Debug)]
struct Call {
    op: &'static str,
    path: Option<RemotePath>,
    silence: Silence,
    /// Of a retrieval.
    content: Option<Content>,
}

#[derive(Debug)]
struct Content {
    size: Option<u64>,
    range: Range<u64>,
    began: Instant,
    arrived: Arrived,
}

/// The bytes of a retrieval that have arrived.
pub(super) type Arrived = Arc<AtomicU64>;

/// A retrieval that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The file.
    pub path: RemotePath,
    /// The bytes of all of it, where the source has told.
    pub size: Option<u64>,
    /// The bytes that were asked for; of a file without a size, to `u64::MAX`.
    pub range: Range<u64>,
    /// How many of these have arrived.
    pub arrived: u64,
    /// For how long it has been under way.
    pub lasts: Duration,
}

/// A summary of the calls that wait now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The call that has been silent for longest: its operation and, if it has one, its path.
    pub call: String,
    /// How long it has been silent.
    pub silent: Duration,
    /// How many calls the source has not answered.
    pub calls: usize,
}

impl Waits {
    /// Notes a call of the source until the guard is dropped.
    pub(super) fn call(&self, op: &'static str, path: Option<&RemotePath>, silence: &Silence) -> UnderWay<'_> {
        self.enter(Call { op, path: path.cloned(), silence: silence.clone(), content: None })
    }

    /// The same for a retrieval, of which bytes arrive.
    pub(super) fn retrieval(&self, request: &Retrieval<'_>, silence: &Silence, arrived: &Arrived) -> UnderWay<'_> {
        let Retrieval { path, size, range, .. } = request;
        let content =
            Content { size: *size, range: range.clone(), began: Instant::now(), arrived: Arc::clone(arrived) };
        let (path, silence) = (Some((*path).clone()), Arc::clone(silence));
        self.enter(Call { op: "retrieve_file", path, silence, content: Some(content) })
    }

    fn enter(&self, call: Call) -> UnderWay<'_> {
        let mut calls = self.calls.lock();
        let number = calls.next;
        calls.next += 1;
        calls.under_way.insert(number, call);
        UnderWay { waits: self, number }
    }

    /// The retrievals that are under way, those first that began first: at most so many, and how many there are.
    pub fn transfers(&self, most: usize) -> (Vec<Transfer>, usize) {
        let (calls, now) = (self.calls.lock(), Instant::now());
        let transfer = |(number, call): (&u64, &Call)| {
            let (path, Content { size, range, began, arrived }) = (call.path.clone()?, call.content.as_ref()?);
            let arrived = arrived.load(Ordering::Relaxed);
            Some((*number, Transfer { path, size: *size, range: range.clone(), arrived, lasts: now - *began }))
        };
        let mut transfers: Vec<_> = calls.under_way.iter().filter_map(transfer).collect();
        drop(calls);
        transfers.sort_unstable_by_key(|(number, _)| *number);
        let all = transfers.len();
        (transfers.into_iter().take(most).map(|(_, transfer)| transfer).collect(), all)
    }

    /// Runs `work`; while it cannot end at once, the program for which it runs counts as waiting.
    pub async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        if let std::task::Poll::Ready(done) = futures::poll!(work.as_mut()) {
            return done;
        }
        let _waits = Thread::enter(self, CALLER.try_with(|thread| *thread).unwrap_or_default());
        work.await
    }

    /// The threads of programs that wait for the source.
    pub fn threads(&self) -> Vec<u32> {
        self.threads.lock().keys().copied().collect()
    }

    /// The waits that have lasted long enough to be told, if there are any.
    pub fn now(&self) -> Option<Waiting> {
        let (calls, now) = (self.calls.lock(), Instant::now());
        let silent = calls.under_way.values().filter_map(|call| Some((now - (*call.silence.lock())?, call)));
        let silent: Vec<_> = silent.collect();
        let &(longest, call) =
            silent.iter().max_by_key(|(silent, _)| *silent).filter(|(silent, _)| *silent >= STALLED_AFTER)?;
        Some(Waiting { call: call.to_string(), silent: longest, calls: silent.len() })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{} {path}", self.op),
            None => f.write_str(self.op),
        }
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    waits: &'a Waits,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.waits.calls.lock().under_way.remove(&self.number);
    }
}

/// A thread that waits.
struct Thread<'a> {
    waits: &'a Waits,
    thread: u32,
}

impl<'a> Thread<'a> {
    fn enter(waits: &'a Waits, thread: u32) -> Self {
        *waits.threads.lock().entry(thread).or_default() += 1;
        Self { waits, thread }
    }
}

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        let mut threads = self.waits.threads.lock();
        if let Some(count) = threads.get_mut(&self.thread) {
            *count -= 1;
            if *count == 0 {
                threads.remove(&self.thread);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_been_silent_for_longest_is_told_and_no_short_wait() {
        let waits = Waits::default();
        let silent = || Arc::new(Mutex::new(Some(Instant::now())));
        let first = silent();
        let path = RemotePath::parse(b"a/b").expect("a path");
        let _older = waits.call("list_path", Some(&path), &first);
        sleep(STALLED_AFTER / 2).await;
        assert_eq!(waits.now(), None);
        let newer = waits.call("connect", None, &silent());
        sleep(STALLED_AFTER / 2).await;
        let waiting = waits.now().expect("one is waited for");
        assert_eq!((&*waiting.call, waiting.silent, waiting.calls), (&*format!("list_path {path}"), STALLED_AFTER, 2));
        *first.lock() = None;
        drop(newer);
        sleep(STALLED_AFTER).await;
        assert_eq!(waits.now(), None, "one has ended, and at the other it is not the source that is waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn retrievals_are_told_with_what_has_arrived_and_the_first_of_many_only() {
        let (waits, file) = (Waits::default(), RemotePath::parse(b"a/b").expect("a path"));
        let digest = crate::digest::Digest::new("etag:1");
        let silent = || Arc::new(Mutex::new(Some(Instant::now())));
        let retrievals: Vec<_> = (0..3u64)
            .map(|first| {
                let request = Retrieval::new(&file, &digest, 10, first..10);
                let arrived = Arrived::default();
                (waits.retrieval(&request, &silent(), &arrived), arrived)
            })
            .collect();
        let _listing = waits.call("list_path", Some(&file), &silent());
        retrievals[0].1.fetch_add(4, Ordering::Relaxed);
        sleep(Duration::from_secs(2)).await;
        let (told, all) = waits.transfers(2);
        let lasts = Duration::from_secs(2);
        let transfer = |range, arrived| Transfer { path: file.clone(), size: Some(10), range, arrived, lasts };
        assert_eq!((told, all), (vec![transfer(0..10, 4), transfer(1..10, 0)], 3));
        drop(retrievals);
        assert_eq!(waits.transfers(2), (Vec::new(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_waits_while_its_work_does() {
        let waits = Waits::default();
        let at_once = on_behalf_of(7, waits.during(async { waits.threads() })).await;
        assert!(at_once.is_empty(), "it did not have to wait: {at_once:?}");
        let work = || on_behalf_of(7, waits.during(pending::<()>()));
        let both = async { tokio::join!(work(), work(), on_behalf_of(8, waits.during(pending::<()>()))) };
        let seen = async {
            sleep(Duration::from_millis(1)).await;
            let mut threads = waits.threads();
            threads.sort_unstable();
            threads
        };
        tokio::select! {
            threads = seen => assert_eq!(threads, [7, 8]),
            _ = both => unreachable!("nothing ends"),
        }
        assert!(timeout(Duration::from_secs(1), work()).await.is_err());
        assert!(waits.threads().is_empty(), "who gives up waits no longer");
    }
}
