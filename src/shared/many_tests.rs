//! Tests of many machines at once: with leases, who retrieves and who waits, and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use super::backend::Backend;
use super::claim::{Claim, Claims, Size};
use super::leases::Leases;
use super::leases::memory::Memory as Held;
use super::sealed::EXTENT;
use super::store::memory::Memory;
use super::store::{Place, Redis, Store as _};
use super::tests::{ETAG, Machine, SIZE, circle, content, count, filled, hashing, remote, until};
use super::{Access, Services, Tier, Tuning};
use crate::cache::block::BLOCK;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory as Remote;

/// How long a source takes for a request here.
const SOURCE: Duration = Duration::from_millis(80);

/// Machines with leases, whose source takes a while.
fn machines(number: usize, store: &Arc<Memory>, leases: &Arc<Held>, remote: &Remote) -> Vec<Machine> {
    let machine = |_| {
        let services = Services { store: Some(store.clone()), leases: Some(leases.clone()), ..Services::default() };
        let tier = Tier::with(services, Tuning::default());
        let machine = Machine::on(tier, remote, circle('1', Access::Same, "memory"), false);
        machine.faults.set(Method::RetrieveFile, Fault::Delay(SOURCE));
        machine
    };
    (0..number).map(machine).collect()
}

fn bytes(machines: &[Machine]) -> u64 {
    machines.iter().map(|machine| machine.faults.bytes()).sum()
}

#[tokio::test(start_paused = true)]
async fn what_many_machines_read_at_once_is_retrieved_once() {
    let (store, leases, remote) = (Arc::<Memory>::default(), Arc::<Held>::default(), remote());
    let machines = machines(8, &store, &leases, &remote);
    let all = join_all(machines.iter().map(|machine| machine.read(0..SIZE))).await;
    assert!(all.iter().all(|read| *read == content(1)));
    let first_blocks = machines.len() as u64 * BLOCK;
    assert!(bytes(&machines) <= SIZE + first_blocks, "{} bytes came from the source", bytes(&machines));
    let won: u64 = machines.iter().map(|machine| count(&machine.counts().leases_won)).sum();
    let waited: u64 = machines.iter().map(|machine| count(&machine.counts().leases_waited)).sum();
    assert!(won >= 2 && waited >= 7, "{won} won, {waited} waited");
    assert_eq!(leases.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn small_files_that_only_the_whole_copy_proves_are_retrieved_once_too() {
    let (store, leases, remote) = (Arc::<Memory>::default(), Arc::<Held>::default(), Remote::new());
    let small = content(1)[..700_000].to_vec();
    remote.put("a", small.clone());
    let digest = Remote::digest_of(&small).as_str().to_owned();
    let machines = machines(4, &store, &leases, &remote);
    let reading = machines.iter().map(|machine| async {
        let read = machine.try_read(&digest, 700_000, 0..700_000).await.expect("it is there");
        machine.prove(&digest, &read).await;
        read
    });
    assert!(join_all(reading).await.iter().all(|read| *read == small));
    assert_eq!((bytes(&machines), leases.held()), (700_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_large_file_is_retrieved_once_whatever_parts_its_readers_ask_for() {
    let (hashed, digest) = hashing();
    for (remote, digest) in [(hashed, digest), (remote(), ETAG.to_owned())] {
        for blocks in [3, 9, 20] {
            let (store, leases) = (Arc::<Memory>::default(), Arc::<Held>::default());
            let machines = machines(8, &store, &leases, &remote);
            let reading = machines.iter().map(|machine| async {
                let mut read = machine.try_read(&digest, SIZE, 0..BLOCK).await.expect("it is there");
                for first in (1..SIZE.div_ceil(BLOCK)).step_by(blocks) {
                    let part = first * BLOCK..((first + blocks as u64) * BLOCK).min(SIZE);
                    read.extend(machine.try_read(&digest, SIZE, part).await.expect("it is there"));
                }
                machine.prove(&digest, &read).await;
                read
            });
            assert!(join_all(reading).await.iter().all(|read| *read == content(1)));
            assert_eq!(bytes(&machines), SIZE + 7 * BLOCK, "{blocks} blocks at a time: but for the first one, once");
            let given: u64 = machines.iter().map(|machine| count(&machine.counts().bytes_out)).sum();
            assert_eq!((given, leases.held()), (SIZE, 0), "and it is given once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_source_that_has_much_to_do_what_another_machine_retrieves_is_waited_for_longer() {
    for (takes, most) in [(4_000, SIZE + 7 * BLOCK), (80, SIZE + 7 * BLOCK)] {
        let (store, leases, remote) = (Arc::<Memory>::default(), Arc::<Held>::default(), remote());
        let machines = machines(8, &store, &leases, &remote);
        let takes = Duration::from_millis(takes);
        machines.iter().for_each(|machine| machine.faults.set(Method::RetrieveFile, Fault::Delay(takes)));
        let reading = machines.iter().map(|machine| async {
            let mut read = machine.read(0..BLOCK).await;
            read.extend(machine.read(BLOCK..SIZE).await);
            read
        });
        assert!(join_all(reading).await.iter().all(|read| *read == content(1)));
        assert!(bytes(&machines) <= most, "{takes:?}: {} bytes came from the source", bytes(&machines));
        assert_eq!(leases.held(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_no_further_keeps_others_waiting_for_a_moment() {
    let (store, leases, remote) = (Arc::<Memory>::default(), Arc::<Held>::default(), remote());
    let machines = machines(2, &store, &leases, &remote);
    let begun = machines[0].read(0..3 * BLOCK).await;
    assert!(begun == content(1)[..3 * BLOCK as usize]);
    assert_eq!(leases.held(), 1);
    let began = Instant::now();
    assert!(machines[1].read(0..SIZE).await == content(1));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // Blocks here and there make nobody wait.
    remote.put_as("a", "etag:2", content(2));
    for block in [4, 40, 44, 60] {
        machines[0].try_read("etag:2", SIZE, block * BLOCK..(block + 1) * BLOCK).await.expect("it is there");
    }
    let waited = count(&machines[1].counts().leases_waited);
    machines[1].try_read("etag:2", SIZE, 0..SIZE).await.expect("it is there");
    assert_eq!(count(&machines[1].counts().leases_waited), waited);
}

#[tokio::test(start_paused = true)]
async fn of_a_hash_that_is_given_as_it_comes_wrong_bytes_are_found_by_every_reader() {
    let (store, leases) = (Arc::<Memory>::default(), Arc::<Held>::default());
    let (remote, digest) = hashing();
    let machines = machines(2, &store, &leases, &remote);
    machines[0].faults.set_times(Method::RetrieveFile, Fault::Flip(EXTENT + 5), 1);
    let wrong = machines[0].try_read(&digest, SIZE, 0..SIZE).await.expect("it answers");
    let taken = machines[1].try_read(&digest, SIZE, 0..SIZE).await.expect("it answers");
    assert!(wrong == taken && wrong != content(1));
    for machine in &machines {
        assert_ne!(machine.prove(&digest, &wrong).await.as_str(), digest, "no cache takes it for whole");
    }
    until(|| store.values.lock().is_empty()).await;
    for machine in &machines {
        let right = machine.try_read(&digest, SIZE, 0..SIZE).await.expect("it is there");
        assert!(right == content(1));
        assert_eq!(machine.prove(&digest, &right).await.as_str(), digest);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_holder_that_fails_the_next_one_takes_the_lease() {
    let (store, leases, remote) = (Arc::<Memory>::default(), Arc::<Held>::default(), remote());
    let machines = machines(3, &store, &leases, &remote);
    // It fails after a while.
    machines[0].faults.set(Method::RetrieveFile, Fault::Crowded(0));
    let part = EXTENT..2 * EXTENT;
    let later = async |machine: &Machine| {
        tokio::time::sleep(Duration::from_millis(10)).await;
        machine.read(part.clone()).await
    };
    let failing = machines[0].try_read(ETAG, SIZE, part.clone());
    let (failed, second, third) = tokio::join!(failing, later(&machines[1]), later(&machines[2]));
    assert!(failed.is_err() && count(&machines[0].counts().leases_won) == 1);
    assert!(second == content(1)[EXTENT as usize..2 * EXTENT as usize] && second == third);
    assert_eq!(machines[1].retrievals() + machines[2].retrievals(), 1);
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_not_told_cost_a_moment_and_then_nothing() {
    let remote = remote();
    for silent in [true, false] {
        let (store, leases) = (Arc::<Memory>::default(), Arc::<Held>::default());
        if silent { &leases.silent } else { &leases.broken }.store(true, Ordering::Relaxed);
        let machine = machines(1, &store, &leases, &remote).remove(0);
        let mut took = Vec::new();
        for version in 0..8 {
            let digest = format!("etag:{version}");
            remote.put_as("a", &digest, content(1));
            let began = Instant::now();
            let read = machine.try_read(&digest, SIZE, EXTENT..2 * EXTENT).await.expect("the source answers");
            assert!(read == content(1)[EXTENT as usize..2 * EXTENT as usize]);
            took.push(began.elapsed());
        }
        let once = if silent { Duration::from_millis(100) } else { Duration::ZERO };
        // By tokio's clock, which goes by whole milliseconds.
        let near = |took: &Duration, wanted: Duration| took.abs_diff(wanted) <= Duration::from_millis(3);
        assert!(took[..5].iter().all(|took| near(took, SOURCE + once)), "{took:?}");
        assert!(took[5..].iter().all(|took| near(took, SOURCE)), "{took:?}");
        assert_eq!(machine.retrievals(), 8);
    }
}

/// Holders of so many extents die, and machines that need those wait. How often an extent is retrieved by the living at most, and how long
/// any of them waits for the dead.
async fn outlive(
    leases: impl Fn(usize) -> Arc<dyn Leases>,
    extents: usize,
    machines: usize,
    takes: Duration,
) -> (usize, Duration) {
    let store = Arc::<Memory>::default();
    let claims = |machine| Claims::new(leases(machine), Arc::default(), Some(Duration::from_secs(1)));
    let backend = Backend::new(store.clone(), Arc::default());
    let name = |extent: usize| format!("v1/aa/{extent:064}");
    let dying = claims(0);
    for extent in 0..extents {
        match dying.claim(&name(extent), &backend, Size::Large, Duration::ZERO).await {
            Claim::Mine(lease) => lease.die(),
            Claim::There | Claim::Without => panic!("nobody has it"),
        }
    }
    let retrieved: Arc<Vec<AtomicUsize>> = Arc::new((0..extents).map(|_| AtomicUsize::new(0)).collect());
    let claims: Vec<_> = (1..=machines).map(claims).collect();
    let living = (0..extents).flat_map(|extent| claims.iter().map(move |claims| (extent, claims.clone())));
    let living = living.map(|(extent, claims)| {
        let (backend, name, retrieved, store) = (backend.clone(), name(extent), retrieved.clone(), store.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let claim = claims.claim(&name, &backend, Size::Large, Duration::ZERO).await;
            let waited = began.elapsed();
            let Claim::Mine(lease) = claim else {
                if !matches!(claim, Claim::There) {
                    retrieved[extent].fetch_add(1, Ordering::Relaxed);
                }
                return waited;
            };
            retrieved[extent].fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(takes).await;
            store.put_if_absent(&name, Bytes::from_static(b"v")).await.expect("it takes it");
            lease.given();
            waited
        })
    });
    let waited = join_all(living).await.into_iter().map(|waited| waited.expect("it ends")).max();
    let most = retrieved.iter().map(|retrieved| retrieved.load(Ordering::Relaxed)).max();
    assert!(retrieved.iter().all(|retrieved| retrieved.load(Ordering::Relaxed) > 0));
    (most.expect("there are some"), waited.expect("there are some"))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_holders_die_and_nobody_waits_two_seconds_or_retrieves_twice() {
    let leases = Arc::<Held>::default();
    let (most, waited) = outlive(|_| leases.clone(), 1_000, 5, Duration::from_millis(200)).await;
    // The dead may have retrieved it too.
    assert!(most == 1 && waited <= Duration::from_secs(2), "retrieved {most} times, waited {waited:?}");
}

#[tokio::test]
async fn holders_in_redis_die_and_their_leases_are_taken_over() {
    let dir = kit::reaper::temporary();
    let server = kit::redis::Redis::start(dir.path());
    let leases = |_| {
        let place = Place::of(server.url().parse().expect("a URL"));
        Arc::new(Redis::new(&place).expect("a place")) as Arc<dyn Leases>
    };
    let (most, waited) = outlive(leases, 20, 3, Duration::from_millis(50)).await;
    // On a busy machine a question about a lease may take longer than a reader waits for its answer.
    assert!(most <= 3 && waited < Duration::from_secs(4), "retrieved {most} times, waited {waited:?}");
}

#[tokio::test]
async fn a_lease_in_redis_has_one_holder_and_its_end_is_heard() {
    let dir = kit::reaper::temporary();
    let mut server = kit::redis::Redis::start(dir.path());
    let place = Place::of(server.url().parse().expect("a URL"));
    let open = || Redis::new(&place).expect("a place");
    let (one, two) = (open(), open());
    let take = async |redis: &Redis, holder, from| redis.take("x", holder, from).await.expect("it answers");
    assert_eq!(take(&one, "one", None).await, None);
    assert_eq!(take(&two, "two", None).await.as_deref(), Some("one"));
    assert_eq!(take(&two, "two", Some("three")).await.as_deref(), Some("one"), "whom it does not take it from");
    assert!(one.renew("x", "one").await.expect("it answers"));
    assert!(!two.renew("x", "two").await.expect("it answers"));
    let mut ends = two.listen("x").await.expect("it listens");
    let mut again = two.listen("x").await.expect("it listens");
    one.release("x", "one").await.expect("it answers");
    ends.next().await;
    again.next().await;
    drop(ends);
    assert_eq!(take(&two, "two", None).await, None);
    assert_eq!(take(&one, "three", Some("two")).await, None, "it is taken over");
    two.release("x", "two").await.expect("it answers");
    again.next().await;
    assert_eq!(take(&two, "two", None).await.as_deref(), Some("three"), "who had it no more has not ended it");
    // When the server goes, those who listen look for themselves.
    server.stop();
    again.next().await;
}

#[tokio::test(start_paused = true)]
async fn without_leases_what_another_machine_put_meanwhile_is_not_retrieved() {
    let remote = remote();
    let (store, values) = filled(&remote).await;
    // Those of the first extent and the last one.
    let (first, last) = (values[0].0.clone(), values[2].0.clone());
    let middle = values[1].0.clone();
    let reader = Machine::new(&store, &remote);
    let has = |name: &String| store.values.lock().contains_key(name);
    // Of two extents of one length the test does not know which is which: it finds out.
    store.values.lock().remove(&first);
    reader.read(EXTENT..2 * EXTENT).await;
    let (first, middle) = if reader.retrievals() == 0 { (first, middle) } else { (middle, first) };
    assert!(has(&middle) || has(&first));
    store.values.lock().retain(|name, _| *name == middle);
    assert!(!has(&first) && !has(&last));
    let reader = Machine::new(&store, &remote);
    assert!(reader.read(0..SIZE).await == content(1));
    assert_eq!((reader.retrievals(), reader.faults.bytes()), (2, SIZE - EXTENT));
    assert_eq!((count(&reader.counts().hits), store.values.lock().len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn two_mounts_that_read_a_file_at_once_without_leases_both_have_it_right() {
    let (store, remote) = (Arc::<Memory>::default(), remote());
    let two = [Machine::new(&store, &remote), Machine::new(&store, &remote)];
    two.iter().for_each(|machine| machine.faults.set(Method::RetrieveFile, Fault::Delay(SOURCE)));
    let read = join_all(two.iter().map(|machine| machine.read(0..SIZE))).await;
    assert!(read.iter().all(|read| *read == content(1)));
    assert_eq!(store.values.lock().len(), 3);
    let given: u64 = two.iter().map(|machine| count(&machine.counts().bytes_out)).sum();
    assert_eq!(given, SIZE, "each extent was put once");
}

#[tokio::test(start_paused = true)]
async fn small_files_have_a_store_of_their_own() {
    let (store, small, remote) = (Arc::<Memory>::default(), Arc::<Memory>::default(), remote());
    small.largest.store(1 << 20, Ordering::Relaxed);
    let machine = || {
        let services = Services { store: Some(store.clone()), small: Some(small.clone()), ..Services::default() };
        Machine::on(Tier::with(services, Tuning::default()), &remote, circle('1', Access::Same, "memory"), false)
    };
    machine().read(0..SIZE).await;
    assert_eq!((store.values.lock().len(), small.values.lock().len()), (3, 0));
    remote.put_as("a", "etag:small", content(2)[..9000].to_vec());
    for retrievals in [1, 0] {
        let machine = machine();
        let read = machine.try_read("etag:small", 9000, 0..9000).await.expect("it is there");
        assert!(read == content(2)[..9000]);
        assert_eq!((machine.retrievals(), small.values.lock().len(), store.values.lock().len()), (retrievals, 1, 3));
    }
    // With nothing but a store of small files, large ones come from the source.
    let services = Services { small: Some(small.clone()), ..Services::default() };
    let alone =
        Machine::on(Tier::with(services, Tuning::default()), &remote, circle('1', Access::Same, "memory"), false);
    remote.put_as("a", ETAG, content(1));
    let asked = small.asked.load(Ordering::Relaxed);
    assert!(alone.read(0..SIZE).await == content(1));
    assert_eq!((alone.retrievals(), small.asked.load(Ordering::Relaxed)), (1, asked));
}
