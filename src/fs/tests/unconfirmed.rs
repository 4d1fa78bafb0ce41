//! Files that came ahead of their readers unconfirmed: one listing confirms all, and what is not confirmed goes.

use parking_lot::Mutex;

use super::*;

const LATEST: Duration = Duration::from_secs(60);

/// A mount of a source that leaves it to others to confirm bytes, with so many files in `dir`.
fn with_files(count: usize) -> Fixture {
    let mount = Fixture::with(Memory::new().unconfirmed(), ROOMY, Offline::Serve);
    (0..count).for_each(|number| mount.memory.put_as(&path(number), "tag:1", content(4096)));
    mount
}

fn path(number: usize) -> String {
    format!("dir/{number:03}")
}

/// Reads the first files of `dir`, of which the others come ahead.
async fn read_some(mount: &Fixture, count: usize) {
    for number in 0..count {
        assert_eq!(mount.read(&path(number)).await.expect("read"), content(4096));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// How many retrievals, listings and questions about single files there were.
fn calls(mount: &Fixture) -> [u64; 3] {
    [Method::RetrieveFile, Method::ListPath, Method::CreateRemoteDigest].map(|method| mount.faults.calls(method))
}

/// The files of which this mount has all bytes, without asking anybody.
async fn kept(mount: &Fixture, count: usize) -> usize {
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let mut kept = 0;
    for number in 0..count {
        kept += usize::from(mount.read(&path(number)).await.is_ok_and(|read| read == content(4096)));
    }
    mount.faults.clear_all();
    tokio::time::sleep(LATEST * 5).await;
    kept
}

async fn all_survive_a_restart(mount: Fixture, count: usize) {
    let mount = mount.restart(ROOMY).await;
    assert_eq!(kept(&mount, count).await, count);
}

#[tokio::test(start_paused = true)]
async fn one_listing_confirms_all_files_that_came_ahead() {
    let mount = with_files(100);
    read_some(&mount, 100).await;
    let before = calls(&mount);
    assert_eq!((before[0], before[2]), (100, 0));
    tokio::time::sleep(LATEST).await;
    assert_eq!(calls(&mount), [100, before[1] + 1, 0]);
    all_survive_a_restart(mount, 100).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_confirmed_yet_survives_no_restart() {
    let mount = with_files(100);
    read_some(&mount, 100).await;
    let mount = mount.restart(ROOMY).await;
    // Those for which a reader waited are confirmed.
    let kept = kept(&mount, 100).await;
    assert!(kept < 20, "{kept}");
    read_some(&mount, 100).await;
}

#[tokio::test(start_paused = true)]
async fn at_a_clean_end_what_has_come_is_confirmed() {
    for pause in [Duration::ZERO, Duration::from_millis(2050)] {
        let mount = with_files(100);
        read_some(&mount, 100).await;
        // The question may be under way already.
        mount.faults.set_times(Method::ListPath, Fault::Delay(Duration::from_millis(300)), 1);
        tokio::time::sleep(pause).await;
        mount.fs.disconnect().await;
        all_survive_a_restart(mount, 100).await;
    }
}

#[tokio::test(start_paused = true)]
async fn about_few_files_the_source_is_asked_one_by_one() {
    // Of a small directory few came ahead; of a large one many, and there are more names.
    for (files, read) in [(6, 6), (5000, 10)] {
        let mount = with_files(files);
        read_some(&mount, read).await;
        let [retrieved, listed, asked] = calls(&mount);
        assert_eq!(asked, 0);
        tokio::time::sleep(LATEST).await;
        let [_, listed_again, asked] = calls(&mount);
        assert!(listed_again == listed && (retrieved - 4..retrieved).contains(&asked), "{asked} of {retrieved}");
        all_survive_a_restart(mount, read).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_another_version_when_it_is_to_be_confirmed_goes() {
    for (last, answer) in [(100, "tag:2"), (6, "tag:2"), (100, ""), (6, "")] {
        let mount = with_files(last);
        read_some(&mount, last).await;
        let changed = path(last - 1);
        let open = mount.open(&changed).await.expect("open");
        match answer {
            "" => mount.memory.remove(&changed),
            tag => mount.memory.put_as(&changed, tag, content(5000)),
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        let error = mount.fs.read(open, 0..4096).await.expect_err("its bytes may be of two versions");
        assert_eq!(error.kind(), ErrorKind::ChangedDuringRead, "{error}");
        mount.fs.release(open);
        tokio::time::sleep(LATEST).await;
        let read = mount.read(&changed).await;
        assert!(if answer.is_empty() { read.is_err() } else { read.expect("read") == content(5000) });
        assert_eq!(kept(&mount, last - 1).await, last - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_confirms_goes() {
    let mount = with_files(100);
    read_some(&mount, 100).await;
    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    tokio::time::sleep(LATEST * 5).await;
    let kept = kept(&mount, 100).await;
    assert!(kept < 20, "{kept}");
    read_some(&mount, 100).await;
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_coming_is_confirmed_now_and_then() {
    let mount = with_files(1000);
    for number in 0..1000 {
        assert_eq!(mount.read(&path(number)).await.expect("read"), content(4096));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let [retrieved, listed, asked] = calls(&mount);
    assert_eq!((retrieved, asked), (1000, 0));
    assert!((3..=8).contains(&listed), "{listed} listings in 15 seconds");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_wants_to_be_left_alone_is_asked_for_the_listing_once_more() {
    let mount = with_files(100);
    read_some(&mount, 100).await;
    mount.faults.set_times(Method::ListPath, Fault::Busy(Duration::from_secs(3)), 2);
    tokio::time::sleep(LATEST).await;
    assert_eq!(mount.faults.calls(Method::CreateRemoteDigest), 0);
    all_survive_a_restart(mount, 100).await;
}

#[tokio::test(start_paused = true)]
async fn the_kernel_reads_nothing_without_us_before_it_is_confirmed() {
    let mount = Fixture::with(Memory::new().unconfirmed(), ROOMY, Offline::Serve);
    let bytes = content(2 * BLOCK);
    (0..20).for_each(|number| mount.memory.put_as(&path(number), "tag:1", bytes.clone()));
    for number in 0..5 {
        assert_eq!(mount.read(&path(number)).await.expect("read"), bytes);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let inode = mount.find(&path(12)).await.expect("lookup").expect("there").inode;
    for is_confirmed in [false, true] {
        let opened = mount.fs.open(inode).await.expect("open");
        assert_eq!(opened.proven_file.is_some(), is_confirmed);
        assert_eq!(mount.fs.read(opened.handle, 0..2 * BLOCK).await.expect("read"), bytes);
        mount.fs.release(opened.handle);
        tokio::time::sleep(LATEST).await;
    }
    assert_eq!(mount.faults.calls(Method::RetrieveFile), 20);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_goes_on_when_nobody_waits_for_it_any_longer() {
    let mount = with_files(100);
    read_some(&mount, 100).await;
    mount.faults.set_times(Method::ListPath, Fault::Delay(Duration::from_secs(8)), 1);
    let began = Instant::now();
    let root = mount.fs.node_at(b"").await.expect("it is there");
    mount.fs.carry_out(Errand::Count, root, &Mutex::default()).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    tokio::time::sleep(LATEST).await;
    all_survive_a_restart(mount, 100).await;
}

#[tokio::test(start_paused = true)]
async fn who_wants_all_confirmed_waits_for_what_another_is_having_confirmed() {
    let mount = with_files(100);
    read_some(&mount, 100).await;
    mount.faults.set_times(Method::ListPath, Fault::Delay(Duration::from_secs(2)), 1);
    let transfer = &mount.fs.sources[0].transfer;
    let later = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        transfer.confirm_now().await;
        began.elapsed()
    };
    let ((), waited) = tokio::join!(transfer.confirm_now(), later);
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_listed_once_at_a_time_however_slowly() {
    let mount = with_files(1000);
    mount.read(&path(0)).await.expect("read");
    let before = mount.faults.calls(Method::ListPath);
    mount.faults.set(Method::ListPath, Fault::Delay(Duration::from_secs(9)));
    for number in 1..1000 {
        assert_eq!(mount.read(&path(number)).await.expect("read"), content(4096));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    // Thirty seconds of which each listing takes nine.
    let listed = mount.faults.calls(Method::ListPath) - before;
    assert!((2..=3).contains(&listed), "{listed} listings");
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_retrieval_failed_is_not_read_beside_what_comes_after() {
    let mount = Fixture::with(Memory::new().unconfirmed(), ROOMY, Offline::Serve);
    let (bytes, of_a_moment) = (content(2 * BLOCK), vec![7; 2 * BLOCK as usize]);
    let put = |numbers: Range<usize>, bytes: &[u8]| {
        numbers.for_each(|number| mount.memory.put_as(&path(number), "tag:1", bytes.to_vec()));
    };
    put(0..200, &bytes);
    for number in 0..3 {
        assert_eq!(mount.read(&path(number)).await.expect("read"), bytes);
    }
    tokio::time::sleep(LATEST).await;
    let came = mount.faults.calls(Method::RetrieveFile) as usize;
    put(came..200, &of_a_moment);
    mount.faults.set(Method::RetrieveFile, Fault::FailAfter(BLOCK, ErrorKind::Protocol));
    assert_eq!(mount.read(&path(3)).await.expect("it is here"), bytes);
    tokio::time::sleep(LATEST).await;
    assert!((4..199).contains(&came) && mount.faults.calls(Method::RetrieveFile) as usize > came, "{came} came ahead");
    mount.faults.clear_all();
    put(came..200, &bytes);
    for number in came..200 {
        assert!(mount.read(&path(number)).await.expect("read") == bytes, "{number}");
    }
}
