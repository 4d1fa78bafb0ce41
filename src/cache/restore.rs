//! The copies that an earlier process left: the index tells of them, and the disk has the last word. It reads no bytes of copies.

use std::collections::HashSet;
use std::sync::Arc;

use lru::LruCache;

use super::index::Index;
use super::ledger::Ledger;
use super::store::Store;
use super::table::Held;
use super::{COPY_OVERHEAD, Key};
use crate::db::Database;

/// More than all copies can take, in bytes.
const MAX_USED: u64 = 1 << 60;

/// Everything that was there when the last process ended; `ledger` learns what it takes. What a killed process had begun is removed; with an
/// index that does not know every copy, nothing is.
pub(super) fn restore(store: &Store, index: &Index, db: &Database, ledger: &Arc<Ledger>) -> LruCache<Key, Held> {
    let known = index.known().or_else(|| {
        // Damage is met here first, and mended behind the writes.
        index.flush();
        index.known()
    });
    let is_complete = known.is_some() && db.begun() == 0;
    let known = known.unwrap_or_default();
    let keys: HashSet<Key> = known.iter().map(|copy| copy.key).collect();
    let is_known = |key: &Key| keys.contains(key);
    let mut swept = store.sweep(if is_complete { Some(&is_known) } else { None });
    let mut held = LruCache::unbounded();
    for copy in known {
        if swept.is_gone(&copy.key) {
            index.delete(vec![copy.key]);
            continue;
        }
        // A growing copy may have more on disk than the index knows.
        let growing = if copy.whole { None } else { store.allocated(&copy.key, &copy.name) };
        let charge = growing.map_or(copy.charge, |bytes| COPY_OVERHEAD.saturating_add(bytes));
        if ledger.taken().saturating_add(charge) > MAX_USED {
            // No disk is so large: the numbers are made up.
            index.delete(vec![copy.key]);
            continue;
        }
        swept.found.remove(&copy.key);
        held.put(copy.key, Held::Stored { name: copy.name, lease: ledger.lease(charge) });
    }
    if !is_complete {
        for (key, name) in swept.found.into_iter().filter_map(|(key, file)| Some((key, file?))) {
            let charge = COPY_OVERHEAD.saturating_add(store.allocated(&key, &name).unwrap_or(0));
            index.found(&key, &name, charge);
            held.put(key, Held::Stored { name, lease: ledger.lease(charge) });
        }
    }
    held
}
