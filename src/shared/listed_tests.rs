//! Tests of listings that machines have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use futures::future::join_all;

use super::leases::memory::Memory as Held;
use super::store::memory::Memory;
use super::tests::{circle, count};
use super::{Access, Listed, Role, Services, Tier, Tuning};
use crate::error::ErrorKind;
use crate::path::RemotePath;
use crate::source::fault::{Fault, Faults, Faulty, Method};
use crate::source::{Entry, Source as _};
use crate::sources::memory::Memory as Remote;

const FRESH_FOR: Duration = Duration::from_secs(60);

/// What the machines have in common, and the clock of all.
struct Fleet {
    store: Arc<Memory>,
    leases: Option<Arc<Held>>,
    remote: Remote,
    seconds: Arc<AtomicU64>,
}

/// One of them.
struct Machine {
    source: Listed,
    faults: Faults,
    tier: Arc<Tier>,
}

impl Fleet {
    fn new(leases: bool) -> Self {
        let remote = Remote::new();
        for name in ["a", "b", "dir/c"] {
            remote.put(name, b"content".to_vec());
        }
        let leases = leases.then(Arc::default);
        Self { store: Arc::default(), leases, remote, seconds: Arc::new(AtomicU64::new(1_900_000_000)) }
    }

    fn machine(&self) -> Machine {
        self.machine_of('1', Access::Same, "memory", Role::ReadWrite, 0)
    }

    /// One with this key, whose clock is ahead by so many seconds.
    fn machine_of(&self, key: char, access: Access, id: &'static str, role: Role, ahead: i64) -> Machine {
        let leases = self.leases.clone().map(|leases| leases as _);
        let services = Services { store: Some(self.store.clone()), leases, ..Services::default() };
        let tier = Tier::with(services, Tuning { role, ..Tuning::default() });
        let (faulty, faults) = Faulty::new(self.remote.clone());
        let seconds = self.seconds.clone();
        let now = move || {
            let seconds = seconds.load(Ordering::Relaxed).saturating_add_signed(ahead);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let source = Listed::new(Arc::new(faulty), tier.clone(), circle(key, access, id), FRESH_FOR, now);
        Machine { source, faults, tier }
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Machine {
    /// The names of a directory, and how old they are.
    async fn list(&self, dir: &str) -> (Vec<String>, Duration) {
        let dir = RemotePath::parse(dir.as_bytes()).expect("a path");
        let stream = self.source.list_path(&dir).await.expect("it is there");
        let age = stream.age();
        let entries: Vec<Entry> = stream.try_collect().await.expect("it ends");
        self.tier.settle().await;
        let mut names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        names.sort();
        (names, age)
    }

    fn asked(&self) -> u64 {
        self.faults.calls(Method::ListPath)
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_machine_was_told_the_others_need_not_ask_while_it_is_fresh() {
    let fleet = Fleet::new(false);
    let first = fleet.machine();
    assert_eq!(first.list("").await.1, Duration::ZERO);
    fleet.pass(30);
    let second = fleet.machine();
    assert_eq!(second.list("").await, (vec!["a".into(), "b".into(), "dir".into()], Duration::from_secs(32)));
    assert_eq!((second.asked(), count(&second.tier.counts().listings)), (0, 1));
    assert_eq!(second.list("dir").await.0, ["c"], "of which nobody was told");
    assert_eq!(second.asked(), 1);
    // Its age counts, and so much the clocks may be apart.
    fleet.pass(27);
    let third = fleet.machine();
    assert_eq!((third.list("").await.1, third.asked()), (Duration::from_secs(59), 0));
    fleet.pass(1);
    let fourth = fleet.machine();
    assert_eq!((fourth.list("").await.1, fourth.asked()), (Duration::ZERO, 1));
    assert_eq!(
        fleet.machine().list("").await.1,
        Duration::from_secs(2),
        "and gives its own in the place of the old one"
    );
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_wants_a_newer_one() {
    let fleet = Fleet::new(false);
    let [first, second] = [fleet.machine(), fleet.machine()];
    first.list("").await;
    fleet.pass(1);
    fleet.remote.put("new", b"content".to_vec());
    assert_eq!(second.list("").await.0.len(), 3);
    assert_eq!((second.list("").await.0.len(), second.asked()), (4, 1), "as after a change that the source reports");
    fleet.pass(1);
    assert_eq!((first.list("").await.0.len(), first.asked()), (4, 2));
    // When it is not fresh any more, what another was told later is good enough.
    fleet.pass(58);
    second.list("").await;
    fleet.pass(2);
    assert_eq!((first.list("").await.1, first.asked()), (Duration::from_secs(4), 2));
}

#[tokio::test(start_paused = true)]
async fn machines_that_ask_at_once_ask_once_where_there_are_leases() {
    let fleet = Fleet::new(true);
    let machines: Vec<_> = (0..8).map(|_| fleet.machine()).collect();
    machines.iter().for_each(|machine| machine.faults.set(Method::ListPath, Fault::Delay(Duration::from_millis(40))));
    let lists = machines.iter().map(|machine| machine.list(""));
    assert!(join_all(lists).await.iter().all(|(names, _)| names.len() == 3));
    assert_eq!(machines.iter().map(Machine::asked).sum::<u64>(), 1);
    assert_eq!(fleet.leases.as_ref().expect("there are some").held(), 0);
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_too_far_apart_share_nothing_old() {
    let fleet = Fleet::new(false);
    let of = |ahead| fleet.machine_of('1', Access::Same, "memory", Role::Read, ahead);
    fleet.machine().list("").await;
    for (ahead, asked, age) in [(-3, 1, 0), (-2, 0, 0), (-1, 0, 1), (2, 0, 4), (57, 0, 59), (58, 1, 0)] {
        let machine = of(ahead);
        let told = machine.list("").await.1;
        assert_eq!((machine.asked(), told), (asked, Duration::from_secs(age)), "{ahead} s ahead");
    }
}

/// As in Redis, which forgets a listing after `fresh_for` by its own clock.
#[tokio::test(start_paused = true)]
async fn clocks_that_are_minutes_off_cost_questions_and_nobody_shows_what_was_forgotten() {
    const OFF: [i64; 7] = [-600, -300, -7, 0, 7, 300, 600];
    let mut taken = Vec::new();
    for (gives, takes) in OFF.iter().flat_map(|gives| OFF.map(|takes| (*gives, takes))) {
        for passed in [0, 5, 30, 59, 60, 298, 302, 600, 660] {
            let fleet = Fleet::new(true);
            let machine = |ahead| fleet.machine_of('1', Access::Same, "memory", Role::ReadWrite, ahead);
            machine(gives).list("").await;
            fleet.pass(passed);
            if passed >= FRESH_FOR.as_secs() {
                fleet.store.values.lock().clear();
            }
            let reader = machine(takes);
            let (names, age) = reader.list("").await;
            assert_eq!(names.len(), 3);
            // By its own clock, so much longer it is shown.
            let shown = Duration::from_secs(passed) + (FRESH_FOR - age);
            if reader.asked() == 0 {
                assert!(shown <= 2 * FRESH_FOR, "{gives} and {takes} s off, after {passed} s: shown until {shown:?}");
                taken.push((gives, takes, passed));
            } else {
                assert_eq!(age, Duration::ZERO);
                // What the clock of the reader says of it is told in its place, so that those whose clocks agree need not ask.
                let next = machine(takes);
                next.list("").await;
                assert_eq!(next.asked(), 0, "{gives} and {takes} s off, after {passed} s");
            }
        }
    }
    assert!(taken.iter().all(|(gives, takes, _)| (gives - takes).abs() < 60), "{taken:?}");
    assert!(taken.contains(&(0, 0, 30)) && taken.contains(&(-300, -300, 5)), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn another_circle_and_another_account_are_told_nothing() {
    let fleet = Fleet::new(false);
    fleet.machine().list("").await;
    for (key, id) in [('2', "memory"), ('1', "memory of ben")] {
        let stranger = fleet.machine_of(key, Access::Same, id, Role::Read, 0);
        stranger.list("").await;
        assert_eq!((stranger.asked(), count(&stranger.tier.counts().listings)), (1, 0));
    }
    // Who shares by a key has to be let in by the source first.
    let proven = fleet.machine_of('1', Access::Proven, "memory", Role::ReadWrite, 0);
    proven.faults.set(Method::ListPath, Fault::Fail(ErrorKind::PermissionDenied));
    let root = RemotePath::root();
    let refused = async || proven.source.list_path(&root).await.err().map(|error| error.kind());
    assert_eq!(
        (refused().await, refused().await),
        (Some(ErrorKind::PermissionDenied), Some(ErrorKind::PermissionDenied))
    );
    proven.faults.clear_all();
    proven.list("dir").await;
    fleet.pass(1);
    fleet.machine().list("").await;
    let asked = proven.asked();
    proven.list("").await;
    assert_eq!(proven.asked(), asked, "one answer of the source is enough");
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_is_empty_or_was_altered_is_not_shared() {
    let fleet = Fleet::new(false);
    let machine = fleet.machine();
    machine.faults.set(Method::ListPath, Fault::FailAfter(2, ErrorKind::Unreachable));
    let root = RemotePath::root();
    let stream = machine.source.list_path(&root).await.expect("it begins");
    stream.try_collect::<Vec<_>>().await.expect_err("it breaks off");
    machine.tier.settle().await;
    assert!(fleet.store.values.lock().is_empty());
    machine.faults.clear_all();
    machine.list("").await;
    fleet.store.values.lock().values_mut().for_each(|value| {
        let mut bytes = value.to_vec();
        bytes[20] ^= 1;
        *value = bytes.into();
    });
    let second = fleet.machine();
    assert_eq!((second.list("").await.0.len(), second.asked()), (3, 1));
    assert_eq!(count(&second.tier.counts().refused), 1);
    let third = fleet.machine();
    assert_eq!((third.list("").await.0.len(), third.asked()), (3, 0), "a right one has taken its place");

    let empty = Fleet::new(false);
    ["a", "b", "dir/c"].iter().for_each(|name| empty.remote.remove(name));
    let reader = empty.machine();
    reader.list("dir").await;
    assert!(empty.store.values.lock().is_empty());
}
