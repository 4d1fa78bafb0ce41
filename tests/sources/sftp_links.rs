//! Symbolic links of an SSH server: what is shown, and what is never followed.

use std::collections::BTreeMap;
use std::path::Path;

use kitovufs::error::ErrorKind;
use kitovufs::source::{EntryKind, Retrieval, Source};

use crate::kit::sshd::Sshd;
use crate::real::{Directory, list};
use crate::sftp::served;
use crate::{kind, remote, source};

fn link(target: impl AsRef<Path>, at: impl AsRef<Path>) {
    std::os::unix::fs::symlink(target, at).unwrap();
}

/// What is shown in two directories, by its path: the texts of links.
async fn texts(source: &dyn Source) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for dir in ["", "d"] {
        for entry in list(source, dir).await.unwrap() {
            if let EntryKind::Symlink { target } = entry.kind {
                let path = entry.path.as_str().unwrap().to_owned();
                shown.insert(path, String::from_utf8(target).unwrap());
            }
        }
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_shown_as_they_are_or_where_they_stay_inside() {
    let dir = served();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    std::fs::write(root.join("d/file"), "inside").unwrap();
    std::fs::write(dir.path().join("secret"), "outside").unwrap();
    let outside = dir.path().join("secret");
    let made = [
        ("d/file", "plain"),
        ("../d/./file", "d/up"),
        ("d", "directory"),
        ("nothing", "dangling"),
        ("round", "round"),
        ("..", "d/root"),
        ("../secret", "out"),
        ("d/../../secret", "out_by_dots"),
        ("out", "chain"),
        // Inside as text; but `d/root` is the root, and what is above it is outside.
        ("d/root/../secret", "out_by_link"),
        ("d/root/../nowhere", "out_into_nothing"),
        ("d/e/../file", "detour"),
    ];
    for (target, at) in made {
        link(target, root.join(at));
    }
    link(root.join("d/file"), root.join("absolute"));
    link(root.join("missing"), root.join("d/absolute_dangling"));
    link(&outside, root.join("absolute_out"));
    let server = Sshd::run(&root);
    let kept = source(&server.table()).await;
    let shown = texts(kept.as_ref()).await;
    for (target, at) in &made {
        assert_eq!(shown[*at], *target, "{at}");
    }
    assert_eq!((&*shown["absolute"], &*shown["d/absolute_dangling"]), ("d/file", "../missing"));
    assert_eq!(shown["absolute_out"], outside.to_str().unwrap());
    let source = source(&format!("{}links = \"inside\"\n", server.table())).await;
    let shown = texts(source.as_ref()).await;
    let expected = [
        ("plain", "d/file"),
        ("d/up", "../d/./file"),
        ("directory", "d"),
        ("dangling", "nothing"),
        ("round", "round"),
        ("d/root", ".."),
        ("detour", "d/file"),
        ("absolute", "d/file"),
        ("d/absolute_dangling", "../missing"),
    ];
    assert_eq!(shown, expected.map(|(at, target)| (at.to_owned(), target.to_owned())).into());
    for path in ["out", "chain", "directory/file", "absolute_out"] {
        let refused = kind(source.create_remote_digest(&remote(path)).await.map(drop));
        assert_eq!(refused, Err(ErrorKind::Changed), "{path}");
    }
    assert_eq!(kind(list(source.as_ref(), "directory").await.map(drop)), Err(ErrorKind::NotADirectory));
    assert_eq!(kind(list(source.as_ref(), "d/root/d").await.map(drop)), Err(ErrorKind::NotADirectory));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_links_inside_lead_to_is_shown_in_their_place_where_they_are_followed() {
    let dir = served();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    std::fs::write(root.join("d/e/file"), "inside").unwrap();
    std::fs::write(dir.path().join("secret"), "outside").unwrap();
    let shown = [("d/e/file", "file"), ("file", "chain"), ("d", "tree")];
    let left_out =
        [("nothing", "dangling"), ("round", "round"), ("../secret", "out"), ("..", "d/top"), ("..", "d/e/above")];
    for (target, at) in shown.into_iter().chain(left_out) {
        link(target, root.join(at));
    }
    link(root.join("d/e"), root.join("absolute"));
    let server = Sshd::run(&root);
    let source = source(&format!("{}links = \"follow\"\n", server.table())).await;
    let paths = async |dir| {
        let entries = list(source.as_ref(), dir).await.unwrap();
        let mut paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths("").await, ["absolute", "chain", "d", "file", "tree"]);
    assert_eq!(paths("tree").await, ["tree/e"]);
    assert_eq!(paths("tree/e").await, ["tree/e/file"]);
    for path in ["chain", "tree/e/file", "absolute/file"] {
        let path = remote(path);
        let answer = source.create_remote_digest(&path).await.unwrap();
        for range in [0..3, 3..6] {
            let mut out = Vec::new();
            source.retrieve_file(&Retrieval::new(&path, &answer.digest, 6, range.clone()), &mut out).await.unwrap();
            assert_eq!(out, b"inside"[range.start as usize..range.end as usize]);
        }
    }
    assert_eq!(kind(source.create_remote_digest(&remote("out")).await.map(drop)), Err(ErrorKind::Changed));
    assert_eq!(kind(list(source.as_ref(), "out").await.map(drop)), Err(ErrorKind::NotADirectory));
    assert_eq!(kind(source.create_remote_digest(&remote("dangling")).await.map(drop)), Err(ErrorKind::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_became_a_link_to_the_outside_is_not_followed() {
    let dir = served();
    let root = dir.path().join("root");
    let directory = Directory::new(dir.path());
    directory.write("root/a", b"inside");
    directory.write("secret", b"secret");
    let server = Sshd::run(&root);
    let source = source(&server.table()).await;
    let path = remote("a");
    let answer = source.create_remote_digest(&path).await.unwrap();
    let modified = std::fs::metadata(root.join("a")).unwrap().modified().unwrap();
    let secret = std::fs::File::options().write(true).open(dir.path().join("secret")).unwrap();
    secret.set_modified(modified).unwrap();
    std::fs::remove_file(root.join("a")).unwrap();
    link("../secret", root.join("a"));
    let mut out = Vec::new();
    let request = Retrieval::new(&path, &answer.digest, 6, 0..6);
    let refused = kind(source.retrieve_file(&request, &mut out).await.map(drop));
    assert_eq!((refused, out), (Err(ErrorKind::Changed), Vec::new()));
}
