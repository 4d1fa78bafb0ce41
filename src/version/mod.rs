//! Versions that are read: the bytes that the cache lacks are brought, each once, however many ask. It knows no names and no freshness.

mod answers;
mod confirmations;
mod evidence;
mod measure;
mod pace;
mod plan;
mod proof;
mod request;
mod stream;
mod transfer;

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::debug;

use crate::cache::block::{BLOCK, Hash, block_count, blocks_of, bytes_of};
use crate::cache::{OpenCopy, Sound};
use crate::content::Algorithm;
use crate::digest::Digest;
use crate::disk::Asked;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::Capabilities;
use answers::Answers;
use plan::{AHEAD_IN_MEMORY, Limit, Line, Planned, Reader, View, plan, plan_beginning, plan_end};
pub use request::Memory;
use request::Request;
use stream::{Forward, Most, Streams};
pub use transfer::{Proven, Transfer};

pub use crate::cache::block::SMALL;

/// The end of a file that is worth a request of its own holds so many bytes: the index of an archive, or what `tail` shows.
const END: u64 = 64 << 10;

/// That request takes the line for no longer than this: what a reader waits for comes on the same line.
const END_WITHIN: Duration = Duration::from_millis(100);

/// By then the request for the beginning has taken a connection that is ready: it must not be left to open another.
const HEAD_START: Duration = Duration::from_millis(2);

/// How often a read starts over because blocks were pushed out of memory before it had them all, or could not be proven.
const READ_ATTEMPTS: usize = 8;

/// One version of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its path.
    pub path: RemotePath,
    /// Which one it is.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The time of its last change, where the source knows.
    pub modified: Option<SystemTime>,
}

/// A version that somebody reads, and the requests under way for it.
pub struct OpenVersion {
    transfer: Arc<Transfer>,
    version: Version,
    /// The algorithm of the version's digest, if that is a hash of the content.
    hash: Option<Algorithm>,
    copy: OpenCopy,
    opened: Instant,
    state: Mutex<State>,
    /// How many have it open to read it.
    readers: AtomicUsize,
    /// Whether somebody has read bytes since the copy began that are not proven.
    is_handed_out: AtomicBool,
    /// How often the bytes were thrown away because they were not proven.
    discards: AtomicU64,
    /// How often somebody had read some of those.
    retractions: AtomicU64,
    /// Withheld bytes could not be kept until they were proven: there are to be no more.
    withholds_nothing: AtomicBool,
    /// How many names its directory has, as who retrieves it ahead says.
    names_beside: AtomicUsize,
    end: End,
}

/// What happened to the end of a version.
#[derive(Default)]
struct End {
    /// Whether it was asked for before a program read it.
    came_ahead: AtomicBool,
    /// Whether a program has read it before what is in front of it.
    is_read: AtomicBool,
}

#[derive(Default)]
struct State {
    requests: Vec<Arc<Request>>,
    streams: Streams,
    /// The local digest of a first attempt that did not agree with the remote one.
    first_attempt: Option<Digest>,
    /// The blocks that readers may have had of a first attempt of which others had withheld.
    shown_before: Option<Vec<(usize, Hash)>>,
    /// What came, where each answer may be of another version (see [`Capabilities::proven_whole`]).
    answers: Answers,
    /// The time of the version's last change, where a retrieval of its bytes told one: plugins compute local digests from it.
    retrieved_modified: Option<SystemTime>,
}

impl OpenVersion {
    /// One that nobody else has open.
    fn new(transfer: Arc<Transfer>, version: Version, copy: OpenCopy) -> Self {
        Self {
            transfer,
            hash: Algorithm::of(&version.digest).map(|(algorithm, _)| algorithm),
            version,
            copy,
            opened: Instant::now(),
            state: Mutex::new(State::default()),
            readers: AtomicUsize::new(0),
            is_handed_out: AtomicBool::new(false),
            discards: AtomicU64::new(0),
            retractions: AtomicU64::new(0),
            withholds_nothing: AtomicBool::new(false),
            names_beside: AtomicUsize::new(0),
            end: End::default(),
        }
    }

    /// Which version this is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Its local bytes.
    pub fn copy(&self) -> &OpenCopy {
        &self.copy
    }

    /// Whether retrieving the first block would tell whether the version is there still, and bring what is likely to be read next.
    pub fn can_begin(&self) -> bool {
        let settled = self.version.digest.unsettled_since().is_none();
        settled && self.transfer.source.capabilities().ranges && !self.missing(0..1).is_empty()
    }

    /// How many bytes are not on the disk. Those that only memory has, for want of room, are soon gone.
    pub fn missing_bytes(&self) -> u64 {
        self.missing_ranges().into_iter().map(|bytes| bytes.end - bytes.start).sum()
    }

    /// The bytes that are not on the disk, block by block.
    pub fn missing_ranges(&self) -> Vec<Range<u64>> {
        let size = self.version.size;
        let missing = self.copy.missing_on_disk(0..block_count(size));
        missing.into_iter().map(|block| bytes_of(&(block..block + 1), size)).collect()
    }

    /// Waits until no request is under way: by then bytes that were read before they were proven are kept, or gone.
    pub async fn settle(&self) {
        let requests = self.state.lock().requests.clone();
        for request in requests {
            let mut progress = request.progress.subscribe();
            // A request that is gone has ended.
            let _ = progress.wait_for(|progress| progress.result.is_some()).await;
        }
    }

    /// Whether all bytes are here and proven, as far as the disk tells.
    pub async fn is_whole(self: &Arc<Self>) -> bool {
        self.ask_disk(|copy, _| copy.is_whole()).await.unwrap_or(false)
    }

    /// The answer of [`OpenVersion::is_whole`], and the file if no block of it has to be checked any more. The disk is asked once.
    pub async fn whole_and_sound_file(self: &Arc<Self>) -> (bool, Option<Sound>) {
        let is_empty = self.version.size == 0;
        if !is_empty && !self.copy.is_begun() {
            // There is nothing on the disk to ask about.
            return (false, None);
        }
        if let Some(file) = self.copy.remembered_sound_file() {
            return (true, Some(file));
        }
        let answers = self.ask_disk(move |copy, _| {
            let file = copy.sound_file();
            (is_empty || copy.is_proven(), file)
        });
        answers.await.unwrap_or_default()
    }

    /// The file, if the kernel may read it without us: nothing of it has to be checked or confirmed any more.
    pub async fn proven_file(self: &Arc<Self>) -> Option<Arc<std::fs::File>> {
        if !self.copy.is_proven() {
            return None;
        }
        let sound = match self.copy.remembered_sound_file() {
            Some(sound) => sound,
            None => self.ask_disk(|copy, _| copy.sound_file()).await.flatten()?,
        };
        sound.proven_file()
    }

    /// Hashes every block that is here, also those that were checked before. Returns how many were damaged or lost, and are to be retrieved
    /// again. `None` while the disk hangs.
    pub async fn verify(self: &Arc<Self>) -> Option<usize> {
        self.ask_disk(|copy, asked| copy.verify(asked)).await
    }

    /// How often bytes that somebody had read from here turned out wrong. Whoever opened the version before must not read on: what was
    /// read does not belong together with what comes.
    pub fn retractions(&self) -> u64 {
        self.retractions.load(Ordering::Acquire)
    }

    /// Whether pages that the kernel has of this version are right: never before the copy is proven.
    pub fn are_pages_right(&self) -> bool {
        self.copy.is_proven() && !self.transfer.evidence.is_retracted(self.copy.key())
    }

    /// The kernel has dropped its pages of this version: those that it has from now on are right.
    pub fn pages_are_dropped(&self) {
        if self.copy.is_proven() {
            self.transfer.evidence.forget_retraction(self.copy.key());
        }
    }

    /// Whether the bytes were wrong before, so that the next ones are read only once they are proven.
    fn is_doubtful(&self, state: &State) -> bool {
        state.first_attempt.is_some() || self.transfer.evidence.damage(self.copy.key()).is_some()
    }

    fn missing(&self, blocks: Range<usize>) -> Vec<usize> {
        self.copy.missing(blocks)
    }

    /// How many blocks ahead of a reader are brought at most while they have no place on disk. `None` while they have.
    fn ahead_in_memory(&self) -> Option<usize> {
        let share = self.transfer.cache.ahead_in_memory(self.version.size)?;
        Some(share.clamp(1, AHEAD_IN_MEMORY))
    }

    /// Reads these bytes, cut at the end of the file, retrieving what is missing.
    ///
    /// # Errors
    /// `Changed` or `ChangedDuringRead` if bytes of this version can no longer be had; failures of the source. Never other bytes.
    pub async fn read(self: &Arc<Self>, bytes: Range<u64>) -> Result<Bytes> {
        let bytes = bytes.start.min(self.version.size)..bytes.end.min(self.version.size);
        let blocks = blocks_of(&bytes);
        if !self.copy.is_proven() {
            self.request_ahead(&blocks);
        }
        for _ in 0..READ_ATTEMPTS {
            let lifted = self.copy.withheld().lifted();
            let needs_proof = || self.copy.withheld().has(&blocks) || self.is_doubtful(&self.state.lock());
            if !self.copy.is_proven() && needs_proof() {
                match self.retrieve_whole().await {
                    Err(error) if error.kind() == ErrorKind::Cache && !self.copy.withheld().is_empty() => {
                        debug!("{error}: it comes from the source");
                        self.withhold_nothing().await;
                        continue;
                    }
                    result => result?,
                }
            }
            let discards = self.discards.load(Ordering::Acquire);
            // The disk is asked only for what may be there. A request that fails meanwhile would end unnoticed, and be made again.
            if self.missing(blocks.clone()).is_empty()
                && let Some(bytes) = self.read_copy(bytes.clone()).await
            {
                if !self.copy.is_proven() {
                    if self.copy.withheld().has(&blocks) || lifted != self.copy.withheld().lifted() {
                        continue;
                    }
                    // In one order with the bytes being thrown away, which counts first and then looks whether somebody has some.
                    self.is_handed_out.store(true, Ordering::SeqCst);
                }
                // They may have been thrown away since, and others have come and been proven.
                if discards == self.discards.load(Ordering::SeqCst) {
                    return Ok(bytes);
                }
            }
            self.retrieve(blocks.clone()).await?;
        }
        Err(Error::new("read", ErrorKind::Cache)
            .on(&self.version.path)
            .because("there is neither disk nor memory to hold the file's blocks"))
    }

    /// Returns when all bytes are here and checked, as after a [`read`](OpenVersion::read) of them; what has just come and been proven is not
    /// read for that.
    ///
    /// # Errors
    /// As [`OpenVersion::read`].
    pub async fn have_all(self: &Arc<Self>) -> Result<()> {
        let blocks = 0..block_count(self.version.size);
        if !self.copy.is_proven() && !self.is_doubtful(&self.state.lock()) {
            self.request_ahead(&blocks);
            self.retrieve(blocks).await?;
            if self.copy.is_proven() {
                return Ok(());
            }
        }
        self.read(0..self.version.size).await.map(drop)
    }

    /// Somebody may read the version from now on, for as long as the result lives.
    pub fn be_read(self: &Arc<Self>) -> Reading {
        self.readers.fetch_add(1, Ordering::SeqCst);
        Reading(Arc::clone(self))
    }

    /// Ends the requests that went ahead of readers, if there are none any longer. What can only come whole goes on.
    fn stop_ahead(&self) {
        let mut state = self.state.lock();
        let comes_whole = self.version.size <= SMALL || !self.transfer.source.capabilities().ranges;
        if self.readers.load(Ordering::SeqCst) == 0 && !comes_whole {
            state.streams.stop();
            state.requests.iter().for_each(|request| request.stop());
        }
    }

    /// Requests what a reader at `blocks` needs now and is likely to need next.
    fn request_ahead(self: &Arc<Self>, blocks: &Range<usize>) {
        let on_disk = self.transfer.brings_ahead(&self.line());
        let most = match self.ahead_in_memory() {
            // Beyond what may wait there, requests are held back once they are answered.
            Some(in_memory) => Most { ahead: in_memory, waiting: in_memory * 2 },
            None => Most { ahead: on_disk, waiting: on_disk },
        };
        let mut state = self.state.lock();
        if !self.is_doubtful(&state) {
            let is_end = blocks.start > 0 && blocks.end == block_count(self.version.size);
            if is_end && self.version.size > SMALL && state.streams.is_jump(blocks) {
                self.end.is_read.store(true, Ordering::Relaxed);
            }
            let waits = !self.missing(blocks.clone()).is_empty();
            let forward = state.streams.follow(blocks, waits, most);
            self.request(&mut state, blocks, forward);
        }
    }

    /// Requests every missing block of `blocks` that is not under way, and what a reader who goes `forward` so needs beyond where that is worth
    /// a request.
    fn request(self: &Arc<Self>, state: &mut State, blocks: &Range<usize>, forward: Forward) {
        let Forward { ahead, waiting } = forward;
        let reader = Reader { blocks: blocks.clone(), ahead, waiting, alone: state.streams.is_alone() };
        let missing = |blocks| self.missing(blocks);
        let plan = plan(self.view(state, &missing), &reader, &self.line());
        for (index, limit) in plan.go_on {
            state.requests[index].allow(limit);
        }
        for planned in plan.requests {
            self.launch(state, planned);
        }
    }

    /// A request has brought all that it was for: others take its place at once, if a reader waits.
    fn request_further(self: &Arc<Self>, state: &mut State) {
        let Some((blocks, forward)) = state.streams.latest() else { return };
        if !self.missing(blocks.clone()).is_empty() && !self.is_doubtful(state) {
            self.request(state, &blocks, forward);
        }
    }

    /// What the planner sees of this version.
    fn view<'a>(&self, state: &State, missing: &'a dyn Fn(Range<usize>) -> Vec<usize>) -> View<'a> {
        View {
            blocks: block_count(self.version.size),
            small: self.version.size <= SMALL,
            ranges: self.transfer.source.capabilities().ranges,
            kept: self.ahead_in_memory().is_none(),
            under_way: state.requests.iter().map(|request| request.under_way()).collect(),
            missing,
        }
    }

    /// What the planner knows of the line to the source.
    fn line(&self) -> Line {
        let Capabilities { buffer, concurrency, .. } = self.transfer.source.capabilities();
        let cost = usize::try_from(self.transfer.pace.cost() / BLOCK).unwrap_or(usize::MAX);
        let crowded = self.transfer.in_flight.load(Ordering::Relaxed) >= concurrency / 2;
        let at_once = usize::try_from(self.transfer.pace.brings(END_WITHIN) / BLOCK).unwrap_or(usize::MAX);
        Line { cost, at_once, buffer, crowded }
    }

    /// Begins to carry out a request. Others that would come to the same blocks later end before them.
    fn launch(self: &Arc<Self>, state: &mut State, planned: Planned) -> Arc<Request> {
        self.launch_after(Duration::ZERO, state, planned)
    }

    /// The same, once this time has passed.
    fn launch_after(self: &Arc<Self>, wait: Duration, state: &mut State, planned: Planned) -> Arc<Request> {
        let request = Arc::new(Request::new(planned));
        for other in &state.requests {
            other.end_before(request.first);
        }
        self.transfer.in_flight.fetch_add(1, Ordering::Relaxed);
        state.requests.push(request.clone());
        let (version, launched) = (self.clone(), request.clone());
        // A task of its own: a reader that gives up must not take the bytes from the others.
        tokio::spawn(async move {
            if !wait.is_zero() {
                request.wait(wait).await;
            }
            let result = match AssertUnwindSafe(request.carry_out(&version)).catch_unwind().await {
                Ok(result) => result,
                Err(_) => {
                    // Bytes that it showed need not be right; and its readers must hear of its end.
                    version.begin_anew().await;
                    Err(Error::of_panic("retrieve_file").on(&version.version.path))
                }
            };
            version.transfer.in_flight.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = &result {
                debug!("{error}");
            }
            {
                let mut state = version.state.lock();
                state.requests.retain(|other| !Arc::ptr_eq(other, &request));
                if result.is_ok() && request.is_done() {
                    version.request_further(&mut state);
                }
            }
            request.progress.send_modify(|progress| progress.result = Some(result));
        });
        launched
    }

    /// Returns when these blocks can be read.
    async fn retrieve(self: &Arc<Self>, blocks: Range<usize>) -> Result<()> {
        self.retrieve_for(blocks, Forward { ahead: 0, waiting: None }).await
    }

    /// The same for a reader who goes `forward` so, if something has to be requested.
    async fn retrieve_for(self: &Arc<Self>, blocks: Range<usize>, forward: Forward) -> Result<()> {
        let (mut unkept, mut is_asked_again) = (0, false);
        while unkept < READ_ATTEMPTS {
            let (first, coming, request) = {
                let mut state = self.state.lock();
                let Some(&first) = self.missing(blocks.clone()).first() else { return Ok(()) };
                if !state.covers(first) {
                    if let Some(error) = self.transfer.evidence.refusal(self.copy.key()) {
                        return Err(error);
                    }
                    self.request(&mut state, &blocks, forward);
                }
                let coming = state.requests.iter().find(|request| request.covers(first));
                // A request for the whole file may have delivered this block already, and memory has dropped it since. Wait for that request
                // to end; the loop then makes another.
                let Some(request) = coming.or(state.requests.first()).cloned() else { continue };
                if coming.is_none() && self.missing(first..first + 1).is_empty() {
                    // The block arrived between the two looks.
                    continue;
                }
                (first, coming.is_some(), request)
            };
            let begun_ahead = !request.urgency.is_interactive();
            request.urgency.raise();
            request.allow(Limit::anywhere(first + 1));
            let mut progress = request.progress.subscribe();
            let there =
                progress.wait_for(|progress| (coming && progress.upto > first) || progress.result.is_some()).await;
            let result = there.map(|progress| progress.result.clone()).unwrap_or_default();
            if let Some(result) = result
                && self.missing(first..first + 1) == [first]
            {
                match result {
                    // It began when nobody waited, and may have failed of something that is over.
                    Err(_) if begun_ahead && !is_asked_again => {
                        is_asked_again = true;
                        continue;
                    }
                    result => result?,
                }
                // The block was pushed out of memory, or it completed a copy that could not be proven.
                unkept += usize::from(coming);
            }
        }
        Err(Error::new("read", ErrorKind::Cache)
            .on(&self.version.path)
            .because(format!("its bytes came {READ_ATTEMPTS} times and could not be kept or proven")))
    }

    /// Retrieves what is missing of the whole version, until it is proven.
    async fn retrieve_whole(self: &Arc<Self>) -> Result<()> {
        let ahead = self.transfer.brings_ahead(&self.line());
        loop {
            let discards = self.discards.load(Ordering::SeqCst);
            for block in 0..block_count(self.version.size) {
                if self.copy.is_proven() {
                    break;
                }
                self.retrieve_for(block..block + 1, Forward { ahead, waiting: None }).await?;
            }
            if self.copy.is_proven() {
                return Ok(());
            }
            // The complete copy was wrong, and is thrown away: it comes once more.
            if discards == self.discards.load(Ordering::SeqCst) {
                break;
            }
        }
        Err(Error::new("read", ErrorKind::Cache)
            .on(&self.version.path)
            .because("its bytes were wrong before, and the cache has no room to prove others before they are read"))
    }

    /// Returns when the first block is here, which [`OpenVersion::request_beginning`] has asked for.
    ///
    /// # Errors
    /// As [`OpenVersion::read`].
    pub async fn begin(self: &Arc<Self>) -> Result<()> {
        self.retrieve(0..1).await
    }

    /// Returns when all of a small file is here, and of a large one the first block, if that can be retrieved by itself.
    ///
    /// # Errors
    /// As [`OpenVersion::read`].
    pub async fn bring_beginning(self: &Arc<Self>) -> Result<()> {
        if self.version.size <= SMALL {
            return self.have_all().await;
        }
        if self.can_begin() {
            self.request_beginning();
            self.begin().await?;
        }
        Ok(())
    }

    /// Requests the first block, unless it is here or comes.
    pub fn request_beginning(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if self.is_doubtful(&state) {
            return;
        }
        let missing = |blocks| self.missing(blocks);
        let planned = plan_beginning(&self.view(&state, &missing), &self.line());
        if let Some(planned) = planned {
            self.launch(&mut state, planned);
        }
    }

    /// Requests the end, beside the first block, for whoever reads it first; less urgently than what readers wait for. Returns whether a
    /// request was made.
    pub fn request_end(self: &Arc<Self>) -> bool {
        let size = self.version.size;
        let mut state = self.state.lock();
        if self.is_doubtful(&state) {
            return false;
        }
        let missing = |blocks| self.missing(blocks);
        let end = blocks_of(&(size.saturating_sub(END)..size));
        let Some(planned) = plan_end(&self.view(&state, &missing), end, &self.line()) else { return false };
        self.end.came_ahead.store(true, Ordering::Relaxed);
        self.launch_after(HEAD_START, &mut state, planned);
        true
    }

    /// Whether a program has read the end before what is in front of it, since this was asked last; if so, whether the end was asked for
    /// before.
    pub fn take_end_read(&self) -> Option<bool> {
        let is_read = self.end.is_read.load(Ordering::Relaxed) && self.end.is_read.swap(false, Ordering::Relaxed);
        is_read.then(|| self.end.came_ahead.swap(false, Ordering::Relaxed))
    }

    /// Retrieves all of a small file, and of a large one the first block, before anybody reads it; less urgently than what readers wait
    /// for. Returns whether something came. The directory has so many `names`: one listing may confirm many files of it.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn retrieve_ahead(self: &Arc<Self>, names: usize) -> Result<bool> {
        self.names_beside.store(names, Ordering::Relaxed);
        let request = {
            let mut state = self.state.lock();
            let Some(planned) = self.plan_ahead(&state) else { return Ok(false) };
            self.launch(&mut state, planned)
        };
        let mut progress = request.progress.subscribe();
        let ended = progress.wait_for(|progress| progress.result.is_some()).await;
        ended.ok().and_then(|progress| progress.result.clone()).unwrap_or(Ok(()))?;
        // One that was stopped before its turn has brought nothing, and the source has told nothing.
        Ok(self.missing(request.first..request.first + 1).is_empty())
    }

    /// The request for what is retrieved ahead of readers, unless it is here, comes, or has no place on disk.
    fn plan_ahead(&self, state: &State) -> Option<Planned> {
        let is_refused = self.is_doubtful(state);
        if self.copy.is_proven() || is_refused || self.ahead_in_memory().is_some() || !state.requests.is_empty() {
            return None;
        }
        let missing = |blocks| self.missing(blocks);
        let (view, line) = (self.view(state, &missing), self.line());
        let planned = if view.small {
            let reader = Reader { blocks: 0..view.blocks, ahead: 0, waiting: None, alone: true };
            plan(view, &reader, &line).requests.into_iter().next()
        } else {
            plan_beginning(&view, &line).map(|planned| Planned { blocks: 0..1, ..planned })
        };
        planned.map(|planned| Planned { waited_for: false, ..planned })
    }

    /// Reads from the copy, as [`OpenCopy::read`] does; from memory if that has the bytes, and only from there while the disk hangs.
    async fn read_copy(self: &Arc<Self>, bytes: Range<u64>) -> Option<Bytes> {
        if let Some(read) = self.copy.read_remembered(&bytes) {
            return Some(read);
        }
        let wanted = bytes.clone();
        match self.ask_disk(move |copy, _| copy.read(wanted)).await {
            Some(read) => read,
            None => self.copy.read_memory(&bytes),
        }
    }

    /// Asks the disk something (see [`Disk::ask`](crate::disk::Disk::ask)). `None` while it hangs.
    async fn ask_disk<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&OpenCopy, &Asked) -> T + Send + 'static,
    ) -> Option<T> {
        let version = self.clone();
        self.transfer.cache.disk().ask(move |asked| ask(&version.copy, asked)).await.ok()
    }

    /// Has the disk do something before it is asked anything else (see [`Disk::tell`](crate::disk::Disk::tell)).
    async fn tell_disk(self: &Arc<Self>, order: impl FnOnce(&OpenCopy) + Send + 'static) {
        let version = self.clone();
        self.transfer.cache.disk().tell(move || order(&version.copy)).await;
    }
}

/// Somebody has a version open to read it.
pub struct Reading(Arc<OpenVersion>);

impl Drop for Reading {
    fn drop(&mut self) {
        if self.0.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.stop_ahead();
        }
    }
}

impl Drop for OpenVersion {
    fn drop(&mut self) {
        self.transfer.closed(self.copy.key());
    }
}

impl State {
    fn covers(&self, block: usize) -> bool {
        self.requests.iter().any(|request| request.covers(block))
    }
}
