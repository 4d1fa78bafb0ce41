//! The rows of the cache index: one per copy, with the hashes of its blocks. It knows no files.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension as _, Row, params};

use super::block::{BLOCK, PAGE};
use super::pins::{Pin, PinId, Pinned};
use super::{Facts, Key};
use crate::db::Database;
use crate::digest::Digest;
use crate::disk::{Asked, Hangs};
use crate::name::{LocalName, is_local_name};

/// Evidence that a file is as it was left: size, times and inode number. Nobody can write to a file and set `ctime` back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([i64; 6]);

impl Fingerprint {
    /// The fingerprint of a file now.
    pub fn of(meta: &Metadata) -> Self {
        let size = meta.size().cast_signed();
        let inode = meta.ino().cast_signed();
        Self([size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), inode])
    }

    /// The modification time of the file; `None` where that is beyond what can be told.
    pub fn modified(&self) -> Option<SystemTime> {
        let [_, seconds, nanoseconds, ..] = self.0;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let start = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
    }

    /// The length of the file, in bytes.
    pub fn length(&self) -> u64 {
        self.0[0].cast_unsigned()
    }

    fn to_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, _) = bytes.as_chunks::<8>();
        let numbers: Vec<i64> = numbers.iter().map(|number| i64::from_le_bytes(*number)).collect();
        Some(Self(numbers.try_into().ok()?))
    }
}

/// The row of one copy.
#[derive(Debug, Clone)]
pub struct Record {
    /// Bytes of the version.
    pub size: u64,
    /// The local digest that proved it; `None` while it is partial.
    pub local_digest: Option<Digest>,
    /// The file as it was left; `None` while the copy is partial.
    pub fingerprint: Option<Fingerprint>,
    /// Pages of block hashes: all of them when loaded, the changed ones when saved.
    pub pages: Vec<(usize, Vec<u8>)>,
}

/// A copy as the cache needs to know it before anybody asks for it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Which copy.
    pub key: Key,
    /// The base name of its file.
    pub name: LocalName,
    /// The bytes that it takes of the cache's room.
    pub charge: u64,
    /// Whether it is whole.
    pub whole: bool,
}

/// More than any copy takes, in bytes: 16 TiB.
const MAX_CHARGE: i64 = 1 << 44;

/// The size in the row of a copy of which only its file was found: nobody knows how much of it is right.
const UNKNOWN_SIZE: i64 = -1;

/// The rows about copies in the index.
#[derive(Debug)]
pub struct Index(Arc<Database>);

impl Index {
    /// Rows in this database.
    pub fn new(db: Arc<Database>) -> Self {
        Self(db)
    }

    #[cfg(test)]
    pub(crate) fn db(&self) -> &Database {
        &self.0
    }

    /// Begins it anew if its file was deleted.
    pub fn make_again(&self) {
        self.0.make_again();
    }

    /// The bytes that the index takes on disk.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// By how many bytes it may grow, its journal included.
    pub fn growth(&self) -> u64 {
        self.0.growth()
    }

    /// The bytes that it takes on disk, and those that it may grow by: copies may not have them.
    pub fn reserved(&self) -> u64 {
        self.bytes() + self.growth()
    }

    /// All copies, the longest unused first; `None` if the index cannot be read.
    pub fn known(&self) -> Option<Vec<Known>> {
        self.0.read(|db| {
            db.prepare("SELECT key, name, charge, local_digest IS NOT NULL FROM copies ORDER BY used")?
                .query_map([], |row| {
                    let (name, charge): (Vec<u8>, i64) = (row.get(1)?, row.get(2)?);
                    if !is_local_name(&name) || !(0..=MAX_CHARGE).contains(&charge) {
                        return Err(rusqlite::Error::IntegralValueOutOfRange(2, charge));
                    }
                    let (key, charge) = (Key(row.get(0)?), charge.cast_unsigned());
                    Ok(Known { key, name: name.into(), charge, whole: row.get(3)? })
                })?
                .collect()
        })
    }

    /// The row of a copy, changes still queued included.
    pub fn load(&self, key: &Key) -> Result<Option<Record>, Hangs> {
        let key = key.0;
        let record = self.0.ask(move |db| {
            let row = db
                .prepare_cached("SELECT id, size, local_digest, fingerprint FROM copies WHERE key = ?1")?
                .query_row([key], |row| {
                    let record = Record {
                        size: row.get::<_, i64>(1)?.cast_unsigned(),
                        local_digest: row.get::<_, Option<String>>(2)?.map(Digest::new),
                        fingerprint: row.get::<_, Option<Vec<u8>>>(3)?.and_then(|b| Fingerprint::from_bytes(&b)),
                        pages: Vec::new(),
                    };
                    Ok((row.get::<_, i64>(0)?, record))
                })
                .optional()?;
            let Some((copy, mut record)) = row else { return Ok(None) };
            let pages = record.size.div_ceil(BLOCK).div_ceil(PAGE as u64);
            record.pages = db
                .prepare_cached("SELECT page, blake3 FROM hashes WHERE copy = ?1")?
                .query_map([copy], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?
                .filter(|page| page.as_ref().map_or(true, |(page, _)| *page < pages))
                .map(|page| page.map(|(page, hashes)| (usize::try_from(page).unwrap_or(usize::MAX), hashes)))
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(record))
        });
        record.map(Option::flatten)
    }

    /// The facts that are stored of a copy's version.
    pub fn facts(&self, key: &Key) -> Result<Option<Facts>, Hangs> {
        let key = key.0;
        let facts = self.0.ask(move |db| {
            db.prepare_cached("SELECT size, fingerprint, local_digest IS NOT NULL FROM copies WHERE key = ?1")?
                .query_row([key], |row| {
                    let left = row.get::<_, Option<Vec<u8>>>(1)?.and_then(|bytes| Fingerprint::from_bytes(&bytes));
                    let (size, whole): (i64, bool) = (row.get(0)?, row.get(2)?);
                    let modified = left.and_then(|left| left.modified());
                    Ok(u64::try_from(size).ok().map(|size| Facts { size, modified, whole }))
                })
                .optional()
        });
        facts.map(|facts| facts.flatten().flatten())
    }

    /// Stores that the file of a copy was found, of which nothing else is known.
    pub fn found(&self, key: &Key, name: &LocalName, charge: u64) {
        let (key, name) = (key.0, name.clone());
        self.0.write(move |db| {
            db.prepare_cached(
                "INSERT INTO copies (key, name, size, charge, used) VALUES (?1, ?2, ?3, ?4, 0) ON CONFLICT (key) DO NOTHING",
            )?
            .execute(params![key, &*name, UNKNOWN_SIZE, charge.cast_signed()])?;
            Ok(())
        });
    }

    /// Stores what changed of a copy.
    pub fn save(&self, key: &Key, name: &LocalName, charge: u64, record: Record) {
        let (key, name) = (key.0, name.clone());
        self.0.write(move |db| {
            db.prepare_cached(
                "INSERT INTO copies (key, name, size, charge, used, local_digest, fingerprint)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (key) DO UPDATE SET
                     size = ?3, charge = ?4, used = ?5, local_digest = ?6, fingerprint = ?7",
            )?
            .execute(params![
                key,
                &*name,
                record.size.cast_signed(),
                charge.cast_signed(),
                now(),
                record.local_digest.as_ref().map(Digest::as_str),
                record.fingerprint.map(Fingerprint::to_bytes),
            ])?;
            // With RETURNING, SQLite makes a table with a memory of its own for each answer.
            let copy: i64 =
                db.prepare_cached("SELECT id FROM copies WHERE key = ?1")?.query_row([key], |row| row.get(0))?;
            let mut insert =
                db.prepare_cached("INSERT OR REPLACE INTO hashes (copy, page, blake3) VALUES (?1, ?2, ?3)")?;
            for (page, hashes) in record.pages {
                insert.execute(params![copy, i64::try_from(page).unwrap_or(i64::MAX), hashes])?;
            }
            Ok(())
        });
    }

    /// Notes that a copy was used now.
    pub fn used(&self, key: &Key) {
        let key = key.0;
        self.0.write(move |db| {
            db.prepare_cached("UPDATE copies SET used = ?2 WHERE key = ?1")?.execute(params![key, now()])?;
            Ok(())
        });
    }

    /// Deletes the rows of copies, in one transaction.
    pub fn delete(&self, keys: Vec<Key>) {
        self.0.write(move |db| {
            let mut delete = db.prepare_cached("DELETE FROM copies WHERE key = ?1")?;
            for key in keys {
                delete.execute([key.0])?;
            }
            Ok(())
        });
    }

    /// The pins, and the copies that are kept for each. `None` if the index cannot be read.
    pub(super) fn pins(&self) -> Option<(Vec<Pin>, Pinned)> {
        self.0.read(|db| {
            let pin = |row: &Row<'_>| Ok(Pin { id: row.get(0)?, source_id: row.get(1)?, path: row.get(2)? });
            let pins =
                db.prepare("SELECT id, source, path FROM pins")?.query_map([], pin)?.collect::<Result<_, _>>()?;
            let kept = |row: &Row<'_>| Ok((Key(row.get(0)?), row.get(1)?));
            let kept = db.prepare("SELECT key, pin FROM pinned")?.query_map([], kept)?.collect::<Result<_, _>>()?;
            Ok((pins, kept))
        })
    }

    /// Stores a pin.
    pub(super) fn pin(&self, Pin { id, source_id, path }: &Pin) {
        let (id, source_id, path) = (*id, source_id.clone(), path.clone());
        self.0.write(move |db| {
            db.prepare_cached("INSERT OR IGNORE INTO pins (id, source, path) VALUES (?1, ?2, ?3)")?
                .execute(params![id, source_id, path])?;
            Ok(())
        });
    }

    /// Deletes a pin, and that copies are kept for it.
    pub(super) fn unpin(&self, id: PinId) {
        self.0.write(move |db| {
            db.prepare_cached("DELETE FROM pins WHERE id = ?1")?.execute([id])?;
            Ok(())
        });
    }

    /// Stores that a copy is kept for a pin.
    pub(super) fn keep(&self, key: &Key, id: PinId) {
        let key = key.0;
        self.0.write(move |db| {
            db.prepare_cached("INSERT OR REPLACE INTO pinned (key, pin) VALUES (?1, ?2)")?.execute(params![key, id])?;
            Ok(())
        });
    }

    /// Stores that these copies are kept for no pin any longer.
    pub(super) fn keep_no_longer(&self, keys: Vec<Key>) {
        self.0.write(move |db| {
            let mut delete = db.prepare_cached("DELETE FROM pinned WHERE key = ?1")?;
            for key in keys {
                delete.execute([key.0])?;
            }
            Ok(())
        });
    }

    /// Whether a source's digests of the form of a hash are known to be hashes.
    pub fn has_hashes(&self, source_id: &str) -> bool {
        let found = self.0.read(|db| db.prepare_cached("SELECT 1 FROM hashing WHERE source = ?1")?.exists([source_id]));
        found.unwrap_or_default()
    }

    /// Notes that they are.
    pub fn note_hashes(&self, source_id: &str) {
        let source_id = source_id.to_owned();
        self.0.write(move |db| {
            db.prepare_cached("INSERT OR IGNORE INTO hashing (source) VALUES (?1)")?.execute([source_id])?;
            Ok(())
        });
    }

    /// Returns when everything is stored, as a part of what the disk is asked already.
    pub fn settle(&self, asked: &Asked) {
        self.0.settle(asked);
    }

    /// Returns when everything is stored.
    pub fn flush(&self) {
        self.0.flush();
    }
}

/// Microseconds since 1970: orders uses across restarts, nothing else.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;
    use crate::cache::block::BlockMap;
    use crate::fuzz::{Corpus, Input};

    /// Whatever a row holds, it is read, left out, or damage that has the index replaced. Of a row's bytes the first are its numbers, then
    /// come fingerprint, digest and hashes.
    #[test]
    fn fuzz_index_rows() {
        let corpus = Corpus::of("index_row");
        let dir = kit::reaper::temporary();
        let db = Arc::new(Database::open(dir.path(), 1 << 20).expect("a new index"));
        let index = AssertUnwindSafe(Index::new(db.clone()));
        let (db, key) = (AssertUnwindSafe(db), Key([7; 32]));
        bolero::check!().with_type::<Input>().for_each(|input| {
            let mut bytes = corpus.bytes(input);
            bytes.resize(bytes.len().max(104), 0);
            let number = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            let (size, charge, page) = (number(0), number(8), number(16));
            let (fingerprint, hashes) = (bytes[24..72].to_vec(), bytes[104..].to_vec());
            let digest = String::from_utf8_lossy(&bytes[72..104]).into_owned();
            db.write(move |db| {
                db.execute("DELETE FROM copies", [])?;
                let (name, row) = (hashes.clone(), "INSERT INTO copies VALUES (1, ?1, ?2, ?3, ?4, 0, ?5, ?6)");
                db.execute(row, params![[7_u8; 32], name, size, charge, digest, fingerprint])?;
                db.execute("INSERT INTO hashes VALUES (1, ?1, ?2)", params![page, hashes])?;
                Ok(())
            });
            let _ = index.facts(&key);
            let record = index.load(&key).expect("the disk answers").expect("the row is there");
            let _ = record.fingerprint.map(|fingerprint| (fingerprint.modified(), fingerprint.length()));
            let mut map = BlockMap::empty(300_000);
            record.pages.iter().for_each(|(page, hashes)| map.restore_page(*page, hashes));
            assert!(map.present() <= 3);
            // A name or a charge that no copy has is damage: the next row is for the new index.
            let _ = index.known();
            index.flush();
        });
    }
}
