//! `Request`: a run of blocks that is being retrieved. Its bytes are cut into blocks as they arrive, and put into the copy as fast as its
//! readers want them. It decides not which requests are made.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::confirmations::Ended;
use super::pace::Stopwatch;
use super::plan::{Limit, Planned, UnderWay};
use super::{OpenVersion, SMALL, Version};
use crate::cache::Stored;
use crate::cache::block::{BLOCK, bytes_of};
use crate::error::{Error, ErrorKind, Result};
use crate::source::retry::retry_read;
use crate::source::turns::Urgency;
use crate::source::{Capabilities, Retrieval, Sink};

/// A request that stands in the way of others ends after this many blocks (32 MiB), which are worth what a request costs.
const FAIR_SHARE: usize = 256;

/// For how long a request whose reader has stopped keeps its connection. Then it is cut off, and what follows is asked for again.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a request whose reader has stopped checks whether other requests want its place.
const PAUSE_CHECK: Duration = Duration::from_secs(1);

/// The bytes that all requests of a mount may hold in memory together. Blocks without a place on disk (`cache`) come on top.
const IN_FLIGHT: u64 = 24 << 20;

/// A request for a run of blocks that is under way.
///
/// Its answer may be much longer than what its readers want yet. It is read up to a limit that goes ahead of them, and cut off when
/// they have stopped, or when what is left is being retrieved by others.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) first: usize,
    /// The block after the last one; can only shrink.
    end: AtomicUsize,
    /// Which blocks are wanted; can only grow.
    limit: watch::Sender<Limit>,
    /// A reader waits for a block that is so near, rather than asking for it anew.
    near: usize,
    pub(super) urgency: Urgency,
    /// Whether a reader waited for it when it was made.
    is_waited_for: bool,
    pub(super) progress: watch::Sender<Progress>,
    cut: Notify,
}

#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Blocks before this one can be read.
    pub(super) upto: usize,
    /// Set at the end.
    pub(super) result: Option<Result<()>>,
}

impl Request {
    /// A request as planned, of which nothing has come yet.
    pub(super) fn new(planned: Planned) -> Self {
        let Planned { blocks, limit, near, waited_for } = planned;
        let progress = watch::Sender::new(Progress { upto: blocks.start, result: None });
        let limit = watch::Sender::new(limit);
        let urgency = if waited_for { Urgency::interactive() } else { Urgency::ahead() };
        Self {
            first: blocks.start,
            end: AtomicUsize::new(blocks.end),
            limit,
            near,
            urgency,
            is_waited_for: waited_for,
            progress,
            cut: Notify::new(),
        }
    }

    pub(super) fn end(&self) -> usize {
        self.end.load(Ordering::Relaxed)
    }

    /// The block that comes next.
    pub(super) fn upto(&self) -> usize {
        self.progress.borrow().upto
    }

    /// How far it is, for the planner.
    pub(super) fn under_way(&self) -> UnderWay {
        let next = self.upto();
        let soon = self.limit.borrow().on_disk.max(next + self.near);
        UnderWay { first: self.first, next, end: self.end(), soon }
    }

    /// Whether it brings this block, and soon enough to be waited for.
    pub(super) fn covers(&self, block: usize) -> bool {
        self.under_way().coming().contains(&block)
    }

    /// Blocks within this limit are wanted.
    pub(super) fn allow(&self, limit: Limit) {
        self.limit.send_if_modified(|before| {
            let both =
                Limit { on_disk: limit.on_disk.max(before.on_disk), in_memory: limit.in_memory.max(before.in_memory) };
            std::mem::replace(before, both) != both
        });
    }

    /// Whether it has brought everything that it was for.
    pub(super) fn is_done(&self) -> bool {
        self.upto() >= self.end()
    }

    /// Others retrieve what begins with this block.
    pub(super) fn end_before(&self, block: usize) {
        if self.upto() < block {
            self.end.fetch_min(block, Ordering::Relaxed);
        }
    }

    /// Nobody reads on: the request ends with the block that comes next; if it is one ahead that has not been sent yet, at once.
    pub(super) fn stop(&self) {
        if !self.urgency.is_interactive() && self.urgency.turn_began().is_none() {
            self.cut.notify_one();
        }
        self.end_before(self.upto() + 1);
        self.limit.send_modify(|_| ());
    }

    /// Waits for so long before the request is carried out, or until it is stopped.
    pub(super) async fn wait(&self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = self.cut.notified() => self.cut.notify_one(),
        }
    }

    /// Ends the request here, as a success. Does not return: whoever carries the request out drops what waits for this.
    async fn cut_off(&self) {
        self.cut.notify_one();
        std::future::pending().await
    }

    /// Asks the source for the blocks, and again for what is missing when the connection breaks. A copy that is complete with them is judged.
    pub(super) async fn carry_out(&self, version: &Arc<OpenVersion>) -> Result<()> {
        let OpenVersion { transfer, version: Version { path, digest, size, .. }, opened, .. } = &**version;
        let (first, end) = (self.first, self.end());
        let Capabilities { ranges, buffer, .. } = transfer.source.capabilities();
        let (sink, is_confirmed) = (tokio::sync::Mutex::new(BlockSink::new(version, self)), AtomicBool::new(false));
        let wanted = bytes_of(&(first..end), *size);
        let unconfirmed = self.may_be_unconfirmed(version).then(|| version.copy.begin_unconfirmed());
        let held = transfer.memory.reserve(buffer.min(wanted.end - wanted.start) + BLOCK).await;
        let retrieving = retry_read(
            transfer.short_break,
            || self.upto() as u64,
            async || {
                let mut sink = sink.lock().await;
                let next = if ranges { sink.next } else { first };
                // It may have become shorter meanwhile.
                sink.begin(next..self.end().max(next));
                let range = bytes_of(&(next..sink.end), *size);
                if range.is_empty() {
                    return Ok(());
                }
                let of_version = Retrieval::new(path, digest, *size, range.clone());
                let may_be_unconfirmed = unconfirmed.is_some();
                let retrieval =
                    Retrieval { urgency: self.urgency.clone(), opened: *opened, may_be_unconfirmed, ..of_version };
                let retrieved = transfer.source.retrieve_file(&retrieval, &mut *sink).await?;
                is_confirmed.store(!retrieved.is_unconfirmed, Ordering::Relaxed);
                if retrieved.modified.is_some() {
                    version.state.lock().retrieved_modified = retrieved.modified;
                }
                sink.expect_end(&range)
            },
        );
        let result = tokio::select! {
            result = retrieving => result,
            () = self.cut.notified() => {
                debug!("{path}: the request for blocks {first} to {end} was cut off");
                Ok(())
            }
        };
        drop(held);
        let sink = sink.into_inner();
        sink.stopwatch.stop();
        let (came, is_failed) = (first..sink.next, result.is_err());
        let ended = self.conclude(version, result, came.clone(), sink.complete).await;
        if !sink.shown.is_empty() {
            if ended.is_err() {
                self.progress.send_modify(|progress| progress.upto = first);
            }
            version.end_preview(sink.shown, ended.is_ok());
        }
        if let Some(retrieval) = unconfirmed {
            let how = if came.is_empty() || is_confirmed.into_inner() {
                Ended::Confirmed
            } else if is_failed {
                Ended::Failed
            } else {
                Ended::Unconfirmed
            };
            version.have_confirmed(retrieval, how).await;
        }
        ended
    }

    /// Whether a listing may confirm what it brings: all of a small file of which nothing is here, and for which nobody waited. A listing
    /// tells another digest of a version that has settled meanwhile.
    fn may_be_unconfirmed(&self, version: &OpenVersion) -> bool {
        let is_able = version.transfer.source.capabilities().unconfirmed;
        let is_settled = version.version.digest.unsettled_since().is_none();
        is_able && is_settled && !self.is_waited_for && version.version.size <= SMALL && !version.copy.is_begun()
    }

    /// What comes of a request with this result, which brought these blocks.
    async fn conclude(
        &self,
        version: &Arc<OpenVersion>,
        result: Result<()>,
        came: Range<usize>,
        complete: bool,
    ) -> Result<()> {
        match result {
            // Blocks that came before the source noticed the change may be of the new version: they must not be served.
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                // A reader that finds them missing before this request ends waits for its end, and makes no request of its own.
                self.progress.send_modify(|progress| progress.upto = came.start);
                if version.transfer.source.capabilities().proven_whole {
                    version.begin_anew().await;
                } else {
                    if !came.is_empty() {
                        // The kernel may have pages of them, and this version may come back.
                        version.transfer.evidence.note_retraction(*version.copy.key());
                    }
                    version.tell_disk(|copy| copy.discard_blocks(came)).await;
                }
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) if complete => version.judge(self.is_waited_for).await,
            Ok(()) => Ok(()),
        }
    }
}

/// The memory that requests under way hold: one budget for all sources of a mount.
#[derive(Debug)]
pub struct Memory {
    free: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Memory {
    fn default() -> Self {
        let units = usize::try_from(IN_FLIGHT / 1024).expect("the budget fits in memory");
        Self { free: Semaphore::new(units), waiting: AtomicUsize::new(0) }
    }
}

impl Memory {
    /// Waits until a request that holds `bytes` at most fits.
    pub(super) async fn reserve(&self, bytes: u64) -> SemaphorePermit<'_> {
        let units = u32::try_from(bytes.min(IN_FLIGHT).div_ceil(1024)).expect("the budget is counted in 32 bits");
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let held = self.free.acquire_many(units).await.expect("the semaphore is never closed");
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        held
    }

    /// Whether requests wait for what others hold: who can end early should.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Cuts what arrives into blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The beginning of the block that comes next.
    begun: BytesMut,
}

impl Blocks {
    /// The next block, of `length` bytes, once they are there; they are taken from `arrived`.
    pub(super) fn next(&mut self, arrived: &mut Bytes, length: u64) -> Option<Bytes> {
        let length = usize::try_from(length).expect("a block fits in memory");
        if self.begun.is_empty() && arrived.len() >= length {
            // As it came, without copying it.
            return Some(arrived.split_to(length));
        }
        let lacking = length - self.begun.len();
        self.begun.reserve(lacking);
        self.begun.extend_from_slice(&arrived.split_to(arrived.len().min(lacking)));
        (self.begun.len() == length).then(|| self.rest())
    }

    /// The beginning of the next block. The one after it begins anew.
    pub(super) fn rest(&mut self) -> Bytes {
        self.begun.split().freeze()
    }

    fn begun(&self) -> u64 {
        self.begun.len() as u64
    }
}

/// Puts what arrives into the copy, block by block.
struct BlockSink<'a> {
    version: &'a Arc<OpenVersion>,
    request: &'a Request,
    /// The block after the last one that the source was asked for.
    end: usize,
    /// The block that comes next.
    next: usize,
    blocks: Blocks,
    /// Whether a block of this request was the copy's last missing one.
    complete: bool,
    /// Blocks that readers have before they are proven.
    shown: Range<usize>,
    /// The bytes that come next were given by others than the source.
    of_others: bool,
    stopwatch: Stopwatch<'a>,
}

impl<'a> BlockSink<'a> {
    fn new(version: &'a Arc<OpenVersion>, request: &'a Request) -> Self {
        Self {
            version,
            request,
            end: request.end(),
            next: request.first,
            blocks: Blocks::default(),
            complete: false,
            shown: 0..0,
            of_others: false,
            stopwatch: Stopwatch::start(&version.transfer.pace),
        }
    }

    /// The source is asked for these blocks.
    fn begin(&mut self, blocks: Range<usize>) {
        (self.next, self.end) = (blocks.start, blocks.end);
        (self.blocks, self.of_others) = (Blocks::default(), false);
        self.stopwatch = Stopwatch::start(&self.version.transfer.pace);
    }

    /// Fails unless everything that was asked for has arrived.
    fn expect_end(&self, asked: &Range<u64>) -> Result<()> {
        if self.next == self.end {
            return Ok(());
        }
        let got = self.next as u64 * BLOCK + self.blocks.begun() - asked.start;
        Err(Error::new("retrieve_file", ErrorKind::Protocol)
            .on(&self.version.version.path)
            .because(format!("the source delivered {got} of {} bytes", asked.end - asked.start)))
    }

    /// Returns when the next block is wanted; never, if the request is cut off here, since others want its place or its readers have stopped.
    async fn until_wanted(&mut self) {
        let (version, request, next) = (self.version, self.request, self.next);
        let is_in_the_way = || request.urgency.is_turn_wanted() || version.transfer.memory.is_wanted();
        if next >= request.first + FAIR_SHARE && is_in_the_way() {
            request.cut_off().await;
        }
        let is_wanted = |limit: &Limit| limit.is_beyond(next, version.ahead_in_memory());
        if is_wanted(&request.limit.borrow()) {
            return;
        }
        self.stopwatch.pause();
        let mut limit = request.limit.subscribe();
        let is_over = || next >= request.end();
        for _ in 0..PAUSE_TIMEOUT.as_secs() / PAUSE_CHECK.as_secs() {
            let goes_on = timeout(PAUSE_CHECK, limit.wait_for(|limit| is_wanted(limit) || is_over())).await.is_ok();
            if is_over() || is_in_the_way() && !goes_on {
                break;
            }
            if goes_on {
                return self.stopwatch.resume();
            }
        }
        request.cut_off().await
    }

    /// Fails if the next block is another one than an answer before brought, where nothing else tells whether both are of one version.
    fn compare(&self, bytes: &[u8]) -> Result<()> {
        let OpenVersion { transfer, version, state, .. } = &**self.version;
        // A copy that has a place on disk is proven when it is complete.
        let is_proven = !transfer.source.capabilities().proven_whole || self.version.ahead_in_memory().is_none();
        if is_proven || state.lock().answers.agree(self.next, bytes) {
            return Ok(());
        }
        Err(Error::new("retrieve_file", ErrorKind::ChangedDuringRead)
            .on(&version.path)
            .because("its bytes are not those that came before, though it has the same digest; open it again"))
    }

    /// Stores the next block. A disk that does not answer in time is left alone for a while.
    async fn keep(&self, bytes: Bytes) -> Stored {
        let (block, given_up) = (self.next, Arc::new(AtomicBool::new(false)));
        // A block that has its place already stays as it is.
        if self.of_others && !self.version.copy.missing_on_disk(block..block + 1).is_empty() {
            self.version.copy.withheld().add(block);
        }
        let (writing, is_given_up) = (bytes.clone(), given_up.clone());
        let stored = self.version.ask_disk(move |copy, _| copy.write(block, &writing, &is_given_up)).await;
        if stored.is_none() {
            given_up.store(true, Ordering::SeqCst);
        }
        stored.flatten().unwrap_or_else(|| self.version.copy.spill(block, &bytes))
    }
}

#[async_trait]
impl Sink for BlockSink<'_> {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.shown.is_empty() {
            self.stopwatch.arrived(bytes.len() as u64, self.request.urgency.turn_began());
        }
        loop {
            if self.next == self.end {
                return if bytes.is_empty() {
                    Ok(())
                } else {
                    Err(Error::new("retrieve_file", ErrorKind::Protocol)
                        .on(&self.version.version.path)
                        .because("the source delivered more bytes than were asked for"))
                };
            }
            let range = bytes_of(&(self.next..self.next + 1), self.version.version.size);
            let Some(block) = self.blocks.next(&mut bytes, range.end - range.start) else { return Ok(()) };
            self.until_wanted().await;
            self.compare(&block)?;
            let stored = self.keep(block).await;
            self.complete |= stored == Stored::DiskComplete;
            if stored != Stored::Memory {
                self.version.hash_along(self.next);
            }
            self.next += 1;
            if stored == Stored::Memory {
                // There it stays.
                self.shown = 0..0;
            }
            if !self.complete {
                let upto = self.next.max(self.shown.end);
                self.request.progress.send_modify(|progress| progress.upto = upto);
            }
            if self.next < self.end && self.next >= self.request.end() {
                // Others bring what follows: not one byte more.
                self.request.cut_off().await;
            }
        }
    }

    fn preview(&mut self, bytes: &mut Vec<Bytes>) -> bool {
        let version = self.version;
        // Where blocks have no place on disk, others wait for their readers in the memory that these would take.
        if version.ahead_in_memory().is_some() || version.is_doubtful(&version.state.lock()) {
            return false;
        }
        let (mut blocks, mut next, mut cut) = (Blocks::default(), self.next, Vec::new());
        for mut bytes in std::mem::take(bytes) {
            while !bytes.is_empty() && next < self.end {
                let range = bytes_of(&(next..next + 1), version.version.size);
                let Some(block) = blocks.next(&mut bytes, range.end - range.start) else { break };
                version.copy.spill(next, &block);
                cut.push(block);
                next += 1;
            }
            cut.push(bytes);
        }
        cut.push(blocks.rest());
        cut.retain(|bytes| !bytes.is_empty());
        *bytes = cut;
        // That they are here tells what a request costs, and nothing of how fast they came, which was before.
        self.stopwatch.arrived(0, self.request.urgency.turn_began());
        self.shown = self.next..next;
        self.request.progress.send_modify(|progress| progress.upto = next);
        true
    }

    fn withhold(&mut self) -> bool {
        self.of_others = self.version.may_withhold();
        self.of_others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request for these blocks, of which `upto` brings next, wanted before `limit`.
    fn request(blocks: Range<usize>, upto: usize, limit: usize) -> Request {
        let request = Request::new(Planned { blocks, limit: Limit::anywhere(limit), near: 8, waited_for: true });
        request.progress.send_modify(|progress| progress.upto = upto);
        request
    }

    #[test]
    fn bytes_are_cut_into_blocks_however_they_arrive() {
        for piece in [1, 3, 4, 5, 11, 100] {
            let (mut blocks, mut cut) = (Blocks::default(), Vec::new());
            for arrived in b"abcdefghijk".chunks(piece) {
                let mut arrived = Bytes::copy_from_slice(arrived);
                while let Some(block) = blocks.next(&mut arrived, 4) {
                    cut.push(block);
                }
                assert!(arrived.is_empty());
            }
            assert_eq!((cut, blocks.begun()), (vec!["abcd".into(), "efgh".into()], 3), "in pieces of {piece}");
            assert_eq!((blocks.rest(), blocks.begun()), ("ijk".into(), 0));
        }
    }

    #[test]
    fn a_request_covers_what_it_brings_soon() {
        let request = request(10..1000, 20, 30);
        let covered: Vec<_> = (0..1000).filter(|&block| request.covers(block)).collect();
        assert_eq!(covered, (20..30).collect::<Vec<_>>());
        request.progress.send_modify(|progress| progress.upto = 25);
        assert!(request.covers(32) && !request.covers(33), "blocks that are near are worth a wait");
        request.allow(Limit::anywhere(500));
        assert!(request.covers(499) && !request.covers(500));
    }

    #[test]
    fn a_limit_never_shrinks() {
        let request = request(0..1000, 0, 30);
        request.allow(Limit { on_disk: 20, in_memory: 40 });
        assert_eq!(*request.limit.borrow(), Limit { on_disk: 30, in_memory: 40 });
    }

    #[test]
    fn a_request_ends_before_what_others_bring_unless_it_is_beyond_already() {
        let request = request(10..1000, 20, 1000);
        request.end_before(500);
        request.end_before(700);
        assert_eq!(request.end(), 500);
        request.end_before(20);
        request.end_before(15);
        assert_eq!(request.end(), 500);
    }
}
