//! Tests of stores that are full or damaged: what is asked all the same, and what is given again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::sealed::EXTENT;
use super::tests::{ETAG, Machine, SIZE, content, count, filled, filled_with_hashing, remote, until};
use super::{Health, Role, Tuning};
use crate::cache::block::BLOCK;

/// The same value with another bit in this block.
fn damaged(value: &Bytes, block: usize) -> Bytes {
    let mut bytes = value.to_vec();
    bytes[block * (BLOCK as usize + 28) + 99] ^= 1;
    bytes.into()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_is_asked_all_the_same() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    store.full.store(true, Ordering::Relaxed);
    let reader = Machine::new(&store, &remote);
    for version in 0..6 {
        let digest = format!("etag:new {version}");
        remote.put_as("a", &digest, content(2));
        reader.try_read(&digest, SIZE, EXTENT..2 * EXTENT).await.expect("the source answers");
    }
    let [Some(Health::TakesNothing(why)), None] = reader.tier.health() else { panic!("{:?}", reader.tier.health()) };
    assert!(why.contains("it is full") && !reader.tier.is_resting(), "{why}");
    remote.put_as("a", ETAG, content(1));
    let retrievals = reader.retrievals();
    assert!(reader.read(EXTENT..2 * EXTENT).await == content(1)[EXTENT as usize..2 * EXTENT as usize]);
    assert_eq!((reader.retrievals(), count(&reader.counts().hits)), (retrievals, 1));
    // After a while it is given something again.
    store.full.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(30)).await;
    remote.put_as("a", "etag:last", content(2));
    reader.try_read("etag:last", SIZE, EXTENT..2 * EXTENT).await.expect("the source answers");
    assert_eq!((store.values.lock().len(), reader.tier.health()), (4, [Some(Health::Ok), None]));
}

#[tokio::test(start_paused = true)]
async fn of_a_damaged_value_what_is_right_is_kept_and_all_of_it_given_again() {
    let remote = remote();
    let (store, values) = filled(&remote).await;
    let sealed = store.values.lock().clone();
    // Of one of the two that are full, a block is wrong which is read with the last request of it.
    for wrong in [1, 8, 20, 31] {
        let (name, value) = &values[0];
        store.values.lock().insert(name.clone(), damaged(value, wrong));
        let reader = Machine::new(&store, &remote);
        let mut read = Vec::new();
        for first in (0..SIZE.div_ceil(BLOCK)).step_by(7) {
            read.extend(reader.read(first * BLOCK..((first + 7) * BLOCK).min(SIZE)).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(read == content(1), "block {wrong}");
        assert_eq!(count(&reader.counts().refused), 1, "block {wrong}");
        until(|| *store.values.lock() == sealed).await;
        assert!(reader.faults.bytes() <= 33 * BLOCK, "block {wrong}: no more than it lacked came from the source");
    }
    // One that only reads leaves it.
    store.values.lock().insert(values[0].0.clone(), damaged(&values[0].1, 1));
    let reader = Machine::of(&store, &remote, '1', Tuning { role: Role::Read, ..Tuning::default() }, false);
    assert!(reader.read(0..SIZE).await == content(1));
    assert!(*store.values.lock() != sealed);
}

#[tokio::test(start_paused = true)]
async fn of_a_version_that_is_a_hash_a_damaged_value_is_given_again_from_the_proven_copy() {
    let (remote, digest, store) = filled_with_hashing().await;
    let sealed = store.values.lock().clone();
    let (name, value) = sealed.iter().find(|(_, value)| value.len() as u64 > EXTENT).expect("two are full");
    store.values.lock().insert(name.clone(), damaged(value, 30));
    let reader = Machine::new(&store, &remote);
    let mut read = Vec::new();
    for first in (0..SIZE.div_ceil(BLOCK)).step_by(7) {
        let part = first * BLOCK..((first + 7) * BLOCK).min(SIZE);
        read.extend(reader.try_read(&digest, SIZE, part).await.expect("it is there"));
    }
    assert_eq!(count(&reader.counts().refused), 1);
    until(|| !store.values.lock().contains_key(name)).await;
    reader.prove(&digest, &read).await;
    until(|| *store.values.lock() == sealed).await;
}
