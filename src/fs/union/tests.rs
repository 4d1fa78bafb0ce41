//! Folders of two sources in memory, `a` before `b`, each of which also has a folder of its own. Time is tokio's.

use globset::{Glob, GlobSetBuilder};
use tempfile::TempDir;

use super::*;
use crate::cache::Cache;
use crate::freshness::Offline;
use crate::fs::tests::fixture::{FRESH_FOR, ROOMY, TIMEOUT, expire, mounted};
use crate::fs::{Attributes, Inode, Kind, Layout};
use crate::source::fault::{Fault, Faults, Method};
use crate::sources::memory::Memory;

/// The folder `EPJ` shows `a`'s directory `epj` and all of `b`.
struct Fixture {
    fs: Arc<FileSystem>,
    a: Memory,
    b: Memory,
    faults: [Faults; 2],
    _cache_dir: TempDir,
}

fn names(path: &str) -> Vec<LocalName> {
    path.split('/').filter(|name| !name.is_empty()).map(|name| name.as_bytes().into()).collect()
}

fn globs(patterns: &[&str]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    patterns.iter().for_each(|pattern| {
        set.add(Glob::new(pattern).expect("a pattern"));
    });
    set.build().expect("a set")
}

impl Fixture {
    fn new() -> Self {
        let parts =
            |ignore: GlobSet| vec![Part::new(0, names("epj"), ignore.clone()), Part::new(1, Vec::new(), ignore)];
        Self::with("EPJ", parts(GlobSet::empty()))
    }

    fn with(path: &str, parts: Vec<Part>) -> Self {
        let cache_dir = kit::reaper::temporary();
        let (cache, db) = Cache::open(cache_dir.path(), ROOMY).expect("a cache");
        let (a, b) = (Memory::new(), Memory::new());
        a.mkdir("epj");
        let (first, first_faults) = mounted("a", a.clone(), Offline::Serve, &cache, &db);
        let (second, second_faults) = mounted("b", b.clone(), Offline::Serve, &cache, &db);
        let layout = Layout::of(vec![0, 1], vec![Union { path: names(path), parts }], crate::fs::Modes::default());
        let fs = FileSystem::new(vec![first, second], layout, cache);
        Self { fs, a, b, faults: [first_faults, second_faults], _cache_dir: cache_dir }
    }

    async fn find(&self, path: &str) -> Result<Option<Attributes>> {
        let mut found = Some(self.fs.attributes(Inode::ROOT)?);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(at) = found else { return Ok(None) };
            found = self.fs.lookup(at.inode, name.as_bytes()).await?.found;
        }
        Ok(found)
    }

    async fn inode(&self, path: &str) -> Inode {
        self.find(path).await.expect("lookup").unwrap_or_else(|| panic!("{path} is not there")).inode
    }

    async fn is_there(&self, path: &str) -> Result<bool> {
        Ok(self.find(path).await?.is_some())
    }

    async fn read(&self, path: &str) -> Result<String> {
        let inode = self.find(path).await?.ok_or_else(|| Error::new("lookup", ErrorKind::NotFound))?.inode;
        let open = self.fs.open(inode).await?.handle;
        let bytes = self.fs.read(open, 0..u64::MAX).await;
        self.fs.release(open);
        Ok(String::from_utf8(bytes?.to_vec()).expect("text"))
    }

    /// The names that a listing shows, and how it ends.
    async fn list(&self, path: &str) -> Result<(Vec<String>, Result<()>)> {
        let handle = self.fs.open_dir(self.inode(path).await).await?;
        let mut names = Vec::new();
        let end = loop {
            let before = names.len();
            // Two at a time, as the kernel's buffer ends somewhere.
            let read = self.fs.read_dir(handle, before, false, |_, listed| {
                if names.len() == before + 2 {
                    return false;
                }
                names.push(Printable(listed.name).to_string());
                true
            });
            if read.is_err() || names.len() == before {
                break read;
            }
        };
        self.fs.release_dir(handle);
        Ok((names, end))
    }

    async fn complete(&self, path: &str) -> Vec<String> {
        let (names, end) = self.list(path).await.expect("listed");
        end.expect("to its end");
        names
    }

    fn calls(&self, method: Method) -> usize {
        self.faults.iter().map(|faults| faults.calls(method) as usize).sum()
    }
}

#[test]
fn links_go_up_no_further_than_the_top_and_then_only_down() {
    for (depth, text, stays) in [
        (0, "x", true),
        (0, "./x/y", true),
        (1, "../x", true),
        (2, "./.././../x", true),
        (0, "../x", false),
        (1, "../../x", false),
        (5, "/etc", false),
        // Where `x` is a link too, `x/..` is anywhere.
        (2, "x/../y", false),
    ] {
        assert_eq!(stays_below(depth, text.as_bytes()), stays, "{text} at {depth}");
    }
}

#[tokio::test(start_paused = true)]
async fn directories_merge_at_every_depth_and_what_comes_first_wins() {
    let mount = Fixture::new();
    mount.a.put("epj/both", "a");
    mount.b.put("both", "b");
    mount.a.put("epj/dir/sub/a", "a");
    mount.b.put("dir/sub/b", "b");
    mount.a.put("epj/u2", "a file before a directory");
    mount.b.put("u2/hidden", "b");
    mount.a.put("epj/u3/shown", "a");
    mount.b.put("u3", "a file after a directory");
    assert_eq!(mount.complete("").await, ["EPJ", "a", "b"]);
    assert_eq!(mount.complete("EPJ").await, ["both", "dir", "u2", "u3"]);
    assert_eq!(mount.complete("EPJ/dir/sub").await, ["a", "b"]);
    assert_eq!(mount.complete("EPJ/u3").await, ["shown"]);
    assert_eq!(mount.read("EPJ/both").await.expect("read"), "a");
    assert_eq!(mount.read("EPJ/u2").await.expect("read"), "a file before a directory");
    assert_eq!(mount.read("EPJ/dir/sub/b").await.expect("read"), "b");
    assert!(!mount.is_there("EPJ/absent").await.expect("both were listed"));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_the_same_file_through_every_folder_and_costs_once() {
    let mount = Fixture::new();
    mount.a.put("epj/file", "bytes");
    mount.b.put("other", "more");
    assert_eq!(mount.read("EPJ/file").await.expect("read"), "bytes");
    assert_eq!(mount.read("EPJ/other").await.expect("read"), "more");
    assert_eq!(mount.calls(Method::ListPath), 3, "a, a/epj and b");
    assert_eq!(mount.calls(Method::RetrieveFile), 2);
    assert_eq!(mount.inode("EPJ/file").await, mount.inode("a/epj/file").await);
    assert_ne!(mount.inode("EPJ").await, mount.inode("a/epj").await, "a directory has one parent");
    assert_eq!(mount.read("a/epj/file").await.expect("read"), "bytes");
    assert_eq!(
        (mount.complete("a/epj").await, mount.complete("EPJ").await),
        (vec!["file".into()], vec!["file".into(), "other".into()])
    );
    assert_eq!((mount.calls(Method::ListPath), mount.calls(Method::RetrieveFile)), (3, 2));
    let source = mount.fs.xattr(mount.inode("EPJ/other").await, "source").await.expect("an inode");
    assert_eq!(source.as_deref(), Some(&b"b"[..]));
    let sources = mount.fs.xattr(mount.inode("EPJ").await, "source").await.expect("an inode");
    assert_eq!(sources.as_deref(), Some(&b"a\nb"[..]));
    let all = mount.fs.xattr(mount.inode("EPJ").await, "all").await.expect("an inode");
    assert_eq!(all, sources.map(|sources| [b"source: ".as_slice(), &sources].concat()));
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_found_by_its_name_in_the_folder() {
    let mount = Fixture::new();
    mount.b.put("file", "old");
    let before = mount.inode("EPJ/file").await;
    assert_eq!(mount.read("EPJ/file").await.expect("read"), "old");
    mount.b.put("file", "new");
    expire().await;
    assert_eq!(mount.fs.open(before).await.err().expect("another version").kind(), ErrorKind::Changed);
    assert_eq!(mount.read("EPJ/file").await.expect("read"), "new");
    mount.a.put("epj/file", "before it");
    expire().await;
    assert_eq!(mount.read("EPJ/file").await.expect("read"), "before it");
    mount.a.remove("epj/file");
    expire().await;
    assert_eq!(mount.read("EPJ/file").await.expect("read"), "new");
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_as_long_as_the_oldest_that_it_needs() {
    let mount = Fixture::new();
    mount.b.put("file", "b");
    mount.complete("a/epj").await;
    tokio::time::sleep(FRESH_FOR / 2).await;
    let folder = mount.inode("EPJ").await;
    let found = mount.fs.lookup(folder, b"file").await.expect("lookup");
    assert_eq!(found.valid_for, FRESH_FOR / 2, "that `a` has no such file is known since half of the time");
    let handle = mount.fs.open_dir(folder).await.expect("listed");
    let read = mount.fs.read_dir(handle, 0, false, |_, listed| {
        assert_eq!(listed.valid_for, FRESH_FOR / 2);
        true
    });
    read.expect("to its end");
}

#[tokio::test(start_paused = true)]
async fn numbers_and_attributes_of_directories_are_stable() {
    let (one, two) = (Fixture::new(), Fixture::new());
    for mount in [&one, &two] {
        mount.a.put("epj/dir/x", "x");
        mount.b.put("dir/y", "y");
    }
    assert_eq!(one.inode("EPJ/dir").await, two.inode("EPJ/dir").await);
    let dir = one.find("EPJ/dir").await.expect("lookup").expect("there");
    assert_eq!((dir.kind, dir.modified), (Kind::Directory, Memory::default_modified()));
    assert!(one.fs.open(dir.inode).await.is_err_and(|error| error.kind() == ErrorKind::IsADirectory));
}

#[tokio::test(start_paused = true)]
async fn a_path_of_several_names_makes_the_directories_on_the_way() {
    let mount = Fixture::with("HS26/EPJ", vec![Part::new(1, Vec::new(), GlobSet::empty())]);
    mount.b.put("file", "b");
    assert_eq!(mount.complete("").await, ["HS26", "a", "b"]);
    assert_eq!(mount.complete("HS26").await, ["EPJ"]);
    assert_eq!(mount.read("HS26/EPJ/file").await.expect("read"), "b");
    assert!(!mount.is_there("HS26/other").await.expect("nobody need be asked"));
    assert_eq!(mount.fs.xattr(mount.inode("HS26").await, "all").await.expect("an inode"), None);
}

#[tokio::test(start_paused = true)]
async fn ignored_names_are_left_out_at_every_depth_and_from_their_part_only() {
    let parts = vec![
        Part::new(0, names("epj"), globs(&["Thumbs.db", "*.tmp", "[ab].txt"])),
        Part::new(1, Vec::new(), globs(&["Thumbs.db", "*.tmp"])),
    ];
    let mount = Fixture::with("EPJ", parts);
    for name in ["Thumbs.db", "x.tmp", "a.txt", "c.txt", "dir/Thumbs.db", "dir/y.tmp", "dir/kept", "z.tmp/kept"] {
        mount.a.put(&format!("epj/{name}"), "a");
    }
    mount.b.put("a.txt", "b");
    mount.b.put("Thumbs.db", "b");
    mount.b.put("thumbs.db", "b");
    assert_eq!(mount.complete("EPJ").await, ["a.txt", "c.txt", "dir", "thumbs.db"]);
    assert_eq!(mount.complete("EPJ/dir").await, ["kept"]);
    assert_eq!(mount.read("EPJ/a.txt").await.expect("read"), "b");
    for name in ["Thumbs.db", "x.tmp", "dir/Thumbs.db", "z.tmp/kept"] {
        assert!(!mount.is_there(&format!("EPJ/{name}")).await.expect("lookup"), "{name}");
    }
    assert!(mount.is_there("a/epj/Thumbs.db").await.expect("lookup"), "the source's own folder shows all");
}

#[tokio::test(start_paused = true)]
async fn links_that_lead_out_of_the_folder_are_left_out() {
    let mount = Fixture::new();
    mount.a.put("secret", "a");
    mount.a.put("epj/dir/file", "a");
    mount.a.symlink("epj/dir/up", "../dir/file");
    mount.a.symlink("epj/dir/out", "../../secret");
    mount.a.symlink("epj/out", "../secret");
    mount.b.put("out", "b");
    assert_eq!(mount.complete("EPJ/dir").await, ["file", "up"]);
    assert!(!mount.is_there("EPJ/dir/out").await.expect("lookup"));
    assert_eq!(mount.read("EPJ/out").await.expect("a name that is left out is free"), "b");
    assert_eq!(mount.complete("a/epj/dir").await, ["file", "out", "up"]);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_known_stays_during_an_outage() {
    let mount = Fixture::new();
    mount.a.put("epj/x", "a");
    mount.b.put("y", "b");
    assert_eq!(mount.read("EPJ/y").await.expect("read"), "b");
    mount.faults[1].set_all(Fault::Fail(ErrorKind::Unreachable));
    expire().await;
    assert_eq!(mount.complete("EPJ").await, ["x", "y"]);
    assert_eq!(mount.read("EPJ/y").await.expect("the cached bytes"), "b");
    assert!(!mount.is_there("EPJ/absent").await.expect("known of both"));
    let error = mount.fs.xattr(mount.inode("EPJ").await, "error").await.expect("an inode");
    assert!(error.is_some(), "who looks behind the folder finds the outage");
}

#[tokio::test(start_paused = true)]
async fn unreachable_is_not_absent_and_hides_nobody_else() {
    for dead in [0, 1] {
        let mount = Fixture::new();
        mount.a.put("epj/a only", "a");
        mount.a.put("epj/dir/a", "a");
        mount.b.put("b only", "b");
        mount.b.put("dir/b", "b");
        mount.faults[dead].set_all(Fault::Fail(ErrorKind::Unreachable));
        let (alive, gone) = if dead == 0 { ("b", "a") } else { ("a", "b") };

        let (names, end) = mount.list("EPJ").await.expect("what is known is shown");
        assert_eq!(names, [format!("{alive} only"), "dir".to_owned()]);
        assert_eq!(end.expect_err("it is not all").kind(), ErrorKind::Unreachable);
        assert_eq!(mount.read(&format!("EPJ/{alive} only")).await.expect("read"), alive);
        let (names, end) = mount.list("EPJ/dir").await.expect("deeper likewise");
        assert_eq!((names, end.is_err()), (vec![alive.to_owned()], true));
        let unknown = mount.is_there(&format!("EPJ/{gone} only")).await;
        assert_eq!(unknown.expect_err("nobody can say").kind(), ErrorKind::Unreachable);

        mount.faults[dead].clear_all();
        expire().await;
        assert_eq!(mount.complete("EPJ").await, ["a only", "b only", "dir"]);
        assert_eq!(mount.complete("EPJ/dir").await, ["a", "b"]);
        assert!(!mount.is_there("EPJ/neither").await.expect("both were asked"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_missing_part_may_yet_decide_counts_for_a_moment() {
    let mount = Fixture::new();
    mount.b.put("file", "b");
    mount.faults[0].set_all(Fault::Fail(ErrorKind::Unreachable));
    let found = mount.fs.lookup(mount.inode("EPJ").await, b"file").await.expect("lookup");
    assert_eq!(found.valid_for, INCOMPLETE_VALID_FOR);
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_which_no_part_answers_is_an_error() {
    let mount = Fixture::new();
    mount.faults.iter().for_each(|faults| faults.set_all(Fault::Fail(ErrorKind::Unreachable)));
    assert_eq!(mount.list("EPJ").await.expect_err("nothing is known").kind(), ErrorKind::Unreachable);
    assert!(mount.is_there("EPJ").await.expect("the folder itself is configured"));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_hangs_does_not_hold_up_what_comes_before_it() {
    let mount = Fixture::new();
    mount.a.put("epj/file", "a");
    mount.a.put("epj/dir/x", "a");
    mount.faults[1].set_all(Fault::Hang);
    let began = tokio::time::Instant::now();
    assert_eq!(mount.read("EPJ/file").await.expect("read"), "a");
    assert!(mount.is_there("EPJ/dir/x").await.expect("lookup"));
    assert_eq!(began.elapsed(), Duration::ZERO);
    let (names, end) = mount.list("EPJ").await.expect("listed");
    assert_eq!((names, end.is_err()), (vec!["dir".into(), "file".into()], true));
    assert!(began.elapsed() < TIMEOUT * 3, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_not_there_leaves_the_others() {
    let parts = vec![
        Part::new(0, names("no/such"), GlobSet::empty()),
        Part::new(0, names("epj/file"), GlobSet::empty()),
        Part::new(1, Vec::new(), GlobSet::empty()),
    ];
    let mount = Fixture::with("EPJ", parts);
    mount.a.put("epj/file", "a file is no directory");
    mount.b.put("file", "b");
    assert_eq!(mount.complete("EPJ").await, ["file"]);
    assert!(!mount.is_there("EPJ/absent").await.expect("lookup"));
    mount.a.put("no/such/thing", "later it is");
    expire().await;
    assert_eq!(mount.complete("EPJ").await, ["file", "thing"]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_without_any_part_is_neither_empty_nor_absent() {
    let mount = Fixture::with("EPJ", vec![Part::new(0, names("no/such"), GlobSet::empty())]);
    assert_eq!(mount.list("EPJ").await.expect_err("a wrong setting").kind(), ErrorKind::Other);
    assert_eq!(mount.is_there("EPJ/x").await.expect_err("a wrong setting").kind(), ErrorKind::Other);
    mount.a.put("no/such/dir/x", "a");
    expire().await;
    let dir = mount.inode("EPJ/dir").await;
    mount.a.remove("no/such/dir");
    expire().await;
    assert_eq!(mount.fs.open_dir(dir).await.expect_err("it is gone").kind(), ErrorKind::NotFound);
    assert!(!mount.is_there("EPJ/dir").await.expect("lookup"));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_list_a_directory_may_still_be_let_through_it() {
    let mount = Fixture::new();
    mount.a.put("epj/file", "a");
    // The root is what is listed first.
    mount.faults[0].set_times(Method::ListPath, Fault::Fail(ErrorKind::PermissionDenied), 1);
    assert_eq!(mount.read("EPJ/file").await.expect("read"), "a");
}
