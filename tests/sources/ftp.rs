//! Directories of FTP servers, as real ones show them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::Ordering;

use kitovufs::error::ErrorKind;
use kitovufs::source::{Entry, EntryKind, Retrieval, Source};

use crate::kit::ftp::Ftp;
use crate::real::{Directory, conforms, list, served};
use crate::{configured, kind, remote, source};

/// A listing has a name per line.
static LINES: [&str; 1] = ["new\nline"];
/// rclone shows control characters as pictures of them.
static CONTROLS: [&str; 2] = ["tab\there", "new\nline"];
/// LIST aligns names in columns.
static BLANKS: [&str; 2] = [" leading", "new\nline"];

#[tokio::test(flavor = "multi_thread")]
async fn rclone_keeps_the_contract() {
    let dir = served();
    let server = Ftp::rclone(dir.path());
    conforms(&server.table(), Directory { lost: &CONTROLS, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pyftpdlib_keeps_the_contract() {
    let dir = served();
    let server = Ftp::python(dir.path());
    conforms(&server.table(), Directory { lost: &LINES, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_old_keeps_the_contract() {
    let dir = served();
    let server = Ftp::old(dir.path());
    conforms(&server.table(), Directory { lost: &BLANKS, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_mlst_and_without_mlsd_keeps_the_contract() {
    let dir = served();
    let server = Ftp::without_mlsd(dir.path());
    conforms(&server.table(), Directory { lost: &BLANKS, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lists_names_only_keeps_the_contract() {
    let dir = served();
    let server = Ftp::of_names_only(dir.path());
    conforms(&server.table(), Directory { lost: &LINES, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_shown_with_their_text_or_followed_inside() {
    let dir = served();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("d")).unwrap();
    std::fs::write(root.join("d/file"), "inside").unwrap();
    std::fs::write(root.join("secret"), "outside").unwrap();
    for (target, name) in
        [("d", "tree"), ("d/file", "file"), ("nothing", "dangling"), ("../secret", "d/out"), ("..", "d/top")]
    {
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    }
    for server in [Ftp::old(&root), Ftp::without_mlsd(&root)] {
        let shown = async |links: &str, dir| {
            let source = source(&format!("{}links = \"{links}\"\n", server.table())).await;
            let entries = list(source.as_ref(), dir).await.unwrap();
            let shown = |entry: Entry| (String::from_utf8(entry.name).unwrap(), entry.kind);
            (source, entries.into_iter().map(shown).collect::<BTreeMap<_, _>>())
        };
        let link = |target: &str| EntryKind::Symlink { target: target.into() };
        let (_, kept) = shown("keep", "").await;
        assert_eq!((&kept["tree"], &kept["dangling"]), (&link("d"), &link("nothing")));
        let (_, kept) = shown("keep", "d").await;
        assert_eq!((&kept["out"], &kept["top"]), (&link("../secret"), &link("..")));
        let (source, followed) = shown("follow", "").await;
        let kinds = [
            ("d", EntryKind::Directory),
            ("file", EntryKind::File),
            ("secret", EntryKind::File),
            ("tree", EntryKind::Directory),
        ];
        assert_eq!(followed, kinds.map(|(name, kind)| (name.to_owned(), kind)).into());
        for path in ["file", "tree/file"] {
            let path = remote(path);
            let answer = source.create_remote_digest(&path).await.unwrap();
            let mut out = Vec::new();
            source.retrieve_file(&Retrieval::new(&path, &answer.digest, 6, 0..6), &mut out).await.unwrap();
            assert_eq!(out, b"inside");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let dir = served();
    let server = Ftp::tls(dir.path());
    let source = configured(&format!("{}tls = true", server.table())).await.unwrap();
    let error = source.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("certificate") && error.to_string().contains("ca_file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_in_ca_file_is_trusted() {
    let dir = served();
    Directory::new(dir.path()).write("a", b"bytes");
    let server = Ftp::tls(dir.path());
    let table = format!("{}tls = true\n", server.table());
    let error = configured(&table).await.unwrap().connect().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let source = source(&format!("{table}ca_file = {:?}\n", server.certificate())).await;
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 1);
}

/// In a process of its own, since trust is a setting of the process.
#[test]
fn with_tls_everything_is_encrypted() {
    let dir = served();
    Directory::new(dir.path()).write("a", b"bytes");
    let server = Ftp::tls(dir.path());
    let own = served();
    let config = own.path().join("config.toml");
    let cache = own.path().join("cache");
    let table = format!("[cache]\ndir = {cache:?}\n[sources.x]\n{}tls = true\n", server.table());
    std::fs::write(
        &config,
        table.replace("password = \"", "password = { command = \"echo ").replace("Z9y\"", "Z9y\" }"),
    )
    .unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_kitovufs"));
    check.env("SSL_CERT_FILE", server.certificate()).env("KITOVUFS_LOG", "trace,suppaftp=trace");
    let output = check.args(["check", "-c"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", server.log());
    assert!(!said.contains("kit-password"), "no log shows a secret:\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_never_shown() {
    let dir = served();
    let server = Ftp::python(dir.path());
    let source = configured(&server.table().replace("kit-password", "hunter2")).await.unwrap();
    let error = source.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_shown_alone_and_a_missing_one_is_an_outage() {
    let dir = served();
    let directory = Directory::new(dir.path());
    directory.write("a b/ü/inner", b"x");
    for server in [Ftp::python(dir.path()), Ftp::old(dir.path()), Ftp::rclone(dir.path())] {
        for root in ["a b/ü", "/a b/ü/"] {
            let source = source(&format!("{}root = \"{root}\"", server.table())).await;
            let entries = list(source.as_ref(), "").await.unwrap();
            assert_eq!(entries.iter().map(|entry| entry.name.as_slice()).collect::<Vec<_>>(), [b"inner"]);
            source.create_remote_digest(&remote("inner")).await.unwrap();
        }
        let source = source(&format!("{}root = \"gone\"", server.table())).await;
        for path in ["", "a"] {
            assert_eq!(kind(list(source.as_ref(), path).await.map(drop)), Err(ErrorKind::Unreachable));
        }
        assert_eq!(kind(source.create_remote_digest(&remote("a")).await.map(drop)), Err(ErrorKind::Unreachable));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_never_an_absence() {
    let dir = served();
    Directory::new(dir.path()).write("dir/a", b"x");
    let mut server = Ftp::python(dir.path());
    let source = source(&server.table()).await;
    server.stop();
    for path in ["", "dir", "nothing"] {
        assert_eq!(kind(list(source.as_ref(), path).await.map(drop)), Err(ErrorKind::Unreachable));
        let digest = source.create_remote_digest(&remote("dir/a")).await;
        assert_eq!(kind(digest.map(drop)), Err(ErrorKind::Unreachable));
    }
    server.start();
    assert_eq!(list(source.as_ref(), "dir").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_are_one_listing_with_all_digests() {
    let dir = served();
    for number in 0..10_000 {
        std::fs::write(dir.path().join(format!("{number:05}")), b"x").unwrap();
    }
    let server = Ftp::python(dir.path());
    let source = source(&server.table()).await;
    let entries = list(source.as_ref(), "").await.unwrap();
    assert_eq!(entries.len(), 10_000);
    assert!(entries.iter().all(|entry| entry.digest.is_some() && entry.size == Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_large_file_are_read_side_by_side() {
    let dir = served();
    let directory = Directory::new(dir.path());
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    directory.write("large", &content);
    let before = directory.age.load(Ordering::Relaxed);
    assert!(before > 0);
    for server in [Ftp::rclone(dir.path()), Ftp::python(dir.path()), Ftp::old(dir.path())] {
        let source = source(&server.table()).await;
        let (path, size) = (remote("large"), content.len() as u64);
        let digest = source.create_remote_digest(&path).await.unwrap().digest;
        let reads = [0..size, 5..9_000_000, 19_999_990..size, 12_345_678..12_345_679].map(|range| {
            let (source, path, digest) = (&source, &path, &digest);
            async move {
                let mut out = Vec::new();
                let request = Retrieval::new(path, digest, size, range.clone());
                source.retrieve_file(&request, &mut out).await.map(|_| (range, out))
            }
        });
        for read in futures::future::join_all(reads).await {
            let (range, out) = read.unwrap();
            assert!(out == content[range.start as usize..range.end as usize], "{range:?}");
        }
        // The connections that stopped in the middle still work.
        assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_that_was_replaced_meanwhile_has_changed() {
    let dir = served();
    let directory = Directory::new(dir.path());
    directory.write("a", b"before");
    let server = Ftp::withholding(dir.path());
    let (source, path) = (source(&server.table()).await, remote("a"));
    let digest = source.create_remote_digest(&path).await.unwrap().digest;
    let request = Retrieval::new(&path, &digest, 6, 0..6);
    let refused = source.retrieve_file(&request, &mut Vec::new()).await;
    assert_eq!(kind(refused.map(drop)), Err(ErrorKind::PermissionDenied));
    directory.write("a", b"after");
    let refused = source.retrieve_file(&request, &mut Vec::new()).await;
    assert_eq!(kind(refused.map(drop)), Err(ErrorKind::Changed));
}

#[tokio::test]
async fn settings_are_checked() {
    for (table, key) in [
        ("type = \"ftp\"", None),
        ("type = \"ftp\"\nhost = \"ftp://x\"", Some("host")),
        ("type = \"ftp\"\nhost = \"x\"\nport = 0", Some("port")),
        ("type = \"ftp\"\nhost = \"x\"\nroot = \"a/../b\"", Some("root")),
        ("type = \"ftp\"\nhost = \"x\"\npassword = \"p\"", Some("password")),
        ("type = \"ftp\"\nhost = \"x\"\ntls = \"yes\"", Some("tls")),
    ] {
        let problems = configured(table).await.err().unwrap_or_default();
        assert_eq!(problems.iter().map(|problem| problem.key.as_deref()).collect::<Vec<_>>(), [key], "{table}");
    }
}
