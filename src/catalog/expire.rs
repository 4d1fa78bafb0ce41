//! Changes that a source reports by itself: what was remembered there no longer counts as current. It asks nobody.

use tokio::time::Instant;

use super::{Catalog, State};
use crate::name::LocalName;
use crate::path::RemotePath;

impl Catalog {
    /// What was said of this file, or of this directory and what is in it, no longer counts as current: the next who asks is told
    /// anew. Returns the names that lead there, or into it, each with its directory: whoever remembers where they lead should forget.
    pub fn expire(&self, path: &RemotePath) -> Vec<(RemotePath, LocalName)> {
        let mut state = self.state.lock();
        // A listing that is on its way may have been made before the change.
        state.changed = Some(Instant::now());
        let mut names = Vec::new();
        if let Some(dir) = path.parent() {
            state.expire(&dir, |entry| entry == path, &mut names);
            if names.is_empty() && state.listings.record_on_disk(&dir).is_some() {
                // Its listing is not in memory. Where this is another name, the kernel has none such.
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
        if let Some(record) = self.listings.record_on_disk(dir) {
            record.obtained = None;
            record.overlay.retain(|_, (entry, _)| !entry.as_ref().is_some_and(|entry| is_affected(&entry.path)));
            return;
        }
        let Some(known) = self.listings.get(dir) else { return };
        known.record.obtained = None;
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
