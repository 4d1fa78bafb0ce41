//! `Owed`: the bytes that were asked for ahead of the readers of one source and have not been used. It decides nothing.

use tokio::time::Instant;

use super::plan::{IN_VAIN, Told};

/// In so many seconds it is forgotten that as much came in vain as may.
const FORGOTTEN: u64 = 60;

/// What is ahead, and what was in vain, of late.
#[derive(Debug, Default)]
pub(super) struct Owed {
    ahead: Fading,
    lost: Fading,
}

/// A number of bytes that becomes less with time.
#[derive(Debug, Default)]
struct Fading {
    bytes: u64,
    at: Option<Instant>,
}

impl Owed {
    /// An open has told this.
    pub(super) fn note(&mut self, told: &Told) {
        if told.used {
            self.ahead.less(told.bytes);
            self.lost.less(told.bytes / 10);
        } else {
            self.lost.more(told.bytes);
        }
    }

    /// So many bytes are asked for ahead of a reader.
    pub(super) fn asked(&mut self, bytes: u64) {
        self.ahead.more(bytes);
    }

    /// So many of those were not retrieved after all; if their row `is_broken`, they count as lost.
    pub(super) fn not_retrieved(&mut self, bytes: u64, is_broken: bool) {
        self.ahead.less(bytes);
        if is_broken {
            self.lost.less(bytes);
        }
    }

    /// Bytes that are ahead of readers, or were and have not been used, in all directories.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead.now()
    }

    /// Bytes that were in vain for sure.
    pub(super) fn lost(&self) -> u64 {
        self.lost.now()
    }
}

impl Fading {
    fn now(&self) -> u64 {
        let passed = self.at.map_or(0, |at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.bytes.saturating_sub(passed.saturating_mul(IN_VAIN / FORGOTTEN / 1000))
    }

    fn set(&mut self, bytes: u64) {
        (self.bytes, self.at) = (bytes, Some(Instant::now()));
    }

    fn more(&mut self, bytes: u64) {
        self.set(self.now().saturating_add(bytes));
    }

    fn less(&mut self, bytes: u64) {
        self.set(self.now().saturating_sub(bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn used(bytes: u64) -> Told {
        Told { used: true, bytes, ..Told::default() }
    }

    fn in_vain(bytes: u64) -> Told {
        Told { broken: true, bytes, ..Told::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ahead_is_owed_until_it_is_used_or_forgotten() {
        let mut owed = Owed::default();
        owed.asked(20 * MIB);
        owed.note(&used(4 * MIB));
        owed.not_retrieved(MIB, false);
        assert_eq!((owed.ahead(), owed.lost()), (15 * MIB, 0));
        owed.note(&in_vain(15 * MIB));
        owed.not_retrieved(5 * MIB, true);
        assert_eq!((owed.ahead(), owed.lost()), (10 * MIB, 10 * MIB));
        owed.note(&used(10 * MIB));
        assert_eq!((owed.ahead(), owed.lost()), (0, 9 * MIB));
        tokio::time::advance(Duration::from_secs(FORGOTTEN)).await;
        assert!((MIB..2 * MIB).contains(&owed.lost()), "{}", owed.lost());
        tokio::time::advance(Duration::from_secs(FORGOTTEN)).await;
        assert_eq!(owed.lost(), 0);
    }
}
