//! Tests of listings that another machine was told: they count from its question.

use std::collections::VecDeque;

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::digest::Digest;
use crate::source::{Capabilities, EntryStream, LocalCopy, Retrieval, Retrieved, Sink};
use crate::sources::memory::Memory;

const FRESH_FOR: Duration = Duration::from_secs(60);

/// A source whose next listings are so many seconds old, and those after them its own.
struct Elsewhere {
    memory: Memory,
    ages: Mutex<VecDeque<u64>>,
    asked: AtomicU64,
}

#[async_trait]
impl Source for Elsewhere {
    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        self.memory.connect().await
    }

    async fn disconnect(&self) {
        self.memory.disconnect().await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let age = self.ages.lock().pop_front().unwrap_or_default();
        Ok(self.memory.list_path(dir).await?.aged(Duration::from_secs(age)))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.memory.create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.memory.create_local_digest(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        self.memory.retrieve_file(request, out).await
    }
}

fn catalog(ages: &[u64]) -> (Arc<Catalog>, Arc<Elsewhere>, TempDir) {
    let memory = Memory::new();
    memory.put("a", "x");
    let ages = Mutex::new(ages.iter().copied().collect());
    let source = Arc::new(Elsewhere { memory, ages, asked: AtomicU64::new(0) });
    let place = kit::reaper::temporary();
    let db = Arc::new(Database::open(place.path(), 1 << 20).expect("a new index"));
    let policy = Policy { fresh_for: FRESH_FOR, patience: FRESH_FOR, offline: Offline::Serve, names_account: false };
    let catalog = Catalog::new(source.clone(), "s".into(), policy, db, Arc::default(), Span::none());
    (catalog, source, place)
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_another_machine_was_told_counts_from_its_question() {
    let (catalog, source, _place) = catalog(&[40]);
    tokio::time::advance(FRESH_FOR).await;
    let root = RemotePath::root();
    let valid_for = async || catalog.list(&root).await.expect("it is there").valid_for;
    assert_eq!(valid_for().await, Duration::from_secs(20));
    assert!(!catalog.is_of_account(), "that the source lets another in says nothing of this login");
    tokio::time::advance(Duration::from_secs(19)).await;
    assert_eq!((valid_for().await, source.asked.load(Ordering::Relaxed)), (Duration::from_secs(1), 1));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!((valid_for().await, source.asked.load(Ordering::Relaxed)), (FRESH_FOR, 2));
    assert!(catalog.is_of_account());
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_a_change_is_asked_for_once_more() {
    let (catalog, source, _place) = catalog(&[0, 40]);
    tokio::time::advance(FRESH_FOR).await;
    let root = RemotePath::root();
    catalog.list(&root).await.expect("it is there");
    tokio::time::advance(Duration::from_secs(1)).await;
    catalog.expire(&root);
    tokio::time::advance(Duration::from_secs(1)).await;
    let answer = catalog.list(&root).await.expect("it is there");
    assert_eq!((answer.valid_for, source.asked.load(Ordering::Relaxed)), (FRESH_FOR, 3));
}
