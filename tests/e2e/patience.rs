//! What is remembered does not wait for what is remote, nobody waits for somebody else's source, and `status` says who waits for what.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::mount::Mount;
use crate::kit::proxy::{Link, Proxy};
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// As if the server hung: it accepts everything, and says nothing until the link is another.
const SILENT: Link = Link { until: Some(0), ..QUICK };
const QUICK: Link =
    Link { delay: Duration::ZERO, bandwidth: None, line: None, until: None, fate: None, refuses: false };

/// The setting of these tests: so long that no busy machine takes half as long for what waits for nothing.
const PATIENCE: Duration = Duration::from_secs(8);

/// The timeout of these tests: what waits for it is longer than one that waits for `PATIENCE`.
const TIMEOUT: Duration = Duration::from_secs(40);

/// How long reading this file takes.
fn time(path: impl AsRef<Path>, expected: &[u8]) -> Duration {
    let begun = Instant::now();
    assert_eq!(fs::read(path).unwrap(), expected);
    begun.elapsed()
}

/// That is the largest of these that only one in a hundred is above.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn a_cached_file_of_a_webdav_server_that_hangs_waits_once() {
    a_cached_file_of_a_server_that_hangs_waits_once(&Remote::webdav());
}

#[test]
fn a_cached_file_of_an_sftp_server_that_hangs_waits_once() {
    a_cached_file_of_a_server_that_hangs_waits_once(&Remote::sftp());
}

#[test]
fn a_cached_file_of_an_smb_server_that_hangs_waits_once() {
    a_cached_file_of_a_server_that_hangs_waits_once(&Remote::smb());
}

/// A web folder whose pages tell no digests: every file is asked for alone.
#[test]
fn a_cached_file_of_a_web_server_that_hangs_waits_once() {
    a_cached_file_of_a_server_that_hangs_waits_once(&Remote::pages());
}

fn a_cached_file_of_a_server_that_hangs_waits_once(remote: &Remote) {
    remote.put("dir/file", "bytes");
    let (table, proxy) = remote.table_over("far", Proxy::to);
    let [patience, timeout] = [PATIENCE, TIMEOUT].map(|time| time.as_secs());
    let settings = format!("fresh_for = \"300ms\"\npatience = \"{patience}s\"\ntimeout = \"{timeout}s\"\n");
    let mount = Mount::of(&format!("{table}{settings}"));
    let file = mount.path("far/dir/file");
    time(&file, b"bytes");
    proxy.set(SILENT);
    thread::sleep(Duration::from_secs(1));
    let first = time(&file, b"bytes");
    assert!((PATIENCE..2 * PATIENCE).contains(&first), "{first:?}");
    let mut later = Vec::new();
    for _ in 0..10 {
        // The kernel asks anew each time.
        thread::sleep(Duration::from_millis(400));
        later.push(time(&file, b"bytes"));
        assert_eq!(fs::read_dir(mount.path("far/dir")).unwrap().count(), 1);
    }
    eprintln!("a cached file of a hanging server: {first:?} once, then {later:?}");
    let worst = later.into_iter().max().unwrap();
    assert!(worst < PATIENCE / 2, "{worst:?} after the first {first:?}");
    assert_eq!(mount.status()["sources"]["far"]["state"], "slow");

    proxy.set(QUICK);
    remote.put("dir/new", "came while it hung");
    eventually("the server answers again", || mount.path("far/dir/new").exists());
}

#[test]
fn a_source_that_hangs_leaves_the_latency_of_a_local_one_as_it_was() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = Remote::local();
    for number in 0..400 {
        near.put(&format!("{number}"), "bytes");
    }
    let mount = Mount::of(&format!(
        "[defaults]\ntimeout = \"20s\"\n{}[sources.silent]\ntype = \"webdav\"\nendpoint = \"http://{}\"\n",
        near.table("near"),
        silent.local_addr().unwrap(),
    ));
    let mut files = 0..400;
    let mut reads = |count: usize| {
        let paths = files.by_ref().take(count).map(|number| mount.path(format!("near/{number}")));
        paths.map(|path| time(path, b"bytes")).collect::<Vec<_>>()
    };
    let alone = p99(reads(200));
    let beside = thread::scope(|scope| {
        for number in 0..64 {
            let path = mount.path(format!("silent/{number}"));
            scope.spawn(move || fs::metadata(path).unwrap_err());
        }
        eventually("they wait", || mount.status()["sources"]["silent"]["waiting"].is_object());
        let beside = p99(reads(200));
        // They end when the server says goodbye.
        drop(silent);
        beside
    });
    eprintln!("p99 of a first read of a local file: {alone:?} alone, {beside:?} beside a source that hangs");
    // On a busy machine, both are what they are by luck.
    assert!(beside < 4 * alone + Duration::from_millis(250), "{beside:?} instead of {alone:?}");
}

#[test]
fn status_says_who_waits_for_what_in_the_first_second() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mount = Mount::of(&format!(
        "[sources.silent]\ntype = \"webdav\"\nendpoint = \"http://{}\"\ntimeout = \"20s\"\n",
        silent.local_addr().unwrap(),
    ));
    assert_eq!(mount.status()["sources"]["silent"]["state"], "idle");
    let begun = Instant::now();
    let mut waiting: Vec<_> = ["a", "b"]
        .map(|name| mount.home().command("stat").arg(mount.path("silent").join(name)).spawn().unwrap())
        .into();
    let mut status = serde_json::Value::Null;
    eventually("two programs wait", || {
        status = mount.status()["sources"]["silent"].clone();
        status["waiting"]["programs"] == 2
    });
    eprintln!("told {:?} after they began to wait: {status:#}", begun.elapsed());
    assert_eq!(status["state"], "slow");
    let request = status["waiting"]["for"].as_str().unwrap();
    assert!(request.starts_with("connect") || request.starts_with("list_path"), "{request}");
    assert!(status["waiting"]["seconds"].as_f64().unwrap() < begun.elapsed().as_secs_f64() + 0.1, "{status:#}");
    let said = mount.home().kitovufs(["status".as_ref(), mount.home().mountpoint().as_os_str()]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("silent  NO ANSWER for ") && said.contains("(2 programs wait, at most "), "{said}");
    for program in &mut waiting {
        program.kill().unwrap();
        program.wait().unwrap();
    }
    eventually("nobody waits any more", || {
        let status = mount.status()["sources"]["silent"].clone();
        status["waiting"].is_null() || status["waiting"]["programs"] == 0
    });
}

#[test]
fn a_source_with_a_wrong_setting_is_not_well() {
    let remote = Remote::pages();
    remote.put("file", "bytes");
    // A web server that is no WebDAV server, and a program that knows no password.
    let table = remote.table("wrong").replace("type = \"http\"", "type = \"webdav\"").replace("url = ", "endpoint = ");
    let command = "kitovufs-there-is-no-such-program";
    let mount = Mount::of(&format!(
        "{table}[sources.secret]\ntype = \"webdav\"\nendpoint = \"http://127.0.0.1:1\"\nusername = \"anna\"\n\
         password = {{ command = \"{command}\" }}\n",
    ));
    for (name, told) in [("wrong", "WebDAV"), ("secret", "command")] {
        fs::read_dir(mount.path(name)).unwrap_err();
        let status = mount.status()["sources"][name].clone();
        assert_eq!(status["state"], "failing", "{status:#}");
        assert!(status["last_error"].as_str().unwrap().contains(told), "{status:#}");
    }
}
