//! `pin`, `unpin`, `evict`, `refresh`, `verify` and `offline`: what a mount keeps, proves and forgets at its user's word.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::kit::files::set_modified;
use crate::kit::home::{Home, text};
use crate::kit::liar::{Liar, Speaks};
use crate::kit::mount::{Mount, bytes_retrieved, number};
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// The exit code, standard output and standard error of a command.
fn run(mount: &Mount, words: &[&str]) -> (i32, String, String) {
    let output = mount.home().kitovufs(words);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), said(&output.stdout), said(&output.stderr))
}

/// A tree of which `talks` has two files of 3,000,009 bytes in all.
fn remote() -> Remote {
    let remote = Remote::webdav();
    for (path, size) in [("talks/a", 3_000_000), ("talks/deep/b", 9), ("other/c", 1000)] {
        remote.put(path, "x".repeat(size));
    }
    remote
}

fn mounted(remote: &Remote) -> Mount {
    Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")))
}

/// The files of all copies, the largest first.
fn copies(home: &Home) -> Vec<PathBuf> {
    let output = home.command("find").arg(home.cache().join("objects")).args(["-type", "f"]).output().unwrap();
    let mut files: Vec<PathBuf> = String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.metadata().unwrap().len()));
    files
}

#[test]
fn what_is_pinned_stays_until_it_is_unpinned() {
    let remote = remote();
    let mut mount = mounted(&remote);
    let [far, talks, a] = ["far", "far/talks", "far/talks/a"].map(|path| text(mount.path(path)));
    let (code, said, failures) = run(&mount, &["pin", &talks]);
    assert_eq!(code, 0, "{failures}");
    assert_eq!(said, format!("{talks}: all 2 files (2.9 MiB) are in the cache, and stay there\n"));
    assert_eq!(bytes_retrieved(&mount.status(), "far"), 3_000_009);
    mount.sh("cat far/other/c >/dev/null");

    mount.remount();
    let status = mount.status();
    assert_eq!(number(&status, "/cache/pinned_copies"), 2);
    assert!(number(&status, "/cache/pinned_bytes") > 3_000_009);
    eventually("the pin was looked at", || mount.status()["pins"]["far/talks"]["files"] == 2);
    let (_, why, _) = run(&mount, &["why", &a]);
    assert!(why.contains("It is pinned (far/talks)"), "{why}");
    let (_, pins, _) = run(&mount, &["pin", "--json"]);
    let pins = pins.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(pins.into_iter().any(|pin| pin["path"] == talks && pin["files"] == 2));
    let (_, pins, _) = run(&mount, &["pin"]);
    assert!(pins.contains("far/talks: 2 files (2.9 MiB)"), "{pins}");

    let (code, said, failures) = run(&mount, &["evict", &far]);
    assert_eq!((code, said), (0, format!("{far}: 1 file (8.0 KiB) dropped from the cache\n")), "{failures}");
    assert!(failures.contains("2 files are kept, being pinned"), "{failures}");
    let (code, _, failures) = run(&mount, &["unpin", &a]);
    assert!(code == 1 && failures.contains("as a part of far/talks: unpin that"), "{failures}");
    let (code, _, failures) = run(&mount, &["unpin", &talks]);
    assert_eq!(code, 0, "{failures}");
    let (code, said, failures) = run(&mount, &["evict", "--json", &talks]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["dropped"], &told["path"]), (0, &2.into(), &Value::from(talks)), "{failures}");
    assert_eq!(copies(mount.home()), Vec::<PathBuf>::new());
    assert_eq!(bytes_retrieved(&mount.status(), "far"), 0, "nothing was retrieved again since the restart");
}

#[test]
fn a_pinned_folder_is_retrieved_again_when_its_source_has_changed() {
    let remote = remote();
    let mount = Mount::of(&format!("{}fresh_for = \"100ms\"\n", remote.table("far")));
    let (code, _, failures) = run(&mount, &["pin", &text(mount.path("far/talks"))]);
    assert_eq!(code, 0, "{failures}");
    remote.put("talks/new", "added, and not opened by anybody");
    eventually("it is in the cache", || mount.status()["pins"]["far/talks"]["files"] == 3);
    assert_eq!(bytes_retrieved(&mount.status(), "far"), 3_000_009 + 32);
}

#[test]
fn offline_says_what_is_missing_and_gets_it() {
    let remote = remote();
    let mut mount = mounted(&remote);
    let talks = text(mount.path("far/talks"));
    let (code, said, failures) = run(&mount, &["offline", "--check", &talks]);
    assert_eq!((code, &*said), (1, ""));
    assert!(failures.contains("does not work offline: 2 of 2 files (2.9 MiB of 2.9 MiB) are missing"), "{failures}");
    assert_eq!(bytes_retrieved(&mount.status(), "far"), 0, "it only looked");

    let (code, said, failures) = run(&mount, &["offline", &talks]);
    assert_eq!(code, 0, "{failures}");
    assert_eq!(said, format!("{talks}: works offline: all 2 files (2.9 MiB) are in the cache, pinned and proven\n"));
    drop(remote);
    mount.remount();
    let (code, said, failures) = run(&mount, &["offline", "--check", &talks]);
    assert!(code == 0 && said.contains("works offline: all 2 files"), "{said}{failures}");
    assert_eq!(mount.sh("cat far/talks/a far/talks/deep/b | wc -c").trim(), "3000009");
    let (code, _, failures) = run(&mount, &["offline", "--check", &text(mount.path("far"))]);
    assert!(code == 1 && failures.contains("does not work offline"), "{failures}");
    let (code, _, failures) = run(&mount, &["refresh", &talks]);
    assert!(code == 1 && failures.contains("refresh"), "{failures}");
}

#[test]
fn verify_finds_damage_and_repairs_it() {
    let remote = remote();
    let mount = mounted(&remote);
    let talks = text(mount.path("far/talks"));
    mount.sh("cat far/talks/a far/talks/deep/b >/dev/null");
    let (code, said, failures) = run(&mount, &["verify", &talks]);
    assert_eq!((code, said), (0, format!("{talks}: what is in the cache of 2 files is sound\n")), "{failures}");
    let before = bytes_retrieved(&mount.status(), "far");

    let damage = || {
        let copy = File::options().write(true).open(&copies(mount.home())[0]).unwrap();
        copy.write_at(b"y", 1_000_000).unwrap();
    };
    damage();
    let (code, said, failures) = run(&mount, &["verify", &talks]);
    assert_eq!(code, 4, "{failures}");
    assert!(said.contains("of 2 files, 1 file had damage, which was dropped and retrieved again\n"), "{said}");
    let after = bytes_retrieved(&mount.status(), "far");
    assert!((1..=1 << 20).contains(&(after - before)), "only what was damaged comes again: {}", after - before);
    assert_eq!(fs::read(mount.path("far/talks/a")).unwrap(), b"x".repeat(3_000_000));

    damage();
    let (code, said, failures) = run(&mount, &["verify", "--json"]);
    // Those of other tests are there too, and cannot be asked from here.
    let told = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = told.into_iter().find(|told| told["path"] == text(mount.home().mountpoint())).expect(&failures);
    assert_eq!((code & 4, &told["verified"], &told["damaged"]), (4, &2.into(), &1.into()), "{failures}");
}

#[test]
fn what_verify_retrieves_again_is_counted_once_it_is_confirmed() {
    let remote = Remote::webdav();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for number in 0..8 {
        let name = format!("old/{number}");
        remote.put(&name, number.to_string().repeat(500_000));
        // Left alone for so long that it is read before it is confirmed.
        set_modified(&remote.dir().join(name), long_ago);
    }
    let mount = mounted(&remote);
    let old = text(mount.path("far/old"));
    mount.sh("cat far/old/* >/dev/null");
    eventually("all of it is kept", || run(&mount, &["offline", "--check", &old]).0 == 0);
    for copy in copies(mount.home()) {
        File::options().write(true).open(copy).unwrap().write_at(b"x", 1000).unwrap();
    }
    let (code, said, failures) = run(&mount, &["verify", "--json", &old]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["damaged"], &told["repaired"]), (4, &8.into(), &8.into()), "{said}{failures}");
    assert_eq!(told["retrieved_bytes"], 8 * (128 << 10), "only the damaged blocks came again");
}

#[test]
fn refresh_shows_what_is_new_though_the_last_answer_still_counts() {
    let remote = remote();
    let mount = mounted(&remote);
    let [talks, b] = ["far/talks", "far/talks/deep/b"].map(|path| text(mount.path(path)));
    mount.sh("ls far/talks far/talks/deep >/dev/null; cat far/talks/deep/b >/dev/null");
    remote.put("talks/new", "added");
    remote.put("talks/deep/b", "another version");
    assert!(!mount.path("far/talks/new").exists());
    let (code, said, failures) = run(&mount, &["refresh", &talks, &b]);
    assert_eq!(code, 0, "{failures}");
    assert_eq!(said, format!("{talks}: asked now: 3 names\n{b}: asked now: there is another version\n"));
    assert_eq!(mount.sh("cat far/talks/new far/talks/deep/b"), "addedanother version");
}

#[test]
fn what_cannot_be_kept_is_told() {
    let remote = Remote::local();
    for name in ["a", "b", "c", "d"] {
        remote.put(name, "x".repeat(3 << 20));
    }
    let config = format!("[cache]\nmax_size = \"8MiB\"\n{}fresh_for = \"1h\"\n", remote.table("near"));
    let mount = Mount::of(&config);
    let (code, _, failures) = run(&mount, &["pin", &text(mount.path("near"))]);
    assert_eq!(code, 1);
    assert!(failures.contains("pin: near/"), "the file is named: {failures}");
    assert!(
        failures.contains("max_size = 8.0 MiB")
            && failures.contains("2 of its 4 files are in the cache, and stay there"),
        "{failures}"
    );
    let near = text(mount.path("near"));
    let (code, said, failures) = run(&mount, &["evict", "--pinned", "/usr", &near, "/nonexistent"]);
    assert!(
        code == 1 && said.contains(&near) && failures.contains("/usr") && failures.contains("/nonexistent"),
        "{said}{failures}"
    );
    let (code, _, failures) = run(&mount, &["pin", "/usr"]);
    assert!(code == 1 && failures.contains("not in a mounted folder of yours"), "{failures}");
}

/// A source of which a folder was fetched, one file pinned and the whole had without its server, and the numbers that scripts are told.
fn is_had_without_its_server(mut remote: Remote) {
    let files = [("talks/a", 3_000_000), ("talks/deep/b", 9), ("other", 1000)];
    let bytes =
        |path: &str, size: usize| format!("{path} ").repeat(size / path.len() + 1).into_bytes()[..size].to_vec();
    files.iter().for_each(|(path, size)| remote.put(path, bytes(path, *size)));
    let mut mount = mounted(&remote);
    let shown = remote.shown();
    let folder = |mount: &Mount, below: &str| mount.path("far").join(shown).join(below);
    let talks = text(folder(&mount, "talks"));
    let told = |mount: &Mount, words: &[&str]| {
        let (code, said, failures) = run(mount, words);
        let object: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}{failures}"));
        assert_eq!((code, said.lines().count()), (0, 1), "{said}{failures}");
        assert_eq!(object["path"], talks);
        object
    };
    let fetched = told(&mount, &["fetch", "--json", &talks]);
    assert_eq!([&fetched["files"], &fetched["bytes"], &fetched["missing"]], [2, 3_000_009, 0], "{fetched}");
    assert_eq!([&fetched["directories"], &fetched["retrieved_bytes"]], [2, 3_000_009], "{fetched}");
    assert_eq!(told(&mount, &["fetch", "--json", &talks])["retrieved_bytes"], 0);
    let retrieved = bytes_retrieved(&mount.status(), "far");
    let kept = told(&mount, &["pin", "--json", &talks]);
    assert_eq!([&kept["files"], &kept["failed"], &kept["retrieved_bytes"]], [2, 0, 0], "{kept}");
    let had = told(&mount, &["offline", "--json", &talks]);
    assert_eq!([&had["files"], &had["missing"], &had["failed"]], [2, 0, 0], "{had}");
    assert_eq!(told(&mount, &["refresh", "--json", &talks])["names"], 2);
    assert_eq!(bytes_retrieved(&mount.status(), "far"), retrieved, "nothing came twice");

    remote.stop();
    mount.remount();
    assert_eq!(told(&mount, &["offline", "--check", "--json", &talks])["missing"], 0);
    for (path, size) in &files[..2] {
        assert_eq!(fs::read(folder(&mount, path)).unwrap(), bytes(path, *size), "{path}");
    }
    let verified = told(&mount, &["verify", "--json", &talks]);
    assert_eq!([&verified["verified"], &verified["damaged"]], [2, 0], "{verified}");
    let unpinned = told(&mount, &["unpin", "--json", &talks]);
    assert_eq!(unpinned["unpinned"].as_array().map(Vec::len), Some(1), "{unpinned}");
}

#[test]
fn a_share_of_samba_is_had_without_its_server() {
    is_had_without_its_server(Remote::smb());
}

#[test]
fn a_bucket_is_had_without_its_server() {
    is_had_without_its_server(Remote::s3());
}

#[test]
fn a_folder_of_moodle_is_had_without_its_server() {
    is_had_without_its_server(Remote::moodle());
}

#[test]
fn a_directory_of_an_ftp_server_is_had_without_its_server() {
    is_had_without_its_server(Remote::ftp());
}

#[test]
fn a_directory_of_an_ssh_server_is_had_without_its_server() {
    is_had_without_its_server(Remote::sftp());
}

#[test]
fn scripts_get_a_line_for_each_path_also_for_one_that_fails() {
    let remote = remote();
    let mount = mounted(&remote);
    let paths = [mount.path("far/nothere"), mount.path("far/talks/a"), mount.home().dir().to_owned()].map(text);
    for command in ["fetch", "pin", "offline", "verify", "refresh", "evict", "unpin"] {
        let words: Vec<&str> = [command, "--json"].into_iter().chain(paths.iter().map(String::as_str)).collect();
        let (code, said, failures) = run(&mount, &words);
        let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((code, told.len()), (1, 3), "{command}: {said}{failures}");
        for path in &paths {
            let line = told.iter().find(|line| line["path"] == *path).unwrap_or_else(|| panic!("{path}: {said}"));
            let has_failed = line["failed"] == 1;
            assert_eq!(has_failed, !path.ends_with("/a"), "{command}: {line}");
            assert_eq!(
                line["failures"][0].as_str().is_some_and(|why| why.contains(path.as_str())),
                has_failed,
                "{line}"
            );
        }
    }
}

#[test]
fn two_pins_at_once_retrieve_each_byte_once() {
    let remote = remote();
    let mount = mounted(&remote);
    let [far, talks, a] = ["far", "far/talks", "far/talks/a"].map(|path| text(mount.path(path)));
    let pin = |path: &str| mount.home().command(mount.home().binary()).args(["pin", "--json", path]).spawn().unwrap();
    let mut pins = [&far, &talks, &talks, &a].map(|path| pin(path));
    assert!(pins.iter_mut().all(|pin| pin.wait().unwrap().success()));
    let status = mount.status();
    assert_eq!(bytes_retrieved(&status, "far"), 3_001_009);
    assert_eq!((number(&status, "/cache/pinned_copies"), status["pins"].as_object().unwrap().len()), (3, 3));
}

#[test]
fn tags_that_alternate_are_no_damage() {
    // As two servers give them behind one address, each its own tags to the same bytes.
    let bytes = "the same bytes, whatever their tag ".repeat(10_000).into_bytes();
    let liar = Liar::speaking(Speaks::Webdav, BTreeMap::from([("a".to_owned(), bytes.clone())]));
    let asked = AtomicU64::new(0);
    liar.lie(move |_, answer| {
        let tag = if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { "\"one\"" } else { "\"two\"" };
        let body = String::from_utf8(answer.body.clone()).unwrap_or_default();
        if let Some((before, rest)) = body.split_once("<D:getetag>") {
            let (_, after) = rest.split_once("</D:getetag>").unwrap();
            answer.say(format!("{before}<D:getetag>{tag}</D:getetag>{after}").as_bytes());
        }
        answer.header("ETag", Some(tag));
    });
    let mount = Mount::of(&format!("[sources.far]\n{}fresh_for = \"100ms\"\n", liar.table()));
    let file = text(mount.path("far/a"));
    for words in [["pin", "--json"], ["verify", "--json"], ["offline", "--json"], ["fetch", "--json"]] {
        let (code, said, failures) = run(&mount, &[words[0], words[1], &file]);
        let told: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}{failures}"));
        assert_eq!((code, &told["damaged"]), (0, &0.into()), "{told}{failures}");
    }
    liar.tell_the_truth();
    let (code, said, failures) = run(&mount, &["offline", "--json", &file]);
    assert_eq!(code, 0, "{said}{failures}");
    assert_eq!(fs::read(mount.path("far/a")).unwrap(), bytes);
    assert_eq!(number(&mount.status(), "/cache/quarantined"), 0);
}
