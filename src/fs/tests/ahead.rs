//! Files ahead of a reader: what is retrieved before it is opened, and what is not.

use std::sync::atomic::Ordering;

use kit::files::{collated_names, natural_names};

use super::*;

/// A mount with so many files of this size in `dir`.
fn with_files(count: usize, bytes: u64) -> Fixture {
    let mount = Fixture::new();
    (0..count).for_each(|number| mount.memory.put(&path(number), content(bytes)));
    mount
}

fn path(number: usize) -> String {
    format!("dir/{number:03}")
}

/// Returns when nothing is under way: time goes on only then.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn counts(mount: &Fixture) -> (u64, u64) {
    let ahead = mount.fs.sources()[0].ahead.as_ref().expect("files are retrieved ahead");
    (ahead.fetched.load(Ordering::Relaxed), ahead.used.load(Ordering::Relaxed))
}

async fn read_all(mount: &Fixture, numbers: impl IntoIterator<Item = usize>, bytes: u64) {
    for number in numbers {
        assert_eq!(mount.read(&path(number)).await.expect("read"), content(bytes));
    }
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn files_read_in_a_row_come_ahead_and_each_byte_once() {
    let mount = with_files(200, 4096);
    read_all(&mount, 0..200, 4096).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 200);
    assert_eq!(mount.faults.bytes(), 200 * 4096);
    let (fetched, used) = counts(&mount);
    assert!(fetched >= 100 && used == fetched, "{used} of {fetched}");
}

#[tokio::test(start_paused = true)]
async fn the_beginnings_of_large_files_come_ahead() {
    let mount = with_files(10, 4 << 20);
    for number in 0..3 {
        mount.open(&path(number)).await.expect("open");
    }
    settle().await;
    assert_eq!(mount.faults.bytes(), 13 * BLOCK, "and the ends of those that were opened");
    let asked = mount.faults.calls(Method::CreateRemoteDigest) + mount.faults.calls(Method::RetrieveFile);
    mount.open(&path(3)).await.expect("open");
    let now = mount.faults.calls(Method::CreateRemoteDigest) + mount.faults.calls(Method::RetrieveFile);
    assert_eq!(now, asked, "its beginning has shown that it is there still");
}

#[tokio::test(start_paused = true)]
async fn looking_at_names_and_reading_two_files_brings_nothing_else() {
    let mount = with_files(100, 4096);
    for number in 0..100 {
        mount.find(&path(number)).await.expect("lookup").expect("there");
    }
    settle().await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 0);
    read_all(&mount, 0..2, 4096).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 2);
}

#[tokio::test(start_paused = true)]
async fn files_read_by_inode_number_come_ahead_too() {
    let mount = with_files(200, 4096);
    let mut files = Vec::new();
    for number in 0..200 {
        files.push((mount.find(&path(number)).await.expect("lookup").expect("there").inode, number));
    }
    files.sort_unstable();
    for (_, number) in files {
        read_all(&mount, [number], 4096).await;
    }
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 200);
    let (fetched, used) = counts(&mount);
    assert!(fetched >= 180 && used == fetched, "{used} of {fetched}");
}

#[tokio::test(start_paused = true)]
async fn files_read_in_natural_order_or_as_a_language_sorts_them_come_ahead_too() {
    for names in [natural_names(200), collated_names(200)] {
        let mount = Fixture::new();
        let paths: Vec<_> = names.iter().map(|name| format!("dir/{name}")).collect();
        paths.iter().for_each(|path| mount.memory.put(path, content(4096)));
        for path in &paths {
            assert_eq!(mount.read(path).await.expect("read"), content(4096));
            settle().await;
        }
        assert_eq!(mount.faults.calls(Method::RetrieveFile), 200);
        let (fetched, used) = counts(&mount);
        assert!(fetched >= 180 && used == fetched, "{used} of {fetched}");
    }
}

#[tokio::test(start_paused = true)]
async fn files_read_in_random_order_bring_nothing_else() {
    let mount = with_files(200, 4096);
    read_all(&mount, (0..40).map(|at| at * 77 % 200), 4096).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 40);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_leaves_at_most_8_mib_in_vain() {
    let mount = with_files(60, 1 << 20);
    read_all(&mount, 0..20, 1 << 20).await;
    let in_vain = mount.faults.bytes() - (20 << 20);
    assert!(in_vain <= 8 << 20, "{in_vain}");
}

#[tokio::test(start_paused = true)]
async fn failures_ahead_are_silent_and_the_file_opens_later() {
    let mount = with_files(20, 4096);
    read_all(&mount, 0..2, 4096).await;
    mount.faults.set(Method::RetrieveFile, Fault::Fail(ErrorKind::Protocol));
    mount.open(&path(2)).await.expect_err("the source fails");
    settle().await;
    assert!(mount.faults.calls(Method::RetrieveFile) > 3, "files ahead were asked for too");
    assert_eq!(counts(&mount), (0, 0));
    mount.faults.clear_all();
    read_all(&mount, 2..20, 4096).await;
}
