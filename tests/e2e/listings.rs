//! Listings without end, and large ones: what a server lists costs bounded memory, and its own folder at most.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

use crate::kit::flood::{Endless, Flood};
use crate::kit::home::{Home, is_root};
use crate::kit::liar::{Liar, Speaks};
use crate::kit::mount::{MEMORY, MEMORY_FOR_ONE, Mount, number, requests};
use crate::kit::proxy::{Fate, Link, Proxy};
use crate::kit::reaper;
use crate::kit::wait::eventually;
use crate::kit::web::Web;
use crate::remote::Remote;

/// What the daemon may take while it reads such a listing, in bytes.
const PEAK: u64 = 160 << 20;

#[test]
fn a_listing_without_end_fails_alone_and_names_the_limit() {
    let near = Remote::local();
    near.put("dir/file", "bytes");
    let floods = Endless::ALL.map(|(endless, _)| Flood::of(endless));
    let tables = (0..).zip(&floods).map(|(n, flood)| format!("[sources.far{n}]\n{}", flood.table()));
    let tables = near.table("near") + &tables.collect::<String>();
    // One mount, so that what they take is found if it adds up.
    let mount = Mount::of(&format!("[defaults]\nfresh_for = \"0s\"\n{tables}"));
    let path = mount.path("near/dir");
    let mut took = Vec::new();
    for (n, ((endless, word), flood)) in Endless::ALL.into_iter().zip(&floods).enumerate() {
        let (before, ended) = (mount.peak_memory() >> 20, AtomicBool::new(false));
        let begun = Instant::now();
        let error = thread::scope(|scope| {
            let neighbour = scope.spawn(|| {
                let mut took = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
                    took.push(begun.elapsed());
                    thread::sleep(Duration::from_millis(20));
                }
                took
            });
            let error = fs::read_dir(mount.path(format!("far{n}"))).unwrap_err();
            ended.store(true, Ordering::Relaxed);
            took.extend(neighbour.join().unwrap());
            error
        });
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "{endless:?}: {error}");
        let said = mount.status()["sources"][format!("far{n}")]["last_error"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(word), "{endless:?}: {said}");
        let (taken, peak) = (begun.elapsed(), mount.peak_memory());
        let (sent, shown) = (flood.sent() >> 20, peak >> 20);
        println!("{endless:?}: {taken:?}, {sent} MiB sent, {before} MiB before, peak {shown} MiB: {said}");
        assert!(peak <= PEAK, "{endless:?}: {shown} MiB");
    }
    took.sort();
    let [median, p99] = [took.len() / 2, took.len() * 99 / 100].map(|at| took[at]);
    println!("{} listings of the neighbour: median {median:?}, p99 {p99:?}, at most {:?}", took.len(), took.last());
    // A machine that does much else gives nobody a turn for a while.
    assert!(median < Duration::from_secs(1), "the other source took {median:?}");
}

#[test]
fn large_listings_at_once_take_turns_in_memory() {
    let floods = [Endless::Keys, Endless::Blobs, Endless::Resources, Endless::Items].map(Flood::of);
    let tables = (0..).zip(&floods).map(|(n, flood)| format!("[sources.far{n}]\n{}", flood.table()));
    let mount = Mount::of(&tables.collect::<String>());
    thread::scope(|scope| {
        for n in 0..floods.len() {
            let path = mount.path(format!("far{n}"));
            scope.spawn(move || fs::read_dir(path).unwrap_err());
        }
    });
    let peak = mount.peak_memory();
    println!("peak {} MiB", peak >> 20);
    assert!(peak <= PEAK, "{} MiB", peak >> 20);
}

#[test]
fn a_directory_of_300_000_names_is_asked_for_once() {
    const NAMES: usize = 300_000;
    let files: BTreeMap<_, _> = (0..NAMES).map(|n| (format!("some-file-name-{n:06}.txt"), Vec::new())).collect();
    let liar = Liar::speaking(Speaks::Json, files);
    let settings = "fresh_for = \"1h\"\ntimeout = \"60s\"\n";
    let mount = Mount::of(&format!("[sources.far]\n{}{settings}", liar.table()));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), NAMES);
    for n in [0, 17, 299_999, 1, 250_000, 3] {
        let name = format!("far/some-file-name-{n:06}.txt");
        assert_eq!(fs::metadata(mount.path(name)).unwrap().len(), 0);
        assert!(fs::metadata(mount.path(format!("far/absent-{n}"))).is_err());
    }
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), NAMES);
    assert_eq!(requests(&mount.status(), "far").0, 1);
    let peak = mount.peak_memory();
    println!("peak {} MiB", peak >> 20);
    assert!(peak <= PEAK, "{} MiB", peak >> 20);
}

#[test]
fn a_long_listing_of_300_000_names_with_their_hashes_takes_little_memory() {
    const NAMES: usize = 300_000;
    let files = (0..NAMES).map(|n| (format!("some-file-name-{n:06}.txt"), Vec::new())).collect();
    let liar = Liar::speaking(Speaks::Hashes, files);
    let settings = "fresh_for = \"1h\"\ntimeout = \"60s\"\n";
    let mount = Mount::of(&format!("[sources.far]\n{}{settings}", liar.table()));
    let sizes = fs::read_dir(mount.path("far")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(sizes.filter(|&size| size == 0).count(), NAMES);
    let peak = mount.peak_memory_in_release();
    println!("peak {} MiB", peak >> 20);
    assert!(peak <= MEMORY, "{} MiB", peak >> 20);
}

#[test]
fn a_long_listing_of_300_000_names_that_is_asked_for_again_takes_little_memory() {
    const NAMES: usize = 300_000;
    let name = |n: usize| format!("some-file-name-{n:06}.txt");
    let liar = Liar::speaking(Speaks::Webdav, (0..NAMES).map(|n| (name(n), Vec::new())).collect());
    let settings = "fresh_for = \"5s\"\ntimeout = \"60s\"\n";
    let mount = Mount::of(&format!("[sources.far]\n{}{settings}", liar.table()));
    let list = || fs::read_dir(mount.path("far")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(list().filter(|&size| size == 0).count(), NAMES);
    let at_first = mount.peak_memory() >> 20;
    // Every version is another one now.
    (0..NAMES).for_each(|n| liar.put(&name(n), b"1"));
    while list().next() != Some(1) {
        thread::sleep(Duration::from_millis(100));
    }
    let peak = mount.peak_memory();
    println!("peak {at_first} MiB at first, then {} MiB", peak >> 20);
    assert!(peak <= PEAK, "{} MiB", peak >> 20);
}

/// A plugin that lists what `entries` gives for a path, part by part.
const LISTS: &str = r#"
import json, sys

abilities = dict.fromkeys(["attributes", "one_level", "digest_from_listing"], True)
say = lambda **message: print(json.dumps(message), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    result = {}
    if request["method"] == "hello":
        result = {"protocol": 1, "name": "many", "capabilities": abilities}
    if request["method"] == "list_path":
        for part in entries(request["params"]["path"], *sys.argv[1:]):
            say(jsonrpc="2.0", method="entries", params={"id": request["id"], "entries": part})
    if "id" in request:
        say(jsonrpc="2.0", id=request["id"], result=result)
"#;

/// So many names in the root, all of the size that a file tells, as `examples/directory.py` would list them.
const MANY_NAMES: &str = r#"
def entries(path, names, size):
    now = int(open(size).read())
    for part in range(0, int(names), 500):
        yield [{
            "path": f"/file-{name:06}", "kind": "file", "size": now, "modified": f"170000000{now}.123456789",
            "digest": f"{name:07x}-{now:x}-18da5c3b2f9e7d{now:02x}-18da5c3b2f9e7d{now:02x}",
        } for name in range(part, part + 500)]
"#;

#[test]
fn a_plugins_long_listing_of_300_000_names_that_is_asked_for_again_takes_little_memory() {
    const NAMES: usize = 300_000;
    let dir = reaper::temporary();
    let (program, size) = (dir.path().join("plugin.py"), dir.path().join("size"));
    fs::write(&program, MANY_NAMES.to_owned() + LISTS).unwrap();
    fs::write(&size, "0").unwrap();
    let command = format!("[\"python3\", {program:?}, \"{NAMES}\", {size:?}]");
    let settings = "fresh_for = \"5s\"\ntimeout = \"60s\"\n";
    let mount = Mount::of(&format!("[sources.far]\ntype = \"plugin\"\ncommand = {command}\n{settings}"));
    let list = || fs::read_dir(mount.path("far")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert_eq!(list().filter(|&size| size == 0).count(), NAMES);
    let at_first = mount.peak_memory() >> 20;
    // Every version is another one now.
    fs::write(&size, "1").unwrap();
    while list().next() != Some(1) {
        thread::sleep(Duration::from_millis(100));
    }
    let peak = mount.peak_memory();
    println!("peak {at_first} MiB at first, then {} MiB", peak >> 20);
    assert!(peak <= PEAK, "{} MiB", peak >> 20);
}

/// So many directories in the root, with so many files in each.
const MANY_DIRECTORIES: &str = r#"
def entries(path, directories, files):
    if path == "/":
        yield [{"path": f"/{n:04}", "kind": "directory"} for n in range(int(directories))]
    else:
        yield [{
            "path": f"{path}/{n:016}.jpg", "kind": "file", "size": n, "modified": 1700000000, "digest": f"{n:032x}",
        } for n in range(int(files))]
"#;

#[test]
fn a_tree_of_200_000_files_takes_bounded_memory_and_its_inodes_go_when_the_kernel_forgets() {
    const DIRECTORIES: usize = 200;
    const FILES: usize = 1_000;
    // Bytes of a name that is remembered, and more of one that the kernel knows, as the documents say.
    const NAME: u64 = 57 + 200;
    let dir = reaper::temporary();
    let program = dir.path().join("plugin.py");
    fs::write(&program, MANY_DIRECTORIES.to_owned() + LISTS).unwrap();
    let command = format!("[\"python3\", {program:?}, \"{DIRECTORIES}\", \"{FILES}\"]");
    let mount = Mount::of(&format!("[sources.far]\ntype = \"plugin\"\ncommand = {command}\nfresh_for = \"1h\"\n"));
    // One name of each directory is of an empty file.
    let found = mount.sh("find far -type f -size +0 | wc -l");
    assert_eq!(found.trim().parse(), Ok(DIRECTORIES * (FILES - 1)));
    let (status, peak) = (mount.status(), mount.peak_memory_in_release());
    let known = number(&status, "/inodes");
    println!("{known} inodes, peak {} MiB", peak >> 20);
    assert_eq!(requests(&status, "far").0, DIRECTORIES as u64 + 1);
    assert!(known >= (DIRECTORIES * FILES / 2) as u64, "{known} inodes");
    let bound = MEMORY_FOR_ONE + (DIRECTORIES * FILES) as u64 * NAME;
    assert!(peak <= bound, "{} MiB for {known} inodes", peak >> 20);

    if !is_root() {
        println!("skipped: only root may have the kernel forget the names of one mount");
        return;
    }
    mount_remount(mount.path(""), MountFlags::RDONLY, "").unwrap();
    eventually("the kernel forgets", || number(&mount.status(), "/inodes") < 10);
    assert_eq!(mount.sh("find far/0000 | wc -l").trim().parse(), Ok(FILES + 1));
    assert_eq!(requests(&mount.status(), "far").0, DIRECTORIES as u64 + 1, "listings are not forgotten with them");
}

#[test]
fn a_page_by_hand_is_no_complete_index_and_names_that_it_lacks_are_asked_for_by_themselves() {
    let dir = reaper::reachable();
    let page = "<html><head><title>Our lecture</title></head><body><a href=\"shown.txt\">slides</a></body></html>";
    for (name, text) in [("index.html", page), ("shown.txt", "shown"), ("unlinked.txt", "unlinked")] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let server = Web::nginx(dir.path());
    let home = Home::of(&format!("[sources.web]\n{}fresh_for = \"1h\"\n", server.table("")));
    let mut mount = home.with_env("KITOVUFS_LOG", "info").mount();
    assert_eq!(mount.sh("ls web"), "shown.txt\n");
    assert!(mount.log().contains("\"Our lecture\" in place of an index of its own"), "{}", mount.log());
    for _ in 0..2 {
        assert_eq!(mount.sh("ls web"), "shown.txt\n");
        assert_eq!(fs::read(mount.path("web/unlinked.txt")).unwrap(), b"unlinked");
        let missing = fs::metadata(mount.path("web/missing.txt")).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(Errno::NOENT.raw_os_error()), "{missing}");
        let (listings, digests, _) = requests(&mount.status(), "web");
        assert_eq!(fs::metadata(mount.path("web/unlinked.txt")).unwrap().len(), 8);
        assert_eq!((requests(&mount.status(), "web").0, requests(&mount.status(), "web").1), (listings, digests));
        // What was listed is known to be incomplete after a restart too.
        mount.remount();
    }
}

#[test]
fn one_name_of_twenty_thousand_does_not_wait_for_the_others() {
    for (kind, remote) in [("webdav", Remote::apache()), ("sftp", Remote::sftp())] {
        fs::create_dir(remote.dir().join("many")).unwrap();
        (0..20_000).for_each(|n| fs::write(remote.dir().join(format!("many/some-file-name-{n:06}.txt")), "1").unwrap());
        let (table, proxy) = remote.table_over("far", Proxy::to);
        // More than a thousand names have, and less than all of them: the listing never comes to its end.
        proxy.set(Link { fate: Some((1 << 20, Fate::Stall)), ..Link::default() });
        let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
        let name = mount.path("far/many/some-file-name-012345.txt");
        assert_eq!(fs::metadata(&name).unwrap().len(), 1, "{kind}");
        assert_eq!(fs::read_to_string(&name).unwrap(), "1", "{kind}");
        let status = mount.status();
        assert_eq!((requests(&status, "far"), &status["sources"]["far"]["state"]), ((2, 0, 1), &"ok".into()), "{kind}");
    }
}

#[test]
fn one_name_of_a_large_bucket_takes_two_requests_and_the_next_name_one() {
    let remote = Remote::untagged_s3();
    fs::create_dir(remote.dir().join("many")).unwrap();
    (0..1_500).for_each(|n| fs::write(remote.dir().join(format!("many/some-{n:04}")), "1").unwrap());
    let (table, proxy) = remote.table_over("far", Proxy::to);
    let table = format!("{table}fresh_for = \"1h\"\n");
    let look_up = |mount: &Mount, name: &str| {
        let before = proxy.http_requests();
        let is_there = fs::metadata(mount.path("far/many").join(name)).is_ok();
        (is_there, proxy.http_requests() - before)
    };
    let mount = Mount::of(&table);
    assert_eq!(
        look_up(&mount, "some-1234"),
        (true, 3),
        "the kernel looks the directory up first, in one that is not listed"
    );
    drop(mount);
    let mount = Mount::of(&table);
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 1);
    let look_up = |name: &str| look_up(&mount, name);
    assert_eq!(look_up("some-1234"), (true, 2), "one tells that the directory is large");
    assert_eq!(look_up("some-0007"), (true, 1));
    assert_eq!(look_up("absent"), (false, 2), "one tells that the directory is there");
    assert_eq!(look_up("some-1234"), (true, 0));
}
