//! Lookups by number after the kernel has forgotten an inode, or after a restart.

use super::*;
use crate::fs::union::Part;

/// The kernel forgets everything but the root.
fn forget(mount: &Fixture, inodes: &[Inode]) {
    inodes.iter().for_each(|&inode| mount.fs.forget(inode, u64::MAX));
}

async fn by_number(fs: &FileSystem, inode: Inode, name: &str) -> Option<Attributes> {
    fs.lookup(inode, name.as_bytes()).await.expect("nothing is asked").found
}

async fn inode(mount: &Fixture, path: &str) -> Inode {
    mount.find(path).await.expect("lookup").expect("there").inode
}

#[tokio::test(start_paused = true)]
async fn files_and_directories_are_found_by_their_numbers_after_a_restart_without_asking() {
    let mount = Fixture::new();
    mount.memory.put("dir/sub/file", "bytes");
    mount.memory.put("other", "more");
    let (dir, sub) = (inode(&mount, "dir").await, inode(&mount, "dir/sub").await);
    let before = mount.find("dir/sub/file").await.expect("lookup").expect("there");
    let mount = mount.restart(ROOMY).await;
    let (lists, digests) = (mount.faults.calls(Method::ListPath), mount.faults.calls(Method::CreateRemoteDigest));
    let file = by_number(&mount.fs, before.inode, ".").await.expect("it was listed");
    assert_eq!((file.inode, file.size, file.modified), (before.inode, before.size, before.modified));
    assert_eq!(by_number(&mount.fs, sub, ".").await.map(|found| found.kind), Some(Kind::Directory));
    assert_eq!(by_number(&mount.fs, sub, "..").await.map(|found| found.inode), Some(dir));
    assert_eq!(by_number(&mount.fs, dir, "..").await.map(|found| found.inode), Some(Inode::ROOT));
    assert_eq!(by_number(&mount.fs, Inode::ROOT, "..").await.map(|found| found.inode), Some(Inode::ROOT));
    assert_eq!(by_number(&mount.fs, Inode(12345), ".").await, None);
    let asked = (mount.faults.calls(Method::ListPath), mount.faults.calls(Method::CreateRemoteDigest));
    assert_eq!(asked, (lists, digests));
    let handle = mount.fs.open(before.inode).await.expect("open").handle;
    assert_eq!(mount.fs.read(handle, 0..u64::MAX).await.expect("read"), "bytes");
}

#[tokio::test(start_paused = true)]
async fn a_number_of_an_earlier_version_leads_nowhere() {
    let mount = Fixture::new();
    mount.memory.put("file", "old bytes");
    let old = inode(&mount, "file").await;
    mount.memory.put("file", "new bytes");
    expire().await;
    let new = inode(&mount, "file").await;
    forget(&mount, &[old, new]);
    assert_eq!(by_number(&mount.fs, old, ".").await, None);
    assert_eq!(by_number(&mount.fs, new, ".").await.map(|found| found.inode), Some(new));
}

#[tokio::test(start_paused = true)]
async fn what_led_nowhere_is_searched_for_again_after_a_while() {
    let mount = Fixture::new();
    let file = {
        let another = Fixture::new();
        another.memory.put("file", "bytes");
        inode(&another, "file").await
    };
    assert_eq!(by_number(&mount.fs, file, ".").await, None);
    mount.memory.put("file", "bytes");
    assert_eq!(inode(&mount, "file").await, file);
    forget(&mount, &[file]);
    assert_eq!(by_number(&mount.fs, file, ".").await, None);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(by_number(&mount.fs, file, ".").await.map(|found| found.inode), Some(file));
}

#[tokio::test(start_paused = true)]
async fn folders_that_the_configuration_makes_are_found_too() {
    let cache_dir = kit::reaper::temporary();
    let (cache, db) = Cache::open(cache_dir.path(), ROOMY).expect("a cache");
    let memory = Memory::new();
    memory.put("part/deep/file", "bytes");
    let (source, _faults) = mounted("a", memory, Offline::Serve, &cache, &db);
    let names = |path: &str| path.split('/').map(|name| name.as_bytes().into()).collect::<Vec<LocalName>>();
    let part = Part::new(0, names("part"), GlobSet::empty());
    let union = Union { path: names("group/all"), parts: vec![part] };
    let fs = FileSystem::new(vec![source], Layout::of(vec![0], vec![union], Modes::default()), cache);
    let mut chain = vec![Inode::ROOT];
    for name in ["group", "all", "deep", "file"] {
        let found = fs.lookup(chain[chain.len() - 1], name.as_bytes()).await.expect("lookup").found;
        chain.push(found.expect("there").inode);
    }
    chain.iter().for_each(|&inode| fs.forget(inode, u64::MAX));
    for pair in chain.windows(2) {
        assert_eq!(by_number(&fs, pair[1], ".").await.map(|found| found.inode), Some(pair[1]));
        fs.forget(pair[1], u64::MAX);
        let parent = by_number(&fs, pair[1], "..").await.map(|found| found.inode);
        if pair[1] == chain[4] {
            assert_ne!(
                parent,
                Some(pair[0]),
                "a file's parent is the source's directory; the kernel asks for those of directories"
            );
        } else {
            assert_eq!(parent, Some(pair[0]));
        }
        chain.iter().for_each(|&inode| fs.forget(inode, u64::MAX));
    }
    let source = fs.lookup(Inode::ROOT, b"a").await.expect("lookup").found.expect("there").inode;
    fs.forget(source, u64::MAX);
    assert_eq!(by_number(&fs, source, "..").await.map(|found| found.inode), Some(Inode::ROOT));
}
