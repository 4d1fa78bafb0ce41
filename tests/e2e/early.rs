//! Bytes that are read before they are confirmed: who waits, and how many questions they cost.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::kit::files::{noise, random, set_modified};
use crate::kit::liar::{For, Liar, Speaks};
use crate::kit::mount::{Mount, bytes_retrieved};
use crate::kit::proxy::{Link, Proxy};
use crate::kit::reaper;
use crate::kit::servers::{Server, Webdav, with_port};
use crate::kit::wait::{eventually, settled};
use crate::kit::web::Web;
use crate::remote::Remote;

const BLOCK: u64 = 128 << 10;

/// A server says nothing about versions until this is dropped.
struct Silence(Arc<AtomicBool>);

impl Drop for Silence {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A mount of a server that tells everything until it falls silent about versions; what it shows.
fn silent_about_versions(speaks: Speaks, settings: &str) -> (Mount, Liar, Silence, [Vec<u8>; 2]) {
    let (small, large) = (noise(100_000, &mut random()), noise(4 << 20, &mut random()));
    let liar =
        Liar::speaking(speaks, [("small".to_owned(), small.clone()), ("large".to_owned(), large.clone())].into());
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = is_silent.clone();
    liar.lie(move |what, answer| {
        answer.header("Date", Some("Sun, 06 Nov 1994 09:49:37 GMT"));
        while what == For::Version && silent.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mount = Mount::of(&format!("[sources.far]\n{}fresh_for = \"1h\"\ntimeout = \"2s\"\n{settings}", liar.table()));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 2);
    is_silent.store(true, Ordering::Relaxed);
    (mount, liar, Silence(is_silent), [small, large])
}

#[test]
fn nobody_waits_for_a_confirmation() {
    for speaks in [Speaks::Webdav, Speaks::Json] {
        let (mount, _liar, _silence, [small, large]) = silent_about_versions(speaks, "");
        assert!(fs::read(mount.path("far/small")).unwrap() == small, "{speaks:?}");
        let file = File::open(mount.path("far/large")).unwrap();
        let mut read = [0; 1000];
        file.read_exact_at(&mut read, 20 * BLOCK).unwrap();
        assert!(large[20 * BLOCK as usize..].starts_with(&read), "{speaks:?}");
    }
}

#[test]
fn what_could_not_be_confirmed_is_not_kept() {
    let (mount, _liar, silence, [small, _]) = silent_about_versions(Speaks::Webdav, "");
    assert!(fs::read(mount.path("far/small")).unwrap() == small);
    eventually("the question has failed", || {
        mount.status()["sources"]["far"]["last_error"].as_str().is_some_and(|error| error.contains("no progress"))
    });
    let before = bytes_retrieved(&mount.status(), "far");
    drop(silence);
    eventually("it is read once more", || fs::read(mount.path("far/small")).is_ok_and(|read| read == small));
    assert_eq!(bytes_retrieved(&mount.status(), "far"), before + 100_000);
}

#[test]
fn a_strict_source_lets_nobody_read_before() {
    let (mount, _liar, _silence, _) = silent_about_versions(Speaks::Webdav, "confirm = \"strict\"\n");
    assert!(fs::read(mount.path("far/small")).is_err());
}

/// A mount of a directory that a server shows at the end of a line of 40 ms.
fn far(server: &Server, table: &str, settings: &str) -> (Mount, Proxy) {
    let line = Proxy::to(server.port());
    line.set(Link { delay: Duration::from_millis(20), ..Link::default() });
    let table = with_port(table, server.port(), line.port());
    let mount = Mount::of(&format!("[sources.far]\n{table}fresh_for = \"1h\"\nread_ahead = false\n{settings}"));
    assert!(fs::read_dir(mount.path("far")).unwrap().count() > 0);
    (mount, line)
}

/// Writes a file that was left alone for an hour.
fn put(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).unwrap();
    set_modified(&dir.join(name), SystemTime::now() - Duration::from_secs(3600));
}

/// How many requests there were with this method.
fn count(server: &Server, method: &str) -> usize {
    server.requests().iter().filter(|request| request.starts_with(&format!("{method} "))).count()
}

#[test]
fn random_reads_over_webdav_share_their_confirmation() {
    let dir = reaper::temporary();
    let server = Webdav::apache(dir.path());
    random_reads_share_their_confirmation(dir.path(), &server, &server.table(), "PROPFIND");
}

#[test]
fn random_reads_over_http_share_their_confirmation() {
    let dir = reaper::temporary();
    let server = Web::nginx_json(dir.path());
    random_reads_share_their_confirmation(dir.path(), &server, &server.table(""), "HEAD");
}

fn random_reads_share_their_confirmation(dir: &Path, server: &Server, table: &str, question: &str) {
    let content = noise(64 << 20, &mut random());
    put(dir, "file", &content);
    // On a busy machine, a pause between two reads may seem the end of all.
    for (settings, most) in [("confirm = \"strict\"\n", 51), ("", 10)] {
        let (mount, _line) = far(server, table, settings);
        let file = File::open(mount.path("far/file")).unwrap();
        let asked = |method| count(server, method);
        let (gets, questions, begun) = (asked("GET"), asked(question), Instant::now());
        read_at_random(&file, &content);
        println!("50 random reads over {question}, {settings:?}: {:?}", begun.elapsed());
        settled("questions", Duration::from_secs(1), || asked(question) as u64);
        println!("{} GET, {} {question}", asked("GET") - gets, asked(question) - questions);
        assert_eq!(asked("GET") - gets, 50);
        assert!(asked(question) - questions <= most);
    }
}

#[test]
fn random_reads_of_a_bucket_without_tags_share_their_confirmation() {
    let remote = Remote::untagged_s3();
    let content = noise(64 << 20, &mut random());
    put(&remote.dir(), "file", &content);
    let (table, line) = remote.table_over("far", Proxy::to);
    line.set(Link { delay: Duration::from_millis(20), ..Link::default() });
    for (settings, most) in [("confirm = \"strict\"\n", 101), ("", 60)] {
        let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\nread_ahead = false\n{settings}"));
        assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 1);
        let file = File::open(mount.path("far/file")).unwrap();
        let (asked, begun) = (line.http_requests(), Instant::now());
        read_at_random(&file, &content);
        println!("50 random reads of a bucket without tags, {settings:?}: {:?}", begun.elapsed());
        let asked = settled("requests", Duration::from_secs(1), || line.http_requests()) - asked;
        println!("{asked} requests");
        assert!((50..=most).contains(&asked), "{asked} requests");
    }
}

/// Reads 64 KiB at 50 places, so far from each other that no reader seems to go forward.
fn read_at_random(file: &File, content: &[u8]) {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random).unwrap();
    for number in 0..50 {
        let at = (number * 19 % 50 * 10 + 2) * BLOCK;
        let mut read = [0; 65_536];
        file.read_exact_at(&mut read, at).unwrap();
        assert!(content[at as usize..].starts_with(&read));
    }
}

#[test]
fn files_that_come_ahead_share_a_confirmation() {
    let dir = reaper::temporary();
    let mut server = Webdav::apache(dir.path());
    (0..300).for_each(|number| put(dir.path(), &format!("{number:03}"), &[7; 4096]));
    let mut mount = Mount::of(&format!("[sources.far]\n{}fresh_for = \"1h\"\n", server.table()));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 300);
    let (gets, questions) = (count(&server, "GET"), count(&server, "PROPFIND"));
    let copies = mount.home().dir().join("copies");
    fs::create_dir(&copies).unwrap();
    mount.sh(&format!("cp far/* {}", copies.display()));
    settled("they are confirmed", Duration::from_secs(7), || count(&server, "PROPFIND") as u64);
    mount.remount();
    let (gets, questions) = (count(&server, "GET") - gets, count(&server, "PROPFIND") - questions);
    println!("{gets} GET, {questions} PROPFIND");
    // About those for which the copying waited the server is asked one by one.
    assert!(gets == 300 && questions < 150, "{gets} GET, {questions} PROPFIND");
    server.stop();
    for number in 0..300 {
        assert_eq!(fs::read(mount.path(format!("far/{number:03}"))).unwrap(), [7; 4096], "{number}");
    }
}

#[test]
fn small_files_over_webdav() {
    let dir = reaper::temporary();
    let server = Webdav::apache(dir.path());
    small_files(dir.path(), &server, &server.table(), "PROPFIND");
}

#[test]
fn small_files_over_http() {
    let dir = reaper::temporary();
    let server = Web::nginx_json(dir.path());
    small_files(dir.path(), &server, &server.table(""), "HEAD");
}

fn small_files(dir: &Path, server: &Server, table: &str, question: &str) {
    (0..200).for_each(|number| put(dir, &format!("{number:03}"), &[7; 4096]));
    for settings in ["confirm = \"strict\"\n", ""] {
        let (mount, _line) = far(server, table, settings);
        let asked = |method| count(server, method);
        let (gets, questions, begun) = (asked("GET"), asked(question), Instant::now());
        let copies = mount.home().dir().join("copies");
        fs::create_dir(&copies).unwrap();
        mount.sh(&format!("cp far/* {}", copies.display()));
        println!("cp of 200 files over {question}, {settings:?}: {:?}", begun.elapsed());
        settled("questions", Duration::from_secs(1), || asked(question) as u64);
        println!("{} GET, {} {question}", asked("GET") - gets, asked(question) - questions);
        assert_eq!((asked("GET") - gets, asked(question) - questions), (200, 200));
    }
}
