//! The end of a large file comes beside its beginning, where programs read it.

use std::sync::atomic::Ordering;

use super::*;

const SIZE: u64 = (4 << 20) + 1000;

/// A mount with so many large files in `dir`.
fn with_files(count: usize) -> Fixture {
    with_capabilities(count, |capabilities| capabilities)
}

fn with_capabilities(count: usize, change: impl FnOnce(Capabilities) -> Capabilities) -> Fixture {
    let memory = Memory::new();
    (0..count).for_each(|number| memory.put(&path(number), content(SIZE)));
    let capabilities = change(memory.capabilities());
    Fixture::with(memory.with_capabilities(capabilities), ROOMY, Offline::Serve)
}

fn path(number: usize) -> String {
    // Apart from each other, so that none comes ahead because of the others.
    format!("dir/{:02}", number * 77 % 100)
}

/// Returns when nothing is under way: time goes on only then.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// How many ends came, and how many of them were read.
fn counts(mount: &Fixture) -> (u64, u64) {
    let ahead = mount.fs.sources()[0].ahead.as_ref().expect("files are retrieved ahead");
    (ahead.ends_fetched.load(Ordering::Relaxed), ahead.ends_used.load(Ordering::Relaxed))
}

async fn read_end(mount: &Fixture, open: HandleId) {
    let read = mount.fs.read(open, SIZE - 65_536..SIZE).await.expect("read");
    assert!(read == content(SIZE)[SIZE as usize - 65_536..]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_large_file_is_there_without_another_request() {
    let mount = with_files(1);
    let open = mount.open(&path(0)).await.expect("open");
    settle().await;
    assert_eq!((mount.faults.calls(Method::RetrieveFile), mount.faults.bytes()), (2, 2 * BLOCK + 1000));
    read_end(&mount, open).await;
    read_end(&mount, open).await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 2);
    assert_eq!(counts(&mount), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn ends_that_no_program_reads_come_no_more() {
    let mount = with_files(20);
    let mut open = Vec::new();
    for number in 0..20 {
        open.push(mount.open(&path(number)).await.expect("open"));
    }
    settle().await;
    assert_eq!(counts(&mount), (4, 0));
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 24);
    // One reads an end that has not come; the next ones do.
    read_end(&mount, open[19]).await;
    mount.memory.put("dir/another", content(SIZE));
    expire().await;
    mount.open("dir/another").await.expect("open");
    assert_eq!(counts(&mount), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_reads_all_of_a_file_wants_no_end_first() {
    let mount = with_files(8);
    for number in 0..8 {
        let open = mount.open(&path(number)).await.expect("open");
        for block in 0..SIZE.div_ceil(BLOCK) {
            mount.fs.read(open, block * BLOCK..(block + 1) * BLOCK).await.expect("read");
        }
        mount.fs.release(open);
    }
    assert_eq!(counts(&mount), (4, 0));
    assert_eq!(mount.faults.bytes(), 8 * SIZE, "each byte came once");
}

#[tokio::test(start_paused = true)]
async fn a_busy_source_is_asked_for_no_end() {
    // One of two places is taken by the beginning.
    let mount = with_capabilities(1, |capabilities| Capabilities { concurrency: 2, ..capabilities });
    mount.open(&path(0)).await.expect("open");
    settle().await;
    assert_eq!((counts(&mount), mount.faults.calls(Method::RetrieveFile)), ((0, 0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_metered_source_is_asked_for_no_end() {
    let mount = Fixture::metered();
    mount.memory.put("file", content(SIZE));
    mount.open("file").await.expect("open");
    settle().await;
    assert_eq!((counts(&mount), mount.faults.bytes()), ((0, 0), BLOCK));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_fails_delays_nobody_and_is_asked_for_by_its_reader() {
    let mount = with_files(1);
    mount.faults.set(Method::RetrieveFile, Fault::HangAfter(BLOCK));
    let open = mount.open(&path(0)).await.expect("the beginning comes");
    mount.faults.clear_all();
    settle().await;
    read_end(&mount, open).await;
    assert_eq!(counts(&mount), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_waits_for_its_turn_is_not_asked_for_once_the_file_is_closed() {
    let mount = with_capabilities(9, |capabilities| Capabilities { concurrency: 4, ..capabilities });
    let open = mount.open(&path(0)).await.expect("open");
    settle().await;
    let calls = mount.faults.calls(Method::RetrieveFile);
    let (dir, another) = (RemotePath::parse(b"dir").expect("a path"), path(1));
    let source = &mount.fs.sources()[0];
    let found = source.catalog.find(&dir, &another.as_bytes()["dir/".len()..]).await.expect("listed");
    let (name, entry) = found.value.expect("there");
    let version = source.transfer.open(&open::version_of(&entry).expect("it is told"), &name).await;
    // All places are taken while it is asked for.
    mount.faults.set(Method::CreateRemoteDigest, Fault::Hang);
    let mut all = futures::future::join_all((0..4).map(|_| source.connection.create_remote_digest(&entry.path)));
    settle_beside(&mut all).await;
    let reading = version.be_read();
    assert!(version.request_end());
    settle_beside(&mut all).await;
    drop(reading);
    settle_beside(&mut all).await;
    mount.faults.clear_all();
    all.await;
    settle().await;
    assert_eq!(mount.faults.calls(Method::RetrieveFile), calls);
    mount.fs.release(open);
}

/// Lets time go on while these wait.
async fn settle_beside(waiting: &mut (impl Future<Output: Sized> + Unpin)) {
    let _ = tokio::time::timeout(Duration::from_millis(10), waiting).await;
}
