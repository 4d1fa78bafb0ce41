//! Pinned places, and errands on everything below a place. The source is in memory.

use super::fixture::{FRESH_FOR, Fixture, ROOMY, content, expire};
use crate::cache::{Limits, Pin};
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;
use parking_lot::Mutex;

async fn tally(mount: &Fixture, errand: Errand, path: &str) -> Tally {
    let node = mount.fs.node_at(path.as_bytes()).await.expect("it is there");
    let tally = Mutex::default();
    mount.fs.carry_out(errand, node, &tally).await;
    tally.into_inner()
}

async fn pin(mount: &Fixture, path: &str) -> (Pin, Tally) {
    let pin = mount.fs.pin(path.as_bytes()).await.expect("it can be pinned");
    let tally = Mutex::default();
    mount.fs.keep(&pin, &tally).await;
    (pin, tally.into_inner())
}

fn pinned_copies(mount: &Fixture) -> usize {
    mount.fs.cache().count().1
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_on_the_way_to_a_place_leaves_no_inode_behind() {
    let mount = Fixture::new();
    mount.memory.put("dir/below/file", "content");
    let known = mount.fs.known_inodes();
    let following = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        mount.faults.set(Method::ListPath, Fault::Hang);
    };
    let path = b"dir/below/file";
    mount.faults.set_times(Method::ListPath, Fault::Delay(Duration::from_millis(10)), 1);
    let given_up = tokio::time::timeout(Duration::from_millis(100), mount.fs.node_at(path));
    let (given_up, ()) = futures::join!(given_up, following);
    assert!(given_up.is_err() && mount.faults.calls(Method::ListPath) > 1, "it waits for a directory below another");
    assert_eq!(mount.fs.known_inodes(), known);
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_is_retrieved_and_stays_whatever_else_is_read() {
    let limits = Limits { max_size: 8 << 20, min_free: 0 };
    let mount = Fixture::with(Memory::new(), limits, Offline::Serve);
    for file in ["kept/a", "kept/deep/b", "kept/empty"] {
        mount.memory.put(file, if file.ends_with('y') { Vec::new() } else { content(SMALL) });
    }
    for number in 0..16 {
        mount.memory.put(&format!("other/{number:02}"), content(SMALL));
    }
    let (_, kept) = pin(&mount, "kept").await;
    assert_eq!((kept.directories, kept.files, kept.failed, kept.retrieved_bytes), (2, 3, 0, 2 * SMALL));
    assert_eq!(mount.faults.bytes(), 2 * SMALL);
    for number in 0..16 {
        mount.read(&format!("other/{number:02}")).await.expect("read");
    }
    assert!(mount.fs.cache().counters().evicted.load(Ordering::Relaxed) > 0, "others had to go");
    assert_eq!(pinned_copies(&mount), 2);
    let counted = tally(&mount, Errand::Count, "kept").await;
    assert_eq!((counted.files, counted.missing, counted.missing_bytes), (3, 0, 0));

    let before = mount.faults.bytes();
    let dropped = tally(&mount, Errand::Drop, "").await;
    assert_eq!(dropped.pinned, 2);
    assert!(dropped.dropped > 0 && dropped.dropped_bytes > dropped.dropped * SMALL);
    // A copy that came ahead of its reader is open for a moment longer.
    while tally(&mount, Errand::Drop, "").await.open > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(mount.read("kept/a").await.expect("read"), content(SMALL));
    assert_eq!(mount.faults.bytes(), before);
    assert_eq!(mount.fs.cache().count(), (2, 2, mount.fs.cache().count().2));
}

#[tokio::test(start_paused = true)]
async fn of_what_the_cache_cannot_hold_the_first_files_are_kept() {
    const SIZE: u64 = 3 << 20;
    let limits = Limits { max_size: 8 << 20, min_free: 0 };
    let mount = Fixture::with(Memory::new(), limits, Offline::Serve);
    for file in ["a", "b", "c", "d", "e", "f"] {
        mount.memory.put(&format!("kept/{file}"), content(SIZE));
    }
    mount.memory.put("kept/small", "fits");
    let (kept, first) = pin(&mount, "kept").await;
    assert_eq!((first.files, first.failed, first.unfit, first.unfit_bytes), (7, 4, 4, 4 * SIZE));
    assert_eq!((first.retrieved_bytes, mount.faults.bytes()), (2 * SIZE + 4, 2 * SIZE + 4), "nothing comes in vain");
    let [told] = &first.failures[..] else { panic!("{:?}", first.failures) };
    assert!(told.contains("/kept/c and 3 other files, of 7, do not fit beside what is pinned"), "{told}");
    assert!(
        told.contains("would take 12.0 MiB more: max_size = 8.0 MiB; pin less, or set a larger max_size"),
        "{told}"
    );
    for file in ["a", "b", "small"] {
        assert_eq!(tally(&mount, Errand::Count, &format!("kept/{file}")).await.missing, 0, "{file}");
    }
    assert_eq!(pinned_copies(&mount), 3);

    let again = Mutex::default();
    mount.fs.keep(&kept, &again).await;
    let again = again.into_inner();
    assert_eq!((again.unfit, again.retrieved_bytes), (4, 0), "the same are kept");
    mount.memory.remove("kept/a");
    expire().await;
    let again = Mutex::default();
    mount.fs.keep(&kept, &again).await;
    let again_after_that = Mutex::default();
    mount.fs.keep(&kept, &again_after_that).await;
    assert_eq!(again_after_that.lock().unfit, 3, "one leaves, and the next has its room");
    assert_eq!(tally(&mount, Errand::Count, "kept/c").await.missing, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pin_survives_a_restart_and_follows_its_source() {
    let mount = Fixture::new();
    mount.memory.put("kept/a", "old");
    mount.memory.put("kept/b", "stays");
    pin(&mount, "kept").await;
    mount.fs.finish();
    let mount = mount.restart(ROOMY).await;
    assert_eq!(mount.fs.pinned().iter().map(|(pin, _)| &*pin.path).collect::<Vec<_>>(), [b"kept"]);
    assert_eq!(pinned_copies(&mount), 2);

    let keeper = tokio::spawn(keep_pins(Arc::downgrade(&mount.fs)));
    tokio::time::sleep(FRESH_FOR).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 0, "all of it is here");
    mount.memory.put("kept/a", "new, and longer");
    mount.memory.put("kept/c", "added");
    let missing = async || tally(&mount, Errand::Count, "kept").await.missing;
    tokio::time::sleep(FRESH_FOR * 12).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 2, "a new version, and a new file");
    assert_eq!(missing().await, 0);
    assert_eq!(pinned_copies(&mount), 3, "the old version is not kept any longer");
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_pinned_stays_kept_while_its_source_cannot_be_asked() {
    let mount = Fixture::new();
    mount.memory.put("kept/a", "bytes");
    let (pin, _) = pin(&mount, "kept").await;
    expire().await;
    mount.faults.set(Method::ListPath, Fault::Fail(ErrorKind::Unreachable));
    let tally = Mutex::default();
    mount.fs.keep(&pin, &tally).await;
    assert_eq!(pinned_copies(&mount), 1);
}

#[tokio::test(start_paused = true)]
async fn unpin_takes_away_the_pins_at_and_below_a_place() {
    let mount = Fixture::new();
    mount.memory.put("a/b/file", "bytes");
    mount.memory.put("ab/file", "bytes");
    for path in ["a/b", "ab"] {
        pin(&mount, path).await;
    }
    let refused = |path: &str| mount.fs.unpin(path.as_bytes()).expect_err("it is not pinned itself").to_string();
    assert!(refused("a/b/file").contains("as a part of a/b: unpin that"), "{}", refused("a/b/file"));
    assert!(refused("abc").contains("it is not pinned"));
    assert_eq!(mount.fs.unpin(b"a").expect("it is pinned"), [b"a/b"]);
    assert_eq!((pinned_copies(&mount), mount.fs.cache().copies()), (1, 2));
    assert_eq!(mount.fs.unpin(b"").expect("one is left"), [b"ab"]);
    assert!(mount.fs.pinned().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_is_found_and_retrieved_again() {
    let mount = Fixture::new();
    mount.memory.put("dir/a", content(3 * SMALL));
    mount.memory.put("dir/sound", "bytes");
    mount.memory.put("dir/remote", "never read");
    mount.read("dir/sound").await.expect("read");
    mount.read("dir/a").await.expect("read");
    let sound = tally(&mount, Errand::Verify, "dir").await;
    assert_eq!((sound.files, sound.verified, sound.damaged, sound.failed), (3, 2, 0, 0));

    let damage = |mount: &Fixture| {
        let large = |path: &&std::path::PathBuf| path.metadata().expect("it is there").len() > SMALL;
        let path = mount.objects().iter().find(large).expect("it is there").clone();
        let mut bytes = std::fs::read(&path).expect("it can be read");
        bytes[SMALL as usize] ^= 1;
        std::fs::write(&path, bytes).expect("it can be written");
    };
    damage(&mount);
    let before = mount.faults.bytes();
    let found = tally(&mount, Errand::Verify, "dir").await;
    assert_eq!((found.verified, found.damaged, found.repaired, found.failed), (2, 1, 1, 0));
    assert!(mount.faults.bytes() - before < SMALL, "only the damaged block comes again");
    assert_eq!(mount.read("dir/a").await.expect("read"), content(3 * SMALL));

    damage(&mount);
    let all = Mutex::default();
    mount.fs.verify_all(&all).await;
    let all = all.into_inner();
    assert_eq!((all.verified, all.damaged, all.repaired), (2, 1, 0));
    assert_eq!(tally(&mount, Errand::Count, "dir/a").await.missing, 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_shows_nothing_in_an_outage_is_told() {
    let mount = Fixture::with(Memory::new(), ROOMY, Offline::Fail);
    mount.memory.put("dir/a", "bytes");
    let counted = tally(&mount, Errand::Count, "dir").await;
    assert_eq!(counted.failed, 1);
    assert!(counted.failures[0].contains("offline = \"fail\""), "{:?}", counted.failures);
}

#[tokio::test(start_paused = true)]
async fn refresh_asks_the_source_though_its_answer_still_counts() {
    let mount = Fixture::new();
    mount.memory.put("dir/a", "old");
    mount.find("dir/a").await.expect("lookup");
    let refresh = async |path: &str| mount.fs.refresh(path.as_bytes(), async |_| ()).await;
    assert_eq!(refresh("dir/a").await.expect("asked"), Refreshed::Same);
    // An answer counts whose question came after the change.
    tokio::time::advance(Duration::from_millis(1)).await;
    mount.find("dir/a").await.expect("lookup");
    mount.memory.put("dir/a", "new, and longer");
    mount.memory.put("dir/b", "added");
    assert_eq!(refresh("dir/a").await.expect("asked"), Refreshed::Newer);
    assert_eq!(refresh("dir").await.expect("asked"), Refreshed::Directory(2));
    assert_eq!(mount.read("dir/a").await.expect("read"), "new, and longer");
    mount.faults.set(Method::ListPath, Fault::Fail(ErrorKind::Unreachable));
    assert_eq!(refresh("dir").await.expect_err("it cannot be asked").kind(), ErrorKind::Unreachable);
}
