//! The fixture of the tests of the file system: a source in memory whose faults are set by hand, mounted without a kernel.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use walkdir::WalkDir;

use crate::cache::Limits;
use crate::cache::block::BLOCK;
use crate::catalog::Policy;
use crate::db::Database;
use crate::freshness::Offline;
use crate::fs::*;
use crate::source::fault::{Faults, Faulty};
use crate::source::retry::short_break;
use crate::source::settings::Notes;
use crate::source::stack::{Bounds, stack};
use crate::sources::memory::Memory;

pub(in crate::fs) const FRESH_FOR: Duration = Duration::from_secs(60);
pub(in crate::fs) const PATIENCE: Duration = Duration::from_secs(2);
pub(in crate::fs) const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a version that was found damaged for the first time is not retrieved.
pub(in crate::fs) const DAMAGED_FOR: Duration = Duration::from_secs(60);
pub(in crate::fs) const ROOMY: Limits = Limits { max_size: 1 << 30, min_free: 0 };

/// A mounted memory source, with everything between it and the file system as in a real mount.
pub(in crate::fs) struct Fixture {
    pub(in crate::fs) fs: Arc<FileSystem>,
    pub(in crate::fs) memory: Memory,
    pub(in crate::fs) faults: Faults,
    pub(in crate::fs) cache_dir: TempDir,
}

impl Fixture {
    pub(in crate::fs) fn new() -> Self {
        Self::with(Memory::new(), ROOMY, Offline::Serve)
    }

    pub(in crate::fs) fn with(memory: Memory, limits: Limits, offline: Offline) -> Self {
        Self::start(memory, limits, offline, UnknownSize::Retrieve, kit::reaper::temporary())
    }

    /// A mount whose source sends bytes at a limited rate, so that no end of a file comes ahead: for tests that count requests.
    pub(in crate::fs) fn metered() -> Self {
        let mut mount = Self::new();
        let source = &mut Arc::get_mut(&mut mount.fs).expect("no other has it yet").sources[0];
        source.ahead = Some(Ahead::new(&source.name, source.catalog.clone(), source.transfer.clone(), true));
        mount
    }

    pub(in crate::fs) fn start(
        memory: Memory,
        limits: Limits,
        offline: Offline,
        unknown_size: UnknownSize,
        cache_dir: TempDir,
    ) -> Self {
        let (cache, db) = Cache::open(cache_dir.path(), limits).expect("a cache");
        let (mut source, faults) = mounted("memory", memory.clone(), offline, &cache, &db);
        source.unknown_size = unknown_size;
        Self { fs: FileSystem::new(vec![source], Layout::one_source(), cache), memory, faults, cache_dir }
    }

    /// The same cache directory under a new process, as far as the file system can tell.
    pub(in crate::fs) async fn restart(self, limits: Limits) -> Self {
        self.restart_with(limits, || ()).await
    }

    /// The same after something was done to the cache directory between the two processes.
    pub(in crate::fs) async fn restart_after(self, done: impl FnOnce()) -> Self {
        self.restart_with(ROOMY, done).await
    }

    async fn restart_with(self, limits: Limits, done: impl FnOnce()) -> Self {
        let Self { fs, memory, cache_dir, .. } = self;
        let cache = Arc::downgrade(fs.cache());
        drop(fs);
        // Requests that no reader waits for may still be ending. Where the clock is paused, those that wait for their moment get it only
        // while nobody else is busy.
        for turn in 1_u64.. {
            if cache.strong_count() == 0 {
                break;
            }
            tokio::task::yield_now().await;
            if turn.is_multiple_of(1000) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        done();
        Self::start(memory, limits, Offline::Serve, UnknownSize::Retrieve, cache_dir)
    }

    pub(in crate::fs) async fn find(&self, path: &str) -> Result<Option<Attributes>> {
        let mut at = Inode::ROOT;
        let mut found = None;
        for name in path.split('/') {
            match self.fs.lookup(at, name.as_bytes()).await?.found {
                Some(attributes) => {
                    at = attributes.inode;
                    found = Some(attributes);
                }
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    pub(in crate::fs) async fn open(&self, path: &str) -> Result<HandleId> {
        let inode = self.find(path).await?.ok_or_else(|| Error::new("lookup", ErrorKind::NotFound))?.inode;
        match self.fs.open(inode).await {
            // As the kernel does.
            Err(error) if error.kind() == ErrorKind::Changed => {
                let again = self.find(path).await?.ok_or_else(|| Error::new("lookup", ErrorKind::NotFound))?.inode;
                Ok(self.fs.open(again).await?.handle)
            }
            opened => Ok(opened?.handle),
        }
    }

    pub(in crate::fs) async fn read(&self, path: &str) -> Result<Bytes> {
        let handle = self.open(path).await?;
        let bytes = self.fs.read(handle, 0..u64::MAX).await;
        self.fs.release(handle);
        bytes
    }

    pub(in crate::fs) fn names(&self, handle: HandleId) -> Vec<String> {
        let mut names = Vec::new();
        let take = |_, listed: Listed<'_>| {
            names.push(Printable(listed.name).to_string());
            true
        };
        self.fs.read_dir(handle, 0, false, take).expect("the directory is open");
        names
    }

    pub(in crate::fs) async fn list(&self) -> Result<Vec<String>> {
        let handle = self.fs.open_dir(Inode::ROOT).await?;
        let names = self.names(handle);
        self.fs.release_dir(handle);
        Ok(names)
    }

    pub(in crate::fs) fn quarantined(&self) -> u64 {
        self.fs.cache().counters().quarantined.load(Ordering::Relaxed)
    }

    /// The files of all copies.
    pub(in crate::fs) fn objects(&self) -> Vec<PathBuf> {
        let files = WalkDir::new(self.cache_dir.path().join("objects")).into_iter();
        files.map(|entry| entry.expect("listable")).filter(|e| e.file_type().is_file()).map(|e| e.into_path()).collect()
    }
}

/// A source as a mount has it, and its faults.
pub(in crate::fs) fn mounted(
    name: &str,
    memory: Memory,
    offline: Offline,
    cache: &Arc<Cache>,
    db: &Arc<Database>,
) -> (MountedSource, Faults) {
    let (faulty, faults) = Faulty::new(memory);
    let bounds = Bounds { timeout: TIMEOUT, max_requests: None, max_bandwidth: None };
    let (connection, counters) = stack(faulty, name, bounds);
    let id: Arc<str> = name.into();
    let policy = Policy { fresh_for: FRESH_FOR, patience: PATIENCE, offline, names_account: true };
    let catalog = Catalog::new(connection.clone(), id.clone(), policy, db.clone(), Arc::default(), connection.span());
    let transfer = Transfer::new(
        connection.clone(),
        id.clone(),
        counters.clone(),
        cache.clone(),
        Arc::default(),
        short_break(TIMEOUT),
        None,
    );
    let source = MountedSource {
        name: name.as_bytes().into(),
        source_type: "memory".into(),
        ahead: Some(Ahead::new(&name.as_bytes().into(), catalog.clone(), transfer.clone(), false)),
        catalog,
        transfer,
        source_id: id,
        connection,
        counters,
        timeout: Duration::from_secs(30),
        unknown_size: UnknownSize::Retrieve,
        live: GlobSet::empty(),
        modes: Modes::default(),
        reports_changes: false,
        notes: Notes::default(),
    };
    (source, faults)
}

/// Bytes of which every block differs.
pub(in crate::fs) fn content(length: u64) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at / BLOCK) ^ (at >> 8)) as u8).collect()
}

pub(in crate::fs) async fn expire() {
    tokio::time::sleep(FRESH_FOR + Duration::from_secs(1)).await;
}
