//! Listings for the sake of one name: entries in batches, until that name is told alone because the directory is large, or its listing
//! slow. It asks no source itself.

use futures::StreamExt as _;
use futures::future::{BoxFuture, ready};
use futures::stream::{BoxStream, Stream};
use tokio::time::{Instant, timeout_at};

use crate::error::Result;
use crate::source::one_name::{LARGE_NAMES, OneName, SLOW_LISTING};
use crate::source::{Entry, EntryStream, LeftOut};

/// A listing that was begun.
struct Begun<'a, A> {
    batches: BoxStream<'a, Result<Vec<Entry>>>,
    /// How many names have come.
    names: usize,
    /// From when on it is slow.
    slow_from: Instant,
    alone: A,
    one_name: OneName,
}

/// The entries of these batches. Where one name is wanted and they are many, or slow, `alone` is asked for that, and what it tells ends
/// them; while a large listing waits for that answer, nothing more of it is taken. `alone` tells none if only the listing can tell.
pub(super) fn listing<'a>(
    batches: impl Stream<Item = Result<Vec<Entry>>> + Send + 'a,
    left_out: LeftOut,
    alone: impl Fn(Vec<u8>) -> BoxFuture<'a, Option<Vec<Entry>>> + Send + 'a,
) -> EntryStream<'a> {
    let one_name = OneName::default();
    let slow_from = Instant::now() + SLOW_LISTING;
    let begun = Begun { batches: batches.boxed(), names: 0, slow_from, alone, one_name: one_name.clone() };
    let entries = futures::stream::unfold(begun, |mut begun| async move {
        let entries = match begun.next().await? {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        Some((futures::stream::iter(entries), begun))
    });
    EntryStream::for_one_name(entries.flatten(), left_out, one_name)
}

/// What was told of one name, in place of a listing.
pub(super) fn told(entries: Vec<Entry>) -> EntryStream<'static> {
    let (left_out, one_name) = <(LeftOut, OneName)>::default();
    one_name.tell(entries);
    EntryStream::for_one_name(futures::stream::empty(), left_out, one_name)
}

impl<'a, A: Fn(Vec<u8>) -> BoxFuture<'a, Option<Vec<Entry>>>> Begun<'a, A> {
    /// The next entries; none when these were all, or the wanted name is told instead.
    async fn next(&mut self) -> Option<Result<Vec<Entry>>> {
        if self.names > LARGE_NAMES
            && let Some(told) = self.told().await
        {
            self.one_name.tell(told);
            return None;
        }
        let batch = match timeout_at(self.slow_from, self.batches.next()).await {
            Ok(batch) => batch,
            Err(_) => {
                let told = self.told();
                tokio::select! {
                    batch = self.batches.next() => batch,
                    Some(told) = told => {
                        self.one_name.tell(told);
                        return None;
                    }
                }
            }
        };
        if let Some(Ok(entries)) = &batch {
            self.names += entries.len();
        }
        batch
    }

    /// The entry of the wanted name, if one is wanted and there is such an entry; `None` if only the listing can tell.
    fn told(&self) -> BoxFuture<'a, Option<Vec<Entry>>> {
        match self.one_name.take_wanted() {
            Some(name) => (self.alone)(name),
            None => Box::pin(ready(None)),
        }
    }
}
