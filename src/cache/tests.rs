//! The cache's room: what is taken, given back, and stored of copies that grow.

use bytes::Bytes;

use super::block::BLOCK;
use super::*;

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
    let shard = copy.path().parent().and_then(Path::parent).expect("it lies below the cache").to_owned();
    std::fs::write(&shard, "in the way").expect("written");
    for number in 0..8 {
        assert_eq!(copy.store(&cache, number, block(number)), Stored::Memory);
    }
    assert_eq!(cache.ledger.taken(), 0);
    std::fs::remove_file(&shard).expect("removed");
    for number in 0..4 {
        assert_eq!(copy.store(&cache, number, block(number)), Stored::Disk);
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
            assert_eq!(copy.store(&cache, number, block(number)), Stored::Disk);
            assert_eq!(copy.store(&cache, number, block(number)), Stored::Disk, "it is there already");
        }
        assert_eq!(cache.ledger.taken(), 7 * BLOCK + COPY_OVERHEAD);
        copy.forget(&cache, 0..7);
        assert_eq!(cache.ledger.taken(), COPY_OVERHEAD);
    }
}
