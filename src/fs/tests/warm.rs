//! Files are retrieved, opened and read with as few looks at the disk as possible.

use std::sync::atomic::Ordering;

use super::fixture::{Fixture, content};
use crate::cache::block::BLOCK;

#[tokio::test]
async fn a_proven_copy_is_opened_read_and_released_without_a_question_to_the_disk() {
    let mount = Fixture::new();
    mount.memory.put("small", "content");
    mount.memory.put("large", content(20 * BLOCK));
    let questions = || mount.fs.cache().disk().questions.load(Ordering::Relaxed);
    for name in ["small", "large"] {
        mount.read(name).await.expect("the bytes");
        mount.read(name).await.expect("the bytes, whose copy is proven by now");
        let before = questions();
        let open = mount.open(name).await.expect("open");
        mount.fs.read(open, 0..4096).await.expect("the bytes");
        assert!(mount.fs.release_at_once(open), "{name}");
        assert_eq!(questions() - before, 0, "{name}");
    }
}

#[tokio::test]
async fn a_small_file_is_written_and_proven_by_one_question_each_and_then_opened_and_read_without_any() {
    let mount = Fixture::new();
    let questions = || mount.fs.cache().disk().questions.load(Ordering::Relaxed);
    mount.memory.put("first", content(4096));
    mount.memory.put("second", content(4097));
    // With the first one comes what the database has of their directory.
    mount.read("first").await.expect("the bytes");
    let before = questions();
    mount.read("second").await.expect("the bytes");
    assert_eq!(questions() - before, 2);
}
