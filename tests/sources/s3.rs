//! What S3 has beyond keys and bytes: pages, parts, versions, access of everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt as _;
use kitovufs::error::ErrorKind;
use kitovufs::source::conformance::{self, RemoteEditor};
use kitovufs::source::{LocalCopy, Retrieval, Source};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::kit::moto::Moto;
use crate::kit::servers::S3;
use crate::liar::liar_but_for;
use crate::real::{list, served};
use crate::{configured, kind, remote, source};

/// Objects of a moto, changed as their owner does.
struct Objects<'a>(&'a Moto);

#[async_trait]
impl RemoteEditor for Objects<'_> {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        // moto takes no line breaks.
        let fits = !path.contains('\n');
        if fits {
            self.0.put(path, content);
        }
        fits
    }
    async fn remove(&self, path: &str) {
        self.0.delete(path);
    }
    async fn mkdir(&self, _path: &str) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_keeps_the_contract() {
    let own = served();
    let server = Moto::start(own.path());
    let source = configured(&server.table()).await.unwrap();
    let report = conformance::run(source.as_ref(), &Objects(&server), own.buckets()).await;
    assert!(report.passed(), "{report}");
}

/// The bucket itself answers to its address with a listing, which is none of a file.
#[tokio::test]
async fn no_file_has_an_empty_name() {
    let dir = served();
    let server = S3::rclone(dir.buckets());
    let source = configured(&server.table("bucket")).await.unwrap();
    source.connect().await.unwrap();
    for path in ["\u{ff0f}", "dir/\u{ff0f}"] {
        assert_eq!(kind(source.create_remote_digest(&remote(path)).await).unwrap_err(), ErrorKind::NotFound, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_versions_keeps_the_contract() {
    let own = served();
    let server = Moto::start(own.path());
    server.keep_versions();
    let source = configured(&server.table()).await.unwrap();
    let report = conformance::run(source.as_ref(), &Objects(&server), own.buckets()).await;
    assert!(report.passed(), "{report}");
    // What was removed before is there again, and nothing else.
    server.put("doomed", b"again");
    source.connect().await.unwrap();
    let entries = list(source.as_ref(), "").await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.name == b"doomed").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_of_an_object_in_parts_is_no_hash_and_still_tells_versions_apart() {
    let own = served();
    let server = Moto::start(own.path());
    let content: Vec<u8> = (0..6_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    server.put_in_parts("large", &content);
    let source = source(&server.table()).await;
    let listed = list(source.as_ref(), "").await.unwrap().remove(0);
    let (path, size) = (remote("large"), content.len() as u64);
    let asked = source.create_remote_digest(&path).await.unwrap();
    assert!(asked.digest.as_str().ends_with("-2"), "{}", asked.digest);
    assert_eq!((listed.digest.as_ref(), listed.size), (Some(&asked.digest), Some(size)));
    for range in [0..size, 5_242_879..5_242_881] {
        let mut out = Vec::new();
        let request = Retrieval::new(&path, &asked.digest, size, range.clone());
        source.retrieve_file(&request, &mut out).await.unwrap();
        assert!(out == content[range.start as usize..range.end as usize]);
    }
    let file = own.buckets().join("large");
    std::fs::write(&file, &content).unwrap();
    let copy = LocalCopy { file: &file, path: &path, retrieved_as: &asked.digest, size };
    assert_eq!(source.create_local_digest(&copy).await.unwrap(), asked.digest);
    let mut other = content.clone();
    other[17] ^= 1;
    server.put_in_parts("large", &other);
    assert_ne!(source.create_remote_digest(&path).await.unwrap().digest, asked.digest);
    let request = Retrieval::new(&path, &asked.digest, size, 0..1);
    assert_eq!(kind(source.retrieve_file(&request, &mut Vec::new()).await.map(drop)), Err(ErrorKind::Changed));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_particular_sees_what_everybody_may_see() {
    let own = served();
    let server = Moto::start(own.path());
    server.put_public("public", b"bytes");
    server.put("private", b"bytes");
    let source = source(&server.anonymous()).await;
    let (path, digest) = (remote("public"), source.create_remote_digest(&remote("public")).await.unwrap().digest);
    let mut out = Vec::new();
    let request = Retrieval::new(&path, &digest, 5, 0..5);
    source.retrieve_file(&request, &mut out).await.unwrap();
    assert_eq!(out, b"bytes");
    let refused = source.create_remote_digest(&remote("private")).await;
    assert_eq!(kind(refused.map(drop)), Err(ErrorKind::PermissionDenied));
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 2);
}

/// A server whose only directory has so many keys, in pages of a thousand; it counts the pages that were asked for.
async fn pages(keys: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    let request = String::from_utf8_lossy(&buffer[..len]);
                    let prefix = request.split_once("&prefix=many%2F").map_or("", |(_, rest)| rest);
                    let prefix = prefix.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
                    let keys: Vec<_> =
                        (0..keys).map(|n| format!("{n:06}")).filter(|name| name.starts_with(prefix)).collect();
                    let from = request.split_once("continuation-token=t").map_or("0", |(_, rest)| rest);
                    let from: usize = from.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
                    let to = (from + 1_000).min(keys.len());
                    let mut body = String::from("<ListBucketResult>");
                    for name in &keys[from..to] {
                        body += &format!(
                            "<Contents><Key>many/{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                             <ETag>\"{name:0>32}\"</ETag><Size>1</Size></Contents>"
                        );
                    }
                    if to < keys.len() {
                        body += &format!(
                            "<IsTruncated>true</IsTruncated><NextContinuationToken>t{to}</NextContinuationToken>"
                        );
                    }
                    body += "</ListBucketResult>";
                    counter.fetch_add(1, Ordering::Relaxed);
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all((head + &body).as_bytes()).await.unwrap();
                }
            });
        }
    });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_keys_come_page_by_page() {
    let (url, asked) = pages(100_000).await;
    let source = source(&format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"b\"")).await;
    let many = remote("many");
    let mut entries = source.list_path(&many).await.unwrap();
    for number in 0..1_000 {
        assert_eq!(entries.next().await.unwrap().unwrap().name, format!("{number:06}").as_bytes());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "no page is asked for before it is needed");
    let mut count = 1_000;
    while let Some(entry) = entries.next().await {
        assert!(entry.unwrap().digest.is_some());
        count += 1;
    }
    assert_eq!((count, asked.load(Ordering::Relaxed)), (100_000, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_among_a_hundred_thousand_keys_takes_two_requests() {
    let at = async |url: &str| source(&format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"b\"")).await;
    let (url, asked) = pages(100_000).await;
    let (source, many) = (at(&url).await, remote("many"));
    // What begins with the name is told; if that is more than a page, the directory is listed.
    for (name, told, requests) in
        [("012345", Some(1), 2), ("01234", Some(10), 2), ("absent", Some(0), 2), ("01", None, 1 + 1 + 99)]
    {
        let before = asked.load(Ordering::Relaxed);
        let mut entries = source.list_path(&many).await.unwrap();
        entries.want_only(name.as_bytes());
        while let Some(entry) = entries.next().await {
            entry.unwrap();
        }
        let alone = entries.told_alone();
        assert_eq!(alone.as_ref().map(Vec::len), told, "{name}");
        let alone = alone.unwrap_or_default();
        assert!(alone.iter().all(|entry| entry.name.starts_with(name.as_bytes()) && entry.digest.is_some()));
        assert_eq!(asked.load(Ordering::Relaxed) - before, requests, "{name}");
    }
    // A directory of one page is listed, whatever is wanted.
    let (url, asked) = pages(1_000).await;
    let source = at(&url).await;
    let mut entries = source.list_path(&many).await.unwrap();
    entries.want_only(b"000001");
    assert_eq!(entries.by_ref().count().await, 1_000);
    assert_eq!((entries.told_alone(), asked.load(Ordering::Relaxed)), (None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_pages_of_keys_of_moto_are_complete() {
    let own = served();
    let server = Moto::with_five_thousand(own.path());
    let source = source(&server.table()).await;
    let entries = list(source.as_ref(), "many").await.unwrap();
    let names: std::collections::BTreeSet<_> = entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_names_in_keys_are_shown_as_a_wide_slash() {
    let own = served();
    let server = Moto::start(own.path());
    for key in ["exp//deep/x", "exp/y", "/lead"] {
        server.put(key, key.as_bytes());
    }
    let source = source(&server.table()).await;
    for (dir, expected) in
        [("", ["exp", "／"].as_slice()), ("exp", &["y", "／"]), ("exp/／", &["deep"]), ("／", &["lead"])]
    {
        let mut names: Vec<_> = list(source.as_ref(), dir).await.unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        assert_eq!(names, expected.iter().map(|name| name.as_bytes()).collect::<Vec<_>>(), "{dir}");
    }
    for (path, key) in [("exp/／/deep/x", "exp//deep/x"), ("／/lead", "/lead")] {
        let (path, mut bytes) = (remote(path), Vec::new());
        let digest = source.create_remote_digest(&path).await.unwrap().digest;
        let size = key.len() as u64;
        source.retrieve_file(&Retrieval::new(&path, &digest, size, 0..size), &mut bytes).await.unwrap();
        assert_eq!(bytes, key.as_bytes());
    }
}

#[tokio::test]
async fn the_region_that_the_server_names_is_taken() {
    const WRONG: &str = "HTTP/1.1 400 X\r\nContent-Length: 91\r\n\r\n\
        <Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region><A></A></Error>\n";
    const LISTING: &str = "<ListBucketResult><Contents><Key>a</Key><Size>1</Size><ETag>&quot;t&quot;</ETag></Contents>\
        </ListBucketResult>";
    let url = liar_but_for(WRONG, |request| {
        let is_right = String::from_utf8_lossy(request).contains("/eu-north-1/s3/aws4_request");
        is_right.then(|| format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{LISTING}", LISTING.len()))
    })
    .await;
    let key = "access_key_id = \"kit\"\nsecret_access_key = \"kit-secret-Q7x\"";
    let source = source(&format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"b\"\n{key}")).await;
    for _ in 0..2 {
        assert_eq!(list(source.as_ref(), "").await.unwrap()[0].name, b"a");
    }
    let wrong = liar_but_for(WRONG, |_| None).await;
    let table = format!("type = \"s3\"\nendpoint = \"{wrong}\"\nbucket = \"b\"\n{key}");
    assert!(list(crate::source(&table).await.as_ref(), "").await.is_err(), "it is asked once more, and not for ever");
}
