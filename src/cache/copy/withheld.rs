//! `Withheld`: blocks of a copy that are not to be read before all of it is proven. It knows no bytes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Blocks of a copy that are not to be read before all of it is proven, since they may be wrong. The index does not hear of what is written
/// meanwhile, so that they count for nothing if the copy is closed, or the process killed, before that.
#[derive(Debug, Default)]
pub struct Withheld {
    blocks: Mutex<BTreeSet<usize>>,
    lifted: AtomicUsize,
}

impl Withheld {
    /// Withholds this block from now on.
    pub fn add(&self, block: usize) {
        self.blocks.lock().insert(block);
    }

    /// Withholds nothing any more: the copy is proven, or its blocks are thrown away.
    pub fn lift(&self) {
        let mut blocks = self.blocks.lock();
        if !blocks.is_empty() {
            // Counted first, so that whoever finds a block withheld no more finds it counted.
            self.lifted.fetch_add(1, Ordering::AcqRel);
            blocks.clear();
        }
    }

    /// Whether one of these blocks is withheld.
    pub fn has(&self, blocks: &Range<usize>) -> bool {
        self.blocks.lock().range(blocks.clone()).next().is_some()
    }

    /// Whether nothing is withheld.
    pub fn is_empty(&self) -> bool {
        self.blocks.lock().is_empty()
    }

    /// How often it was lifted. Blocks that were read while this did not change may be shown if they are not withheld after that.
    pub fn lifted(&self) -> usize {
        self.lifted.load(Ordering::Acquire)
    }
}
