//! What is in the cache is opened and read with as few looks at the disk as possible.

use std::sync::atomic::Ordering;

use super::fixture::{Fixture, content};
use crate::cache::block::BLOCK;

#[tokio::test]
async fn a_proven_copy_is_opened_by_one_question_to_the_disk() {
    let mount = Fixture::new();
    mount.memory.put("small", "content");
    mount.memory.put("large", content(20 * BLOCK));
    let questions = || mount.fs.cache().disk().questions.load(Ordering::Relaxed);
    for name in ["small", "large"] {
        mount.read(name).await.expect("the bytes");
        mount.read(name).await.expect("the bytes, whose copy is proven by now");
        let before = questions();
        let open = mount.open(name).await.expect("open");
        assert_eq!(questions() - before, 1, "{name}");
        mount.fs.release(open);
    }
}
