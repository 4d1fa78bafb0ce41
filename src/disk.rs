//! `Disk`: whether the disk of the cache answers. A question waits for [`DISK_TIMEOUT`] once; while the disk hangs, further
//! questions fail at once. It does not know the questions.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// The time that the disk has for an answer. A sound one takes milliseconds, a busy one a second; a reader waits that long once.
pub const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long a disk that did not answer in time is left alone: a disk that spins up or a network share that comes back takes some
/// seconds, and each attempt may hold a reader up for [`DISK_TIMEOUT`].
const DISK_REST: Duration = Duration::from_secs(30);

/// How long the thread that asks questions together leaves them gather: to wake a thread for each costs as much as to write a small file.
const GATHER: Duration = Duration::from_micros(500);

/// A question that waits so long behind others gets a thread of its own.
const BEHIND_OTHERS: Duration = Duration::from_millis(20);

/// The disk has not answered in time, so that its contents are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangs;

/// Whether the disk answers.
#[derive(Debug, Default)]
pub struct Disk {
    /// Until when it is left alone.
    resting: Mutex<Option<Instant>>,
    /// The number of questions that it has not answered yet.
    unanswered: AtomicUsize,
    together: Mutex<Together>,
    /// The number of all questions.
    #[cfg(test)]
    pub questions: AtomicUsize,
    /// The number of threads that were woken for questions that are asked together.
    #[cfg(test)]
    woken: AtomicUsize,
}

/// Questions that are asked one after another.
#[derive(Debug, Default)]
struct Together {
    waiting: VecDeque<Arc<Waiting>>,
    /// Whether a thread asks them.
    are_asked: bool,
}

/// A question until it is asked, by whichever thread takes it.
struct Waiting(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

/// A question that the disk has not answered yet. It ends with this.
#[derive(Debug)]
pub struct Asked {
    disk: Arc<Disk>,
    steps: Arc<AtomicU64>,
}

impl Asked {
    /// The disk has answered a part of what takes long by its nature.
    pub fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.disk.unanswered.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Disk {
    /// Whether it is left alone: for a while, and for as long as it owes an answer.
    pub fn rests(&self) -> bool {
        let until = *self.resting.lock();
        until.is_some_and(|until| Instant::now() < until || self.unanswered.load(Ordering::Acquire) > 0)
    }

    /// Why files are read through, while it is left alone.
    pub fn describe(&self) -> Option<String> {
        let (patience, rest) = (DISK_TIMEOUT.as_secs(), DISK_REST.as_secs());
        let why =
            || format!("the disk takes no bytes: it has not answered for {patience} s, and is left alone for {rest} s");
        self.rests().then(why)
    }

    /// It has not answered within [`DISK_TIMEOUT`].
    pub fn hangs(&self) {
        let is_known = self.resting.lock().replace(Instant::now() + DISK_REST).is_some();
        let why = self.describe().unwrap_or_default();
        if is_known {
            debug!("cache: {why}");
        } else {
            warn!("cache: no room: {why}; files are read through, and are not there in an outage");
        }
    }

    /// It has answered in time.
    pub fn answers(&self) {
        // While it is left alone, that says nothing of what it has not answered.
        if !self.rests() && self.resting.lock().take().is_some() {
            info!("cache: the disk answers again");
        }
    }

    fn asked(self: &Arc<Self>) -> Asked {
        self.unanswered.fetch_add(1, Ordering::AcqRel);
        #[cfg(test)]
        self.questions.fetch_add(1, Ordering::Relaxed);
        Asked { disk: self.clone(), steps: Arc::default() }
    }

    /// Leave to ask it something by other means than [`Disk::ask`].
    ///
    /// # Errors
    /// It is left alone.
    pub fn begin(self: &Arc<Self>) -> Result<Asked, Hangs> {
        if self.rests() { Err(Hangs) } else { Ok(self.asked()) }
    }

    /// Asks it something on a thread that may wait for it. What takes longer than [`DISK_TIMEOUT`] tells of its [steps](Asked::step).
    ///
    /// # Errors
    /// It does not answer in time, or is left alone for that; or the question panicked.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Asked) -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        let asked = self.begin()?;
        let steps = asked.steps.clone();
        let answer = tokio::task::spawn_blocking(move || question(&asked));
        self.answered(answer, &steps).await
    }

    /// The same for what nobody waits for: a thread that asks such questions one after another, as they have gathered, is woken less often.
    ///
    /// # Errors
    /// As [`Disk::ask`].
    pub async fn ask_together<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Asked) -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        let asked = self.begin()?;
        let steps = asked.steps.clone();
        let (answers, mut answer) = oneshot::channel();
        let ask = move || {
            // The receiver is gone if the caller gave up.
            let _ = answers.send(question(&asked));
        };
        let waiting = Arc::new(Waiting(Mutex::new(Some(Box::new(ask)))));
        self.gather(waiting.clone());
        if let Ok(answer) = timeout(BEHIND_OTHERS, &mut answer).await {
            self.answers();
            return answer.map_err(|_| Hangs);
        }
        if let Some(ask) = waiting.0.lock().take() {
            tokio::task::spawn_blocking(ask);
        }
        self.answered(answer, &steps).await
    }

    /// Has a question asked together with others.
    fn gather(self: &Arc<Self>, waiting: Arc<Waiting>) {
        let mut together = self.together.lock();
        together.waiting.push_back(waiting);
        if std::mem::replace(&mut together.are_asked, true) {
            return;
        }
        drop(together);
        #[cfg(test)]
        self.woken.fetch_add(1, Ordering::Relaxed);
        let disk = self.clone();
        tokio::task::spawn_blocking(move || disk.ask_gathered());
    }

    /// Asks what has gathered, until nothing more comes.
    fn ask_gathered(&self) {
        loop {
            let gathered = {
                let mut together = self.together.lock();
                together.are_asked = !together.waiting.is_empty();
                std::mem::take(&mut together.waiting)
            };
            if gathered.is_empty() {
                return;
            }
            for waiting in gathered {
                let ask = waiting.0.lock().take();
                // Who has asked hears of a panic as of no answer; the others go on.
                ask.map(|ask| catch_unwind(AssertUnwindSafe(ask)));
            }
            std::thread::sleep(GATHER);
        }
    }

    /// The answer, unless the disk neither gives it in time nor takes a step towards it.
    async fn answered<T, E>(&self, answer: impl Future<Output = Result<T, E>>, steps: &AtomicU64) -> Result<T, Hangs> {
        let mut answer = std::pin::pin!(answer);
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(DISK_TIMEOUT, &mut answer).await {
                self.answers();
                return answer.map_err(|_| Hangs);
            }
            let taken = steps.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, taken) == taken {
                self.hangs();
                return Err(Hangs);
            }
        }
    }

    /// Has it do something that must be done. What it does not do in time, or is told while it is left alone, it does before it is asked
    /// anything else.
    pub async fn tell(self: &Arc<Self>, order: impl FnOnce() + Send + 'static) {
        let (rests, asked) = (self.rests(), self.asked());
        let doing = tokio::task::spawn_blocking(move || {
            order();
            drop(asked);
        });
        if !rests && timeout(DISK_TIMEOUT, doing).await.is_err() {
            self.hangs();
        }
    }

    /// Takes a lock that others may hold while they wait for the disk.
    pub fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> Result<MutexGuard<'a, T>, Hangs> {
        if self.rests() {
            return mutex.try_lock().ok_or(Hangs);
        }
        mutex.try_lock_for(DISK_TIMEOUT).ok_or_else(|| {
            self.hangs();
            Hangs
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_must_be_done_is_done_before_anything_else_is_asked() {
        let disk = Arc::new(Disk::default());
        let (go_on, until) = mpsc::channel::<()>();
        disk.hangs();
        // The disk is left alone, so this does not wait for it.
        disk.tell(move || _ = until.recv()).await;
        *disk.resting.lock() = Some(Instant::now());
        assert_eq!(disk.ask(|_| ()).await, Err(Hangs));
        drop(go_on);
        while disk.rests() {
            tokio::task::yield_now().await;
        }
        assert_eq!(disk.ask(|_| 7).await, Ok(7));
        assert_eq!(disk.describe(), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_takes_long_and_goes_on_is_waited_for() {
        let disk = Arc::new(Disk::default());
        let slow = disk.ask(|asked| {
            for _ in 0..5 {
                std::thread::sleep(DISK_TIMEOUT / 2);
                asked.step();
            }
        });
        assert_eq!(slow.await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn questions_that_gather_share_a_thread() {
        let disk = Arc::new(Disk::default());
        let (begun, go_on) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
        let (begins, goes_on, asking) = (begun.clone(), go_on.clone(), disk.clone());
        let first = tokio::spawn(async move {
            let question = move |_: &Asked| {
                begins.wait();
                goes_on.wait();
            };
            asking.ask_together(question).await
        });
        tokio::task::spawn_blocking(move || begun.wait()).await.expect("the first is being asked");
        let others = (0..100).map(|number| {
            let disk = disk.clone();
            tokio::spawn(async move { disk.ask_together(move |_| number).await })
        });
        let others: Vec<_> = others.collect();
        while disk.together.lock().waiting.len() < 100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(disk.woken.load(Ordering::Relaxed), 1);
        tokio::task::spawn_blocking(move || go_on.wait()).await.expect("the first goes on");
        for (number, answer) in others.into_iter().enumerate() {
            assert_eq!(answer.await.expect("it ends"), Ok(number));
        }
        assert_eq!(first.await.expect("it ends"), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_waits_behind_what_takes_long_is_asked_beside_it() {
        let disk = Arc::new(Disk::default());
        let (go_on, until) = mpsc::channel::<()>();
        let (asking, slow) = (disk.clone(), move |_: &Asked| _ = until.recv());
        let slow = tokio::spawn(async move { asking.ask_together(slow).await });
        while disk.unanswered.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(disk.ask_together(|_| 7).await, Ok(7));
        drop(go_on);
        assert_eq!(slow.await.expect("it ends"), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_question_that_panics_has_no_answer_and_others_have() {
        let disk = Arc::new(Disk::default());
        let (panics, other) = tokio::join!(disk.ask_together(|_| panic!("expected")), disk.ask_together(|_| 7));
        assert_eq!((panics, other), (Err::<(), _>(Hangs), Ok(7)));
        assert_eq!(disk.ask_together(|_| 8).await, Ok(8));
        assert_eq!(disk.unanswered.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_lock_is_not_waited_for_while_the_disk_is_left_alone() {
        let (disk, state) = (Disk::default(), Mutex::new(()));
        let held = disk.lock(&state).expect("it is free");
        disk.hangs();
        assert!(disk.lock(&state).is_err());
        drop(held);
        assert!(disk.lock(&state).is_ok());
    }
}
