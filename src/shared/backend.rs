//! `Backend`: a store as a mount sees it: how long its answers take, and whether it is worth asking. It opens no value.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::breaker::Breaker;
use super::counts::{Counts, up};
use super::store::Store;
use super::usual::Usual;
use crate::duration::Shown;
use crate::error::{Error, ErrorKind, Result};

/// The least and the most that a read waits for the store before the source is asked, where nothing else is configured; in between, it
/// is so many times what such reads take. The least is half of what the source takes, where that is more: asked earlier, it would hardly be
/// the first to answer, and bring for nothing what others wait for.
const WAIT: RangeInclusive<Duration> = Duration::from_millis(30)..=Duration::from_millis(250);
const USUAL_TIMES: u32 = 3;

/// Where the source takes longer than that, the most is what it takes, up to this: many machines that ask it beside a store which has much to
/// do would make both slower.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long a read may take that nobody waits for any more: it tells how long such reads take now.
const LATEST: Duration = Duration::from_secs(5);

/// The time in which a value must be given.
const GIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// A store.
pub(super) struct Backend {
    store: Arc<dyn Store>,
    counts: Arc<Counts>,
    asking: Breaker,
    /// Of giving alone: a store that is full is asked all the same.
    giving: Breaker,
    last_error: Mutex<Option<String>>,
    usual: Usual,
    /// One read that came too late goes on at a time: more would make a slow store slower.
    lingering: Arc<Semaphore>,
}

/// For how long a read waits for the store.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Patience {
    /// For so long, if that is configured.
    pub(super) configured: Option<Duration>,
    /// The time that the source would take for what such a read spares it; zero if that is not known.
    pub(super) source: Duration,
}

impl Patience {
    /// That of a question before a request, which a reader may wait for: what the source takes does not make it longer.
    pub(super) fn short(configured: Option<Duration>) -> Self {
        Self { configured, source: Duration::ZERO }
    }

    /// The least that a read waits if nothing is configured.
    fn least(self) -> Duration {
        (self.source / 2).clamp(*WAIT.start(), LONGEST_WAIT)
    }

    /// The most that it waits then.
    fn longest(self) -> Duration {
        self.source.clamp(*WAIT.end(), LONGEST_WAIT)
    }
}

/// What came of a read.
pub(super) enum Answer {
    /// The bytes, if there is such a value.
    Value(Option<Bytes>),
    /// It goes on, for longer than a reader waits.
    Late(Reading),
    /// The store has failed, or is left alone.
    Failed,
}

impl Backend {
    pub(super) fn new(store: Arc<dyn Store>, counts: Arc<Counts>) -> Arc<Self> {
        let (asking, giving, last_error, usual) = Default::default();
        Arc::new(Self { store, counts, asking, giving, last_error, usual, lingering: Arc::new(Semaphore::new(1)) })
    }

    /// Whether it keeps values of a file of so many bytes.
    pub(super) fn keeps(&self, size: u64) -> bool {
        size <= self.store.largest_file()
    }

    /// Whether it is left alone at present, after failures.
    pub(super) fn is_resting(&self) -> bool {
        self.asking.is_open()
    }

    /// Whether it is given nothing at present, after failures.
    pub(super) fn takes_nothing(&self) -> bool {
        self.giving.is_open() || self.is_resting()
    }

    /// Its latest failure.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// The time that a read of so many blocks waits.
    fn waits(&self, blocks: usize, patience: Patience) -> Duration {
        let usual =
            || self.usual.of(blocks).map(|usual| (usual * USUAL_TIMES).clamp(patience.least(), patience.longest()));
        patience.configured.or_else(usual).unwrap_or(patience.longest())
    }

    /// An answer that was late was here before that of the source.
    pub(super) fn was_worth_waiting_for(&self) {
        self.asking.worked();
    }

    /// Reads a part of a value, of so many blocks; waits for as long as `patience` says, or such reads do.
    pub(super) async fn get(
        self: &Arc<Self>,
        name: &str,
        place: Range<u64>,
        blocks: usize,
        patience: Patience,
    ) -> Answer {
        if self.is_resting() {
            return Answer::Failed;
        }
        let waits = self.waits(blocks, patience);
        let asked = Instant::now();
        let mut reading = self.read(name, place, blocks, patience.longest());
        match timeout(waits, reading.end()).await {
            Ok(Ok(value)) => {
                self.asking.worked();
                Answer::Value(value)
            }
            Ok(Err(error)) => {
                self.failed(&self.asking, asked, &error.to_string());
                Answer::Failed
            }
            Err(_) => {
                up(&self.counts.hedged, 1);
                let limit = Shown(waits);
                self.failed(&self.asking, asked, &format!("the store has not answered within {limit}"));
                Answer::Late(reading)
            }
        }
    }

    /// Whether the value is there; a store that does not say so in time has none.
    pub(super) async fn has(self: &Arc<Self>, name: &str, patience: Patience) -> bool {
        matches!(self.get(name, 0..1, 1, patience).await, Answer::Value(Some(_)))
    }

    /// Reads; an answer that comes within `longest` was worth to be waited for.
    fn read(self: &Arc<Self>, name: &str, place: Range<u64>, blocks: usize, longest: Duration) -> Reading {
        let (backend, name) = (self.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let silent = |e| Error::new("read from the shared store", ErrorKind::TimedOut).caused_by(e);
            let value = timeout(LATEST, backend.store.get(&name, place)).await.map_err(silent)??;
            // What came too late tells it too; otherwise a store that has become slower would be given up for good.
            let took = began.elapsed();
            if value.is_some() {
                backend.usual.note(blocks, took);
            }
            if took <= longest {
                backend.asking.worked();
            }
            Ok(value)
        });
        Reading { task: Some(task), lingering: self.lingering.clone(), runtime: Handle::current() }
    }

    /// Puts a value where none is. Whether it is there now, and whether it was not before; `None` if it could not be put.
    pub(super) async fn put(&self, name: &str, value: Bytes) -> Option<bool> {
        let asked = Instant::now();
        match timeout(GIVE_TIMEOUT, self.store.put_if_absent(name, value)).await {
            Ok(Ok(is_new)) => {
                self.giving.worked();
                return Some(is_new);
            }
            Ok(Err(error)) => self.failed(&self.giving, asked, &error.to_string()),
            Err(_) => self.failed(&self.giving, asked, "the store has not taken a value in time"),
        }
        None
    }

    /// Puts a value, in the place of another if there is one.
    pub(super) async fn put_over(&self, name: &str, value: Bytes, kept_for: Duration) {
        let asked = Instant::now();
        match timeout(GIVE_TIMEOUT, self.store.put(name, value, kept_for)).await {
            Ok(Ok(())) => self.giving.worked(),
            Ok(Err(error)) => self.failed(&self.giving, asked, &error.to_string()),
            Err(_) => self.failed(&self.giving, asked, "the store has not taken a listing in time"),
        }
    }

    /// The whole of a value, for which nobody waits.
    pub(super) async fn look_into(&self, name: &str, place: Range<u64>) -> Option<Bytes> {
        timeout(LATEST, self.store.get(name, place)).await.ok()?.ok()?
    }

    /// Removes values, one after another, until one cannot be removed.
    pub(super) async fn remove(&self, names: Vec<String>) {
        for name in names {
            let asked = Instant::now();
            match timeout(GIVE_TIMEOUT, self.store.delete(&name)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.failed(&self.giving, asked, &error.to_string()),
                Err(_) => return self.failed(&self.giving, asked, "the store has not removed a value in time"),
            }
        }
    }

    fn failed(&self, breaker: &Breaker, asked: Instant, why: &str) {
        *self.last_error.lock() = Some(why.to_owned());
        self.counts.note_error(why);
        if !breaker.failed(asked) {
            debug!("shared: {why}");
        } else if std::ptr::eq(breaker, &self.giving) {
            warn!("shared: {why}; nothing is given to the store for 30 s, and it is asked all the same");
        } else {
            warn!("shared: {why}; the store is left alone for 30 s, and sources are asked instead");
        }
    }
}

/// A read that is under way.
pub(super) struct Reading {
    task: Option<JoinHandle<Result<Option<Bytes>>>>,
    lingering: Arc<Semaphore>,
    runtime: Handle,
}

impl Reading {
    /// Waits for its end. To be asked again only if this was dropped before.
    pub(super) async fn end(&mut self) -> Result<Option<Bytes>> {
        let failed = |e| Error::new("read from the shared store", ErrorKind::Other).caused_by(e);
        match &mut self.task {
            Some(task) => task.await.unwrap_or_else(|e| Err(failed(e))),
            None => Ok(None),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let Some(task) = self.task.take().filter(|task| !task.is_finished()) else { return };
        match self.lingering.clone().try_acquire_owned() {
            Ok(place) => drop(self.runtime.spawn(async move {
                // Its result is noted by itself.
                let _ = task.await;
                drop(place);
            })),
            Err(_) => task.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::shared::store::memory::Memory;

    fn slow(by: u64) -> (Arc<Memory>, Arc<Backend>) {
        let store = Arc::<Memory>::default();
        store.values.lock().insert("a".into(), Bytes::from_static(b"value"));
        store.take.store(by, Ordering::Relaxed);
        (store.clone(), Backend::new(store, Arc::default()))
    }

    async fn get(backend: &Arc<Backend>) -> Answer {
        backend.get("a", 0..5, 1, Patience::default()).await
    }

    fn waits(backend: &Backend) -> Duration {
        backend.waits(1, Patience::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_become_slower_is_waited_for_after_a_while() {
        let (store, backend) = slow(1);
        assert!(matches!(get(&backend).await, Answer::Value(Some(_))));
        assert_eq!(waits(&backend), *WAIT.start());
        store.take.store(70, Ordering::Relaxed);
        let mut late = 0;
        // It rests in between, and is asked again.
        while !matches!(get(&backend).await, Answer::Value(_)) {
            late += 1;
            assert!(late < 60, "it is given up for good");
            tokio::time::advance(Duration::from_secs(7)).await;
        }
        assert!(late > 0 && waits(&backend) > Duration::from_millis(70));
        assert!(!backend.is_resting());
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_came_too_late_go_on_one_at_a_time() {
        let (store, backend) = slow(1000);
        let late = futures::future::join_all((0..4).map(|_| get(&backend))).await;
        assert!(late.iter().all(|answer| matches!(answer, Answer::Late(_))));
        drop(late);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((store.asked.load(Ordering::Relaxed), store.answered.load(Ordering::Relaxed)), (4, 1));
    }

    #[test]
    fn a_read_waits_for_so_many_times_what_such_reads_take_and_no_longer_than_the_source_would() {
        let (_, backend) = slow(0);
        let (time, of) = (Duration::from_millis, |source| Patience { source, ..Patience::default() });
        let waits = |source| backend.waits(32, of(time(source)));
        assert_eq!((waits(0), waits(9000)), (time(250), LONGEST_WAIT), "of which nothing is known");
        backend.usual.note(32, time(60));
        assert_eq!((waits(0), waits(360), backend.waits(1, of(time(0)))), (time(180), time(180), time(250)));
        assert_eq!((waits(1000), waits(9000)), (time(500), LONGEST_WAIT), "half of what the source takes at least");
        (0..40).for_each(|_| backend.usual.note(32, time(500)));
        assert_eq!((waits(0), waits(400)), (time(250), time(400)));
        assert!((time(1400)..=time(1500)).contains(&waits(2500)), "{:?}", waits(2500));
        (0..40).for_each(|_| backend.usual.note(32, time(5000)));
        assert_eq!((waits(1999), waits(9000)), (time(1999), LONGEST_WAIT));
        let configured = Patience { configured: Some(time(20)), source: time(9000) };
        assert_eq!(backend.waits(32, configured), time(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_late_and_quicker_than_the_source_is_waited_for_and_not_left_alone() {
        let patience = Patience { source: Duration::from_secs(3), ..Patience::default() };
        let (store, backend) = slow(1);
        let get = async || backend.get("a", 0..5, 1, patience).await;
        assert!(matches!(get().await, Answer::Value(_)));
        store.take.store(1700, Ordering::Relaxed);
        let mut late = 0;
        while !matches!(get().await, Answer::Value(_)) {
            late += 1;
            assert!(!backend.is_resting() && late < 20, "{late} were late");
            // Another one comes to an end meanwhile.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(late > 0);
        // Where the source is quicker, or no answer comes, it is left alone.
        for (take, source) in [(900, 100), (60_000, 3_000)] {
            let (store, backend) = slow(take);
            let patience = Patience { source: Duration::from_millis(source), ..Patience::default() };
            for _ in 0..5 {
                assert!(matches!(backend.get("a", 0..5, 1, patience).await, Answer::Late(_)));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            assert!(backend.is_resting(), "{take}, {}", store.asked.load(Ordering::Relaxed));
        }
    }
}
