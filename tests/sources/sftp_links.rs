//! Symbolic links of an SSH server: what is shown, and what is never followed.

use std::collections::BTreeMap;
use std::path::Path;

use kitovufs::error::ErrorKind;
use kitovufs::source::{EntryKind, Retrieval};

use crate::kit::sshd::Sshd;
use crate::real::{Directory, list};
use crate::sftp::served;
use crate::{kind, remote, source};

fn link(target: impl AsRef<Path>, at: impl AsRef<Path>) {
    std::os::unix::fs::symlink(target, at).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_shown_if_they_stay_inside_and_never_followed_outside() {
    let dir = served();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    std::fs::write(root.join("d/file"), "inside").unwrap();
    std::fs::write(dir.path().join("secret"), "outside").unwrap();
    let outside = dir.path().join("secret");
    for (target, at) in [
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
    ] {
        link(target, root.join(at));
    }
    link(root.join("d/file"), root.join("absolute"));
    link(root.join("missing"), root.join("d/absolute_dangling"));
    link(&outside, root.join("absolute_out"));
    let server = Sshd::run(&root);
    let source = source(&server.table()).await;
    let mut shown = BTreeMap::new();
    for dir in ["", "d"] {
        for entry in list(source.as_ref(), dir).await.unwrap() {
            if let EntryKind::Symlink { target } = entry.kind {
                shown.insert(
                    String::from_utf8(entry.path.as_bytes().to_vec()).unwrap(),
                    String::from_utf8(target).unwrap(),
                );
            }
        }
    }
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
