//! The embedded database of a cache directory: one writer thread, and a new database when this one is damaged. It knows no meaning of
//! what its tables hold.

mod file;
mod queue;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::{debug, warn};

use crate::cachedir::CacheDir;
use crate::disk::{Asked, DISK_TIMEOUT, Disk, Hangs};
use crate::error::{Error, ErrorKind};
use file::{Opened, is_damage};
use queue::{GATHER, MAX_BATCH, Queue};

/// The most changes that wait for a disk that hangs. Further ones are lost, as on a full disk.
const MAX_QUEUED: usize = MAX_BATCH;

/// How often who waits for a commit looks whether the disk makes progress.
const PROGRESS_CHECK: Duration = Duration::from_millis(500);

/// As many instructions of SQLite's machine are a step, which takes some milliseconds of a processor.
const STEPS: i32 = 100_000;

type Job = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

enum Message {
    Write(Job),
    Read(Job),
    Flush(Box<dyn FnOnce() + Send>),
}

/// The number of times that a damaged database is replaced before the rest of the run goes without one on disk: a disk that damages
/// each is broken.
const MAX_REPLACEMENTS: u64 = 3;

/// Writes are queued, and one thread commits all that have gathered in one transaction, so that many changes at about the same time cost
/// few commits. A caller whose change must survive a kill waits for the commit, which then comes at once. Reads wait for earlier writes
/// in the queue, since there is one connection only: two would share an index of the journal in mapped memory, and a program that
/// truncates that file would end the process.
#[derive(Debug)]
pub struct Database {
    disk: Arc<Disk>,
    shared: Arc<Shared>,
    queue: Arc<Queue<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The state that the writer thread shares with callers.
struct Shared {
    dir: Mutex<Arc<CacheDir>>,
    journal: u32,
    connection: Mutex<Connection>,
    /// Bytes on disk.
    bytes: AtomicU64,
    /// Those of them that lie beside the database and its journal.
    beside: AtomicU64,
    /// The number of bytes that it may grow by, its journal included, until that is worked in.
    growth: AtomicU64,
    /// The number of queued jobs that were begun, and of [`STEPS`] that took: as long as this grows, the disk answers.
    done: Arc<AtomicU64>,
    /// The number of changes that are queued.
    queued: AtomicUsize,
    /// The number of databases that were begun empty.
    begun: AtomicU64,
    /// The number of changes that were lost, a damaged database counted as one.
    losses: AtomicU64,
    /// The damage that a query met and that was not mended yet.
    damage: Mutex<Option<String>>,
    /// It was said that the database cannot be read, and it could not since.
    is_unreadable: AtomicBool,
    /// Called after a damaged database was replaced by an empty one.
    replaced: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// The number of transactions that were begun.
    #[cfg(test)]
    transactions: AtomicUsize,
}

/// A change that is queued, until this is dropped.
struct Queued(Arc<Shared>);

impl Queued {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.queued.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir().path()).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens or creates `index.sqlite` in the cache directory `dir`. A damaged or foreign one is set aside, and one that cannot be opened
    /// stays as it is while another in memory does its work; a warning says so.
    ///
    /// `journal` is how many bytes its journal may grow to before it is worked in, which takes syncs: the larger, the fewer.
    pub fn open(dir: &Path, journal: u32) -> crate::error::Result<Self> {
        Self::open_gathering(dir, journal, GATHER)
    }

    /// The same, with changes that nobody waits for committed after the time `gather`.
    fn open_gathering(dir: &Path, journal: u32, gather: Duration) -> crate::error::Result<Self> {
        let dir = CacheDir::claim(dir)?;
        let (Opened { connection, is_new }, done) = (file::open(&dir, journal), Arc::default());
        let shared = Arc::new(Shared {
            dir: Mutex::new(Arc::new(dir)),
            journal,
            connection: Mutex::new(counting(connection, &done)),
            bytes: AtomicU64::new(0),
            beside: AtomicU64::new(0),
            growth: AtomicU64::new(0),
            done,
            queued: AtomicUsize::new(0),
            begun: AtomicU64::new(is_new.into()),
            losses: AtomicU64::new(0),
            damage: Mutex::default(),
            is_unreadable: AtomicBool::new(false),
            replaced: Mutex::default(),
            #[cfg(test)]
            transactions: AtomicUsize::new(0),
        });
        shared.measure_beside();
        shared.measure();
        let queue = Arc::new(Queue::new(gather));
        let thread = std::thread::Builder::new()
            .name("index".into())
            .spawn({
                let (shared, queue) = (shared.clone(), queue.clone());
                move || run(&shared, &queue)
            })
            .map_err(|e| Error::new("start index thread", ErrorKind::Cache).caused_by(e))?;
        Ok(Self { disk: Arc::default(), shared, queue, thread: Mutex::new(Some(thread)) })
    }

    /// The disk that it lies on.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// The number of times that the database was begun empty, at the start or since, so that earlier contents are not in it.
    pub fn begun(&self) -> u64 {
        self.shared.begun.load(Ordering::Acquire)
    }

    /// Grows with every change that is lost, by a full disk or with a damaged database: what was written before may not be stored.
    pub fn losses(&self) -> u64 {
        self.shared.losses.load(Ordering::Acquire)
    }

    /// Has `replaced` called, on the thread that writes, whenever an empty database has replaced a damaged one. It must not wait for writes.
    pub fn on_replaced(&self, replaced: impl Fn() + Send + 'static) {
        *self.shared.replaced.lock() = Some(Box::new(replaced));
    }

    /// Queues a change. A change that fails, or finds [`MAX_QUEUED`] others before it while the disk hangs, is lost alone; nothing depends on
    /// its success but the next start.
    pub fn write(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static) {
        if self.shared.queued.load(Ordering::Relaxed) >= MAX_QUEUED && self.disk.rests() {
            self.shared.losses.fetch_add(1, Ordering::AcqRel);
            return debug!("{}: a change of the index is lost: the disk hangs", self.shared.dir().path().display());
        }
        let queued = Queued::new(&self.shared);
        let job = move |db: &Connection| {
            drop(queued);
            job(db)
        };
        self.queue.push(Message::Write(Box::new(job)), false);
    }

    /// Asks for what was committed, and waits as long as that takes. `None` if the index cannot answer, which is said once: it is a cache.
    pub fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let shared = &self.shared;
        let result = ask(&shared.connection.lock());
        if let Some(e) = shared.heard(&result) {
            *shared.damage.lock() = Some(e.to_string());
            // The thread looks for damage whenever it is woken.
            self.then(|| ());
        }
        result.ok()
    }

    /// Asks like [`Database::read`], after all changes that were queued before.
    ///
    /// # Errors
    /// The disk does not answer in time, or is left alone for that.
    pub fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Option<T>, Hangs> {
        let asked = self.disk.begin()?;
        let (answer, answered) = mpsc::channel();
        let shared = self.shared.clone();
        let job = move |db: &Connection| {
            let result = ask(db);
            shared.heard(&result);
            drop(asked);
            // The receiver is gone if the caller gave up.
            result.map(|value| _ = answer.send(value))
        };
        self.queue.push(Message::Read(Box::new(job)), true);
        self.wait_for(&answered)
    }

    fn wait_for<T>(&self, answer: &mpsc::Receiver<T>) -> Result<Option<T>, Hangs> {
        let done = || self.shared.done.load(Ordering::Relaxed);
        waiting(|| {
            loop {
                let before = done();
                match answer.recv_timeout(DISK_TIMEOUT) {
                    Ok(value) => {
                        self.disk.answers();
                        return Ok(Some(value));
                    }
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                    Err(RecvTimeoutError::Timeout) if done() > before => {}
                    Err(RecvTimeoutError::Timeout) => {
                        self.disk.hangs();
                        return Err(Hangs);
                    }
                }
            }
        })
    }

    /// Returns when all changes that were queued before are committed.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        self.then(move || _ = done.send(()));
        let _ = wait.recv();
    }

    /// Like [`Database::flush`], as a part of what the disk is asked already, which hears of the steps that it takes.
    pub fn settle(&self, asked: &Asked) {
        let (done, wait) = mpsc::channel();
        self.then(move || _ = done.send(()));
        let mut seen = self.shared.done.load(Ordering::Relaxed);
        while wait.recv_timeout(PROGRESS_CHECK) == Err(RecvTimeoutError::Timeout) {
            let now = self.shared.done.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, now) != now {
                asked.step();
            }
        }
    }

    fn then(&self, flushed: impl FnOnce() + Send + 'static) {
        self.queue.push(Message::Flush(Box::new(flushed)), true);
    }

    /// Begins the database anew if its file was deleted, which SQLite does not notice.
    pub fn make_again(&self) {
        if !file::is_there(&self.shared.dir()) {
            *self.shared.damage.lock() = Some("its file was deleted".into());
            self.then(|| ());
        }
    }

    /// The bytes that the index takes on disk, its journal included.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// By how many bytes it may grow, its journal included, which the disk counts as free until then.
    pub fn growth(&self) -> u64 {
        self.shared.growth.load(Ordering::Relaxed)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.queue.close();
        // A thread that waits for a disk that hangs ends with the process.
        if let Some(thread) = self.thread.lock().take().filter(|_| !self.disk.rests()) {
            let _ = thread.join();
        }
    }
}

/// The end of the thread that takes from this queue.
struct Ending<'a>(&'a Queue<Message>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn run(shared: &Shared, queue: &Queue<Message>) {
    // Who waits for a thread that has panicked would do so forever.
    let _ending = Ending(queue);
    while let Some(mut messages) = queue.take() {
        let has_changes = messages.iter().any(|message| matches!(message, Message::Write(_)));
        let mut flushes = Vec::new();
        while !messages.is_empty() {
            let result = commit(shared, &mut messages, &mut flushes);
            match result {
                Ok(()) => {}
                Err(e) if is_damage(&e) => *shared.damage.lock() = Some(e.to_string()),
                Err(e) => shared.lost(&e),
            }
            shared.mend();
        }
        shared.mend();
        if has_changes {
            shared.measure();
        }
        for flushed in flushes {
            flushed();
        }
    }
}

/// The connection, whose work is counted in `done`, however long one statement takes, such as that which deletes a large listing.
fn counting(mut connection: Connection, done: &Arc<AtomicU64>) -> Connection {
    let done = done.clone();
    let step = move || {
        done.fetch_add(1, Ordering::Relaxed);
        // It goes on.
        false
    };
    if let Err(e) = connection.progress_handler(STEPS, Some(step)) {
        warn!("the index does not tell how far it is: {e}");
    }
    connection
}

/// Does what may wait for the disk, so that others on the runtime do not wait with it.
fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

/// Carries out what is queued, until damage is met: what follows is for the next database.
fn commit(
    shared: &Shared,
    messages: &mut VecDeque<Message>,
    flushes: &mut Vec<Box<dyn FnOnce() + Send>>,
) -> rusqlite::Result<()> {
    let mut connection = shared.connection.lock();
    #[cfg(test)]
    shared.transactions.fetch_add(1, Ordering::Relaxed);
    let begun = connection.transaction();
    let mut transaction = match begun {
        Ok(transaction) => transaction,
        Err(e) if is_damage(&e) => return Err(e),
        Err(e) => {
            for message in messages.drain(..) {
                if let Message::Flush(flush) = message {
                    flushes.push(flush);
                }
            }
            return Err(e);
        }
    };
    while let Some(message) = messages.pop_front() {
        shared.done.fetch_add(1, Ordering::Relaxed);
        match message {
            Message::Flush(flush) => flushes.push(flush),
            Message::Read(job) => match job(&transaction) {
                Err(e) if is_damage(&e) => return Err(e),
                _ => {}
            },
            Message::Write(job) => {
                let savepoint = transaction.savepoint()?;
                match job(&savepoint) {
                    Ok(()) => savepoint.commit()?,
                    Err(e) if is_damage(&e) => return Err(e),
                    Err(e) => shared.lost(&e),
                }
            }
        }
    }
    transaction.commit()
}

impl Shared {
    /// Notes whether the database could be read, and says once that it could not. The error, if it tells of damage.
    fn heard<'a, T>(&self, result: &'a rusqlite::Result<T>) -> Option<&'a rusqlite::Error> {
        match result {
            Ok(_) => self.is_unreadable.store(false, Ordering::Relaxed),
            Err(e) if is_damage(e) => return Some(e),
            Err(e) if !self.is_unreadable.swap(true, Ordering::Relaxed) => warn!("the index cannot be read: {e}"),
            Err(e) => debug!("the index cannot be read: {e}"),
        }
        None
    }

    /// Looks how large the database and its journal are.
    fn measure(&self) {
        let (database, journal) = file::bytes(&self.dir());
        self.bytes.store(database + journal + self.beside.load(Ordering::Relaxed), Ordering::Relaxed);
        self.growth.store(file::growth(journal, self.journal), Ordering::Relaxed);
    }

    /// Looks how much lies beside them, which changes only where a database is opened or set aside.
    fn measure_beside(&self) {
        self.beside.store(file::bytes_beside(&self.dir()), Ordering::Relaxed);
    }

    fn lost(&self, e: &rusqlite::Error) {
        self.losses.fetch_add(1, Ordering::AcqRel);
        warn!("{}: a change of the index is lost: {e}", self.dir().path().display());
    }

    fn dir(&self) -> Arc<CacheDir> {
        self.dir.lock().clone()
    }

    /// The directory; a new one if it was deleted.
    fn dir_in_place(&self) -> Arc<CacheDir> {
        let mut dir = self.dir.lock();
        if dir.is_gone() {
            match CacheDir::claim(dir.path()) {
                Ok(fresh) => *dir = Arc::new(fresh),
                Err(e) => warn!("{e}"),
            }
        }
        dir.clone()
    }

    /// Puts an empty database in the place of a damaged one.
    fn mend(&self) {
        let Some(why) = self.damage.lock().take() else { return };
        {
            let mut connection = self.connection.lock();
            // Closes the damaged one.
            *connection = file::in_memory();
            let is_hopeless = self.begun.load(Ordering::Relaxed) >= MAX_REPLACEMENTS;
            let dir = self.dir();
            file::set_aside(&dir, &why);
            if is_hopeless {
                warn!(
                    "{}: it is damaged again and again; until the next mount the index is in memory only",
                    dir.path().display()
                );
            } else {
                *connection = counting(file::open(&self.dir_in_place(), self.journal).connection, &self.done);
            }
        }
        self.measure_beside();
        self.measure();
        // A second report of damage meanwhile was about the old database.
        self.damage.lock().take();
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.losses.fetch_add(1, Ordering::AcqRel);
        if let Some(replaced) = &*self.replaced.lock() {
            replaced();
        }
    }
}

#[cfg(test)]
mod tests;
