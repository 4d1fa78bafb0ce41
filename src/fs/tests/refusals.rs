//! Files that the source refuses to this login: how often it is asked for them, and when their refusal counts no longer.

use super::fixture::{Fixture, ROOMY, content, expire};
use crate::cache::block::BLOCK;
use crate::freshness::{Offline, REFUSED_FOR};
use crate::fs::*;
use crate::source::Capabilities;
use crate::source::fault::{Fault, Method};
use crate::sources::memory::Memory;

const REFUSED: Fault = Fault::Fail(ErrorKind::PermissionDenied);

/// How often the source was asked for a file.
fn asked(mount: &Fixture) -> u64 {
    mount.faults.calls(Method::RetrieveFile) + mount.faults.calls(Method::CreateRemoteDigest)
}

async fn is_refused(mount: &Fixture, path: &str) -> bool {
    match mount.read(path).await {
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
        Ok(_) => false,
    }
}

/// Sources that tell all in their listings, no size, or no digest; and what is refused of each.
fn sources() -> [(Memory, Method); 4] {
    let without_digests = Capabilities { digest_from_listing: false, ..Memory::new().capabilities() };
    let proven_whole = Capabilities { proven_whole: true, ..Memory::new().capabilities() };
    [
        (Memory::new(), Method::RetrieveFile),
        (Memory::new().without_sizes(), Method::RetrieveFile),
        (Memory::new().with_capabilities(without_digests), Method::CreateRemoteDigest),
        (Memory::new().with_capabilities(proven_whole), Method::RetrieveFile),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_refused_file_is_asked_for_once_in_five_seconds_and_not_refused_for_longer() {
    for (number, (memory, method)) in sources().into_iter().enumerate() {
        for size in [1000, 64 * BLOCK] {
            let mount = Fixture::with(memory.clone(), ROOMY, Offline::Serve);
            mount.memory.put("file", content(size));
            mount.faults.set(method, REFUSED);
            for _ in 0..5 {
                assert!(is_refused(&mount, "file").await, "{number}");
            }
            let once = asked(&mount);
            // The end of a large file is asked for beside its beginning.
            assert!(once == 1 || once == 2 && number == 0 && size > SMALL, "{number}, {size}: {once}");
            mount.faults.clear(method);
            tokio::time::sleep(REFUSED_FOR - Duration::from_secs(1)).await;
            assert!(is_refused(&mount, "file").await, "{number}");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(mount.read("file").await.expect("it may be read by now") == content(size), "{number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_with_a_refresh_a_reported_change_and_a_new_login() {
    let of_root = |path: &str| RemotePath::parse(path.as_bytes()).expect("a path");
    for (number, (memory, method)) in sources().into_iter().enumerate() {
        let mount = Fixture::with(memory, ROOMY, Offline::Serve);
        for name in ["a", "b", "c", "d", "other"] {
            mount.memory.put(name, content(1000 + name.len() as u64));
        }
        mount.faults.set(method, REFUSED);
        for name in ["a", "b", "c", "d", "other"] {
            assert!(is_refused(&mount, name).await, "{number}");
        }
        mount.faults.clear(method);
        mount.fs.refresh(b"a", async |_| ()).await.expect("it may be read by now");
        mount.fs.changed(0, &of_root("b"));
        for name in ["a", "b"] {
            assert!(!is_refused(&mount, name).await, "{number}, {name}");
        }
        assert!(is_refused(&mount, "c").await, "{number}: nothing was said of it");
        mount.fs.log_in_anew(b"memory").await;
        assert!(!is_refused(&mount, "c").await, "{number}: another login");
        mount.faults.set(method, REFUSED);
        mount.memory.put("d", content(77));
        expire().await;
        assert!(is_refused(&mount, "d").await);
        mount.faults.clear(method);
        mount.memory.put("d", content(78));
        mount.fs.refresh(b"", async |_| ()).await.expect("it is listed");
        assert!(mount.read("d").await.expect("another version") == content(78), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_here_of_a_refused_file_is_served() {
    let mount = Fixture::metered();
    mount.memory.put("small", content(1000));
    mount.memory.put("large", content(64 * BLOCK));
    mount.read("small").await.expect("read");
    mount.read("large").await.expect("read");
    mount.faults.set(Method::RetrieveFile, REFUSED);
    expire().await;
    for _ in 0..2 {
        assert!(mount.read("small").await.expect("it is here") == content(1000));
        assert!(mount.read("large").await.expect("it is here") == content(64 * BLOCK));
    }
}
