//! `EntryStream`: the entries of one directory as they arrive, and what its listing leaves out. It knows no source.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt as _};
use parking_lot::Mutex;

use super::Entry;
use super::one_name::OneName;
use crate::error::Result;
use crate::omitted::Omitted;
use crate::path::RemotePath;

/// Entries of one directory as they arrive.
pub struct EntryStream<'a> {
    entries: BoxStream<'a, Result<Entry>>,
    left_out: LeftOut,
    one_name: OneName,
    age: Duration,
}

impl<'a> EntryStream<'a> {
    /// Entries of which none is left out.
    pub fn new(entries: impl Stream<Item = Result<Entry>> + Send + 'a) -> Self {
        Self::noting(entries, LeftOut::default())
    }

    /// Entries beside which `left_out` notes names until the stream ends.
    pub fn noting(entries: impl Stream<Item = Result<Entry>> + Send + 'a, left_out: LeftOut) -> Self {
        Self::for_one_name(entries, left_out, OneName::default())
    }

    /// The same, of a source that tells of `one_name` alone where one is wanted and the directory is large, or its listing slow.
    pub(crate) fn for_one_name(
        entries: impl Stream<Item = Result<Entry>> + Send + 'a,
        left_out: LeftOut,
        one_name: OneName,
    ) -> Self {
        Self { entries: entries.boxed(), left_out, one_name, age: Duration::ZERO }
    }

    /// Says, before the first entry is taken, that the listing is for the sake of this name. A source with
    /// [`names_alone`](super::Capabilities::names_alone) then need not list a large directory, or one whose listing is slow: see [`EntryStream::told_alone`].
    pub fn want_only(&self, name: &[u8]) {
        self.one_name.want(name);
    }

    /// Once the stream has ended: the entry of the wanted name, or none if there is no such, if the source told that instead of all; stores of
    /// keys tell all entries whose names begin with it. What the stream had until then is no listing.
    pub fn told_alone(&self) -> Option<Vec<Entry>> {
        self.one_name.take_told()
    }

    /// The same listing, which another machine was told so long ago.
    #[cfg(feature = "shared")]
    #[must_use]
    pub(crate) fn aged(self, age: Duration) -> Self {
        Self { age, ..self }
    }

    /// How long ago the source was asked, if this is not its own answer.
    pub(crate) fn age(&self) -> Duration {
        self.age
    }

    /// Says, once the stream has ended, whether it told every name: none was left out, and it was not for the sake of one alone.
    #[cfg(feature = "shared")]
    pub(crate) fn tells_all(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let (left_out, one_name) = (self.left_out.clone(), self.one_name.clone());
        move || left_out.0.lock().told().is_none() && !one_name.has_told()
    }

    /// What the listing leaves out: all of it once the stream has ended.
    pub fn omitted(&self) -> Omitted {
        self.left_out.0.lock().clone()
    }

    /// The same listing, whose entries go through a wrapper of their stream.
    #[must_use]
    pub fn through<S: Stream<Item = Result<Entry>> + Send + 'a>(
        self,
        wrap: impl FnOnce(BoxStream<'a, Result<Entry>>) -> S,
    ) -> Self {
        Self { entries: wrap(self.entries).boxed(), ..self }
    }
}

impl Stream for EntryStream<'_> {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.entries.poll_next_unpin(context)
    }
}

impl fmt::Debug for EntryStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryStream").field("left_out", &self.left_out).finish_non_exhaustive()
    }
}

/// Notes what one listing leaves out. Clones note for the same listing.
#[derive(Debug, Clone, Default)]
pub struct LeftOut(Arc<Mutex<Omitted>>);

impl LeftOut {
    /// Notes what is certainly no name in the directory, and why it is left out.
    pub fn refuse(&self, name: &[u8], why: impl fmt::Display) {
        self.0.lock().refuse(name, why);
    }

    /// Notes a record that could not be read, and why: names that the listing does not tell may be there all the same.
    pub fn add_unreadable(&self, record: &[u8], why: impl fmt::Display) {
        self.0.lock().add_unreadable(record, why);
    }

    /// Counts a name that was understood and is not shown.
    pub fn hide(&self) {
        self.0.lock().hide();
    }

    /// Notes what another part of the listing leaves out.
    pub(crate) fn append(&self, other: Omitted) {
        self.0.lock().append(other);
    }

    /// Whether a name that is not listed may be there all the same.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.0.lock().is_incomplete()
    }

    /// The path of a name in `dir`; a name that must not be followed is left out.
    pub(crate) fn child(&self, dir: &RemotePath, name: &[u8]) -> Option<RemotePath> {
        // What stands behind the last slash may be a name in the directory.
        if name.contains(&b'/') {
            self.add_unreadable(name, "it holds a slash");
            return None;
        }
        dir.child(name).inspect_err(|bad| self.refuse(name, bad)).ok()
    }
}
