use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use tempfile::TempDir;

use super::*;

fn count(database: &Database) -> Option<i64> {
    database.read(|c| c.query_row("SELECT count(*) FROM listings", [], |row| row.get(0)))
}

fn insert(database: &Database, dir: &'static [u8]) {
    database.write(move |t| {
        t.execute("INSERT INTO listings (source, dir, is_incomplete) VALUES ('s', ?1, 0)", [dir])?;
        Ok(())
    });
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = kit::reaper::temporary();
    let database = Database::open(dir.path(), 1 << 20).expect("a new index");
    insert(&database, b"a");
    drop(database);
    let database = Database::open(dir.path(), 1 << 20).expect("the same index");
    assert_eq!(count(&database), Some(1));
    assert!(database.bytes() > 0);
}

#[test]
fn a_failing_change_is_undone_alone() {
    let dir = kit::reaper::temporary();
    let database = Database::open(dir.path(), 1 << 20).expect("a new index");
    insert(&database, b"a");
    insert(&database, b"a");
    insert(&database, b"b");
    database.flush();
    assert_eq!((count(&database), database.losses()), (Some(2), 1));
}

#[test]
fn while_the_disk_hangs_only_so_many_changes_wait_and_further_ones_are_lost() {
    let dir = kit::reaper::temporary();
    let database = Database::open(dir.path(), 1 << 20).expect("a new index");
    let (begun, begin) = mpsc::channel();
    let (go_on, until) = mpsc::channel::<()>();
    database.write(move |_| {
        let _ = begun.send(());
        let _ = until.recv();
        Ok(())
    });
    begin.recv().expect("the change is under way");
    let counted = Arc::new(AtomicUsize::new(0));
    let write = || {
        let counted = counted.clone();
        database.write(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
    };
    (0..MAX_QUEUED + 3).for_each(|_| write());
    assert_eq!(database.losses(), 0, "a busy disk loses nothing");
    database.disk().hangs();
    (0..7).for_each(|_| write());
    assert_eq!(database.losses(), 7);
    drop(go_on);
    database.flush();
    assert_eq!(counted.load(Ordering::Relaxed), MAX_QUEUED + 3);
    write();
    database.flush();
    assert_eq!((counted.load(Ordering::Relaxed), database.losses()), (MAX_QUEUED + 4, 7));
}

#[test]
fn a_damaged_index_is_begun_anew() {
    let dir = kit::reaper::temporary();
    drop(Database::open(dir.path(), 1 << 20).expect("a new index"));
    std::fs::write(dir.path().join("index.sqlite"), b"not a database at all, but long enough to be read as one")
        .expect("the file can be written");
    let database = Database::open(dir.path(), 1 << 20).expect("a new index");
    assert_eq!(count(&database), Some(0));
}

/// A database with more rows than a page holds, closed, and where it lies.
fn stored() -> (TempDir, PathBuf) {
    let dir = kit::reaper::temporary();
    let database = Database::open(dir.path(), 1 << 20).expect("a new index");
    for number in 0..2000 {
        database.write(move |t| {
            t.execute(
                "INSERT INTO listings (source, dir, is_incomplete) VALUES ('s', ?1, 0)",
                [format!("directory {number}")],
            )?;
            Ok(())
        });
    }
    drop(database);
    let file = dir.path().join("index.sqlite");
    (dir, file)
}

fn set_aside(file: &Path) -> PathBuf {
    file.with_file_name("index.sqlite.damaged")
}

/// A name for a kind of damage, and the change to the file that makes it.
type Damage<'a> = (&'static str, &'a dyn Fn(&std::fs::File));

#[test]
fn damage_however_it_is_done_is_set_aside_once_and_the_database_replaced() {
    let damages: [Damage<'_>; 5] = [
        ("zeroed pages", &|file| file.write_all_at(&[0; 5 * 4096], 4096).expect("written")),
        ("a zeroed beginning", &|file| file.write_all_at(&[0; 4096], 0).expect("written")),
        ("a flipped beginning", &|file| file.write_all_at(b"sqlite", 0).expect("written")),
        ("a short file", &|file| file.set_len(3 * 4096 + 7).expect("cut")),
        ("noise", &|file| file.write_all_at(&[0xa5; 60_000], 5000).expect("written")),
    ];
    for (what, damage) in damages {
        let (dir, path) = stored();
        damage(&std::fs::File::options().write(true).open(&path).expect("it is there"));
        let database = Database::open(dir.path(), 1 << 20).expect("an index");
        let replaced = Arc::new(AtomicUsize::new(0));
        let counted = replaced.clone();
        database.on_replaced(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        // A damage may be found only by a later read.
        for _ in 0..3 {
            let _ = database
                .read(|c| c.query_row("SELECT count(dir) FROM listings NOT INDEXED", [], |row| row.get::<_, i64>(0)));
            let _ = database.read(|c| c.query_row("SELECT count(dir) FROM listings", [], |row| row.get::<_, i64>(0)));
            database.flush();
        }
        assert_eq!(count(&database), Some(0), "{what}");
        assert_eq!(database.begun(), 1, "{what}");
        assert!(replaced.load(Ordering::Relaxed) <= 1, "{what}");
        assert!(set_aside(&path).is_file(), "{what}");
        insert(&database, b"a");
        drop(database);
        let database = Database::open(dir.path(), 1 << 20).expect("the same index");
        assert_eq!((count(&database), database.begun()), (Some(1), 0), "{what}: the new one is sound");
    }
}

#[test]
fn changes_after_damage_was_met_are_in_the_new_database() {
    let (dir, path) = stored();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.write_all_at(&[0; 5 * 4096], 4096))
        .expect("written");
    let database = Database::open(dir.path(), 1 << 20).expect("an index");
    // The first of them meets it.
    for dir in [b"a".as_slice(), b"b", b"c"] {
        insert(&database, dir);
    }
    database.flush();
    insert(&database, b"d");
    database.flush();
    assert!(database.begun() == 1 && count(&database) >= Some(1), "{:?}", count(&database));
}

#[test]
fn a_database_with_other_tables_is_not_used() {
    let tamperings = [
        "DROP TABLE learned; CREATE VIEW learned AS SELECT * FROM listings",
        "CREATE TRIGGER t AFTER INSERT ON listings BEGIN DELETE FROM copies; END",
        "ALTER TABLE copies ADD COLUMN more TEXT",
        "CREATE TABLE more (id INTEGER)",
        "PRAGMA user_version = 77",
    ];
    for tampering in tamperings {
        let (dir, path) = stored();
        Connection::open(&path).and_then(|c| c.execute_batch(tampering)).expect("it is a database");
        let database = Database::open(dir.path(), 1 << 20).expect("an index");
        assert_eq!((count(&database), database.begun()), (Some(0), 1), "{tampering}");
        assert!(set_aside(&path).is_file(), "{tampering}");
    }
}

#[test]
fn no_file_is_mapped_and_links_are_not_followed() {
    let (dir, path) = stored();
    let elsewhere = kit::reaper::temporary();
    let target = elsewhere.path().join("target");
    std::fs::write(&target, "precious").expect("written");
    for suffix in ["-wal", "-shm", "-journal"] {
        let name = format!("{}{suffix}", path.display());
        std::os::unix::fs::symlink(&target, name).expect("a link");
    }
    let database = Database::open(dir.path(), 1 << 20).expect("an index");
    assert_eq!(count(&database), Some(2000));
    insert(&database, b"a");
    database.flush();
    assert!(!dir.path().join("index.sqlite-shm").exists());
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this is Linux");
    assert!(!maps.contains(&*dir.path().to_string_lossy()), "{maps}");
    drop(database);
    std::fs::rename(&path, elsewhere.path().join("moved")).expect("moved");
    std::os::unix::fs::symlink(elsewhere.path().join("moved"), &path).expect("a link");
    let database = Database::open(dir.path(), 1 << 20).expect("an index");
    assert_eq!(count(&database), Some(0));
    assert_eq!(std::fs::read(&target).expect("it is there"), b"precious");
}

#[test]
fn changes_that_nobody_waits_for_are_one_transaction_with_the_first_that_somebody_waits_for() {
    let dir = kit::reaper::temporary();
    let database = Database::open_gathering(dir.path(), 1 << 20, Duration::from_secs(3600)).expect("a new index");
    let transactions = || database.shared.transactions.load(Ordering::Relaxed);
    for dir in [b"a".as_slice(), b"b", b"c"] {
        insert(&database, dir);
    }
    assert_eq!((transactions(), count(&database)), (0, Some(0)));
    database.flush();
    assert_eq!((transactions(), count(&database)), (1, Some(3)));
    insert(&database, b"d");
    let asked = database.ask(|c| c.query_row("SELECT count(*) FROM listings", [], |row| row.get::<_, i64>(0)));
    assert_eq!((asked, transactions()), (Ok(Some(4)), 2), "a question comes after what was queued before it");
    insert(&database, b"e");
    drop(database);
    let database = Database::open(dir.path(), 1 << 20).expect("the same index");
    assert_eq!(count(&database), Some(5), "the end loses nothing");
}

#[test]
fn who_waits_for_a_thread_that_has_ended_is_told() {
    let dir = kit::reaper::temporary();
    let database = Database::open_gathering(dir.path(), 1 << 20, Duration::from_secs(3600)).expect("a new index");
    database.write(|_| panic!("the thread ends here"));
    database.flush();
    database.flush();
    assert_eq!(database.ask(|_| Ok(7)), Ok(None));
}

#[test]
fn one_long_statement_is_progress() {
    let dir = kit::reaper::temporary();
    let database = Database::open(dir.path(), 1 << 20).expect("it is there");
    let before = database.shared.done.load(Ordering::Relaxed);
    let count = "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 500000) SELECT max(n) FROM count";
    let found = database.ask(move |db| db.query_row(count, [], |row| row.get::<_, i64>(0)));
    assert_eq!(found.expect("the disk answers"), Some(500_000));
    assert!(database.shared.done.load(Ordering::Relaxed) > before + 10);
}

#[test]
fn the_size_follows_changes_and_counts_what_was_set_aside() {
    let dir = kit::reaper::temporary();
    drop(Database::open(dir.path(), 1 << 20).expect("a new index"));
    std::fs::write(dir.path().join("index.sqlite.damaged"), [0; 5000]).expect("written");
    let database = Database::open(dir.path(), 1 << 20).expect("the same index");
    let (bytes, growth) = (database.bytes(), database.growth());
    let length = |name| std::fs::metadata(dir.path().join(name)).map_or(0, |meta| meta.len());
    assert_eq!(bytes, 5000 + length("index.sqlite") + length("index.sqlite-wal"));
    insert(&database, b"a");
    database.flush();
    let more = database.bytes() - bytes;
    assert!(more > 0, "the journal has grown");
    assert_eq!(growth - database.growth(), more, "by what was kept for it");
}
