//! Google Cloud Storage: what an emulator shows, what is asked of a server, and S3's servers for signatures.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kitovufs::error::ErrorKind;
use kitovufs::source::conformance::{self, RemoteEditor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::kit::gcs::Gcs;
use crate::kit::servers::S3;
use crate::liar::{liar, retrieve};
use crate::real::{Directory, conforms, list, served};
use crate::{configured, kind, remote, source};

/// rclone shows control characters as pictures of them.
static CONTROLS: [&str; 2] = ["tab\there", "new\nline"];

/// Objects of the emulator, changed as their owner does.
struct Objects<'a>(&'a Gcs);

#[async_trait]
impl RemoteEditor for Objects<'_> {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        self.0.put(path, content);
        true
    }
    async fn remove(&self, path: &str) {
        self.0.delete(path);
    }
    async fn mkdir(&self, _path: &str) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_keeps_the_contract() {
    let own = served();
    let server = Gcs::start(own.path());
    let source = configured(&server.table()).await.unwrap();
    let report = conformance::run(source.as_ref(), &Objects(&server), own.buckets()).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_it_is_s3() {
    let dir = served();
    let server = S3::rclone(dir.buckets());
    let (endpoint, id, key) = (server.url(), server.access_key(), server.secret_key());
    let table = format!(
        "type = \"gcs\"\nendpoint = \"{endpoint}\"\nbucket = \"bucket\"\naccess_key_id = \"{id}\"\nsecret_access_key = \"{key}\"\n"
    );
    conforms(&table, Directory { directories: false, lost: &CONTROLS, ..Directory::new(dir.path()) }).await;
}

/// A server that keeps what it was asked, and knows one object.
async fn recording() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 8192];
            let len = stream.read(&mut buffer).await.unwrap();
            let request = String::from_utf8_lossy(&buffer[..len]).to_lowercase();
            let body = "<ListBucketResult><Contents><Key>a</Key><Size>5</Size><ETag>\"v1\"</ETag></Contents></ListBucketResult>";
            let answer = if request.contains("list-type=2") {
                format!("HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            } else {
                let body = if request.starts_with("head") { "" } else { "bytes" };
                format!("HTTP/1.1 200 X\r\nConnection: close\r\nETag: \"v1\"\r\nContent-Length: 5\r\n\r\n{body}")
            };
            record.lock().unwrap().push(request);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

#[tokio::test]
async fn a_token_goes_along_and_what_is_stored_comes_as_it_is_stored() {
    let (url, asked) = recording().await;
    let token = "token = { command = \"echo t0ken\" }";
    let owned = source(&format!("type = \"gcs\"\nendpoint = \"{url}\"\nbucket = \"b\"\n{token}")).await;
    assert_eq!(list(owned.as_ref(), "").await.unwrap().len(), 1);
    assert_eq!(owned.create_remote_digest(&remote("a")).await.unwrap().size, Some(5));
    let requests = std::mem::take(&mut *asked.lock().unwrap());
    assert!(requests.iter().all(|request| request.contains("authorization: bearer t0ken")), "{requests:?}");
    // A listing must not come compressed, an object must not be unpacked.
    assert_eq!(requests.iter().map(|r| r.contains("accept-encoding: gzip")).collect::<Vec<_>>(), [false, true]);
    let key = "access_key_id = \"k\"\nsecret_access_key = \"hunter2\"";
    let signed = source(&format!("type = \"gcs\"\nendpoint = \"{url}\"\nbucket = \"b\"\n{key}")).await;
    signed.create_remote_digest(&remote("a")).await.unwrap();
    let requests = std::mem::take(&mut *asked.lock().unwrap());
    let signature = requests[0].lines().find(|line| line.starts_with("authorization:")).unwrap();
    assert!(signature.contains("/auto/s3/aws4_request") && !signature.contains("accept-encoding"), "{signature}");
    let stranger = source(&format!("type = \"gcs\"\nendpoint = \"{url}\"\nbucket = \"b\"")).await;
    stranger.create_remote_digest(&remote("a")).await.unwrap();
    assert!(!asked.lock().unwrap()[0].contains("authorization"));
}

#[tokio::test]
async fn a_server_that_lies_is_not_believed() {
    for (answer, expected) in [
        ("206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc", Ok(())),
        // Unpacked on the way: another length, or none.
        ("200 X\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n0123456789abc", Err(ErrorKind::Protocol)),
        (
            "206 X\r\nETag: \"v2\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc",
            Err(ErrorKind::Changed),
        ),
        ("401 X\r\nContent-Length: 0\r\n\r\n", Err(ErrorKind::Unauthenticated)),
        ("404 X\r\nContent-Length: 0\r\n\r\n", Err(ErrorKind::Unreachable)),
    ] {
        let url = liar(Box::leak(format!("HTTP/1.1 {answer}").into_boxed_str())).await;
        let source =
            source(&format!("type = \"gcs\"\nendpoint = \"{url}\"\nbucket = \"b\"\ntoken = \"hunter2\"")).await;
        assert_eq!(retrieve(source.as_ref(), "etag:v1", 2..5).await.0, expected, "{answer}");
        let listed = list(source.as_ref(), "").await;
        assert!(kind(listed).is_err());
    }
}

#[tokio::test]
async fn settings_are_checked() {
    for (table, keys) in [
        ("type = \"gcs\"", vec![None]),
        ("type = \"gcs\"\nbucket = \"b\"\nregion = \"eu\"", vec![Some("region")]),
        ("type = \"gcs\"\nbucket = \"b\"\naccess_key_id = \"k\"", vec![None]),
        (
            "type = \"gcs\"\nbucket = \"b\"\ntoken = \"t\"\naccess_key_id = \"k\"\nsecret_access_key = \"s\"",
            vec![Some("token")],
        ),
        ("type = \"gcs\"\nbucket = \"b\"\ntoken = \"t\"\ndisable_config_load = false", vec![Some("token")]),
        ("type = \"gcs\"\nbucket = \"b\"\ncredential_path = \"file\"", vec![Some("credential_path")]),
    ] {
        let problems = configured(table).await.err().unwrap_or_default();
        assert_eq!(problems.iter().map(|problem| problem.key.as_deref()).collect::<Vec<_>>(), keys, "{table}");
    }
}
