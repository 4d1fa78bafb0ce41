//! `Inodes`: the kernel's numbers of versions, directories and links. It knows no sources and no requests.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Entered;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::UnionIndex;
use crate::name::LocalName;
use crate::path::RemotePath;
use crate::source::packed::{Reader, write_entry, write_number, write_text};
use crate::source::{Entry, EntryKind};

/// A number by which the kernel knows something. 1 is the mount's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode(pub u64);

impl Inode {
    /// The mount's root.
    pub const ROOT: Self = Self(1);
}

/// Which of the mounted sources, by its place in the configuration.
pub type SourceIndex = usize;

/// The thing that an inode stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The root of a mount that shows several sources or unions.
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
        source: SourceIndex,
        /// Its path at the source.
        path: RemotePath,
        /// As listed; `None` for a source's root.
        entry: Option<Entry>,
    },
    /// One version of a file; its identity is path and digest.
    File {
        /// The source.
        source: SourceIndex,
        /// The directory that lists it.
        dir: RemotePath,
        /// Its name there.
        name: LocalName,
        /// As listed or checked; has a digest.
        entry: Entry,
    },
    /// A file that grows while it is read; its identity is its path.
    Live {
        /// The source.
        source: SourceIndex,
        /// The directory that lists it.
        dir: RemotePath,
        /// Its name there.
        name: LocalName,
        /// As the source told it last.
        entry: Entry,
    },
    /// A symbolic link; its identity is path and target.
    Symlink {
        /// The source.
        source: SourceIndex,
        /// As listed.
        entry: Entry,
        /// Its text.
        target: Vec<u8>,
    },
}

impl Node {
    /// The node of a source's entry.
    pub fn of_entry(source: SourceIndex, dir: &RemotePath, name: LocalName, entry: Entry) -> Self {
        match &entry.kind {
            EntryKind::Directory => Self::Directory { source, path: entry.path.clone(), entry: Some(entry) },
            EntryKind::File => Self::File { source, dir: dir.clone(), name, entry },
            EntryKind::Symlink { target } => Self::Symlink { source, target: target.clone(), entry },
        }
    }

    /// The source that it is of and its path there; `None` for a folder that the configuration makes.
    pub fn place(&self) -> Option<(SourceIndex, &RemotePath)> {
        match self {
            Self::Root | Self::Group { .. } | Self::Union { .. } => None,
            Self::Directory { source, path, .. } => Some((*source, path)),
            Self::File { source, entry, .. }
            | Self::Live { source, entry, .. }
            | Self::Symlink { source, entry, .. } => Some((*source, &entry.path)),
        }
    }

    /// Whether everything that `stat` shows is known, and the version with it. Some listings have only names.
    pub fn is_described(&self) -> bool {
        match self {
            Self::File { entry, .. } => entry.digest.is_some() && entry.size.is_some(),
            // Its source says what it is now.
            Self::Live { .. } => false,
            Self::Root | Self::Group { .. } | Self::Union { .. } | Self::Directory { .. } | Self::Symlink { .. } => {
                true
            }
        }
    }

    /// The hash of the facts that two nodes must share to be the same inode.
    fn identity(&self, spaces: &[Space]) -> Identity {
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
            Self::Directory { source, path, .. } => {
                add(b"directory");
                add(&spaces[*source]);
                add(path.as_bytes());
            }
            Self::File { source, entry, .. } => {
                add(b"file");
                add(&spaces[*source]);
                add(entry.path.as_bytes());
                add(entry.digest.as_ref().map_or("", |digest| digest.as_str()).as_bytes());
                // Attributes of an inode never change, and permissions are no part of a version.
                if let Some(permissions) = entry.permissions {
                    add(&permissions.to_le_bytes());
                }
            }
            Self::Live { source, entry, .. } => {
                add(b"live");
                add(&spaces[*source]);
                add(entry.path.as_bytes());
            }
            Self::Symlink { source, entry, target } => {
                add(b"link");
                add(&spaces[*source]);
                add(entry.path.as_bytes());
                add(target);
            }
        }
        let hash: [u8; 32] = hash.finalize().into();
        let (words, _) = hash.as_chunks();
        Identity { number: u64::from_le_bytes(words[0]) >> 1, rest: u64::from_le_bytes(words[1]) }
    }
}

/// What tells the inodes of one mounted source from all others: its identity, and its name, since two sources may have one remote, and
/// programs take two names of one inode for hard links.
pub(super) type Space = Arc<[u8]>;

/// The space of the source with this name and identity.
pub(super) fn space(name: &LocalName, source_id: &str) -> Space {
    [name, b"\n".as_slice(), source_id.as_bytes()].concat().into()
}

/// The number of a file of the source with this space, unless that is another's already.
pub(super) fn file_number(space: &Space, entry: Entry) -> u64 {
    let node = Node::File { source: 0, dir: RemotePath::root(), name: entry.name.as_slice().into(), entry };
    node.identity(std::slice::from_ref(space)).number
}

/// The first 128 bits of a hash over an inode's identity, of which no collision is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    /// The number that it gets if that is free.
    number: u64,
    rest: u64,
}

/// The inodes that the kernel holds references to.
///
/// Numbers are the first 63 bits of a hash of the identity, so that they are the same after a restart; where two identities share
/// a number, the later one takes the next that is free.
#[derive(Debug)]
pub struct Inodes {
    numbers: Numbers,
    /// Ordered, since such a table grows by little pieces: a hash table is there twice while it doubles.
    slots: Mutex<BTreeMap<u64, Slot>>,
}

/// The spaces of the mounted sources, by their index, which decide the numbers of their nodes.
#[derive(Debug, Clone)]
pub struct Numbers(Arc<[Space]>);

impl Numbers {
    /// The number that a node gets if no other has it.
    pub fn of(&self, node: &Node) -> Inode {
        Inode(node.identity(&self.0).number)
    }
}

#[derive(Debug)]
struct Slot {
    /// Of the identity: the number tells the other half, but for the few that share one.
    rest: u64,
    node: Kept,
    /// The number of lookups that the kernel has not forgotten yet.
    references: u64,
}

/// A node as the table keeps it: an entry of a source is packed into few bytes, since there may be a million of them.
#[derive(Debug)]
enum Kept {
    Whole(Arc<Node>),
    /// The source, the local name and the entry; with the directory of a file, which it shares with others.
    Packed {
        dir: Option<RemotePath>,
        bytes: Box<[u8]>,
    },
}

impl Kept {
    fn of(node: &Node) -> Self {
        let (source, dir, name, entry) = match node {
            Node::File { source, dir, name, entry } => (*source, Some(dir), &**name, entry),
            Node::Directory { source, entry: Some(entry), .. } | Node::Symlink { source, entry, .. } => {
                (*source, None, b"".as_slice(), entry)
            }
            Node::Root
            | Node::Group { .. }
            | Node::Union { .. }
            | Node::Directory { entry: None, .. }
            | Node::Live { .. } => {
                return Self::Whole(Arc::new(node.clone()));
            }
        };
        let mut bytes = Vec::with_capacity(64 + name.len() + entry.bytes());
        write_number(&mut bytes, source as u64);
        // Nearly all local names are the remote ones, and no name is empty.
        write_text(&mut bytes, if *name == *entry.name { b"" } else { name });
        write_entry(&mut bytes, dir.unwrap_or(&RemotePath::root()), entry);
        // Shrunk in its place, it would leave a hole that the next has no use for.
        Self::Packed { dir: dir.cloned(), bytes: bytes.as_slice().into() }
    }

    fn node(&self) -> Arc<Node> {
        let (dir, bytes) = match self {
            Self::Whole(node) => return node.clone(),
            Self::Packed { dir, bytes } => (dir.clone().unwrap_or_else(RemotePath::root), bytes),
        };
        let mut reader = Reader(bytes);
        let source = reader.number() as SourceIndex;
        let name = reader.text();
        let entry = reader.entry(&dir);
        let name = if name.is_empty() { entry.name.as_slice().into() } else { name.into() };
        Arc::new(Node::of_entry(source, &dir, name, entry))
    }
}

impl Inodes {
    /// A table with nothing but `root` under [`Inode::ROOT`], which is never forgotten.
    pub fn new(root: Node, spaces: Vec<Space>) -> Self {
        let slot = Slot { rest: root.identity(&spaces).rest, node: Kept::of(&root), references: 1 };
        Self { numbers: Numbers(spaces.into()), slots: Mutex::new(BTreeMap::from([(Inode::ROOT.0, slot)])) }
    }

    /// The node of this inode; `None` if it was forgotten.
    pub fn get(&self, inode: Inode) -> Option<Arc<Node>> {
        self.slots.lock().get(&inode.0).map(|slot| slot.node.node())
    }

    /// The number that a node has or would get; the kernel gets no reference.
    pub fn number(&self, node: &Node) -> Inode {
        let identity = node.identity(&self.numbers.0);
        Inode(place(&self.slots.lock(), &identity))
    }

    /// The numbers that nodes get if those are free, for who cannot wait for the table.
    pub fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// The number of a node, to which the kernel gets one reference.
    pub fn refer(&self, node: &Node) -> Inode {
        let identity = node.identity(&self.numbers.0);
        let node = Kept::of(node);
        let mut slots = self.slots.lock();
        let mut number = first(&identity);
        // One look at the table is nearly always enough. Where there are many inodes, looks cost most.
        loop {
            match slots.entry(number) {
                Entered::Vacant(free) => {
                    free.insert(Slot { rest: identity.rest, node, references: 1 });
                    return Inode(number);
                }
                Entered::Occupied(mut known) if known.get().rest == identity.rest => {
                    let slot = known.get_mut();
                    // The newer one knows the newer times of a directory.
                    (slot.node, slot.references) = (node, slot.references + 1);
                    return Inode(number);
                }
                Entered::Occupied(_) => number = next(number),
            }
        }
    }

    /// Replaces the node of this inode by one that tells more; its identity is the same.
    pub fn describe(&self, inode: Inode, node: Node) {
        if let Some(slot) = self.slots.lock().get_mut(&inode.0) {
            slot.node = Kept::of(&node);
        }
    }

    /// How many there are, the root included.
    pub fn count(&self) -> usize {
        self.slots.lock().len()
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

    /// Leaves the table to the end of the process, which gives its memory back at once: freeing a million inodes one by one takes
    /// seconds, for which `unmount` would wait.
    pub fn abandon(&self) {
        std::mem::forget(std::mem::take(&mut *self.slots.lock()));
    }
}

fn place(slots: &BTreeMap<u64, Slot>, identity: &Identity) -> u64 {
    let mut number = first(identity);
    while slots.get(&number).is_some_and(|slot| slot.rest != identity.rest) {
        number = next(number);
    }
    number
}

/// The number that an identity gets if no other one has it. The root has its own.
fn first(identity: &Identity) -> u64 {
    identity.number.max(Inode::ROOT.0 + 1)
}

/// The number that is tried after this one.
fn next(number: u64) -> u64 {
    ((number + 1) & (u64::MAX >> 1)).max(Inode::ROOT.0 + 1)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::digest::Digest;

    fn entry(path: &[u8], digest: &str) -> Entry {
        let path = RemotePath::parse(path).expect("a path");
        Entry {
            name: path.name().to_vec(),
            path,
            kind: EntryKind::File,
            permissions: None,
            size: Some(1),
            modified: None,
            digest: Some(Digest::new(digest)),
        }
    }

    fn file(path: &[u8], digest: &str) -> Node {
        let entry = entry(path, digest);
        Node::of_entry(0, &RemotePath::root(), entry.name.as_slice().into(), entry)
    }

    fn inodes(source: &str) -> Inodes {
        Inodes::new(Node::Root, vec![space(&b"shown".as_slice().into(), source)])
    }

    #[test]
    fn another_version_is_another_inode() {
        let inodes = inodes("s");
        assert_ne!(inodes.refer(&file(b"a", "1")), inodes.refer(&file(b"a", "2")));
        assert_eq!(inodes.refer(&file(b"a", "1")), inodes.number(&file(b"a", "1")));
    }

    #[test]
    fn numbers_are_the_same_after_a_restart_and_differ_between_sources() {
        assert_eq!(inodes("s").refer(&file(b"a", "1")), inodes("s").refer(&file(b"a", "1")));
        assert_ne!(inodes("s").refer(&file(b"a", "1")), inodes("t").refer(&file(b"a", "1")));
        let [shown, twice] = [b"a", b"b"].map(|name| space(&name.as_slice().into(), "s"));
        assert_ne!(file_number(&shown, entry(b"a", "1")), file_number(&twice, entry(b"a", "1")));
    }

    #[test]
    fn an_inode_lives_until_every_reference_is_forgotten() {
        let inodes = inodes("s");
        let inode = inodes.refer(&file(b"a", "1"));
        inodes.refer(&file(b"a", "1"));
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
        let inode = inodes.refer(&Node::Group { path: Arc::new([]) });
        let node = Arc::downgrade(&inodes.get(inode).expect("it is referred to"));
        inodes.abandon();
        assert!(inodes.get(inode).is_none());
        drop(inodes);
        assert_eq!(node.strong_count(), 1);
    }

    #[test]
    fn an_inode_takes_as_many_bytes_as_the_documents_say_until_it_is_forgotten() {
        const ALONE: &str = "KITOVUFS_TEST_ALONE";
        const MANY: usize = 300_000;
        // Of a file with a name of 20 bytes and a hash of 128 bits.
        const BYTES: usize = 200;
        // What a process has in memory says something of the table only where no other test does anything.
        if std::env::var_os(ALONE).is_none() {
            let name = "fs::inode::tests::an_inode_takes_as_many_bytes_as_the_documents_say_until_it_is_forgotten";
            let mut alone = std::process::Command::new(std::env::current_exe().expect("this program"));
            let told = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().expect("it runs");
            let said = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(
                told.status.success() && said.contains(" 1 passed"),
                "{said}\n{}",
                String::from_utf8_lossy(&told.stderr)
            );
            return;
        }
        let inodes = inodes("s");
        let node = |n: usize| {
            let digest = format!("{:032x}", n as u128 * (u128::MAX / 1_000_000));
            file(format!("dir/{n:016}.jpg").as_bytes(), &digest)
        };
        let mut known = vec![Inode::ROOT; MANY];
        let empty = memory();
        let mut refer = |numbers: Range<usize>| {
            known.iter_mut().zip(numbers).for_each(|(known, n)| *known = inodes.refer(&node(n)));
            let taken = memory() - empty;
            assert_eq!(inodes.count(), 1 + MANY);
            known.iter().for_each(|inode| inodes.forget(*inode, 1));
            assert_eq!(inodes.count(), 1, "all but the root are forgotten");
            taken / MANY
        };
        let (first, others) = (refer(0..MANY), refer(MANY..2 * MANY));
        println!("{first} bytes each, and {others} each of others when these are forgotten");
        assert!(
            first >= BYTES - BYTES / 4 && first.max(others) <= BYTES + BYTES / 20,
            "{first} and {others} bytes each"
        );
        let told = format!("about {BYTES} bytes");
        assert!(include_str!("../../docs/reliability.md").contains(&told), "the document does not say: {told}");
    }

    /// The bytes of this process in memory that are of no file.
    fn memory() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("proc(5) has it");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("proc(5) has it");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let inodes = Inodes::new(Node::Root, vec![b"s".as_slice().into(), b"t".as_slice().into()]);
        let dir = RemotePath::parse(b"some/dir").expect("a path");
        let path = dir.child(b"a\n").expect("a name");
        let kinds = [EntryKind::File, EntryKind::Directory, EntryKind::Symlink { target: b"../b".to_vec() }];
        for (kind, local) in kinds.into_iter().flat_map(|kind| [(kind.clone(), b"a\n".as_slice()), (kind, b"a_")]) {
            let (size, modified) = (Some(7), Some(SystemTime::UNIX_EPOCH));
            let entry = Entry {
                name: b"a\n".to_vec(),
                path: path.clone(),
                kind,
                permissions: Some(0o640),
                size,
                modified,
                digest: None,
            };
            let node = Node::of_entry(1, &dir, local.into(), entry);
            assert_eq!(inodes.get(inodes.refer(&node)).as_deref(), Some(&node));
        }
        let root = Node::Directory { source: 1, path: RemotePath::root(), entry: None };
        assert_eq!(inodes.get(inodes.refer(&root)).as_deref(), Some(&root));
    }

    #[test]
    fn two_identities_with_one_number_get_two() {
        let mut slots = BTreeMap::new();
        let identity = Identity { number: 7, rest: 7 };
        let number = place(&slots, &identity);
        slots.insert(number, Slot { rest: identity.rest, node: Kept::of(&Node::Root), references: 1 });
        assert_eq!(place(&slots, &Identity { rest: 8, ..identity }), number + 1);
    }
}
