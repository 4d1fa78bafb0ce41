//! `Streams`: recognises readers that go forward, so that blocks are there before they are asked for. It retrieves nothing.

use std::ops::Range;

/// How many readers of one file are told apart.
const READERS: usize = 32;

/// How far a read may be from where a reader was expected, in blocks: the kernel reads ahead in parallel, so reads arrive
/// a little out of order.
const TOLERANCE: usize = 8;

/// How many blocks (16 MiB) are retrieved ahead of a reader at most, until it has read so much that a part of that is more.
const AHEAD_AT_FIRST: usize = 128;

/// The part of what a reader has read that is retrieved ahead of it at most: if it stops, so much was in vain.
const IN_VAIN: usize = 16;

/// So many fourths of that are asked for while the reader waits for the line: of what comes side by side, about half has come by the time that
/// it is needed. Six of them moved more than 280 MiB for 256 over SFTP.
const FOURTHS_WHILE_WAITING: usize = 5;

/// A reader that was not heard of for so many reads of others has stopped.
const RECENT: u64 = 64;

/// The sequential readers of one version, the one that read last first.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Stream>,
    /// How many reads there were.
    reads: u64,
    /// The blocks of the latest, if somebody reads.
    latest: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// The block after the last one read.
    next: usize,
    /// How many blocks to have ready beyond it.
    ahead: usize,
    /// How many blocks it has gone forward.
    forward: usize,
    /// Which read was its last.
    read: u64,
    /// The block before which it waited last for what had not come.
    waited: Option<usize>,
    /// How far ahead of it at most, while it waits.
    most: usize,
}

/// How a reader goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// How many blocks beyond its latest read should be retrieved too.
    pub ahead: usize,
    /// How many, if it has waited for some of those that it read just now: the line is slower than the reader.
    pub waiting: Option<usize>,
}

/// How far ahead of a reader is retrieved at most.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// How many blocks.
    pub ahead: usize,
    /// How many while it waits.
    pub waiting: usize,
}

impl Streams {
    /// Notes a read of `blocks`, of which some have not come if it `waits`, and answers how many blocks beyond it should be retrieved too.
    ///
    /// A reader that goes forward gets twice as many each time. A jump begins a new stream with none, and leaves the others alone.
    pub fn follow(&mut self, blocks: &Range<usize>, waits: bool, most: Most) -> Forward {
        let mut stream = match self.streams.iter().position(|stream| stream.is_near(blocks)) {
            Some(known) => self.streams.remove(known),
            None => Stream { next: usize::MAX, ahead: 0, forward: 0, read: 0, waited: None, most: 0 },
        };
        self.reads += 1;
        self.latest = blocks.clone();
        stream.read = self.reads;
        if stream.next == usize::MAX {
            stream.next = blocks.end;
        } else if blocks.end > stream.next {
            stream.forward += blocks.end - stream.next;
            stream.next = blocks.end;
            stream.ahead = (stream.ahead * 2).max(1);
        }
        stream.most = most.waiting;
        stream.ahead = stream.ahead.min(most.ahead).min(stream.in_vain());
        stream.waited = if waits { Some(blocks.end) } else { stream.waited };
        self.streams.insert(0, stream);
        self.streams.truncate(READERS);
        stream.forward()
    }

    /// The blocks of the latest read, and how its reader goes forward; `None` if nobody reads.
    pub fn latest(&self) -> Option<(Range<usize>, Forward)> {
        let stream = self.streams.first().filter(|_| !self.latest.is_empty())?;
        Some((self.latest.clone(), stream.forward()))
    }

    /// Nobody reads any longer.
    pub fn stop(&mut self) {
        self.latest = 0..0;
    }

    /// Whether a read of `blocks` is of none of the readers that are known.
    pub fn is_jump(&self, blocks: &Range<usize>) -> bool {
        !self.streams.iter().any(|stream| stream.is_near(blocks))
    }

    /// Whether the reader that read last is the only one for a while.
    pub fn is_alone(&self) -> bool {
        self.streams.iter().skip(1).all(|stream| stream.read + RECENT < self.reads)
    }
}

impl Stream {
    /// How many blocks ahead of it may come in vain.
    fn in_vain(&self) -> usize {
        AHEAD_AT_FIRST.max(self.forward / IN_VAIN)
    }

    fn forward(&self) -> Forward {
        let waits = self.waited.is_some_and(|waited| self.next <= waited + self.ahead);
        let most = (self.in_vain() * FOURTHS_WHILE_WAITING / 4).min(self.most);
        let waiting = waits.then(|| (self.ahead * 2).min(most).max(self.ahead));
        Forward { ahead: self.ahead, waiting }
    }

    /// Whether a read of `blocks` may be of this reader.
    fn is_near(&self, blocks: &Range<usize>) -> bool {
        blocks.start <= self.next + TOLERANCE && blocks.end + TOLERANCE >= self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many blocks beyond a read of `blocks` should be retrieved, if it did not wait.
    fn follow(streams: &mut Streams, blocks: &Range<usize>, limit: usize) -> usize {
        streams.follow(blocks, false, Most { ahead: limit, waiting: limit }).ahead
    }

    #[test]
    fn a_reader_that_goes_forward_gets_twice_as_much_each_time() {
        let mut streams = Streams::default();
        let ahead: Vec<_> = (0..6).map(|block| follow(&mut streams, &(block..block + 1), 8)).collect();
        assert_eq!(ahead, [0, 1, 2, 4, 8, 8]);
    }

    #[test]
    fn what_is_ahead_of_a_reader_is_little_next_to_what_it_has_read() {
        let mut streams = Streams::default();
        let ahead: Vec<_> = (0..8192).map(|block| follow(&mut streams, &(block..block + 1), 1024)).collect();
        assert_eq!([ahead[10], ahead[2000], ahead[4096], ahead[8191]], [128, 128, 256, 511]);
    }

    #[test]
    fn the_latest_read_is_known_until_nobody_reads() {
        let mut streams = Streams::default();
        assert_eq!(streams.latest(), None);
        for block in [99, 0, 1, 2] {
            follow(&mut streams, &(block..block + 1), 8);
        }
        assert_eq!(streams.latest(), Some((2..3, Forward { ahead: 2, waiting: None })));
        streams.stop();
        assert_eq!(streams.latest(), None);
        follow(&mut streams, &(3..4), 8);
        assert_eq!(streams.latest(), Some((3..4, Forward { ahead: 4, waiting: None })));
    }

    #[test]
    fn a_reader_waits_until_it_has_read_what_was_ahead_without_waiting() {
        let mut streams = Streams::default();
        let most = Most { ahead: 4, waiting: 6 };
        let mut waiting = |block: usize, waits| streams.follow(&(block..block + 1), waits, most).waiting;
        let waits = [true, false, false, true].into_iter().chain([false; 6]);
        let waiting: Vec<_> = (0..).zip(waits).map_while(|(block, waits)| waiting(block, waits)).collect();
        assert_eq!(waiting, [0, 2, 4, 6, 6, 6, 6, 6]);
    }

    #[test]
    fn a_jump_is_away_from_every_reader() {
        let mut streams = Streams::default();
        assert!(streams.is_jump(&(99..100)));
        follow(&mut streams, &(0..1), 8);
        assert!(streams.is_jump(&(99..100)) && !streams.is_jump(&(1..2)));
        follow(&mut streams, &(98..99), 8);
        assert!(!streams.is_jump(&(99..100)));
    }

    #[test]
    fn reading_the_same_block_again_changes_nothing() {
        let mut streams = Streams::default();
        follow(&mut streams, &(0..1), 8);
        assert_eq!(follow(&mut streams, &(0..1), 8), 0);
    }

    #[test]
    fn a_jump_costs_nothing_ahead_and_resets_nobody() {
        let mut streams = Streams::default();
        for block in 0..4 {
            follow(&mut streams, &(block..block + 1), 64);
        }
        assert_eq!(follow(&mut streams, &(1000..1001), 64), 0);
        assert_eq!(follow(&mut streams, &(4..5), 64), 8);
        assert_eq!(follow(&mut streams, &(1001..1002), 64), 1);
    }

    #[test]
    fn a_reader_is_alone_when_others_have_stopped() {
        let mut streams = Streams::default();
        follow(&mut streams, &(1000..1001), 64);
        assert!(streams.is_alone());
        for block in 0..64 {
            follow(&mut streams, &(block..block + 1), 64);
            assert!(!streams.is_alone());
        }
        follow(&mut streams, &(64..65), 64);
        assert!(streams.is_alone());
    }

    #[test]
    fn reads_that_arrive_out_of_order_are_one_reader() {
        let mut streams = Streams::default();
        for blocks in [0..1, 2..3, 1..2, 4..5, 3..4] {
            follow(&mut streams, &blocks, 64);
        }
        assert_eq!(streams.streams.len(), 1);
    }
}
