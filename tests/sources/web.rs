//! Web directories as real servers show them.

use kitovufs::error::ErrorKind;
use kitovufs::source::{Retrieval, Source};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::kit::servers::Webdav;
use crate::kit::web::Web;
use crate::liar::{asking_for_a_login, liar, liar_but_for, retrieve};
use crate::real::{CONTROLS, Directory, conforms, list, served};
use crate::{configured, kind, remote, source};

/// nginx leaves out names that begin with a dot.
static DOTS: [&str; 2] = ["..dots", "..."];

#[tokio::test(flavor = "multi_thread")]
async fn nginx_pages_keep_the_contract() {
    let dir = served();
    conforms(&Web::nginx(dir.path()).table(""), Directory { lost: &DOTS, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_json_keeps_the_contract() {
    let dir = served();
    conforms(&Web::nginx_json(dir.path()).table(""), Directory { lost: &DOTS, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_pages_keep_the_contract() {
    let dir = served();
    conforms(&Web::apache(dir.path()).table(""), Directory::new(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_pages_keep_the_contract() {
    let dir = served();
    conforms(&Web::python(dir.path()).table(""), Directory::new(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone_pages_keep_the_contract() {
    let dir = served();
    let server = Web::rclone_with_password(dir.path());
    conforms(&server.table(""), Directory { lost: &CONTROLS, ..Directory::new(dir.path()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_in_json_tells_the_digests_of_a_thousand_files_at_once() {
    let dir = served();
    let directory = Directory::new(dir.path());
    for number in 0..1_000 {
        directory.write(&format!("many/{number:03}"), b"x");
    }
    let server = Web::nginx_json(dir.path());
    let source = source(&server.table("")).await;
    let entries = list(source.as_ref(), "many").await.unwrap();
    assert_eq!(entries.len(), 1_000);
    assert_eq!(server.requests(), ["GET /many/ 200", "HEAD /many/000 200"]);
    for entry in &entries[..3] {
        let asked = source.create_remote_digest(&entry.path).await.unwrap();
        assert_eq!((entry.digest.as_ref(), entry.size), (Some(&asked.digest), asked.size));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_tells_names_and_what_each_is_costs_a_request() {
    let dir = served();
    Directory::new(dir.path()).write("5 KB", &[7; 5_120]);
    for server in [Web::nginx(dir.path()), Web::apache(dir.path())] {
        let source = source(&server.table("")).await;
        let entry = list(source.as_ref(), "").await.unwrap().remove(0);
        assert_eq!((entry.size, entry.modified, entry.digest), (None, None, None));
        assert_eq!(source.create_remote_digest(&entry.path).await.unwrap().size, Some(5_120));
        assert_eq!(server.requests(), ["GET / 200", "HEAD /5 KB 200"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_a_file_is_a_folder_with_that_file() {
    let dir = served();
    Directory::new(dir.path()).write("a b/image 1.iso", b"bytes");
    for server in [Web::nginx(dir.path()), Web::python(dir.path())] {
        let source = source(&server.table("a%20b/image%201.iso")).await;
        let entries = list(source.as_ref(), "").await.unwrap();
        assert_eq!((entries.len(), entries[0].name.as_slice()), (1, b"image 1.iso".as_slice()));
        let (path, digest) = (&entries[0].path, entries[0].digest.clone().unwrap());
        assert_eq!(source.create_remote_digest(path).await.unwrap().digest, digest);
        let mut out = Vec::new();
        let request = Retrieval::new(path, &digest, 5, 1..3);
        source.retrieve_file(&request, &mut out).await.unwrap();
        assert_eq!(out, b"yt");
        assert_eq!(kind(list(source.as_ref(), "other").await.map(drop)), Err(ErrorKind::NotFound));
        assert_eq!(kind(source.create_remote_digest(&remote("x")).await.map(drop)), Err(ErrorKind::NotFound));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_may_be_written_without_its_slash() {
    let dir = served();
    Directory::new(dir.path()).write("dir/a", b"x");
    let server = Web::nginx(dir.path());
    let source = source(&server.table("dir")).await;
    assert_eq!(list(source.as_ref(), "").await.unwrap()[0].name, b"a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_place_of_an_index_is_listed_as_a_file() {
    const PAGE: &[u8] = b"<html><title>Welcome!</title><p>Hello</p></html>";
    let dir = served();
    Directory::new(dir.path()).write("site/index.html", PAGE);
    let server = Web::nginx(dir.path());
    let source = source(&server.table("")).await;
    let listed = list(source.as_ref(), "site").await.unwrap();
    assert_eq!(listed.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), [b"index.html"]);
    let digest = source.create_remote_digest(&remote("site/index.html")).await.unwrap();
    assert_eq!(digest.size, Some(PAGE.len() as u64));
}

#[tokio::test]
async fn what_is_no_index_is_an_error_that_says_what_came() {
    // Nothing tells one version of this page from another, so it is no file either.
    let page =
        "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html><title>Welcome!</title></html>";
    let error = list(lied_to(page).await.as_ref(), "site").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("Welcome!"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_not_there_is_an_outage() {
    let dir = served();
    let server = Web::apache(dir.path());
    let gone = source(&server.table("gone/")).await;
    assert_eq!(kind(list(gone.as_ref(), "").await.map(drop)), Err(ErrorKind::Unreachable));
    assert_eq!(kind(gone.create_remote_digest(&remote("x")).await.map(drop)), Err(ErrorKind::Unreachable));
    let file = configured(&server.table("gone")).await.unwrap();
    assert_eq!(kind(file.connect().await), Err(ErrorKind::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_never_shown() {
    let dir = served();
    let table = Web::rclone_with_password(dir.path());
    let source = source(&table.table("").replace("kit-password", "hunter2")).await;
    let error = list(source.as_ref(), "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

/// A source whose server gives every request the same answer.
async fn lied_to(answer: &'static str) -> Box<dyn Source> {
    source(&format!("type = \"http\"\nurl = \"{}/\"", liar(answer).await)).await
}

#[tokio::test]
async fn without_ranges_the_part_is_cut_out_of_the_whole() {
    let whole = "HTTP/1.1 200 X\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n0123456789";
    let source = lied_to(whole).await;
    assert!(source.capabilities().ranges);
    for (range, bytes) in [(2..5, "234"), (0..1, "0"), (9..10, "9"), (0..10, "0123456789")] {
        let (result, out) = retrieve(source.as_ref(), "etag:v1", range).await;
        assert_eq!((result, out.as_slice()), (Ok(()), bytes.as_bytes()));
    }
    assert!(!source.capabilities().ranges, "nobody asks for parts again");
    assert_eq!(retrieve(source.as_ref(), "etag:v2", 2..5).await, (Err(ErrorKind::Changed), vec![]));
    for short in [
        "HTTP/1.1 200 X\r\nETag: \"v1\"\r\nContent-Length: 9\r\n\r\n012345678",
        "HTTP/1.1 200 X\r\nETag: \"v1\"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n012\r\n0\r\n\r\n",
    ] {
        let source = lied_to(short).await;
        assert_eq!(retrieve(source.as_ref(), "etag:v1", 2..5).await.0, Err(ErrorKind::Changed), "{short}");
    }
    let broken = lied_to("HTTP/1.1 200 X\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n0123").await;
    assert_eq!(retrieve(broken.as_ref(), "etag:v1", 2..5).await.0, Err(ErrorKind::Unreachable));
    let early = lied_to("HTTP/1.1 200 X\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n012345").await;
    assert_eq!(retrieve(early.as_ref(), "etag:v1", 2..5).await, (Ok(()), b"234".to_vec()));
}

#[tokio::test]
async fn a_size_that_the_server_does_not_tell_is_asked_for_or_unknown() {
    for (answer, size) in [
        (
            "HTTP/1.1 206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 0-0/10\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n0\r\n\r\n",
            Some(10),
        ),
        ("HTTP/1.1 200 X\r\nETag: \"v1\"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n0\r\n\r\n", None),
    ] {
        let source = lied_to(answer).await;
        let answer = source.create_remote_digest(&remote("file")).await.unwrap();
        assert_eq!(answer.size, size);
    }
}

#[tokio::test]
async fn a_redirection_of_an_index_to_another_origin_is_refused_with_words() {
    let source =
        lied_to("HTTP/1.1 302 X\r\nLocation: https://login.example.org/x?secret=1\r\nContent-Length: 0\r\n\r\n").await;
    let error = list(source.as_ref(), "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(
        error.to_string().contains("https://login.example.org") && !error.to_string().contains("secret"),
        "{error}"
    );
}

#[tokio::test]
async fn what_nothing_identifies_is_no_file() {
    for (answer, why) in [
        (
            "HTTP/1.1 200 X\r\nContent-Type: Text/HTML; charset=utf-8\r\nContent-Length: 5\r\n\r\nlogin",
            "a login page of 127.0.0.1",
        ),
        (
            "HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nbytes",
            "neither an entity tag nor a time",
        ),
    ] {
        let error = lied_to(answer).await.create_remote_digest(&remote("file.pdf")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains(why), "{error}");
    }
    let page = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\nlogin";
    lied_to(page).await.create_remote_digest(&remote("file.html")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_only_head_is_asked_by_get() {
    const BYTES: &str = "HTTP/1.1 206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 0-0/10\r\nContent-Length: 1\r\n\r\na";
    for refusal in ["400", "403", "404", "405", "501"] {
        let refusal = Box::leak(format!("HTTP/1.1 {refusal} X\r\nContent-Length: 0\r\n\r\n").into_boxed_str());
        let url = liar_but_for(refusal, |request| request.starts_with(b"GET").then(|| BYTES.to_owned())).await;
        let source = source(&format!("type = \"http\"\nurl = \"{url}/\"")).await;
        let told = source.create_remote_digest(&remote("file")).await.unwrap();
        assert_eq!((told.digest.as_str(), told.size), ("etag:v1;size=10", Some(10)), "{refusal}");
    }
}

#[tokio::test]
async fn a_file_may_lie_at_another_host_which_does_not_get_the_login() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let there = format!("http://{}/there", listener.local_addr().unwrap());
    let (told, mut requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let _ = told.send(String::from_utf8_lossy(&request[..length]).to_ascii_lowercase());
            let head = "HTTP/1.1 206 X\r\nETag: \"v1\"\r\nConnection: close\r\n";
            let part = format!("{head}Content-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc");
            stream.write_all(part.as_bytes()).await.unwrap();
        }
    });
    let here = format!("HTTP/1.1 302 X\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n");
    let url = liar_but_for(Box::leak(here.into_boxed_str()), asking_for_a_login).await;
    let login = "username = \"anna\"\npassword = \"hunter2\"\nredirect_hosts = [\"127.0.0.1\"]";
    let source = source(&format!("type = \"http\"\nurl = \"{url}/\"\n{login}")).await;
    assert_eq!(retrieve(source.as_ref(), "etag:v1", 2..5).await, (Ok(()), b"abc".to_vec()));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("get /there") && request.contains("range: bytes=2-4"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_in_ca_file_is_trusted_over_http() {
    let dir = served();
    std::fs::write(dir.path().join("a"), "bytes").unwrap();
    for server in [Webdav::rclone_with_tls(dir.path()), Webdav::rclone_with_tls_of_an_authority(dir.path())] {
        let table = server.table().replace("http:", "https:");
        let distrusting = source(&table).await;
        let error = list(distrusting.as_ref(), "").await.unwrap_err();
        assert!(error.to_string().contains("certificate") && error.to_string().contains("ca_file"), "{error}");
        let trusting = source(&format!("{table}ca_file = {:?}\n", server.certificate())).await;
        assert_eq!(list(trusting.as_ref(), "").await.unwrap().len(), 1);
        let table = table.replace("127.0.0.1", "localhost");
        let elsewhere = source(&format!("{table}ca_file = {:?}\n", server.certificate())).await;
        let error = list(elsewhere.as_ref(), "").await.unwrap_err();
        assert!(error.to_string().contains("is for IpAddress(127.0.0.1), and not for localhost"), "{error}");
    }
}

#[tokio::test]
async fn settings_are_checked() {
    for (table, key) in [
        ("type = \"http\"", None),
        ("type = \"http\"\nurl = \"ftp://x/\"", Some("url")),
        ("type = \"http\"\nurl = \"https://a:b@x/\"", Some("url")),
        ("type = \"http\"\nurl = \"https://x/?a=1\"", Some("url")),
        ("type = \"http\"\nurl = \"https://x/\"\npassword = \"p\"", Some("password")),
    ] {
        let problems = configured(table).await.err().unwrap_or_default();
        assert_eq!(problems.iter().map(|problem| problem.key.as_deref()).collect::<Vec<_>>(), [key], "{table}");
    }
}
