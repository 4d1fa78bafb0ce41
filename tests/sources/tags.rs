//! Servers whose entity tags are not what identifies a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kitovufs::error::ErrorKind;
use kitovufs::source::{Retrieval, Source};

use crate::kit::liar::{Answer, For, Liar, Speaks};
use crate::kit::servers::Webdav;
use crate::real::{Directory, served};
use crate::{kind, remote, source};

/// More than comes in one part.
const SIZE: usize = 3 << 20;
/// The tag that the server tells, which begins with its time.
const TOLD: &str = "\"2ebc98a1-";

/// A server with one file, and a source that shows it.
async fn server(speaks: Speaks) -> (Liar, Box<dyn Source>, Vec<u8>) {
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at ^ (at >> 8)) as u8).collect();
    let liar = Liar::speaking(speaks, [("file".to_owned(), bytes.clone())].into());
    let source = source(&liar.table()).await;
    (liar, source, bytes)
}

/// Reads the file as a mount does: in two parts if there are parts, and once more if it has changed.
async fn read(source: &dyn Source) -> Vec<u8> {
    let path = remote("file");
    for _ in 0..3 {
        let digest = source.create_remote_digest(&path).await.unwrap().digest;
        let size = SIZE as u64;
        let middle = if source.capabilities().ranges { size / 2 } else { size };
        let mut bytes = Vec::new();
        for part in [0..middle, middle..size].into_iter().filter(|part| !part.is_empty()) {
            if source.retrieve_file(&Retrieval::new(&path, &digest, size, part), &mut bytes).await.is_err() {
                bytes.clear();
                break;
            }
        }
        if !bytes.is_empty() {
            return bytes;
        }
    }
    panic!("it could not be read");
}

/// Gives every answer about the version this tag.
fn tell(answer: &mut Answer, tag: &str) {
    let body = String::from_utf8(answer.body.clone()).unwrap_or_default();
    if let (Some(begin), Some(end)) = (body.find(TOLD), body.find("</D:getetag>")) {
        answer.say(format!("{}{tag}{}", &body[..begin], &body[end..]).as_bytes());
    } else {
        answer.header("ETag", Some(tag));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_sent_under_no_tag_or_another_are_read_in_parts_and_keep_their_digest() {
    for speaks in [Speaks::Webdav, Speaks::Html] {
        for tag in [None, Some("\"own\"")] {
            let (liar, source, bytes) = server(speaks).await;
            let digest = source.create_remote_digest(&remote("file")).await.unwrap().digest;
            liar.lie(move |what, answer| {
                if what == For::Bytes {
                    answer.header("ETag", tag);
                }
            });
            assert!(read(&*source).await == bytes, "{speaks:?} {tag:?}");
            assert!(source.capabilities().ranges);
            let unchanged = source.create_remote_digest(&remote("file")).await.unwrap().digest;
            assert_eq!(unchanged, digest, "the tags that it tells are stable");
        }
    }
}

/// Nothing else tells which version they are of: lighttpd goes on to send a file that it has open under the name of the next one, whose
/// tag it tells meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_lighttpd_that_have_no_type_are_refused_with_what_the_server_needs() {
    let dir = served();
    Directory::new(dir.path()).write("file.unknown", b"0123456789");
    let path = remote("file.unknown");
    let server = Webdav::lighttpd_without_types(dir.path());
    let source = source(&server.table()).await;
    let digest = source.create_remote_digest(&path).await.unwrap().digest;
    for range in [0..10, 2..5] {
        let mut out = Vec::new();
        let error = source.retrieve_file(&Retrieval::new(&path, &digest, 10, range), &mut out).await.unwrap_err();
        assert_eq!((error.kind(), out.len()), (ErrorKind::Protocol, 0));
        assert!(error.to_string().contains("mimetype.assign += (\"\" => \"application/octet-stream\")"), "{error}");
    }
    let server = Webdav::lighttpd(dir.path());
    let source = self::source(&server.table()).await;
    let mut out = Vec::new();
    for range in [0..10, 2..5] {
        let digest = source.create_remote_digest(&path).await.unwrap().digest;
        source.retrieve_file(&Retrieval::new(&path, &digest, 10, range), &mut out).await.unwrap();
    }
    assert_eq!(out, b"0123456789234");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tags_change_while_files_do_not_size_and_time_tell_versions_apart() {
    for speaks in [Speaks::Webdav, Speaks::Html] {
        let (liar, source, bytes) = server(speaks).await;
        let number = AtomicU64::new(0);
        liar.lie(move |_, answer| tell(answer, &format!("\"{}\"", number.fetch_add(1, Ordering::Relaxed))));
        assert!(read(&*source).await == bytes, "{speaks:?}");
        assert!(!source.capabilities().ranges, "two answers may be of two mirrors");
        let digest = source.create_remote_digest(&remote("file")).await.unwrap().digest;
        assert_eq!(source.create_remote_digest(&remote("file")).await.unwrap().digest, digest);
        // A change of the time still shows.
        liar.lie(|_, answer| {
            answer.header("Last-Modified", Some("Mon, 07 Nov 1994 08:49:37 GMT"));
            let body = String::from_utf8_lossy(&answer.body).replace("Sun, 06 Nov", "Mon, 07 Nov");
            if !answer.value("Content-Type").is_empty() {
                answer.say(body.as_bytes());
            }
        });
        assert_ne!(source.create_remote_digest(&remote("file")).await.unwrap().digest, digest);
        let mut nothing = Vec::new();
        let path = remote("file");
        let old = Retrieval::new(&path, &digest, SIZE as u64, 0..SIZE as u64);
        assert!(kind(source.retrieve_file(&old, &mut nothing).await).is_err() && nothing.is_empty());
    }
}

/// Both mirrors say the same size and time; only the tags of what they send show that they are two.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_two_mirrors_are_never_mixed() {
    for speaks in [Speaks::Webdav, Speaks::Html] {
        let (liar, source, bytes) = server(speaks).await;
        let number = AtomicU64::new(0);
        let other: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        let others = other.clone();
        liar.lie(move |what, answer| {
            if what != For::Bytes {
                return;
            }
            let mirror = number.fetch_add(1, Ordering::Relaxed) % 2;
            answer.header("ETag", Some(&format!("\"mirror-{mirror}\"")));
            if mirror == 1 {
                answer.body.iter_mut().for_each(|byte| *byte = !*byte);
            }
        });
        let read = read(&*source).await;
        assert!(read == bytes || read == others, "{speaks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_mirror_has_begun_no_other_goes_on_with() {
    for speaks in [Speaks::Webdav, Speaks::Html] {
        let (liar, source, bytes) = server(speaks).await;
        let told = AtomicU64::new(0);
        let mirror = Arc::new(AtomicU64::new(0));
        let answering = mirror.clone();
        liar.lie(move |what, answer| {
            let mirror = answering.load(Ordering::Relaxed);
            if what == For::Bytes {
                answer.header("ETag", Some(&format!("\"mirror-{mirror}\"")));
                answer.body.iter_mut().for_each(|byte| *byte ^= mirror as u8);
            } else {
                tell(answer, &format!("\"{}\"", told.fetch_add(1, Ordering::Relaxed)));
            }
        });
        assert!(read(&*source).await == bytes, "{speaks:?}");
        assert!(source.capabilities().proven_whole, "a copy is whole before it is read");
        let path = remote("file");
        let digest = source.create_remote_digest(&path).await.unwrap().digest;
        let size = SIZE as u64;
        mirror.store(1, Ordering::Relaxed);
        for (range, result) in [(0..size, Err(ErrorKind::Changed)), (0..size, Ok(())), (size / 2..size, Ok(()))] {
            let mut out = Vec::new();
            let wanted = Retrieval::new(&path, &digest, size, range.clone());
            assert_eq!(kind(source.retrieve_file(&wanted, &mut out).await.map(|_| ())), result, "{speaks:?} {range:?}");
            assert_eq!(out.is_empty(), result.is_err(), "{speaks:?} {range:?}");
        }
        mirror.store(2, Ordering::Relaxed);
        let mut out = Vec::new();
        let rest = Retrieval::new(&path, &digest, size, size / 2..size);
        assert_eq!(
            kind(source.retrieve_file(&rest, &mut out).await.map(|_| ())),
            Err(ErrorKind::Changed),
            "{speaks:?}"
        );
        assert!(out.is_empty(), "{speaks:?}");
        let whole = Retrieval::of_unknown_size(&path, &digest);
        source.retrieve_file(&whole, &mut out).await.expect("one answer has it all");
        assert!(out.len() == SIZE && out[0] == bytes[0] ^ 2, "{speaks:?}");
    }
}
