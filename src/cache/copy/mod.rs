//! `CachedFile`: the local bytes of one version: its file, its block map, what was proven of it. It retrieves nothing.

mod contents;
mod found;
mod inspection;
mod reading;
mod remembered;
mod running;
mod unconfirmed;
mod withheld;
mod writing;

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::warn;

use self::contents::Contents;
use self::running::Running;
use self::unconfirmed::Unconfirmed;
use self::withheld::Withheld;
use super::block::{Hash, MAX_SIZE, block_count, bytes_of, hash};
use super::index::Record;
use super::ledger::Lease;
use super::{Cache, Facts, Index, Key, OpenCopy};
use crate::digest::Digest;
use crate::disk::{Asked, Disk};
use crate::name::LocalName;

/// The map of a growing copy is stored in the index each time that this many bytes were written (and after a while, see `upkeep`): a kill
/// loses no more.
pub(super) const SAVE_AFTER_BYTES: u64 = 8 << 20;

/// A file that could not be read is opened again after this time. Until then its bytes are retrieved from the source.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// How exactly the index knows when a copy was last used.
const USE_GRANULARITY: Duration = Duration::from_secs(600);

/// The local bytes of one version, *partial* or *whole*.
///
/// A whole copy has every block and was proven: its local digest equals the remote one. Nothing is served before it was
/// hashed in the life of this process, and again after its file has changed behind our back.
#[derive(Debug)]
pub struct CachedFile {
    key: Key,
    name: LocalName,
    size: u64,
    path: PathBuf,
    standing: Standing,
    withheld: Withheld,
    unconfirmed: Unconfirmed,
    /// How many [`super::OpenCopy`] there are.
    pub(super) opens: AtomicUsize,
    /// The room that it takes.
    pub(super) lease: Lease,
    /// When the index last heard that it is used.
    use_noted: Mutex<Option<Instant>>,
    running: Running,
    disk: Arc<Disk>,
    /// Locked also while the disk is asked for the file's times, or to give room back. See [`CachedFile::look`].
    state: Mutex<State>,
}

/// The relation of a copy to the others of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The table has it, and the index hears of it.
    Listed,
    /// See [`CachedFile::apart`].
    Apart,
    /// See [`CachedFile::gathering`].
    Gathering,
}

#[derive(Debug)]
struct State {
    file: Option<Arc<File>>,
    /// The time of the remote's last change, which is the file's: a plugin's local digest may be made of it.
    modified: Option<SystemTime>,
    contents: Contents,
    /// How many bytes were written since the map was stored.
    unsaved: u64,
    /// How many writes of ours are under way, during which the file changes by our own doing.
    writing: usize,
    /// When the file could last not be read although it may be sound: too many open files, a disk that fails.
    shut: Option<Instant>,
}

/// The place where stored bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Into the file.
    Disk,
    /// Into the file, which now has every block and waits to be proven.
    DiskComplete,
    /// Into memory only: there is no room on disk, or the disk is broken.
    Memory,
}

/// The file of a copy of which nothing has to be retrieved or checked any more.
#[derive(Debug, Clone)]
pub struct Sound {
    file: Arc<File>,
    /// Whether nothing of it has to be confirmed either.
    is_confirmed: bool,
}

impl Sound {
    /// The file, if the kernel may read it without us.
    pub fn proven_file(self) -> Option<Arc<File>> {
        self.is_confirmed.then_some(self.file)
    }
}

impl CachedFile {
    /// A copy of a version, with what `record` tells of it, and `has_file` of its file. It has no room yet.
    pub(super) fn new(
        cache: &Cache,
        key: Key,
        name: LocalName,
        size: u64,
        modified: Option<SystemTime>,
        record: Option<Record>,
        has_file: bool,
    ) -> Self {
        let contents = Contents::restored(size, record, has_file);
        let modified = contents.left().and_then(|left| left.modified()).or(modified);
        let state = State { file: None, modified, contents, unsaved: 0, writing: 0, shut: None };
        let (opens, lease) = (AtomicUsize::new(0), cache.ledger.lease(0));
        let (use_noted, running, state) = (Mutex::default(), Running::default(), Mutex::new(state));
        let (path, disk) = (cache.store.path(&key, &name), cache.disk.clone());
        let (standing, withheld, unconfirmed) = (Standing::Listed, Withheld::default(), Unconfirmed::default());
        Self { key, name, size, path, standing, withheld, unconfirmed, opens, lease, use_noted, running, disk, state }
    }

    /// A copy of a version of which the disk does not tell what is stored, because it hangs. It has bytes in memory only, writes nothing and
    /// throws nothing away.
    pub(super) fn apart(self) -> Self {
        Self { standing: Standing::Apart, ..self }
    }

    /// A new copy of a version whose size is not known before its bytes end: until then it has the most that there can be room for. Neither
    /// table nor index hears of it before [`CachedFile::end`].
    pub(super) fn gathering(cache: &Cache, key: Key, name: LocalName) -> Self {
        let most = cache.limits.max_size.min(MAX_SIZE);
        Self { standing: Standing::Gathering, ..Self::new(cache, key, name, most, None, None, false) }
    }

    /// The bytes of a copy that was gathered have ended after `size`. With every block there it waits for its proof.
    pub(super) fn end(&mut self, size: u64, modified: Option<SystemTime>) {
        (self.size, self.standing) = (size, Standing::Listed);
        let state = self.state.get_mut();
        (state.modified, state.unsaved) = (modified, 0);
        state.contents.end(size);
    }

    /// See [`CachedFile::apart`].
    pub(super) fn is_apart(&self) -> bool {
        self.standing == Standing::Apart
    }

    /// Whether table and index hear of it.
    pub(super) fn is_listed(&self) -> bool {
        self.standing == Standing::Listed
    }

    /// Its blocks that are not to be read before it is proven.
    pub fn withheld(&self) -> &Withheld {
        &self.withheld
    }

    /// Whether something of it may be on the disk.
    pub(super) fn takes_room(&self) -> bool {
        self.lease.bytes() > 0 || self.state.lock().file.is_some()
    }

    /// Looks at what is known, which somebody may be changing who waits for the disk. `None` while that hangs.
    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Option<T> {
        self.disk.lock(&self.state).ok().map(|state| look(&state))
    }

    /// The copy's key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The base name of the file, which is the entry's local name.
    pub fn name(&self) -> &LocalName {
        &self.name
    }

    /// Bytes of the version.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of one block in the file.
    fn bytes_of(&self, block: usize) -> Range<u64> {
        bytes_of(&(block..block + 1), self.size)
    }

    /// The known facts of the version. `None` while the disk hangs.
    pub fn facts(&self) -> Option<Facts> {
        self.look(|state| Facts { size: self.size, modified: state.modified, whole: state.contents.is_whole() })
    }

    fn save_in(&self, index: &Index, state: &mut State) {
        if !self.is_listed() || !self.withheld.is_empty() || self.unconfirmed.is_owed() {
            return;
        }
        let record = state.contents.take_record();
        state.unsaved = 0;
        *self.use_noted.lock() = Some(Instant::now());
        index.save(&self.key, &self.name, self.lease.bytes(), record);
    }

    /// Stores everything of the copy in an index that was begun anew.
    pub(super) fn save_again(&self, index: &Index) {
        let mut state = self.state.lock();
        if state.contents.is_begun() {
            state.contents.change_all();
            self.save_in(index, &mut state);
        }
    }

    /// Stores the map of a growing copy, unless it is stored.
    pub(super) fn save_growth(&self, index: &Index) {
        let mut state = self.state.lock();
        if state.unsaved > 0 {
            self.save_in(index, &mut state);
        }
    }

    /// Whether the index should hear that the copy was used: not at every use, since it serves only to order evictions after a restart.
    pub(super) fn was_used(&self) -> bool {
        let mut noted = self.use_noted.lock();
        let due = noted.is_none_or(|noted| noted.elapsed() > USE_GRANULARITY);
        if due {
            *noted = Some(Instant::now());
        }
        due
    }

    /// Whether somebody has it open.
    pub(super) fn is_open(&self) -> bool {
        self.opens.load(Ordering::Relaxed) > 0
    }

    /// Whether closing it now needs no wait: others may have it open, and something of it stays, or was never made.
    pub fn closes_at_once(&self) -> bool {
        let Some(state) = self.state.try_lock() else { return false };
        self.lease.bytes() > 0 || state.file.is_none()
    }

    /// Closes a copy unless somebody has opened it again: stores its changes in the index. The file is to be closed where the disk may be
    /// waited for; `None` if there is none, or while the disk hangs.
    pub(super) fn close(&self, index: &Index) -> Option<Arc<File>> {
        let mut state = self.disk.lock(&self.state).ok()?;
        // A thread that opens the copy from here on waits for this lock, finds no file, and opens it anew.
        if self.is_open() {
            return None;
        }
        if self.lease.bytes() > 0 && state.contents.is_changed() {
            self.save_in(index, &mut state);
        }
        state.file.take()
    }
}

impl OpenCopy {
    /// The path of the file now, for programs that open it by its path: the cache directory may have been moved.
    pub fn place(&self) -> PathBuf {
        let file = self.look(|state| state.file.clone()).flatten();
        let place = file.and_then(|file| std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok());
        // A file that was deleted has another name there.
        place.filter(|place| place.file_name() == self.path.file_name()).unwrap_or_else(|| self.path.clone())
    }

    /// Whether the copy is whole: complete, proven, and its file there as it was left or under suspicion only.
    pub fn is_whole(&self) -> bool {
        self.inspect();
        self.size == 0 || self.state.lock().contents.is_whole()
    }

    /// Whether the file was changed by somebody else, and its blocks are not all proven again yet.
    pub fn is_suspect(&self) -> bool {
        self.look(|state| state.contents.is_suspect()).unwrap_or(false)
    }

    /// Whether the copy was proven and nothing has been found wrong with it since; looks at no file.
    pub fn is_proven(&self) -> bool {
        self.look(|state| state.contents.is_whole()).unwrap_or(false)
    }

    /// The local digest that proved the copy.
    pub fn local_digest(&self) -> Option<Digest> {
        self.look(|state| state.contents.digest().cloned()).flatten()
    }

    /// Whether some bytes are there.
    pub fn is_begun(&self) -> bool {
        self.look(|state| state.contents.is_begun()).unwrap_or(false)
    }

    /// The file, if the copy is whole, nobody else has touched it and every block of it is checked.
    pub fn sound_file(&self) -> Option<Sound> {
        self.inspect();
        self.sound(&self.state.lock())
    }

    fn sound(&self, state: &State) -> Option<Sound> {
        let file = state.file.clone().filter(|_| state.contents.is_whole_and_sound())?;
        Some(Sound { file, is_confirmed: !self.unconfirmed.is_owed() })
    }

    /// Which of these blocks cannot be read yet: those that are not there, and one that is held back.
    pub fn missing(&self, blocks: Range<usize>) -> Vec<usize> {
        let mut missing = self.missing_on_disk(blocks);
        if !self.cache.spill.is_empty() {
            missing.retain(|&block| !self.cache.spill.contains(&self.key, block));
        }
        missing
    }

    /// Which of these blocks would have to be retrieved if memory forgot those that have no place on the disk.
    pub fn missing_on_disk(&self, blocks: Range<usize>) -> Vec<usize> {
        let seen = |state: &State| {
            let is_shut = state.is_shut() || self.disk.rests();
            let is_missing = |block: &usize| is_shut || !state.contents.may_serve(*block);
            blocks.clone().filter(is_missing).collect()
        };
        self.look(seen).unwrap_or_else(|| blocks.clone().collect())
    }

    /// The hashes of all blocks that are here and not withheld.
    pub fn hashes(&self) -> Vec<(usize, Hash)> {
        let known = |state: &State| {
            let in_file = |block| state.contents.hash(block);
            let in_memory = |block| self.cache.spill.get(&self.key, block).map(|bytes| hash(&bytes));
            (0..block_count(self.size))
                .filter(|&block| !self.withheld.has(&(block..block + 1)))
                .filter_map(|block| in_file(block).or_else(|| in_memory(block)).map(|hash| (block, hash)))
                .collect()
        };
        self.look(known).unwrap_or_default()
    }

    /// Whether the blocks in the file have these hashes.
    pub fn has_hashes(&self, hashes: &[(usize, Hash)]) -> bool {
        let agree = |state: &State| hashes.iter().all(|(block, hash)| state.contents.hash(*block) == Some(*hash));
        self.look(agree).unwrap_or(false)
    }

    /// Whether a complete copy is ready for its proof without the disk being asked: all its blocks were checked, and its file was left with
    /// the right time. It is compared with how it was left before the proof counts. See [`OpenCopy::dress`].
    pub fn is_dressed(&self, retrieved: Option<SystemTime>) -> bool {
        let is_dressed = |state: &State| {
            state.file.is_some() && state.writing == 0 && state.contents.is_sound() && state.has_time(retrieved)
        };
        self.look(is_dressed).unwrap_or(false)
    }

    /// Prepares a complete copy for its proof: from here on its file is as `create_local_digest` expects it. `retrieved` is the
    /// time that came with the bytes.
    pub fn dress(&self, retrieved: Option<SystemTime>) {
        let mut state = self.state.lock();
        if state.has_time(retrieved) {
            return;
        }
        state.modified = retrieved.or(state.modified);
        if let (Some(file), Some(modified)) = (state.file.clone(), state.modified) {
            if let Err(e) = file.set_modified(modified) {
                warn!("cache: {}: cannot set the modification time: {e}", self.path.display());
            }
            self.left(&mut state, &file);
        }
    }

    /// Returns when the index has what was proven so far, so that it survives a kill. Waits for the disk.
    pub fn settle(&self, asked: &Asked) {
        self.cache.index.settle(asked);
    }

    /// Marks a complete copy as whole: `local_digest` proved it. `false` if the file was changed meanwhile, so that nobody knows what was
    /// proven: then the copy is as it was before, with every block to be checked again.
    pub fn mark_whole(&self, local_digest: Digest) -> bool {
        let state = &mut *self.inspected();
        if self.has_left(state) || !state.contents.mark_whole(local_digest) {
            return false;
        }
        self.accept_file(state);
        self.save_proven(state);
        true
    }

    /// Stores in the index that the copy is whole: nothing of it is withheld any more.
    fn save_proven(&self, state: &mut State) {
        self.withheld.lift();
        self.save(state);
    }

    /// Stores in the index what changed.
    fn save(&self, state: &mut State) {
        self.save_in(&self.cache.index, state);
    }
}

impl State {
    /// The place of a block in the file; `None` if it is not.
    fn stored(&self, block: usize) -> Option<Stored> {
        let stored = if self.contents.is_held_back(block) { Stored::DiskComplete } else { Stored::Disk };
        (self.contents.has(block) && !self.is_shut()).then_some(stored)
    }

    /// Whether the remote's last change was at the time `retrieved`, if one is told, and the file was left with it.
    fn has_time(&self, retrieved: Option<SystemTime>) -> bool {
        let modified = retrieved.or(self.modified);
        modified == self.modified && self.is_left_with(modified.unwrap_or(UNIX_EPOCH))
    }

    /// Whether the file was left with this modification time.
    fn is_left_with(&self, modified: SystemTime) -> bool {
        self.contents.left().and_then(|left| left.modified()) == Some(modified)
    }

    /// Whether this is the copy's file still.
    fn is_of(&self, file: &Arc<File>) -> bool {
        self.file.as_ref().is_some_and(|now| Arc::ptr_eq(now, file))
    }

    fn is_shut(&self) -> bool {
        self.shut.is_some_and(|since| since.elapsed() < REOPEN_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Limits;
    use crate::cache::block::BLOCK;
    use crate::path::RemotePath;

    #[test]
    fn who_closes_a_copy_that_waits_for_the_disk_holds_nobody_else_up() {
        let dir = kit::reaper::temporary();
        let (cache, _) = Cache::open(dir.path(), Limits { max_size: 1 << 30, min_free: 0 }).expect("a cache");
        let key = Key::new("source", &RemotePath::parse(b"file").expect("a path"), &Digest::new("1"));
        let closed = cache.open_copy(key, &b"file".to_vec().into(), BLOCK, None);
        let copy = closed.copy.clone();
        let asks_the_disk = copy.state.lock();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(closed));
            while copy.is_open() {
                std::thread::yield_now();
            }
            assert!(cache.table.try_lock_for(Duration::from_secs(1)).is_some(), "others can open copies");
            drop(asks_the_disk);
        });
    }
}
