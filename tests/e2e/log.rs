//! The log stays short whatever a server does: at most sixty lines a minute.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kit::home::Home;
use crate::kit::liar::{Answer, End, For, Liar, Speaks};

const FILES: usize = 500;

/// What is logged in half a minute in which programs ask and ask.
fn logged(lie: impl Fn(For, &mut Answer) + Send + Sync + 'static) -> String {
    let files: BTreeMap<_, _> = (0..FILES).map(|number| (format!("file-{number}"), b"content".to_vec())).collect();
    let liar = Liar::speaking(Speaks::Webdav, files);
    let settings = "fresh_for = \"100ms\"\ntimeout = \"20s\"\n";
    let mut mount =
        Home::of(&format!("[sources.far]\n{}{settings}", liar.table())).with_env("KITOVUFS_LOG", "info").mount();
    let _ = fs::read_dir(mount.path("far")).map(Iterator::count);
    liar.lie(lie);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        for number in 0..FILES {
            let _ = fs::read(mount.path(format!("far/file-{number}")));
        }
        let _ = fs::read_dir(mount.path("far")).map(Iterator::count);
    }
    mount.unmount()
}

fn assert_short(log: &str) {
    let (lines, bytes) = (log.lines().count(), log.len());
    println!("{lines} lines, {bytes} bytes");
    assert!((1..=60).contains(&lines) && bytes < 60 * 1024, "{lines} lines, {bytes} bytes:\n{log}");
}

#[test]
fn five_hundred_files_that_are_refused() {
    let log = logged(|what, answer| {
        if what == For::Bytes {
            answer.refuse(403);
        }
    });
    assert_short(&log);
    assert!(log.contains("403") && log.contains("source far: … and "), "{log}");
}

#[test]
fn a_hundred_thousand_names_that_lead_elsewhere() {
    let mut body = String::from("<multistatus>");
    for name in (0..100_000).map(|number| format!("%1b[31m..%2f..%2f{number}")).chain([String::new()]) {
        body += &format!(
            "<response><href>/{name}</href><propstat><prop><resourcetype><collection/></resourcetype></prop></propstat></response>"
        );
    }
    body += "</multistatus>";
    let log = logged(move |what, answer| {
        if what == For::Listing {
            answer.say(body.as_bytes());
        }
    });
    assert_short(&log);
    let told = log.lines().filter(|line| line.contains("source far: ") && line.contains("100000 names are left out"));
    // The log tells the same once a minute, however often it is listed.
    assert!((1..=2).contains(&told.count()), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
}

#[test]
fn a_server_that_is_there_and_is_not() {
    let asked = AtomicU64::new(0);
    let flapping = move |_: For, answer: &mut Answer| {
        if !asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            answer.end = End::Close(0);
        }
    };
    assert_short(&logged(flapping));
    assert_short(&logged(|_, answer| answer.refuse(502)));
}
