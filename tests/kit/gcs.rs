//! fake-gcs-server, an emulator of Google Cloud Storage, with one bucket that is changed from here.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::servers::{Launch, Server, find};

const BUCKET: &str = "kit";

/// A Google Cloud Storage with one bucket. It asks nobody who he is.
#[derive(Debug)]
pub struct Gcs(Server);

impl Gcs {
    /// An empty bucket.
    pub fn start(own: &Path) -> Self {
        let gcs = Self(Server::launch(Launch { name: "fake-gcs-server", command: gcs, login: false }, own));
        gcs.make_bucket();
        gcs
    }

    fn make_bucket(&self) {
        self.send("POST", "/storage/v1/b?project=kit", format!("{{\"name\":\"{BUCKET}\"}}").as_bytes());
    }

    /// Starts it again, on the same port, with an empty bucket: it keeps everything in memory.
    pub fn start_empty(&mut self) {
        self.0.start();
        self.make_bucket();
    }

    /// The table of a source that shows the bucket, in TOML.
    pub fn table(&self) -> String {
        format!("type = \"gcs\"\nendpoint = \"{}\"\nbucket = \"{BUCKET}\"\n", self.0.url())
    }

    /// Puts or replaces an object.
    pub fn put(&self, name: &str, content: &[u8]) {
        self.send("POST", &format!("/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={}", encoded(name)), content);
    }

    /// Removes an object.
    pub fn delete(&self, name: &str) {
        self.send("DELETE", &format!("/storage/v1/b/{BUCKET}/o/{}", encoded(name)), b"");
    }

    fn send(&self, method: &str, target: &str, body: &[u8]) {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.0.port(),
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.0.port())).expect("the emulator answers");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("the emulator listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the emulator answers");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 20"), "{method} {target}: {answer}");
    }
}

impl std::ops::Deref for Gcs {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

impl std::ops::DerefMut for Gcs {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn gcs(server: &Server) -> Command {
    let mut command = Command::new(find("fake-gcs-server", None));
    command.args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-port"]);
    // Whatever port is asked for: there may be a proxy before it.
    command.arg(server.port().to_string()).args(["-public-host", "127.0.0.1"]);
    command
}
