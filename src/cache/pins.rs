//! Pins: places whose files their user keeps, and the copies that are kept for them: those are never evicted. It retrieves nothing, and
//! knows no place's meaning.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use tracing::warn;

use super::{Cache, Key};

/// The number of a pin.
pub type PinId = i64;

/// A place whose files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its number.
    pub id: PinId,
    /// The identity of the source that it is of; empty for a folder that the configuration makes.
    pub source_id: String,
    /// Its path from the mount's root.
    pub path: Vec<u8>,
}

/// The copies that are kept, and for which pin.
pub(super) type Pinned = HashMap<Key, PinId>;

/// What has become of a copy that was to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It is gone, and gives back so many bytes.
    Gone(u64),
    /// There was none.
    Absent,
    /// It stays, being pinned.
    Pinned,
    /// It stays, being open.
    Open,
}

impl Cache {
    /// Every pin.
    pub fn pins(&self) -> Vec<Pin> {
        self.pins.lock().clone()
    }

    /// Adds a pin, or finds the one that is there.
    pub fn pin(&self, source_id: &str, path: &[u8]) -> Pin {
        let mut pins = self.pins.lock();
        if let Some(pin) = pins.iter().find(|pin| pin.source_id == source_id && pin.path == path) {
            return pin.clone();
        }
        // Not one that was removed: what is still under way for that is none of this pin's.
        let id = self.last_pin.fetch_add(1, Ordering::Relaxed) + 1;
        let pin = Pin { id, source_id: source_id.to_owned(), path: path.to_owned() };
        pins.push(pin.clone());
        self.index.pin(&pin);
        pin
    }

    /// Removes a pin. Its copies stay until something else needs their room.
    pub fn unpin(&self, id: PinId) {
        self.pins.lock().retain(|pin| pin.id != id);
        self.table.lock().pinned.retain(|_, pin| *pin != id);
        self.index.unpin(id);
    }

    /// Keeps the copy of a version for a pin, be it there already or not.
    pub fn keep(&self, key: Key, id: PinId) {
        // Not for a pin that was removed meanwhile.
        let pins = self.pins.lock();
        if pins.iter().any(|pin| pin.id == id) && self.table.lock().pinned.insert(key, id) != Some(id) {
            self.index.keep(&key, id);
        }
    }

    /// Keeps no copies for a pin any longer but these.
    pub fn keep_only(&self, kept: &HashSet<Key>, id: PinId) {
        let mut left = Vec::new();
        self.table.lock().pinned.retain(|key, pin| {
            let stays = *pin != id || kept.contains(key);
            if !stays {
                left.push(*key);
            }
            stays
        });
        if !left.is_empty() {
            self.index.keep_no_longer(left);
        }
    }

    /// How many copies there are, partial ones included, and of those that are pinned how many there are and how many bytes they take.
    pub fn count(&self) -> (usize, usize, u64) {
        let table = self.table.lock();
        let all = table.held.iter().filter(|(_, held)| held.bytes() > 0);
        let mut count = (0, 0, 0);
        for (key, held) in all {
            count.0 += 1;
            if table.pinned.contains_key(key) {
                count.1 += 1;
                count.2 += held.bytes();
            }
        }
        count
    }

    /// Drops the copy of a version, unless it is pinned or open. Waits for the disk.
    pub fn drop_copy(&self, key: &Key) -> Dropped {
        let table = self.table.lock();
        let Some(held) = table.held.peek(key).filter(|held| held.bytes() > 0) else { return Dropped::Absent };
        if table.pinned.contains_key(key) {
            return Dropped::Pinned;
        }
        if held.is_open() {
            return Dropped::Open;
        }
        let bytes = held.bytes();
        self.remove(table, key);
        Dropped::Gone(bytes)
    }

    /// The pins that an earlier process has left, with the copies that it kept.
    pub(super) fn restore_pins(&self) {
        match self.index.pins() {
            Some((pins, pinned)) => {
                self.last_pin.store(pins.iter().map(|pin| pin.id).max().unwrap_or_default(), Ordering::Relaxed);
                *self.pins.lock() = pins;
                self.table.lock().pinned = pinned;
            }
            None => warn!("cache: which files are pinned cannot be read: none is until the next mount"),
        }
    }

    /// Stores every pin in an index that was begun anew.
    pub(super) fn store_pins(&self) {
        let pins = self.pins.lock();
        pins.iter().for_each(|pin| self.index.pin(pin));
        self.table.lock().pinned.iter().for_each(|(key, id)| self.index.keep(key, *id));
    }
}
