//! Azurite, the emulator of Azure's storage, with one container whose owner writes from here.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use reqsign_core::hash::{base64_decode, base64_hmac_sha256};

use super::servers::{Launch, Server, find};

/// The account that every Azurite has, and its key, which is no secret.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const CONTAINER: &str = "kit";

/// An Azure Blob Storage with one container.
#[derive(Debug)]
pub struct Azurite(Server);

impl Azurite {
    /// An empty container, which strangers may read if it is public.
    pub fn start(own: &Path, public: bool) -> Self {
        let azurite = Self(Server::launch(Launch { name: "azurite", command: azurite, login: false }, own));
        let access = if public { "x-ms-blob-public-access:container\n" } else { "" };
        azurite.send("PUT", "", "restype=container", access, b"");
        azurite
    }

    /// The table of a source that shows the container to strangers, in TOML.
    pub fn anonymous(&self) -> String {
        format!("type = \"azblob\"\nendpoint = \"{}/{ACCOUNT}\"\ncontainer = \"{CONTAINER}\"\n", self.url())
    }

    /// The table of a source that shows the container to its owner, in TOML.
    pub fn table(&self) -> String {
        format!("{}account_name = \"{ACCOUNT}\"\naccount_key = \"{KEY}\"\n", self.anonymous())
    }

    /// Puts or replaces a blob.
    pub fn put(&self, name: &str, content: &[u8]) {
        self.send("PUT", &encoded(name), "", "x-ms-blob-type:BlockBlob\n", content);
    }

    /// Removes a blob.
    pub fn delete(&self, name: &str) {
        self.send("DELETE", &encoded(name), "", "", b"");
    }

    /// `headers` are lines as they are signed, in order, and come before `x-ms-date`.
    fn send(&self, method: &str, blob: &str, query: &str, headers: &str, body: &[u8]) {
        let path = format!("/{ACCOUNT}/{CONTAINER}{}{blob}", if blob.is_empty() { "" } else { "/" });
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let headers = format!("{headers}x-ms-date:Mon, 01 Jan 2026 00:00:00 GMT\nx-ms-version:2020-10-02\n");
        let resource = query.replace('=', ":");
        let resource = if query.is_empty() { resource } else { format!("\n{resource}") };
        let text = format!("{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{headers}/{ACCOUNT}{path}{resource}");
        let signature = base64_hmac_sha256(&base64_decode(KEY).expect("it is Base64"), text.as_bytes());
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n{}\
             Authorization: SharedKey {ACCOUNT}:{signature}\r\n\r\n",
            body.len(),
            headers.replace('\n', "\r\n")
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.0.port())).expect("azurite answers");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("azurite listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("azurite answers");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 20"), "{method} {target}: {answer}");
    }
}

impl Azurite {
    /// Starts it again, on the same port, with an empty container: it keeps everything in memory.
    pub fn start_empty(&mut self) {
        self.0.start();
        self.send("PUT", "", "restype=container", "", b"");
    }
}

impl std::ops::DerefMut for Azurite {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

impl std::ops::Deref for Azurite {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%2F", "/")
}

fn azurite(server: &Server) -> Command {
    let mut command = Command::new(find("node", None));
    command.arg(find("azurite-blob", Some("KITOVUFS_AZURITE"))).args(["--blobHost", "127.0.0.1", "--blobPort"]);
    command.arg(server.port().to_string()).args(["--inMemoryPersistence", "--silent", "--disableTelemetry"]);
    command
}
