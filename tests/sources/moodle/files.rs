//! Files of all kinds, byte for byte, whole and in parts.

use std::ops::Range;

use kitovufs::error::ErrorKind;
use kitovufs::path::RemotePath;
use kitovufs::source::{LocalCopy, Retrieval, Source};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{entry, files, kind_of, known, whole};
use crate::kit::moodle::{Moodle, TOKEN};
use crate::{remote, source};

/// The bytes of one place of the site, however it is listed.
fn expected(site: &Moodle, path: &RemotePath) -> Vec<u8> {
    let path = path.as_str().unwrap();
    if path == "course-2/link-22" {
        return b"[InternetShortcut]\r\nURL=https://example.org/x?b=c&d=%C3%BC\r\n".to_vec();
    }
    if path == "course-2/about-3/intro-23/l.png" {
        return site.store().sent("45/mod_label/intro/l.png");
    }
    let (_, path) = path.split_once('/').unwrap();
    let (activity, inside) = path.split_once('/').unwrap_or((path, ""));
    let (kind, id) = activity.split_once('-').unwrap();
    let all = [2, 3, 8, 9].into_iter().flat_map(|course| site.listed(course));
    let module = all.into_iter().find(|module| module["id"].as_u64() == id.parse().ok()).unwrap();
    let (context, modname) = (&module["contextid"], module["modname"].as_str().unwrap());
    let key = match (kind, modname) {
        ("page", _) => format!("{context}/mod_page/content/index.html"),
        ("book", _) => format!("{context}/mod_book/chapter/{inside}/index.html"),
        (_, "assign") => format!("{context}/mod_assign/introattachment/0/{inside}"),
        (_, "book") => format!("{context}/mod_book/chapter/{inside}"),
        _ => format!("{context}/mod_{modname}/content/{inside}"),
    };
    site.store().sent(&key)
}

async fn every_file_is_right(site: &Moodle) {
    let source = source(&site.table()).await;
    let scratch = kit::reaper::reachable();
    let all = files(source.as_ref(), &RemotePath::root()).await;
    assert_eq!(all.len(), 38 + 200 + 2, "those of the trees");
    for file in all {
        let path = file.path.as_str().unwrap();
        let is_like_others = path.starts_with("course-8/module-1") && !path.ends_with("00.txt");
        // Documents are made here (see `descriptions`).
        let is_made = ["about", "intro"].iter().any(|it| path.contains(it)) && path.ends_with("/text");
        if is_like_others || is_made {
            continue;
        }
        let known = known(source.as_ref(), &file).await;
        let (result, bytes) = whole(source.as_ref(), &file.path, &known).await;
        result.unwrap();
        let expected = expected(site, &file.path);
        assert!(bytes == expected, "{}: {} bytes of {}", file.path, bytes.len(), expected.len());
        if let Some(size) = known.size {
            assert_eq!(size, bytes.len() as u64, "{}", file.path);
        }
        let copy = scratch.path().join("copy");
        std::fs::write(&copy, &bytes).unwrap();
        let size = bytes.len() as u64;
        let copy = LocalCopy { file: &copy, path: &file.path, retrieved_as: &known.digest, size };
        assert_eq!(source.create_local_digest(&copy).await.unwrap(), known.digest);
        // Once it is known how long it is, it is asked for with that.
        if known.size.is_none() {
            let retrieval = Retrieval::new(&file.path, &known.digest, size, 0..size);
            let mut again = Vec::new();
            source.retrieve_file(&retrieval, &mut again).await.unwrap();
            assert!(again == bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_arrives_byte_for_byte() {
    every_file_is_right(&Moodle::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_arrives_byte_for_byte_where_the_web_server_sends_it() {
    let site = Moodle::start();
    site.store().accelerated = true;
    every_file_is_right(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_arrives_byte_for_byte_where_addresses_are_queries() {
    let site = Moodle::start();
    site.store().no_slash_arguments = true;
    every_file_is_right(&site).await;
}

async fn part(source: &dyn Source, path: &str, range: Range<u64>) -> Vec<u8> {
    let path = remote(path);
    let known = source.create_remote_digest(&path).await.unwrap();
    let mut out = Vec::new();
    let retrieval = Retrieval::new(&path, &known.digest, known.size.unwrap(), range);
    source.retrieve_file(&retrieval, &mut out).await.unwrap();
    out
}

#[tokio::test]
async fn parts_are_asked_for_and_nothing_else_comes() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let bytes = site.store().sent("38/mod_resource/content/big.bin");
    let path = "course-2/module-16/big.bin";
    for (range, asked) in [(0..10, "bytes=0-9"), (52_428_795..52_428_800, "bytes=52428795-52428799")] {
        site.requests();
        let part = part(source.as_ref(), path, range.clone()).await;
        assert_eq!(part, bytes[range.start as usize..range.end as usize]);
        assert_eq!(site.requests().last().unwrap(), &format!("file 38/mod_resource/content/big.bin {asked}"));
    }
}

#[tokio::test]
async fn a_text_that_is_sent_only_whole_is_sent_once_to_who_reads_on() {
    let site = Moodle::start();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    site.store().put(17, "/log.txt", &bytes);
    let source = source(&site.table()).await;
    let path = remote("course-2/module-17/log.txt");
    let known = source.create_remote_digest(&path).await.unwrap();
    site.requests();
    let read = async |range: Range<u64>| {
        let mut out = Vec::new();
        source.retrieve_file(&Retrieval::new(&path, &known.digest, 3_000_000, range.clone()), &mut out).await.unwrap();
        assert!(out == bytes[range.start as usize..range.end as usize], "{range:?}");
    };
    for at in (0..3_000_000).step_by(100_000) {
        read(at..at + 100_000).await;
    }
    let file = |range: &str| format!("file 39/mod_folder/content/log.txt bytes={range}");
    let of_files = |asked: Vec<String>| asked.into_iter().filter(|what| what.starts_with("file")).collect::<Vec<_>>();
    assert_eq!(of_files(site.requests()), [file("0-99999")]);
    // Who jumps forward passes over what is between; who jumps back begins anew.
    read(1_000_000..1_000_010).await;
    read(2_999_990..3_000_000).await;
    read(5..10).await;
    assert_eq!(of_files(site.requests()), [file("1000000-1000009"), file("5-9")]);
}

#[tokio::test]
async fn what_is_made_when_it_is_asked_for_can_be_read_in_parts() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    for path in ["course-2/page-19", "course-2/module-12/f.html"] {
        let known = source.create_remote_digest(&remote(path)).await.unwrap();
        let (_, bytes) = whole(source.as_ref(), &remote(path), &known).await;
        let size = bytes.len() as u64;
        for range in [0..10, 10..size, 3..4] {
            let (path, mut out) = (remote(path), Vec::new());
            source.retrieve_file(&Retrieval::new(&path, &known.digest, size, range.clone()), &mut out).await.unwrap();
            assert_eq!(out, bytes[range.start as usize..range.end as usize]);
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_those_of_the_sites_own_hash_are_never_delivered() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let listed = entry(source.as_ref(), "course-2/section-1", "course-2/module-1/syllabus.pdf").await;
    let known = known(source.as_ref(), &listed).await;
    site.store().damaged.insert("23/mod_resource/content/syllabus.pdf".into());
    let (result, bytes) = whole(source.as_ref(), &listed.path, &known).await;
    assert_eq!((kind_of(result), bytes), (Err(ErrorKind::ChangedDuringRead), Vec::new()));
    // Parts cannot tell; the copy that is put together from them can.
    let mut copied = part(source.as_ref(), "course-2/module-1/syllabus.pdf", 0..65).await;
    copied.extend(part(source.as_ref(), "course-2/module-1/syllabus.pdf", 65..130).await);
    let scratch = kit::reaper::reachable();
    let file = scratch.path().join("syllabus.pdf");
    std::fs::write(&file, &copied).unwrap();
    let copy = LocalCopy { file: &file, path: &listed.path, retrieved_as: &known.digest, size: 130 };
    let local = source.create_local_digest(&copy).await.unwrap();
    // However often it comes: such a digest never counts as a pair (case C8).
    assert!(local != known.digest && local.is_damage(), "{local}");
}

#[tokio::test]
async fn what_comes_instead_of_a_file_is_never_taken_for_it() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let dir = "course-2/section-3";
    let listed = entry(source.as_ref(), dir, "course-2/module-16/big.bin").await;
    let known = known(source.as_ref(), &listed).await;
    site.store().hide(16, true);
    let (result, bytes) = whole(source.as_ref(), &listed.path, &known).await;
    assert_eq!((kind_of(result), bytes.len()), (Err(ErrorKind::NotFound), 0), "hidden since");
    site.store().hide(16, false);
    site.store().token = "another".into();
    let (result, bytes) = whole(source.as_ref(), &listed.path, &known).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), bytes.len()), (ErrorKind::Unauthenticated, 0));
    assert!(error.to_string().contains("copy a new one"), "{error}");
}

/// Answers one request, and tells what it was.
async fn other_host(answer: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/cloud/file", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 16 * 1024];
        let len = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    });
    (url, asked)
}

#[tokio::test]
async fn files_that_are_kept_elsewhere_are_asked_for_without_the_token() {
    let site = Moodle::start();
    let unnamed = source(&site.table()).await;
    let source = source(&format!("{}redirect_hosts = [\"127.0.0.1\", \"localhost\"]\n", site.table())).await;
    let (dir, path, key) = ("course-2/section-2", "course-2/module-50/alias.txt", "72/mod_resource/content/alias.txt");
    let headers = "Content-Type: text/plain\r\nETag: \"v1\"\r\nConnection: close\r\n";
    let entry = entry(source.as_ref(), dir, path).await;

    let (url, asked) =
        other_host(format!("HTTP/1.1 206 X\r\n{headers}Content-Length: 1\r\nContent-Range: bytes 0-0/8\r\n\r\nf"))
            .await;
    site.store().elsewhere.insert(key.into(), url);
    let known = source.create_remote_digest(&entry.path).await.unwrap();
    assert_eq!((known.digest.as_str(), known.size), ("etag:v1;size=8", Some(8)));
    let probe = asked.await.unwrap();

    let (url, asked) = other_host(format!("HTTP/1.1 200 X\r\n{headers}Content-Length: 8\r\n\r\nfar away")).await;
    site.store().elsewhere.insert(key.into(), url);
    let (result, bytes) = whole(source.as_ref(), &entry.path, &known).await;
    result.unwrap();
    assert_eq!(bytes, b"far away");
    for request in [probe, asked.await.unwrap()] {
        assert!(request.starts_with("GET /cloud/file HTTP") && !request.contains(TOKEN), "{request}");
    }

    // Nor is anybody sent into a network that the configuration does not name.
    let (url, asked) = other_host("HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n".into()).await;
    site.store().elsewhere.insert(key.into(), url);
    let refused = unnamed.create_remote_digest(&entry.path).await.unwrap_err();
    assert!(refused.to_string().contains("redirect_hosts"), "{refused}");
    assert!(!asked.is_finished(), "it was asked");
    asked.abort();

    // A page that asks one to log in is no file.
    let page = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 8\r\nConnection: close\r\n\r\n<p>?</p>";
    let (url, _) = other_host(page.into()).await;
    site.store().elsewhere.insert(key.into(), url);
    let (result, bytes) = whole(source.as_ref(), &entry.path, &known).await;
    assert_eq!((kind_of(result), bytes.len()), (Err(ErrorKind::Protocol), 0));
}
