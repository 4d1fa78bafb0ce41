//! The file of the database: opened, compared with what it should be, set aside. It knows no queue.

use std::io;

use rusqlite::config::DbConfig;
use rusqlite::ffi::{SQLITE_IOERR_SHORT_READ, SQLITE_READONLY_DBMOVED};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{AtFlags, OFlags, renameat, statat, unlinkat};
use rustix::io::Errno;
use tracing::warn;

use crate::cachedir::{CacheDir, open_file};

/// Bumped with every change of [`SCHEMA`]; a database of another version is begun anew, being only a cache.
const VERSION: i32 = 5;

const SCHEMA: &str = "
    CREATE TABLE listings (
        id INTEGER PRIMARY KEY, source TEXT NOT NULL, dir BLOB NOT NULL, is_incomplete INTEGER NOT NULL,
        UNIQUE (source, dir)
    );
    CREATE TABLE entries (
        listing INTEGER NOT NULL REFERENCES listings (id) ON DELETE CASCADE,
        local_name BLOB NOT NULL, name BLOB NOT NULL, path BLOB NOT NULL,
        kind INTEGER NOT NULL, target BLOB, permissions INTEGER, size INTEGER, modified INTEGER, digest TEXT,
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
    CREATE TABLE hashing (source TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE pins (id INTEGER PRIMARY KEY, source TEXT NOT NULL, path BLOB NOT NULL, UNIQUE (source, path));
    CREATE TABLE pinned (
        key BLOB PRIMARY KEY, pin INTEGER NOT NULL REFERENCES pins (id) ON DELETE CASCADE
    ) WITHOUT ROWID;
";

/// Bytes of a page of the database: SQLite's default.
const PAGE_BYTES: u32 = 4096;

/// The mark of our databases: `ktvu`.
const APPLICATION: i32 = 0x6b74_7675;

/// The database, its journal in either form, and the index of the journal, which is not used but may be there from an earlier version.
const NAME: &str = "index.sqlite";
const JOURNALS: [&str; 3] = ["index.sqlite-wal", "index.sqlite-journal", "index.sqlite-shm"];

/// The suffix of the names of a database that was set aside.
const DAMAGED: &str = "damaged";

/// A database that can be used.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Whether it was begun empty.
    pub(super) is_new: bool,
}

/// Why a database cannot be used.
enum Unusable {
    /// It is damaged, or another program's.
    Damaged(String),
    /// It may be sound or not.
    Unknown(String),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Damaged(error.to_string()) } else { Self::Unknown(error.to_string()) }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

/// Opens the database, an empty one in place of a damaged one, or one in memory if there is no other way.
pub(super) fn open(dir: &CacheDir, journal: u32) -> Opened {
    let opened = match try_open(dir, journal) {
        Err(Unusable::Damaged(why)) => {
            set_aside(dir, &why);
            try_open(dir, journal)
        }
        opened => opened,
    };
    opened.unwrap_or_else(|unusable| {
        let (Unusable::Damaged(why) | Unusable::Unknown(why)) = unusable;
        let path = dir.path().display();
        warn!("{path}/{NAME}: cannot be opened ({why}); until the next mount the index is in memory only");
        Opened { connection: in_memory(), is_new: true }
    })
}

fn try_open(dir: &CacheDir, journal: u32) -> Result<Opened, Unusable> {
    for name in JOURNALS.iter().chain(&[NAME]) {
        dir.expect_file(name)?;
    }
    match unlinkat(dir, "index.sqlite-shm", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(io::Error::from(e).into()),
    }
    // Made here, so that other users may not read it.
    open_file(dir, NAME.as_bytes(), OFlags::RDWR | OFlags::CREATE)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(dir.real_path()?.join(NAME), flags)?;
    // The contents of the database decide nothing but the results of our queries.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // No file is mapped into memory, the index of the journal neither, since this process is the only one: a file that another
    // program truncates is an error then, not a signal.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode NORMAL syncs only at checkpoints: no sync per file, and still consistent after a power cut.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", journal / PAGE_BYTES)?;
    connection.pragma_update(None, "journal_size_limit", journal)?;
    connection.set_prepared_statement_cache_capacity(32);
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = schema(&connection)?;
    let is_new = version == 0 && found.is_empty();
    if is_new {
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.commit()?;
    } else if version != VERSION {
        return Err(Unusable::Damaged(format!("its format is {version}, this program's is {VERSION}")));
    } else if found != schema(&in_memory())? {
        return Err(Unusable::Damaged("its tables are not those of this program".into()));
    }
    Ok(Opened { connection, is_new })
}

/// An empty database that lives as long as the connection.
pub(super) fn in_memory() -> Connection {
    let connection = Connection::open_in_memory().and_then(|connection| {
        connection.execute_batch(SCHEMA)?;
        Ok(connection)
    });
    connection.expect("memory can hold an empty database")
}

/// Everything that a database defines.
fn schema(connection: &Connection) -> rusqlite::Result<Vec<[Option<String>; 4]>> {
    connection
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")?
        .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?
        .collect()
}

/// Renames a damaged database, in place of one that was damaged earlier.
pub(super) fn set_aside(dir: &CacheDir, why: &str) {
    let path = dir.path().display();
    if !is_there(dir) {
        // Its journal may be there still, which the next one must not take for its own.
        warn!("{path}/{NAME}: was deleted; a new index is made of the copies that are there");
        return rename_all(dir);
    }
    rename_all(dir);
    warn!(
        "{path}/{NAME}: is damaged ({why}) and now lies in {NAME}.{DAMAGED}; a new index is made of the copies that are there"
    );
}

fn rename_all(dir: &CacheDir) {
    let path = dir.path().display();
    for name in [NAME].iter().chain(&JOURNALS) {
        let moved = match renameat(dir, *name, dir, format!("{name}.{DAMAGED}")) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(_) => dir.rename_aside(dir, name.as_bytes(), name, DAMAGED).map(drop),
        };
        if let Err(e) = moved {
            warn!("{path}/{name}: is damaged and cannot be set aside: {e}");
        }
    }
}

/// Whether there is a file of the database's name.
pub(super) fn is_there(dir: &CacheDir) -> bool {
    !dir.is_gone() && !matches!(statat(dir, NAME, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
}

/// The bytes of the database, and those of its journal.
pub(super) fn bytes(dir: &CacheDir) -> (u64, u64) {
    (bytes_of(dir, NAME), bytes_of(dir, JOURNALS[0]))
}

/// The bytes that lie beside them: a database that was set aside, and what an earlier version left.
pub(super) fn bytes_beside(dir: &CacheDir) -> u64 {
    let aside = [NAME].iter().chain(&JOURNALS).map(|name| bytes_of(dir, &format!("{name}.{DAMAGED}")));
    JOURNALS[1..].iter().map(|name| bytes_of(dir, name)).chain(aside).sum()
}

fn bytes_of(dir: &CacheDir, name: &str) -> u64 {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
}

/// The bytes of the journal's header, and of what stands before each page in it (the file format of SQLite, "The Write-Ahead Log").
const JOURNAL_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// By how many bytes the database may grow before the journal, of which `there` are on the disk, has `journal` bytes and is worked in, and
/// while it is: the journal up to its full length, and the database by a page for each page of the journal. A transaction that is larger than the rest of the journal goes
/// beyond it.
pub(super) fn growth(there: u64, journal: u32) -> u64 {
    let pages = u64::from(journal / PAGE_BYTES);
    let full = JOURNAL_HEADER + pages * (u64::from(PAGE_BYTES) + FRAME_HEADER);
    full.saturating_sub(there) + pages * u64::from(PAGE_BYTES)
}

/// Whether an error says that what is stored is not what was written, rather than that it cannot be had just now.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            let is_damaged = matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase);
            // The file was cut short, or another lies in its place.
            is_damaged || matches!(failure.extended_code, SQLITE_IOERR_SHORT_READ | SQLITE_READONLY_DBMOVED)
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    }
}
