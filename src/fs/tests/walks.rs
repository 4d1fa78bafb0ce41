//! Directories ahead of a reader: what is listed before it is opened, and what is not.

use super::*;

/// A mount of 10 directories with 10 directories each, in which is a file.
fn tree() -> Fixture {
    tree_with(|capabilities| capabilities)
}

fn tree_with(change: impl FnOnce(Capabilities) -> Capabilities) -> Fixture {
    let memory = Memory::new();
    (0..100).for_each(|number| memory.put(&format!("{}/{}/file", number / 10, number % 10), "x"));
    let capabilities = change(memory.capabilities());
    Fixture::with(memory.with_capabilities(capabilities), ROOMY, Offline::Serve)
}

/// Opens and reads this directory, and then those in it, as far as `depth` says. Returns the number of files.
async fn walk(mount: &Fixture, dir: Inode, depth: usize) -> usize {
    let mut files = 0;
    let handle = mount.fs.open_dir(dir).await.expect("the directory opens");
    for name in mount.names(handle) {
        let found = mount.fs.lookup(dir, name.as_bytes()).await.expect("lookup").found.expect("there");
        match found.kind {
            Kind::Directory if depth > 0 => files += Box::pin(walk(mount, found.inode, depth - 1)).await,
            Kind::Directory => {}
            _ => files += 1,
        }
    }
    mount.fs.release_dir(handle);
    files
}

/// Opens the root and this directory.
async fn open_dir(mount: &Fixture, path: &str) {
    mount.fs.open_dir(Inode::ROOT).await.expect("the root opens");
    let inode = mount.find(path).await.expect("lookup").expect("there").inode;
    mount.fs.open_dir(inode).await.expect("the directory opens");
}

/// Returns when nothing is under way: time goes on only then.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Directories that were listed ahead, and how many of them were opened.
fn counts(mount: &Fixture) -> (u64, u64) {
    let walks = &mount.fs.sources()[0].ahead.as_ref().expect("directories are listed ahead").walks;
    (walks.listed.load(Ordering::Relaxed), walks.used.load(Ordering::Relaxed))
}

fn listed(mount: &Fixture) -> u64 {
    mount.faults.calls(Method::ListPath)
}

#[tokio::test(start_paused = true)]
async fn a_walk_lists_each_directory_once_and_waits_for_few() {
    let mount = tree();
    mount.faults.set(Method::ListPath, Fault::Delay(Duration::from_millis(40)));
    let begun = tokio::time::Instant::now();
    assert_eq!(walk(&mount, Inode::ROOT, 2).await, 100);
    // Three by which the walk is recognised, and 108 of which 12 are listed at once.
    assert!(begun.elapsed() <= Duration::from_millis(40 * 14), "{:?}", begun.elapsed());
    settle().await;
    let (ahead, used) = counts(&mount);
    assert!(listed(&mount) == 111 && ahead == used && used >= 100, "{} of 111, {used} of {ahead}", listed(&mount));
    assert_eq!(walk(&mount, Inode::ROOT, 2).await, 100);
    assert_eq!((listed(&mount), counts(&mount)), (111, (ahead, used)), "what is known is not asked for");
}

#[tokio::test(start_paused = true)]
async fn a_walk_waits_for_fewer_where_a_source_lists_more_at_once() {
    for (concurrency, most) in [(32, 8), (64, 6)] {
        let mount = tree_with(|capabilities| Capabilities { concurrency, ..capabilities });
        mount.faults.set(Method::ListPath, Fault::Delay(Duration::from_millis(40)));
        let begun = tokio::time::Instant::now();
        assert_eq!(walk(&mount, Inode::ROOT, 2).await, 100);
        // Three by which the walk is recognised, what is beside the third, the other directories beside the first, and what is in those.
        assert!(begun.elapsed() <= Duration::from_millis(40 * most), "{concurrency}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn looking_at_one_folder_and_going_down_lists_nothing_else() {
    let mount = tree();
    open_dir(&mount, "4").await;
    open_dir(&mount, "4/7").await;
    mount.find("5/6/file").await.expect("lookup").expect("there");
    mount.find("6/6/file").await.expect("lookup").expect("there");
    settle().await;
    // The root, and two of each path: lookups are no walk.
    assert_eq!((listed(&mount), counts(&mount)), (7, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_walk_through_one_level_lists_nothing_below() {
    let mount = tree();
    assert_eq!(walk(&mount, Inode::ROOT, 1).await, 0);
    settle().await;
    assert_eq!(listed(&mount), 11);
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_ends_early_leaves_few_listings_in_vain() {
    let mount = tree();
    walk(&mount, mount.find("0").await.expect("lookup").expect("there").inode, 1).await;
    settle().await;
    let before = listed(&mount);
    for dir in ["1", "1/0", "1/1"] {
        open_dir(&mount, dir).await;
    }
    settle().await;
    assert_eq!((before, listed(&mount)), (12, 12 + 3 + 8));
}

#[tokio::test(start_paused = true)]
async fn failures_ahead_are_silent_and_a_reader_asks_again() {
    let mount = tree();
    open_dir(&mount, "0").await;
    mount.faults.set(Method::ListPath, Fault::Fail(ErrorKind::PermissionDenied));
    begin_walk(&mount).await.expect_err("the source refuses");
    settle().await;
    assert!(listed(&mount) > 3 && counts(&mount) == (0, 0), "{}", listed(&mount));
    mount.faults.clear_all();
    assert_eq!(walk(&mount, Inode::ROOT, 2).await, 100);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_what_is_ahead() {
    let mount = tree();
    open_dir(&mount, "0").await;
    mount.faults.set(Method::ListPath, Fault::Fail(ErrorKind::TimedOut));
    begin_walk(&mount).await.expect_err("the source does not answer");
    settle().await;
    // The first window, and probes.
    assert!(listed(&mount) <= 2 + 9 + 4, "{}", listed(&mount));
}

#[tokio::test(start_paused = true)]
async fn a_large_listing_ahead_waits_for_its_reader_and_is_asked_for_once() {
    let mount = Fixture::new();
    ["0/0/file", "0/1/file"].iter().for_each(|file| mount.memory.put(file, "x"));
    (0..20_000).for_each(|number| mount.memory.put(&format!("0/large/{number:05}"), "x"));
    open_dir(&mount, "0").await;
    begin_walk(&mount).await.expect("it opens");
    settle().await;
    assert_eq!((listed(&mount), counts(&mount)), (5, (1, 0)));
    assert!(mount.fs.sources()[0].waits().threads().is_empty(), "no program waits for it");
    open_dir(&mount, "0/large").await;
    settle().await;
    assert_eq!((listed(&mount), counts(&mount)), (5, (2, 1)));
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_listed_ahead_when_the_reader_has_gone() {
    let mount = Fixture::new();
    mount.memory.put("0/0/file", "x");
    for file in 0..20 * 7_000 {
        mount.memory.put(&format!("0/large{:02}/{:04}", file / 7_000, file % 7_000), "");
    }
    open_dir(&mount, "0").await;
    begin_walk(&mount).await.expect("it opens");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((listed(&mount), counts(&mount)), (3 + 16, (0, 0)), "the first window, which was given up");
}

/// Opens the first directory of the first one.
async fn begin_walk(mount: &Fixture) -> Result<HandleId> {
    let inode = mount.find("0/0").await.expect("lookup").expect("there").inode;
    mount.fs.open_dir(inode).await
}
