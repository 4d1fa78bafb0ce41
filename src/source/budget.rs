//! `Budget`: the limits of one listing, wherever its entries are gathered. It knows no source.
//!
//! A server decides how long its listings are, and all sources share one process. Beyond the budget a listing fails, with the limit
//! in the message; the directory keeps its last known names, and other sources do not notice.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

use super::Entry;
use super::packed::packed_bytes;
use super::turns::is_ahead;
use super::waits::note_progress;
use crate::error::{Error, ErrorKind};
use crate::path::RemotePath;

/// The most names of one directory.
pub const MAX_NAMES: usize = 500_000;

/// The most bytes that one listing takes in memory when it is asked for again, with what the kernel was told of each name: 500,000 names with
/// 24 bytes each, packed, or 300,000 with 77.
pub const MAX_HELD_BYTES: usize = 112 << 20;

/// The bytes that a name takes beside its packed entries, most of them for the number by which the kernel knows it.
const NAME_BYTES: usize = 160;

/// The most copies of a packed entry that exist at once: the inode's, and those of the listing before and the one that comes.
const MAX_COPIES: usize = 3;

/// The most pages of one listing, where a server tells it in pages: those of S3 and Azure have a thousand names and more.
pub const MAX_PAGES: usize = 5_000;

/// The longest that one listing may take, however fast it goes on. The timeout ends one that is silent.
pub const MAX_LISTING_TIME: Duration = Duration::from_secs(600);

/// The most bytes of one name with all that is told of it, of one line or one element of an answer.
pub const MAX_ITEM_BYTES: usize = 1 << 20;

/// A listing of more bytes is large, as they arrive or as they are gathered: some ten thousand names.
pub const LARGE_BYTES: usize = 8 << 20;

/// A listing of more bytes goes on only once a reader waits for it: some thousand names.
const AHEAD_BYTES: usize = LARGE_BYTES / 4;

/// Lets one large listing of all sources be gathered at a time, so that they do not add up.
static LARGE_ONES: Semaphore = Semaphore::const_new(1);

/// How often a listing that waits for its turn notes progress, so that no deadline ends it.
const ALIVE_INTERVAL: Duration = Duration::from_millis(100);

tokio::task_local! {
    /// The turn of the listing that is being gathered, once it has one.
    static TURN: Mutex<Option<SemaphorePermit<'static>>>;
}

/// Gathers a listing, which has its turn until it is done.
pub async fn gathering<T>(listing: impl Future<Output = T>) -> T {
    TURN.scope(Mutex::default(), listing).await
}

/// Waits until a listing that has `bytes` so far may go on: at once if it is not large, else until no other large one is gathered.
/// A listing that has the turn does not wait in here, and needs no other's turn. One that waits for longer than
/// [`MAX_LISTING_TIME`] fails. A listing ahead that is not small waits for its reader first.
pub async fn await_turn(bytes: usize) {
    while bytes > AHEAD_BYTES && is_ahead() {
        sleep(ALIVE_INTERVAL).await;
        note_progress();
    }
    let needs = |turn: &Mutex<Option<_>>| turn.lock().is_none();
    if bytes <= LARGE_BYTES || !TURN.try_with(needs).unwrap_or(false) {
        return;
    }
    let mut taking = std::pin::pin!(LARGE_ONES.acquire());
    let turn = loop {
        match timeout(ALIVE_INTERVAL, &mut taking).await {
            Ok(turn) => break turn,
            // The source waits for us here, not we for the source.
            Err(_) => note_progress(),
        }
    };
    TURN.with(|own| *own.lock() = turn.ok());
}

/// Whether a listing that has `bytes` so far may go on without waiting, as [`await_turn`] has it.
pub fn has_turn(bytes: usize) -> bool {
    let has = |turn: &Mutex<Option<_>>| {
        let mut turn = turn.lock();
        if turn.is_none() {
            *turn = LARGE_ONES.try_acquire().ok();
        }
        turn.is_some()
    };
    let is_held_back = bytes > AHEAD_BYTES && is_ahead();
    !is_held_back && (bytes <= LARGE_BYTES || TURN.try_with(has).unwrap_or(true))
}

/// The rest of the limits of one listing.
#[derive(Debug)]
pub struct Budget {
    names: usize,
    bytes: usize,
    pages: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { names: MAX_NAMES, bytes: MAX_HELD_BYTES, pages: MAX_PAGES }
    }
}

impl Budget {
    /// Takes one more entry of `dir`.
    ///
    /// # Errors
    /// If this is more than one listing may have.
    pub fn entry(&mut self, dir: &RemotePath, entry: &Entry) -> Result<(), Exceeded> {
        self.packed(packed_bytes(dir, entry))
    }

    /// Takes one more name, which has so many bytes with all that is told of it, packed.
    ///
    /// # Errors
    /// As above.
    pub fn packed(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.names = self.names.checked_sub(1).ok_or(Exceeded::Names)?;
        self.bytes = self.bytes.checked_sub(held(1, bytes)).ok_or(Exceeded::Bytes)?;
        Ok(())
    }

    /// The bytes of all names so far.
    pub fn taken(&self) -> usize {
        MAX_HELD_BYTES - self.bytes
    }

    /// Takes one more page.
    ///
    /// # Errors
    /// As above.
    pub fn page(&mut self) -> Result<(), Exceeded> {
        self.pages = self.pages.checked_sub(1).ok_or(Exceeded::Pages)?;
        Ok(())
    }
}

/// Checks that a listing is within its limits once its names are those that Linux sees: they may be longer, and are kept beside the
/// remote ones.
///
/// # Errors
/// If it is not.
pub fn check_held(names: usize, bytes: usize) -> Result<(), Exceeded> {
    if held(names, bytes) > MAX_HELD_BYTES { Err(Exceeded::Bytes) } else { Ok(()) }
}

/// The bytes that names take, in their listings and for the kernel, whose entries have so many bytes packed.
fn held(names: usize, bytes: usize) -> usize {
    names * NAME_BYTES + MAX_COPIES * bytes
}

/// The limit that a listing has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Exceeded {
    Names,
    Bytes,
    Pages,
    Time,
    Item,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names => {
                write!(f, "the listing has more than {MAX_NAMES} names, which is the limit of one directory")
            }
            Self::Bytes => {
                write!(
                    f,
                    "the listing takes more than {} MiB, which is the limit of one directory",
                    MAX_HELD_BYTES >> 20
                )
            }
            Self::Pages => {
                write!(f, "the listing has more than {MAX_PAGES} pages, which is the limit of one directory")
            }
            Self::Time => {
                write!(
                    f,
                    "the listing takes longer than {} s, which is the limit of one directory, waiting for other large ones included",
                    MAX_LISTING_TIME.as_secs()
                )
            }
            Self::Item => write!(
                f,
                "one name, line or element of the listing has more than {} MiB, which is the limit",
                MAX_ITEM_BYTES >> 20
            ),
        }
    }
}

impl std::error::Error for Exceeded {}

impl From<Exceeded> for String {
    fn from(exceeded: Exceeded) -> Self {
        exceeded.to_string()
    }
}

impl Exceeded {
    /// The limit as the failure of a listing. It is not temporary: the same answer would come again.
    pub fn error(self, dir: &RemotePath) -> Error {
        Error::new("list_path", ErrorKind::Protocol).on(dir).because(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::turns::Urgency;

    #[tokio::test(start_paused = true)]
    async fn large_listings_take_turns_and_small_ones_never_wait() {
        let first = tokio::spawn(gathering(async {
            await_turn(LARGE_BYTES + 1).await;
            await_turn(LARGE_BYTES + 2).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = tokio::time::Instant::now();
        gathering(await_turn(LARGE_BYTES)).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // A waiter that gives up leaves the turn to others.
        assert!(timeout(Duration::from_secs(1), gathering(await_turn(LARGE_BYTES + 1))).await.is_err());
        gathering(await_turn(LARGE_BYTES + 1)).await;
        assert!(begun.elapsed() >= Duration::from_secs(9));
        first.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_ahead_that_is_not_small_waits_for_its_reader() {
        let urgency = Urgency::ahead();
        urgency.during(await_turn(AHEAD_BYTES)).await;
        let mut gathered = std::pin::pin!(urgency.during(gathering(await_turn(AHEAD_BYTES + 1))));
        assert!(timeout(Duration::from_secs(5), &mut gathered).await.is_err());
        urgency.raise();
        timeout(Duration::from_secs(1), gathered).await.expect("a reader waits");
    }

    #[test]
    fn a_listing_ends_at_its_limits() {
        let spent = |bytes| {
            let mut budget = Budget::default();
            (0..).find_map(|count| budget.packed(bytes).err().map(|exceeded| (count, exceeded))).expect("it ends")
        };
        assert_eq!(spent(1), (MAX_NAMES, Exceeded::Names));
        let (count, exceeded) = spent(MAX_ITEM_BYTES);
        assert!(count <= MAX_HELD_BYTES / MAX_ITEM_BYTES && exceeded.to_string().contains("112 MiB"), "{exceeded}");
        assert_eq!(check_held(MAX_NAMES, 24 * MAX_NAMES), Ok(()));
        assert_eq!(check_held(300_000, 77 * 300_000), Ok(()));
        assert_eq!(check_held(300_000, 80 * 300_000), Err(Exceeded::Bytes));
        let mut budget = Budget::default();
        let pages = std::iter::repeat_with(|| budget.page()).take_while(std::result::Result::is_ok).count();
        assert_eq!(pages, MAX_PAGES);
    }
}
