//! Unreachable is not absent: what an outage takes away, and what it leaves.

use std::fs;
use std::io::Result;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::kit::mount::{Mount, bytes_retrieved};
use crate::kit::wait::eventually;
use crate::remote::Remote;

const TIMEOUT: Duration = Duration::from_secs(3);

/// The timeout, and what a busy machine may take to notice it.
const DEADLINE: Duration = Duration::from_secs(8);

/// Fails, within the deadline, and not as if there were nothing.
#[track_caller]
fn assert_outage<T: std::fmt::Debug>(act: impl FnOnce() -> Result<T>) {
    let begun = Instant::now();
    let error = act().unwrap_err();
    assert!(begun.elapsed() < DEADLINE, "{error} only after {:?}", begun.elapsed());
    let honest = [Errno::IO, Errno::TIMEDOUT, Errno::HOSTUNREACH].map(|errno| Some(errno.raw_os_error()));
    assert!(honest.contains(&error.raw_os_error()), "{error}");
}

#[test]
fn a_stopped_webdav_server_takes_only_what_was_not_read() {
    a_stopped_server_takes_only_what_was_not_read(Remote::webdav());
}

#[test]
fn a_stopped_s3_server_takes_only_what_was_not_read() {
    a_stopped_server_takes_only_what_was_not_read(Remote::s3());
}

#[test]
fn a_stopped_web_server_takes_only_what_was_not_read() {
    a_stopped_server_takes_only_what_was_not_read(Remote::pages());
}

fn a_stopped_server_takes_only_what_was_not_read(mut remote: Remote) {
    remote.put("dir/read", "read before");
    remote.put("dir/unread", "not read before");
    remote.put("unlisted/file", "never seen");
    let mut mount = Mount::of(&format!("{}fresh_for = \"300ms\"\ntimeout = \"3s\"\n", remote.table("far")));
    assert_eq!(fs::read(mount.path("far/dir/read")).unwrap(), b"read before");
    assert_eq!(fs::read_dir(mount.path("far/dir")).unwrap().count(), 2);
    assert_eq!(fs::metadata(mount.path("far/dir/unread")).unwrap().len(), 15);

    remote.stop();
    eventually("what is remembered is no longer fresh, and the outage noticed", || {
        let _ = fs::read_dir(mount.path("far/dir"));
        mount.status()["sources"]["far"]["state"] == "unreachable"
    });
    // Once as it is, and once by a daemon that has never seen the server.
    for _ in 0..2 {
        assert_eq!(fs::read(mount.path("far/dir/read")).unwrap(), b"read before");
        assert_eq!(fs::read_dir(mount.path("far/dir")).unwrap().count(), 2);
        assert_eq!(fs::metadata(mount.path("far/dir/unread")).unwrap().len(), 15);
        assert_outage(|| fs::read(mount.path("far/dir/unread")));
        assert_outage(|| fs::read_dir(mount.path("far/unlisted")));
        assert_outage(|| fs::read(mount.path("far/unlisted/file")));
        mount.remount();
    }

    remote.start();
    let back = || fs::read(mount.path("far/dir/unread")).is_ok_and(|bytes| bytes == b"not read before");
    eventually("the server is back, and so are its files", back);
    assert_eq!(fs::read(mount.path("far/unlisted/file")).unwrap(), b"never seen");
    let status = mount.status();
    assert_eq!(status["sources"]["far"]["state"], "ok");
    assert_eq!(bytes_retrieved(&status, "far"), 15 + 10, "what was read before was still there");
}

#[test]
fn who_wants_no_old_answers_gets_none() {
    let mut remote = Remote::webdav();
    remote.put("file", "bytes");
    let settings = "fresh_for = \"300ms\"\ntimeout = \"3s\"\noffline = \"fail\"\n";
    let mount = Mount::of(&format!("{}{settings}", remote.table("far")));
    assert_eq!(fs::read(mount.path("far/file")).unwrap(), b"bytes");
    remote.stop();
    eventually("what was fresh is served, what is not is an error", || fs::read(mount.path("far/file")).is_err());
    assert_outage(|| fs::read(mount.path("far/file")));
    assert_outage(|| fs::read_dir(mount.path("far")));
    remote.start();
    eventually("the server is back", || fs::read(mount.path("far/file")).is_ok());
}

#[test]
fn a_server_that_hangs_delays_nobody_else() {
    // The kernel accepts for it; it never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = Remote::local();
    near.put("file", "bytes");
    let endpoint = silent.local_addr().unwrap();
    let mount = Mount::of(&format!(
        "[defaults]\ntimeout = \"{}s\"\n{}[sources.silent]\ntype = \"webdav\"\nendpoint = \"http://{endpoint}\"\n",
        TIMEOUT.as_secs(),
        near.table("near"),
    ));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..32)
            .map(|number| mount.path(format!("silent/{number}")))
            .map(|path| scope.spawn(move || assert_outage(|| fs::metadata(path))))
            .collect();
        assert_eq!(fs::read(mount.path("near/file")).unwrap(), b"bytes");
        assert!(!waiting.iter().any(std::thread::ScopedJoinHandle::is_finished), "the other source took as long");
        waiting.into_iter().for_each(|waiter| waiter.join().expect("each fails as it should"));
    });
}
