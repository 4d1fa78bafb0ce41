//! Tests of a store that is late, or dies in the middle: the source is asked beside it, and whoever is first is right.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant as Wall};

use kit::moto::{BUCKET, Moto};
use kit::proxy::{Fate, Link, Proxy};
use tokio::time::Instant;

use super::sealed::EXTENT;
use super::store::{Place, open};
use super::tests::{ETAG, Machine, SIZE, circle, content, count, filled, remote};
use super::{Access, Role, Tier, Tuning};
use crate::revealed::Revealed;
use crate::source::fault::{Fault, Method};

const PATIENCE: Duration = Duration::from_millis(70);

/// One that reads, and gives nothing.
fn tuning() -> Tuning {
    Tuning { patience: Some(PATIENCE), role: Role::Read, ..Tuning::default() }
}

/// How long a read of the second extent takes where the store and the source take so long, whether the content came from the store, and
/// how often the source was asked.
async fn race(store_takes: u64, source_takes: u64) -> (Duration, bool, u64) {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    store.take.store(store_takes, Ordering::Relaxed);
    let reader = Machine::on(Tier::new(store, tuning()), &remote, circle('1', Access::Same, "memory"), false);
    reader.faults.set(Method::RetrieveFile, Fault::Delay(Duration::from_millis(source_takes)));
    let began = Instant::now();
    assert!(reader.read(EXTENT..2 * EXTENT).await == content(1)[EXTENT as usize..2 * EXTENT as usize]);
    let is_late = store_takes > 70;
    assert_eq!(count(&reader.counts().hedged), u64::from(is_late));
    (began.elapsed(), count(&reader.counts().hits) == 1, reader.retrievals())
}

#[tokio::test(start_paused = true)]
async fn whoever_is_first_is_right() {
    for (store, source, takes, from_store, asked) in [
        // In time: the source is not asked.
        (50, 10, 50, true, 0),
        // Late, and the source is faster.
        (500, 100, 170, false, 1),
        // Late, and the source is later still.
        (200, 1_000, 200, true, 1),
        // Never.
        (1_000_000, 100, 170, false, 1),
    ] {
        let (took, hit, retrievals) = race(store, source).await;
        let off = took.abs_diff(Duration::from_millis(takes));
        assert!(off <= Duration::from_millis(4), "{store} against {source} ms: {took:?}");
        assert_eq!((hit, retrievals), (from_store, asked), "{store} against {source} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_brings_late_is_refused_as_what_it_brings_in_time() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    store.values.lock().values_mut().for_each(|value| *value = value.slice(1..));
    store.take.store(200, Ordering::Relaxed);
    let reader = Machine::on(Tier::new(store, tuning()), &remote, circle('1', Access::Same, "memory"), false);
    reader.faults.set(Method::RetrieveFile, Fault::Delay(Duration::from_secs(1)));
    assert!(reader.read(EXTENT..SIZE).await == content(1)[EXTENT as usize..]);
    assert_eq!((count(&reader.counts().refused), count(&reader.counts().hits), reader.retrievals()), (1, 0, 1));
}

/// A store in a bucket behind a line, and the file in it.
struct Line {
    _moto: Moto,
    proxy: Proxy,
    place: Place,
}

impl Line {
    async fn new(dir: &std::path::Path) -> Self {
        let moto = Moto::start(dir);
        let proxy = Proxy::to(moto.port());
        let place = Place {
            endpoint: Some(format!("http://127.0.0.1:{}", proxy.port())),
            access_key_id: Some(Revealed::new("kit")),
            secret_access_key: Some(Revealed::new("kit-secret-Q7x")),
            ..Place::of(format!("s3://{BUCKET}/x").parse().expect("a URL"))
        };
        let line = Self { _moto: moto, proxy, place };
        let writer = line.machine(Tuning { role: Role::Write, ..Tuning::default() });
        assert!(writer.read(0..SIZE).await == content(1));
        assert_eq!(count(&writer.counts().bytes_out), SIZE);
        line
    }

    fn machine(&self, tuning: Tuning) -> Machine {
        let tier = Tier::new(open(&self.place).expect("a store"), tuning);
        Machine::on(tier, &remote(), circle('1', Access::Same, "memory"), false)
    }
}

#[tokio::test]
async fn a_line_to_the_store_that_dies_or_crawls_costs_no_reader_more_than_the_patience() {
    let dir = kit::reaper::temporary();
    let line = Line::new(dir.path()).await;
    let patience = Duration::from_millis(500);
    let tuning = Tuning { patience: Some(patience), role: Role::Read, ..Tuning::default() };
    for (what, link) in [
        ("1 KB in a second", Link { bandwidth: Some(1_000), ..Link::default() }),
        ("stopped in the middle", Link { fate: Some((1 << 20, Fate::Stall)), ..Link::default() }),
        ("stopped before the first byte", Link { fate: Some((0, Fate::Stall)), ..Link::default() }),
        ("reset in the middle", Link { fate: Some((1 << 20, Fate::Reset)), ..Link::default() }),
        ("closed in the middle", Link { fate: Some((1 << 20, Fate::Close)), ..Link::default() }),
        ("refused", Link { refuses: true, ..Link::default() }),
    ] {
        line.proxy.set(link);
        let reader = line.machine(tuning);
        let began = Wall::now();
        assert!(reader.read(EXTENT..SIZE).await == content(1)[EXTENT as usize..], "{what}");
        // On a busy machine the source in memory takes a while too; a reader without patience would take an hour, or for ever.
        assert!(began.elapsed() < patience + Duration::from_secs(10), "{what}: {:?}", began.elapsed());
        assert_eq!((reader.retrievals(), count(&reader.counts().hits)), (1, 0), "{what}");
        assert!(reader.counts().last_error.lock().is_some(), "{what}");
    }
    // And once it is better, a machine that gave up on it for a while finds what is there.
    line.proxy.set(Link::default());
    let patience = Some(Duration::from_secs(20));
    let reader = line.machine(Tuning { patience, role: Role::Read, ..Tuning::default() });
    assert!(reader.try_read(ETAG, SIZE, EXTENT..SIZE).await.expect("it is there") == content(1)[EXTENT as usize..]);
    assert_eq!((reader.retrievals(), count(&reader.counts().hits)), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_ends_with_its_reader() {
    let remote = remote();
    let (store, _) = filled(&remote).await;
    let before = Arc::strong_count(&store);
    store.take.store(1_000_000, Ordering::Relaxed);
    let reader = Machine::on(Tier::new(store.clone(), tuning()), &remote, circle('1', Access::Same, "memory"), false);
    for _ in 0..3 {
        reader.read(EXTENT..2 * EXTENT).await;
    }
    drop(reader);
    // The last one ends by itself.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(Arc::strong_count(&store), before);
}
