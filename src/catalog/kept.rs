//! The parts of a listing that are kept when a newer one takes its place: names that an incomplete one does not tell, and digests of what
//! cannot be told from what was known.

use tokio::time::Instant;

use super::listing_cache::Overlay;
use super::{Listing, LocalEntries};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::budget::check_held;
use crate::source::{Entry, EntryKind};

/// The entry that stands for a name which an incomplete listing does not tell, until the source is asked about it.
pub(super) fn unlisted(dir: &RemotePath, name: &[u8]) -> Option<Entry> {
    let kind = EntryKind::File;
    let path = dir.child(name).ok()?;
    Some(Entry { name: name.to_vec(), path, kind, permissions: None, size: None, modified: None, digest: None })
}

/// Keeps the names of the listing before that an incomplete one is without, but for those that are known to be gone. As files without a
/// digest they are asked about, each by itself, when somebody looks for them. What was known of them, at `last_obtained`, is returned.
pub(super) fn keep_unlisted(
    before: &Listing,
    overlay: &Overlay,
    named: &mut LocalEntries,
    last_obtained: Instant,
) -> Overlay {
    let is_gone = |name: &LocalName| matches!(overlay.get(name), Some((None, _)));
    let unlisted = before.entries().iter().filter(|(name, _)| named.get(name).is_none() && !is_gone(name));
    let unlisted: Vec<_> = unlisted.collect();
    let mut kept = Overlay::new();
    if unlisted.is_empty() {
        return kept;
    }
    let asked_about = unlisted.into_iter().map(|(name, entry)| {
        if matches!(entry.kind, EntryKind::Symlink { .. }) {
            return (name, entry);
        }
        let asked_about = Entry { kind: EntryKind::File, digest: None, ..entry.clone() };
        if entry != asked_about && !overlay.contains_key(&name) {
            kept.insert(name.clone(), (Some(entry), last_obtained));
        }
        (name, asked_about)
    });
    let mut asked_about = asked_about.peekable();
    let mut merged = LocalEntries::new(before.entries().dir().clone());
    for (name, entry) in named.iter() {
        while let Some((earlier, unlisted)) = asked_about.next_if(|(unlisted, _)| *unlisted < name) {
            merged.push(&earlier, &unlisted);
        }
        merged.push(&name, &entry);
    }
    asked_about.for_each(|(name, entry)| merged.push(&name, &entry));
    merged.shrink();
    if check_held(merged.len(), merged.bytes()).is_err() {
        return Overlay::new();
    }
    *named = merged;
    kept
}

/// Keeps the digests of entries that cannot be told from the known ones, although they were observed anew.
pub(super) fn keep_observations(listing: &Listing, overlay: &Overlay, named: &mut LocalEntries) {
    for number in 0..named.len() {
        let entry = named.entry(number);
        let Some(digest) = entry.digest.as_ref().filter(|digest| digest.unsettled_since().is_some()) else { continue };
        let before = match overlay.get(named.name(number)) {
            Some((before, _)) => before.clone(),
            None => listing.get(named.name(number)),
        };
        let before = before.and_then(|before| before.digest).filter(|before| before != digest);
        if let Some(before) = before.filter(|before| before.is_same_observation(digest)) {
            named.replace(number, &Entry { digest: Some(before), ..entry });
        }
    }
}
