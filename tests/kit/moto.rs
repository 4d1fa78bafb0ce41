//! moto, which speaks all of S3: multipart uploads, versions, access of everybody. Objects live in its memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::servers::{Certifies, Launch, Server, certify, find};

/// The bucket that is there from the start.
pub const BUCKET: &str = "bucket";
/// Whom moto believes: it checks that a request is signed, not how.
const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=kit/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// An S3 server with one bucket, changed from here.
#[derive(Debug)]
pub struct Moto(Server);

impl Moto {
    /// An empty bucket.
    pub fn start(own: &Path) -> Self {
        Self(Server::launch(Launch { name: "moto", command: |server| moto(server, 0, None), login: false }, own))
    }

    /// The same with TLS, under a certificate that [`Server::certificate`] is. It is not changed from here.
    pub fn with_tls(own: &Path) -> Self {
        let command = |server: &Server| moto(server, 0, Some(certify(server.own(), Certifies::Itself)));
        Self(Server::launch(Launch { name: "moto with TLS", command, login: false }, own))
    }

    /// A bucket with 5,000 objects of one byte, `many/000000` and on.
    pub fn with_five_thousand(own: &Path) -> Self {
        Self(Server::launch(Launch { name: "moto", command: |server| moto(server, 5_000, None), login: false }, own))
    }

    /// The table of a source that shows the bucket to nobody in particular, in TOML.
    pub fn anonymous(&self) -> String {
        format!("type = \"s3\"\nendpoint = \"{}\"\nbucket = \"{BUCKET}\"\n", self.url())
    }

    /// The table of a source that shows the bucket to its owner, in TOML.
    pub fn table(&self) -> String {
        format!("{}access_key_id = \"kit\"\nsecret_access_key = \"kit-secret-Q7x\"\n", self.anonymous())
    }

    /// Puts or replaces an object.
    pub fn put(&self, key: &str, content: &[u8]) {
        self.send("PUT", &encoded(key), &[], content);
    }

    /// Puts or replaces an object that everybody may read.
    pub fn put_public(&self, key: &str, content: &[u8]) {
        self.send("PUT", &encoded(key), &[("x-amz-acl", "public-read")], content);
    }

    /// Keeps every version from now on.
    pub fn keep_versions(&self) {
        self.send(
            "PUT",
            "?versioning",
            &[],
            b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        );
    }

    /// Removes an object; in a bucket with versions, marks it as removed.
    pub fn delete(&self, key: &str) {
        self.send("DELETE", &encoded(key), &[], b"");
    }

    /// Puts an object in parts of 5 MiB, the least that S3 takes; its tag is then no hash of it.
    pub fn put_in_parts(&self, key: &str, content: &[u8]) {
        let key = encoded(key);
        let begun = self.send("POST", &format!("{key}?uploads"), &[], b"");
        let id = between(&begun, "<UploadId>", "</UploadId>");
        let mut parts = String::new();
        for (number, part) in (1..).zip(content.chunks(5 << 20)) {
            let answer =
                self.send("PUT", &format!("{key}?partNumber={number}&uploadId={id}"), &[], part).to_lowercase();
            let tag = between(&answer, "etag: \"", "\"");
            parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{tag}\"</ETag></Part>");
        }
        let all = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        self.send("POST", &format!("{key}?uploadId={id}"), &[], all.as_bytes());
    }

    fn send(&self, method: &str, place: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0.port())).expect("moto answers");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} /{BUCKET}/{place} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: {SIGNED}\r\n\
             {headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("moto listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("moto answers");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 20"), "{method} {place}: {answer}");
        answer
    }
}

impl std::ops::DerefMut for Moto {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

impl std::ops::Deref for Moto {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

fn encoded(key: &str) -> String {
    percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%2F", "/")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).expect("moto says so");
    rest.split_once(after).expect("moto says so").0
}

const SCRIPT: &str = r#"
import functools
import sys
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
port, bucket, objects, *tls = sys.argv[1:]
backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
backend.create_bucket(bucket, "us-east-1")
for number in range(int(objects)):
    backend.put_object(bucket, f"many/{number:06}", b"x")
if int(objects):
    # It goes through all objects for every page, and these do not change.
    backend.list_objects = functools.cache(backend.list_objects)
run_simple("127.0.0.1", int(port), DomainDispatcherApplication(create_backend_app), threaded=True, ssl_context=tuple(tls) or None)
"#;

/// With TLS, if there are a key and a certificate.
fn moto(server: &Server, objects: u32, tls: Option<(PathBuf, PathBuf)>) -> Command {
    let mut command = Command::new(find("python3", Some("KITOVUFS_PYTHON")));
    command.args(["-c", SCRIPT, &server.port().to_string(), BUCKET, &objects.to_string()]);
    command.args(tls.into_iter().flat_map(|(key, certificate)| [certificate, key]));
    command
}
