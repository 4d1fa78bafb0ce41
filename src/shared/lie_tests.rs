//! Tests of members of a circle that have its key and give wrong bytes: signatures, and what is compared with the source.

use std::sync::Arc;

use super::sealed::EXTENT;
use super::store::memory::Memory;
use super::tests::{ETAG, Machine, SIZE, circle, content, count, filled_with_hashing, remote, signing, until};
use super::{Access, LateCircle, Tuning};
use crate::cache::block::BLOCK;
use crate::digest::Digest;

/// A store with the file `a` as a member tells it that lies.
async fn lies(circle: Arc<LateCircle>) -> Arc<Memory> {
    let (store, lies) = (Arc::<Memory>::default(), remote());
    lies.put_as("a", ETAG, content(7));
    let liar = Machine::in_circle(&store, &lies, circle, Tuning::default(), false);
    liar.read(0..SIZE).await;
    assert_eq!(store.values.lock().len(), 3);
    store
}

fn auditing() -> Tuning {
    Tuning { audit: 1.0, ..Tuning::default() }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_signed_who_is_trusted_is_ignored() {
    // One who is not trusted signs, and one who is trusted does not: its values have other names.
    for liar in [signing(&[], Some('3')), circle('1', Access::Same, "memory")] {
        let store = lies(liar).await;
        let honest = Machine::in_circle(&store, &remote(), signing(&['2'], Some('2')), Tuning::default(), false);
        assert!(honest.read(0..SIZE).await == content(1));
        assert_eq!(count(&honest.counts().hits), 0);
        // It has put its own in their place, which others take who trust it, and which those do not who trust nobody.
        honest.read(EXTENT..SIZE).await;
        let reader = Machine::in_circle(&store, &remote(), signing(&['2'], None), Tuning::default(), false);
        until(|| store.values.lock().len() >= 3).await;
        assert!(reader.read(0..SIZE).await == content(1));
        assert!(reader.faults.bytes() <= EXTENT + BLOCK, "{}", reader.faults.bytes());
    }
    let store = lies(signing(&[], Some('3'))).await;
    let before = store.values.lock().clone();
    let unsigned = Machine::in_circle(&store, &remote(), signing(&['2'], None), Tuning::default(), false);
    assert!(unsigned.read(0..SIZE).await == content(1));
    assert_eq!((count(&unsigned.counts().hits), count(&unsigned.counts().bytes_out)), (0, 0), "it cannot give any");
    until(|| store.values.lock().iter().all(|value| before.get(value.0) == Some(value.1))).await;
}

#[tokio::test(start_paused = true)]
async fn who_compares_finds_a_lie_and_takes_nothing_from_others_any_more() {
    let (store, remote) = (lies(circle('1', Access::Same, "memory")).await, remote());
    let reader = Machine::in_circle(&store, &remote, circle('1', Access::Same, "memory"), auditing(), false);
    let read = reader.read(0..SIZE).await;
    assert!(read == content(1), "bytes that are compared are the source's");
    assert_eq!((count(&reader.counts().audited), count(&reader.counts().lies)), (1, 1));
    until(|| store.values.lock().is_empty()).await;
    // Nobody can tell who it was: of other versions nothing is taken either.
    remote.put_as("a", "etag:2", content(2));
    let writer = Machine::new(&store, &remote);
    writer.try_read("etag:2", SIZE, 0..SIZE).await.expect("it is there");
    let bytes = reader.faults.bytes();
    reader.try_read("etag:2", SIZE, 0..SIZE).await.expect("it is there");
    assert_eq!(reader.faults.bytes() - bytes, SIZE);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_sign_only_the_liar_is_believed_no_more() {
    let (store, remote) = (lies(signing(&[], Some('3'))).await, remote());
    let both = || signing(&['2', '3'], None);
    let reader = Machine::in_circle(&store, &remote, both(), auditing(), false);
    assert!(reader.read(0..SIZE).await == content(1));
    assert_eq!(count(&reader.counts().lies), 1);
    until(|| store.values.lock().is_empty()).await;
    for (signer, is_taken) in [('3', false), ('2', true)] {
        let digest = format!("etag:{signer}");
        remote.put_as("a", &digest, content(2));
        let writer = Machine::in_circle(&store, &remote, signing(&[], Some(signer)), Tuning::default(), false);
        writer.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there");
        let hits = count(&reader.counts().hits);
        assert!(reader.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there") == content(2));
        assert_eq!(count(&reader.counts().hits) > hits, is_taken, "{signer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_has_bytes_of_a_lie_is_not_taken_for_whole() {
    let remote = remote();
    let reader = loop {
        let store = lies(circle('1', Access::Same, "memory")).await;
        let shared = circle('1', Access::Same, "memory");
        let reader = Machine::in_circle(&store, &remote, shared, Tuning { audit: 0.5, ..Tuning::default() }, false);
        let mut taken = 0;
        for block in (1..64_u64).cycle() {
            let read = reader.read(block * BLOCK..(block + 1) * BLOCK).await;
            if count(&reader.counts().lies) > 0 {
                assert!(read[..] == content(1)[(block * BLOCK) as usize..((block + 1) * BLOCK) as usize]);
                break;
            }
            taken += 1;
        }
        // The first part that comes may be compared: then nothing of the lie is in the copy.
        if taken > 0 {
            break reader;
        }
        assert_eq!(reader.prove(ETAG, &content(1)).await, Digest::new(ETAG));
    };
    assert!(reader.prove(ETAG, &content(7)).await.is_damage(), "the cache throws it away");
    assert!(reader.read(0..SIZE).await == content(1));
    assert_eq!(reader.prove(ETAG, &content(1)).await, Digest::new(ETAG));
}

#[tokio::test(start_paused = true)]
async fn what_is_honest_is_compared_and_shared() {
    let (hashed, digest, store) = filled_with_hashing().await;
    let of = |audit| {
        let tuning = Tuning { audit, ..Tuning::default() };
        Machine::in_circle(&store, &hashed, circle('1', Access::Same, "memory"), tuning, false)
    };
    for (audit, compared) in [(1.0, 3), (0.0, 0)] {
        let reader = of(audit);
        assert!(reader.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there") == content(1));
        assert_eq!((count(&reader.counts().audited), count(&reader.counts().lies)), (compared, 0));
        assert_eq!((count(&reader.counts().hits), store.values.lock().len()), (3, 3));
    }
    // About so many of many.
    let reader = of(0.2);
    for _ in 0..200 {
        reader.try_read(&digest, SIZE, BLOCK..2 * BLOCK).await.expect("it is there");
    }
    let compared = count(&reader.counts().audited);
    assert!((5..=100).contains(&compared), "{compared} of 200");
}
