//! `Shared`: a source whose content comes from the tier where that has it, and is given to it where not. It knows no store.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::backend::Reading;
use super::circle::{Access, Circle, LateCircle, Subject};
use super::claim::{Claim, Lease};
use super::giving::{Giving, Held};
use super::sealed::{EXTENT, Extent};
use super::tier::{Fetched, Tier};
use super::usual::Usual;
use crate::cache::Key;
use crate::cache::block::{BLOCK, SMALL, blocks_of, bytes_of};
use crate::content::Algorithm;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::settings::Notes;
use crate::source::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};

/// Begins digests that are made of size and times alone.
const STAT: &str = "stat:";

/// How many extents are retrieved with one request where the store is to be asked about each: 32 MiB. Where other machines wait for them, 8
/// MiB: they are given when the request has ended.
const RUN: usize = 8;
const RUN_WITH_LEASES: usize = 2;

/// A request for so many blocks (1 MiB) is that of a reader who reads on.
const READS_ON: usize = 8;

/// A request for no more blocks (256 KiB) that goes on from no other is that of a reader here and there.
const PART: usize = 2;

/// How many ends of requests for a version are remembered.
const ENDS: usize = 16;

/// How many versions are remembered. One that is forgotten is asked about anew.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Asks the tier for content before `inner`, and gives it what `inner` brings.
///
/// Nothing is given of a retrieval that has not ended well. Of a version whose digest is a hash of its content, nothing is given before
/// the whole copy is proven, by [`Source::create_local_digest`] or by whoever calls [`Shared::confirm`], unless other machines wait for it
/// (there are leases, and it has more than one extent). Whoever takes bytes of it from others proves the whole copy before anything of it is
/// read (see [`Sink::withhold`]); that is for versions of at most [`Tuning::prove_first`](super::Tuning::prove_first) bytes, and larger
/// ones are not shared. Where writers sign, those who are trusted are believed as they are about other digests: the proof is at the last block.
///
/// Of a large file, the first block always comes from `inner`: whoever opens a file takes that for a sign that the source has this version
/// still (see `fs::open`), and a tier knows nothing of that. It also comes no later than without a tier.
///
/// What is shared is only what a digest tells apart for good: of a settled digest, with a known size, and not of a source that cannot tell by
/// itself which version its bytes are of. A version whose bytes turned out wrong is retrieved from the source alone.
pub struct Shared {
    inner: Arc<dyn Source>,
    tier: Arc<Tier>,
    circle: Arc<LateCircle>,
    weak: bool,
    notes: Notes,
    has_noted: AtomicBool,
    versions: Mutex<LruCache<Key, Version>>,
    /// What `inner` takes.
    usual: Usual,
}

/// What is known of a version.
#[derive(Clone, Default)]
struct Version {
    /// The source gave bytes of it to this mount.
    is_proven: bool,
    /// Bytes of it came from the tier.
    is_used: bool,
    /// Some of those were not compared with the source.
    is_unsure: bool,
    /// One who gave some of those lies, as the source has shown.
    is_lie: bool,
    /// The first blocks of extents that the tier had, or was given.
    there: Vec<usize>,
    /// Where requests ended: one that begins there goes on.
    ends: VecDeque<usize>,
    /// Bytes of it were wrong.
    doubted: Arc<AtomicBool>,
    /// The lease of its only extent, until the copy is proven.
    lease: Option<Arc<Lease>>,
}

/// What is to be retrieved, of which version.
struct Job<'a> {
    subject: &'a Subject,
    request: &'a Retrieval<'a>,
    /// Its reader goes forward, and so the extents of which it wants a part will be whole soon.
    goes_on: bool,
}

/// Where the next bytes of a request come from.
enum Next {
    /// They are here.
    Shared(Vec<Bytes>),
    Source(Errand),
}

/// What the source is asked for.
struct Errand {
    /// Where it ends in the file.
    until: u64,
    /// The leases of extents in it, by their first blocks.
    leases: BTreeMap<usize, Arc<Lease>>,
    /// What the store has not answered yet: these blocks of an extent. Whoever is first is right.
    late: Option<Box<(Extent, Range<usize>, Reading)>>,
}

impl Errand {
    /// All up to there, for this mount alone.
    fn until(until: u64) -> Self {
        Self { until, leases: BTreeMap::new(), late: None }
    }
}

/// Where bytes came from.
enum Came {
    Shared(Vec<Bytes>),
    Source(Retrieved),
}

impl Shared {
    /// Wraps `inner`, which shares in `circle`; with `weak`, also what size and time alone tell apart is shared. What is not shared for
    /// want of that is a note for the user.
    pub fn new(inner: Arc<dyn Source>, tier: Arc<Tier>, circle: Arc<LateCircle>, weak: bool, notes: Notes) -> Self {
        let (has_noted, versions) = (AtomicBool::new(false), Mutex::new(LruCache::new(REMEMBERED)));
        Self { inner, tier, circle, weak, notes, has_noted, versions, usual: Usual::default() }
    }

    /// Notes once that there are digests which are not strong enough.
    fn note_weak(&self) {
        if !self.has_noted.swap(true, Ordering::Relaxed) {
            self.notes.add(
                "some of its files are not shared: only size and time tell their versions apart; weak = true in [shared] shares them too"
                    .into(),
            );
        }
    }

    /// The version that is asked for, if its content may be shared.
    fn shareable(&self, request: &Retrieval<'_>) -> Option<Subject> {
        let Retrieval { path, digest, size, range, .. } = request;
        let size = (*size)?;
        let is_aligned = range.start.is_multiple_of(BLOCK) && (range.end.is_multiple_of(BLOCK) || range.end == size);
        let is_strong = self.weak || !digest.as_str().starts_with(STAT);
        if !is_strong {
            self.note_weak();
        }
        let is_told = !self.inner.capabilities().proven_whole;
        let may = is_aligned && is_strong && is_told && digest.unsettled_since().is_none();
        let circle = self.circle.get().filter(|_| may)?;
        let is_small_enough = size <= self.tier.proves_first() || !self.is_proven_first(circle, digest);
        is_small_enough.then(|| Subject { circle: circle.clone(), key: circle.version(path, digest), size })
    }

    /// Whether nothing of a version that came from others is read before the hash proves it.
    fn is_proven_first(&self, circle: &Circle, digest: &Digest) -> bool {
        self.is_proven_as_a_whole(digest) && !circle.has_signatures()
    }

    fn version(&self, key: &Key) -> Version {
        self.versions.lock().get_or_insert(*key, Version::default).clone()
    }

    fn known(&self, key: &Key) -> Option<Version> {
        self.versions.lock().peek(key).cloned()
    }

    fn note(&self, key: &Key, note: impl FnOnce(&mut Version)) {
        note(self.versions.lock().get_or_insert_mut(*key, Version::default));
    }

    /// Whether wrong bytes of another machine may be in this copy, which was found out while it was retrieved. Said once: it comes from the
    /// source then.
    fn takes_lie(&self, copy: &LocalCopy<'_>) -> bool {
        let Some(circle) = self.circle.get() else { return false };
        let key = circle.version(copy.path, copy.retrieved_as);
        let is_lie = self.known(&key).is_some_and(|version| version.is_lie);
        if is_lie {
            self.note(&key, |version| (version.is_lie, version.is_used, version.is_unsure) = (false, false, false));
        }
        is_lie
    }

    /// Whether only a whole copy proves what the bytes of this version are.
    fn is_proven_as_a_whole(&self, digest: &Digest) -> bool {
        self.inner.capabilities().content_digest || Algorithm::of(digest).is_some()
    }

    /// The whole copy has the digest that the source tells: its content may be shared.
    pub fn confirm(&self, copy: &LocalCopy<'_>) {
        let whole = Retrieval::new(copy.path, copy.retrieved_as, copy.size, 0..copy.size);
        let Some(Subject { circle, key, size }) = self.shareable(&whole) else { return };
        let Version { is_proven, there, doubted, .. } = self.version(&key);
        let mut lease = None;
        self.note(&key, |version| lease = version.lease.take());
        // What never came from the source in the life of this mount has been given already, or came from the tier.
        if is_proven
            && circle.can_give()
            && self.is_proven_as_a_whole(copy.retrieved_as)
            && !doubted.load(Ordering::SeqCst)
        {
            self.tier.give_copy(&circle, key, (copy.file, size), &there, &doubted, lease);
        }
    }

    /// What came from the tier for the part that begins at `at`; now and then compared with the source, whose bytes count.
    async fn audited(&self, job: &Job<'_>, at: u64, contents: Vec<Bytes>) -> Result<Vec<Bytes>> {
        let Job { subject, request, .. } = job;
        let Subject { circle, key, size } = subject;
        let bytes: u64 = contents.iter().map(|content| content.len() as u64).sum();
        let asked = Retrieval { range: at..at + bytes, ..(*request).clone() };
        let can_ask = self.inner.capabilities().ranges || asked.is_whole();
        if !can_ask || !self.tier.audits() {
            self.note(key, |version| version.is_unsure = true);
            return Ok(contents);
        }
        let mut right = Vec::new();
        match self.inner.retrieve_file(&asked, &mut right).await {
            Ok(_) if right == contents.concat() => self.tier.count_audit(),
            Ok(_) => {
                warn!(
                    "shared: {}: a machine that has the key has given wrong bytes; what was given of this version is removed",
                    request.path
                );
                let blocks = blocks_of(&asked.range);
                let extent = circle.extent(key, *size, blocks.start);
                self.tier.accuse(circle, &extent, &blocks, &right).await;
                // What was compared has come from the source.
                self.note(key, |version| version.is_lie = version.is_unsure);
                self.doubt(subject);
                return Ok(vec![right.into()]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                self.doubt(subject);
                return Err(error);
            }
            // Without the source, nothing can be compared.
            Err(_) => self.note(key, |version| version.is_unsure = true),
        }
        Ok(contents)
    }

    /// Bytes of a version that are shared may be wrong.
    fn doubt(&self, Subject { circle, key, size }: &Subject) {
        self.note(key, |version| {
            version.doubted.store(true, Ordering::SeqCst);
            version.lease = None;
        });
        self.tier.revoke(circle, key, *size);
    }

    /// Whether a request for these blocks is that of a reader who goes forward.
    fn goes_on(&self, key: &Key, blocks: &Range<usize>) -> bool {
        let mut goes_on = false;
        self.note(key, |Version { ends, .. }| {
            // Nobody waits for the first block, which each mount has from the source.
            let begins = blocks.start <= 1 && blocks.end > 1;
            goes_on = begins || blocks.len() >= READS_ON || ends.contains(&blocks.start);
            ends.push_front(blocks.end);
            ends.truncate(ENDS);
        });
        goes_on
    }

    /// The bytes of the request that the source itself must bring: of a large file the first block, by which whoever opens it learns that the
    /// source has this version still. Of a small one, and of one that comes whole, whoever opens it asks for the digest if need be.
    fn confirming(&self, request: &Retrieval<'_>, size: u64) -> Range<u64> {
        let Range { start, end } = request.range;
        let confirms = start == 0 && size > SMALL && self.inner.capabilities().ranges;
        start..if confirms { BLOCK.min(end) } else { start }
    }

    /// Where what begins at `at` comes from. `waits` for another machine that retrieves it; otherwise the source is asked for nothing then.
    async fn look(&self, job: &Job<'_>, at: u64, waits: bool) -> Next {
        let Job { subject: Subject { circle, key, size }, request, .. } = job;
        let wanted = blocks_of(&(at..request.range.end));
        let extent = circle.extent(key, *size, wanted.start);
        let blocks = wanted.start..extent.blocks.end.min(wanted.end);
        let (mut leases, mut is_missing) = (BTreeMap::new(), false);
        let doubted = self.version(key).doubted;
        // A copy that is proven as a whole is given from the disk.
        let mending = Some(&doubted).filter(|_| circle.can_give() && self.gives_early(request, *size));
        let kept = self.tier.kept(&extent);
        let source = self.usual.at_least(blocks.len());
        let mut late = match self.tier.fetch(&extent, &blocks, source, mending).await {
            Fetched::Contents(contents) => return self.shared(job, &extent, contents),
            Fetched::Late(reading) => Some(reading),
            Fetched::Missing if !waits => match self.tier.joins(&extent, self.may_lease(job, &extent)).await {
                Some(lease) => {
                    is_missing = true;
                    leases.extend(lease.map(|lease| self.hold(job, &extent, lease)));
                    None
                }
                None => return Next::Source(Errand { until: at, leases, late: None }),
            },
            Fetched::Missing if kept.is_some() => {
                is_missing = true;
                leases.extend(kept.map(|lease| (extent.blocks.start, lease)));
                None
            }
            Fetched::Missing if self.may_lease(job, &extent) => {
                is_missing = true;
                match self.tier.claim(&extent, self.usual.at_least(extent.blocks.len())).await {
                    Claim::Mine(lease) => {
                        leases.extend([self.hold(job, &extent, Arc::new(lease))]);
                        None
                    }
                    Claim::There => match self.tier.fetch(&extent, &blocks, source, mending).await {
                        Fetched::Contents(contents) => return self.shared(job, &extent, contents),
                        Fetched::Late(reading) => Some(reading),
                        Fetched::Missing | Fetched::Refused | Fetched::Unasked => None,
                    },
                    Claim::Without => None,
                }
            }
            refused => {
                if matches!(refused, Fetched::Refused) {
                    self.note(key, |version| version.there.retain(|first| *first != extent.blocks.start));
                }
                is_missing = !matches!(refused, Fetched::Unasked);
                None
            }
        };
        let mut until = request.range.end;
        if is_missing && late.is_none() && self.inner.capabilities().ranges {
            let following = self.following(job, blocks.end..wanted.end).await;
            until = bytes_of(&(wanted.start..following.end), *size).end;
            leases.extend(following.leases);
        }
        let late = late.take().map(|reading| Box::new((extent, blocks, reading)));
        Next::Source(Errand { until, leases, late })
    }

    fn shared(&self, job: &Job<'_>, extent: &Extent, contents: Vec<Bytes>) -> Next {
        self.note_shared(&job.subject.key, extent);
        Next::Shared(contents)
    }

    fn note_shared(&self, key: &Key, extent: &Extent) {
        self.note(key, |version| version.is_used = true);
        self.note_there(key, extent.blocks.start);
    }

    /// Notes that the tier has the extent that begins with this block.
    fn note_there(&self, key: &Key, first: usize) {
        self.note(key, |version| {
            if !version.there.contains(&first) {
                version.there.push(first);
            }
        });
    }

    /// Whether it makes sense that others wait while this mount retrieves an extent for them: it comes whole, with this request or those
    /// that follow it.
    fn may_lease(&self, job: &Job<'_>, extent: &Extent) -> bool {
        job.subject.circle.can_give() && (job.goes_on || comes_whole(job, extent))
    }

    /// Notes that this mount has the lease of an extent, of which the request brings a part or all.
    fn hold(&self, job: &Job<'_>, extent: &Extent, lease: Arc<Lease>) -> (usize, Arc<Lease>) {
        if !comes_whole(job, extent) {
            self.tier.keep(extent, &lease);
        }
        (extent.blocks.start, lease)
    }

    /// Whether extents of this version are given as they come. Of a version whose digest is a hash they are, where other machines wait for
    /// them: each proves its copy by the hash, and removes what is wrong. An extent that is the whole file is proven at once.
    fn gives_early(&self, request: &Retrieval<'_>, size: u64) -> bool {
        !self.is_proven_as_a_whole(request.digest) || (self.tier.has_leases() && size > EXTENT)
    }

    /// How far the source is asked for what lies in these blocks too: up to what the store has, or another machine retrieves.
    async fn following(&self, job: &Job<'_>, blocks: Range<usize>) -> Following {
        let Subject { circle, key, size } = job.subject;
        let mut extents = Vec::new();
        let mut next = blocks.start;
        let run = if self.tier.has_leases() { RUN_WITH_LEASES } else { RUN };
        while next < blocks.end && extents.len() + 1 < run {
            let extent = circle.extent(key, *size, next);
            next = extent.blocks.end;
            extents.push(extent);
        }
        let asked = extents.iter().map(|extent| self.tier.joins(extent, self.may_lease(job, extent)));
        let asked = futures::future::join_all(asked).await;
        let mut following = Following { end: blocks.start, leases: BTreeMap::new() };
        for (extent, joins) in extents.iter().zip(asked) {
            let Some(lease) = joins else { break };
            following.end = extent.blocks.end.min(blocks.end);
            following.leases.extend(lease.map(|lease| self.hold(job, extent, lease)));
        }
        following
    }

    /// Retrieves what begins at `at` from the source, and gives it to the tier.
    async fn retrieve(&self, job: &Job<'_>, at: u64, errand: Errand, out: &mut dyn Sink) -> Result<Came> {
        let Job { subject, request, .. } = job;
        let Subject { key, size, circle } = subject;
        let Errand { until, leases, late } = errand;
        let Version { doubted, .. } = self.version(key);
        let part = at..if self.inner.capabilities().ranges { until } else { request.range.end };
        // A reader may be shown bytes ahead of their proof if they are all that it has asked for.
        let shows = part == request.range;
        let mut asked = Retrieval { range: part, ..(*request).clone() };
        // A source without ranges sends all of it, of which the beginning is there already.
        if !self.inner.capabilities().ranges {
            asked.range = request.range.clone();
        }
        let (skip, begins) = (at - asked.range.start, asked.range.start);
        let gives_early = self.gives_early(request, *size);
        let gives = self.tier.gives(*size) && circle.can_give() && !doubted.load(Ordering::SeqCst) && gives_early;
        let has_begun = AtomicBool::new(false);
        let mut giving = Giving::new(out, &self.tier, subject, (begins, skip), &has_begun);
        (giving.shows, giving.gives) = (shows, gives);
        let asked_at = Instant::now();
        let result = match late {
            None => self.inner.retrieve_file(&asked, &mut giving).await,
            Some(late) => {
                let (extent, blocks, mut reading) = *late;
                let (extent, blocks) = (&extent, &blocks);
                let late = async {
                    let value = reading.end().await.ok()??;
                    if has_begun.load(Ordering::SeqCst) { None } else { self.tier.open(extent, blocks, value, None) }
                };
                let (mut late, mut retrieving) = (pin!(late), pin!(self.inner.retrieve_file(&asked, &mut giving)));
                tokio::select! {
                    biased;
                    result = &mut retrieving => result,
                    Some(contents) = &mut late => {
                        self.usual.note_longer(blocks.len(), asked_at.elapsed());
                        self.tier.note_worth(*size);
                        self.note_shared(key, extent);
                        return Ok(Came::Shared(contents));
                    }
                }
            }
        };
        let blocks = giving.into_blocks();
        match &result {
            Ok(_) => {
                self.usual.note(blocks_of(&asked.range).len(), asked_at.elapsed());
                self.note(key, |version| version.is_proven = true);
                for Held { extent, number, content, .. } in blocks {
                    let first = extent.blocks.start;
                    if self.tier.take(&extent, number, content, &doubted, leases.get(&first)) {
                        self.note_there(key, first);
                    }
                }
                if !gives_early && let Some(lease) = leases.into_values().next() {
                    lease.let_run_out();
                    self.note(key, |version| version.lease = Some(lease));
                }
            }
            // What came before the source noticed may be of another version.
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                self.doubt(subject);
            }
            Err(_) => {}
        }
        result.map(Came::Source)
    }
}

/// Whether the request is for all of an extent, but for the file's first block, which has come by itself.
fn comes_whole(job: &Job<'_>, extent: &Extent) -> bool {
    let wanted = blocks_of(&job.request.range);
    wanted.start <= extent.blocks.start.max(1) && extent.blocks.end <= wanted.end
}

/// What is retrieved along with an extent.
struct Following {
    /// The block after its last one.
    end: usize,
    leases: BTreeMap<usize, Arc<Lease>>,
}

/// Writes these, and returns how many bytes they are.
async fn write_all(contents: Vec<Bytes>, out: &mut dyn Sink) -> Result<u64> {
    let mut written = 0;
    for content in contents {
        written += content.len() as u64;
        out.write(content).await?;
    }
    Ok(written)
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl Source for Shared {
    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        Capabilities { buffer: inner.buffer.max(EXTENT), ..inner }
    }

    async fn connect(&self) -> Result<()> {
        self.inner.connect().await
    }

    async fn disconnect(&self) {
        self.inner.disconnect().await;
    }

    async fn preconnect(&self, most: usize) {
        self.inner.preconnect(most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        self.inner.list_path(dir).await
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.inner.create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        if self.takes_lie(copy) {
            return Ok(Digest::damage("bytes of other machines, of which some were wrong"));
        }
        let local = self.inner.create_local_digest(copy).await?;
        if local == *copy.retrieved_as {
            self.confirm(copy);
            return Ok(local);
        }
        let Some(circle) = self.circle.get().cloned() else { return Ok(local) };
        let subject = Subject { key: circle.version(copy.path, copy.retrieved_as), circle, size: copy.size };
        if let Some(Version { is_used, doubted, .. }) = self.known(&subject.key) {
            if is_used && !doubted.load(Ordering::SeqCst) {
                self.tier.refuse("bytes that came from other machines are not those of the version");
            }
            self.doubt(&subject);
        }
        Ok(local)
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let shareable = self.shareable(request).filter(|_| !request.range.is_empty());
        let Some(subject) = shareable else { return self.inner.retrieve_file(request, out).await };
        // Others are given confirmed bytes only.
        let request = &Retrieval { may_be_unconfirmed: false, ..request.clone() };
        let blocks = blocks_of(&request.range);
        let goes_on = subject.size > SMALL && self.goes_on(&subject.key, &blocks);
        let job = Job { subject: &subject, request, goes_on };
        let (first, end) = (self.confirming(request, subject.size), request.range.end);
        let (mut at, mut retrieved) = (request.range.start, Retrieved::default());
        let is_proven_first = self.is_proven_first(&subject.circle, request.digest);
        // All of it has to come before that is read: it is not for who waits for a part.
        let is_part = subject.size > SMALL && !goes_on && blocks.len() <= PART && request.urgency.is_interactive();
        let mut takes = !is_proven_first || !is_part;
        while at < end {
            let Version { is_proven, doubted, .. } = self.version(&subject.key);
            let confirms = at < first.end;
            let may = is_proven || confirms || subject.circle.access() == Access::Same;
            let may = may && takes && !doubted.load(Ordering::SeqCst) && !subject.circle.is_quarantined();
            let mut next = match () {
                () if !may => Next::Source(Errand::until(end)),
                // What comes after the first block is looked for first: where the tier lacks that, one request brings all.
                () if confirms && first.end < end => self.look(&job, first.end, false).await,
                () if confirms => Next::Source(Errand::until(end)),
                () => self.look(&job, at, true).await,
            };
            let contents = if confirms {
                let errand = match &mut next {
                    Next::Shared(_) => Errand::until(first.end),
                    Next::Source(errand) => Errand { late: None, ..std::mem::replace(errand, Errand::until(end)) },
                };
                let until = errand.until;
                if let Came::Source(told) = self.retrieve(&job, at, errand, out).await? {
                    (retrieved, at) = (told, until);
                }
                let Next::Shared(contents) = next else { continue };
                contents
            } else {
                match next {
                    Next::Shared(contents) => contents,
                    Next::Source(errand) => {
                        let until = if self.inner.capabilities().ranges { errand.until } else { end };
                        match self.retrieve(&job, at, errand, out).await? {
                            Came::Shared(contents) => contents,
                            Came::Source(told) => {
                                (retrieved, at) = (told, until);
                                continue;
                            }
                        }
                    }
                }
            };
            takes = !is_proven_first || out.withhold();
            if takes {
                at += write_all(self.audited(&job, at, contents).await?, out).await?;
            }
        }
        Ok(retrieved)
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}
