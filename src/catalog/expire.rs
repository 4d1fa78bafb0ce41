//! Changes that a source reports by itself: the listings and entries concerned no longer count as current. It asks no source.

use tokio::time::Instant;

use super::{Catalog, State};
use crate::name::LocalName;
use crate::path::RemotePath;

impl Catalog {
    /// Expires the answers about this file, or about this directory and the names in it: the next question goes to the source.
    /// Returns the names that lead there, or into it, each with its directory: a caller that remembers where they lead should
    /// forget it.
    pub fn expire(&self, path: &RemotePath) -> Vec<(RemotePath, LocalName)> {
        self.refusals.lock().expire(path);
        let mut state = self.state.lock();
        // A listing that is on its way may have been made before the change.
        state.changed = Some(Instant::now());
        let mut names = self.expire_alone(path);
        if let Some(dir) = path.parent() {
            state.expire(&dir, |entry| entry == path, &mut names);
            if names.iter().all(|(above, _)| *above != dir) {
                // It is not listed, or its listing is not in memory: the remote name stands for the local one. The kernel may remember that there
                // is no such name. Where the two differ, it does not know this one.
                names.push((dir, path.name().into()));
            }
        }
        state.expire(path, |_| true, &mut names);
        names
    }
}

impl State {
    fn expire(
        &mut self,
        dir: &RemotePath,
        is_affected: impl Fn(&RemotePath) -> bool,
        names: &mut Vec<(RemotePath, LocalName)>,
    ) {
        if let Some(record) = self.listings.record(dir) {
            record.obtained = None;
            record.overlay.retain(|name, (entry, _)| match entry {
                Some(entry) => !is_affected(&entry.path),
                None => !dir.child(name).is_ok_and(|path| is_affected(&path)),
            });
        }
        let Some(known) = self.listings.get(dir) else { return };
        let entries = known.listing.entries();
        for number in 0..entries.len() {
            if is_affected(&entries.path(number)) {
                let name: LocalName = entries.name(number).into();
                known.record.overlay.remove(&name);
                names.push((dir.clone(), name));
            }
        }
    }
}
