//! `Gather`: blocks as they come from the source, in several requests perhaps, until all of one extent are here. It gives nothing away.

use std::collections::BTreeMap;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use super::sealed::Extent;

/// The bytes of blocks that wait for others of their extent; beyond that, those that have waited for longest are dropped.
const MAX_BYTES: usize = 64 << 20;

/// Extents of which some blocks are here.
#[derive(Debug)]
pub(super) struct Gather(Mutex<State>);

#[derive(Debug)]
struct State {
    extents: LruCache<String, BTreeMap<usize, Bytes>>,
    bytes: usize,
}

impl Default for Gather {
    fn default() -> Self {
        Self(Mutex::new(State { extents: LruCache::unbounded(), bytes: 0 }))
    }
}

impl State {
    fn count_out(&mut self, blocks: &BTreeMap<usize, Bytes>) {
        self.bytes -= blocks.values().map(Bytes::len).sum::<usize>();
    }
}

impl Gather {
    /// Takes a block. All blocks of its extent, in order, if this was the last one.
    pub(super) fn add(&self, extent: &Extent, block: usize, content: Bytes) -> Option<Vec<Bytes>> {
        let mut state = self.0.lock();
        let length = content.len();
        let blocks = state.extents.get_or_insert_mut(extent.name.clone(), BTreeMap::new);
        let before = blocks.insert(block, content).map_or(0, |before| before.len());
        let is_whole = blocks.len() == extent.blocks.len();
        state.bytes = state.bytes + length - before;
        if is_whole {
            let blocks = state.extents.pop(&extent.name)?;
            state.count_out(&blocks);
            return Some(blocks.into_values().collect());
        }
        while state.bytes > MAX_BYTES {
            let (_, blocks) = state.extents.pop_lru()?;
            state.count_out(&blocks);
        }
        None
    }

    /// Drops what is here of an extent.
    pub(super) fn discard(&self, name: &str) {
        let mut state = self.0.lock();
        if let Some(blocks) = state.extents.pop(name) {
            state.count_out(&blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;
    use crate::cache::block::BLOCK;
    use crate::digest::Digest;
    use crate::path::RemotePath;
    use crate::shared::CircleKey;
    use crate::shared::sealed::EXTENT;

    fn extent(size: u64, block: usize) -> Extent {
        let keys = CircleKey::parse(&"5".repeat(64)).expect("a key").derive(None);
        Extent::around(&keys, &Key::new("s", &RemotePath::root(), &Digest::new("etag:1")), size, block)
    }

    fn block() -> Bytes {
        vec![0; BLOCK as usize].into()
    }

    #[test]
    fn an_extent_is_whole_in_whatever_order_its_blocks_come() {
        let (gather, extent) = (Gather::default(), extent(3 * BLOCK, 0));
        assert_eq!(gather.add(&extent, 2, "c".into()), None);
        assert_eq!(gather.add(&extent, 0, "a".into()), None);
        assert_eq!(gather.add(&extent, 0, "a".into()), None, "once more the same");
        assert_eq!(gather.add(&extent, 1, "b".into()), Some(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(gather.0.lock().bytes, 0);
        gather.add(&extent, 1, "b".into());
        gather.discard(&extent.name);
        assert_eq!(gather.0.lock().bytes, 0);
    }

    #[test]
    fn extents_that_stay_partial_take_so_much_memory_and_no_more() {
        let gather = Gather::default();
        for number in 0..1000 {
            assert_eq!(gather.add(&extent(2000 * EXTENT, number * 32), number * 32, block()), None);
        }
        assert_eq!(gather.0.lock().bytes, MAX_BYTES);
    }
}
