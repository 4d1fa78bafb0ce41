//! SeaweedFS, a distributed S3 server, as one process with one bucket.

use std::path::Path;
use std::process::Command;

use super::servers::{Launch, Server, find, free_port};
use super::wait::eventually;

const BUCKET: &str = "shared";
const KEY: (&str, &str) = ("kit", "kit-secret-Q7x");

/// An S3 server with an empty bucket.
#[derive(Debug)]
pub struct Seaweed(Server);

impl Seaweed {
    /// Starts one. The directory is its own.
    pub fn start(dir: &Path) -> Self {
        let seaweed = Self(Server::launch(Launch { name: "seaweedfs", command: mini, login: false }, dir));
        // It listens before its parts have found each other, and the bucket is made.
        eventually("SeaweedFS is ready", || seaweed.log().contains("ready to use"));
        seaweed
    }

    /// The bucket that is there from the start.
    pub fn bucket(&self) -> &str {
        BUCKET
    }

    /// The name of the key that it knows, and the key.
    pub fn key(&self) -> (&str, &str) {
        KEY
    }

    /// The lines in `[shared]` of a store in its bucket, which is reached at this port of this machine.
    pub fn store(&self, port: u16) -> String {
        let (id, secret) = KEY;
        format!(
            "store = \"s3://{BUCKET}/fleet1\"\nendpoint = \"http://127.0.0.1:{port}\"\naccess_key_id = \"{id}\"\n\
             secret_access_key = \"{secret}\"\n"
        )
    }
}

impl std::ops::Deref for Seaweed {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

impl std::ops::DerefMut for Seaweed {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

fn mini(server: &Server) -> Command {
    let mut command = Command::new(find("weed", None));
    // Its logs would lie in the directory for temporary files otherwise.
    command.arg(format!("-logdir={}", server.own().display()));
    command.args([
        "mini",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
    ]);
    command.arg(format!("-dir={}", server.dir().display())).arg(format!("-bucket={BUCKET}"));
    command.arg(format!("-s3.port={}", server.port()));
    let ports = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"];
    for port in ports.into_iter().chain(["s3.port.grpc", "s3.port.lance", "admin.port", "admin.port.grpc"]) {
        command.arg(format!("-{port}={}", free_port()));
    }
    command.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", KEY.1);
    command
}
