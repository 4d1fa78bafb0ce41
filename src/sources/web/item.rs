//! `Item`: one name in an index, whatever the index looks like.

use crate::source::packed::Reader;
use crate::sources::heap::Pack;

/// One name in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: Vec<u8>,
    pub(super) directory: bool,
    /// In bytes, where the index is exact.
    pub(super) size: Option<u64>,
    /// In seconds since 1970, where the index is exact.
    pub(super) modified: Option<i64>,
}

impl Pack for Item {
    fn pack(&self, out: &mut Vec<u8>) {
        self.name.pack(out);
        self.directory.pack(out);
        self.size.pack(out);
        self.modified.pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        let (name, directory) = (Pack::unpack(packed), Pack::unpack(packed));
        Self { name, directory, size: Pack::unpack(packed), modified: Pack::unpack(packed) }
    }
}
