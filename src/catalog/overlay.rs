//! The overlay in the database: what the source told of single files after it listed their directory, so that it survives a restart.
//! It asks no source.
//!
//! Where the listing tells no digest, the entry stands beside it, and outlives it. Where the listing tells another digest, the stored
//! listing is amended, until a newer one takes its place.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::listing::{ListingId, from_nanoseconds, to_nanoseconds};
use super::listing_cache::Overlay;
use super::{Catalog, Listing};
use crate::digest::Digest;
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind};

impl Catalog {
    /// Stores the source's answer about this name, if that is news and the name is listed.
    pub(super) fn store_overlay(&self, dir: &RemotePath, name: &LocalName, said: Option<&Entry>) {
        let is_listed = {
            let mut state = self.state.lock();
            match state.listings.get(dir) {
                Some(known) => known.listing.get(name).is_some(),
                // The listing is only in the database, and may have the name or not.
                None => state.listings.record_on_disk(dir).is_some(),
            }
        };
        if is_listed && self.last_entry(dir, name).as_ref() != said {
            let (source_id, dir, name, said) = (self.source_id.clone(), dir.clone(), name.clone(), said.cloned());
            self.db.write(move |db| match said {
                Some(said) if amend(db, &source_id, &dir, &name, &said)? => Ok(()),
                said => store(db, &source_id, &dir, &name, said.as_ref()),
            });
        }
    }

    /// The entry of a name of which its listing, with the entry `listed`, tells less; from this run or an earlier one.
    pub(super) async fn overlay_or_stored(
        self: &Arc<Self>,
        dir: &RemotePath,
        name: &LocalName,
        listed: &Entry,
    ) -> Option<Entry> {
        let tells = |entry: &Entry| entry.digest.is_some() || entry.is_directory();
        if let Some(known) = self.last_entry(dir, name).filter(tells) {
            return Some(known);
        }
        let (db, source_id) = (self.db.clone(), self.source_id.clone());
        let (dir, name, listed) = (dir.clone(), name.clone(), listed.clone());
        let ask = move |db: &Connection| load(db, &source_id, &dir, &name, &listed);
        let load = move || db.ask(ask).ok().flatten().flatten();
        tokio::task::spawn_blocking(load).await.ok().flatten().filter(tells)
    }
}

/// Whether the overlay has other digests than the listing, so that the stored listing was amended.
pub(super) fn is_amended(listing: &Listing, overlay: &Overlay) -> bool {
    let is_other = |listed: &Entry, told: &Entry| listed.digest.is_some() && listed.digest != told.digest;
    let mut told = overlay.iter().filter_map(|(name, (told, _))| Some((name, told.as_ref()?)));
    told.any(|(name, told)| listing.get(name).is_some_and(|listed| is_other(&listed, told)))
}

/// Amends the stored listing of `dir`, if that tells a digest of the name. False: it does not.
fn amend(db: &Connection, source: &str, dir: &RemotePath, name: &[u8], told: &Entry) -> rusqlite::Result<bool> {
    let amended = db
        .prepare_cached(
            "UPDATE entries SET size = ?4, modified = ?5, digest = ?6
             WHERE listing = (SELECT id FROM listings WHERE source = ?1 AND dir = ?2) AND local_name = ?3
                 AND digest IS NOT NULL",
        )?
        .execute(params![
            source,
            dir.as_bytes(),
            name,
            told.size.map(u64::cast_signed),
            told.modified.map(to_nanoseconds),
            told.digest.as_ref().map(Digest::as_str),
        ])?;
    Ok(amended > 0)
}

/// Stores the overlay's entries of files in `dir` of which `listing` tells less.
pub(super) fn store_all(
    db: &Connection,
    source: &str,
    dir: &RemotePath,
    listing: &Listing,
    overlay: &Overlay,
) -> rusqlite::Result<()> {
    for (name, (learned, _)) in overlay {
        if listing.get(name).is_some_and(|listed| listed.digest.is_none()) {
            store(db, source, dir, name, learned.as_ref())?;
        }
    }
    Ok(())
}

/// Stores the entry laid over `name` in `dir`; with `None`, that there is none.
fn store(
    db: &Connection,
    source: &str,
    dir: &RemotePath,
    name: &[u8],
    learned: Option<&Entry>,
) -> rusqlite::Result<()> {
    let Some(entry) = learned else {
        db.prepare_cached("DELETE FROM learned WHERE source = ?1 AND dir = ?2 AND local_name = ?3")?
            .execute(params![source, dir.as_bytes(), name])?;
        return Ok(());
    };
    db.prepare_cached(
        "INSERT OR REPLACE INTO learned (source, dir, local_name, is_directory, size, modified, digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        source,
        dir.as_bytes(),
        name,
        entry.is_directory(),
        entry.size.map(u64::cast_signed),
        entry.modified.map(to_nanoseconds),
        entry.digest.as_ref().map(Digest::as_str),
    ])?;
    Ok(())
}

/// The entry `listed`, as a listing has it under `name` in `dir`, with the overlay's facts. `None` if there are none.
fn load(
    db: &Connection,
    source: &str,
    dir: &RemotePath,
    name: &[u8],
    listed: &Entry,
) -> rusqlite::Result<Option<Entry>> {
    db.prepare_cached(
        "SELECT is_directory, size, modified, digest FROM learned WHERE source = ?1 AND dir = ?2 AND local_name = ?3",
    )?
    .query_row(params![source, dir.as_bytes(), name], |row| {
        Ok(Entry {
            kind: if row.get(0)? { EntryKind::Directory } else { listed.kind.clone() },
            size: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned),
            modified: row.get::<_, Option<i64>>(2)?.map(from_nanoseconds),
            digest: row.get::<_, Option<String>>(3)?.map(Digest::new),
            ..listed.clone()
        })
    })
    .optional()
}

/// Drops the overlay's entries of names in `dir` that the stored listing with this number has not, or tells a digest of.
pub(super) fn tidy(
    db: &Connection,
    source: &str,
    dir: &RemotePath,
    ListingId(listing): ListingId,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM learned WHERE source = ?1 AND dir = ?2 AND local_name NOT IN
             (SELECT local_name FROM entries WHERE listing = ?3 AND digest IS NULL)",
    )?
    .execute(params![source, dir.as_bytes(), listing])?;
    Ok(())
}
