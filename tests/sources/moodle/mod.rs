//! Moodle, at a site made from what a real one answered.

mod account;
mod contract;
mod counts;
mod descriptions;
mod files;
mod forums;
mod kinds;
mod site;
mod submissions;
mod tree;
mod versions;

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use kitovufs::error::{Error, ErrorKind, Result};
use kitovufs::path::RemotePath;
use kitovufs::source::{Entry, EntryKind, RemoteDigest, Retrieval, Source};

use crate::remote;

async fn list(source: &dyn Source, dir: &str) -> Result<Vec<Entry>> {
    source.list_path(&remote(dir)).await?.try_collect().await
}

/// All files below a directory.
async fn files(source: &dyn Source, dir: &RemotePath) -> Vec<Entry> {
    let entries: Vec<Entry> = source.list_path(dir).await.unwrap().try_collect().await.unwrap();
    let mut found = Vec::new();
    for entry in entries {
        if entry.kind == EntryKind::Directory {
            found.extend(Box::pin(files(source, &entry.path)).await);
        } else {
            found.push(entry);
        }
    }
    found
}

/// What a mount knows of a file before it opens it: what is listed, or asked for where listings do not say.
async fn known(source: &dyn Source, entry: &Entry) -> RemoteDigest {
    match entry.digest.clone() {
        Some(digest) => RemoteDigest { digest, size: entry.size, modified: entry.modified },
        None => source.create_remote_digest(&entry.path).await.unwrap(),
    }
}

/// All bytes of a version.
async fn whole(source: &dyn Source, path: &RemotePath, known: &RemoteDigest) -> (Result<(), Error>, Vec<u8>) {
    let retrieval = match known.size {
        Some(0) => return (Ok(()), Vec::new()),
        Some(size) => Retrieval::new(path, &known.digest, size, 0..size),
        None => Retrieval::of_unknown_size(path, &known.digest),
    };
    let mut out = Vec::new();
    let result = source.retrieve_file(&retrieval, &mut out).await.map(drop);
    (result, out)
}

/// The listed entry of a path.
async fn entry(source: &dyn Source, dir: &str, path: &str) -> Entry {
    let entries = list(source, dir).await.unwrap();
    entries.into_iter().find(|entry| entry.path == remote(path)).unwrap_or_else(|| panic!("{path} is listed"))
}

/// The names of a directory.
async fn names(source: &dyn Source, dir: &str) -> Vec<String> {
    let entries = list(source, dir).await.unwrap();
    entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
}

/// The files of a directory by their names, each as it is retrieved.
async fn contents(source: &dyn Source, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in list(source, dir).await.unwrap().into_iter().filter(|entry| !entry.is_directory()) {
        let version = known(source, &entry).await;
        let (result, bytes) = whole(source, &entry.path, &version).await;
        result.unwrap();
        assert_eq!(version.size, Some(bytes.len() as u64));
        assert_eq!(source.create_remote_digest(&entry.path).await.unwrap().digest.base(), version.digest.base());
        found.insert(String::from_utf8(entry.name).unwrap(), bytes);
    }
    found
}

fn kind_of<T>(result: Result<T>) -> Result<T, ErrorKind> {
    crate::kind(result)
}
