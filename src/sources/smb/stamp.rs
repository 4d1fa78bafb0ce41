//! `Stamp`: size, times and index, which tell two versions of a file on a share apart, and the digest made of them. It sends no
//! request.

use std::time::{Duration, SystemTime};

use smb2::pack::FileTime;

use crate::digest::{Digest, UNSETTLED};
use crate::sources::observation;

/// Servers stamp files with a clock that ticks every 1 to 16 ms; two versions in one tick share their times.
const TICK: u64 = 500_000;
/// The same for file systems that keep whole seconds (or two, like FAT).
const COARSE_TICK: u64 = 20_000_000;
/// A time so far ahead of the server's clock is no recent change.
const SKEW: u64 = SECOND;
/// Times here count 100 ns since 1601, as the protocol does.
const SECOND: u64 = 10_000_000;

/// Size, times and index of a file, which tell two versions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// In bytes.
    pub(super) size: u64,
    /// In 100 ns since 1601, like `changed`.
    pub(super) modified: u64,
    /// Moves with the file's attributes too, where the server keeps it; Samba 4.17 repeats `modified`.
    pub(super) changed: u64,
    /// The file's number on its volume; none where listings do not have it.
    pub(super) index: Option<u64>,
}

impl Stamp {
    /// The digest of a file that had this stamp when the server's clock said `now`.
    pub(super) fn digest(&self, now: u64) -> Digest {
        let mut text = self.base();
        if !self.unsettled_for(now).is_zero() {
            text += &format!("{UNSETTLED}{}", observation());
        }
        Digest::new(text)
    }

    /// Whether `digest` is one of this version.
    pub(super) fn is_of(&self, digest: &Digest) -> bool {
        digest.base() == self.base()
    }

    /// How much longer a change could go unnoticed, because it would get the same times.
    pub(super) fn unsettled_for(&self, now: u64) -> Duration {
        let latest = self.modified.max(self.changed);
        let coarse = self.modified.is_multiple_of(SECOND) && self.changed.is_multiple_of(SECOND);
        let tick = if coarse { COARSE_TICK } else { TICK };
        match latest.saturating_add(tick).saturating_sub(now) {
            // A time that was set far ahead never settles; it still tells versions apart.
            left if left > tick + SKEW => Duration::ZERO,
            left => Duration::from_nanos(left * 100),
        }
    }

    /// The time of the last change of its bytes; none if the server keeps none.
    pub(super) fn modified_time(&self) -> Option<SystemTime> {
        FileTime(self.modified).to_system_time()
    }

    fn base(&self) -> String {
        let Self { size, modified, changed, index } = self;
        match index {
            Some(index) => format!("stat:{size}-{modified}-{changed}-{index}"),
            None => format!("stat:{size}-{modified}-{changed}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 134_000_000_000_000_007;

    fn stamp(modified: u64) -> Stamp {
        Stamp { size: 3, modified, changed: modified, index: Some(7) }
    }

    #[test]
    fn everything_that_a_server_tells_is_in_the_digest() {
        let settled = stamp(NOW - SECOND);
        let digest = settled.digest(NOW);
        assert_eq!(digest, settled.digest(NOW + SECOND));
        for other in [
            Stamp { size: 4, ..settled },
            Stamp { modified: settled.modified + 1, ..settled },
            Stamp { changed: settled.changed + 1, ..settled },
            Stamp { index: Some(8), ..settled },
        ] {
            assert_ne!(other.digest(NOW), digest);
            assert!(!other.is_of(&digest));
        }
    }

    #[test]
    fn a_version_that_may_still_change_never_equals_a_later_one() {
        let fresh = stamp(NOW - TICK / 2);
        let digest = fresh.digest(NOW);
        assert_ne!(digest, fresh.digest(NOW + 1));
        assert!(fresh.is_of(&digest));
        assert_eq!(fresh.unsettled_for(NOW), Duration::from_millis(25));
        let whole_seconds = stamp(NOW - NOW % SECOND);
        assert!(whole_seconds.unsettled_for(NOW) > Duration::from_secs(1));
    }

    #[test]
    fn a_time_far_ahead_is_settled() {
        assert_eq!(stamp(NOW + 10 * SECOND).unsettled_for(NOW), Duration::ZERO);
        assert_eq!(stamp(u64::MAX).unsettled_for(NOW), Duration::ZERO);
    }

    #[test]
    fn a_time_that_is_not_kept_is_none() {
        assert_eq!(stamp(0).modified_time(), None);
    }
}
