//! Stores against real servers, which the tests start, and what they say when those do not do what they should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kit::liar::{For, Liar, Speaks};
use kit::moto::{BUCKET, Moto};
use kit::redis::Redis as Server;
use kit::seaweed::Seaweed;
use kit::servers::S3 as Rclone;
use url::Url;

use super::conformance::{keeps_the_contract, lists_many, shows_what_is_in};
use super::memory::Memory;
use super::{Directory, Place, open};
use crate::error::ErrorKind;
use crate::revealed::Revealed;

fn place(url: &str) -> Place {
    Place::of(Url::parse(url).expect("a URL"))
}

/// A place in a bucket of a server.
fn bucket(endpoint: String, bucket: &str, key: Option<(&str, &str)>) -> Place {
    let (id, secret) = key.map(|(id, secret)| (Revealed::new(id), Revealed::new(secret))).unzip();
    let place = place(&format!("s3://{bucket}/fleet/one"));
    Place { endpoint: Some(endpoint), access_key_id: id, secret_access_key: secret, ..place }
}

fn moto_place(moto: &Moto) -> Place {
    bucket(moto.url(), BUCKET, Some(("kit", "kit-secret-Q7x")))
}

#[tokio::test]
async fn memory_and_a_directory_keep_the_contract() {
    keeps_the_contract(&Memory::default(), true).await;
    let dir = kit::reaper::temporary();
    let store = Directory::new(dir.path().to_owned());
    keeps_the_contract(&store, true).await;
    lists_many(&store, 300).await;
}

#[tokio::test]
async fn an_s3_store_keeps_the_contract_with_moto() {
    let dir = kit::reaper::temporary();
    let moto = Moto::start(dir.path());
    let store = open(&moto_place(&moto)).expect("a store");
    keeps_the_contract(&*store, true).await;
    // More than a page of a listing has.
    lists_many(&*store, 1_100).await;
    let elsewhere = open(&Place { url: Url::parse("s3://bucket").expect("a URL"), ..moto_place(&moto) });
    assert_eq!(
        elsewhere.expect("a store").list(&Arc::default()).await.expect("it lists"),
        [],
        "another prefix is another store"
    );
}

/// Nothing is written there: `rclone serve s3` at times never answers to a PUT on a machine with much to do (8 of 400 runs, at a load
/// of 12, rclone 1.75.2).
#[tokio::test]
async fn an_s3_store_reads_what_rclone_has() {
    let dir = kit::reaper::temporary();
    let fleet = dir.path().join("shared/fleet/one");
    std::fs::create_dir_all(&fleet).expect("a bucket");
    let rclone = Rclone::rclone(dir.path());
    let key = Some((rclone.access_key(), rclone.secret_key()));
    let store = open(&bucket(rclone.url(), "shared", key)).expect("a store");
    shows_what_is_in(&Directory::new(fleet), &*store).await;
}

#[tokio::test]
async fn an_s3_store_keeps_the_contract_with_a_server_that_ignores_conditions() {
    let server = Liar::speaking(Speaks::S3, BTreeMap::new());
    let store = open(&bucket(server.url(), "bucket", None)).expect("a store");
    keeps_the_contract(&*store, false).await;
}

#[tokio::test]
async fn an_s3_store_keeps_the_contract_with_a_server_that_refuses_conditions() {
    for status in [400, 501] {
        let (server, puts) = (Liar::speaking(Speaks::S3, BTreeMap::new()), AtomicUsize::new(0));
        server.lie(move |what, answer| {
            if what == For::Change && puts.fetch_add(1, Ordering::Relaxed) == 0 {
                answer.refuse(status);
            }
        });
        let store = open(&bucket(server.url(), "bucket", None)).expect("a store");
        assert!(store.put_if_absent(&name(), "v".into()).await.expect("it is put without a condition"));
        assert_eq!(store.get(&name(), 0..9).await.expect("it answers").as_deref(), Some(&b"v"[..]));
        assert!(store.put_if_absent(&name(), "w".into()).await.expect("nor is a condition tried again"));
    }
}

#[tokio::test]
async fn an_s3_store_keeps_the_contract_with_seaweedfs() {
    let dir = kit::reaper::temporary();
    let seaweed = Seaweed::start(dir.path());
    let store = open(&bucket(seaweed.url(), seaweed.bucket(), Some(seaweed.key()))).expect("a store");
    keeps_the_contract(&*store, true).await;
    lists_many(&*store, 1_100).await;
}

#[tokio::test]
async fn a_redis_store_keeps_the_contract() {
    let dir = kit::reaper::temporary();
    let server = Server::start(dir.path());
    let store = open(&place(&server.url())).expect("a store");
    keeps_the_contract(&*store, true).await;
    lists_many(&*store, 1_100).await;
    assert_eq!(store.largest_file(), 1 << 20);
}

/// What the store says when it is asked for a value.
async fn complaint(place: &Place) -> (ErrorKind, String) {
    let store = open(place).expect("a store");
    let error = store.put_if_absent(&name(), "v".into()).await.expect_err("it cannot");
    (error.kind(), error.to_string())
}

fn name() -> String {
    format!("v1/aa/{}", "a".repeat(64))
}

/// A port at which nobody listens.
fn nowhere() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has one").port()
}

#[tokio::test]
async fn an_s3_store_says_what_to_do() {
    let dir = kit::reaper::temporary();
    let moto = Moto::start(dir.path());
    let (kind, text) = complaint(&Place { url: Url::parse("s3://none").expect("a URL"), ..moto_place(&moto) }).await;
    assert!(kind == ErrorKind::InvalidConfig && text.contains("there is no bucket `none`; make it"), "{text}");
    let missing = open(&Place { url: Url::parse("s3://none").expect("a URL"), ..moto_place(&moto) }).expect("a store");
    missing.get(&name(), 0..1).await.expect_err("it is no store without values");
    missing.list(&Arc::default()).await.expect_err("nor an empty one");

    let endpoint = Some(format!("http://127.0.0.1:{}", nowhere()));
    let (kind, text) = complaint(&Place { endpoint, ..moto_place(&moto) }).await;
    assert!(kind == ErrorKind::Unreachable && text.contains("nothing listens there"), "{text}");
    let endpoint = Some(moto.url().replace("http:", "https:"));
    let (kind, text) = complaint(&Place { endpoint, ..moto_place(&moto) }).await;
    assert!(kind == ErrorKind::Unreachable && text.contains("https:// or http://"), "{text}");

    std::fs::create_dir(dir.path().join("shared")).expect("a bucket");
    let rclone = Rclone::rclone(dir.path());
    let wrong = bucket(rclone.url(), "shared", Some((rclone.access_key(), "another-secret")));
    let (kind, text) = complaint(&wrong).await;
    assert!(kind == ErrorKind::Unauthenticated && text.contains("`secret_access_key`"), "{text}");
    assert!(!text.contains("another-secret"), "{text}");
}

#[test]
fn settings_that_are_wrong_are_told() {
    let key = Some(Revealed::new("id"));
    for (place, word) in [
        (Place { access_key_id: key.clone(), ..place("s3://b/p") }, "one is missing"),
        (place("s3://id:secret@b/p"), "settings of its own"),
        (place("s3://b:9000/p"), "`endpoint`"),
        (place("s3:///p"), "names no bucket"),
        (Place { endpoint: Some("localhost:9000".into()), ..place("s3://b") }, "`endpoint` must begin with"),
        (Place { endpoint: Some("http://id:secret@h".into()), ..place("s3://b") }, "without an account"),
        (Place { ca_file: Some("/nowhere.pem".into()), ..place("s3://b") }, "cannot read /nowhere.pem"),
        (Place { ca_file: Some("/dev/null".into()), ..place("redis://:secret@h") }, "a setting of its own"),
        (place("rediss://h/#insecure"), "would trust any server"),
        (place("redis://h/many"), "no address of Redis"),
    ] {
        let error = open(&place).err().unwrap_or_else(|| panic!("{place:?} is wrong"));
        let text = error.to_string();
        assert!(error.kind() == ErrorKind::InvalidConfig && text.contains(word), "{place:?}: {text}");
        assert!(!text.contains("secret@"), "{text}");
    }
}

#[tokio::test]
async fn a_redis_store_says_what_to_do() {
    let dir = kit::reaper::temporary();
    let (kind, text) = complaint(&place(&format!("redis://127.0.0.1:{}", nowhere()))).await;
    assert!(kind == ErrorKind::Unreachable && text.contains("nothing listens there"), "{text}");
    let server = Server::with_password(dir.path(), "open-sesame");
    let (kind, text) = complaint(&place(&server.url())).await;
    assert!(kind == ErrorKind::Unauthenticated && text.contains("password"), "{text}");
    let of = |password| Place { secret_access_key: Some(Revealed::new(password)), ..place(&server.url()) };
    let (kind, text) = complaint(&of("another")).await;
    assert!(kind == ErrorKind::Unauthenticated && text.contains("password"), "{text}");
    let store = open(&of("open-sesame")).expect("a store");
    assert!(store.put_if_absent(&name(), "v".into()).await.expect("it takes it"));
}

#[tokio::test]
async fn a_redis_store_works_again_when_its_server_does() {
    let dir = kit::reaper::temporary();
    let mut server = Server::start(dir.path());
    let store = open(&place(&server.url())).expect("a store");
    assert!(store.put_if_absent(&name(), "v".into()).await.expect("it takes it"));
    server.stop();
    let began = Instant::now();
    store.get(&name(), 0..1).await.expect_err("it is gone");
    assert!(began.elapsed() < Duration::from_secs(5), "it does not wait for it to come back");
    server.start();
    for _ in 0..100 {
        if store.get(&name(), 0..1).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is not found again");
}
