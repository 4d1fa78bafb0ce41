//! `Stamp`: size and time, which tell two versions of a file apart over SFTP. It sends no request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::codec::{Attrs, FileType};
use crate::digest::{Digest, UNSETTLED};
use crate::sources::observation;

/// The protocol keeps whole seconds: versions of the same second and size look the same.
const TICK: Duration = Duration::from_secs(2);

/// By how much a server's clock may be behind ours without a change going unnoticed. SFTP tells no time, and machines that set
/// their clocks by the network are far closer. A version counts as settled that much later, which costs a retrieval at most.
const SKEW: Duration = Duration::from_secs(8);

/// A time so far ahead of our clock is no recent change by any clock.
const FAR_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Begins the text of every digest here.
const PREFIX: &str = "stat:";

/// Size and time of a file, which tell two versions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bytes.
    pub(super) size: u64,
    /// Whole seconds since 1970.
    modified: u32,
}

impl Stamp {
    /// Of a regular file; none of anything else, or if the server does not tell enough.
    pub(super) fn of(attrs: &Attrs) -> Option<Self> {
        if attrs.file_type() != FileType::Regular {
            return None;
        }
        Some(Self { size: attrs.size?, modified: attrs.modified? })
    }

    /// Of the version that a digest of this source asks for.
    pub(super) fn parse(digest: &Digest) -> Option<Self> {
        let text = digest.base();
        let (size, modified) = text.strip_prefix(PREFIX)?.split_once('-')?;
        Some(Self { size: size.parse().ok()?, modified: modified.parse().ok()? })
    }

    pub(super) fn modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.modified.into())
    }

    /// The digest, as seen when our clock said `now`.
    pub(super) fn digest(&self, now: SystemTime) -> Digest {
        let mut text = format!("{PREFIX}{}-{}", self.size, self.modified);
        if self.younger_than(TICK + SKEW, now) {
            text += &format!("{UNSETTLED}{}", observation());
        }
        Digest::new(text)
    }

    fn younger_than(&self, age: Duration, now: SystemTime) -> bool {
        match now.duration_since(self.modified()) {
            Ok(passed) => passed < age,
            Err(ahead) => ahead.duration() < FAR_AHEAD,
        }
    }

    /// How long to wait until a change from then on would show in the time, if the clocks agree.
    pub(super) fn settles_in(&self, now: SystemTime) -> Duration {
        if !self.younger_than(TICK, now) {
            return Duration::ZERO;
        }
        // However far ahead the server's clock is, its next second is at most this far.
        (self.modified() + TICK).duration_since(now).unwrap_or_default().min(TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { size: 3, modified: 1_700_000_000 };

    fn after(seconds: i64) -> SystemTime {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { STAMP.modified() - distance } else { STAMP.modified() + distance }
    }

    #[test]
    fn a_settled_version_has_one_digest() {
        for age in [10, 1_000_000, -86_400] {
            assert_eq!(STAMP.digest(after(age)).as_str(), "stat:3-1700000000", "{age}");
        }
    }

    #[test]
    fn a_version_that_may_still_change_never_has_a_digest_twice() {
        for age in [0, 1, 9, -1, -3_600] {
            let digest = STAMP.digest(after(age));
            assert_ne!(digest, STAMP.digest(after(age)), "{age}");
            assert_eq!(Stamp::parse(&digest), Some(STAMP));
        }
    }

    #[test]
    fn waiting_for_a_version_to_settle_is_short_and_rare() {
        assert_eq!(STAMP.settles_in(after(2)), Duration::ZERO);
        assert_eq!(STAMP.settles_in(after(1)), Duration::from_secs(1));
        assert_eq!(STAMP.settles_in(after(-3_600)), TICK);
        assert_eq!(STAMP.settles_in(after(-86_400)), Duration::ZERO);
    }

    #[test]
    fn digests_of_others_are_no_stamps() {
        for text in ["etag:1-2", "stat:1", "stat:1-2-3", "stat:-1-2", ""] {
            assert_eq!(Stamp::parse(&Digest::new(text)), None, "{text}");
        }
    }
}
