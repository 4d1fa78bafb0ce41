//! `Owed`: the bytes that were asked for ahead of the readers of one source and have not been used. It decides nothing.

use tokio::time::Instant;

use super::plan::{IN_VAIN, Told};

/// In so many seconds it is forgotten that as much came in vain as may.
const FORGOTTEN: f64 = 60.0;

/// Two counts of bytes that both fade.
#[derive(Debug, Default)]
pub(super) struct Owed {
    ahead: Fading,
    lost: Fading,
}

/// A number of bytes that becomes less with time. With fractions: between two opens less than one byte may fade.
#[derive(Debug, Default)]
struct Fading {
    bytes: f64,
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
        self.ahead.now() as u64
    }

    /// Bytes that were in vain for sure.
    pub(super) fn lost(&self) -> u64 {
        self.lost.now() as u64
    }
}

impl Fading {
    fn now(&self) -> f64 {
        let passed = self.at.map_or(0.0, |at| at.elapsed().as_secs_f64());
        (self.bytes - IN_VAIN as f64 * passed / FORGOTTEN).max(0.0)
    }

    fn more(&mut self, bytes: u64) {
        self.change(bytes as f64);
    }

    fn less(&mut self, bytes: u64) {
        self.change(-(bytes as f64));
    }

    fn change(&mut self, by: f64) {
        (self.bytes, self.at) = ((self.now() + by).max(0.0), Some(Instant::now()));
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
        tokio::time::advance(Duration::from_secs_f64(FORGOTTEN)).await;
        assert!((MIB..2 * MIB).contains(&owed.lost()), "{}", owed.lost());
        tokio::time::advance(Duration::from_secs_f64(FORGOTTEN)).await;
        assert_eq!(owed.lost(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_fades_however_often_files_are_opened() {
        let mut owed = Owed::default();
        owed.note(&in_vain(MIB));
        for _ in 0..10_000 {
            tokio::time::advance(Duration::from_micros(100)).await;
            owed.note(&Told::default());
        }
        // A second has passed.
        assert!((900_000..MIB - 100_000).contains(&owed.lost()), "{}", owed.lost());
    }
}
