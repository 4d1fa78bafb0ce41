//! Reading the bytes of a copy, from its file or from memory. What was not checked yet is hashed first.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::cache::OpenCopy;
use crate::cache::block::{BLOCK, Block, blocks_of, hash};
use crate::cache::store::Store;

impl OpenCopy {
    /// Reads these bytes, hashing what was not checked yet. `None` if a block is missing, held back, or turns out damaged. Waits for the disk.
    pub fn read(&self, bytes: Range<u64>) -> Option<Bytes> {
        self.inspect();
        let read = self.read_blocks(&bytes, |block, wanted| self.read_block(block, wanted));
        if read.is_none() {
            // Check every block of the range now, so that all damaged ones are retrieved together.
            self.check(blocks_of(&bytes));
        }
        read
    }

    /// Reads these bytes if all of them wait in memory for somebody to read them.
    pub fn read_memory(&self, bytes: &Range<u64>) -> Option<Bytes> {
        self.read_blocks(bytes, |block, wanted| self.read_spilled(block, &wanted))
    }

    fn read_blocks(&self, bytes: &Range<u64>, read: impl Fn(usize, Range<u64>) -> Option<Bytes>) -> Option<Bytes> {
        let parts = blocks_of(bytes).map(|block| {
            let all = self.bytes_of(block);
            read(block, bytes.start.max(all.start)..bytes.end.min(all.end))
        });
        let mut parts: Vec<Bytes> = parts.collect::<Option<_>>()?;
        // A single part is returned without a copy.
        if parts.len() == 1 { parts.pop() } else { Some(parts.concat().into()) }
    }

    /// Reads what is wanted of one block. `None` as in [`OpenCopy::read`].
    fn read_block(&self, block: usize, wanted: Range<u64>) -> Option<Bytes> {
        let stored = !self.disk.rests() && self.look(|state| state.contents.may_serve(block)).unwrap_or(false);
        if stored && let Some(bytes) = self.read_stored(block, wanted.clone()) {
            return Some(bytes);
        }
        self.read_spilled(block, &wanted)
    }

    /// The same from memory.
    fn read_spilled(&self, block: usize, wanted: &Range<u64>) -> Option<Bytes> {
        let spilled = self.cache.spill.get(&self.key, block)?;
        let within = within(block, wanted);
        if within.end == spilled.len() {
            self.cache.spill.was_read(&self.key, block);
        }
        Some(spilled.slice(within))
    }

    /// The same from the file, be the block held back or not.
    pub(super) fn read_stored(&self, block: usize, wanted: Range<u64>) -> Option<Bytes> {
        let (known, file, losses) = {
            let state = self.state.lock();
            (state.contents.block(block), state.file.clone(), self.running.losses())
        };
        let file = file?;
        let read = match known {
            Block::Missing => return None,
            Block::Checked => Store::read(&file, &wanted),
            Block::Unchecked(expected) => match Store::read(&file, &self.bytes_of(block)) {
                Ok(bytes) if hash(&bytes) == expected => {
                    self.checked(block);
                    Ok(bytes.slice(within(block, &wanted)))
                }
                Ok(_) => {
                    self.damaged(block, "its bytes are not those that were stored");
                    return None;
                }
                Err(e) => Err(e),
            },
        };
        read.inspect_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(block, "the file ends before it"),
            _ => self.shut(&mut self.state.lock(), e),
        })
        .ok()
        // A block that was thrown away meanwhile may have been read as a hole.
        .filter(|_| losses == self.running.losses())
    }
}

/// The place of these bytes of a file in their block.
fn within(block: usize, bytes: &Range<u64>) -> Range<usize> {
    let at = |place: u64| usize::try_from(place - block as u64 * BLOCK).expect("a block fits in memory");
    at(bytes.start)..at(bytes.end)
}
