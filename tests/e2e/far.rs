//! How often a source that is far away is asked before the first byte is there: counted on the line, not timed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

use crate::kit::files::{noise, random};
use crate::kit::mount::{Mount, number, requests};
use crate::kit::proxy::{Link, Proxy};
use crate::kit::wait::eventually;
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
    let remotes =
        [("sftp", Remote::sftp()), ("smb", Remote::smb()), ("ftp", Remote::ftp()), ("cloud", Remote::webdav())];
    let tables: Vec<_> = remotes.iter().map(|(name, remote)| remote.table(name)).collect();
    let mount = Mount::of(&tables.concat());
    for name in ["sftp", "smb", "ftp"] {
        eventually("it is connected", || mount.status()["sources"][name]["state"] == "ok");
    }
    let status = mount.status();
    for (name, connects) in [("sftp", 1), ("smb", 1), ("ftp", 1), ("cloud", 0)] {
        assert_eq!(number(&status, &format!("/sources/{name}/requests/connect")), connects, "{name}");
        assert_eq!(requests(&status, name), (0, 0, 0), "{name}");
    }
    mount.sh("ls sftp smb ftp");
    assert_eq!(number(&mount.status(), "/sources/sftp/requests/connect"), 1);
}

/// So many round trips of a file's first byte, however large it is, connections included.
fn the_first_byte_takes(remote: &Remote, most: u64) {
    let (mut random, hour) = (random(), Duration::from_secs(3600));
    for (name, size) in [("small", 100_000), ("large", 4 << 20)] {
        remote.put(name, noise(size, &mut random));
        // Of a file that was changed just now nobody knows yet whether it is changed once more.
        let file = File::options().write(true).open(remote.dir().join(name)).unwrap();
        file.set_modified(SystemTime::now() - hour).unwrap();
    }
    let (table, proxy) = remote.table_over("far", Proxy::to);
    proxy.set(Link { delay: Duration::from_millis(20), ..Link::default() });
    let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
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
