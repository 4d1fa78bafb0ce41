//! `Listing`: the entries that a source told of one directory, and how they are stored. It knows no freshness.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::LocalEntries;
use crate::digest::Digest;
use crate::name::{LocalName, is_local_name};
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind};

/// A listing of one directory: every name that is there, so that any other name is not, unless it is incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    entries: LocalEntries,
    is_incomplete: bool,
}

/// The number of one listing in the database. No two listings have the same, so that what is read under it is that listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListingId(pub(super) i64);

impl ListingId {
    /// A number that no listing has: the time and a counter, so that new ones stand beside each other in the database.
    pub(super) fn new() -> Self {
        static COUNTER: AtomicI64 = AtomicI64::new(0);
        const COUNTS: i64 = 1 << 24;
        let milliseconds = to_nanoseconds(SystemTime::now()) / 1_000_000;
        // 39 bits of milliseconds come around after 17 years.
        let recent = milliseconds.rem_euclid(1 << 39);
        Self(recent * COUNTS + COUNTER.fetch_add(1, Ordering::Relaxed).rem_euclid(COUNTS))
    }
}

impl Listing {
    /// A listing of entries as `catalog::localize` returns them.
    pub fn new(entries: LocalEntries, is_incomplete: bool) -> Self {
        Self { entries, is_incomplete }
    }

    /// Whether records of it could not be read, so that a name that it has not may be there all the same.
    pub fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// The bytes that the entries take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.entries.bytes()
    }

    /// The entry with this local name.
    pub fn get(&self, name: &[u8]) -> Option<Entry> {
        self.entries.get(name)
    }

    /// All entries, ordered by local name.
    pub fn entries(&self) -> &LocalEntries {
        &self.entries
    }

    /// Loads the listing of `dir` as it was last stored, with its number.
    pub(super) fn load(db: &Connection, source: &str, dir: &RemotePath) -> rusqlite::Result<Option<(ListingId, Self)>> {
        let stored: Option<(i64, bool)> = db
            .prepare_cached("SELECT id, is_incomplete FROM listings WHERE source = ?1 AND dir = ?2")?
            .query_row(params![source, dir.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((id, is_incomplete)) = stored else { return Ok(None) };
        let mut select = db.prepare_cached(
            "SELECT local_name, name, path, kind, target, permissions, size, modified, digest
             FROM entries WHERE listing = ?1 ORDER BY local_name",
        )?;
        let mut entries = LocalEntries::new(dir.clone());
        for row in select.query_map([id], read_entry)? {
            let (name, entry) = row?;
            entries.push(&name, &entry);
        }
        entries.shrink();
        Ok(Some((ListingId(id), Self::new(entries, is_incomplete))))
    }

    /// One entry of the listing with this number; the outer `None` if that is not stored, or is incomplete and without this name.
    pub(super) fn load_entry(
        db: &Connection,
        id: ListingId,
        name: &[u8],
    ) -> rusqlite::Result<Option<Option<(LocalName, Entry)>>> {
        let is_incomplete: Option<bool> = db
            .prepare_cached("SELECT is_incomplete FROM listings WHERE id = ?1")?
            .query_row([id.0], |row| row.get(0))
            .optional()?;
        let Some(is_incomplete) = is_incomplete else { return Ok(None) };
        let found = db
            .prepare_cached(
                "SELECT local_name, name, path, kind, target, permissions, size, modified, digest
             FROM entries WHERE listing = ?1 AND local_name = ?2",
            )?
            .query_row(params![id.0, name], read_entry)
            .optional()?;
        Ok(if found.is_none() && is_incomplete { None } else { Some(found) })
    }

    /// The first result of `select` for an entry of any stored listing of the source, with what was learned of it since.
    pub(super) fn find<T>(
        db: &Connection,
        source: &str,
        mut select: impl FnMut(&RemotePath, LocalName, Entry) -> Option<T>,
    ) -> rusqlite::Result<Option<T>> {
        let mut entries = db.prepare_cached(
            "SELECT e.local_name, e.name, e.path, CASE l.is_directory WHEN 1 THEN 1 ELSE e.kind END, e.target, e.permissions,
                 coalesce(l.size, e.size), coalesce(l.modified, e.modified), coalesce(l.digest, e.digest), listings.dir
             FROM listings JOIN entries e ON e.listing = listings.id
             LEFT JOIN learned l ON l.source = ?1 AND l.dir = listings.dir AND l.local_name = e.local_name AND e.digest IS NULL
             WHERE listings.source = ?1",
        )?;
        let mut rows = entries.query([source])?;
        while let Some(row) = rows.next()? {
            let dir = RemotePath::from_stored(row.get_ref(9)?.as_blob()?);
            let (name, entry) = read_entry(row)?;
            let found = select(&dir, name, entry);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Replaces the stored listing of `dir`, and drops what was stored below directories that are no longer in it.
    pub(super) fn store(
        &self,
        db: &Connection,
        source: &str,
        dir: &RemotePath,
        ListingId(id): ListingId,
    ) -> rusqlite::Result<()> {
        for (name, path) in directories(db, source, dir)? {
            if self.get(&name).is_none_or(|now| now.path != path) {
                Self::delete(db, source, &path)?;
            }
        }
        db.prepare_cached("DELETE FROM listings WHERE source = ?1 AND dir = ?2")?
            .execute(params![source, dir.as_bytes()])?;
        db.prepare_cached("INSERT INTO listings (id, source, dir, is_incomplete) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, source, dir.as_bytes(), self.is_incomplete])?;
        let mut insert = db.prepare_cached(
            "INSERT INTO entries (listing, local_name, name, path, kind, target, permissions, size, modified, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for (name, entry) in self.entries.iter() {
            let (kind, target) = match &entry.kind {
                EntryKind::File => (0, None),
                EntryKind::Directory => (1, None),
                EntryKind::Symlink { target } => (2, Some(target)),
            };
            insert.execute(params![
                id,
                &*name,
                entry.name,
                entry.path.as_bytes(),
                kind,
                target,
                entry.permissions,
                entry.size.map(u64::cast_signed),
                entry.modified.map(to_nanoseconds),
                entry.digest.as_ref().map(Digest::as_str),
            ])?;
        }
        Ok(())
    }

    /// Drops what is stored of `dir` and of everything below it.
    pub(super) fn delete(db: &Connection, source: &str, dir: &RemotePath) -> rusqlite::Result<()> {
        let mut below = dir.as_bytes().to_vec();
        below.push(b'/');
        let mut after = dir.as_bytes().to_vec();
        after.push(b'/' + 1);
        for table in ["listings", "learned"] {
            let delete = format!("DELETE FROM {table} WHERE source = ?1 AND (dir = ?2 OR (dir >= ?3 AND dir < ?4))");
            db.prepare_cached(&delete)?.execute(params![source, dir.as_bytes(), below, after])?;
        }
        Ok(())
    }
}

/// The local names and paths of the directories in the stored listing of `dir`.
fn directories(db: &Connection, source: &str, dir: &RemotePath) -> rusqlite::Result<Vec<(Vec<u8>, RemotePath)>> {
    let directory = |row: &Row<'_>| Ok((row.get(0)?, RemotePath::from_stored(row.get_ref(1)?.as_blob()?)));
    db.prepare_cached(
        "SELECT local_name, path FROM listings JOIN entries ON listing = id
         WHERE source = ?1 AND dir = ?2 AND kind = 1",
    )?
    .query_map(params![source, dir.as_bytes()], directory)?
    .collect()
}

/// About how many bytes an entry takes in memory that is not packed: four allocations beside its own contents.
pub(super) fn bytes_of(name: &LocalName, entry: &Entry) -> usize {
    const ALLOCATIONS: usize = 4 * 24;
    size_of::<(LocalName, Entry)>() + ALLOCATIONS + name.len() + entry.bytes()
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<(LocalName, Entry)> {
    let local_name: Vec<u8> = row.get(0)?;
    let path: Vec<u8> = row.get(2)?;
    if !is_local_name(&local_name) {
        return Err(rusqlite::Error::InvalidColumnType(0, "local_name".into(), rusqlite::types::Type::Blob));
    }
    let kind = match row.get(3)? {
        0 => EntryKind::File,
        1 => EntryKind::Directory,
        2 => EntryKind::Symlink { target: row.get(4)? },
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
    };
    let entry = Entry {
        name: row.get(1)?,
        path: stored_path(&path).ok_or(rusqlite::Error::InvalidColumnType(
            2,
            "path".into(),
            rusqlite::types::Type::Blob,
        ))?,
        kind,
        permissions: row.get(5)?,
        size: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
        modified: row.get::<_, Option<i64>>(7)?.map(from_nanoseconds),
        digest: row.get::<_, Option<String>>(8)?.map(Digest::new),
    };
    Ok((local_name.into(), entry))
}

/// A path as it was stored; `None` if no path is written so.
fn stored_path(bytes: &[u8]) -> Option<RemotePath> {
    if bytes.is_empty() { Some(RemotePath::root()) } else { RemotePath::root().child(bytes).ok() }
}

/// Nanoseconds since 1970, negative before; years 1677 to 2262, beyond that the nearest.
pub(super) fn to_nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    }
}

pub(super) fn from_nanoseconds(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Database;

    fn entry(dir: &RemotePath, name: &[u8], kind: EntryKind) -> Entry {
        Entry {
            name: name.to_vec(),
            path: dir.child(name).expect("a plain name"),
            kind,
            permissions: Some(0o751),
            size: Some(u64::MAX),
            modified: Some(from_nanoseconds(-1_500_000_000)),
            digest: Some(Digest::new("d")),
        }
    }

    /// A listing of the root.
    fn listing(entries: &[Entry]) -> Listing {
        let mut named = LocalEntries::new(RemotePath::root());
        entries.iter().for_each(|entry| named.push(&entry.name, entry));
        Listing::new(named, false)
    }

    #[test]
    fn a_listing_survives_storing() {
        let place = kit::reaper::temporary();
        let db = Database::open(place.path(), 1 << 20).expect("a new index");
        let root = RemotePath::root();
        let dir_entry = entry(&root, b"dir", EntryKind::Directory);
        let listing = listing(&[
            entry(&root, b"a\xff", EntryKind::File),
            dir_entry.clone(),
            entry(&root, b"link", EntryKind::Symlink { target: b"../\xfe".to_vec() }),
        ]);
        let listing = Listing { is_incomplete: true, ..listing };
        let stored = listing.clone();
        db.write(move |c| stored.store(c, "s", &RemotePath::root(), ListingId::new()));
        db.flush();
        let (id, loaded) = db.read(|c| Listing::load(c, "s", &root)).flatten().expect("it is stored");
        assert_eq!(loaded, listing);
        let one = |id, name| db.read(move |c| Listing::load_entry(c, id, name));
        assert_eq!(one(id, b"dir"), Some(Some(Some((b"dir".as_slice().into(), dir_entry)))));
        assert_eq!(one(id, b"other"), Some(None), "an incomplete listing does not say that it is not there");
        assert_eq!(one(ListingId::new(), b"dir"), Some(None), "another listing tells nothing");
        assert_eq!(db.read(|c| Listing::load(c, "other", &root)), Some(None));
    }

    #[test]
    fn what_was_below_a_directory_goes_with_it_and_its_neighbours_stay() {
        let place = kit::reaper::temporary();
        let db = Database::open(place.path(), 1 << 20).expect("a new index");
        let [a, below, neighbour] = [b"a".as_slice(), b"a/b", b"a-b"].map(|p| RemotePath::parse(p).expect("a path"));
        let root = RemotePath::root();
        let [a_entry, neighbour_entry] = [b"a".as_slice(), b"a-b"].map(|name| entry(&root, name, EntryKind::Directory));
        let full = listing(&[a_entry, neighbour_entry.clone()]);
        let less = listing(&[neighbour_entry]);
        db.write({
            let dirs = [a.clone(), below.clone(), neighbour.clone()];
            move |c| {
                full.store(c, "s", &RemotePath::root(), ListingId::new())?;
                dirs.iter().try_for_each(|dir| listing(&[]).store(c, "s", dir, ListingId::new()))?;
                less.store(c, "s", &RemotePath::root(), ListingId::new())
            }
        });
        db.flush();
        let known = |dir: &RemotePath| db.read(|c| Listing::load(c, "s", dir)).flatten().is_some();
        assert!(!known(&a) && !known(&below) && known(&neighbour));
    }
}
