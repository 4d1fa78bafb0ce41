//! `why` and `fetch`: what is known of a file, and having files before the network is gone.

use std::fs;

use serde_json::Value;

use crate::kit::home::text;
use crate::kit::mount::{Mount, bytes_retrieved, requests};
use crate::remote::Remote;

/// The exit code, standard output and standard error of a command.
fn run(mount: &Mount, words: &[&str]) -> (i32, String, String) {
    let output = mount.home().kitovufs(words);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), said(&output.stdout), said(&output.stderr))
}

#[test]
fn why_tells_which_version_it_is_who_was_asked_and_what_reading_costs() {
    let remote = Remote::webdav();
    remote.put("dir/file", "bytes");
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    let file = text(mount.path("far/dir/file"));
    let (code, before, _) = run(&mount, &["why", &file]);
    assert_eq!(code, 0);
    for told in ["/dir/file of far.", "The source: works", "5 B, of ", "(fresh_for = 1h)", "retrieves 5 B of 5 B"] {
        assert!(before.contains(told), "{told} is not in:\n{before}");
    }
    assert_eq!(requests(&mount.status(), "far").2, 0, "it retrieves nothing");

    fs::read(&file).unwrap();
    let (_, after, _) = run(&mount, &["why", &file]);
    assert!(after.contains("All of it is in the cache") && after.contains("retrieves nothing"), "{after}");
    let (_, json, _) = run(&mount, &["why", "--json", &file]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["state"], &json["missing"], &json["source_state"]),
        (&"cached".into(), &"0".into(), &"ok".into())
    );

    let (_, folder, _) = run(&mount, &["why", &text(mount.path("far/dir"))]);
    assert!(folder.contains("/dir of far."), "{folder}");
    let (_, root, _) = run(&mount, &["why", &text(mount.path(""))]);
    assert!(root.contains("a folder of kitovufs itself"), "{root}");
    let (code, _, said) = run(&mount, &["why", "/usr"]);
    assert!(code == 1 && said.contains("not in a mounted folder of yours"), "{said}");
    let (code, _, said) = run(&mount, &["why", &text(mount.path("far/none"))]);
    assert!(code == 1 && said.contains("far/none"), "{said}");
}

#[test]
fn fetch_brings_everything_below_a_folder_and_nothing_twice() {
    let remote = Remote::webdav();
    for (path, size) in [("a", 7), ("dir/large", 3 << 20), ("dir/deep/b", 1000), ("empty", 0), ("other/c", 9)] {
        remote.put(path, "x".repeat(size));
    }
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    let [dir, far] = ["far/dir", "far"].map(|path| text(mount.path(path)));
    let (code, said, failures) = run(&mount, &["fetch", &dir]);
    assert_eq!((code, &*said), (0, "all 2 files (3.0 MiB) are in the cache\n"), "{failures}");
    let before = mount.status();
    assert!(bytes_retrieved(&before, "far") >= (3 << 20) + 1000);

    let (code, said, failures) = run(&mount, &["fetch", &dir]);
    assert_eq!((code, &*said), (0, "all 2 files (3.0 MiB) are in the cache\n"), "{failures}");
    assert_eq!(bytes_retrieved(&mount.status(), "far"), bytes_retrieved(&before, "far"));

    let (code, said, failures) = run(&mount, &["fetch", &far]);
    assert_eq!((code, &*said), (0, "all 5 files (3.0 MiB) are in the cache\n"), "{failures}");
    assert_eq!(bytes_retrieved(&mount.status(), "far"), (3 << 20) + 1000 + 7 + 9);
}

#[test]
fn fetch_tells_what_the_cache_has_no_room_for() {
    let remote = Remote::local();
    for name in ["a", "b", "c", "d"] {
        remote.put(name, "x".repeat(3 << 20));
    }
    let config = format!("[cache]\nmax_size = \"8MiB\"\n{}fresh_for = \"1h\"\n", remote.table("near"));
    let mount = Mount::of(&config);
    let (code, said, failures) = run(&mount, &["fetch", &text(mount.path("near"))]);
    assert_eq!((code, &*said), (1, ""));
    assert!(failures.contains("of 4 files (12.0 MiB), ") && failures.contains(" not in the cache"), "{failures}");
    assert!(failures.contains("max_size"), "{failures}");
}

#[test]
fn fetch_tells_which_files_cannot_be_read_and_brings_the_others() {
    let remote = Remote::local();
    remote.put("gone", "bytes");
    remote.put("there", "bytes");
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("near")));
    mount.sh("ls -l near");
    fs::remove_file(remote.dir().join("gone")).unwrap();
    let (code, _, failures) = run(&mount, &["fetch", &text(mount.path("near"))]);
    assert_eq!(code, 1);
    assert!(failures.contains("near/gone: ") && !failures.contains("near/there"), "{failures}");
    assert!(mount.sh("getfattr --only-values -n user.kitovufs.all near/there").contains("state: cached"));
}
