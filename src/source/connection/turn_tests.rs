//! Many calls at once to a source that takes few, and what becomes of those that wait for their turn in an outage.

use futures::future::join_all;

use super::*;
use crate::source::count::{Counted, Counters};
use crate::source::deadline::Deadline;
use crate::source::fault::{Fault, Faults, Faulty, Method};
use crate::source::limit::Limited;
use crate::sources::memory::Memory;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of calls: as many as a person's programs may make, and many more than may be under way.
const CALLS: usize = 20;
const PLACES: u64 = 2;

/// A source as a mount has it, connected.
async fn narrow() -> (Arc<Connection>, Faults) {
    let memory = Memory::new();
    memory.put("a", "hello");
    let (faulty, faults) = Faulty::new(memory);
    let counters = Arc::new(Counters::default());
    let counted = Counted::new(Deadline::new(faulty, TIMEOUT, counters.clone()), counters);
    let limited = Limited::new(counted, Some(PLACES as usize), None, TIMEOUT);
    let connection = Connection::new(Box::new(limited), "far", TIMEOUT);
    connection.connect().await.expect("the source answers");
    (connection, faults)
}

/// Asks many times at once, half of them for a listing; for each the kind of its error, if it failed, and how long it took.
async fn ask(connection: &Arc<Connection>) -> Vec<(Option<ErrorKind>, Duration)> {
    let calls = (0..CALLS).map(|number| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let (began, root) = (Instant::now(), RemotePath::root());
            let file = root.child(b"a").expect("a plain name");
            let result = match number % 2 {
                0 => connection.list_path(&root).await.map(drop),
                _ => connection.create_remote_digest(&file).await.map(drop),
            };
            (result.err().map(|error| error.kind()), began.elapsed())
        })
    });
    join_all(calls).await.into_iter().map(|ended| ended.expect("no call panics")).collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_turn_fails_with_the_first_that_had_one() {
    let (connection, faults) = narrow().await;
    faults.set_all(Fault::Hang);
    for (kind, took) in ask(&connection).await {
        assert_eq!(kind, Some(ErrorKind::TimedOut));
        assert!(took < TIMEOUT + Duration::from_secs(1), "{took:?}");
    }
    // Those that had a turn. Then a probe begins, which connects anew and hangs.
    assert_eq!((faults.calls(Method::ListPath), faults.calls(Method::CreateRemoteDigest)), (1, 1));
    for (kind, took) in ask(&connection).await {
        assert_eq!((kind, took), (Some(ErrorKind::TimedOut), Duration::ZERO));
    }
    assert_eq!((faults.calls(Method::ListPath), faults.calls(Method::CreateRemoteDigest)), (1, 1));
    faults.clear_all();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ask(&connection).await.iter().all(|(kind, _)| kind.is_none()), "the source answers again");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_connection_fails_with_the_first_that_tried() {
    let (connection, faults) = narrow().await;
    connection.disconnect().await;
    faults.reset_counts();
    faults.set_all(Fault::Hang);
    for (kind, took) in ask(&connection).await {
        assert_eq!((kind, took), (Some(ErrorKind::TimedOut), TIMEOUT));
    }
    // The first call, and the probe that followed.
    assert_eq!((faults.calls(Method::Connect), faults.calls(Method::ListPath)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn one_connection_that_broke_fails_nobody_who_waits_for_a_turn() {
    let (connection, faults) = narrow().await;
    faults.set_times(Method::CreateRemoteDigest, Fault::Fail(ErrorKind::Unreachable), 1);
    let answers = ask(&connection).await;
    assert_eq!(answers.iter().filter(|(kind, _)| kind.is_some()).count(), 1, "{answers:?}");
}

/// As it does when a retrieval that had brought everything before the outage ends after its beginning: the source is taken for one that answers.
#[tokio::test(start_paused = true)]
async fn a_read_that_waits_for_a_connection_waits_for_the_end_of_a_break_that_begins_meanwhile() {
    let (connection, faults) = narrow().await;
    let file = RemotePath::parse(b"a").expect("a plain path");
    let digest = connection.create_remote_digest(&file).await.expect("the source answers").digest;
    connection.disconnect().await;
    faults.set_all(Fault::Fail(ErrorKind::Unreachable));
    let connecting = connection.connected.lock().await;
    let retrieval = Retrieval::of_unknown_size(&file, &digest);
    let outage = async {
        connection.went_down(&Error::new("connect", ErrorKind::Unreachable));
        drop(connecting);
        tokio::time::sleep(Duration::from_secs(5)).await;
        faults.clear_all();
    };
    let mut bytes = Vec::new();
    let (retrieved, ()) = tokio::join!(connection.retrieve_file(&retrieval, &mut bytes), outage);
    retrieved.expect("the source is back");
    assert_eq!(bytes, b"hello");
}
