//! Connections that are ready before a source is connected: what opens them, and who uses them.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use kit::azurite::Azurite;
use kit::gcs::Gcs;
use kit::proxy::Proxy;
use kit::servers::{S3, Webdav, with_port};
use kit::wait::{SOON, eventually};
use kit::web::Web;

use crate::real::{list, served};
use crate::{configured, remote};

/// So many connections are opened, and more listings than that need no further one.
async fn serves_what_comes(table: &str, port: u16, opened: u64) {
    let line = Proxy::to(port);
    let source = configured(&with_port(table, port, line.port())).await.unwrap();
    source.preconnect(2).await;
    eventually("they are opened", || line.connections() == opened);
    assert_eq!(line.http_requests(), 0, "nothing was asked");
    // The client notes in tasks of its own that they are free, which are of this thread.
    tokio::time::sleep(Duration::from_millis(100)).await;
    source.connect().await.unwrap();
    for _ in 0..3 {
        list(source.as_ref(), "").await.unwrap();
    }
    assert_eq!(line.connections(), opened, "{table}");
    // Who connects anew does so because connections were lost.
    source.disconnect().await;
    source.connect().await.unwrap();
    list(source.as_ref(), "").await.unwrap();
    assert!(line.connections() > opened, "{table}");
    source.create_remote_digest(&remote("absent")).await.unwrap_err();
}

#[tokio::test]
async fn webdav_is_preconnected() {
    let dir = served();
    let server = Webdav::apache(dir.path());
    serves_what_comes(&server.table(), server.port(), 2).await;
    assert_eq!(server.requests().iter().filter(|request| !request.starts_with("PROPFIND ")).count(), 0);
}

#[tokio::test]
async fn what_speaks_http_2_is_preconnected_once() {
    let dir = served();
    let server = Web::nginx_json_over_http_2(dir.path());
    let table = format!("{}ca_file = {:?}\n", server.table("").replace("http:", "https:"), server.certificate());
    serves_what_comes(&table, server.port(), 1).await;
}

#[tokio::test]
async fn webdav_over_tls_is_preconnected() {
    let dir = served();
    let server = Webdav::rclone_with_tls(dir.path());
    let table = format!("{}ca_file = {:?}\n", server.table().replace("http:", "https:"), server.certificate());
    serves_what_comes(&table, server.port(), 2).await;
}

#[tokio::test]
async fn a_web_directory_is_preconnected() {
    let dir = served();
    let server = Web::nginx_json(dir.path());
    serves_what_comes(&server.table(""), server.port(), 2).await;
}

#[tokio::test]
async fn a_bucket_is_preconnected() {
    let dir = served();
    let server = S3::rclone(dir.buckets());
    serves_what_comes(&server.table("bucket"), server.port(), 2).await;
}

#[tokio::test]
async fn a_bucket_of_google_is_preconnected() {
    let dir = kit::reaper::temporary();
    let server = Gcs::start(dir.path());
    serves_what_comes(&server.table(), server.port(), 2).await;
}

#[tokio::test]
async fn a_container_is_preconnected() {
    let dir = kit::reaper::temporary();
    let server = Azurite::start(dir.path(), false);
    serves_what_comes(&server.table(), server.port(), 2).await;
}

#[tokio::test]
async fn whoever_has_connected_is_not_preconnected() {
    let dir = served();
    let server = Webdav::apache(dir.path());
    let line = Proxy::to(server.port());
    let source = configured(&with_port(&server.table(), server.port(), line.port())).await.unwrap();
    source.connect().await.unwrap();
    list(source.as_ref(), "").await.unwrap();
    let opened = line.connections();
    source.preconnect(2).await;
    assert_eq!(line.connections(), opened);
}

/// Interim answers are read one by one for as long as the connection is there: that must not be long.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_comes_to_its_answer_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (ended, is_ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "it asks first");
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {}
        ended.send(()).unwrap();
    });
    let source = configured(&format!("type = \"webdav\"\nendpoint = \"{url}\"\n")).await.unwrap();
    let begun = Instant::now();
    source.preconnect(2).await;
    let took = begun.elapsed();
    assert!((3..10).contains(&took.as_secs()), "{took:?}");
    is_ended.recv_timeout(SOON).expect("the connection is closed");
}

/// A login that cannot be had is of no interest, since none is needed.
#[tokio::test]
async fn no_secret_is_revealed_for_it() {
    let dir = served();
    let server = Webdav::apache(dir.path());
    let line = Proxy::to(server.port());
    let asked = dir.path().join("asked");
    let login = format!("username = \"anna\"\npassword = {{ command = \"touch '{}'; exit 1\" }}\n", asked.display());
    let table = with_port(&server.table(), server.port(), line.port());
    let source = configured(&format!("{table}{login}")).await.unwrap();
    source.preconnect(2).await;
    eventually("they are opened", || line.connections() == 2);
    assert!(!asked.exists());
    assert!(source.connect().await.is_err() && asked.exists());
}
