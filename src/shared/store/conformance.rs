//! What every store keeps, as one test for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Store, Stored};

/// Names that no other test gives.
fn name(number: usize) -> String {
    let hash = blake3::hash(&number.to_le_bytes()).to_hex();
    format!("v1/{}/{hash}", &hash[..2])
}

async fn listed(store: &dyn Store) -> Vec<Stored> {
    let found = Arc::<AtomicU64>::default();
    let mut listed = store.list(&found).await.expect("it lists");
    assert_eq!(found.load(Ordering::Relaxed), listed.len() as u64, "they are counted");
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    listed
}

/// Tests an empty store. Of one that `tells` whether there was a value, which then is empty again afterwards; of another, that it takes and
/// gives values.
pub async fn keeps_the_contract(store: &dyn Store, tells: bool) {
    let (a, b, absent) = (name(1), name(2), name(3));
    assert_eq!(listed(store).await, []);
    assert_eq!(store.get(&absent, 0..4).await.expect("it answers"), None);
    store.delete(&absent).await.expect("that it is not there is no failure");

    let value = large_value();
    let size = value.len() as u64;
    assert!(store.put_if_absent(&a, value.clone()).await.expect("it takes it"));
    let is_new = store.put_if_absent(&a, value.clone()).await.expect("it answers");
    assert_eq!(is_new, !tells, "it is there");
    if tells {
        assert!(!store.put_if_absent(&a, "another".into()).await.expect("it answers"));
    }
    gives_parts(store, &a, &value).await;

    store.put(&a, Bytes::from_static(b"short"), Duration::from_secs(60)).await.expect("it takes it");
    assert_eq!(store.get(&a, 0..9).await.expect("it answers").as_deref(), Some(&b"short"[..]), "in the other's place");
    store.put(&a, value.clone(), Duration::from_secs(60)).await.expect("it takes it");

    // Many at once, of which one is first.
    let puts = (0..8).map(|_| store.put_if_absent(&b, Bytes::from_static(b"b")));
    let put = futures::future::join_all(puts).await;
    let new = put.into_iter().filter(|put| *put.as_ref().expect("it takes it")).count();
    assert_eq!(new, if tells { 1 } else { 8 });
    let stored: Vec<_> = listed(store).await.into_iter().map(|stored| (stored.name, stored.size)).collect();
    let mut expected = vec![(a.clone(), size), (b.clone(), 1)];
    expected.sort();
    assert_eq!(stored, expected);

    store.delete(&a).await.expect("it is deleted");
    assert_eq!(store.get(&a, 0..4).await.expect("it answers"), None);
    assert!(store.put_if_absent(&a, "again".into()).await.expect("it takes it"), "its place is free");
    assert_eq!(store.get(&a, 0..9).await.expect("it answers").as_deref(), Some(&b"again"[..]));
    for name in [&a, &b] {
        store.delete(name).await.expect("it is deleted");
    }
    assert_eq!(listed(store).await, []);
}

/// As large as what is put into stores, and each byte its own.
fn large_value() -> Bytes {
    (0..(1_u32 << 20) + 224).map(|at| (at % 251) as u8 ^ (at / 65_536) as u8).collect()
}

/// Tests what of a value is got by a range.
async fn gives_parts(store: &dyn Store, name: &str, value: &Bytes) {
    let size = value.len() as u64;
    for range in [0..size, 0..1, 131_100..262_200, size - 1..size] {
        let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).expect("small"));
        let got = store.get(name, range.clone()).await.expect("it answers").expect("it is there");
        assert!(got == value[start..end], "{range:?}: {} bytes", got.len());
    }
    let beyond = store.get(name, size - 2..size + 99).await.expect("it answers").expect("it is there");
    assert!(beyond == value[value.len() - 2..]);
    assert_eq!(store.get(name, size + 1..size + 9).await.expect("it answers").as_deref(), Some(&b""[..]));
}

/// Tests a store that shows what another one was given.
pub async fn shows_what_is_in(other: &dyn Store, store: &dyn Store) {
    let (value, present, absent) = (large_value(), name(1), name(3));
    assert!(other.put_if_absent(&present, value.clone()).await.expect("it takes it"));
    gives_parts(store, &present, &value).await;
    assert_eq!(store.get(&absent, 0..4).await.expect("it answers"), None);
    let stored: Vec<_> = listed(store).await.into_iter().map(|stored| (stored.name, stored.size)).collect();
    assert_eq!(stored, [(present, value.len() as u64)]);
}

/// Tests that a listing is whole that has more than a page.
pub async fn lists_many(store: &dyn Store, values: usize) {
    for first in (0..values).step_by(64) {
        let puts = (first..values.min(first + 64)).map(|number| {
            let name = name(number);
            async move { store.put_if_absent(&name, "v".into()).await.expect("it takes it") }
        });
        futures::future::join_all(puts).await;
    }
    let mut expected: Vec<_> = (0..values).map(name).collect();
    expected.sort();
    let names: Vec<_> = listed(store).await.into_iter().map(|stored| stored.name).collect();
    assert!(names == expected, "{} of {values} are listed", names.len());
}
