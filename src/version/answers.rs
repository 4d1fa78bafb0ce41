//! `Answers`: whether several answers of a source brought the same blocks, where only a whole copy proves which version they are of, and none
//! is kept. It holds no bytes.

use crate::cache::block::hash;

/// So much of a block's hash tells blocks apart: a file of 100 GiB costs 13 MB.
type Short = [u8; 16];

/// Which blocks came, in whatever answer.
#[derive(Debug, Default)]
pub struct Answers {
    /// One for each block; zeros for one that has not come.
    came: Vec<Short>,
}

impl Answers {
    /// Notes a block that comes. Returns whether it is the same as in the answers before.
    pub fn agree(&mut self, block: usize, bytes: &[u8]) -> bool {
        let short: Short = *hash(bytes).first_chunk().expect("a hash is longer");
        if self.came.len() <= block {
            self.came.resize(block + 1, Short::default());
        }
        let known = std::mem::replace(&mut self.came[block], short);
        known == Short::default() || known == short
    }

    /// What comes next need not be the same.
    pub fn clear(&mut self) {
        self.came = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_agrees_with_itself_and_with_nothing_else() {
        let mut answers = Answers::default();
        assert!(answers.agree(3, b"three") && answers.agree(0, b"zero"));
        assert!(answers.agree(3, b"three") && !answers.agree(3, b"other") && answers.agree(0, b"zero"));
        answers.clear();
        assert!(answers.agree(0, b"other"));
    }
}
