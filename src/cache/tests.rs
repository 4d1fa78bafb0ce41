//! The cache's room: what is taken, given back, and stored of copies that grow.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::block::{BLOCK, BlockMap};
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
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 8);
    // Where the copy's directory would be is a file.
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
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 8);
    for _ in 0..3 {
        for number in 0..7 {
            assert_eq!(copy.store(number, block(number)), Stored::Disk);
            assert_eq!(copy.store(number, block(number)), Stored::Disk, "it is there already");
        }
        assert_eq!(cache.ledger.taken(), 7 * BLOCK + COPY_OVERHEAD);
        copy.forget(0..7);
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
fn what_the_journal_of_the_index_may_grow_by_is_not_free() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cache, db) = Cache::open(dir.path(), Limits { max_size: 1 << 40, min_free: 0 }).expect("a cache");
    let journal = || dir.path().join("index.sqlite-wal").metadata().map_or(0, |meta| meta.len());
    for _ in 0..2 {
        db.flush();
        assert_eq!(db.growth(), u64::from(JOURNAL.1) - journal());
        db.write(|db| {
            db.execute("INSERT INTO listings (source, dir) VALUES ('s', randomblob(1000000))", [])?;
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
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let copy = open(&cache, "file", 1000);
    for number in 0..700 {
        copy.store(number, block(number));
        let lost = (number + 1 - stored_blocks(&cache, "file", 1000)) as u64 * BLOCK;
        assert!(lost < copy::UNSAVED, "{lost} bytes after block {number}");
    }
}

#[test]
fn the_map_of_a_copy_that_grows_slowly_is_stored_after_a_while() {
    let dir = tempfile::tempdir().expect("a temporary directory");
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
        copy.prove(Digest::new("1"));
    }
    cache.finish();
}

#[test]
fn a_copy_whose_first_block_is_being_written_is_no_found_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
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
    let dir = tempfile::tempdir().expect("a temporary directory");
    filled(dir.path(), 20);
    let before = Cache::open(dir.path(), LIMITS).expect("a cache").0.ledger.taken();
    let (cache, _) = Cache::open(dir.path(), LIMITS).expect("a cache");
    let limits = Limits { max_size: before + cache.index.bytes(), min_free: 0 };
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
    let dir = tempfile::tempdir().expect("a temporary directory");
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
