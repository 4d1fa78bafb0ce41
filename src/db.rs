//! The embedded database of a cache directory: opening, schema, one writer thread. It knows no meaning of what its tables hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::error::{Error, ErrorKind, Result};

/// Bumped with every change of [`SCHEMA`]; a database of another version is begun anew, being only a cache.
const VERSION: i32 = 2;

const SCHEMA: &str = "
    CREATE TABLE listings (
        id INTEGER PRIMARY KEY, source TEXT NOT NULL, dir BLOB NOT NULL,
        UNIQUE (source, dir)
    );
    CREATE TABLE entries (
        listing INTEGER NOT NULL REFERENCES listings (id) ON DELETE CASCADE,
        local_name BLOB NOT NULL, name BLOB NOT NULL, path BLOB NOT NULL,
        kind INTEGER NOT NULL, target BLOB, size INTEGER, modified INTEGER, digest TEXT,
        PRIMARY KEY (listing, local_name)
    ) WITHOUT ROWID;
    CREATE TABLE learned (
        source TEXT NOT NULL, dir BLOB NOT NULL, local_name BLOB NOT NULL,
        is_directory INTEGER NOT NULL, size INTEGER, modified INTEGER, digest TEXT,
        PRIMARY KEY (source, dir, local_name)
    ) WITHOUT ROWID;
    CREATE TABLE copies (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, name BLOB NOT NULL, size INTEGER NOT NULL,
        charge INTEGER NOT NULL, used INTEGER NOT NULL, local_digest TEXT, fingerprint BLOB
    );
    CREATE TABLE hashes (
        copy INTEGER NOT NULL REFERENCES copies (id) ON DELETE CASCADE,
        page INTEGER NOT NULL, blake3 BLOB NOT NULL,
        PRIMARY KEY (copy, page)
    ) WITHOUT ROWID;
";

/// Bytes of a page of the database: SQLite's default.
const PAGE: u32 = 4096;

/// How many changes one transaction takes at most.
const BATCH: usize = 10_000;

type Job = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

enum Message {
    Write(Job),
    Flush(Box<dyn FnOnce() + Send>),
}

/// Reads are answered on a connection of their own; writes are queued, and one thread commits whatever has gathered in one
/// transaction, so that many changes at once cost few commits. Who must know that a change survives a kill waits for it.
#[derive(Debug)]
pub struct Database {
    reader: Mutex<Connection>,
    writes: Mutex<Option<mpsc::Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    bytes: Arc<AtomicU64>,
    /// Changes queued and not committed yet.
    pending: Arc<AtomicU64>,
}

impl Database {
    /// Opens or creates `index.sqlite` in the cache directory `dir`. A damaged or foreign one is replaced, with a warning.
    ///
    /// `journal` is how many bytes its journal may grow to before it is worked in, which takes syncs: the larger, the fewer.
    pub fn open(dir: &Path, journal: u32) -> Result<Self> {
        let path = dir.join("index.sqlite");
        let failed = |e| Error::new("open index", ErrorKind::Cache).on(path.display()).caused_by(e);
        let writer = match prepare(&path, journal) {
            Ok(connection) => connection,
            Err(why) => {
                warn!("{}: the index cannot be used and is begun anew: {why}", path.display());
                for file in files(&path) {
                    let _ = std::fs::remove_file(file);
                }
                prepare(&path, journal).map_err(failed)?
            }
        };
        let reader = connect(&path, journal).map_err(failed)?;
        let bytes = Arc::new(AtomicU64::new(0));
        let pending = Arc::new(AtomicU64::new(0));
        let (writes, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("index".into())
            .spawn({
                let (bytes, pending) = (bytes.clone(), pending.clone());
                move || run(writer, &queue, &path, &bytes, &pending)
            })
            .map_err(|e| Error::new("start index thread", ErrorKind::Cache).caused_by(e))?;
        let database = Self {
            reader: Mutex::new(reader),
            writes: Mutex::new(Some(writes)),
            thread: Mutex::new(Some(thread)),
            bytes,
            pending,
        };
        database.flush();
        Ok(database)
    }

    /// Queues a change. A change that fails is logged and undone alone; nothing depends on its success but the next start.
    pub fn write(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static) {
        if let Some(writes) = &*self.writes.lock() {
            self.pending.fetch_add(1, Ordering::AcqRel);
            // The thread ends only when the sender is gone.
            let _ = writes.send(Message::Write(Box::new(job)));
        }
    }

    /// Asks for what was committed. `None`, with a warning, if the index cannot answer: it is a cache.
    pub fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        ask(&self.reader.lock()).inspect_err(|e| warn!("the index cannot be read: {e}")).ok()
    }

    /// Returns when everything queued so far is committed.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        self.then(move || _ = done.send(()));
        let _ = wait.recv();
    }

    /// Like [`Database::flush`], for tasks.
    pub async fn flushed(&self) {
        let (done, wait) = oneshot::channel();
        self.then(move || _ = done.send(()));
        let _ = wait.await;
    }

    fn then(&self, flushed: impl FnOnce() + Send + 'static) {
        if let Some(writes) = &*self.writes.lock() {
            let _ = writes.send(Message::Flush(Box::new(flushed)));
        }
    }

    /// Like [`Database::flush`], but free when nothing is queued.
    pub fn settle(&self) {
        if self.pending.load(Ordering::Acquire) > 0 {
            self.flush();
        }
    }

    /// What the index takes on disk, in bytes, its journal included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.writes.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

fn connect(path: &Path, journal: u32) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode NORMAL syncs only at checkpoints: no sync per file, and still consistent after a power cut.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", journal / PAGE)?;
    connection.pragma_update(None, "journal_size_limit", journal)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn prepare(path: &Path, journal: u32) -> rusqlite::Result<Connection> {
    let mut connection = connect(path, journal)?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => {}
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        _ => return Err(rusqlite::Error::InvalidQuery),
    }
    Ok(connection)
}

fn run(
    mut connection: Connection,
    queue: &mpsc::Receiver<Message>,
    path: &Path,
    bytes: &AtomicU64,
    pending: &AtomicU64,
) {
    while let Ok(first) = queue.recv() {
        let mut done = Done::default();
        let messages = std::iter::once(first).chain(queue.try_iter().take(BATCH)).collect();
        let result = commit(&mut connection, messages, &mut done);
        if let Err(e) = result {
            error!("{}: a change of the index is lost: {e}", path.display());
        }
        let size = files(path).iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
        bytes.store(size, Ordering::Relaxed);
        pending.fetch_sub(done.writes, Ordering::AcqRel);
        for flushed in done.flushes {
            flushed();
        }
    }
}

/// What one transaction took from the queue.
#[derive(Default)]
struct Done {
    writes: u64,
    flushes: Vec<Box<dyn FnOnce() + Send>>,
}

fn commit(connection: &mut Connection, messages: Vec<Message>, done: &mut Done) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction()?;
    for message in messages {
        match message {
            Message::Flush(flush) => done.flushes.push(flush),
            Message::Write(job) => {
                done.writes += 1;
                let savepoint = transaction.savepoint()?;
                match job(&savepoint) {
                    Ok(()) => savepoint.commit()?,
                    Err(e) => warn!("a change of the index is lost: {e}"),
                }
            }
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(database: &Database) -> Option<i64> {
        database.read(|c| c.query_row("SELECT count(*) FROM listings", [], |row| row.get(0)))
    }

    fn insert(database: &Database, dir: &'static [u8]) {
        database.write(move |t| {
            t.execute("INSERT INTO listings (source, dir) VALUES ('s', ?1)", [dir])?;
            Ok(())
        });
    }

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = Database::open(dir.path(), 1 << 20).expect("a new index");
        insert(&database, b"a");
        drop(database);
        let database = Database::open(dir.path(), 1 << 20).expect("the same index");
        assert_eq!(count(&database), Some(1));
        assert!(database.bytes() > 0);
    }

    #[test]
    fn a_failing_change_is_undone_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = Database::open(dir.path(), 1 << 20).expect("a new index");
        insert(&database, b"a");
        insert(&database, b"a");
        insert(&database, b"b");
        database.flush();
        assert_eq!(count(&database), Some(2));
    }

    #[test]
    fn a_damaged_index_is_begun_anew() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("index.sqlite"), b"not a database at all, but long enough to be read as one")
            .expect("the file can be written");
        let database = Database::open(dir.path(), 1 << 20).expect("a new index");
        assert_eq!(count(&database), Some(0));
    }
}
