//! `Budget`: what one listing may take, wherever its entries are gathered. It knows no source.
//!
//! A server decides how long its listings are, and all sources share one process. Beyond the budget a listing fails, with the limit in
//! the message; the folder keeps its last known names, and others do not notice.

use std::fmt;
use std::time::Duration;

use super::Entry;
use crate::error::{Error, ErrorKind};
use crate::path::RemotePath;

/// The most names of one directory.
pub const MOST_NAMES: usize = 500_000;

/// The most bytes that one listing takes in memory while it is gathered: 300,000 names with 150 bytes of name, path and digest each.
pub const MOST_BYTES: usize = 96 << 20;

/// The most pages, where a server tells a listing in pages: those of S3 and Azure have a thousand names and more.
pub const MOST_PAGES: usize = 5_000;

/// The longest that one listing may take, however lively it is. The timeout ends one that is silent.
pub const LONGEST: Duration = Duration::from_secs(600);

/// The most bytes of one name with all that is told of it, of one line or one element of an answer.
pub const LARGEST_ITEM: usize = 1 << 20;

/// What an entry takes in memory beside its bytes: itself, and what three allocations cost.
const ENTRY: usize = size_of::<Entry>() + 3 * 24;

/// What is left of the limits of one listing.
#[derive(Debug)]
pub struct Budget {
    names: usize,
    bytes: usize,
    pages: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { names: MOST_NAMES, bytes: MOST_BYTES, pages: MOST_PAGES }
    }
}

impl Budget {
    /// One more name; `bytes` is what is told of it.
    ///
    /// # Errors
    /// If this is more than one listing may have.
    pub fn name(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.names = self.names.checked_sub(1).ok_or(Exceeded::Names)?;
        self.bytes = self.bytes.checked_sub(ENTRY + bytes).ok_or(Exceeded::Bytes)?;
        Ok(())
    }

    /// One more page.
    ///
    /// # Errors
    /// As above.
    pub fn page(&mut self) -> Result<(), Exceeded> {
        self.pages = self.pages.checked_sub(1).ok_or(Exceeded::Pages)?;
        Ok(())
    }
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
                write!(f, "the listing has more than {MOST_NAMES} names, which is the limit of one directory")
            }
            Self::Bytes => {
                write!(f, "the listing takes more than {} MiB, which is the limit of one directory", MOST_BYTES >> 20)
            }
            Self::Pages => {
                write!(f, "the listing has more than {MOST_PAGES} pages, which is the limit of one directory")
            }
            Self::Time => {
                write!(f, "the listing takes longer than {} s, which is the limit of one directory", LONGEST.as_secs())
            }
            Self::Item => write!(
                f,
                "one name, line or element of the listing has more than {} MiB, which is the limit",
                LARGEST_ITEM >> 20
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
    /// As the failure of a listing. It is not temporary: asked again, the server would say as much.
    pub fn error(self, dir: &RemotePath) -> Error {
        Error::new("list_path", ErrorKind::Protocol).on(dir).because(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_ends_at_its_limits() {
        let spent = |bytes| {
            let mut budget = Budget::default();
            (0..).find_map(|count| budget.name(bytes).err().map(|exceeded| (count, exceeded))).expect("it ends")
        };
        assert_eq!(spent(0), (MOST_NAMES, Exceeded::Names));
        assert!(spent(150).0 > 300_000);
        let (count, exceeded) = spent(LARGEST_ITEM);
        assert!(count <= MOST_BYTES / LARGEST_ITEM && exceeded.to_string().contains("96 MiB"), "{exceeded}");
        let mut budget = Budget::default();
        let pages = std::iter::repeat_with(|| budget.page()).take_while(std::result::Result::is_ok).count();
        assert_eq!(pages, MOST_PAGES);
    }
}
