//! One name in a large directory that nobody has listed: it is answered before a listing would end, and the same once there is one.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::kit::files::set_modified;
use crate::kit::mount::{Mount, number, requests};
use crate::kit::reaper;
use crate::kit::samba::Samba;
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// Files that were changed long ago.
fn fill(dir: &Path, names: usize) {
    fs::create_dir(dir).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
    for number in 0..names {
        let path = dir.join(format!("File {number:05}"));
        fs::write(&path, format!("{number:05}")).unwrap();
        set_modified(&path, long_ago);
    }
}

#[test]
fn a_name_told_alone_is_what_the_listing_shows_local() {
    let remote = Remote::local();
    let fifo = remote.dir().join("many/pipe");
    let mount = a_name_told_alone_is_what_the_listing_shows(&remote, || {
        assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    });
    assert_eq!(number(&mount.status(), "/sources/far/left_out"), 1, "which is counted once there is a listing");
}

#[test]
fn a_name_told_alone_is_what_the_listing_shows_over_smb() {
    drop(a_name_told_alone_is_what_the_listing_shows(&Remote::smb(), || ()));
}

#[test]
fn a_name_told_alone_is_what_the_listing_shows_over_sftp() {
    drop(a_name_told_alone_is_what_the_listing_shows(&Remote::sftp(), || ()));
}

fn a_name_told_alone_is_what_the_listing_shows(remote: &Remote, add: impl FnOnce()) -> Mount {
    fill(&remote.dir().join("many"), 5_000);
    add();
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    let cold = fs::metadata(mount.path("far/many/File 04321")).unwrap();
    let absent = fs::metadata(mount.path("far/many/File 05000")).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let mut before = File::open(mount.path("far/many/File 04321")).unwrap();
    assert_eq!(requests(&mount.status(), "far").0, 3, "the root, and a question for each name");
    assert_eq!(number(&mount.status(), "/sources/far/left_out"), 0, "no listing was taken");

    let listed: Vec<_> = fs::read_dir(mount.path("far/many")).unwrap().map(Result::unwrap).collect();
    assert_eq!((listed.len(), requests(&mount.status(), "far").0), (5_000, 4));
    let entry = listed.iter().find(|entry| entry.file_name() == "File 04321").unwrap();
    let warm = fs::metadata(entry.path()).unwrap();
    let same = |metadata: &fs::Metadata| (metadata.ino(), metadata.len(), metadata.modified().unwrap());
    assert_eq!((entry.ino(), same(&warm)), (cold.ino(), same(&cold)), "it is the version that was told alone");
    let mut read = String::new();
    before.read_to_string(&mut read).unwrap();
    assert_eq!((read.as_str(), fs::read(entry.path()).unwrap()), ("04321", b"04321".to_vec()));
    mount
}

/// How often Samba was asked for names of a directory, once nothing is open any more.
fn questions(samba: &Samba) -> usize {
    let mut count = 0;
    eventually("every handle is closed", || {
        let log = samba.log();
        let of = |what: &str| log.matches(&format!("opcode[SMB2_OP_{what}]")).count();
        count = of("QUERY_DIRECTORY");
        of("CREATE") == of("CLOSE")
    });
    count
}

#[test]
fn a_name_among_twenty_thousand_costs_few_questions_over_smb() {
    let dir = reaper::reachable();
    fill(&dir.path().join("many"), 20_000);
    let samba = Samba::run_with(dir.path(), "log level = 0 smb2:10\nmax log size = 0");
    let mount = Mount::of(&format!("[sources.far]\n{}fresh_for = \"1h\"\n", samba.table("kit")));
    fs::metadata(mount.path("far/many")).unwrap();
    let asked = |name: &str| {
        let before = questions(&samba);
        fs::metadata(mount.path("far/many").join(name)).unwrap();
        questions(&samba) - before
    };
    // Two answers tell more than a page, two wait, and one is under way.
    let first = asked("File 12345");
    assert!((2 + 2..=5 + 2).contains(&first), "{first}");
    assert_eq!(asked("File 12346"), 2, "the directory is known to be large: the name, and the same in other case");
    let before = questions(&samba);
    assert_eq!(fs::read_dir(mount.path("far/many")).unwrap().count(), 20_000);
    assert!(questions(&samba) - before > 7);
}
