//! How often a source that is far away is asked before the first byte is there: counted on the line, not timed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

use crate::kit::files::{noise, random, set_modified};
use crate::kit::home::Home;
use crate::kit::mount::{Mount, number, requests};
use crate::kit::proxy::{Fate, Link, Proxy};
use crate::kit::wait::{eventually, settled};
use crate::remote::Remote;

#[test]
fn webdav() {
    the_first_byte_takes(&Remote::apache(), 1);
}

#[test]
fn s3() {
    the_first_byte_takes(&Remote::s3(), 1);
}

#[test]
fn s3_without_tags() {
    the_first_byte_takes(&Remote::untagged_s3(), 1);
}

#[test]
fn http() {
    the_first_byte_takes(&Remote::web(), 1);
}

#[test]
fn sftp() {
    // SFTP opens a file before it reads it.
    the_first_byte_takes(&Remote::sftp(), 2);
}

#[test]
fn smb() {
    the_first_byte_takes(&Remote::smb(), 1);
}

#[test]
fn sources_that_take_long_to_connect_are_connected_when_they_are_mounted_and_asked_nothing_else() {
    let remotes = [
        ("sftp", Remote::sftp()),
        ("smb", Remote::smb()),
        ("ftp", Remote::ftp()),
        ("uni", Remote::moodle()),
        ("cloud", Remote::webdav()),
    ];
    let tables: Vec<_> = remotes.iter().map(|(name, remote)| remote.table(name)).collect();
    let mount = Mount::of(&tables.concat());
    for name in ["sftp", "smb", "ftp", "uni"] {
        eventually("it is connected", || mount.status()["sources"][name]["state"] == "ok");
    }
    let status = mount.status();
    for (name, connects) in [("sftp", 1), ("smb", 1), ("ftp", 1), ("uni", 1), ("cloud", 0)] {
        assert_eq!(number(&status, &format!("/sources/{name}/requests/connect")), connects, "{name}");
        assert_eq!(requests(&status, name), (0, 0, 0), "{name}");
    }
    mount.sh("ls sftp smb ftp uni");
    assert_eq!(number(&mount.status(), "/sources/sftp/requests/connect"), 1);
}

#[test]
fn the_first_listing_goes_over_a_connection_that_is_ready() {
    for remote in [Remote::apache(), Remote::web(), Remote::s3(), Remote::azure()] {
        remote.put("file", "bytes");
        let (table, line) = remote.table_over("far", Proxy::to);
        line.set(Link { delay: Duration::from_millis(20), ..Link::default() });
        let mount = preconnected(&table);
        let status = mount.status();
        assert_eq!((requests(&status, "far"), line.http_requests()), ((0, 0, 0), 0), "nothing is asked");
        assert_eq!(number(&status, "/sources/far/requests/connect"), 0);
        // The first of three requests may not have given its connection back when the others need one.
        let opened = line.connections();
        assert_eq!((&status["sources"]["far"]["state"], (2..=3).contains(&opened)), (&"idle".into(), true), "{opened}");
        assert_eq!(mount.sh("ls far"), "file\n");
        assert_eq!(line.connections(), opened, "{table}");
    }
}

#[test]
fn what_comes_after_an_outage_goes_over_the_connection_that_ended_it() {
    for remote in [Remote::apache(), Remote::web(), Remote::s3()] {
        remote.put("dir/file", "bytes");
        let (table, line) = remote.table_over("far", Proxy::to);
        let mount = Mount::of(&format!("{table}fresh_for = \"300ms\"\nread_ahead = false\n"));
        assert_eq!(mount.sh("ls far"), "dir\n");
        line.set(Link { refuses: true, fate: Some((0, Fate::Close)), ..Link::default() });
        eventually("it is away", || {
            mount.sh("ls far || true");
            mount.status()["sources"]["far"]["state"] == "unreachable"
        });
        line.set(Link::default());
        eventually("it is back", || mount.status()["sources"]["far"]["state"] == "ok");
        let (connections, before) = (line.connections(), requests(&mount.status(), "far").0);
        eventually("it is listed again", || {
            mount.sh("ls far");
            requests(&mount.status(), "far").0 > before
        });
        assert_eq!(line.connections(), connections, "{table}");
    }
}

/// A mount of a source, once that has the connections that it opens by itself.
fn preconnected(table: &str) -> Mount {
    let mount = Home::of(table).with_env("KITOVUFS_LOG", "kitovufs=debug").mount();
    let is_connected = || mount.status()["sources"]["far"]["state"] == "ok";
    eventually("connections are ready", || {
        mount.log().contains("connected before the first request") || is_connected()
    });
    mount
}

/// So many round trips of a file's first byte, however large it is, connections included.
fn the_first_byte_takes(remote: &Remote, most: u64) {
    let (mut random, hour) = (random(), Duration::from_secs(3600));
    for (name, size) in [("small", 100_000), ("large", 4 << 20)] {
        remote.put(name, noise(size, &mut random));
        // Of a file that was changed just now nobody knows yet whether it is changed once more.
        set_modified(&remote.dir().join(name), SystemTime::now() - hour);
    }
    let (table, proxy) = remote.table_over("far", Proxy::to);
    proxy.set(Link { delay: Duration::from_millis(20), ..Link::default() });
    // An end that comes beside the beginning may open a connection, for which nobody waits.
    let mount = preconnected(&format!("{table}fresh_for = \"1h\"\nread_ahead = false\n"));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 2);
    for name in ["small", "large"] {
        proxy.count_turns();
        let file = File::open(mount.path(format!("far/{name}"))).unwrap();
        file.read_exact_at(&mut [0; 4096], 0).unwrap();
        let turns = proxy.turns_until_content().expect("content has come");
        assert!(turns <= most, "{name}: {turns} round trips");
        drop(file);
        if name == "small" {
            // While it is being confirmed, another request takes a connection of its own.
            let state = "getfattr --only-values -n user.kitovufs.state far/small";
            eventually("it is in the cache", || mount.sh(state) == "cached");
        }
    }
}

#[test]
fn the_end_comes_with_the_beginning_over_webdav() {
    the_end_takes(&Remote::apache(), 1);
}

#[test]
fn the_end_comes_with_the_beginning_over_s3() {
    the_end_takes(&Remote::s3(), 1);
}

#[test]
fn the_end_comes_with_the_beginning_over_s3_without_tags() {
    the_end_takes(&Remote::untagged_s3(), 1);
}

#[test]
fn the_end_comes_with_the_beginning_over_sftp() {
    the_end_takes(&Remote::sftp(), 2);
}

const MIB: u64 = 1 << 20;

/// A mount of large files in `dir`, and two small ones, that were left alone for an hour, at the end of a line of 200 ms.
fn of_large_files(remote: &Remote, count: usize) -> (Mount, Proxy, Vec<u8>) {
    let (content, hour) = (noise(4 * MIB as usize, &mut random()), Duration::from_secs(3600));
    let large = (0..count).map(|number| (format!("dir/{number:02}"), &content[..]));
    for (name, bytes) in large.chain([("a".to_owned(), &[1; 4096][..]), ("b".to_owned(), &[2; 4096][..])]) {
        remote.put(&name, bytes);
        set_modified(&remote.dir().join(&name), SystemTime::now() - hour);
    }
    let (table, line) = remote.table_over("far", Proxy::to);
    line.set(Link { delay: Duration::from_millis(100), ..Link::default() });
    let mount = preconnected(&format!("{table}fresh_for = \"1h\"\n"));
    assert_eq!(fs::read_dir(mount.path("far/dir")).unwrap().count(), count);
    (mount, line, content)
}

/// So many round trips of the last 64 KiB of a file, as of its first 4 KiB, where two connections are ready.
fn the_end_takes(remote: &Remote, most: u64) {
    let (mount, line, content) = of_large_files(remote, 1);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let path = mount.path(format!("far/{name}"));
            scope.spawn(move || fs::read(path).unwrap());
        }
    });
    for name in ["a", "b"] {
        let state = format!("getfattr --only-values -n user.kitovufs.state far/{name}");
        eventually("it is in the cache", || mount.sh(&state) == "cached");
    }
    // All bytes of both blocks.
    line.count_turns_until(2 * 128 * 1024);
    let file = File::open(mount.path("far/dir/00")).unwrap();
    let (mut first, mut last) = ([0; 4096], [0; 65_536]);
    file.read_exact_at(&mut first, 0).unwrap();
    file.read_exact_at(&mut last, 4 * MIB - 65_536).unwrap();
    let turns = line.turns_until_wanted().expect("they have come");
    assert!(content.starts_with(&first) && content.ends_with(&last));
    assert!(turns <= most, "{turns} round trips");
    let status = mount.status();
    assert_eq!(requests(&status, "far").2, 4, "two small files, a beginning and an end");
    assert_eq!(number(&status, "/sources/far/ends_ahead_used"), 1);
}

#[test]
fn beginnings_of_files_cost_few_ends_over_webdav() {
    beginnings_cost_few_ends(&Remote::apache());
}

#[test]
fn beginnings_of_files_cost_few_ends_over_s3() {
    beginnings_cost_few_ends(&Remote::s3());
}

#[test]
fn beginnings_of_files_cost_few_ends_over_sftp() {
    beginnings_cost_few_ends(&Remote::sftp());
}

fn beginnings_cost_few_ends(remote: &Remote) {
    let (mount, line, _) = of_large_files(remote, 20);
    let before = line.delivered();
    for number in 0..20 {
        mount.sh(&format!("head -c 4096 far/dir/{number:02}"));
    }
    let moved = settled("what is under way", Duration::from_secs(1), || line.delivered()) - before;
    println!("head -c 4096 of 20 files moved {moved} bytes");
    assert!(moved <= 5 * MIB, "{moved} bytes");
    assert!(number(&mount.status(), "/sources/far/ends_ahead") >= 1);
}
