//! A server that answers what a test tells it to, once per connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kitovufs::digest::Digest;
use kitovufs::error::ErrorKind;
use kitovufs::source::{Retrieval, Source};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{kind, remote, source};

/// Starts a server that gives every request the same answer, bytes as they are; an empty one means silence.
pub async fn liar(answer: &'static str) -> String {
    liar_but_for(answer, |_| None).await
}

/// The same, but that it tells the truth about the file where it is only asked about it.
async fn liar_to_who_reads(answer: &'static str) -> String {
    const TRUTH: &str = "<multistatus><response><href>/file</href><propstat><prop><getetag>\"v1\"</getetag>\
        <getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</getlastmodified>\
        <getcontentlength>10</getcontentlength></prop></propstat></response></multistatus>";
    liar_but_for(answer, |request| {
        let answer = format!("HTTP/1.1 207 X\r\nContent-Length: {}\r\n\r\n{TRUTH}", TRUTH.len());
        request.starts_with(b"PROPFIND").then_some(answer)
    })
    .await
}

pub async fn liar_but_for(
    answer: &'static str,
    truth: impl Fn(&[u8]) -> Option<String> + Send + Sync + 'static,
) -> String {
    let truth = Arc::new(truth);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let truth = truth.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    let mut buffer = [0; 4096];
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(len) => request.extend_from_slice(&buffer[..len]),
                    }
                }
                let answer = truth(&request).unwrap_or_else(|| answer.to_owned());
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    format!("http://127.0.0.1:{port}")
}

/// The truth of a server that answers nobody who has not logged in.
pub fn asking_for_a_login(request: &[u8]) -> Option<String> {
    const ASKED: &str = "HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
    (!String::from_utf8_lossy(request).to_lowercase().contains("authorization:")).then(|| ASKED.into())
}

/// A WebDAV and an S3 source whose server gives this answer.
async fn sources(answer: &'static str) -> [Box<dyn Source>; 2] {
    sources_at(&liar(answer).await).await
}

/// The same, but that the server gives it only to who reads.
async fn sources_to_read(answer: &'static str) -> [Box<dyn Source>; 2] {
    sources_at(&liar_to_who_reads(answer).await).await
}

async fn sources_at(url: &str) -> [Box<dyn Source>; 2] {
    let dav = format!("type = \"webdav\"\nendpoint = \"{url}\"");
    let s3 = format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"b\"");
    [source(&dav).await, source(&s3).await]
}

/// What comes of asking for bytes 2 to 5 of ten, version `"v1"`.
async fn part(source: &dyn Source) -> (Result<(), ErrorKind>, Vec<u8>) {
    retrieve(source, "etag:v1", 2..5).await
}

pub async fn retrieve(
    source: &dyn Source,
    digest: &str,
    range: std::ops::Range<u64>,
) -> (Result<(), ErrorKind>, Vec<u8>) {
    let (path, digest, mut out) = (remote("file"), Digest::new(digest), Vec::new());
    let request = Retrieval::new(&path, &digest, 10, range);
    let result = source.retrieve_file(&request, &mut out).await;
    (kind(result.map(drop)), out)
}

#[tokio::test]
async fn only_exactly_the_wanted_bytes_of_the_wanted_version_come_through() {
    let cases: [(&str, Result<(), ErrorKind>, &str); 11] = [
        // The answer that is right.
        ("206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc", Ok(()), "abc"),
        // The right part under the status of the whole, as rclone sends it.
        ("200 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc", Ok(()), "abc"),
        // Other bytes.
        (
            "206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 3-5/10\r\nContent-Length: 3\r\n\r\nabc",
            Err(ErrorKind::Protocol),
            "",
        ),
        // Fewer bytes than asked for, honestly.
        (
            "206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-3/10\r\nContent-Length: 2\r\n\r\nab",
            Err(ErrorKind::Protocol),
            "",
        ),
        // No word about which bytes.
        ("206 X\r\nETag: \"v1\"\r\nContent-Length: 3\r\n\r\nabc", Err(ErrorKind::Protocol), ""),
        // Another version.
        (
            "206 X\r\nETag: \"v2\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc",
            Err(ErrorKind::Changed),
            "",
        ),
        // Another size.
        (
            "206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/11\r\nContent-Length: 3\r\n\r\nabc",
            Err(ErrorKind::Changed),
            "",
        ),
        // No word about the version.
        ("206 X\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc", Err(ErrorKind::Protocol), ""),
        // The connection breaks.
        (
            "206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\na",
            Err(ErrorKind::Unreachable),
            "",
        ),
        // The same without a length.
        (
            "206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\nConnection: close\r\n\r\nab",
            Err(ErrorKind::Unreachable),
            "",
        ),
        // More bytes than said.
        (
            "206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\nConnection: close\r\n\r\nabcd",
            Err(ErrorKind::Protocol),
            "",
        ),
    ];
    for (answer, expected, bytes) in cases {
        let answer = Box::leak(format!("HTTP/1.1 {answer}").into_boxed_str());
        for source in sources_to_read(answer).await {
            let (result, out) = part(source.as_ref()).await;
            assert_eq!((result, "abc".starts_with(std::str::from_utf8(&out).unwrap())), (expected, true), "{answer}");
            assert!(expected.is_err() || out == bytes.as_bytes(), "{answer}");
        }
    }
}

/// No S3 server ignores ranges; a simple WebDAV server may, and the part is cut out of the whole.
#[tokio::test]
async fn a_range_that_is_ignored_is_a_mistake_of_s3_and_not_of_webdav() {
    let whole = "HTTP/1.1 200 X\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n0123456789";
    let [dav, s3] = sources_to_read(whole).await;
    assert!(dav.capabilities().ranges);
    assert_eq!(part(dav.as_ref()).await, (Ok(()), b"234".to_vec()));
    assert!(!dav.capabilities().ranges, "nobody asks for parts again");
    assert_eq!(part(s3.as_ref()).await, (Err(ErrorKind::Protocol), Vec::new()));
    let [dav, _] = sources_to_read("HTTP/1.1 200 X\r\nETag: \"v2\"\r\nContent-Length: 10\r\n\r\n0123456789").await;
    assert_eq!(part(dav.as_ref()).await, (Err(ErrorKind::Changed), Vec::new()));
}

#[tokio::test]
async fn the_whole_file_may_come_without_a_range() {
    for (answer, expected) in [
        ("HTTP/1.1 200 X\r\nETag: W/\"v1\"\r\nContent-Length: 10\r\n\r\n0123456789", Ok(())),
        ("HTTP/1.1 200 X\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n0123456789", Ok(())),
        ("HTTP/1.1 200 X\r\nETag: \"v1\"\r\nContent-Length: 9\r\n\r\n012345678", Err(ErrorKind::Changed)),
        ("HTTP/1.1 200 X\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n01234", Err(ErrorKind::Unreachable)),
        ("HTTP/1.1 204 X\r\nETag: \"v1\"\r\n\r\n", Err(ErrorKind::Protocol)),
    ] {
        for source in sources_to_read(answer).await {
            assert_eq!(retrieve(source.as_ref(), "etag:v1", 0..10).await.0, expected, "{answer}");
        }
    }
}

#[tokio::test]
async fn without_a_tag_the_time_must_agree() {
    const RIGHT: &str =
        "HTTP/1.1 200 X\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 10\r\n\r\n0123456789";
    for (digest, expected) in [
        ("stat:;size=10;modified=784111777", Ok(())),
        ("stat:;size=10;modified=784111777;unsettled=5", Ok(())),
        ("stat:;size=10;modified=784111778", Err(ErrorKind::Changed)),
    ] {
        for source in sources_to_read(RIGHT).await {
            assert_eq!(retrieve(source.as_ref(), digest, 0..10).await.0, expected, "{digest}");
        }
    }
}

#[tokio::test]
async fn a_status_says_what_kind_of_failure_it_is() {
    for (answer, expected) in [
        ("HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::Unauthenticated),
        ("HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::PermissionDenied),
        ("HTTP/1.1 412 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::Changed),
        ("HTTP/1.1 416 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::Changed),
        ("HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::RateLimited),
        ("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::Unreachable),
        ("HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::Unreachable),
        ("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::RateLimited),
        // Everything is missing, the root too: an outage.
        ("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::Unreachable),
        ("rubbish\r\n\r\n", ErrorKind::Unreachable),
    ] {
        for source in sources(answer).await {
            assert_eq!(part(source.as_ref()).await.0, Err(expected), "{answer}");
            let (root, file) = (remote(""), remote("file"));
            let listing = kind(source.list_path(&root).await.map(drop));
            let digest = kind(source.create_remote_digest(&file).await.map(drop));
            assert_eq!((listing, digest), (Err(expected), Err(expected)), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_listing_that_is_none_is_an_error_and_never_an_empty_directory() {
    for answer in [
        "HTTP/1.1 200 X\r\nContent-Length: 13\r\n\r\n<html></html>",
        "HTTP/1.1 207 X\r\nContent-Length: 14\r\n\r\n<multistatus/>",
        "HTTP/1.1 207 X\r\nContent-Length: 13\r\n\r\n<multistatus>",
        "HTTP/1.1 200 X\r\nContent-Length: 18\r\n\r\n<ListBucketResult>",
        "HTTP/1.1 204 X\r\n\r\n",
    ] {
        for source in sources(answer).await {
            let root = remote("");
            assert_eq!(kind(source.list_path(&root).await.map(drop)), Err(ErrorKind::Protocol), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_listing_that_is_packed_unasked_is_named_as_the_cause() {
    for source in sources("HTTP/1.1 207 X\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\u{b}\u{8}").await {
        let error = source.list_path(&remote("")).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("packs its answer (gzip)"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_keeps_only_its_own_caller_waiting() {
    for source in sources("").await {
        let path = remote("file");
        let asked = tokio::time::timeout(Duration::from_millis(100), source.create_remote_digest(&path)).await;
        assert!(asked.is_err(), "the deadline is the caller's");
    }
}

/// In the middle of its body, the file is overwritten in place; the headers vouched for what was there before.
#[tokio::test]
async fn a_file_overwritten_under_the_servers_hands_is_never_delivered_whole() {
    for (now, expected, delivered) in [("v1", Ok(()), "0123456789"), ("v2", Err(ErrorKind::Changed), "")] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                let len = stream.read(&mut buffer).await.unwrap();
                if buffer[..len].starts_with(b"GET") {
                    stream
                        .write_all(b"HTTP/1.1 200 X\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n01234")
                        .await
                        .unwrap();
                    stream.write_all(b"56789").await.unwrap();
                } else {
                    let body = format!(
                        "<multistatus><response><href>/file</href><propstat><prop><getetag>\"{now}\"</getetag>\
                         <getcontentlength>10</getcontentlength></prop></propstat></response></multistatus>"
                    );
                    let answer = format!("HTTP/1.1 207 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let source = source(&format!("type = \"webdav\"\nendpoint = \"{url}\"")).await;
        let (result, out) = retrieve(source.as_ref(), "etag:v1", 0..10).await;
        assert_eq!((result, std::str::from_utf8(&out).unwrap()), (expected, delivered));
    }
}

/// A second change within the tick of the server's clock has the same tag: what is so young counts when it was the same twice.
#[tokio::test]
async fn a_version_that_may_change_unnoticed_is_retrieved_twice_and_must_be_the_same() {
    for (second, expected) in [("0123456789", Ok(())), ("0123456780", Err(ErrorKind::Changed))] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for body in ["0123456789", second] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let len = stream.read(&mut [0; 4096]).await.unwrap();
                assert!(len > 0);
                let head = "HTTP/1.1 200 X\r\nETag: \"v1\"\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        let source = source(&format!("type = \"webdav\"\nendpoint = \"{url}\"")).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let (result, out) = retrieve(source.as_ref(), &format!("etag:v1;size=10;unsettled={now}"), 0..10).await;
        assert_eq!((result, out.is_empty()), (expected, expected.is_err()));
    }
}

/// A source of every type that speaks HTTP, at this address.
fn tables(url: &str) -> [String; 5] {
    [
        format!("type = \"webdav\"\nendpoint = \"{url}\""),
        format!("type = \"http\"\nurl = \"{url}/\""),
        format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"b\""),
        format!("type = \"gcs\"\nendpoint = \"{url}\"\nbucket = \"b\""),
        format!("type = \"azblob\"\nendpoint = \"{url}\"\ncontainer = \"b\"\naccount_name = \"a\""),
    ]
}

#[tokio::test]
async fn a_login_page_in_place_of_a_file_is_called_one_over_every_protocol() {
    // It has the length of the file.
    let page = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\n<p>log in!";
    let url = liar_to_who_reads(page).await;
    for table in tables(&url) {
        let source = source(&table).await;
        let (path, digest, mut out) = (remote("file"), Digest::new("etag:v1;size=10"), Vec::new());
        let request = Retrieval::new(&path, &digest, 10, 0..10);
        let error = source.retrieve_file(&request, &mut out).await.unwrap_err();
        assert_eq!((error.kind(), out.len()), (ErrorKind::Protocol, 0), "{table}: {error}");
        assert!(error.to_string().contains("looks like a login page of 127.0.0.1"), "{table}: {error}");
    }
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let elsewhere = listener.local_addr().unwrap().port();
    let answer = format!("HTTP/1.1 302 X\r\nLocation: http://localhost:{elsewhere}/x\r\nContent-Length: 0\r\n\r\n");
    let url = liar_but_for(Box::leak(answer.into_boxed_str()), asking_for_a_login).await;
    let login = "username = \"anna\"\npassword = \"hunter2\"\nredirect_hosts = [\"localhost\"]";
    let dav = source(&format!("type = \"webdav\"\nendpoint = \"{url}\"\n{login}")).await;
    let s3 = format!(
        "type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"b\"\naccess_key_id = \"k\"\nsecret_access_key = \"hunter2\"\nsession_token = \"t\""
    );
    let s3 = source(&s3).await;
    assert_eq!(part(s3.as_ref()).await.0, Err(ErrorKind::Protocol), "a signed request is not sent on");
    let asking = tokio::spawn(async move { part(dav.as_ref()).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 4096];
    let len = stream.read(&mut buffer).await.unwrap();
    let request = String::from_utf8_lossy(&buffer[..len]).to_lowercase();
    assert!(request.starts_with("get /x") && !request.contains("authorization"), "{request}");
    assert!(!request.contains("referer") && !request.contains("cookie"), "{request}");
    drop(stream);
    drop(listener);
    assert!(asking.await.unwrap().0.is_err());
}

/// What a server must not make of a mount: a way into its machine and its network.
#[tokio::test]
async fn nobody_is_sent_into_a_network_that_the_configuration_does_not_name() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move { listener.accept().await.map(drop) });
    for host in [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "10.0.0.1",
        "169.254.169.254",
    ] {
        let answer = format!("HTTP/1.1 302 X\r\nLocation: http://{host}:{port}/x\r\nContent-Length: 0\r\n\r\n");
        let url = liar(Box::leak(answer.into_boxed_str())).await;
        for table in tables(&url) {
            let source = source(&table).await;
            let began = std::time::Instant::now();
            let failed = source.list_path(&remote("")).await.map(drop).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::Protocol, "{table}: {failed}");
            if table.contains("webdav") {
                assert!(failed.to_string().contains("redirect_hosts"), "{failed}");
            }
            assert_eq!(part(source.as_ref()).await.0, Err(ErrorKind::Protocol), "{table}");
            assert!(began.elapsed() < Duration::from_secs(5), "{table}: it was tried");
        }
    }
    assert!(!asked.is_finished(), "somebody was sent there");
    asked.abort();
}

#[tokio::test]
async fn a_server_may_send_one_on_within_itself_but_not_for_ever() {
    let url = liar("HTTP/1.1 301 X\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n").await;
    let dav = source(&format!("type = \"webdav\"\nendpoint = \"{url}\"")).await;
    let failed = dav.list_path(&remote("")).await.map(drop).unwrap_err();
    assert!(failed.to_string().contains("again and again"), "{failed}");

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut requests = Vec::new();
        let asked = "HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=\"x\"\r\n";
        for answer in [asked, "HTTP/1.1 301 X\r\nLocation: /moved\r\n", "HTTP/1.1 404 X\r\n"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let len = stream.read(&mut buffer).await.unwrap();
            requests.push(String::from_utf8_lossy(&buffer[..len]).to_lowercase());
            let answer = format!("{answer}Connection: close\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    let login = "username = \"anna\"\npassword = \"hunter2\"";
    let dav = source(&format!("type = \"webdav\"\nendpoint = \"{url}\"\n{login}")).await;
    let _ = dav.create_remote_digest(&remote("")).await;
    let requests = serving.await.unwrap();
    // The same method, with its body, and whoever asks is still known to his own server.
    assert!(
        requests[2].starts_with("propfind /moved ") && requests[2].contains("authorization: basic"),
        "{requests:?}"
    );
    assert!(!requests[2].contains("referer"), "{requests:?}");
}
