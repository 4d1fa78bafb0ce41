//! Sources against real servers, and against a server that answers everything wrong.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod azblob;
mod early;
mod ftp;
mod gcs;
mod http_login;
mod http_refusals;
mod liar;
mod moodle;
mod one_name;
mod overwritten;
mod plugin;
mod preconnected;
mod python;
mod python_adapter;
mod real;
mod s3;
mod sftp;
mod sftp_links;
mod sftp_login;
mod smb;
mod tags;
mod web;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kit::{self};
use kitovufs::error::{ErrorKind, Result};
use kitovufs::path::RemotePath;
use kitovufs::source::{Settings, Source};
use tempfile::TempDir;

/// Where plugins stage what they retrieve. It is removed when this program ends.
static SCRATCH: LazyLock<TempDir> = LazyLock::new(kit::reaper::temporary);

/// A configured and connected source from a table in TOML.
async fn source(table: &str) -> Box<dyn Source> {
    let source = configured(table).await.expect("the settings are right");
    source.connect().await.expect("connecting asks nothing of the server");
    source
}

async fn configured(table: &str) -> Result<Box<dyn Source>, Vec<kitovufs::source::Problem>> {
    let mut values: BTreeMap<String, toml::Value> = toml::from_str(table).expect("the table is TOML");
    let kind = values.remove("type").expect("a table has a type");
    let settings = Settings::of("test", values).staging_in(SCRATCH.path());
    kitovufs::sources::configure(kind.as_str().unwrap(), &settings).await
}

fn remote(path: &str) -> RemotePath {
    RemotePath::parse(path.as_bytes()).expect("a plain path")
}

fn kind<T>(result: Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}
