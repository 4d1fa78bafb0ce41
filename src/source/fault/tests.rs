use super::*;
use crate::sources::memory::Memory;

fn file() -> RemotePath {
    RemotePath::parse(b"a").expect("a plain path")
}

async fn retrieve(source: &Faulty, out: &mut Vec<u8>) -> Result<Retrieved> {
    let (path, digest) = (file(), Memory::digest_of(b"hello"));
    source.retrieve_file(&Retrieval::new(&path, &digest, 5, 0..5), out).await
}

fn hello() -> (Faulty, Faults) {
    let memory = Memory::new();
    memory.put("a", "hello");
    memory.put("b", "hello");
    Faulty::new(memory)
}

#[tokio::test]
async fn bytes_fail_end_early_or_are_damaged() {
    let (source, faults) = hello();
    for (fault, expected, kind) in [
        (Fault::FailAfter(2, ErrorKind::Unreachable), "he", Some(ErrorKind::Unreachable)),
        (Fault::Truncate(3), "hel", None),
        (Fault::Flip(4), "helln", None),
        (Fault::Fail(ErrorKind::RateLimited), "", Some(ErrorKind::RateLimited)),
    ] {
        faults.set(Method::RetrieveFile, fault);
        let mut out = Vec::new();
        assert_eq!(retrieve(&source, &mut out).await.err().map(|e| e.kind()), kind, "{fault:?}");
        assert_eq!(out, expected.as_bytes(), "{fault:?}");
    }
    assert_eq!((faults.calls(Method::RetrieveFile), faults.bytes()), (4, 10));
}

#[tokio::test]
async fn a_listing_fails_or_ends_after_entries() {
    let (source, faults) = hello();
    let root = RemotePath::root();
    for (fault, entries, errors) in
        [(Fault::FailAfter(1, ErrorKind::TimedOut), 1, 1), (Fault::Truncate(1), 1, 0), (Fault::Truncate(9), 2, 0)]
    {
        faults.set(Method::ListPath, fault);
        let seen = source.list_path(&root).await.expect("it starts").collect::<Vec<_>>().await;
        let good = seen.iter().filter(|entry| entry.is_ok()).count();
        assert_eq!((good, seen.len() - good), (entries, errors), "{fault:?}");
    }
}

#[tokio::test]
async fn a_hanging_call_goes_on_when_the_fault_is_cleared() {
    let (source, faults) = hello();
    faults.set(Method::CreateRemoteDigest, Fault::Hang);
    let path = file();
    let mut call = source.create_remote_digest(&path);
    assert!(futures::poll!(&mut call).is_pending());
    faults.clear(Method::CreateRemoteDigest);
    call.await.expect("it works now");
}

#[tokio::test]
async fn a_fault_with_a_number_of_times_ends() {
    let (source, faults) = hello();
    faults.set_times(Method::Connect, Fault::Fail(ErrorKind::Unreachable), 2);
    for expected in [true, true, false] {
        assert_eq!(source.connect().await.is_err(), expected);
    }
    assert_eq!(faults.calls(Method::Connect), 3);
}
