//! `Usual`: the time that reads take on average, by how many blocks they are of. It does not know who answers them.

use std::time::Duration;

use parking_lot::Mutex;

use super::sealed::BLOCKS;

/// What is known of reads of up to 1, 2, 4, 8, 16 and 32 blocks.
const LENGTHS: usize = BLOCKS.ilog2() as usize + 1;

/// The times of reads.
#[derive(Debug, Default)]
pub(super) struct Usual(Mutex<[Option<Duration>; LENGTHS]>);

impl Usual {
    /// What a read of so many blocks takes, if there were any.
    pub(super) fn of(&self, blocks: usize) -> Option<Duration> {
        self.0.lock()[class(blocks)]
    }

    /// What it takes at least, as far as is known: no less than one of fewer blocks.
    pub(super) fn at_least(&self, blocks: usize) -> Duration {
        self.0.lock()[..=class(blocks)].iter().flatten().max().copied().unwrap_or_default()
    }

    /// Notes what one has taken. One that was longer than an extent counts as one of an extent.
    pub(super) fn note(&self, blocks: usize, took: Duration) {
        let longer = u32::try_from(blocks.div_ceil(BLOCKS)).unwrap_or(u32::MAX).max(1);
        let took = took / longer;
        average(&mut self.0.lock()[class(blocks)], took);
    }

    /// Notes that one takes longer than that.
    pub(super) fn note_longer(&self, blocks: usize, than: Duration) {
        if self.of(blocks).is_none_or(|usual| usual < than) {
            self.note(blocks, than);
        }
    }
}

/// Adds a time to an average, in which those before count for seven eighths.
pub(super) fn average(usual: &mut Option<Duration>, took: Duration) {
    *usual = Some(usual.map_or(took, |before| (before * 7 + took) / 8));
}

/// The place of so many blocks among the lengths.
fn class(blocks: usize) -> usize {
    let log = blocks.max(1).next_power_of_two().ilog2() as usize;
    log.min(LENGTHS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_known_by_their_length() {
        assert_eq!([0, 1, 2, 3, 4, 5, 16, 17, 32, 99].map(class), [0, 0, 1, 2, 2, 3, 4, 5, 5, 5]);
        let (usual, time) = (Usual::default(), Duration::from_millis);
        assert_eq!((usual.of(1), usual.at_least(32)), (None, Duration::ZERO));
        usual.note(8, time(80));
        usual.note(64, time(120));
        assert_eq!((usual.of(5), usual.of(4), usual.of(32)), (Some(time(80)), None, Some(time(60))));
        assert_eq!((usual.at_least(4), usual.at_least(8)), (Duration::ZERO, time(80)));
        assert_eq!(usual.at_least(32), time(80), "a longer one takes no less");
        usual.note(8, time(160));
        assert_eq!(usual.of(8), Some(time(90)));
        usual.note_longer(8, time(10));
        assert_eq!(usual.of(8), Some(time(90)));
        usual.note_longer(8, time(170));
        assert_eq!(usual.of(8), Some(time(100)));
    }
}
