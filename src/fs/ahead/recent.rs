//! `Recent`: how much of what was retrieved ahead was used, of late. It decides nothing.

/// After so many what was counted before counts half.
const REMEMBERED: u64 = 256;

/// So many in vain say nothing yet.
const FIRST_IN_VAIN: u64 = 16;

/// How many were used and in vain, of late.
#[derive(Debug, Default)]
pub(super) struct Recent {
    used: u64,
    in_vain: u64,
}

impl Recent {
    pub(super) fn note(&mut self, used: u64, in_vain: u64) {
        if self.used + self.in_vain > REMEMBERED {
            (self.used, self.in_vain) = (self.used / 2, self.in_vain / 2);
        }
        self.used += used;
        self.in_vain += in_vain;
    }

    /// Whether they are seldom used.
    pub(super) fn is_doubted(&self) -> bool {
        self.in_vain > FIRST_IN_VAIN + self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_doubted_while_more_was_in_vain_than_used_of_late() {
        let mut recent = Recent::default();
        recent.note(0, FIRST_IN_VAIN);
        assert!(!recent.is_doubted(), "so little says nothing");
        recent.note(0, 1);
        assert!(recent.is_doubted());
        recent.note(1, 0);
        assert!(!recent.is_doubted());
        // Old counts weigh ever less, however large they were.
        (0..100).for_each(|_| recent.note(100, 0));
        (0..4).for_each(|_| recent.note(0, 100));
        assert!(recent.is_doubted());
        (0..4).for_each(|_| recent.note(100, 0));
        assert!(!recent.is_doubted());
    }
}
