//! Logins over HTTP: what is sent, when, to whom, and how many requests it costs.

use futures::future::join_all;
use kitovufs::error::ErrorKind;
use kitovufs::source::{Retrieval, Source};

use crate::kit::servers::{Server, Webdav};
use crate::kit::web::Web;
use crate::liar::liar_but_for;
use crate::real::{Directory, list, served};
use crate::{kind, remote, source};

const FILES: usize = 24;

/// Reads everything, many files at a time.
async fn read_all(source: &dyn Source) {
    assert_eq!(list(source, "").await.unwrap().len(), FILES);
    let read = |number: usize| async move {
        let path = remote(&format!("file {number}"));
        let version = source.create_remote_digest(&path).await.unwrap();
        let mut out = Vec::new();
        let retrieval = Retrieval::new(&path, &version.digest, version.size.unwrap(), 0..version.size.unwrap());
        source.retrieve_file(&retrieval, &mut out).await.unwrap();
        assert_eq!(out, number.to_string().as_bytes());
    };
    join_all((0..FILES).map(read)).await;
}

fn files() -> crate::real::Served {
    let dir = served();
    for number in 0..FILES {
        Directory::new(dir.path()).write(&format!("file {number}"), number.to_string().as_bytes());
    }
    dir
}

/// How many requests were refused; Apache and lighttpd note them in places of their own.
fn refused(server: &Server) -> usize {
    let by_apache = server.requests().iter().filter(|request| request.ends_with(" 401")).count();
    by_apache + server.log().matches("HTTP/1.1 401").count()
}

/// The table with a password that is wrong.
fn mistyped(table: &str) -> String {
    table.replace("password = \"", "password = \"not ")
}

async fn one_challenge_is_enough(table: &str, server: &Server) {
    let right = source(table).await;
    read_all(right.as_ref()).await;
    assert_eq!(refused(server), 1, "{:?}", server.requests());
    read_all(right.as_ref()).await;
    assert_eq!(refused(server), 1, "{:?}", server.requests());

    let wrong = source(&mistyped(table)).await;
    let error = list(wrong.as_ref(), "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("does not take this user and password (Digest)"), "{error}");
    assert_eq!(refused(server), 3, "the challenge, and one answer to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn digest_at_the_webdav_of_lighttpd_costs_one_request() {
    let dir = files();
    let server = Webdav::lighttpd_with_digest(dir.path());
    one_challenge_is_enough(&server.table(), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digest_at_the_webdav_of_apache_costs_one_request() {
    let dir = files();
    let server = Webdav::apache_with_digest(dir.path());
    one_challenge_is_enough(&server.table(), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digest_at_an_index_of_apache_costs_one_request() {
    let dir = files();
    let server = Web::apache_with_digest(dir.path());
    one_challenge_is_enough(&server.table(""), &server).await;
}

#[tokio::test]
async fn ways_to_log_in_that_are_not_known_are_named() {
    for (challenge, told) in [
        ("NTLM\r\nWWW-Authenticate: Negotiate", "it wants NTLM or Negotiate, of which only Basic, Digest and Bearer"),
        ("Digest realm=\"x\", nonce=\"1\", algorithm=SHA-512-256", "it wants Digest by another algorithm"),
        ("Digest realm=\"x\", nonce=\"1\", qop=\"auth-int\"", "it wants Digest of bodies (`auth-int`)"),
    ] {
        let answer = format!("HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n");
        let url = liar_but_for(Box::leak(answer.into_boxed_str()), |_| None).await;
        for table in [format!("type = \"webdav\"\nendpoint = \"{url}\""), format!("type = \"http\"\nurl = \"{url}/\"")]
        {
            let source = source(&format!("{table}\nusername = \"anna\"\npassword = \"hunter2\"")).await;
            let error = list(source.as_ref(), "").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.to_string().contains(told), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_login_goes_to_its_own_server_only_when_that_asks_for_it() {
    const ASKED: &str = "HTTP/1.1 401 X\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"1\", qop=\"auth\", Basic realm=\"x\"\r\n\
        Content-Length: 0\r\nConnection: close\r\n\r\n";
    // Whoever comes there with a login fails the test, by an answer that is no success.
    let there = liar_but_for(ASKED, |request| {
        let carries = String::from_utf8_lossy(request).to_lowercase().contains("authorization");
        carries.then(|| "HTTP/1.1 418 X\r\nContent-Length: 0\r\n\r\n".into())
    })
    .await;
    let moved = format!("HTTP/1.1 302 X\r\nLocation: {there}/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let url = liar_but_for(Box::leak(moved.into_boxed_str()), |request| {
        let text = String::from_utf8_lossy(request).to_lowercase();
        assert!(!text.contains("authorization: basic"), "{text}");
        (!text.contains("authorization: digest")).then(|| ASKED.into())
    })
    .await;
    let login = "username = \"anna\"\npassword = \"hunter2\"\nredirect_hosts = [\"127.0.0.1\"]";
    let dav = source(&format!("type = \"webdav\"\nendpoint = \"{url}\"\n{login}")).await;
    assert_eq!(kind(dav.create_remote_digest(&remote("file")).await.map(drop)), Err(ErrorKind::Unauthenticated));
}

#[tokio::test]
async fn what_a_server_shows_only_to_those_it_knows_is_there_though_it_asks_for_no_login() {
    let url = liar_but_for("HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", |request| {
        let text = String::from_utf8_lossy(request).to_lowercase();
        let answer = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 4\r\nConnection: close\r\n\r\n";
        let bytes = if text.starts_with("head ") { "" } else { "mine" };
        text.contains("authorization: basic").then(|| format!("{answer}{bytes}"))
    })
    .await;
    let web = source(&format!("type = \"http\"\nurl = \"{url}/\"\nusername = \"anna\"\npassword = \"x\"")).await;
    assert_eq!(web.create_remote_digest(&remote("file")).await.unwrap().size, Some(4));
}
