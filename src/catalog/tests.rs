//! The catalog over a source in memory, whose faults are set by hand. Time is tokio's, so nothing waits.

use std::ops::Range;

use tempfile::TempDir;

use super::stored::SMALL_LISTING_NAMES;
use super::*;
use crate::digest::Digest;
use crate::freshness::WAIT_BEFORE_EMPTYING;
use crate::source::Capabilities;
use crate::source::fault::{Fault, Faults, Faulty, Method};
use crate::sources::memory::Memory;

const FRESH_FOR: Duration = Duration::from_secs(60);

struct Fixture {
    catalog: Arc<Catalog>,
    memory: Memory,
    faults: Faults,
    _place: TempDir,
}

impl Fixture {
    fn new(room: Room) -> Self {
        Self::of(Memory::new(), room)
    }

    /// A source that tells names of large directories alone, with 5,000 names in `large`.
    fn telling_alone() -> Self {
        let memory = Memory::new();
        let capabilities = Capabilities { names_alone: true, ..memory.capabilities() };
        let known = Self::of(memory.with_capabilities(capabilities), Room::default());
        (0..5_000).for_each(|n| known.memory.put(&format!("large/{n:04}"), "x"));
        known
    }

    fn of(memory: Memory, room: Room) -> Self {
        let place = kit::reaper::temporary();
        let db = Arc::new(Database::open(place.path(), 1 << 20).expect("a new index"));
        let (faulty, faults) = Faulty::new(memory.clone());
        let policy = Policy { fresh_for: FRESH_FOR, patience: FRESH_FOR, offline: Offline::Serve, names_account: true };
        let catalog = Catalog::new(Arc::new(faulty), "s".into(), policy, db, Arc::new(room), Span::none());
        Self { catalog, memory, faults, _place: place }
    }

    async fn names(&self, dir: &str) -> Result<usize> {
        Ok(self.catalog.list(&path(dir)).await?.value.entries().len())
    }

    /// As buckets list photos: a name of 20 bytes, a size, a time, and a hash of 128 bits.
    fn put_photos(&self, dir: &str, numbers: Range<u128>) {
        for n in numbers {
            let digest = format!("{:032x}", n.wrapping_mul(u128::MAX / 3));
            self.memory.put_as(&format!("{dir}/{n:016}.jpg"), &digest, "x");
        }
    }

    /// The bytes of the database.
    fn pages(&self) -> i64 {
        self.catalog.db.flush();
        let bytes = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
        self.catalog.db.read(|db| db.query_row(bytes, [], |row| row.get::<_, i64>(0))).expect("it is there")
    }

    fn listed(&self) -> u64 {
        self.faults.calls(Method::ListPath)
    }

    fn held(&self) -> usize {
        self.catalog.state.lock().listings.held()
    }
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).expect("a path")
}

async fn expire() {
    tokio::time::advance(FRESH_FOR).await;
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_catalog_knows_nothing_and_frees_nothing() {
    let known = Fixture::new(Room::default());
    known.memory.put("dir/a", "x");
    let listing = Arc::downgrade(&known.catalog.list(&path("dir")).await.expect("it is there").value);
    known.catalog.abandon();
    assert_eq!((known.held(), known.catalog.last_entry(&path("dir"), b"a")), (0, None));
    let Fixture { catalog, .. } = known;
    drop(catalog);
    assert_eq!(listing.strong_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_becomes_empty_is_asked_about_twice() {
    let known = Fixture::new(Room::default());
    for dir in ["", "dir"] {
        known.memory.put(&format!("{dir}/a"), "x");
        known.memory.mkdir("empty");
        let names = known.names(dir).await.expect("it is there");
        let before = known.listed();
        // For a moment it looks empty; the next answer is right.
        known.faults.set_times(Method::ListPath, Fault::Truncate(0), 1);
        expire().await;
        assert_eq!(known.names(dir).await.expect("it is there"), names, "{dir:?}");
        assert_eq!(known.listed(), before + 2, "{dir:?}");
        expire().await;
        assert_eq!(known.names(dir).await.expect("it is there"), names, "{dir:?}");
        assert_eq!(known.listed(), before + 3, "{dir:?}: an answer with names counts at once");
    }
    // It stays empty, and is believed; from then on at once.
    known.memory.remove("dir/a");
    for requests in [2, 1] {
        let before = known.listed();
        expire().await;
        assert_eq!(known.names("dir").await.expect("it is there"), 0);
        assert_eq!(known.listed(), before + requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_goes_is_asked_about_twice() {
    let known = Fixture::new(Room::default());
    known.memory.put("dir/a", "x");
    known.memory.mkdir("empty");
    for (dir, requests) in [("dir", 2), ("empty", 1), ("never", 1)] {
        let names = known.names(dir).await.unwrap_or_default();
        let before = known.listed();
        known.faults.set_times(Method::ListPath, Fault::Fail(ErrorKind::NotFound), 1);
        expire().await;
        let after = known.names(dir).await;
        assert_eq!(known.listed(), before + requests, "{dir}");
        assert_eq!(after.is_ok_and(|after| after == names), requests == 2, "{dir}");
    }
    known.memory.remove("dir");
    let before = known.listed();
    expire().await;
    assert_eq!(known.names("dir").await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    assert_eq!(known.listed(), before + 2);
}

impl Fixture {
    /// Whether there is such a name, as the catalog answers.
    async fn is_there(&self, dir: &str, name: &str) -> Result<bool, ErrorKind> {
        let found = self.catalog.find(&path(dir), name.as_bytes()).await;
        found.map(|answer| answer.value.is_some()).map_err(|e| e.kind())
    }

    /// The kinds of the listed names.
    async fn listed_kinds(&self, dir: &str) -> Vec<(Vec<u8>, bool)> {
        let listing = self.catalog.list(&path(dir)).await.expect("it is there").value;
        listing.entries().iter().map(|(name, entry)| (name.to_vec(), entry.is_directory())).collect()
    }

    /// The same source and database in another run.
    fn again(&self) -> Arc<Catalog> {
        self.catalog.db.flush();
        let Catalog { source, source_id, policy, db, .. } = &*self.catalog;
        Catalog::new(source.clone(), source_id.clone(), *policy, db.clone(), Arc::default(), Span::none())
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_an_incomplete_listing_does_not_tell_is_asked_for_by_itself() {
    let known = Fixture::new(Room::default());
    ["dir/a", "dir/b", "dir/c/x"].iter().for_each(|name| known.memory.put(name, "x"));
    known.faults.set(Method::ListPath, Fault::Garble(1));
    assert_eq!(known.names("dir").await.expect("what can be read is shown"), 1);
    assert_eq!(known.catalog.left_out(), 2);
    let digests = || known.faults.calls(Method::CreateRemoteDigest);
    for (name, is_there) in [("b", true), ("c", true), ("none", false)] {
        let before = digests();
        for _ in 0..2 {
            assert_eq!(known.is_there("dir", name).await, Ok(is_there), "{name}");
        }
        assert_eq!(digests(), before + 1, "{name}: the answer counts while it is fresh");
    }
    assert!(known.catalog.last_entry(&path("dir"), b"c").is_some_and(|entry| entry.is_directory()));
    // Of a source that cannot say it, nobody knows.
    expire().await;
    known.faults.set(Method::CreateRemoteDigest, Fault::Fail(ErrorKind::Protocol));
    assert_eq!(known.is_there("dir", "none").await, Err(ErrorKind::Protocol));
    // A complete listing knows by itself, and nothing is asked.
    known.faults.clear_all();
    expire().await;
    let before = digests();
    assert_eq!(known.is_there("dir", "none").await, Ok(false));
    assert_eq!((digests(), known.catalog.left_out()), (before, 2));
}

#[tokio::test(start_paused = true)]
async fn cases_l13_and_l14_a_name_that_a_listing_from_before_a_failure_is_without() {
    let known = Fixture::new(Room::default());
    known.memory.put("dir/a", "x");
    assert_eq!(known.names("dir").await.expect("it is there"), 1);
    known.memory.put("dir/new", "x");
    expire().await;
    let answers = [
        (ErrorKind::Unauthenticated, Err(ErrorKind::Unauthenticated)),
        (ErrorKind::Protocol, Err(ErrorKind::Protocol)),
        (ErrorKind::Unreachable, Ok(false)),
        (ErrorKind::TimedOut, Ok(false)),
    ];
    for (failure, answer) in answers {
        known.faults.set_all(Fault::Fail(failure));
        assert_eq!(known.is_there("dir", "a").await, Ok(true), "{failure:?}");
        assert_eq!(known.is_there("dir", "new").await, answer, "{failure:?}");
    }
    // A source that lists nothing may still tell of one name.
    known.faults.clear_all();
    known.faults.set(Method::ListPath, Fault::Fail(ErrorKind::Protocol));
    for (name, is_there) in [("new", true), ("none", false)] {
        assert_eq!(known.is_there("dir", name).await, Ok(is_there), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_still_incomplete_after_a_restart() {
    let known = Fixture::new(Room::default());
    ["dir/a", "dir/b"].iter().for_each(|name| known.memory.put(name, "x"));
    known.faults.set(Method::ListPath, Fault::Garble(1));
    known.names("dir").await.expect("what can be read is shown");
    let again = known.again();
    known.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    assert!(again.find(&path("dir"), b"a").await.is_ok_and(|answer| answer.value.is_some()));
    let error = again.find(&path("dir"), b"b").await.expect_err("it may be there");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_listing_removes_no_name_until_the_source_says_that_it_is_gone() {
    let known = Fixture::new(Room::default());
    ["dir/a", "dir/b", "dir/c/x"].iter().for_each(|name| known.memory.put(name, "x"));
    let all = [(b"a".to_vec(), false), (b"b".to_vec(), false), (b"c".to_vec(), true)];
    assert_eq!(known.listed_kinds("dir").await, all);
    known.memory.remove("dir/b");
    known.memory.put("dir/a2", "x");
    known.faults.set(Method::ListPath, Fault::Garble(1));
    for _ in 0..2 {
        expire().await;
        assert_eq!(known.listed_kinds("dir").await, all, "what was known stays");
    }
    // During an outage they are what they were, also after a restart.
    known.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let again = known.again();
    for (catalog, run) in [(&known.catalog, "this"), (&again, "the next")] {
        let found = catalog.find(&path("dir"), b"b").await.expect("it is known").value;
        assert!(found.is_some_and(|(_, entry)| entry.digest.is_some()), "{run} run");
    }
    known.faults.clear_all();
    known.faults.set(Method::ListPath, Fault::Garble(1));
    expire().await;
    assert_eq!(known.is_there("dir", "c").await, Ok(true));
    assert_eq!(known.is_there("dir", "b").await, Ok(false));
    for _ in 0..2 {
        assert_eq!(known.listed_kinds("dir").await, [all[0].clone(), all[2].clone()]);
        expire().await;
    }
    known.faults.clear_all();
    assert_eq!(known.listed_kinds("dir").await, [all[0].clone(), (b"a2".to_vec(), false), all[2].clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_which_nothing_can_be_read_is_an_error() {
    let known = Fixture::new(Room::default());
    known.memory.put("dir/a", "x");
    known.faults.set(Method::ListPath, Fault::Garble(0));
    let error = known.catalog.list(&path("dir")).await.expect_err("it is no empty directory");
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("\"a\" (it is garbled)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_the_second_question_takes_no_names() {
    let known = Fixture::new(Room::default());
    known.memory.put("dir/a", "x");
    assert_eq!(known.names("dir").await.expect("it is there"), 1);
    known.faults.set_times(Method::ListPath, Fault::Truncate(0), 1);
    let (catalog, faults) = (known.catalog.clone(), known.faults.clone());
    expire().await;
    let asking = tokio::spawn(async move { catalog.list(&path("dir")).await });
    tokio::time::sleep(WAIT_BEFORE_EMPTYING / 2).await;
    faults.set(Method::ListPath, Fault::Fail(ErrorKind::Unreachable));
    let answer = asking.await.expect("it does not panic").expect("what is known is served");
    assert!(answer.unconfirmed && answer.value.entries().len() == 1);
}

#[tokio::test(start_paused = true)]
async fn what_memory_has_no_room_for_is_read_from_the_database_while_it_is_fresh() {
    const LIMIT: usize = 256 << 10;
    let known = Fixture::new(Room::of(LIMIT));
    let large = 2 * SMALL_LISTING_NAMES;
    (0..large).for_each(|n| known.memory.put(&format!("large/{n}"), "x"));
    for dir in 0..100 {
        (0..20).for_each(|n| known.memory.put(&format!("{dir}/{n}"), "x"));
    }
    for round in 1..=2 {
        let mut dirs: Vec<_> = (0..100).map(|dir| (dir.to_string(), 20)).collect();
        dirs.push(("large".into(), large));
        for (dir, names) in &dirs {
            assert_eq!(known.names(dir).await.expect("it is there"), *names);
            assert!(known.held() <= LIMIT, "{} bytes", known.held());
        }
        for name in ["0", "17", "1999", "absent"] {
            let found = known.catalog.find(&path("large"), name.as_bytes()).await.expect("it is known").value;
            assert_eq!(found.is_some(), name != "absent");
        }
        assert_eq!(known.listed(), 101, "round {round}");
    }
    // An entry laid over a name of such a directory counts.
    let dir = path("large");
    let (name, entry) = known.catalog.find(&dir, b"5").await.expect("it is known").value.expect("it is there");
    known.memory.put("large/5", "another");
    tokio::time::advance(Duration::from_millis(1)).await;
    known.catalog.recheck(&dir, &name, &entry).await.expect("it answers");
    let now = known.catalog.find(&dir, b"5").await.expect("it is known").value.expect("it is there").1;
    let listed = known.catalog.list(&dir).await.expect("it is known").value;
    assert_eq!(listed.get(b"5").as_ref(), Some(&now));
    assert_ne!(now.digest, entry.digest);
    assert_eq!(known.listed(), 101);
    // The source says that it has changed: what is stored counts no longer.
    known.catalog.expire(&dir);
    assert_eq!(known.names("large").await.expect("it is there"), large);
    assert_eq!(known.listed(), 102);
    expire().await;
    assert_eq!(known.names("large").await.expect("it is there"), large);
    assert_eq!(known.listed(), 103, "what is old is asked anew");
}

/// Lets every change that needs more room fail, or none any more.
fn fill_disk(known: &Fixture, is_full: bool) {
    let pages = if is_full { 1 } else { i32::MAX };
    known.catalog.db.write(move |db| db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())));
    known.catalog.db.flush();
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_the_disk_had_no_room_for_is_stored_with_the_next_answer() {
    let known = Fixture::new(Room::default());
    (0..SMALL_LISTING_NAMES).for_each(|n| known.memory.put(&format!("dir/{n}"), "x"));
    fill_disk(&known, true);
    assert_eq!(known.names("dir").await.expect("it is there"), SMALL_LISTING_NAMES);
    known.catalog.db.flush();
    fill_disk(&known, false);
    expire().await;
    assert_eq!(known.names("dir").await.expect("it is there"), SMALL_LISTING_NAMES);
    known.catalog.db.flush();
    // Another run, in which the source cannot be asked.
    let Catalog { source, source_id, policy, db, .. } = &*known.catalog;
    let later = Catalog::new(source.clone(), source_id.clone(), *policy, db.clone(), Arc::default(), Span::none());
    known.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let listing = later.list(&path("dir")).await.expect("it is known").value;
    assert_eq!(listing.entries().len(), SMALL_LISTING_NAMES);
}

#[tokio::test(start_paused = true)]
async fn an_older_listing_does_not_pass_for_one_that_the_disk_had_no_room_for() {
    let known = Fixture::new(Room::of(0));
    known.memory.put("dir/old", "x");
    assert_eq!(known.names("dir").await.expect("it is there"), 1);
    known.catalog.db.flush();
    fill_disk(&known, true);
    (0..SMALL_LISTING_NAMES).for_each(|n| known.memory.put(&format!("dir/{n}"), "x"));
    expire().await;
    for _ in 0..2 {
        assert_eq!(known.names("dir").await.expect("it is there"), SMALL_LISTING_NAMES + 1);
        known.catalog.db.flush();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_joins_a_listing_ahead_that_fails_asks_itself() {
    let known = Fixture::new(Room::default());
    known.memory.put("dir/a", "x");
    known.faults.set(Method::ListPath, Fault::HangAfter(0));
    let (ahead, reader) = (known.catalog.clone(), known.catalog.clone());
    let ahead = tokio::spawn(async move { ahead.list_ahead(&path("dir")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reader = tokio::spawn(async move { reader.list(&path("dir")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(known.listed(), 1);
    // The connection breaks, the next attempt is refused, and the third is the reader's own.
    known.faults.set_times(Method::ListPath, Fault::Fail(ErrorKind::PermissionDenied), 1);
    assert_eq!(reader.await.expect("no panic").expect("it is there").value.entries().len(), 1);
    assert!(ahead.await.expect("no panic").is_some_and(|listing| listing.is_err()));
    assert_eq!(known.listed(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_listing_ahead_for_which_no_reader_comes_is_given_up() {
    let known = Fixture::new(Room::default());
    known.memory.put("dir/a", "x");
    known.faults.set(Method::ListPath, Fault::Hang);
    assert!(known.catalog.list_ahead(&path("dir")).await.is_some_and(|listing| listing.is_err()));
    let (ahead, reader) = (known.catalog.clone(), known.catalog.clone());
    let ahead = tokio::spawn(async move { ahead.list_ahead(&path("dir")).await });
    tokio::time::sleep(Duration::from_secs(9)).await;
    let reader = tokio::spawn(async move { reader.list(&path("dir")).await });
    tokio::time::sleep(Duration::from_secs(9)).await;
    known.faults.clear_all();
    reader.await.expect("no panic").expect("it is there");
    assert!(ahead.await.expect("no panic").is_some_and(|listing| listing.is_ok()));
    assert!(known.catalog.list_ahead(&path("dir")).await.is_none(), "it is fresh");
    assert_eq!(known.listed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_was_told_after_the_listing_is_the_last_known_one_also_after_a_restart() {
    let known = Fixture::new(Room::default());
    let dir = path("dir");
    for name in ["a", "b"] {
        known.memory.put_as(&format!("dir/{name}"), "listed", "x");
    }
    let find = async |catalog: &Arc<Catalog>| {
        let found = catalog.find(&dir, b"a").await.expect("it is known").value;
        found.and_then(|(_, entry)| entry.digest).expect("its digest is known")
    };
    known.names("dir").await.expect("it is there");
    let entry = known.catalog.last_entry(&dir, b"a").expect("it is listed");
    known.memory.put_as("dir/a", "asked", "x");
    known.catalog.recheck(&dir, &b"a".as_slice().into(), &entry).await.expect("it is there");
    known.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    expire().await;
    assert_eq!(find(&known.catalog).await, Digest::new("asked"));
    assert_eq!(find(&known.again()).await, Digest::new("asked"));
    // A later listing that is as the one before counts again.
    known.faults.clear_all();
    known.memory.put_as("dir/a", "listed", "x");
    expire().await;
    assert_eq!(find(&known.catalog).await, Digest::new("listed"));
    known.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    assert_eq!(find(&known.again()).await, Digest::new("listed"));
}

#[tokio::test(start_paused = true)]
async fn a_name_in_a_large_directory_that_is_not_listed_is_asked_for_alone() {
    let known = Fixture::telling_alone();
    for (name, is_there) in [("4321", true), ("432", false), ("absent", false)] {
        let before = known.listed();
        for _ in 0..2 {
            assert_eq!(known.is_there("large", name).await, Ok(is_there), "{name}");
        }
        assert_eq!((known.listed() - before, known.held()), (1, 0), "{name}: the answer counts while it is fresh");
    }
    known.memory.remove("large/4321");
    expire().await;
    assert_eq!(known.is_there("large", "4321").await, Ok(false));
    assert_eq!(known.listed(), 4);
    // Somebody reads the directory: from then on its listing tells.
    assert_eq!(known.names("large").await.expect("it is there"), 4_999);
    known.memory.put("large/absent", "x");
    assert_eq!(known.is_there("large", "absent").await, Ok(false));
    expire().await;
    assert_eq!(known.is_there("large", "absent").await, Ok(true));
    assert_eq!(known.listed(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_reported_change_is_about_names_too_that_were_told_not_to_be_there() {
    let known = Fixture::telling_alone();
    known.memory.put("dir/old", "x");
    assert_eq!(known.names("dir").await.expect("it is there"), 1);
    for (dir, name) in [("dir", "new"), ("large", "new")] {
        let place = path(&format!("{dir}/{name}"));
        assert_eq!(known.is_there(dir, name).await, Ok(false));
        known.memory.put(&format!("{dir}/{name}"), "x");
        tokio::time::advance(Duration::from_millis(1)).await;
        let names = known.catalog.expire(&place);
        assert_eq!(names, [(path(dir), name.as_bytes().into())], "the kernel may remember that it is not there");
        assert_eq!(known.is_there(dir, name).await, Ok(true));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_reported_change_does_not_count_after_it() {
    let known = Fixture::new(Room::default());
    let (dir, name) = (path("dir"), LocalName::from(b"a".as_slice()));
    known.memory.put("dir/a", "x");
    known.names("dir").await.expect("it is there");
    let entry = known.catalog.last_entry(&dir, b"a").expect("it is listed");
    known.faults.set_times(Method::CreateRemoteDigest, Fault::Delay(Duration::from_millis(100)), 1);
    let changing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        known.catalog.expire(&path("dir/a"));
    };
    let (asked, ()) = futures::join!(known.catalog.recheck(&dir, &name, &entry), changing);
    asked.expect("it answers");
    let listed = known.listed();
    known.catalog.find(&dir, b"a").await.expect("it is known");
    assert_eq!(known.listed(), listed + 1, "the source is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_directory_in_which_several_names_are_looked_up_is_listed() {
    let known = Fixture::telling_alone();
    (0..5).for_each(|n| known.memory.put(&format!("small/{n}"), "x"));
    for name in ["1", "3", "absent"] {
        assert_eq!(known.is_there("small", name).await, Ok(name != "absent"));
    }
    assert_eq!(known.listed(), 1, "a small one is listed by the first lookup");
    for number in 0..20 {
        assert_eq!(known.is_there("large", &format!("{number:04}")).await, Ok(true));
        assert_eq!(known.listed(), 1 + (number + 1).min(9), "{number}");
    }
    assert_eq!(known.names("large").await.expect("it is there"), 5_000);
    assert_eq!(known.listed(), 10);
}

#[tokio::test(start_paused = true)]
async fn lookups_at_once_and_names_that_others_may_become_list_the_directory() {
    let known = Fixture::telling_alone();
    known.memory.put("large/a\nb", "x");
    assert_eq!(known.is_there("large", "a\u{240a}b").await, Ok(true));
    assert_eq!((known.listed(), known.is_there("large", "0001").await), (1, Ok(true)));
    let known = Fixture::telling_alone();
    let (one, other) = tokio::join!(known.is_there("large", "0001"), known.is_there("large", "0002"));
    assert_eq!((one, other, known.listed()), (Ok(true), Ok(true), 2));
    assert_eq!((known.is_there("large", "0003").await, known.listed()), (Ok(true), 2));
}

#[tokio::test(start_paused = true)]
async fn a_name_takes_as_many_bytes_as_the_documents_say() {
    const NAMES: usize = 20_000;
    let known = Fixture::new(Room::default());
    known.put_photos("dir", 0..NAMES as u128);
    let empty = known.pages();
    assert_eq!(known.names("dir").await.expect("it is there"), NAMES);
    let stored = known.pages() - empty;
    let told = format!("{} in memory and {} in the index", known.held() / NAMES, stored / NAMES as i64);
    let document = include_str!("../../docs/reliability.md");
    assert!(document.contains(&told), "the document does not say: {told}");
}

#[tokio::test(start_paused = true)]
async fn a_million_names_take_the_memory_that_there_is_and_the_database_has_the_rest() {
    const DIRECTORIES: u128 = 1_000;
    const NAMES: u128 = 1_000;
    /// The bytes of each in the index (docs/reliability.md).
    const PER_NAME: i64 = 146;
    let known = Fixture::new(Room::default());
    let empty = known.pages();
    let mut most = 0;
    for n in 0..DIRECTORIES {
        let dir = format!("{n:03}");
        known.put_photos(&dir, n * NAMES..(n + 1) * NAMES);
        assert_eq!(known.names(&dir).await.expect("it is there"), NAMES as usize);
        most = most.max(known.held());
        // From here on only what is known can be listed.
        known.memory.remove(&dir);
    }
    let per_name = (known.pages() - empty) / (DIRECTORIES * NAMES) as i64;
    println!("{most} bytes in memory at most, {per_name} in the index for each name");
    assert!(most <= 33 << 20, "{most} bytes in memory");
    assert!((PER_NAME - PER_NAME / 10..=PER_NAME).contains(&per_name), "{per_name} bytes in the index for each name");
    let told = format!("{PER_NAME} in the index");
    assert!(include_str!("../../docs/reliability.md").contains(&told), "the document does not say: {told}");
    for n in 0..DIRECTORIES {
        assert_eq!(known.names(&format!("{n:03}")).await.expect("it is known"), NAMES as usize);
    }
    assert_eq!(known.listed(), DIRECTORIES as u64, "none is asked for again");
}
