//! Names are kept byte for byte where Linux allows it; what leads elsewhere is never followed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::kit::mount::Mount;
use crate::remote::Remote;

fn names_in(dir: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn names_of_a_directory_are_kept_byte_for_byte() {
    let remote = Remote::local();
    let longest = vec![b'x'; 255];
    let longest_of_many = "ü".repeat(127).into_bytes();
    let names: [&[u8]; 14] = [
        b"\xff\xfe not UTF-8 \x80",
        &longest,
        &longest_of_many,
        b"-rf",
        b"--help",
        b"line\nbreak",
        b"tab\tbell\x07",
        b" blanks ",
        b"...",
        b"back\\slash",
        "slash\u{ff0f}like".as_bytes(),
        "newline\u{240a}like".as_bytes(),
        "e\u{301} and \u{e9}".as_bytes(),
        b"*?[a]$HOME`id`",
    ];
    for name in names {
        fs::write(remote.dir().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mount = Mount::of(&remote.table("near"));
    let mut expected: Vec<_> = names.map(|name| OsString::from_vec(name.to_vec())).into();
    expected.sort();
    assert_eq!(names_in(&mount.path("near")), expected);
    for name in names {
        let path = mount.path("near").join(OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), name, "{}", path.display());
    }
    // Above NAME_MAX there is nothing to look for.
    assert!(fs::metadata(mount.path("near").join("x".repeat(256))).is_err());
}

#[test]
fn a_copy_of_a_tree_has_the_links_of_the_original() {
    let remote = Remote::local();
    let (dir, elsewhere) = (remote.dir().join("dir"), remote.dir().join("../elsewhere"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "x").unwrap();
    for (target, name) in [("file", "near"), ("../../elsewhere", "out"), ("/nonexistent/x", "nowhere")] {
        symlink(target, dir.join(name)).unwrap();
    }
    symlink(&elsewhere, dir.join("absolute")).unwrap();
    let mount = Mount::of(&remote.table("near"));
    let compared = Command::new("diff").args(["-r", "--no-dereference"]).arg(&dir).arg(mount.path("near/dir")).output();
    let compared = compared.unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
}

/// Names that mean something to URLs, to XML or to shells.
const AWKWARD: [&str; 11] =
    ["a b", "100%", "x#1", "q?a", "R&D", "1+1=2", "日本", "<b>", "%2e%2e", "semi;colon", "\"quoted\""];

#[test]
fn names_are_kept_whoever_serves_them() {
    for remote in [Remote::apache(), Remote::webdav(), Remote::s3()] {
        for name in AWKWARD {
            remote.put(name, name);
        }
        let mount = Mount::of(&remote.table("far"));
        let mut expected = AWKWARD.map(OsString::from);
        expected.sort();
        assert_eq!(names_in(&mount.path("far")), expected);
        for name in AWKWARD {
            assert_eq!(fs::read_to_string(mount.path("far").join(name)).unwrap(), name);
        }
    }
}

#[test]
fn what_is_no_text_in_the_names_of_a_web_folder_is_kept() {
    // Apache's; rclone makes pictures of it before anybody sees it.
    let remote = Remote::apache();
    let names = [&b"line\nbreak"[..], b"not UTF-8 \xff"].map(OsStr::from_bytes);
    for name in names {
        fs::write(remote.dir().join(name), "bytes").unwrap();
    }
    let mount = Mount::of(&remote.table("far"));
    assert_eq!(names_in(&mount.path("far")), names);
    for name in names {
        assert_eq!(fs::read(mount.path("far").join(name)).unwrap(), b"bytes", "{name:?}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_never_followed() {
    let endpoint = a_server_that_lists(&["/good", "/..", "/%2e%2e/", "/..%2f..%2fetc%2fpasswd", "/a/../../up"]);
    let mount = Mount::of(&format!("[sources.evil]\ntype = \"webdav\"\nendpoint = \"{endpoint}\"\n"));
    let names = names_in(&mount.path("evil"));
    assert!(names.contains(&"good".into()), "{names:?}");
    // As a name, `..%2f..` may be shown with pictures for its slashes; it must not be a path.
    for name in names {
        let found = fs::symlink_metadata(mount.path("evil").join(&name)).unwrap();
        assert!(!found.is_symlink(), "{name:?}");
        assert!(name != ".." && name != "etc" && name != "up", "{name:?}");
    }
    let log = mount.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("left out")).collect();
    let [line] = told[..] else { panic!("not one line for a listing: {log}") };
    assert!(line.contains("4 names are left out"), "{line}");
    assert!(line.contains(" source evil: "), "of which source? {line}");
}

/// A WebDAV server that lists these, whatever it is asked.
fn a_server_that_lists(hrefs: &[&str]) -> String {
    let entries: String = std::iter::once(&"/")
        .chain(hrefs)
        .map(|href| {
            let kind = if href.ends_with('/') { "<D:collection/>" } else { "" };
            format!(
                "<D:response><D:href>{href}</D:href><D:propstat><D:status>HTTP/1.1 200 OK</D:status><D:prop>\
                 <D:resourcetype>{kind}</D:resourcetype><D:getcontentlength>4</D:getcontentlength>\
                 <D:getlastmodified>Mon, 01 Jan 2024 00:00:00 GMT</D:getlastmodified><D:getetag>\"1\"</D:getetag>\
                 </D:prop></D:propstat></D:response>"
            )
        })
        .collect();
    let body = format!("<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">{entries}</D:multistatus>");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The head of the request, up to its empty line, is all that matters.
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = write!(
                &stream,
                "HTTP/1.1 207 Multi-Status\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    endpoint
}
