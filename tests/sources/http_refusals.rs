//! Refusals over HTTP (401): of one place, and of the login; and how many requests tell which, above all of those that carry the password.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use kitovufs::error::{ErrorKind, Result};
use kitovufs::source::{Retrieval, Source};

use crate::kit::servers::{FORBIDDEN, Server, Webdav};
use crate::kit::web::Web;
use crate::liar::liar_but_for;
use crate::real::{Directory, list, served};
use crate::{kind, remote, source};

/// Reads a file of ten bytes.
async fn read(source: &dyn Source, path: &str) -> Result<Vec<u8>> {
    let path = remote(path);
    let version = source.create_remote_digest(&path).await?;
    let mut out = Vec::new();
    source.retrieve_file(&Retrieval::new(&path, &version.digest, 10, 0..10), &mut out).await?;
    Ok(out)
}

async fn one_forbidden_file_is_refused_alone(table: &str, server: &Server) {
    let refused = || server.requests().iter().filter(|request| request.ends_with(" 401")).count();
    let name = format!("{FORBIDDEN} file");
    let right = source(table).await;
    assert_eq!(list(right.as_ref(), "").await.unwrap().len(), 2);
    for _ in 0..3 {
        let error = read(right.as_ref(), &name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.to_string().contains("401 Unauthorized; the login is right, and must not read this"), "{error}");
        assert_eq!(read(right.as_ref(), "open").await.unwrap(), b"0123456789");
    }

    server.change_password(false);
    let before = refused();
    let error = read(right.as_ref(), "open").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    // A nonce that was good is answered once more, as it may have ended; then the root is asked for.
    assert_eq!(refused() - before, 3, "{:?}", server.requests());
    right.disconnect().await;
    let before = refused();
    let error = right.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert_eq!(refused() - before, 2, "the challenge, and one answer to it: {:?}", server.requests());
    server.change_password(true);
    right.connect().await.unwrap();
    assert_eq!(read(right.as_ref(), "open").await.unwrap(), b"0123456789");
}

fn files() -> crate::real::Served {
    let dir = served();
    for name in ["open", &format!("{FORBIDDEN} file")] {
        Directory::new(dir.path()).write(name, b"0123456789");
    }
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn one_forbidden_file_at_the_webdav_of_apache_is_refused_alone() {
    let dir = files();
    let server = Webdav::apache_with_digest(dir.path());
    one_forbidden_file_is_refused_alone(&server.table(), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_forbidden_file_at_an_index_of_apache_is_refused_alone() {
    let dir = files();
    let server = Web::apache_with_digest(dir.path());
    one_forbidden_file_is_refused_alone(&server.table(""), &server).await;
}

/// A web server of one file, `open`, which counts requests that carry a password.
struct Guarded {
    url: String,
    /// Whether it takes the password.
    takes: Arc<AtomicBool>,
    carried: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Guarded {
    /// With an open root, its index is shown to everybody.
    async fn start(has_open_root: bool) -> Self {
        let (takes, carried, all) = (Arc::new(AtomicBool::new(true)), Arc::default(), Arc::default());
        let (taking, counted, counting): (_, Arc<AtomicUsize>, Arc<AtomicUsize>) =
            (takes.clone(), Arc::clone(&carried), Arc::clone(&all));
        let answer =
            "HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let url = liar_but_for(answer, move |request| {
            let text = String::from_utf8_lossy(request).to_lowercase();
            let carries = text.contains("authorization: basic");
            counting.fetch_add(1, Ordering::SeqCst);
            counted.fetch_add(usize::from(carries), Ordering::SeqCst);
            let is_known = carries && taking.load(Ordering::SeqCst);
            let path = text.split(' ').nth(1).unwrap_or_default();
            let (is_shown, body) = match path {
                "/" => (is_known || has_open_root, "<title>Index of /</title><a href=\"open\">open</a>"),
                "/open" => (is_known, "0123456789"),
                _ => (false, ""),
            };
            let (length, bytes) = (body.len(), if text.starts_with("head ") { "" } else { body });
            let head = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Type: text/html\r\nConnection: close\r\n";
            is_shown.then(|| format!("{head}Content-Length: {length}\r\n\r\n{bytes}"))
        });
        Self { url: url.await, takes, carried, all }
    }

    async fn source(&self, login: &str) -> Box<dyn Source> {
        source(&format!("type = \"http\"\nurl = \"{}/\"\n{login}", self.url)).await
    }

    /// The requests since the last call: those that carried the password, and all.
    fn requests(&self) -> (usize, usize) {
        (self.carried.swap(0, Ordering::SeqCst), self.all.swap(0, Ordering::SeqCst))
    }
}

const LOGIN: &str = "username = \"anna\"\npassword = \"hunter2\"";

async fn digest(source: &dyn Source, path: &str) -> Result<(), ErrorKind> {
    kind(source.create_remote_digest(&remote(path)).await.map(drop))
}

#[tokio::test]
async fn a_refusal_costs_one_question_and_a_changed_password_is_sent_once_more() {
    let server = Guarded::start(false).await;
    let web = server.source(LOGIN).await;
    digest(web.as_ref(), "open").await.unwrap();
    server.requests();
    // HEAD, the root to a stranger and to the user; as some servers refuse HEAD alone, GET and the root again.
    assert_eq!(digest(web.as_ref(), "secret").await, Err(ErrorKind::PermissionDenied));
    assert_eq!(server.requests(), (4, 5));
    assert_eq!(digest(web.as_ref(), "secret").await, Err(ErrorKind::PermissionDenied));
    assert_eq!(server.requests(), (4, 4), "that the root wants a login is known");
    digest(web.as_ref(), "open").await.unwrap();
    server.requests();

    server.takes.store(false, Ordering::SeqCst);
    assert_eq!(digest(web.as_ref(), "open").await, Err(ErrorKind::Unauthenticated));
    assert_eq!(server.requests(), (2, 2));
    let others = join_all(["open", "secret", "other"].map(|path| digest(web.as_ref(), path))).await;
    assert_eq!(others, [Err(ErrorKind::Unauthenticated); 3]);
    assert_eq!(server.requests(), (3, 3), "they ask nothing more");
    for _ in 0..2 {
        web.disconnect().await;
        assert_eq!(kind(web.connect().await), Err(ErrorKind::Unauthenticated));
        assert_eq!(server.requests().0, 1, "a refused password is tried once");
    }
    server.takes.store(true, Ordering::SeqCst);
    web.connect().await.unwrap();
    digest(web.as_ref(), "open").await.unwrap();
}

#[tokio::test]
async fn where_everybody_sees_the_root_it_proves_no_login() {
    let server = Guarded::start(true).await;
    let web = server.source(LOGIN).await;
    server.takes.store(false, Ordering::SeqCst);
    assert_eq!(digest(web.as_ref(), "open").await, Err(ErrorKind::Unauthenticated));
    assert_eq!(server.requests().0, 1);
    // Whoever has no login sees what everybody does, and is refused the rest.
    let stranger = server.source("").await;
    assert_eq!(list(stranger.as_ref(), "").await.unwrap().len(), 1);
    assert_eq!(digest(stranger.as_ref(), "open").await, Err(ErrorKind::PermissionDenied));
    assert_eq!(list(stranger.as_ref(), "").await.unwrap().len(), 1);
}
