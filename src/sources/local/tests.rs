use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use std::ffi::OsStr;
use std::path::Path;

use futures::StreamExt as _;
use rustix::fs::FileType;

use super::stamp::TICK;
use super::*;
use crate::source::one_name::in_large_directory;
use crate::source::{Entry, EntryKind};

struct Fixture {
    dir: tempfile::TempDir,
    source: Box<dyn Source>,
}

fn settings(path: &Path, reserved: Vec<PathBuf>) -> Settings {
    let values = BTreeMap::from([("path".to_owned(), toml::Value::String(path.display().to_string()))]);
    Settings { reserved, ..Settings::of("here", values) }
}

async fn fixture(reserved: &[&str]) -> Fixture {
    linking("keep", reserved).await
}

/// A source with this value of `links`.
async fn linking(links: &str, reserved: &[&str]) -> Fixture {
    let dir = kit::reaper::temporary();
    let canonical = dir.path().canonicalize().expect("it exists");
    let reserved = reserved.iter().map(|name| canonical.join("root").join(name)).collect::<Vec<_>>();
    for place in &reserved {
        std::fs::create_dir_all(place).expect("a directory");
        std::fs::write(place.join("inner"), "x").expect("a file");
    }
    std::fs::create_dir_all(canonical.join("root")).expect("a directory");
    let mut settings = settings(&canonical.join("root"), reserved);
    settings.values.insert("links".to_owned(), links.into());
    let source = LocalKind.configure(&settings).await.expect("the settings are right");
    Fixture { dir, source }
}

impl Fixture {
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().canonicalize().expect("it exists").join("root").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is below the root")).expect("directories");
        std::fs::write(path, content).expect("a file");
    }

    async fn list(&self, dir: &str) -> Result<BTreeMap<Vec<u8>, Entry>> {
        let dir = remote(dir);
        let entries = self.source.list_path(&dir).await?.collect::<Vec<_>>().await;
        entries.into_iter().map(|entry| entry.map(|e| (e.name.clone(), e))).collect()
    }

    async fn retrieve(&self, name: &str, digest: &Digest, range: std::ops::Range<u64>, size: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let path = remote(name);
        self.source.retrieve_file(&Retrieval::new(&path, digest, size, range), &mut out).await?;
        Ok(out)
    }

    async fn settled(&self, name: &str) -> RemoteDigest {
        std::thread::sleep(TICK);
        self.source.create_remote_digest(&remote(name)).await.expect("the file is there")
    }
}

fn remote(path: &str) -> RemotePath {
    RemotePath::parse(path.as_bytes()).expect("a plain path")
}

fn text_of(path: &RemotePath) -> String {
    path.as_str().expect("a path of a test is text").to_owned()
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

#[tokio::test]
async fn entries_have_kind_size_and_digest() {
    let here = fixture(&[]).await;
    here.write("dir/file", "hello");
    here.write("program", "#!/bin/sh");
    std::fs::set_permissions(here.path("program"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    std::fs::write(here.path(OsStr::from_bytes(b"\xff")), "").expect("a name that is no text");
    rustix::fs::mknodat(rustix::fs::CWD, here.path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a fifo");
    std::thread::sleep(TICK);
    let root = here.list("").await.expect("the root can be listed");
    assert_eq!(root.keys().cloned().collect::<Vec<_>>(), [b"dir".to_vec(), b"program".to_vec(), b"\xff".to_vec()]);
    assert_eq!(root[b"program".as_slice()].permissions, Some(0o755));
    let file = &here.list("dir").await.expect("dir can be listed")[b"file".as_slice()];
    assert_eq!((file.size, &file.kind), (Some(5), &EntryKind::File));
    let digest = here.source.create_remote_digest(&file.path).await.expect("it is there");
    assert_eq!((file.digest.as_ref(), file.modified), (Some(&digest.digest), digest.modified));
}

#[tokio::test]
async fn a_large_directory_is_listed_to_its_end() {
    let here = fixture(&[]).await;
    for number in 0..1_000 {
        here.write(&number.to_string(), "");
    }
    assert_eq!(here.list("").await.expect("it can be listed").len(), 1_000);
}

#[tokio::test]
async fn bytes_come_from_the_wanted_version_only() {
    let here = fixture(&[]).await;
    here.write("a", "old content");
    let old = here.settled("a").await.digest;
    assert_eq!(here.retrieve("a", &old, 0..11, 11).await.expect("it is there"), b"old content");
    assert_eq!(here.retrieve("a", &old, 4..7, 11).await.expect("it is there"), b"con");
    here.write("a", "new content");
    assert_eq!(kind(here.retrieve("a", &old, 0..11, 11).await), Some(ErrorKind::Changed));
    std::fs::remove_file(here.path("a")).expect("it is there");
    assert_eq!(kind(here.retrieve("a", &old, 0..11, 11).await), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn a_file_changed_while_it_is_read_is_never_delivered_whole() {
    struct Changing(PathBuf, usize);
    #[async_trait]
    impl Sink for Changing {
        async fn write(&mut self, bytes: Bytes) -> Result<()> {
            self.1 += bytes.len();
            std::fs::write(&self.0, vec![2; 3 * CHUNK_BYTES as usize]).expect("the file can be written");
            Ok(())
        }
    }
    let here = fixture(&[]).await;
    let size = 3 * CHUNK_BYTES;
    std::fs::write(here.path("a"), vec![1; size as usize]).expect("a file");
    let digest = here.settled("a").await.digest;
    let (path, mut sink) = (remote("a"), Changing(here.path("a"), 0));
    let request = Retrieval::new(&path, &digest, size, 0..size);
    assert_eq!(kind(here.source.retrieve_file(&request, &mut sink).await), Some(ErrorKind::Changed));
    assert_eq!(sink.1 as u64, CHUNK_BYTES, "what is read after the change is held back");
}

#[tokio::test]
async fn two_versions_in_one_tick_have_different_digests() {
    let here = fixture(&[]).await;
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..200 {
        here.write("a", &format!("{number:03}"));
        let digest = here.source.create_remote_digest(&remote("a")).await.expect("it is there").digest;
        assert!(seen.insert(digest), "version {number} has the digest of an earlier one");
    }
}

#[tokio::test]
async fn an_unsettled_file_can_be_retrieved() {
    let here = fixture(&[]).await;
    here.write("a", "x");
    let digest = here.source.create_remote_digest(&remote("a")).await.expect("it is there").digest;
    assert!(digest.unsettled_since().is_some());
    assert_eq!(here.retrieve("a", &digest, 0..1, 1).await.expect("it is there"), b"x");
}

impl Fixture {
    /// The texts under which links are shown, by their paths; empty for what is shown as something else.
    async fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for dir in ["", "dir"] {
            for entry in self.list(dir).await.expect("it is there").into_values() {
                let text = if let EntryKind::Symlink { target } = &entry.kind { target.as_slice() } else { b"" };
                texts.insert(text_of(&entry.path), String::from_utf8_lossy(text).into_owned());
            }
        }
        texts
    }

    fn links(&self, links: &[(&str, &str)]) {
        for (name, target) in links {
            symlink(target, self.path(name)).expect("a link");
        }
    }
}

#[tokio::test]
async fn links_are_shown_as_they_are_or_where_they_stay_inside() {
    for links in ["keep", "inside"] {
        let here = linking(links, &[]).await;
        here.write("dir/sub/file", "x");
        let absolute = here.path("dir/sub/file").display().to_string();
        let absolute_out = here.path("../secret").display().to_string();
        // The name, its text, and whether it stays inside.
        let made = [
            ("inside", "dir/sub/file", true),
            ("dir/up", "../dir/./sub", true),
            ("dangling", "dir/nothing", true),
            ("circle", "circle", true),
            ("dir/absolute", absolute.as_str(), true),
            ("chain-absolute", "dir/absolute", true),
            ("outside", "../secret", false),
            ("dir/outside", "../../secret", false),
            ("absolute-outside", "/etc/passwd", false),
            ("absolute-out", absolute_out.as_str(), false),
            ("chain-outside", "outside", false),
            ("chain-through", "dir/outside/x", false),
            ("deep", "dir/sub", true),
            // By text this stays inside; the kernel goes up from the root, where `flat` leads.
            ("really-outside", "dir/flat/../../secret", false),
            ("dir/flat", "..", true),
            ("out-and-in", "../root/dir", false),
        ];
        here.links(&made.map(|(name, target, _)| (name, target)));
        let texts = here.texts().await;
        for (name, target, inside) in made {
            let text = if name == "dir/absolute" { "../dir/sub/file" } else { target };
            let shown = links == "keep" || inside;
            assert_eq!(texts.get(name).map(String::as_str), shown.then_some(text), "{links}: {name}");
        }
    }
}

#[tokio::test]
async fn what_links_inside_lead_to_is_shown_in_their_place_where_they_are_followed() {
    let here = linking("follow", &["mnt"]).await;
    here.write("dir/sub/file", "x");
    std::fs::write(here.path("../secret"), "secret").expect("a file");
    let absolute = here.path("dir").display().to_string();
    here.links(&[
        ("file", "dir/sub/file"),
        ("chain", "file"),
        ("tree", absolute.as_str()),
        ("dir/sub/mount", "../../mnt"),
        // None of these is shown.
        ("dangling", "nothing"),
        ("round", "round"),
        ("outside", "../secret"),
        ("dir/top", ".."),
        ("dir/sub/tree", ".."),
        ("inner", "mnt/inner"),
    ]);
    let names = async |dir| {
        let entries = here.list(dir).await.expect("it can be listed");
        entries.into_values().map(|entry| (text_of(&entry.path), entry.kind)).collect::<BTreeMap<_, _>>()
    };
    let named = |names: &[&str], kinds: &[EntryKind]| {
        names.iter().map(|name| (*name).to_owned()).zip(kinds.iter().cloned()).collect::<BTreeMap<_, _>>()
    };
    let (file, dir) = (EntryKind::File, EntryKind::Directory);
    let kinds = [file.clone(), dir.clone(), file.clone(), dir.clone(), dir.clone()];
    assert_eq!(names("").await, named(&["chain", "dir", "file", "mnt", "tree"], &kinds));
    assert_eq!(names("tree").await, named(&["tree/sub"], std::slice::from_ref(&dir)));
    assert_eq!(names("tree/sub").await, named(&["tree/sub/file", "tree/sub/mount"], &[file, dir]));
    assert_eq!(names("tree/sub/mount").await, BTreeMap::new());
    for name in ["chain", "tree/sub/file"] {
        let digest = here.settled(name).await.digest;
        assert_eq!(here.retrieve(name, &digest, 0..1, 1).await.expect("it is inside"), b"x", "{name}");
    }
    assert_eq!(kind(here.source.create_remote_digest(&remote("outside")).await), Some(ErrorKind::Changed));
    assert_eq!(kind(here.source.create_remote_digest(&remote("inner")).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(here.list("outside").await), Some(ErrorKind::NotADirectory));
}

#[tokio::test]
async fn links_are_not_followed_unless_asked_for() {
    let here = fixture(&[]).await;
    std::fs::write(here.dir.path().join("secret"), "secret").expect("a file");
    symlink("..", here.path("out")).expect("a link");
    symlink("../secret", here.path("file")).expect("a link");
    let digest = Digest::new("stat:6-0-0-0-0");
    assert_eq!(kind(here.list("out").await), Some(ErrorKind::NotADirectory));
    for name in ["out/secret", "file"] {
        assert_eq!(kind(here.retrieve(name, &digest, 0..6, 6).await), Some(ErrorKind::Changed), "{name}");
        assert!(here.source.create_remote_digest(&remote(name)).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_reserved_directory_is_shown_empty_and_nothing_in_it_opens() {
    let here = fixture(&["mnt"]).await;
    assert_eq!(here.list("").await.expect("it is there")[b"mnt".as_slice()].kind, EntryKind::Directory);
    assert!(here.list("mnt").await.expect("it is shown").is_empty());
    assert_eq!(kind(here.source.create_remote_digest(&remote("mnt/inner")).await), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn a_source_inside_a_reserved_directory_is_a_problem() {
    let dir = kit::reaper::temporary();
    let canonical = dir.path().canonicalize().expect("it exists");
    for (path, reserved) in [(canonical.clone(), canonical.clone()), (canonical.join("below"), canonical.clone())] {
        std::fs::create_dir_all(&path).expect("a directory");
        let problems = LocalKind.configure(&settings(&path, vec![reserved])).await.err().expect("it is inside");
        assert_eq!(problems[0].key.as_deref(), Some("path"));
    }
    let problems = LocalKind.configure(&settings(Path::new("x"), Vec::new())).await.err().expect("not absolute");
    assert_eq!(problems[0].key.as_deref(), Some("path"));
}

#[tokio::test]
async fn a_root_that_has_gone_is_an_outage_and_what_is_missing_in_it_is_not() {
    let here = fixture(&[]).await;
    here.write("dir/a", "x");
    assert_eq!(kind(here.list("nothing").await), Some(ErrorKind::NotFound));
    assert_eq!(kind(here.list("dir/a").await), Some(ErrorKind::NotADirectory));
    assert_eq!(kind(here.source.create_remote_digest(&remote("dir")).await), Some(ErrorKind::IsADirectory));
    std::fs::remove_dir_all(here.path("")).expect("it is there");
    for name in ["", "dir"] {
        assert_eq!(kind(here.list(name).await), Some(ErrorKind::Unreachable), "{name:?}");
    }
    assert_eq!(kind(here.source.connect().await), Some(ErrorKind::Unreachable));
}

#[tokio::test]
async fn a_name_that_leads_somewhere_and_is_not_listed_is_absent() {
    let alone = async |source: &dyn Source, dir: &str, name: &str| {
        let dir = remote(dir);
        let listing = in_large_directory(name.as_bytes(), source.list_path(&dir)).await.expect("it can be listed");
        listing.told_alone()
    };
    let here = fixture(&["mnt"]).await;
    here.write("dir/a", "x");
    std::thread::sleep(TICK);
    for name in ["dir", "mnt", "absent"] {
        let listed = here.list("").await.expect("it is there").remove(name.as_bytes());
        assert_eq!(alone(here.source.as_ref(), "", name).await, Some(Vec::from_iter(listed)), "{name}");
    }
    assert_eq!(alone(here.source.as_ref(), "mnt", "inner").await, None, "its listing tells that it is shown empty");
    // The kernel lists processes, and knows every thread.
    let process = LocalKind.configure(&settings(Path::new("/proc"), Vec::new())).await.expect("the settings are right");
    let (listed, thread) = (std::process::id().to_string(), rustix::thread::gettid().as_raw_nonzero().to_string());
    assert!(listed != thread && Path::new("/proc").join(&thread).exists());
    assert_eq!(alone(process.as_ref(), "", &listed).await.map(|told| told.len()), Some(1));
    assert_eq!(alone(process.as_ref(), "", &thread).await, Some(Vec::new()));
}
