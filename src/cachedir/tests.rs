use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use tempfile::TempDir;

use super::*;

fn place() -> TempDir {
    kit::reaper::temporary()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    path.as_ref().metadata().expect("it is there").permissions().mode() & 0o777
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// Every name below a directory, what it is, and what is in it.
fn everything(dir: &Path) -> Vec<(PathBuf, String)> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(|entry| entry.expect("listable"));
    let content = |entry: &walkdir::DirEntry| match entry.file_type().is_file() {
        true => String::from_utf8_lossy(&fs::read(entry.path()).expect("readable")).into_owned(),
        false => format!("{:?}", entry.file_type()),
    };
    entries.map(|entry| (entry.path().to_owned(), content(&entry))).collect()
}

fn refusal(dir: &Path) -> String {
    let before = everything(dir);
    let refused = CacheDir::claim(dir).expect_err("it is refused").to_string();
    assert_eq!(everything(dir), before, "nothing was touched");
    refused
}

#[test]
fn what_is_not_ours_is_refused_and_not_touched() {
    let parent = place();
    let bare = parent.path().join("bare.git");
    fs::create_dir_all(bare.join("objects/aa")).expect("a directory");
    fs::create_dir_all(bare.join("refs")).expect("a directory");
    for (name, content) in [("HEAD", "ref: refs/heads/main\n"), ("config", "[core]\n"), ("objects/aa/bb", "blob")] {
        fs::write(bare.join(name), content).expect("a file");
    }
    let said = refusal(&bare);
    assert!(said.contains("HEAD") && said.contains("config") && said.contains("cache.dir"), "{said}");

    // Names that we use too do not make it ours, nor do those of another program's cache.
    let similar = parent.path().join("similar");
    fs::create_dir_all(similar.join("objects/aa")).expect("a directory");
    fs::write(similar.join("lock"), "held by nobody\n").expect("a file");
    fs::write(similar.join("index.sqlite"), "SQLite format 3\0").expect("a file");
    refusal(&similar);
    let other = parent.path().join("other");
    fs::create_dir(&other).expect("a directory");
    fs::write(other.join("CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n")
        .expect("a file");
    refusal(&other);
    let staging = parent.path().join("staged");
    fs::create_dir_all(staging.join("staging/site")).expect("a directory");
    refusal(&staging);

    let file = parent.path().join("file");
    fs::write(&file, "of somebody").expect("a file");
    let said = refusal(&file);
    assert!(said.contains("no directory") && said.contains("cache.dir"), "{said}");
}

#[test]
fn a_link_is_refused_however_it_is_written() {
    let parent = place();
    fs::create_dir(parent.path().join("target")).expect("a directory");
    symlink("target", parent.path().join("link")).expect("a link");
    symlink("nowhere", parent.path().join("dangling")).expect("a link");
    let said = CacheDir::claim(&parent.path().join("dangling")).expect_err("it is refused").to_string();
    assert!(said.contains("a link") && said.contains("cache.dir"), "{said}");
    for written in ["link", "link/"] {
        let said = refusal(&parent.path().join(written));
        assert!(said.contains("link") && said.contains("target"), "{said}");
    }
    assert_eq!(everything(&parent.path().join("target")).len(), 1, "nothing was made there");
}

#[test]
fn a_directory_that_others_own_or_may_write_is_refused() {
    let dir = place();
    drop(CacheDir::claim(dir.path()).expect("it is empty"));
    for wrong in [0o777, 0o770, 0o702] {
        chmod(dir.path(), wrong);
        let said = refusal(dir.path());
        assert!(said.contains(&format!("{wrong:o}")) && said.contains("chmod 700"), "{said}");
    }
    chmod(dir.path(), 0o700);
    if rustix::process::geteuid().is_root() {
        chown(dir.path(), Some(65_534), None).expect("root may");
        let said = refusal(dir.path());
        assert!(said.contains("65534"), "{said}");
    }
}

#[test]
fn a_directory_of_ours_is_made_private_with_its_index() {
    let dir = place();
    chmod(dir.path(), 0o755);
    drop(CacheDir::claim(dir.path()).expect("it is empty"));
    assert_eq!(mode(dir.path()), 0o700);
    fs::write(dir.path().join("index.sqlite"), "").expect("a file");
    chmod(dir.path().join("index.sqlite"), 0o644);
    chmod(dir.path(), 0o755);
    let ours = CacheDir::claim(dir.path()).expect("it bears our tag");
    ours.expect_file("index.sqlite").expect("a regular file");
    assert_eq!((mode(dir.path()), mode(dir.path().join("index.sqlite"))), (0o700, 0o600));
}

#[test]
fn what_an_earlier_version_made_is_ours_and_tagged() {
    let dir = place();
    for made in ["objects", "trash", "staging", "urls"] {
        fs::create_dir(dir.path().join(made)).expect("a directory");
    }
    for lock in ["4711 \n", "4711 tidying up\n"] {
        fs::write(dir.path().join("lock"), lock).expect("a file");
        fs::write(dir.path().join("index.sqlite"), b"SQLite format 3\0 and so on").expect("a file");
        drop(CacheDir::claim(dir.path()).expect("it is ours"));
        assert!(dir.path().join("CACHEDIR.TAG").is_file());
        fs::remove_file(dir.path().join("CACHEDIR.TAG")).expect("it is there");
    }
    // Killed while it wrote its tag.
    let dir = place();
    fs::write(dir.path().join("CACHEDIR.TAG"), "Signature: 8a47").expect("a file");
    drop(CacheDir::claim(dir.path()).expect("it is empty"));
}

/// A kind of file, and how one is made at a path.
type Kind<'a> = (&'static str, &'a dyn Fn(&Path));

#[test]
fn something_else_in_the_place_of_ours_is_set_aside_whole() {
    let elsewhere = place();
    fs::write(elsewhere.path().join("file"), "precious").expect("a file");
    let make: [Kind<'_>; 5] = [
        ("a FIFO", &|path| {
            assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo is there").success());
        }),
        ("a link to a file", &|path| symlink(elsewhere.path().join("file"), path).expect("a link")),
        ("a link to a directory", &|path| symlink(elsewhere.path(), path).expect("a link")),
        ("a link to nothing", &|path| symlink("nothing", path).expect("a link")),
        ("a second name of a file", &|path| fs::hard_link(elsewhere.path().join("file"), path).expect("a name")),
    ];
    for (what, make) in make {
        let dir = place();
        let ours = CacheDir::claim(dir.path()).expect("it is empty");
        for name in ["lock", "objects"] {
            make(&dir.path().join(name));
        }
        ours.file("lock").and_then(|file| file.set_len(0)).unwrap_or_else(|e| panic!("{what}: {e}"));
        ours.dir("objects").unwrap_or_else(|e| panic!("{what}: {e}"));
        let aside = |name: &str| dir.path().join(format!("{name}.set-aside-1")).symlink_metadata().is_ok();
        assert!(aside("lock") && aside("objects"), "{what}");
        assert_eq!(fs::read(elsewhere.path().join("file")).expect("it is there"), b"precious", "{what}");
    }
    let dir = place();
    let ours = CacheDir::claim(dir.path()).expect("it is empty");
    fs::create_dir(dir.path().join("lock")).expect("a directory");
    fs::write(dir.path().join("objects"), "notes").expect("a file");
    ours.file("lock").expect("a file of ours");
    ours.dir("objects").expect("a directory of ours");
    assert_eq!(fs::read(dir.path().join("objects.set-aside-1")).expect("it is there"), b"notes");
}
