//! Sizes that a source tells, however large, cost neither memory nor anybody else's files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use rustix::io::Errno;

use crate::kit::files::{noise, random};
use crate::kit::liar::{Answer, For, Liar, Speaks};
use crate::kit::mount::{MEMORY, Mount};

/// The largest number of a file's bytes that Linux has.
const MOST: u64 = i64::MAX as u64;

/// In every listing and every answer about a version, this size stands instead of the true one.
fn tell(answer: &mut Answer, truth: u64, told: u64) {
    let body = String::from_utf8(answer.body.clone()).unwrap();
    answer.say(body.replace(&format!("th>{truth}<"), &format!("th>{told}<")).as_bytes());
}

#[test]
fn a_server_that_tells_impossible_sizes_harms_only_those_files() {
    let mut random = random();
    // By their true lengths the files are told apart.
    let told = [
        ("tebibytes", 101, 5 << 40),
        ("pebibyte", 102, 1 << 50),
        ("most", 103, MOST),
        ("more", 104, MOST + 1),
        ("all", 105, u64::MAX),
    ];
    let mut files: BTreeMap<String, Vec<u8>> =
        told.iter().map(|(name, length, _)| ((*name).to_owned(), noise(*length, &mut random))).collect();
    let honest = noise(3 << 20, &mut random);
    files.insert("honest".into(), honest.clone());
    let server = Liar::speaking(Speaks::Webdav, files);
    server.lie(move |what, answer| {
        if what != For::Bytes {
            for (_, length, size) in told {
                tell(answer, length as u64, size);
            }
        }
    });
    let mount = Mount::of(&format!("[sources.far]\n{}fresh_for = \"1h\"\n", server.table()));
    let mut names: Vec<_> = fs::read_dir(mount.path("far"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["all", "honest", "more", "most", "pebibyte", "tebibytes"], "no name is absent");
    for (name, _, size) in told {
        let place = mount.path("far").join(name);
        match fs::metadata(&place) {
            Ok(found) => {
                assert_eq!(found.len(), size, "{name}");
                // The server has no such bytes, so there are none to be read.
                assert!(fs::read(&place).is_err(), "{name}");
                let opened = File::open(&place).and_then(|file| file.read_at(&mut [0; 4096], size - 4096));
                assert!(opened.is_err(), "{name}: {opened:?}");
            }
            Err(e) => {
                assert_eq!((e.raw_os_error(), size > MOST), (Some(Errno::FBIG.raw_os_error()), true), "{name}: {e}")
            }
        }
    }
    assert!(fs::read(mount.path("far/honest")).unwrap() == honest);
    assert!(mount.log().contains("Linux shows files of up to"), "{}", mount.log());
    let peak = mount.peak_memory();
    assert!(peak <= MEMORY, "{peak} bytes");
}

#[test]
fn a_hollow_file_of_a_pebibyte_is_read_like_another() {
    // Not every file system has files that large; the one in memory does.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| kit::reaper::reachable());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = File::create(dir.path().join("huge")).unwrap();
    let size = [1 << 50, 1 << 43].into_iter().find(|&size| file.set_len(size).is_ok()).expect("a size that fits");
    file.write_all_at(b"end", size - 3).unwrap();
    fs::write(dir.path().join("small"), "small").unwrap();
    let mount = Mount::of(&format!("[sources.near]\ntype = \"local\"\npath = \"{}\"\n", dir.path().display()));
    let huge = File::open(mount.path("near/huge")).unwrap();
    assert_eq!(huge.metadata().unwrap().len(), size);
    let mut bytes = [1; 4096];
    for at in [0, size / 2, size - 4096] {
        huge.read_exact_at(&mut bytes, at).unwrap();
        let end: &[u8] = if at == size - 4096 { b"end" } else { b"\0\0\0" };
        assert_eq!(&bytes[4093..], end, "at {at}");
    }
    assert_eq!(fs::read_to_string(mount.path("near/small")).unwrap(), "small");
    let peak = mount.peak_memory();
    assert!(peak <= MEMORY, "{peak} bytes");
}
