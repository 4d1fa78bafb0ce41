//! The contract, kept by a folder of a course.

use async_trait::async_trait;
use futures::StreamExt as _;
use kitovufs::digest::Digest;
use kitovufs::error::Result;
use kitovufs::path::RemotePath;
use kitovufs::source::conformance::{self, RemoteEditor};
use kitovufs::source::{Capabilities, Entry, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};

use crate::configured;
use crate::kit::moodle::Moodle;

/// The folder that is empty at first.
const FOLDER: u64 = 18;

/// What is below one directory of a source, as a source: paths of files below a folder are names, as the suite expects.
struct Inside {
    source: Box<dyn Source>,
    prefix: String,
}

impl Inside {
    fn path(&self, path: &RemotePath) -> RemotePath {
        let path = [self.prefix.as_bytes(), path.as_bytes()].join(b"/".as_slice());
        RemotePath::parse(&path).unwrap()
    }
}

#[async_trait]
impl Source for Inside {
    fn capabilities(&self) -> Capabilities {
        self.source.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        self.source.connect().await
    }

    async fn disconnect(&self) {
        self.source.disconnect().await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let dir = self.path(dir);
        let entries: Vec<_> = self.source.list_path(&dir).await?.collect().await;
        let inside = move |entry: Entry| {
            let path = entry.path.as_bytes().strip_prefix(self.prefix.as_bytes()).expect("a path below the folder's");
            Entry { path: RemotePath::parse(path).unwrap(), ..entry }
        };
        Ok(EntryStream::new(futures::stream::iter(entries).map(move |entry| entry.map(&inside))))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.source.create_remote_digest(&self.path(file)).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.source.create_local_digest(&LocalCopy { path: &self.path(copy.path), ..*copy }).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        self.source.retrieve_file(&Retrieval { path: &self.path(request.path), ..request.clone() }, out).await
    }
}

/// A folder of a course, as a teacher changes it.
struct Folder<'a>(&'a Moodle);

#[async_trait]
impl RemoteEditor for Folder<'_> {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        // What Moodle takes out of names when files are uploaded.
        if path.contains(|c: char| c.is_control() || "&<>\"'\\:|".contains(c)) {
            return false;
        }
        self.0.store().put(FOLDER, &format!("/{path}"), content);
        true
    }

    async fn remove(&self, path: &str) {
        self.0.store().remove(FOLDER, &format!("/{path}"));
    }

    async fn mkdir(&self, _: &str) -> bool {
        false
    }
}

async fn conforms(site: &Moodle) {
    let scratch = kit::reaper::reachable();
    let source = configured(&site.table()).await.unwrap();
    let inside = Inside { source, prefix: format!("course-2/module-{FOLDER}") };
    let report = conformance::run(&inside, &Folder(site), scratch.path()).await;
    assert!(report.passed(), "{report}");
    assert!(report.checks.len() > 40, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_the_contract() {
    conforms(&Moodle::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_files_the_web_server_sends_keeps_the_contract() {
    let site = Moodle::start();
    site.store().accelerated = true;
    conforms(&site).await;
}
