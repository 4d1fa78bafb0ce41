//! Lookups in directories of which no listing is known: of a large or slow one, the source may tell the looked-up name alone. A listing is made
//! only for the sake of several names.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use tokio::time::Instant;

use super::kept::unlisted;
use super::localize::stays;
use super::patience::answer_of;
use super::renewal::Gathered;
use super::{Answer, Catalog, Listing};
use crate::error::Result;
use crate::flight::Flights;
use crate::freshness::{BeforeAsking, before_asking};
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::Entry;
use crate::source::budget::gathering;
use crate::source::retry::retry;

/// How many large directories are remembered in which names were looked up alone.
const DIRECTORIES: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// In a directory in which so many names are looked up, more will be: it is listed.
const NAMES: usize = 8;

/// The directories in which names were looked up alone, and their answers: the name, what it leads to, and since when.
pub(super) type Alone = LruCache<RemotePath, Vec<(LocalName, Option<Entry>, Instant)>>;

/// Lookups that are under way, one in each directory.
pub(super) type Lookups = Flights<RemotePath, Result<Found>>;

/// The answer to a lookup.
#[derive(Clone)]
pub(super) enum Found {
    Listed(Answer<Arc<Listing>>),
    /// The directory is large. Only this name was asked about, and leads there.
    Alone(LocalName, Option<Entry>),
}

pub(super) fn none_alone() -> Alone {
    LruCache::new(DIRECTORIES)
}

impl Catalog {
    /// The entry called `name` in `dir`, of which no listing is fresh.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        dir: &RemotePath,
        name: &[u8],
    ) -> Result<Answer<Option<(LocalName, Entry)>>> {
        let mut listed = None;
        if self.may_look_up_alone(dir, name).await {
            if let Some(answer) = self.alone(dir, name) {
                return Ok(answer);
            }
            let question = || self.clone().first_names(dir.clone(), name.into());
            match answer_of(self.start(&self.lookups, dir.clone(), question)).await? {
                Found::Listed(answer) => listed = Some(answer),
                Found::Alone(of, entry) if *of == *name => {
                    let valid_for = self.policy.fresh_for;
                    return Ok(Answer { value: entry.map(|entry| (of, entry)), valid_for, unconfirmed: false });
                }
                // Another name was looked up at the same time.
                Found::Alone(..) => {}
            }
        }
        let Answer { value, valid_for, unconfirmed } = match listed {
            Some(answer) => answer,
            None => self.plain_listing(dir).await?,
        };
        // An incomplete listing says nothing of other names: the source is asked about this one.
        let entry = value.get(name).or_else(|| unlisted(dir, name).filter(|_| value.is_incomplete()));
        Ok(Answer { value: entry.map(|entry| (name.into(), entry)), valid_for, unconfirmed })
    }

    /// The listing that a lookup under way brings, if it does.
    pub(super) async fn looked_up(&self, dir: &RemotePath) -> Option<Answer<Arc<Listing>>> {
        match answer_of(self.lookups.get(dir)?).await {
            Ok(Found::Listed(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Forgets what was told of this name alone: something newer is known.
    pub(super) fn forget_alone(&self, dir: &RemotePath, name: &[u8]) {
        if let Some(names) = self.alone.lock().peek_mut(dir) {
            names.retain(|(known, ..)| **known != *name);
        }
    }

    /// Forgets what was told alone of this file, or of names in this directory. Returns those names, each with its directory.
    pub(super) fn expire_alone(&self, path: &RemotePath) -> Vec<(RemotePath, LocalName)> {
        let mut alone = self.alone.lock();
        let below = alone.pop(path).into_iter().flatten().map(|(name, ..)| (path.clone(), name));
        let mut names: Vec<_> = below.collect();
        if let Some(dir) = path.parent()
            && let Some(known) = alone.peek_mut(&dir)
        {
            let gone = known.extract_if(.., |(name, ..)| **name == *path.name());
            names.extend(gone.map(|(name, ..)| (dir.clone(), name)));
        }
        names
    }

    async fn may_look_up_alone(self: &Arc<Self>, dir: &RemotePath, name: &[u8]) -> bool {
        let is_able = self.source.capabilities().names_alone && stays(name);
        let is_one_of_few = || {
            let alone = self.alone.lock();
            alone.peek(dir).is_none_or(|names| names.len() < NAMES || names.iter().any(|known| *known.0 == *name))
        };
        // What a known listing says is served while the source is slow or away.
        is_able && is_one_of_few() && self.under_way.get(dir).is_none() && self.last_listing(dir).await.is_none()
    }

    /// What was told of this name alone, while it is fresh.
    fn alone(&self, dir: &RemotePath, name: &[u8]) -> Option<Answer<Option<(LocalName, Entry)>>> {
        let mut alone = self.alone.lock();
        let (name, entry, at) = alone.get(dir)?.iter().find(|(known, ..)| **known == *name)?;
        match before_asking(Some(Some(at.elapsed())), self.policy.fresh_for) {
            BeforeAsking::Serve(valid_for) => {
                let value = entry.clone().map(|entry| (name.clone(), entry));
                Some(Answer { value, valid_for, unconfirmed: false })
            }
            BeforeAsking::Ask => None,
        }
    }

    /// Whether a name of `dir` was told alone within `fresh_for`, as the directory is large.
    pub(super) fn is_known_to_be_large(&self, dir: &RemotePath) -> bool {
        let alone = self.alone.lock();
        alone.peek(dir).is_some_and(|names| names.iter().any(|(.., at)| at.elapsed() < self.policy.fresh_for))
    }

    /// Lists `dir`, or learns about `name` alone if it is large.
    async fn first_names(self: Arc<Self>, dir: RemotePath, name: LocalName) -> Result<Found> {
        // It may have arrived before this lookup began.
        let arrived = self.state.lock().fresh_listing(&dir, self.policy);
        if let Some(answer) = arrived {
            return Ok(Found::Listed(answer));
        }
        let asked = Instant::now();
        let answer = retry(|| gathering(self.gather(&dir, Some(&name)))).await;
        let localized = match answer {
            Ok(Gathered::Alone(localized)) => {
                let entry = self.note_alone(&dir, name.clone(), localized.named.get(&name), asked);
                return Ok(Found::Alone(name, entry));
            }
            Ok(Gathered::All(localized)) => Ok(localized),
            Err(error) => Err(error),
        };
        self.settle(&dir, asked, localized).await.map(Found::Listed)
    }

    /// Notes what was told of a name alone, and returns it. The digest stays that of an observation before which cannot be told from this one.
    fn note_alone(&self, dir: &RemotePath, name: LocalName, mut entry: Option<Entry>, at: Instant) -> Option<Entry> {
        let is_current = self.state.lock().is_current(at);
        let mut alone = self.alone.lock();
        let names = alone.get_or_insert_mut(dir.clone(), Vec::new);
        let known = names.iter().position(|(known, ..)| *known == name).map(|place| names.swap_remove(place));
        let before = known.and_then(|(_, before, _)| before?.digest);
        if let Some(digest) = entry.as_mut().and_then(|entry| entry.digest.as_mut())
            && let Some(before) = before.filter(|before| before.is_same_observation(digest))
        {
            *digest = before;
        }
        // A change that was reported after the question may be missing in the answer.
        if is_current {
            names.push((name, entry.clone(), at));
        }
        entry
    }
}
