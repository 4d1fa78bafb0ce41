//! `Disk`: whether the disk of the cache answers. A question waits for [`DISK_TIMEOUT`] once; while the disk hangs, further
//! questions fail at once. It does not know the questions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// The time that the disk has for an answer. A sound one takes milliseconds, a busy one a second; a reader waits that long once.
pub const DISK_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long a disk that did not answer in time is left alone: a disk that spins up or a network share that comes back takes some
/// seconds, and each attempt may hold a reader up for [`DISK_TIMEOUT`].
const DISK_REST: Duration = Duration::from_secs(30);

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
    /// The number of all questions.
    #[cfg(test)]
    pub questions: AtomicUsize,
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
        let mut answer = tokio::task::spawn_blocking(move || question(&asked));
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
