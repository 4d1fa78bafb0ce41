//! `Stamp`: what tells two versions of a local file apart. It opens nothing.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digest::UNSETTLED;

/// The kernel stamps files with a clock that ticks every 1 to 10 ms; two versions in one tick share their times.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// The same for file systems that keep whole seconds (or two, like FAT).
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Size, times, device and inode of a file, which tell two versions apart.
pub(super) struct Stamp {
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    /// Nanoseconds since 1970; no program can set it back.
    changed: i128,
    device: u64,
    inode: u64,
}

impl Stamp {
    pub(super) fn of(stat: &rustix::fs::Statx) -> Self {
        let nanoseconds =
            |time: rustix::fs::StatxTimestamp| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        Self {
            size: stat.stx_size,
            modified: nanoseconds(stat.stx_mtime),
            changed: nanoseconds(stat.stx_ctime),
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
        }
    }

    pub(super) fn of_metadata(metadata: &Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self {
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    pub(super) fn modified(&self) -> Option<SystemTime> {
        let time = |nanoseconds: i128| Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?));
        match self.modified {
            0.. => UNIX_EPOCH.checked_add(time(self.modified)?),
            _ => UNIX_EPOCH.checked_sub(time(-self.modified)?),
        }
    }

    /// How much longer a change could go unnoticed, because it would get the same times.
    pub(super) fn unsettled_for(&self, now: SystemTime) -> Duration {
        let coarse = self.changed % 1_000_000_000 == 0 && self.modified % 1_000_000_000 == 0;
        let tick = if coarse { COARSE_TICK } else { TICK };
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        let left = self.changed + tick.as_nanos() as i128 - now;
        match u64::try_from(left) {
            // Another computer's clock that is far ahead never settles; its times still tell versions apart.
            Ok(left) if left <= 2 * tick.as_nanos() as u64 => Duration::from_nanos(left),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn base(&self) -> String {
        format!("stat:{}-{}-{}-{}-{}", self.size, self.modified, self.changed, self.device, self.inode)
    }

    pub(super) fn digest(&self, now: SystemTime) -> String {
        let mut text = self.base();
        if !self.unsettled_for(now).is_zero() {
            let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            text += &format!("{UNSETTLED}{}", now.as_nanos());
        }
        text
    }
}
