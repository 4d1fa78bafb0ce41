//! A file that is overwritten in place while it is retrieved: old bytes, new bytes or an error, and never bytes of both.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use kitovufs::error::{ErrorKind, Result};
use kitovufs::source::{Retrieval, Sink, Source as _};

use crate::kit::proxy::{Link, Proxy};
use crate::kit::samba::Samba;
use crate::kit::servers::{S3, Webdav, with_port};
use crate::kit::sshd::Sshd;
use crate::kit::web::Web;
use crate::real::served;
use crate::{remote, source};

/// More than lies in the buffers of sockets and of servers.
const SIZE: usize = 40 << 20;

/// Per connection, so that there is time to overwrite.
const BANDWIDTH: u64 = 60 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn apache_over_webdav() {
    let dir = served();
    let server = Webdav::apache(dir.path());
    never_makes_a_mix(dir.path(), server.port(), &server.table()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lighttpd_over_webdav() {
    let dir = served();
    let server = Webdav::lighttpd(dir.path());
    never_makes_a_mix(dir.path(), server.port(), &server.table()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone_over_webdav() {
    let dir = served();
    let server = Webdav::rclone(dir.path());
    never_makes_a_mix(dir.path(), server.port(), &server.table()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_without_entity_tags() {
    let dir = served();
    let server = S3::rclone_without_tags(dir.buckets());
    never_makes_a_mix(dir.path(), server.port(), &server.table("bucket")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_whose_tags_are_confirmed() {
    let dir = served();
    let server = S3::rclone(dir.buckets());
    let table = format!("{}confirm = \"strict\"\n", server.table("bucket"));
    never_makes_a_mix(dir.path(), server.port(), &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx() {
    let dir = served();
    let server = Web::nginx(dir.path());
    never_makes_a_mix(dir.path(), server.port(), &server.table("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache() {
    let dir = served();
    let server = Web::apache(dir.path());
    never_makes_a_mix(dir.path(), server.port(), &server.table("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_tells_only_times() {
    let dir = served();
    let server = Web::python(dir.path());
    never_makes_a_mix(dir.path(), server.port(), &server.table("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh() {
    let dir = served();
    let server = Sshd::run(dir.path());
    let proxy = Proxy::to(server.port());
    // The host is known by its port too.
    let known = fs::read_to_string(server.file("known_hosts")).unwrap();
    let more = known.replace(&format!("]:{} ", server.port()), &format!("]:{} ", proxy.port()));
    fs::write(server.file("known_hosts"), known + &more).unwrap();
    over(Some(&proxy), dir.path(), &with_port(&server.table(), server.port(), proxy.port())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samba() {
    let dir = served();
    let server = Samba::run(dir.path());
    never_makes_a_mix(dir.path(), server.port(), &server.table("kit")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_this_machine() {
    let dir = served();
    over(None, dir.path(), &format!("type = \"local\"\npath = {:?}\n", dir.path())).await;
}

async fn never_makes_a_mix(dir: &Path, port: u16, table: &str) {
    let proxy = Proxy::to(port);
    over(Some(&proxy), dir, &with_port(table, port, proxy.port())).await;
}

/// The file is overwritten when the first bytes have come in, and when many have reached the reader.
async fn over(proxy: Option<&Proxy>, dir: &Path, table: &str) {
    let source = source(table).await;
    // Each has a file of its own: lighttpd for a second takes a file that is written again for the one before, which is a change too.
    for (name, taken) in [("one", 0), ("two", 9 << 20)] {
        let (file, path) = (dir.join(name), remote(name));
        fs::write(&file, vec![b'1'; SIZE]).unwrap();
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&file).unwrap().set_modified(an_hour_ago).unwrap();
        let digest = source.create_remote_digest(&path).await.unwrap().digest;
        if let Some(proxy) = proxy {
            proxy.set(Link { bandwidth: Some(BANDWIDTH), ..Link::default() });
        }
        let mut reader = Reader { file: &file, taken: 0, overwrite_after: Some(taken), torn: false };
        let result =
            source.retrieve_file(&Retrieval::new(&path, &digest, SIZE as u64, 0..SIZE as u64), &mut reader).await;
        let kind = result.map_err(|error| error.kind()).map(drop);
        assert_eq!(kind, Err(ErrorKind::Changed), "after {taken} bytes");
        assert!(reader.overwrite_after.is_none() && !reader.torn, "after {taken} bytes: {} were seen", reader.taken);
    }
}

/// Takes bytes, and overwrites the file where it is when it has taken so many.
struct Reader<'a> {
    file: &'a Path,
    taken: usize,
    overwrite_after: Option<usize>,
    torn: bool,
}

#[async_trait]
impl Sink for Reader<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.torn |= bytes.iter().any(|byte| *byte != b'1');
        self.taken += bytes.len();
        if self.overwrite_after.is_some_and(|after| self.taken >= after) {
            self.overwrite_after = None;
            File::options().write(true).open(self.file).unwrap().write_all_at(&vec![b'2'; SIZE], 0).unwrap();
        }
        Ok(())
    }
}
