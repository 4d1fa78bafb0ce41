//! A server that answers everything wrong: a reader gets right bytes or an error within the deadline, what is known stays, and the log
//! says why.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kit::files::{noise, random};
use crate::kit::home::Home;
use crate::kit::liar::{Answer, End, For, Liar, Speaks};
use crate::kit::mount::{Mount, number, requests};
use crate::kit::wait::eventually;

/// The timeout of an open and of a read, their repetitions, and what a busy machine may take to notice it.
const DEADLINE: Duration = Duration::from_secs(12);

/// A way to lie, and the words with which the log tells of it. Without words, the answer may be put up with.
type Case = (&'static str, fn(&mut Answer), &'static str);

/// What can be wrong with the bytes of a file.
const BYTES: &[Case] = &[
    ("silence", |a| a.end = End::Stall(0), "no progress"),
    ("silence in the middle", |a| a.end = End::Stall(a.body.len() / 2), "no progress"),
    ("reset at once", |a| a.end = End::Reset(0), "source unreachable"),
    ("reset in the middle", |a| a.end = End::Reset(a.body.len() / 3), "source unreachable"),
    ("reset before the last byte", |a| a.end = End::Reset(a.body.len() - 1), "source unreachable"),
    ("closed in the middle", |a| a.end = End::Close(a.body.len() / 3), "source unreachable"),
    ("cut short, and no length", cut_without_length, "bytes early"),
    ("400", |a| a.refuse(400), "400 Bad Request"),
    ("403", |a| a.refuse(403), "403 Forbidden"),
    ("404", |a| a.refuse(404), "404 Not Found"),
    ("416", |a| a.refuse(416), "416 Range Not Satisfiable"),
    ("429", |a| a.refuse(429), "429 Too Many Requests"),
    ("429 for a second", |a| refuse_for(a, 429, "1"), "429 Too Many Requests"),
    ("500", |a| a.refuse(500), "500 Internal Server Error"),
    ("503", |a| a.refuse(503), "503 Service Unavailable"),
    ("503 for a second", |a| refuse_for(a, 503, "1"), "503 Service Unavailable"),
    ("302", |a| a.refuse(302), "302 Found"),
    ("204", |a| a.refuse(204), "which version|tells neither"),
    ("a whole that is a part", |a| a.header("Content-Range", None), ""),
    ("another part", another_part, ""),
    ("a shorter part", shorter_part, "asked for"),
    (
        "another total",
        |a| {
            let other = a.value("Content-Range").replace('/', "/1");
            if !other.is_empty() {
                a.header("Content-Range", Some(&other))
            }
        },
        "",
    ),
    ("another tag", |a| a.header("ETag", Some("\"other\"")), "remote file has changed"),
    ("no tag", |a| a.header("ETag", None), "which version"),
    (
        "more than said",
        |a| {
            let body = [a.body.as_slice(), b"x"].concat();
            a.body = body;
            a.header("Content-Length", None)
        },
        "longer than it said",
    ),
    (
        "a page to log in",
        |a| {
            a.refuse(200);
            a.say(b"<html>Who are you?</html>")
        },
        "which version|tells neither",
    ),
];

/// What can be wrong with a listing.
const LISTING: &[Case] = &[
    ("silence", |a| a.end = End::Stall(0), "no progress"),
    ("silence in the middle", |a| a.end = End::Stall(a.body.len() / 2), "no progress"),
    ("reset in the middle", |a| a.end = End::Reset(a.body.len() / 2), "source unreachable"),
    ("closed in the middle", |a| a.end = End::Close(a.body.len() / 2), "source unreachable"),
    ("closed before the last byte", |a| a.end = End::Close(a.body.len() - 1), "source unreachable"),
    ("cut short, and no length", cut_without_length, "list_path"),
    (
        "almost whole, and no length",
        |a| {
            a.header("Content-Length", None);
            a.end = End::Close(a.body.len() - 2)
        },
        "list_path",
    ),
    ("404", |a| a.refuse(404), "list_path"),
    ("429", |a| a.refuse(429), "429 Too Many Requests"),
    ("500", |a| a.refuse(500), "500 Internal Server Error"),
    ("503", |a| a.refuse(503), "503 Service Unavailable"),
    ("204", |a| a.refuse(204), "list_path"),
    ("nothing", |a| a.say(b""), "list_path"),
    (
        "a page to log in",
        |a| {
            a.header("Content-Type", Some("text/html"));
            a.say(b"<html><title>Login</title></html>")
        },
        "list_path",
    ),
];

fn cut_without_length(answer: &mut Answer) {
    answer.header("Content-Length", None);
    answer.end = End::Close(answer.body.len() / 2);
}

fn refuse_for(answer: &mut Answer, status: u16, seconds: &str) {
    answer.refuse(status);
    answer.header("Retry-After", Some(seconds));
}

/// As many bytes, and said to be from elsewhere.
fn another_part(answer: &mut Answer) {
    let said = answer.value("Content-Range").to_owned();
    if let Some((first, rest)) = said.trim_start_matches("bytes ").split_once('-') {
        let (last, total) = rest.split_once('/').unwrap();
        let [first, last] = [first, last].map(|number| number.parse::<u64>().unwrap() + 1);
        answer.header("Content-Range", Some(&format!("bytes {first}-{last}/{total}")));
    }
}

fn shorter_part(answer: &mut Answer) {
    let said = answer.value("Content-Range").to_owned();
    let body = answer.body[..answer.body.len() - 1].to_vec();
    if let Some((first, rest)) = said.trim_start_matches("bytes ").split_once('-') {
        let (last, total) = rest.split_once('/').unwrap();
        let last = last.parse::<u64>().unwrap() - 1;
        answer.header("Content-Range", Some(&format!("bytes {first}-{last}/{total}")));
    }
    answer.say(&body);
}

fn mounted(liar: &Liar, fresh_for: &str) -> Mount {
    let settings = format!("fresh_for = \"{fresh_for}\"\ntimeout = \"1s\"\n");
    Home::of(&format!("[sources.far]\n{}{settings}", liar.table())).with_env("KITOVUFS_LOG", "info").mount()
}

/// One small and one large file for each case, and one that is read before.
fn files() -> BTreeMap<String, Vec<u8>> {
    let mut random = random();
    let mut files = BTreeMap::from([("cached".to_owned(), noise(2 << 20, &mut random))]);
    for number in 0..BYTES.len() {
        files.insert(format!("small-{number:02}"), noise(200_000, &mut random));
        files.insert(format!("large-{number:02}"), noise(3 << 20, &mut random));
    }
    files
}

fn assert_known(mount: &Mount, files: &BTreeMap<String, Vec<u8>>, case: &str) {
    assert!(fs::read(mount.path("far/cached")).unwrap() == files["cached"], "{case}");
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), files.len(), "{case}");
}

/// What a server has, the server, and a mount that has heard the truth.
fn honest_at_first(speaks: Speaks, fresh_for: &str) -> (BTreeMap<String, Vec<u8>>, Liar, Mount) {
    let files = files();
    let liar = Liar::speaking(speaks, files.clone());
    let mount = mounted(&liar, fresh_for);
    assert_known(&mount, &files, "the truth");
    (files, liar, mount)
}

fn lies_about_bytes(speaks: Speaks) {
    let (files, liar, mount) = honest_at_first(speaks, "1h");
    for (number, (case, lie, words)) in BYTES.iter().enumerate() {
        let said = mount.log().len();
        liar.lie(|what, answer| {
            if what == For::Bytes {
                lie(answer);
            }
        });
        let mut failed = false;
        for name in [format!("small-{number:02}"), format!("large-{number:02}")] {
            let begun = Instant::now();
            match fs::read(mount.path(format!("far/{name}"))) {
                Ok(read) => assert!(read == files[&name], "{case}: {name} has wrong bytes"),
                Err(error) => {
                    failed = true;
                    println!("{speaks:?}: {case}: {name}: {error}");
                }
            }
            assert!(begun.elapsed() < DEADLINE, "{case}: {name} took {:?}", begun.elapsed());
            assert_eq!(
                fs::metadata(mount.path(format!("far/{name}"))).unwrap().len(),
                files[&name].len() as u64,
                "{case}"
            );
        }
        assert_known(&mount, &files, case);
        // Where a file is told of by one request and sent by another, both have size and time, and the server may have two sorts of tags.
        let may_differ = matches!(*case, "another tag" | "no tag") && !matches!(speaks, Speaks::S3);
        assert!(failed || words.is_empty() || may_differ, "{case}: it was put up with");
        liar.tell_the_truth();
        // The log counts what is too much for a minute, which all these lies are.
        let last = mount.status()["sources"]["far"]["last_error"].as_str().unwrap_or_default().to_owned();
        let said = last + &mount.log().split_off(said);
        let is_said = words.split('|').any(|words| said.contains(words));
        assert!(!failed || is_said, "{case}: {words:?} is neither the last error nor in the log:\n{said}");
        for name in [format!("small-{number:02}"), format!("large-{number:02}")] {
            eventually(case, || fs::read(mount.path(format!("far/{name}"))).is_ok_and(|read| read == files[&name]));
        }
    }
}

fn lies_about_listings(speaks: Speaks, page: For) {
    let (files, liar, mount) = honest_at_first(speaks, "300ms");
    let told = Arc::new(AtomicU64::new(0));
    for (case, lie, words) in LISTING {
        let (counted, before) = (told.clone(), told.load(Ordering::Relaxed));
        liar.lie(move |what, answer| {
            if what == page {
                counted.fetch_add(1, Ordering::Relaxed);
                lie(answer);
            }
        });
        eventually(case, || {
            let begun = Instant::now();
            assert_known(&mount, &files, case);
            assert!(begun.elapsed() < DEADLINE, "{case}: it took {:?}", begun.elapsed());
            // The log tells the same failure once a minute.
            let last = mount.status()["sources"]["far"]["last_error"].as_str().unwrap_or_default().to_owned();
            told.load(Ordering::Relaxed) > before && last.contains(words) && mount.log().contains(words)
        });
        liar.tell_the_truth();
        let before = requests(&mount.status(), "far").0;
        eventually(case, || {
            assert_known(&mount, &files, case);
            let status = mount.status();
            status["sources"]["far"]["state"] == "ok" && requests(&status, "far").0 > before
        });
    }
}

/// A server that asks to be left alone for long is left alone; what is known is served.
#[test]
fn about_an_hour_of_rest() {
    for (speaks, status) in [(Speaks::Webdav, 503), (Speaks::S3, 429)] {
        let (files, liar, mount) = honest_at_first(speaks, "300ms");
        let told = Arc::new(AtomicU64::new(0));
        let counted = told.clone();
        liar.lie(move |_, answer| {
            counted.fetch_add(1, Ordering::Relaxed);
            refuse_for(answer, status, "3600");
        });
        eventually("it is noticed", || {
            assert_known(&mount, &files, "rest");
            told.load(Ordering::Relaxed) > 0
        });
        for number in 0..20 {
            assert_known(&mount, &files, "rest");
            assert!(fs::read(mount.path(format!("far/small-{number:02}"))).is_err());
        }
        // Those that were under way when it said so.
        assert!(told.load(Ordering::Relaxed) <= 3, "it was asked {told:?} times");
        assert!(mount.log().contains(&format!("the server answered {status}")), "{}", mount.log());
    }
}

/// Whom the server does not know does not try again and again: accounts are locked for that.
#[test]
fn about_who_one_is() {
    for speaks in [Speaks::Webdav, Speaks::S3, Speaks::Json] {
        let (files, liar, mount) = honest_at_first(speaks, "300ms");
        let told = Arc::new(AtomicU64::new(0));
        let counted = told.clone();
        liar.lie(move |_, answer| {
            counted.fetch_add(1, Ordering::Relaxed);
            answer.refuse(401);
        });
        eventually("it is noticed", || {
            assert_known(&mount, &files, "401");
            mount.status()["sources"]["far"]["state"] == "unauthorized"
        });
        assert!(fs::read(mount.path("far/small-00")).is_err());
        assert_known(&mount, &files, "401");
        assert!(mount.log().contains("401 Unauthorized"), "{}", mount.log());
        assert!(told.load(Ordering::Relaxed) <= 3, "it was tried {told:?} times");
    }
}

/// HEAD sends no bytes, and some servers give their number as the length.
#[test]
fn about_the_length_that_head_tells() {
    let mut random = random();
    let files = [("small", noise(1_000, &mut random)), ("large", noise(3 << 20, &mut random)), ("empty", Vec::new())];
    let files = BTreeMap::from(files.map(|(name, bytes)| (name.to_owned(), bytes)));
    let liar = Liar::speaking(Speaks::Html, files.clone());
    liar.lie(|what, answer| {
        if what == For::Version {
            answer.header("Content-Length", Some("0"));
        }
    });
    let mount = mounted(&liar, "1h");
    for (name, bytes) in &files {
        assert!(fs::read(mount.path(format!("far/{name}"))).unwrap() == *bytes, "{name}");
    }
}

#[test]
fn about_bytes_over_webdav() {
    lies_about_bytes(Speaks::Webdav);
}

#[test]
fn about_bytes_over_s3() {
    lies_about_bytes(Speaks::S3);
}

#[test]
fn about_bytes_over_http() {
    lies_about_bytes(Speaks::Json);
}

#[test]
fn about_listings_over_webdav() {
    lies_about_listings(Speaks::Webdav, For::Listing);
}

#[test]
fn about_the_first_page_of_s3() {
    lies_about_listings(Speaks::S3, For::Listing);
}

#[test]
fn about_the_second_page_of_s3() {
    lies_about_listings(Speaks::S3, For::NextPage);
}

#[test]
fn about_pages_for_people() {
    lies_about_listings(Speaks::Html, For::Listing);
}

#[test]
fn about_indexes_in_json() {
    lies_about_listings(Speaks::Json, For::Listing);
}

/// Says in each answer that the object is encrypted, so that its tag is no hash.
fn encrypted(answer: &mut Answer) {
    answer.header("x-amz-server-side-encryption", Some("aws:kms"));
}

#[test]
fn about_the_same_byte_each_time() {
    let mut random = random();
    let sizes = [("true", 1000), ("small", 200_000), ("large", 3 << 20)];
    let files = sizes.into_iter().map(|(name, size)| (name.to_owned(), noise(size, &mut random)));
    let liar = Liar::speaking(Speaks::Hashes, files.collect());
    let mount = mounted(&liar, "100ms");
    fs::read(mount.path("far/true")).unwrap();
    let asked = Arc::new(AtomicU64::default());
    let counting = asked.clone();
    liar.lie(move |what, answer| {
        if what == For::Bytes {
            counting.fetch_add(1, Ordering::Relaxed);
            let ends = answer.value("Content-Range").rsplit_once('/').is_none_or(|(part, total)| {
                let last = total.parse::<u64>().unwrap() - 1;
                part.ends_with(&format!("-{last}"))
            });
            if ends {
                *answer.body.last_mut().unwrap() ^= 1;
            }
        }
    });
    for (damaged, name) in (1..).zip(["small", "large"]) {
        let error = fs::read(mount.path(format!("far/{name}"))).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}: {error}");
        let before = asked.load(Ordering::Relaxed);
        fs::read(mount.path(format!("far/{name}"))).expect_err(name);
        assert_eq!(asked.load(Ordering::Relaxed), before, "{name} was retrieved again at once");
        let status = mount.status();
        assert_eq!(number(&status, "/cache/quarantined"), damaged, "{name}");
        assert_eq!(number(&status, "/sources/far/unconverged_digests"), 0);
        let said = status.pointer("/sources/far/last_error").and_then(|said| said.as_str()).unwrap_or_default();
        assert!(said.contains("damaged bytes") && said.contains(name), "{said}");
    }
    liar.tell_the_truth();
    for name in ["small", "large"] {
        let new = noise(500_000, &mut random);
        liar.put(name, &new);
        eventually(name, || fs::read(mount.path(format!("far/{name}"))).is_ok_and(|read| read == new));
    }
}

#[test]
fn about_an_object_whose_tag_is_no_hash_because_it_is_encrypted() {
    let mut random = random();
    let bytes = noise(200_000, &mut random);
    let files = BTreeMap::from([("true".to_owned(), noise(1000, &mut random)), ("file".to_owned(), bytes.clone())]);
    let liar = Liar::speaking(Speaks::Hashes, files);
    let mount = mounted(&liar, "1h");
    fs::read(mount.path("far/true")).unwrap();
    // The store is honest, and what the tag says is not of these bytes.
    let mut lied = bytes;
    lied[7] ^= 1;
    let said = lied.clone();
    liar.lie(move |what, answer| {
        if what == For::Bytes {
            answer.body.copy_from_slice(&said);
            encrypted(answer);
        }
    });
    assert!(fs::read(mount.path("far/file")).unwrap() == lied);
    let status = mount.status();
    assert_eq!((number(&status, "/cache/quarantined"), requests(&status, "far").2), (0, 2), "one retrieval each");
}
