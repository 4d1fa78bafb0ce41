//! The cache's room: what is taken, given back, and stored of copies that grow.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::block::{BLOCK, BlockMap, hash};
use super::*;
use crate::digest::Digest;
use crate::disk::DISK_TIMEOUT;
use crate::path::RemotePath;

const LIMITS: Limits = Limits { max_size: 1 << 30, min_free: 0 };

fn version(name: &str) -> Key {
    Key::new("source", &RemotePath::parse(name.as_bytes()).expect("a path"), &Digest::new("1"))
}

fn open(cache: &Arc<Cache>, name: &str, blocks: u64) -> OpenCopy {
    cache.open_copy(version(name), &name.as_bytes().to_vec().into(), blocks * BLOCK, None)
}

/// The bytes of one block.
fn block(number: usize) -> Bytes {
    vec![number as u8; BLOCK as usize].into()
}

#[test]
fn room_for_blocks_that_could_not_be_written_is_given_back() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 8);
    // A file stands in the place of the copy's directory.
    let shard = copy.place().parent().and_then(Path::parent).expect("it lies below the cache").to_owned();
    std::fs::write(&shard, "in the way").expect("written");
    for number in 0..8 {
        assert_eq!(copy.store(number, block(number)), Stored::Memory);
    }
    assert_eq!(cache.ledger.taken(), 0);
    std::fs::remove_file(&shard).expect("removed");
    for number in 0..4 {
        assert_eq!(copy.store(number, block(number)), Stored::Disk);
    }
    assert_eq!(cache.ledger.taken(), 4 * BLOCK + COPY_OVERHEAD);
}

#[test]
fn blocks_that_are_thrown_away_take_no_room() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 8);
    for _ in 0..3 {
        for number in 0..7 {
            assert_eq!(copy.store(number, block(number)), Stored::Disk);
            assert_eq!(copy.store(number, block(number)), Stored::Disk, "it is there already");
        }
        assert_eq!(cache.ledger.taken(), 7 * BLOCK + COPY_OVERHEAD);
        copy.discard_blocks(0..7);
        assert_eq!(cache.ledger.taken(), COPY_OVERHEAD);
    }
}

/// How many blocks of a copy a new process would find in the index.
fn stored_blocks(cache: &Cache, name: &str, blocks: u64) -> usize {
    let mut map = BlockMap::empty(blocks * BLOCK);
    let record = cache.index.load(&version(name)).expect("the disk answers");
    for (page, bytes) in record.into_iter().flat_map(|record| record.pages) {
        map.restore_page(page, &bytes);
    }
    map.present()
}

#[test]
fn what_the_index_may_grow_by_is_not_free() {
    let dir = kit::reaper::temporary();
    let (cache, db) = Cache::open(dir.path(), Limits { max_size: 1 << 40, min_free: 0 }).expect("a cache");
    let journal = || dir.path().join("index.sqlite-wal").metadata().map_or(0, |meta| meta.len());
    for _ in 0..2 {
        db.flush();
        let most = u64::from(JOURNAL.1);
        assert!((most..=most + most / 100).contains(&(db.growth() + journal() - most)), "{}", db.growth());
        db.write(|db| {
            db.execute("INSERT INTO listings (source, dir, is_incomplete) VALUES ('s', randomblob(1000000), 0)", [])?;
            Ok(())
        });
    }
    db.flush();
    assert!(journal() > 1_000_000);
    let (free, all) = (cache.free(), cache.store.free());
    // Others may write to the same disk between the two.
    assert!(free + db.growth() / 2 < all, "{free} of {all}");
}

#[test]
fn a_kill_costs_a_growing_copy_8_mib_at_most() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 1000);
    for number in 0..700 {
        copy.store(number, block(number));
        let lost = (number + 1 - stored_blocks(&cache, "file", 1000)) as u64 * BLOCK;
        assert!(lost < copy::SAVE_AFTER_BYTES, "{lost} bytes after block {number}");
    }
}

#[test]
fn the_map_of_a_copy_that_grows_slowly_is_stored_after_a_while() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 1000);
    for number in 0..3 {
        copy.store(number, block(number));
        let begun = Instant::now();
        while stored_blocks(&cache, "file", 1000) <= number {
            assert!(begun.elapsed() < Duration::from_secs(60), "it was not stored");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A cache directory with so many whole copies of one block.
fn filled(dir: &Path, copies: usize) {
    let (cache, _) = Cache::open(dir, LIMITS).expect("a cache");
    for number in 0..copies {
        let copy = open(&cache, &number.to_string(), 1);
        copy.store(0, block(number));
        copy.mark_whole(Digest::new("1"));
    }
    cache.finish();
}

#[test]
fn a_copy_whose_first_block_is_being_written_is_no_found_file() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "new", 8);
    let gate = cache.gate.write();
    std::thread::scope(|scope| {
        let stored = scope.spawn(|| copy.store(0, block(0)));
        while copy.lease.bytes() == 0 {
            std::thread::yield_now();
        }
        assert!(!copy.is_found(), "whoever opens it now must not throw it away");
        drop(gate);
        assert_eq!(stored.join().expect("it does not panic"), Stored::Disk);
    });
}

#[test]
fn who_needs_room_waits_for_what_another_is_deleting() {
    let dir = kit::reaper::temporary();
    filled(dir.path(), 20);
    let before = Cache::open(dir.path(), LIMITS).expect("a cache").0.ledger.taken();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let limits = Limits { max_size: before + cache.index.reserved(), min_free: 0 };
    drop(cache);
    let (cache, _) = Cache::open(dir.path(), limits).expect("a cache");
    let taken: Vec<_> = {
        let mut table = cache.table.lock();
        let mut take = || table.victim().and_then(|victim| cache.take_away(&mut table, &victim));
        (0..4).filter_map(|_| take()).collect()
    };
    assert_eq!(taken.len(), 4);
    let evicted = || cache.counters().evicted.load(Ordering::Relaxed);
    let copy = open(&cache, "new", 8);
    std::thread::scope(|scope| {
        let stored = scope.spawn(|| copy.store(0, block(0)));
        let begun = Instant::now();
        while evicted() == 0 && !stored.is_finished() && begun.elapsed() < DISK_TIMEOUT / 4 {
            std::thread::sleep(Duration::from_millis(5));
        }
        cache.destroy(taken);
        assert_eq!(stored.join().expect("it does not panic"), Stored::Disk);
    });
    assert_eq!(evicted(), 0, "what was going anyway was enough");
}

#[test]
fn what_is_over_a_lowered_limit_is_evicted_while_others_get_room() {
    const COPIES: usize = 1000;
    let dir = kit::reaper::temporary();
    filled(dir.path(), COPIES);
    let limits = Limits { max_size: 16 << 20, min_free: 0 };
    let (cache, _) = Cache::open(dir.path(), limits).expect("a cache");
    let most = cache.bytes();
    let copy = open(&cache, "new", 40);
    for number in 0..32 {
        assert_eq!(copy.store(number, block(number)), Stored::Disk);
        // The index is no reservation.
        assert!(cache.ledger.taken() <= most, "it does not grow beyond what it was");
    }
    let begun = Instant::now();
    while cache.upkeep.is_evicting() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(cache.bytes() <= limits.max_size, "{} bytes", cache.bytes());
    assert!(cache.bytes() >= limits.max_size / 2, "{} bytes: no more than needed", cache.bytes());
    assert_eq!(cache.counters().evicted.load(Ordering::Relaxed), (COPIES + 1 - cache.copies()) as u64);
    assert!(cache.facts(&version("0")).is_none() && cache.facts(&version("999")).is_some(), "the longest unused went");
    drop((copy, cache));
    let (cache, _) = Cache::open(dir.path(), limits).expect("a cache");
    assert!(!cache.upkeep.is_evicting(), "the next start has nothing to evict");
}

#[test]
fn the_cache_is_never_larger_than_its_limit_whatever_the_index_takes() {
    let dir = kit::reaper::temporary();
    let limits = Limits { max_size: 8 << 20, min_free: 0 };
    let (cache, db) = Cache::open(dir.path(), limits).expect("a cache");
    for number in 0..600 {
        let copy = open(&cache, &number.to_string(), 1);
        assert_ne!(copy.store(0, block(0)), Stored::Memory);
        drop(copy);
        db.write(|db| {
            db.execute("INSERT INTO listings (source, dir, is_incomplete) VALUES ('s', randomblob(3000), 0)", [])?;
            Ok(())
        });
        db.flush();
        assert!(cache.bytes() <= limits.max_size, "{} bytes after {number} files", cache.bytes());
    }
    assert!(cache.copies() >= 10, "{} copies: the index has not taken it all", cache.copies());
}

/// Sixteen blocks: 2 MiB.
const MANY: u64 = 16;

/// Room for three copies of `MANY` blocks with the index, and not for four.
const THREE: Limits = Limits { max_size: (7 << 20) + (1 << 19), min_free: 0 };

/// A whole copy of `MANY` blocks, which nobody has open.
fn fill(cache: &Arc<Cache>, name: &str) {
    let copy = open(cache, name, MANY);
    for number in 0..MANY as usize {
        assert_ne!(copy.store(number, block(number)), Stored::Memory, "block {number} of {name}");
    }
    assert!(copy.mark_whole(Digest::new("1")));
}

/// The copy that is in the way for the longest time goes, and no other.
#[test]
fn the_longest_unused_copy_is_evicted() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), THREE).expect("a cache");
    ["a", "b", "c"].iter().for_each(|name| fill(&cache, name));
    drop(open(&cache, "a", MANY));
    fill(&cache, "d");
    assert_eq!(cache.counters().evicted.load(Ordering::Relaxed), 1);
    assert!(cache.facts(&version("b")).is_none());
    assert!(["a", "c", "d"].iter().all(|name| cache.facts(&version(name)).is_some_and(|facts| facts.whole)));
    assert_eq!(cache.ledger.taken(), 3 * (MANY * BLOCK + COPY_OVERHEAD));
}

#[test]
fn an_open_copy_is_not_evicted() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), THREE).expect("a cache");
    ["a", "b", "c"].iter().for_each(|name| fill(&cache, name));
    let readers = ["a", "b", "c"].map(|name| open(&cache, name, MANY));
    let copy = open(&cache, "d", MANY);
    let stored: Vec<_> = (0..MANY as usize).map(|number| copy.store(number, block(number))).collect();
    assert_eq!(stored.last(), Some(&Stored::Memory));
    assert!(cache.no_room().is_some_and(|why| why.contains("max_size")));
    assert!(readers.iter().all(|copy| copy.is_whole()));
    drop(readers);
    assert_ne!(copy.store(MANY as usize - 1, block(0)), Stored::Memory, "one of them goes now");
    assert_eq!((cache.counters().evicted.load(Ordering::Relaxed), cache.no_room()), (1, None));
}

#[test]
fn a_file_that_does_not_fit_evicts_nothing() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), THREE).expect("a cache");
    fill(&cache, "a");
    let taken = cache.ledger.taken();
    let large = open(&cache, "large", THREE.max_size / BLOCK + 1);
    assert_eq!(large.store(0, block(0)), Stored::Memory);
    assert_eq!((cache.ledger.taken(), cache.copies()), (taken, 1));
}

#[test]
fn a_copy_that_is_discarded_gives_back_all_its_room() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    fill(&cache, "a");
    let copy = open(&cache, "a", MANY);
    copy.discard();
    assert_eq!((cache.ledger.taken(), copy.is_begun(), copy.is_proven()), (0, false, false));
    assert_eq!(copy.store(0, block(0)), Stored::Disk);
    assert_eq!(cache.ledger.taken(), BLOCK + COPY_OVERHEAD);
}

#[test]
fn a_copy_that_is_discarded_leaves_nothing_in_memory() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), THREE).expect("a cache");
    let large = open(&cache, "large", THREE.max_size / BLOCK + 1);
    assert_eq!(large.store(0, block(0)), Stored::Memory);
    large.discard();
    assert_eq!(large.missing(0..1), [0]);
}

/// A gathering that has begun.
fn gather(cache: &Arc<Cache>, name: &str) -> Gathering {
    let mut gathering = cache.gather(version(name), &name.as_bytes().to_vec().into());
    gathering.begin();
    gathering
}

#[test]
fn a_gathering_that_is_given_up_leaves_nothing_behind() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let mut gathering = gather(&cache, "a");
    (0..3).for_each(|number| gathering.write(&block(number)));
    assert_eq!(cache.ledger.taken(), 3 * BLOCK + COPY_OVERHEAD);
    assert!(cache.store.path(&version("a"), b"a").exists());
    drop(gathering);
    assert_eq!(cache.ledger.taken(), 0);
    assert!(!cache.store.path(&version("a"), b"a").exists());
}

#[test]
fn the_room_of_a_gathering_becomes_that_of_its_copy() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let mut gathering = gather(&cache, "a");
    (0..3).for_each(|number| gathering.write(&block(number)));
    let copy = gathering.finish(None).expect("there is room");
    drop(gathering);
    assert_eq!((cache.ledger.taken(), copy.size()), (3 * BLOCK + COPY_OVERHEAD, 3 * BLOCK));
    assert_eq!((copy.missing(0..3), copy.is_proven()), (vec![2], false), "the last one waits for the proof");
    assert!(copy.mark_whole(Digest::new("1")));
    drop(copy);
    assert_eq!((cache.ledger.taken(), cache.copies()), (3 * BLOCK + COPY_OVERHEAD, 1));
}

#[test]
fn a_gathering_that_begins_anew_has_none_of_the_earlier_blocks() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let mut gathering = gather(&cache, "a");
    (0..3).for_each(|number| gathering.write(&block(number)));
    gathering.begin();
    assert_eq!(cache.ledger.taken(), 0);
    gathering.write(&block(7));
    gathering.write(&Bytes::from_static(b"end"));
    let copy = gathering.finish(None).expect("there is room");
    assert_eq!((copy.size(), copy.missing(0..2)), (BLOCK + 3, vec![1]));
    assert!(copy.mark_whole(Digest::new("1")));
    assert_eq!(copy.read(BLOCK - 1..BLOCK + 3).as_deref(), Some(&b"\x07end"[..]));
    let length = cache.store.path(&version("a"), b"a").metadata().expect("it is there").len();
    assert_eq!(length, BLOCK + 3);
}

#[test]
fn the_index_hears_of_a_gathering_once_it_is_proven() {
    let dir = kit::reaper::temporary();
    let (cache, db) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let mut gathering = gather(&cache, "a");
    // More than what is stored of a growing copy at once.
    (0..100).for_each(|number| gathering.write(&block(number)));
    let copy = gathering.finish(None).expect("there is room");
    copy.save_growth(&cache.index);
    db.flush();
    assert_eq!(stored_blocks(&cache, "a", 100), 0);
    assert!(copy.mark_whole(Digest::new("1")));
    assert_eq!(stored_blocks(&cache, "a", 100), 100);
}

#[test]
fn an_empty_version_that_was_gathered_has_a_file() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = gather(&cache, "a").finish(None).expect("there is room");
    assert!(copy.place().exists() && !copy.is_proven() && copy.mark_whole(Digest::new("1")));
    assert_eq!((copy.size(), cache.ledger.taken()), (0, COPY_OVERHEAD));
}

#[test]
fn more_than_the_cache_can_hold_is_not_gathered() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), THREE).expect("a cache");
    let mut gathering = gather(&cache, "a");
    (0..=THREE.max_size / BLOCK).for_each(|number| gathering.write(&block(number as usize)));
    assert!(gathering.finish(None).is_none());
    assert_eq!((cache.copies(), cache.ledger.taken()), (0, 0));
    assert!(!cache.store.path(&version("a"), b"a").exists());
}

#[test]
fn a_version_that_is_open_is_not_gathered_anew() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "a", 2);
    copy.store(0, block(0));
    let mut gathering = gather(&cache, "a");
    (0..2).for_each(|number| gathering.write(&block(number)));
    assert!(gathering.finish(None).is_none());
    drop(gathering);
    assert_eq!((copy.read(0..BLOCK), copy.missing(0..2)), (Some(block(0)), vec![1]));
}

#[test]
fn only_a_copy_that_is_not_in_memory_is_looked_up_in_the_index() {
    let dir = kit::reaper::temporary();
    filled(dir.path(), 1);
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let known = |name: &str| cache.open_known(version(name), &name.as_bytes().to_vec().into(), BLOCK, None);
    assert!(known("0").is_none(), "the index has it");
    assert!(known("new").is_some_and(|copy| !copy.is_begun()));
    assert!(open(&cache, "0", 1).is_whole());
    assert!(known("0").is_some_and(|copy| copy.is_proven()));
}

#[test]
fn of_two_that_open_a_stored_copy_at_once_both_get_the_same() {
    let dir = kit::reaper::temporary();
    filled(dir.path(), 20);
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let taken = cache.ledger.taken();
    for number in 0..20 {
        let opened = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&cache, &number.to_string(), 1))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        assert!(opened.iter().all(|copy| Arc::ptr_eq(&copy.copy, &opened[0].copy) && copy.is_whole()));
        assert_eq!(opened[0].copy.opens.load(Ordering::Relaxed), 4);
    }
    assert_eq!(cache.ledger.taken(), taken);
}

/// The cache as a process finds it that starts after this one was killed now.
fn killed(dir: &Path) -> tempfile::TempDir {
    let after = kit::reaper::temporary();
    let copied = std::process::Command::new("cp").arg("-a").arg(dir.join(".")).arg(after.path()).status();
    assert!(copied.expect("cp is there").success());
    after
}

#[test]
fn after_a_kill_a_growing_copy_has_what_was_stored_of_it() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "a", 1000);
    for number in 0..70 {
        assert_eq!(copy.store(number, block(number)), Stored::Disk);
    }
    cache.settle();
    let after = killed(dir.path());
    let (cache, _) = Cache::open(after.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "a", 1000);
    assert!(copy.is_begun() && !copy.is_found() && !copy.is_whole());
    let first = (copy::SAVE_AFTER_BYTES / BLOCK) as usize;
    assert!(copy.missing(0..first).is_empty());
    for number in 0..first {
        let at = number as u64 * BLOCK;
        assert_eq!(copy.read(at..at + BLOCK), Some(block(number)));
    }
    assert_eq!(copy.read(0..BLOCK), Some(block(0)));
    assert_eq!(copy.missing(70..1000).len(), 930);
}

#[test]
fn after_a_kill_before_the_proof_a_copy_is_not_whole() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "a", 3);
    assert_eq!([0, 1, 2].map(|number| copy.store(number, block(number))).last(), Some(&Stored::DiskComplete));
    drop(copy);
    cache.settle();
    let after = killed(dir.path());
    let (cache, _) = Cache::open(after.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "a", 3);
    assert_eq!((copy.is_whole(), copy.missing(0..3)), (false, vec![2]));
    assert_eq!(copy.store(2, block(2)), Stored::DiskComplete, "which leads to the proof");
}

#[test]
fn after_a_kill_a_copy_that_was_altered_meanwhile_is_served_only_where_it_is_right() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    fill(&cache, "a");
    cache.settle();
    let after = killed(dir.path());
    let (cache, _) = Cache::open(after.path(), LIMITS).expect("a cache");
    let place = cache.store.path(&version("a"), b"a");
    let file = std::fs::File::options().write(true).open(place).expect("it is there");
    std::os::unix::fs::FileExt::write_all_at(&file, b"other", 5 * BLOCK).expect("written");
    let copy = open(&cache, "a", MANY);
    assert!(copy.is_whole() && copy.is_suspect() && copy.sound_file().is_none());
    assert_eq!(copy.read(4 * BLOCK..5 * BLOCK), Some(block(4)));
    assert_eq!(copy.read(5 * BLOCK..6 * BLOCK), None);
    assert!(!copy.is_whole() && copy.missing(0..MANY as usize) == [5]);
}

#[test]
fn what_counts_is_what_is_there_after_files_were_replaced_under_readers() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let read_or_store = |name: &str| {
        let copy = open(&cache, name, 1);
        match copy.read(0..BLOCK) {
            Some(bytes) => assert!(bytes == block(0)),
            None => _ = copy.store(0, block(0)),
        }
        copy.mark_whole(Digest::new("1"))
    };
    NAMES.iter().for_each(|name| _ = read_or_store(name));
    let place = |name: &str| cache.store.path(&version(name), name.as_bytes());
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let read_or_store = &read_or_store;
            scope.spawn(move || (0..300).for_each(|round| _ = read_or_store(NAMES[(round + reader) % NAMES.len()])));
        }
        for round in 0..300 {
            let place = place(NAMES[round % NAMES.len()]);
            let new = place.with_extension("new");
            // The directory may just have been thrown away.
            if std::fs::write(&new, vec![7; BLOCK as usize]).is_ok() {
                let _ = std::fs::rename(&new, &place);
            }
        }
    });
    let there = || {
        let bytes = |name: &&str| Some(cache.store.allocated(&version(name), name.as_bytes())? + COPY_OVERHEAD);
        NAMES.iter().filter_map(bytes).sum::<u64>()
    };
    NAMES.iter().for_each(|name| _ = read_or_store(name));
    // Of a file that could not be opened while it was replaced nothing counts until it is tried again.
    assert!(cache.ledger.taken() <= there(), "{} count, {} are there", cache.ledger.taken(), there());
    assert_eq!(cache.bytes(), cache.ledger.taken() + cache.index_bytes());
}

type Deletion = fn(&Path);

/// The parts of a cache directory that are deleted under a cache in use.
const DELETIONS: [(&str, Deletion); 3] = [
    ("all of it", |dir| std::fs::remove_dir_all(dir).expect("deleted")),
    ("what is in it", |dir| {
        for entry in std::fs::read_dir(dir).expect("it is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("deleted");
        }
    }),
    ("the copies", |dir| std::fs::remove_dir_all(dir.join("objects")).expect("deleted")),
];

#[test]
fn a_cache_directory_that_is_deleted_is_made_again_and_what_is_in_it_survives() {
    for (what, delete) in DELETIONS {
        let above = kit::reaper::temporary();
        let dir = above.path().join("cache");
        let (cache, _) = Cache::open(&dir, LIMITS).expect("a cache");
        let store = |copy: &OpenCopy| {
            (0..2).for_each(|number| _ = copy.store(number, block(number)));
            copy.mark_whole(Digest::new("1"))
        };
        ["a", "b"].iter().for_each(|name| assert!(store(&open(&cache, name, 2))));
        let begun = open(&cache, "c", 2);
        begun.store(0, block(0));
        delete(&dir);
        let copy = open(&cache, "a", 2);
        assert_eq!((copy.is_whole(), copy.read(0..BLOCK)), (false, None), "{what}");
        assert!(store(&copy), "{what}: it is stored anew");
        assert_eq!(begun.read(0..BLOCK), None, "{what}: it is gone");
        assert!(store(&begun), "{what}");
        drop((copy, begun));
        assert_eq!((cache.copies(), cache.ledger.taken()), (2, 2 * (2 * BLOCK + COPY_OVERHEAD)), "{what}: b is gone");
        // That takes two seconds.
        assert!(what != "all of it" || Cache::open(&dir, LIMITS).is_err(), "{what}: it is held still");
        cache.finish();
        drop(cache);
        let (cache, _) = Cache::open(&dir, LIMITS).expect("a cache");
        assert!(["a", "c"].iter().all(|name| open(&cache, name, 2).is_whole()), "{what}");
    }
}

#[test]
fn what_is_withheld_counts_for_nothing_before_it_is_proven() {
    for is_proven in [false, true] {
        let dir = kit::reaper::temporary();
        let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
        let copy = open(&cache, "file", 100);
        copy.store(0, block(0));
        copy.withheld().add(7);
        let withheld = copy.withheld();
        assert!(!withheld.is_empty() && withheld.has(&(5..8)) && !withheld.has(&(5..7)) && withheld.lifted() == 0);
        // More than is stored in the index at a time.
        for number in 1..if is_proven { 100 } else { 99 } {
            copy.store(number, block(number));
        }
        let shown = copy.hashes().len();
        assert_eq!((shown, copy.has_hashes(&[(0, hash(&block(1)))])), (98 + usize::from(is_proven), false));
        if is_proven {
            copy.dress(None);
            assert!(copy.mark_whole(Digest::new("1")));
        }
        assert_eq!((withheld.is_empty(), withheld.lifted()), (is_proven, usize::from(is_proven)));
        cache.index.flush();
        let after_kill = killed(dir.path());
        drop((copy, cache));
        for dir in [dir, after_kill] {
            let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
            let copy = open(&cache, "file", 100);
            let missing = if is_proven { 0 } else { 99 };
            assert_eq!((copy.is_proven(), copy.missing(1..100).len()), (is_proven, missing));
        }
    }
}

#[test]
fn nobody_reads_the_hole_that_a_block_leaves() {
    let dir = kit::reaper::temporary();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 2);
    let (ended, reads, right) = (AtomicBool::new(false), AtomicU64::new(0), block(7));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                if let Some(read) = copy.read(0..BLOCK) {
                    assert!(read == right, "it was thrown away, and is no block of zeros");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for round in 0..1_000 {
            copy.store(0, right.clone());
            // Else it would be gone before anybody has read it to its end.
            let before = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) == before && !reader.is_finished() {
                std::hint::spin_loop();
            }
            // At each moment of the next read once.
            (0..round % 200 * 20).for_each(|_| std::hint::spin_loop());
            copy.discard_blocks(0..1);
        }
        ended.store(true, Ordering::Relaxed);
        reader.join().expect("it has read right bytes");
    });
}
