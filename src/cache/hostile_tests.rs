//! An index that somebody else wrote, and a cache directory with something else in the place of copies.

use std::fs;
use std::os::unix::fs::symlink;

use bytes::Bytes;
use rusqlite::Connection;

use super::block::BLOCK;
use super::*;
use crate::digest::Digest;
use crate::path::RemotePath;

const LIMITS: Limits = Limits { max_size: 1 << 30, min_free: 0 };
const SIZE: u64 = 3 * BLOCK;

fn version() -> Key {
    Key::new("source", &RemotePath::parse(b"file").expect("a path"), &Digest::new("1"))
}

fn open(cache: &Arc<Cache>) -> OpenCopy {
    cache.open_copy(version(), &b"file".to_vec().into(), SIZE, None)
}

/// A cache that was closed with one whole copy in it.
fn stored() -> tempfile::TempDir {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache);
    for block in 0..3 {
        copy.store(block, Bytes::from(vec![7; BLOCK as usize]));
    }
    assert!(copy.mark_whole(Digest::new("1")));
    drop(copy);
    cache.finish();
    dir
}

#[test]
fn no_number_or_name_in_the_index_ends_the_process_or_leads_elsewhere() {
    let outside = kit::reaper::temporary();
    let precious = outside.path().join("precious");
    let tamperings = [
        format!("UPDATE copies SET fingerprint = x'{}'", "ff".repeat(48)),
        format!("UPDATE copies SET fingerprint = x'{}7f'", "ff".repeat(47)),
        "UPDATE copies SET fingerprint = x'00', local_digest = ''".into(),
        "UPDATE copies SET size = -1, charge = 0".into(),
        "UPDATE copies SET size = 9223372036854775807, charge = 9223372036854775807".into(),
        "UPDATE copies SET charge = -9223372036854775808".into(),
        "UPDATE copies SET key = x'00'".into(),
        "UPDATE copies SET key = 'text'".into(),
        format!("UPDATE copies SET name = CAST('{}' AS BLOB)", precious.display()),
        "UPDATE copies SET name = CAST('../../../precious' AS BLOB)".into(),
        "UPDATE copies SET name = x''".into(),
        "UPDATE copies SET used = 'never', charge = 'much'".into(),
        "UPDATE hashes SET page = 9223372036854775807".into(),
        "UPDATE hashes SET page = -1".into(),
        "UPDATE hashes SET blake3 = 'short'".into(),
        "UPDATE hashes SET blake3 = zeroblob(1000000)".into(),
    ];
    for tampering in tamperings {
        fs::write(&precious, "precious").expect("written");
        let dir = stored();
        let changed = Connection::open(dir.path().join("index.sqlite")).and_then(|index| index.execute(&tampering, []));
        assert_eq!(changed.expect("it is a database"), 1, "{tampering}");
        let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
        let _ = (cache.facts(&version()), cache.bytes(), cache.copies());
        let copy = open(&cache);
        let _ = (copy.is_whole(), copy.sound_file(), copy.facts());
        let read = copy.read(0..SIZE);
        assert!(read.is_none_or(|bytes| bytes[..] == [7; SIZE as usize]), "{tampering}");
        copy.take_found(&Digest::new("1"), &cache.disk().begin().expect("the disk answers"));
        for block in 0..3 {
            copy.store(block, Bytes::from(vec![7; BLOCK as usize]));
        }
        copy.discard();
        drop(copy);
        cache.finish();
        assert_eq!(fs::read(&precious).expect("it is there"), b"precious", "{tampering}");
    }
}

#[test]
fn links_and_names_of_another_form_lead_to_no_deletion_elsewhere() {
    let outside = kit::reaper::temporary();
    let foreign = outside.path().join("ab".repeat(32));
    fs::create_dir(&foreign).expect("a directory");
    fs::write(foreign.join("file"), "precious").expect("written");
    let dir = stored();
    let objects = dir.path().join("objects");
    symlink(outside.path(), objects.join("ab")).expect("a link");
    fs::create_dir_all(objects.join("cd")).expect("a directory");
    symlink(&foreign, objects.join("cd").join("cd".repeat(32))).expect("a link");
    symlink(&foreign, dir.path().join("trash/0")).expect("a link");
    let kept = ["objects/pack/file", "objects/ab1/file", "objects/cd/short/file", "trash/notes/file"];
    for place in kept.map(|place| dir.path().join(place)) {
        fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
        fs::write(place, "notes").expect("written");
    }
    // Litter of ours goes, and a directory that somebody put into it does not.
    let litter = objects.join("cd").join("cd".repeat(31) + "01");
    fs::create_dir_all(litter.join("mine")).expect("a directory");
    fs::write(litter.join("half"), "ha").expect("written");
    for _ in 0..2 {
        let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
        assert!(open(&cache).is_whole());
        cache.finish();
    }
    assert_eq!(fs::read(foreign.join("file")).expect("it is there"), b"precious");
    for place in kept.map(|place| dir.path().join(place)) {
        assert!(place.exists(), "{}", place.display());
    }
    assert!(!litter.exists());
    assert!(dir.path().join("copy.set-aside-2/mine").is_dir() || dir.path().join("copy.set-aside-1/mine").is_dir());
    let aside = fs::read_dir(dir.path()).expect("listable").flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains(".set-aside-")).count();
    assert_eq!(aside, 3, "the two links below objects, and the directory in the litter");
}

/// A kind of file, and how one is made at a path.
type Kind<'a> = (&'static str, &'a dyn Fn(&Path));

#[test]
fn something_else_in_the_place_of_a_copys_file_is_no_copy() {
    let outside = kit::reaper::temporary();
    let target = outside.path().join("target");
    fs::write(&target, vec![7; SIZE as usize]).expect("written");
    let kinds: [Kind<'_>; 3] = [
        ("a link to the same bytes", &|place| symlink(&target, place).expect("a link")),
        ("a directory", &|place| fs::create_dir(place).expect("a directory")),
        ("a FIFO", &|place| {
            assert!(std::process::Command::new("mkfifo").arg(place).status().expect("mkfifo is there").success());
        }),
    ];
    for (what, make) in kinds {
        let dir = stored();
        let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
        let place = cache.store.path(&version(), b"file");
        fs::remove_file(&place).expect("it is there");
        make(&place);
        let copy = open(&cache);
        assert!(!copy.is_whole(), "{what}");
        for block in 0..3 {
            assert!(matches!(
                copy.store(block, Bytes::from(vec![7; BLOCK as usize])),
                Stored::Disk | Stored::DiskComplete
            ));
        }
        assert!(copy.mark_whole(Digest::new("1")), "{what}");
        assert!(fs::symlink_metadata(&place).expect("it is there").is_file(), "{what}");
        assert_eq!(fs::read(&target).expect("it is there"), vec![7; SIZE as usize], "{what}");
    }
}
