//! `Inodes`: the kernel's numbers of versions, directories and links. It knows no sources and no requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::UnionIndex;
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind};

/// A number by which the kernel knows something. 1 is the mount's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode(pub u64);

impl Inode {
    /// The mount's root.
    pub const ROOT: Self = Self(1);
}

/// Which of the mounted sources, by its place in the configuration.
pub type FolderIndex = usize;

/// What an inode is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Node {
    /// The directory that holds the folders.
    #[default]
    Root,
    /// A directory that the configuration makes on the way to a union; its identity is its path.
    Group {
        /// From the mount's root.
        path: Arc<[LocalName]>,
    },
    /// A directory of a union; its identity is its path.
    Union {
        /// Which.
        index: UnionIndex,
        /// From the mount's root; begins with the union's own.
        path: Arc<[LocalName]>,
        /// As the first part that has it lists it.
        modified: Option<SystemTime>,
    },
    /// A directory of a source; its identity is its path.
    Directory {
        /// The source.
        folder: FolderIndex,
        /// Where it is.
        path: RemotePath,
        /// As listed; `None` for a source's root.
        entry: Option<Entry>,
    },
    /// One version of a file; its identity is path and digest.
    File {
        /// The source.
        folder: FolderIndex,
        /// The directory that lists it.
        dir: RemotePath,
        /// Its name there.
        name: LocalName,
        /// As listed or checked; has a digest.
        entry: Entry,
    },
    /// A symbolic link; its identity is path and target.
    Symlink {
        /// The source.
        folder: FolderIndex,
        /// As listed.
        entry: Entry,
        /// Its text.
        target: Vec<u8>,
    },
}

impl Node {
    /// What a source's entry is as a node.
    pub fn of_entry(folder: FolderIndex, dir: &RemotePath, name: &LocalName, entry: &Entry) -> Self {
        let entry = entry.clone();
        match &entry.kind {
            EntryKind::Directory => Self::Directory { folder, path: entry.path.clone(), entry: Some(entry) },
            EntryKind::File { .. } => Self::File { folder, dir: dir.clone(), name: name.clone(), entry },
            EntryKind::Symlink { target } => Self::Symlink { folder, target: target.clone(), entry },
        }
    }

    /// Whether everything that `stat` shows is known, and the version with it. Some listings have only names.
    pub fn is_described(&self) -> bool {
        match self {
            Self::File { entry, .. } => entry.digest.is_some() && entry.size.is_some(),
            Self::Root | Self::Group { .. } | Self::Union { .. } | Self::Directory { .. } | Self::Symlink { .. } => {
                true
            }
        }
    }

    /// What two nodes must share to be the same inode.
    fn identity(&self, source_ids: &[Arc<str>]) -> Identity {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        match self {
            Self::Root => add(b"root"),
            Self::Group { path } | Self::Union { path, .. } => {
                add(b"folder");
                path.iter().for_each(|name| add(name));
            }
            Self::Directory { folder, path, .. } => {
                add(b"directory");
                add(source_ids[*folder].as_bytes());
                add(path.as_bytes());
            }
            Self::File { folder, entry, .. } => {
                add(b"file");
                add(source_ids[*folder].as_bytes());
                add(entry.path.as_bytes());
                add(entry.digest.as_ref().map_or("", |digest| digest.as_str()).as_bytes());
            }
            Self::Symlink { folder, entry, target } => {
                add(b"link");
                add(source_ids[*folder].as_bytes());
                add(entry.path.as_bytes());
                add(target);
            }
        }
        let hash: [u8; 32] = hash.finalize().into();
        *hash.first_chunk().expect("a hash has more than 16 bytes")
    }
}

/// The beginning of a hash of what makes an inode what it is: as long as nobody finds two of 128 bits that are the same.
type Identity = [u8; 16];

/// The inodes that the kernel holds references to.
///
/// Numbers are the first 63 bits of a hash of the identity, so that they are the same after a restart; where two identities share
/// a number, the later one takes the next that is free.
#[derive(Debug)]
pub struct Inodes {
    /// Identities of the mounted sources, by folder.
    source_ids: Vec<Arc<str>>,
    /// Ordered, since such a table grows by little pieces: a hash table is there twice while it doubles.
    slots: Mutex<BTreeMap<u64, Slot>>,
}

#[derive(Debug)]
struct Slot {
    identity: Identity,
    node: Arc<Node>,
    /// How many lookups the kernel has not forgotten yet.
    references: u64,
}

impl Inodes {
    /// A table with nothing but `root` under [`Inode::ROOT`], which is never forgotten.
    pub fn new(root: Node, source_ids: Vec<Arc<str>>) -> Self {
        let slot = Slot { identity: root.identity(&source_ids), node: Arc::new(root), references: 1 };
        Self { source_ids, slots: Mutex::new(BTreeMap::from([(Inode::ROOT.0, slot)])) }
    }

    /// What this inode is; `None` for one that was forgotten.
    pub fn get(&self, inode: Inode) -> Option<Arc<Node>> {
        self.slots.lock().get(&inode.0).map(|slot| slot.node.clone())
    }

    /// The number that a node has or would get; the kernel gets no reference.
    pub fn number(&self, node: &Node) -> Inode {
        let identity = node.identity(&self.source_ids);
        Inode(place(&self.slots.lock(), &identity))
    }

    /// The number of a node, to which the kernel gets one reference.
    pub fn refer(&self, node: Node) -> Inode {
        let identity = node.identity(&self.source_ids);
        let mut slots = self.slots.lock();
        let number = place(&slots, &identity);
        let slot = slots.entry(number).or_insert_with(|| Slot { identity, node: Arc::default(), references: 0 });
        slot.references += 1;
        // The newer one knows the newer times of a directory.
        slot.node = Arc::new(node);
        Inode(number)
    }

    /// What this inode is, described better than before; its identity is the same.
    pub fn describe(&self, inode: Inode, node: Node) {
        if let Some(slot) = self.slots.lock().get_mut(&inode.0) {
            slot.node = Arc::new(node);
        }
    }

    /// The kernel gives back `count` references.
    pub fn forget(&self, inode: Inode, count: u64) {
        let mut slots = self.slots.lock();
        if inode == Inode::ROOT {
            return;
        }
        if let Some(slot) = slots.get_mut(&inode.0) {
            slot.references = slot.references.saturating_sub(count);
            if slot.references == 0 {
                slots.remove(&inode.0);
            }
        }
    }

    /// Leaves the table to the end of the process, which gives its memory back at once: freeing a million inodes one by one takes seconds,
    /// for which whoever unmounts would wait.
    pub fn abandon(&self) {
        std::mem::forget(std::mem::take(&mut *self.slots.lock()));
    }
}

fn place(slots: &BTreeMap<u64, Slot>, identity: &Identity) -> u64 {
    let (first, _) = identity.split_first_chunk().expect("a hash has more than eight bytes");
    let mut number = u64::from_le_bytes(*first) >> 1;
    loop {
        let taken = slots.get(&number).is_some_and(|slot| slot.identity != *identity);
        if number > Inode::ROOT.0 && !taken {
            return number;
        }
        number = (number + 1) & (u64::MAX >> 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn file(path: &[u8], digest: &str) -> Node {
        let path = RemotePath::parse(path).expect("a path");
        let entry = Entry {
            name: path.name().to_vec(),
            path,
            kind: EntryKind::File { executable: false },
            size: Some(1),
            modified: None,
            digest: Some(Digest::new(digest)),
        };
        Node::of_entry(0, &RemotePath::root(), &entry.name.as_slice().into(), &entry)
    }

    fn inodes(source: &str) -> Inodes {
        Inodes::new(Node::Root, vec![source.into()])
    }

    #[test]
    fn another_version_is_another_inode() {
        let inodes = inodes("s");
        assert_ne!(inodes.refer(file(b"a", "1")), inodes.refer(file(b"a", "2")));
        assert_eq!(inodes.refer(file(b"a", "1")), inodes.number(&file(b"a", "1")));
    }

    #[test]
    fn numbers_are_the_same_after_a_restart_and_differ_between_sources() {
        assert_eq!(inodes("s").refer(file(b"a", "1")), inodes("s").refer(file(b"a", "1")));
        assert_ne!(inodes("s").refer(file(b"a", "1")), inodes("t").refer(file(b"a", "1")));
    }

    #[test]
    fn an_inode_lives_until_every_reference_is_forgotten() {
        let inodes = inodes("s");
        let inode = inodes.refer(file(b"a", "1"));
        inodes.refer(file(b"a", "1"));
        inodes.forget(inode, 1);
        assert!(inodes.get(inode).is_some());
        inodes.forget(inode, 1);
        assert!(inodes.get(inode).is_none());
        inodes.forget(Inode::ROOT, 100);
        assert!(inodes.get(Inode::ROOT).is_some());
    }

    #[test]
    fn an_abandoned_table_is_empty_and_frees_nothing() {
        let inodes = inodes("s");
        let inode = inodes.refer(file(b"a", "1"));
        let node = Arc::downgrade(&inodes.get(inode).expect("it is referred to"));
        inodes.abandon();
        assert!(inodes.get(inode).is_none());
        drop(inodes);
        assert_eq!(node.strong_count(), 1);
    }

    #[test]
    fn two_identities_with_one_number_get_two() {
        let mut slots = BTreeMap::new();
        let mut identity = [7; 16];
        let number = place(&slots, &identity);
        slots.insert(number, Slot { identity, node: Arc::default(), references: 1 });
        identity[15] = 0;
        assert_eq!(place(&slots, &identity), number + 1);
    }
}
