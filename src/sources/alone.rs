//! Listings for the sake of one name: entries in batches, until an answer about that name alone ends them, because the directory is large, or
//! its listing slow. It asks no source itself.

use futures::StreamExt as _;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{BoxStream, Stream};
use tokio::time::{Instant, timeout_at};

use crate::error::Result;
use crate::source::one_name::{LARGE_NAMES, OneName, SLOW_LISTING, wanted_in_large_directory};
use crate::source::{Entry, EntryStream, LeftOut};

/// The answer to a question about one name: its entry, or none if there is no such; `None` if only the listing can tell.
type Answer = Option<Vec<Entry>>;

/// A question about one name, under way.
type Question<'a> = BoxFuture<'a, Answer>;

/// A listing that was begun.
struct Begun<'a, A> {
    batches: BoxStream<'a, Result<Vec<Entry>>>,
    /// How many names have come.
    names: usize,
    /// From when on it is slow.
    slow_from: Instant,
    ask: A,
    /// The question about the wanted name, once it is asked.
    asking: Option<Question<'a>>,
    one_name: OneName,
}

/// The entries of these batches, of a listing that began then. Where one name is wanted and they are many, or slow, `ask` asks about that, and
/// an answer ends them; while a large listing waits for the answer, nothing more of it is taken.
pub(super) fn listing<'a>(
    began: Instant,
    batches: impl Stream<Item = Result<Vec<Entry>>> + Send + 'a,
    left_out: LeftOut,
    ask: impl Fn(Vec<u8>) -> Question<'a> + Send + 'a,
) -> EntryStream<'a> {
    let one_name = OneName::default();
    let slow_from = began + SLOW_LISTING;
    let (batches, names, asking) = (batches.boxed(), 0, None);
    let begun = Begun { batches, names, slow_from, ask, asking, one_name: one_name.clone() };
    let entries = futures::stream::unfold(begun, |mut begun| async move {
        let entries = match begun.next().await? {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        Some((futures::stream::iter(entries), begun))
    });
    EntryStream::for_one_name(entries.flatten(), left_out, one_name)
}

/// The answer about the wanted name of a directory that is known to be large, without a listing; `None` if no name is wanted in such a one, or
/// only the listing can tell.
pub(super) async fn without_listing<'a>(ask: impl Fn(Vec<u8>) -> Question<'a>) -> Option<EntryStream<'static>> {
    ask(wanted_in_large_directory()?).await.map(answered)
}

/// A stream that has these entries as the answer about one name, and no listing.
pub(super) fn answered(entries: Vec<Entry>) -> EntryStream<'static> {
    let (left_out, one_name) = <(LeftOut, OneName)>::default();
    one_name.tell(entries);
    EntryStream::for_one_name(futures::stream::empty(), left_out, one_name)
}

impl<'a, A: Fn(Vec<u8>) -> Question<'a>> Begun<'a, A> {
    /// The next entries; none when these were all, or an answer has ended them.
    async fn next(&mut self) -> Option<Result<Vec<Entry>>> {
        if self.names > LARGE_NAMES
            && let Some(asking) = self.question()
        {
            let answer = asking.await;
            if self.ends_with(answer) {
                return None;
            }
        }
        let batch = match timeout_at(self.slow_from, self.batches.next()).await {
            Ok(batch) => batch,
            Err(_) => {
                self.question();
                tokio::select! {
                    batch = self.batches.next() => batch,
                    Some(answer) = OptionFuture::from(self.asking.as_mut()) => {
                        if self.ends_with(answer) {
                            return None;
                        }
                        self.batches.next().await
                    }
                }
            }
        };
        if let Some(Ok(entries)) = &batch {
            self.names += entries.len();
        }
        batch
    }

    /// The question about the wanted name, which is asked once; none if no name is wanted, or the answer was no help.
    fn question(&mut self) -> Option<&mut Question<'a>> {
        if let Some(name) = self.one_name.take_wanted() {
            self.asking = Some((self.ask)(name));
        }
        self.asking.as_mut()
    }

    /// Passes an answer on. Whether that ends the listing, which it does unless only the listing can tell.
    fn ends_with(&mut self, answer: Answer) -> bool {
        self.asking = None;
        let Some(entries) = answer else { return false };
        self.one_name.tell(entries);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{FutureExt as _, TryStreamExt as _};
    use tokio::time::sleep;

    use super::*;
    use crate::path::RemotePath;
    use crate::source::EntryKind;

    fn entry(name: &str) -> Entry {
        let path = RemotePath::root().child(name.as_bytes()).expect("a name");
        let (name, kind) = (name.as_bytes().to_vec(), EntryKind::Directory);
        Entry { name, path, kind, permissions: None, size: None, modified: None, digest: None }
    }

    /// A listing for the sake of one name whose batches, of so many names each, come so many seconds one after the other, and in which the
    /// question takes so many seconds and a half: how many names the answer had, how many were listed, and when that was, in seconds.
    async fn listed(batch: usize, apart: u64, question: u64, answer: Answer) -> (Option<usize>, usize, u64) {
        let began = Instant::now();
        let batches = futures::stream::iter(0..20).then(|number| async move {
            sleep(Duration::from_secs(apart)).await;
            Ok((0..batch).map(|name| entry(&format!("{number} {name}"))).collect())
        });
        let ask = |_| {
            let answer = answer.clone();
            async move {
                sleep(Duration::from_millis(question * 1000 + 500)).await;
                answer
            }
            .boxed()
        };
        let mut listing = listing(began, batches, LeftOut::default(), ask);
        listing.want_only(b"wanted");
        let mut names = 0;
        while listing.try_next().await.expect("it can be listed").is_some() {
            names += 1;
        }
        (listing.told_alone().map(|entries| entries.len()), names, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_name_is_told_once_the_listing_is_large_or_slow() {
        let wanted = || Some(vec![entry("wanted")]);
        assert_eq!(listed(501, 0, 1, wanted()).await, (Some(1), 1002, 1), "large");
        assert_eq!(listed(100, 1, 0, wanted()).await, (Some(1), 200, 2), "slow");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_takes_longer_than_a_batch_is_waited_for_beside_the_next_ones() {
        assert_eq!(listed(100, 1, 4, Some(Vec::new())).await, (Some(0), 600, 6));
        assert_eq!(listed(300, 1, 60, Some(Vec::new())).await, (Some(0), 1200, 62), "and alone once it is large");
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_the_listing_can_tell_is_listed() {
        assert_eq!(listed(100, 1, 4, None).await, (None, 2000, 20));
        assert_eq!(listed(501, 0, 1, None).await, (None, 20 * 501, 1));
    }
}
