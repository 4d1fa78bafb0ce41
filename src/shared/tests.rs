//! Tests of what machines share: the wrapper of a source and the tier together, on a store that the tests alter behind their backs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::counts::Counts;
use super::sealed::EXTENT;
use super::store::memory::Memory;
use super::{Access, Circle, CircleKey, LateCircle, Role, Shared, SigningKey, Tier, Trust, Tuning};
use crate::cache::block::BLOCK;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::fault::{Fault, Faults, Faulty, Method};
use crate::source::settings::Notes;
use crate::source::{Capabilities, LocalCopy, Retrieval, Sink, Source as _};
use crate::sources::memory::Memory as Remote;

/// A file of three extents: two that are full, and one of two blocks.
pub(super) const SIZE: u64 = 2 * EXTENT + BLOCK + 77;
pub(super) const ETAG: &str = "etag:1";

/// A remote that promises no hashes, with a file `a` of a digest that is none.
pub(super) fn remote() -> Remote {
    let remote = Remote::new();
    let promises = Capabilities { content_digest: false, ..remote.capabilities() };
    let remote = remote.with_capabilities(promises);
    remote.put_as("a", ETAG, content(1));
    remote
}

/// A content in which no block is like another.
pub(super) fn content(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|at| (at / BLOCK) as u8 ^ (at % 251) as u8 ^ seed).collect()
}

/// All of the file that need not come from the source, an extent in each part.
pub(super) fn extents() -> [Range<u64>; 3] {
    [BLOCK..EXTENT, EXTENT..2 * EXTENT, 2 * EXTENT..SIZE]
}

/// The content of that.
pub(super) fn after_first(seed: u8) -> Vec<u8> {
    content(seed).split_off(BLOCK as usize)
}

fn path() -> RemotePath {
    RemotePath::parse(b"a").expect("a path")
}

pub(super) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The circle whose key is this digit.
pub(super) fn circle(key: char, access: Access, source_id: &'static str) -> Arc<LateCircle> {
    let key = CircleKey::parse(&key.to_string().repeat(64)).expect("a key");
    let circle = LateCircle::new(move || Ok(Circle::new(&key, access, source_id)));
    circle.unlock().expect("it is there");
    circle
}

/// The circle of '1' in which the values count of those whose keys these digits are, and which signs with that one.
pub(super) fn signing(trusted: &[char], own: Option<char>) -> Arc<LateCircle> {
    let key = |digit: char| SigningKey::parse(&digit.to_string().repeat(64)).expect("a key");
    let trust = Trust::new(trusted.iter().map(|digit| key(*digit).public()).collect(), own.map(key));
    let (trust, of) = (Arc::new(trust), CircleKey::parse(&"1".repeat(64)).expect("a key"));
    let circle = LateCircle::new(move || Ok(Circle::signing(&of, Access::Same, "memory", Some(trust.clone()))));
    circle.unlock().expect("it is there");
    circle
}

/// A mount that shares.
pub(super) struct Machine {
    pub(super) source: Shared,
    pub(super) faults: Faults,
    pub(super) tier: Arc<Tier>,
}

impl Machine {
    pub(super) fn new(store: &Arc<Memory>, remote: &Remote) -> Self {
        Self::of(store, remote, '1', Tuning::default(), false)
    }

    /// One whose key is this digit.
    pub(super) fn of(store: &Arc<Memory>, remote: &Remote, key: char, tuning: Tuning, weak: bool) -> Self {
        Self::in_circle(store, remote, circle(key, Access::Same, "memory"), tuning, weak)
    }

    pub(super) fn in_circle(
        store: &Arc<Memory>,
        remote: &Remote,
        circle: Arc<LateCircle>,
        tuning: Tuning,
        weak: bool,
    ) -> Self {
        Self::on(Tier::new(store.clone(), tuning), remote, circle, weak)
    }

    /// One that shares by this tier.
    pub(super) fn on(tier: Arc<Tier>, remote: &Remote, circle: Arc<LateCircle>, weak: bool) -> Self {
        let (faulty, faults) = Faulty::new(remote.clone());
        Self { source: Shared::new(Arc::new(faulty), tier.clone(), circle, weak, Notes::default()), faults, tier }
    }

    pub(super) async fn try_read(&self, digest: &str, size: u64, range: Range<u64>) -> Result<Vec<u8>> {
        let (path, digest, mut bytes) = (path(), Digest::new(digest), Vec::new());
        let request = Retrieval::new(&path, &digest, size, range);
        let result = self.source.retrieve_file(&request, &mut bytes).await;
        self.tier.settle().await;
        result.map(|_| bytes)
    }

    pub(super) async fn read(&self, range: Range<u64>) -> Vec<u8> {
        self.try_read(ETAG, SIZE, range).await.expect("the source answers")
    }

    /// Reads everything that need not come from the source, an extent in each request.
    async fn read_extents(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for range in extents() {
            all.extend(self.read(range).await);
        }
        all
    }

    /// What the local digest of a whole copy with these bytes is.
    pub(super) async fn prove(&self, digest: &str, bytes: &[u8]) -> Digest {
        let dir = kit::reaper::temporary();
        let (file, path, retrieved_as) = (dir.path().join("a"), path(), Digest::new(digest));
        std::fs::write(&file, bytes).expect("a copy");
        let copy = LocalCopy { file: &file, path: &path, retrieved_as: &retrieved_as, size: bytes.len() as u64 };
        let local = self.source.create_local_digest(&copy).await.expect("it can be read");
        self.tier.settle().await;
        local
    }

    pub(super) fn counts(&self) -> &Counts {
        self.tier.counts()
    }

    /// How often the source was asked for content.
    pub(super) fn retrievals(&self) -> u64 {
        self.faults.calls(Method::RetrieveFile)
    }
}

/// A store with the file `a`, and its values by extent.
pub(super) async fn filled(remote: &Remote) -> (Arc<Memory>, Vec<(String, Bytes)>) {
    let store = Arc::<Memory>::default();
    let writer = Machine::new(&store, remote);
    assert!(writer.read(0..SIZE).await == content(1));
    assert_eq!(count(&writer.counts().bytes_out), SIZE);
    let mut values: Vec<_> = store.values.lock().clone().into_iter().collect();
    assert_eq!(values.len(), 3);
    values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    (store, values)
}

/// A store with these values.
fn with(values: BTreeMap<String, Bytes>) -> Arc<Memory> {
    let store = Memory::default();
    *store.values.lock() = values;
    Arc::new(store)
}

/// Waits until what is done in the background is.
pub(super) async fn until(mut is_done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it is not done");
}

#[tokio::test(start_paused = true)]
async fn what_one_machine_retrieved_the_next_one_need_not() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    let second = Machine::new(&store, &remote);
    assert!(second.read(0..SIZE).await == content(1));
    assert_eq!((second.retrievals(), second.faults.bytes()), (1, BLOCK), "but for the first block, it need not");
    assert_eq!((count(&second.counts().hits), count(&second.counts().misses)), (3, 0));
    assert_eq!((count(&second.counts().bytes_in), count(&second.counts().bytes_out)), (SIZE - BLOCK, 0));
    let some = EXTENT - BLOCK..EXTENT + BLOCK;
    let expected = content(1)[EXTENT as usize - BLOCK as usize..EXTENT as usize + BLOCK as usize].to_vec();
    assert!(second.read(some).await == expected);
    assert_eq!((second.retrievals(), count(&second.counts().bytes_in)), (1, SIZE + BLOCK));
}

#[tokio::test(start_paused = true)]
async fn another_circle_another_account_and_another_version_have_no_hit() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    let stranger = Machine::of(&store, &remote, '2', Tuning::default(), false);
    assert!(stranger.read(0..SIZE).await == content(1));
    assert_eq!((count(&stranger.counts().hits), stranger.retrievals()), (0, 1));

    let of_ben = circle('1', Access::Same, "memory of ben");
    let other = Machine::in_circle(&store, &remote, of_ben, Tuning::default(), false);
    other.read(0..SIZE).await;
    assert_eq!(count(&other.counts().hits), 0);

    remote.put_as("a", "etag:2", content(2));
    let later = Machine::new(&store, &remote);
    assert!(later.try_read("etag:2", SIZE, 0..SIZE).await.expect("it is there") == content(2));
    assert_eq!(count(&later.counts().hits), 0);
}

#[tokio::test(start_paused = true)]
async fn whatever_the_store_answers_no_byte_is_wrong_and_what_was_touched_is_counted() {
    let remote = remote();
    let (_, values) = filled(&remote).await;
    let sealed: BTreeMap<_, _> = values.iter().cloned().collect();
    let mut altered = Vec::new();
    // A bit of the nonce, of the content and of the tag, of the second and the last block of each value.
    let second = BLOCK as usize + 28;
    for place in [0, 11, 12, 50, 70_000, BLOCK as usize + 12, BLOCK as usize + 27] {
        for from_end in [false, true] {
            let flip = |value: &Bytes| {
                let mut bytes = value.to_vec();
                let last = bytes.len() - 1;
                let at = if from_end { last - place.min(last - second) } else { (second + place).min(last) };
                bytes[at] ^= 1 << (at % 8);
                Bytes::from(bytes)
            };
            let store: BTreeMap<_, _> = sealed.iter().map(|(name, value)| (name.clone(), flip(value))).collect();
            altered.push((format!("a flip at {place}, from the end: {from_end}"), store, 3));
        }
    }
    for length in [0, 1, 12, 28, 1000] {
        let store = sealed.iter().map(|(name, value)| (name.clone(), value.slice(..length))).collect();
        altered.push((format!("cut to {length} bytes"), store, 3));
    }
    let cut = sealed.iter().map(|(name, value)| (name.clone(), value.slice(..value.len() - 1))).collect();
    altered.push(("cut by a byte".into(), cut, 3));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let mut store = sealed.clone();
        store.insert(values[one].0.clone(), values[other].1.clone());
        store.insert(values[other].0.clone(), values[one].1.clone());
        altered.push((format!("values {one} and {other} swapped"), store, 2));
    }
    let of_old = {
        remote.put_as("a", "etag:0", content(9));
        let store = Arc::<Memory>::default();
        let writer = Machine::new(&store, &remote);
        writer.try_read("etag:0", SIZE, 0..SIZE).await.expect("it is there");
        remote.put_as("a", ETAG, content(1));
        let mut old: Vec<_> = store.values.lock().values().cloned().collect();
        old.sort_by_key(|value| std::cmp::Reverse(value.len()));
        old
    };
    let store = values.iter().zip(of_old).map(|((name, _), old)| (name.clone(), old)).collect();
    altered.push(("an old version in the place of the new one".into(), store, 3));

    for (what, values, touched) in altered {
        let store = with(values.clone());
        let reader = Machine::new(&store, &remote);
        assert!(reader.read_extents().await == after_first(1), "{what}");
        assert_eq!(count(&reader.counts().refused), touched, "{what}");
        assert_eq!((reader.retrievals(), count(&reader.counts().hits)), (touched, 3 - touched), "{what}");
        assert!(!reader.tier.refuse("once more"), "{what}: it was told already");
        // What was refused is removed, so that what is right can take its place.
        until(|| {
            values.iter().all(|(name, wrong)| store.values.lock().get(name) != Some(wrong) || sealed[name] == *wrong)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once() {
    let reader = Machine::new(&Arc::default(), &remote());
    assert!(reader.tier.refuse("a value is wrong"));
    assert!(!reader.tier.refuse("another one is"));
    assert_eq!(count(&reader.counts().refused), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_lacks_is_all_that_the_source_is_asked_for() {
    let remote = remote();
    for ranges in [true, false] {
        let (store, values) = filled(&remote).await;
        store.values.lock().remove(&values[2].0);
        let capabilities = Capabilities { ranges, ..remote.capabilities() };
        let reader = Machine::new(&store, &remote.clone().with_capabilities(capabilities));
        assert!(reader.read(0..SIZE).await == content(1), "no byte comes twice");
        let asked = if ranges { (2, BLOCK + SIZE - 2 * EXTENT) } else { (1, SIZE) };
        assert_eq!((reader.retrievals(), reader.faults.bytes()), asked);
        assert_eq!(store.values.lock().len(), 3, "and what was lacking is given");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_a_read_no_more_than_the_patience() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    store.silent.store(true, Ordering::Relaxed);
    let patience = Duration::from_millis(70);
    let reader = Machine::of(
        &store,
        &remote,
        '1',
        Tuning { patience: Some(patience), role: Role::Read, ..Tuning::default() },
        false,
    );
    let began = Instant::now();
    assert!(reader.read(0..SIZE).await == content(1));
    assert_eq!((began.elapsed(), reader.retrievals(), count(&reader.counts().hedged)), (patience, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_again_and_again_is_left_alone_for_a_while() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    store.broken.store(true, Ordering::Relaxed);
    let reader = Machine::of(&store, &remote, '1', Tuning { role: Role::Read, ..Tuning::default() }, false);
    let before = store.asked.load(Ordering::Relaxed);
    let second = &after_first(1)[..BLOCK as usize];
    for _ in 0..20 {
        assert!(reader.read(BLOCK..2 * BLOCK).await == second);
    }
    assert_eq!((reader.retrievals(), store.asked.load(Ordering::Relaxed) - before), (20, 5));
    assert!(reader.tier.is_resting());
    store.broken.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(reader.read(BLOCK..2 * BLOCK).await == second);
    assert_eq!((reader.retrievals(), count(&reader.counts().hits)), (20, 1));
}

#[tokio::test(start_paused = true)]
async fn only_what_a_digest_tells_apart_for_good_is_shared() {
    for (digest, weak, is_shared) in [
        ("stat:5-17", false, false),
        ("stat:5-17", true, true),
        ("etag:1;unsettled=1", false, false),
        ("etag:1;unsettled=1", true, false),
        ("etag:1", false, true),
    ] {
        let (remote, store) = (remote(), Arc::<Memory>::default());
        remote.put_as("a", digest, content(1));
        let machine = Machine::of(&store, &remote, '1', Tuning::default(), weak);
        assert!(machine.try_read(digest, SIZE, 0..SIZE).await.expect("it is there") == content(1));
        assert_eq!(!store.values.lock().is_empty(), is_shared, "{digest}, weak: {weak}");
        assert_eq!(store.asked.load(Ordering::Relaxed) > 0, is_shared, "{digest}, weak: {weak}");
    }
    // A source that cannot tell which version its bytes are of.
    let (remote, store) = (remote(), Arc::<Memory>::default());
    let capabilities = Capabilities { proven_whole: true, ..remote.capabilities() };
    let machine = Machine::new(&store, &remote.with_capabilities(capabilities));
    machine.read(0..SIZE).await;
    assert_eq!(store.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_of_a_retrieval_that_did_not_end_well() {
    let (remote, store) = (remote(), Arc::<Memory>::default());
    let machine = Machine::new(&store, &remote);
    for kind in [ErrorKind::Changed, ErrorKind::ChangedDuringRead, ErrorKind::Unreachable] {
        let machine = Machine::new(&store, &remote);
        machine.faults.set(Method::RetrieveFile, Fault::FailAfter(SIZE - 1, kind));
        machine.try_read(ETAG, SIZE, 0..SIZE).await.expect_err("it breaks off");
        assert!(store.values.lock().is_empty(), "{kind:?}");
    }
    machine.read(0..SIZE).await;
    assert_eq!(store.values.lock().len(), 3);
    // Once the source has noticed a change, what was given of that version before is removed, and no more is given.
    machine.faults.set(Method::RetrieveFile, Fault::Fail(ErrorKind::Changed));
    store.values.lock().pop_first();
    for range in extents() {
        let _ = machine.try_read(ETAG, SIZE, range).await;
    }
    until(|| store.values.lock().is_empty()).await;
    machine.faults.clear_all();
    assert!(machine.read(0..SIZE).await == content(1));
    assert!(store.values.lock().is_empty());
}

/// A remote whose digests are hashes, and the digest of its file `a`.
pub(super) fn hashing() -> (Remote, String) {
    let remote = Remote::new();
    remote.put("a", content(1));
    (remote, Remote::digest_of(&content(1)).as_str().to_owned())
}

/// That remote, and a store that has its file.
pub(super) async fn filled_with_hashing() -> (Remote, String, Arc<Memory>) {
    let ((remote, digest), store) = (hashing(), Arc::<Memory>::default());
    let writer = Machine::new(&store, &remote);
    writer.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there");
    writer.prove(&digest, &content(1)).await;
    (remote, digest, store)
}

#[tokio::test(start_paused = true)]
async fn of_a_content_hash_nothing_is_given_before_the_whole_copy_is_proven() {
    let ((remote, digest), store) = (hashing(), Arc::<Memory>::default());
    let machine = Machine::new(&store, &remote);
    assert!(machine.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there") == content(1));
    assert!(store.values.lock().is_empty(), "it is not proven yet");
    assert_eq!(machine.prove(&digest, &content(1)).await.as_str(), digest);
    assert_eq!(store.values.lock().len(), 3);
    let second = Machine::new(&store, &remote);
    assert!(second.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there") == content(1));
    let puts = store.asked.load(Ordering::Relaxed);
    second.prove(&digest, &content(1)).await;
    assert_eq!(
        (second.faults.bytes(), store.asked.load(Ordering::Relaxed)),
        (BLOCK, puts),
        "and it gives nothing back"
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_those_of_the_hash_are_never_given() {
    let ((remote, digest), store) = (hashing(), Arc::<Memory>::default());
    let machine = Machine::new(&store, &remote);
    machine.faults.set_times(Method::RetrieveFile, Fault::Flip(BLOCK), 1);
    let wrong = machine.try_read(&digest, SIZE, 0..SIZE).await.expect("it answers");
    assert_ne!(machine.prove(&digest, &wrong).await.as_str(), digest);
    let right = machine.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there");
    assert!(right == content(1));
    assert_eq!(machine.prove(&digest, &right).await.as_str(), digest);
    assert!(store.values.lock().is_empty(), "a version of which bytes were wrong is shared no more");
    assert_eq!(count(&machine.counts().refused), 0, "they came from the source");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lies_about_a_content_hash_is_found_out_by_the_proof() {
    let ((remote, digest), store) = (hashing(), Arc::<Memory>::default());
    // It holds the key, and takes other bytes for those of the version.
    let lies = self::remote();
    lies.put_as("a", &digest, content(7));
    let liar = Machine::new(&store, &lies);
    liar.try_read(&digest, SIZE, 0..SIZE).await.expect("it answers");
    liar.prove(&digest, &content(7)).await;
    assert_eq!(store.values.lock().len(), 3);

    let reader = Machine::new(&store, &remote);
    let came = reader.try_read(&digest, SIZE, 0..SIZE).await.expect("it answers");
    assert_ne!(reader.prove(&digest, &came).await.as_str(), digest, "the cache takes it not for whole");
    assert_eq!(count(&reader.counts().refused), 1);
    until(|| store.values.lock().is_empty()).await;
    assert!(reader.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there") == content(1));
    assert_eq!((reader.retrievals(), reader.faults.bytes()), (2, BLOCK + SIZE));
}

#[tokio::test(start_paused = true)]
async fn a_role_says_who_asks_and_who_gives() {
    let remote = remote();
    let store = Arc::<Memory>::default();
    let of = |role| Machine::of(&store, &remote, '1', Tuning { role, ..Tuning::default() }, false);
    of(Role::Read).read(0..SIZE).await;
    assert!(store.values.lock().is_empty());
    of(Role::Write).read(0..SIZE).await;
    assert_eq!(store.values.lock().len(), 3);
    let writer = of(Role::Write);
    writer.read(0..SIZE).await;
    assert_eq!((writer.retrievals(), count(&writer.counts().hits)), (1, 0));
    // One that only reads removes nothing either.
    store.values.lock().iter_mut().for_each(|(_, value)| *value = value.slice(1..));
    let reader = of(Role::Read);
    assert!(reader.read_extents().await == after_first(1));
    assert_eq!((count(&reader.counts().refused), store.values.lock().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_read_at_the_source_reads_nothing_that_others_shared() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    let proven = circle('1', Access::Proven, "memory");
    let machine = Machine::in_circle(&store, &remote, proven, Tuning::default(), false);
    machine.faults.set(Method::RetrieveFile, Fault::Fail(ErrorKind::PermissionDenied));
    let error = machine.try_read(ETAG, SIZE, BLOCK..SIZE).await.expect_err("the source refuses");
    assert_eq!((error.kind(), count(&machine.counts().hits)), (ErrorKind::PermissionDenied, 0));
    machine.faults.clear_all();
    assert!(machine.read_extents().await == after_first(1));
    assert_eq!((machine.retrievals(), count(&machine.counts().hits)), (2, 2), "one answer of the source is enough");
    let proven = circle('1', Access::Proven, "memory");
    let other = Machine::in_circle(&store, &remote, proven, Tuning::default(), false);
    assert!(other.read(0..SIZE).await == content(1));
    assert_eq!((other.retrievals(), other.faults.bytes()), (1, BLOCK), "and one block of it");
}

#[tokio::test(start_paused = true)]
async fn of_a_large_file_the_source_says_itself_that_it_has_the_version_still() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    remote.put_as("a", "etag:2", content(2));
    let machine = Machine::new(&store, &remote);
    for range in [0..BLOCK, 0..SIZE] {
        let error = machine.try_read(ETAG, SIZE, range).await.expect_err("it is another by now");
        assert_eq!(error.kind(), ErrorKind::Changed);
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_tier_has_nothing_the_source_is_asked_no_more_often_than_without() {
    let (remote, store) = (remote(), Arc::<Memory>::default());
    let machine = Machine::new(&store, &remote);
    assert!(machine.read(0..SIZE).await == content(1));
    assert_eq!((machine.retrievals(), machine.faults.bytes()), (1, SIZE));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_shared_for_its_weak_digest_is_noted_for_the_user_once() {
    let (remote, store) = (remote(), Arc::<Memory>::default());
    remote.put_as("a", "stat:5-17", content(1));
    let (tier, notes) = (Tier::new(store, Tuning::default()), Notes::default());
    let source = Shared::new(Arc::new(remote), tier, circle('1', Access::Same, "memory"), false, notes.clone());
    let (path, digest) = (path(), Digest::new("stat:5-17"));
    for _ in 0..2 {
        let request = Retrieval::new(&path, &digest, SIZE, 0..SIZE);
        source.retrieve_file(&request, &mut Vec::new()).await.expect("it is there");
    }
    assert_eq!(notes.all().len(), 1);
}

/// A reader that cannot wait for a proof: it hands on what comes.
#[derive(Default)]
struct Impatient(Vec<u8>);

#[async_trait::async_trait]
impl Sink for Impatient {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.write(bytes).await
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_content_hash_only_who_proves_it_first_takes_the_bytes_of_others() {
    let (remote, digest, store) = filled_with_hashing().await;
    let (path, of) = (path(), Digest::new(&*digest));
    let reader = Machine::new(&store, &remote);
    let mut read = Impatient::default();
    reader.source.retrieve_file(&Retrieval::new(&path, &of, SIZE, 0..SIZE), &mut read).await.expect("it is there");
    assert!(read.0 == content(1));
    assert_eq!(reader.faults.bytes(), SIZE, "the source's own");
    // A part comes from the source, so that its reader need not wait for all.
    let part = EXTENT..EXTENT + BLOCK;
    reader.try_read(&digest, SIZE, part).await.expect("it is there");
    assert_eq!(reader.faults.bytes(), SIZE + BLOCK);
    assert!(reader.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there") == content(1));
    assert_eq!(reader.faults.bytes(), SIZE + 2 * BLOCK);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_large_to_be_proven_first_is_shared_by_those_who_sign() {
    let (remote, digest) = hashing();
    for (prove_first, signs, is_shared) in
        [(SIZE, false, true), (SIZE - 1, false, false), (0, false, false), (0, true, true)]
    {
        let store = Arc::<Memory>::default();
        let tuning = Tuning { prove_first, ..Tuning::default() };
        let machine = || {
            let circle = if signs { signing(&[], Some('2')) } else { circle('1', Access::Same, "memory") };
            Machine::in_circle(&store, &remote, circle, tuning, false)
        };
        let writer = machine();
        writer.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there");
        writer.prove(&digest, &content(1)).await;
        assert_eq!(!store.values.lock().is_empty(), is_shared, "up to {prove_first}, signed: {signs}");
        let reader = machine();
        assert!(reader.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there") == content(1));
        assert_eq!(reader.faults.bytes(), if is_shared { BLOCK } else { SIZE });
    }
}
