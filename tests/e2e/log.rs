//! The log stays short whatever a server does: at most sixty lines in a minute.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kit::home::Home;
use crate::kit::liar::{Answer, End, For, Liar, Speaks};

const FILES: usize = 500;

/// How long programs ask and ask.
const ASKED: Duration = Duration::from_secs(10);
/// The same while nothing is logged.
const LONGEST: Duration = Duration::from_secs(120);

/// What a mount logged.
struct Log {
    said: String,
    /// For so many minutes at most.
    minutes: usize,
}

/// What is logged while programs ask and ask.
fn logged(lie: impl Fn(For, &mut Answer) + Send + Sync + 'static) -> Log {
    let files: BTreeMap<_, _> = (0..FILES).map(|number| (format!("file-{number}"), b"content".to_vec())).collect();
    let liar = Liar::speaking(Speaks::Webdav, files);
    let settings = "fresh_for = \"100ms\"\ntimeout = \"20s\"\n";
    let mounted = Instant::now();
    let mut mount =
        Home::of(&format!("[sources.far]\n{}{settings}", liar.table())).with_env("KITOVUFS_LOG", "info").mount();
    let _ = fs::read_dir(mount.path("far")).map(Iterator::count);
    liar.lie(lie);
    let begun = Instant::now();
    // On a busy machine one listing may take longer.
    let goes_on = || begun.elapsed() < ASKED || begun.elapsed() < LONGEST && !mount.log().contains("source far: ");
    for number in (0..FILES).cycle().take_while(|_| goes_on()) {
        let _ = fs::read(mount.path(format!("far/file-{number}")));
        if number + 1 == FILES {
            let _ = fs::read_dir(mount.path("far")).map(Iterator::count);
        }
    }
    let said = mount.unmount();
    Log { said, minutes: 1 + mounted.elapsed().as_secs() as usize / 60 }
}

fn assert_short(Log { said, minutes }: &Log) {
    let (lines, bytes) = (said.lines().count(), said.len());
    println!("{lines} lines, {bytes} bytes in {minutes} minutes");
    let most = 60 * minutes;
    assert!((1..=most).contains(&lines) && bytes < most * 1024, "{lines} lines, {bytes} bytes:\n{said}");
}

#[test]
fn five_hundred_files_that_are_refused() {
    let log = logged(|what, answer| {
        if what == For::Bytes {
            answer.refuse(403);
        }
    });
    assert_short(&log);
    let said = log.said;
    assert!(said.contains("403") && said.contains("source far: … and "), "{said}");
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
    let Log { said, minutes } = log;
    let told = said.lines().filter(|line| line.contains("source far: ") && line.contains("100000 names are left out"));
    // The same is told once a minute, however often it is listed, and once as an example of what was left out.
    assert!((1..=2 * minutes).contains(&told.count()), "in {minutes} minutes:\n{said}");
    assert!(!said.contains('\x1b'), "{said}");
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
