//! `Directories`: which listings the kernel keeps, so that it reads a directory again without asking. It knows no entries.
//!
//! The kernel keeps names page by page and does not tell listings apart, so that only one open of a directory at a time reads and fills
//! what it keeps. The next one finds that there if the same rules tell that it is right:
//!
//! | case | a program | decision |
//! |---|---|---|
//! | D1 | opens a directory | the kernel drops what it keeps, and keeps what it is shown |
//! | D2 | opens it while another open reads or fills what is kept | it gets its names from us, and what is kept stays |
//! | D3 | opens it, and all names of the same listing were shown with their attributes, which still count | what is kept is read |
//! | D4 | opens it, and only the first names of the same listing were shown | the kernel asks for all, and keeps the others too |
//! | D5 | opens one whose listing soon ends to count, or is put together from several | as D2 |
//! | D6 | has it open when its listing ends to count, or something changes | the kernel drops what it keeps: a program that goes back to the beginning asks |
//! | D7 | goes back to the beginning, and there is another listing by now | the kernel drops what it keeps before it is shown that |
//!
//! Where the listing changes after a program has read its first names only, the kernel may never keep it whole: then it asks each time.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use fuser::{FopenFlags, INodeNo, Notifier};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::fs::{HandleId, Inode, Snapshot};

/// Listings that are remembered as kept. The kernel asks about others as if it had not seen them.
const KEPT: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How often it is looked whether a listing of an open directory has ended to count.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// A listing that counts for less is not kept, and what is kept is dropped so long before, so that looking late does no harm.
const WORTH_FROM: Duration = LOOKED_AT_EVERY.saturating_mul(2);

/// An answer of ours is with the kernel after this time.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The directories of one mount.
#[derive(Default)]
pub struct Directories {
    state: Mutex<State>,
    opened: Arc<Notify>,
    notifier: OnceLock<Notifier>,
}

struct State {
    /// The open of each directory that reads and fills what the kernel keeps.
    open: HashMap<Inode, Open>,
    /// Listings of which the kernel keeps names.
    kept: LruCache<Inode, Kept>,
}

#[derive(Debug)]
struct Open {
    handle: HandleId,
    listing: Kept,
    /// The number up to which names were shown one after another, with attributes that count; `None` if others were between them.
    shown: Option<usize>,
    /// When it was last answered, and when the kernel last dropped what it keeps because of the time.
    answered: Instant,
    dropped: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Kept {
    snapshot: Snapshot,
    valid_until: Instant,
    /// Whether all names were shown with their attributes.
    is_whole: bool,
    /// Whether the kernel has come to the end, after which it asks no more.
    is_ended: bool,
}

impl Kept {
    fn new((snapshot, valid_for): (Snapshot, Duration), now: Instant) -> Self {
        Self { snapshot, valid_until: now + valid_for, is_whole: false, is_ended: false }
    }
}

/// The names that one answer shows.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The number of the first, and of the one after the last.
    pub first: usize,
    pub next: usize,
    /// Whether the kernel may keep the attributes of each.
    pub with_attributes: bool,
    /// Whether there are no more.
    pub is_end: bool,
}

impl Shown {
    /// The name with this number is shown if there is room for it, and with attributes if it has some that count. Whether there may be
    /// room for more.
    pub fn adds(&mut self, number: usize, has_room: bool, has_attributes: bool) -> bool {
        if has_room {
            self.next = number + 1;
            self.with_attributes &= has_attributes;
        }
        self.is_end = has_room;
        has_room
    }
}

impl Default for State {
    fn default() -> Self {
        Self { open: HashMap::new(), kept: LruCache::new(KEPT) }
    }
}

impl State {
    /// Cases D1 to D5: how the kernel is to open a directory that shows this listing, which counts for so long.
    fn opened(
        &mut self,
        inode: Inode,
        handle: HandleId,
        listing: Option<(Snapshot, Duration)>,
        now: Instant,
    ) -> FopenFlags {
        let listing = listing.filter(|(_, valid_for)| *valid_for >= WORTH_FROM);
        let Some(listing) = listing.filter(|_| !self.open.contains_key(&inode)) else {
            return FopenFlags::FOPEN_KEEP_CACHE;
        };
        let is_right =
            |kept: &Kept| kept.snapshot == listing.0 && now < kept.valid_until && (kept.is_whole || !kept.is_ended);
        let kept = self.kept.pop(&inode).filter(is_right);
        let is_kept = kept.is_some();
        let listing = kept.unwrap_or_else(|| Kept::new(listing, now));
        let (shown, answered, dropped) = (None, now, None);
        self.open.insert(inode, Open { handle, listing, shown, answered, dropped });
        let keep = if is_kept { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
        FopenFlags::FOPEN_CACHE_DIR | keep
    }

    fn open(&mut self, inode: Inode, handle: HandleId) -> Option<&mut Open> {
        self.open.get_mut(&inode).filter(|open| open.handle == handle)
    }

    /// Names are about to be shown.
    fn shows(&mut self, inode: Inode, handle: HandleId, names: Shown, now: Instant) {
        let Some(open) = self.open(inode, handle) else { return };
        open.answered = now;
        let goes_on = names.first == 0 || open.shown == Some(names.first);
        // The answer at the end shows none, and ends what was shown before.
        open.shown = (goes_on && (names.with_attributes || names.next == names.first)).then_some(names.next);
        open.listing.is_whole = names.is_end && open.shown.is_some();
        open.listing.is_ended |= names.is_end;
    }

    /// Case D7: the directory shows this listing from now on. Whether the kernel must drop what it keeps.
    fn rewound(&mut self, inode: Inode, handle: HandleId, listing: Option<(Snapshot, Duration)>, now: Instant) -> bool {
        let (Some(open), Some(listing)) = (self.open(inode, handle), listing) else { return false };
        let is_other = open.listing.snapshot != listing.0;
        open.listing = Kept { is_ended: open.listing.is_ended, ..Kept::new(listing, now) };
        (open.shown, open.dropped) = (None, None);
        is_other
    }

    fn released(&mut self, inode: Inode, handle: HandleId, now: Instant) {
        if self.open(inode, handle).is_none() {
            return;
        }
        if let Some(open) = self.open.remove(&inode).filter(|open| now < open.listing.valid_until) {
            self.kept.put(inode, open.listing);
        }
    }

    /// Case D6: the open directories of which the kernel must drop what it keeps.
    fn outdated(&mut self, now: Instant) -> Vec<Inode> {
        let mut outdated = Vec::new();
        for (inode, open) in &mut self.open {
            let is_over = open.listing.valid_until < now + WORTH_FROM;
            if is_over && open.dropped.is_none_or(|dropped| dropped < open.answered + ANSWERED_WITHIN) {
                open.dropped = Some(now);
                outdated.push(*inode);
            }
        }
        outdated
    }

    /// Case D6: names in these directories have changed, of which the kernel keeps no attributes. Of what is open, any may be concerned.
    fn changed(&mut self, directories: impl IntoIterator<Item = Inode>, now: Instant) {
        directories.into_iter().for_each(|inode| _ = self.kept.pop(&inode));
        for open in self.open.values_mut() {
            (open.listing.valid_until, open.dropped) = (now, None);
        }
    }
}

impl Directories {
    /// The flags with which a directory is opened that shows this listing of its source, which counts for so long.
    pub fn opened(&self, inode: Inode, handle: HandleId, listing: Option<(Snapshot, Duration)>) -> FopenFlags {
        let flags = self.state.lock().opened(inode, handle, listing, Instant::now());
        if flags.contains(FopenFlags::FOPEN_CACHE_DIR) {
            self.opened.notify_one();
        }
        flags
    }

    /// Names of an open directory are about to be shown.
    pub fn shows(&self, inode: Inode, handle: HandleId, names: Shown) {
        self.state.lock().shows(inode, handle, names, Instant::now());
    }

    /// An open directory shows this listing from now on, from its beginning. The kernel is asked for names once this has returned.
    pub async fn rewound(self: &Arc<Self>, inode: Inode, handle: HandleId, listing: Option<(Snapshot, Duration)>) {
        let must_drop = self.state.lock().rewound(inode, handle, listing, Instant::now());
        if must_drop {
            self.drop_kept(vec![inode]).await;
        }
    }

    /// An open has ended.
    pub fn released(&self, inode: Inode, handle: HandleId) {
        self.state.lock().released(inode, handle, Instant::now());
    }

    /// Names in these directories have changed: programs that have a directory open and go back to its beginning ask.
    pub async fn changed(self: &Arc<Self>, directories: impl IntoIterator<Item = Inode>) {
        let outdated = {
            let (mut state, now) = (self.state.lock(), Instant::now());
            state.changed(directories, now);
            state.outdated(now)
        };
        self.drop_kept(outdated).await;
    }

    /// Tells the kernel through `notifier` as soon as listings of open directories end to count, until the mount is gone.
    pub fn keep_current(self: &Arc<Self>, notifier: Notifier) -> impl Future<Output = ()> + Send + use<> {
        let _ = self.notifier.set(notifier);
        let directories = Arc::downgrade(self);
        async move { while look_at(&directories).await {} }
    }

    async fn drop_kept(self: &Arc<Self>, outdated: Vec<Inode>) {
        if outdated.is_empty() {
            return;
        }
        let directories = self.clone();
        // The kernel may wait for an answer of ours meanwhile: not on a thread that answers.
        let told = tokio::task::spawn_blocking(move || {
            let notifier = directories.notifier.get();
            for inode in outdated {
                // A directory that the kernel has forgotten is an error to it, and none to us.
                let _ = notifier.map(|notifier| notifier.inval_inode(INodeNo(inode.0), 0, 0));
            }
        });
        let _ = told.await;
    }
}

/// Looks once at the open directories. Whether the mount is there still.
async fn look_at(directories: &Weak<Directories>) -> bool {
    sleep(LOOKED_AT_EVERY).await;
    let Some(directories) = directories.upgrade() else { return false };
    let (is_idle, outdated) = {
        let mut state = directories.state.lock();
        (state.open.is_empty(), state.outdated(Instant::now()))
    };
    directories.drop_kept(outdated).await;
    if is_idle {
        let opened = directories.opened.clone();
        drop(directories);
        opened.notified().await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Listing, LocalEntries};
    use crate::path::RemotePath;

    const DIR: Inode = Inode(7);
    const HOUR: Duration = Duration::from_secs(3600);
    const FILLS: FopenFlags = FopenFlags::FOPEN_CACHE_DIR;
    const PASSES_BY: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE;
    const READS: FopenFlags = FILLS.union(PASSES_BY);

    struct Kernel {
        state: State,
        now: Instant,
        handles: u64,
    }

    impl Kernel {
        fn new() -> Self {
            Self { state: State::default(), now: Instant::now(), handles: 0 }
        }

        fn opens(&mut self, listing: &Arc<Listing>, valid_for: Duration) -> (HandleId, FopenFlags) {
            self.handles += 1;
            let (handle, shows) = (HandleId(self.handles), Some((Snapshot::of(listing), valid_for)));
            (handle, self.state.opened(DIR, handle, shows, self.now))
        }

        fn closes(&mut self, handle: HandleId) {
            self.state.released(DIR, handle, self.now);
        }

        /// Names from `first` to `next`, of `all`, and the end.
        fn is_shown(&mut self, handle: HandleId, [first, next, all]: [usize; 3], with_attributes: bool) {
            let is_end = next == all;
            self.state.shows(DIR, handle, Shown { first, next, with_attributes, is_end }, self.now);
        }

        /// A program reads a directory of ten names from its beginning to its end.
        fn lists(&mut self, listing: &Arc<Listing>, valid_for: Duration) -> FopenFlags {
            let (handle, flags) = self.opens(listing, valid_for);
            if flags != READS {
                self.is_shown(handle, [0, 6, 10], true);
                self.is_shown(handle, [6, 10, 10], true);
                self.is_shown(handle, [10, 10, 10], false);
            }
            self.closes(handle);
            flags
        }
    }

    fn listing() -> Arc<Listing> {
        Arc::new(Listing::new(LocalEntries::new(RemotePath::root()), false))
    }

    #[test]
    fn cases_d1_and_d3_what_was_shown_whole_is_kept_as_long_as_it_is_the_listing_and_counts() {
        let (mut kernel, old, young) = (Kernel::new(), listing(), listing());
        let flags = [&old, &old, &young, &young, &old].map(|listing| kernel.lists(listing, HOUR));
        assert_eq!(flags, [FILLS, READS, FILLS, READS, FILLS]);
        kernel.now += HOUR;
        assert_eq!(kernel.lists(&old, HOUR), FILLS, "attributes no longer count");
        assert_eq!(kernel.lists(&old, HOUR), READS);
    }

    #[test]
    fn case_d2_one_open_at_a_time_fills_what_is_kept() {
        let (mut kernel, old, young) = (Kernel::new(), listing(), listing());
        let (first, flags) = kernel.opens(&old, HOUR);
        assert_eq!(flags, FILLS);
        assert_eq!((kernel.lists(&old, HOUR), kernel.lists(&young, HOUR)), (PASSES_BY, PASSES_BY));
        kernel.closes(first);
        assert_eq!([&young, &young].map(|listing| kernel.lists(listing, HOUR)), [FILLS, READS]);
    }

    #[test]
    fn cases_d3_and_d4_what_was_shown_to_its_end_and_not_all_with_attributes_is_not_kept() {
        let whole = [([0, 6, 10], true), ([6, 10, 10], true)];
        let half = [([0, 6, 10], true)].as_slice();
        let rest = [([6, 10, 10], true)];
        let bare = [([0, 6, 10], true), ([6, 10, 10], false)];
        let gap = [([0, 6, 10], true), ([7, 10, 10], true)];
        let repeated = [([0, 6, 10], true), ([0, 6, 10], true), ([6, 10, 10], true)];
        let begun_anew = [([0, 10, 10], true), ([0, 6, 10], true)];
        for (answers, then) in [
            (whole.as_slice(), READS),
            (half, READS),
            (&bare, FILLS),
            (&gap, FILLS),
            (&rest, FILLS),
            (&repeated, READS),
            (&begun_anew, FILLS),
        ] {
            let (mut kernel, listing) = (Kernel::new(), listing());
            let (handle, _) = kernel.opens(&listing, HOUR);
            answers.iter().for_each(|(names, with_attributes)| kernel.is_shown(handle, *names, *with_attributes));
            kernel.closes(handle);
            assert_eq!(kernel.opens(&listing, HOUR).1, then, "{answers:?}");
        }
    }

    #[test]
    fn case_d5_what_soon_ends_to_count_or_is_put_together_is_not_kept() {
        let (mut kernel, listing) = (Kernel::new(), listing());
        assert_eq!(kernel.lists(&listing, WORTH_FROM / 2), PASSES_BY);
        assert_eq!(kernel.state.opened(DIR, HandleId(9), None, kernel.now), PASSES_BY);
        assert_eq!(kernel.lists(&listing, HOUR), FILLS);
        assert_eq!(kernel.lists(&listing, WORTH_FROM / 2), PASSES_BY);
        assert_eq!(kernel.lists(&listing, HOUR), READS, "it is kept beside those");
    }

    #[test]
    fn case_d6_what_ends_to_count_is_dropped_until_no_answer_can_be_under_way() {
        let (mut kernel, listing) = (Kernel::new(), listing());
        let (handle, _) = kernel.opens(&listing, HOUR);
        kernel.now += HOUR - 2 * WORTH_FROM;
        kernel.is_shown(handle, [0, 6, 10], true);
        assert_eq!(kernel.state.outdated(kernel.now), []);
        kernel.now += WORTH_FROM + LOOKED_AT_EVERY;
        let mut dropped = 0;
        for _ in 0..20 {
            kernel.now += LOOKED_AT_EVERY;
            dropped += kernel.state.outdated(kernel.now).len();
        }
        assert!((1..8).contains(&dropped), "{dropped}");
        kernel.is_shown(handle, [6, 8, 10], true);
        assert_eq!(kernel.state.outdated(kernel.now), [DIR], "it has been answered since");
    }

    #[test]
    fn case_d6_after_a_change_names_come_with_their_attributes_again() {
        let (mut kernel, listing) = (Kernel::new(), listing());
        kernel.lists(&listing, HOUR);
        kernel.state.changed([Inode(8)], kernel.now);
        assert_eq!(kernel.lists(&listing, HOUR), READS);
        kernel.state.changed([DIR], kernel.now);
        let (handle, flags) = kernel.opens(&listing, HOUR);
        assert_eq!((flags, kernel.state.outdated(kernel.now)), (FILLS, Vec::new()));
        kernel.state.changed([Inode(8)], kernel.now);
        assert_eq!(kernel.state.outdated(kernel.now), [DIR], "any open directory may be concerned");
        kernel.is_shown(handle, [0, 10, 10], true);
        kernel.closes(handle);
        assert_eq!(kernel.lists(&listing, HOUR), FILLS);
    }

    #[test]
    fn case_d7_another_listing_drops_what_is_kept_of_the_one_before() {
        let (mut kernel, old, young) = (Kernel::new(), listing(), listing());
        let (handle, _) = kernel.opens(&old, HOUR);
        kernel.is_shown(handle, [0, 6, 10], true);
        let mut rewinds =
            |listing: &Arc<Listing>| kernel.state.rewound(DIR, handle, Some((Snapshot::of(listing), HOUR)), kernel.now);
        assert_eq!([rewinds(&old), rewinds(&young), rewinds(&young)], [false, true, false]);
        kernel.is_shown(handle, [6, 10, 10], true);
        kernel.closes(handle);
        assert_eq!(kernel.opens(&young, HOUR).1, FILLS, "not all of it was shown");
        assert!(!kernel.state.rewound(DIR, handle, Some((Snapshot::of(&old), HOUR)), kernel.now), "it is closed");
    }
}
