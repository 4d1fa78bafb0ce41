//! The sources that come with kitovufs, by type name.

pub mod local;
pub mod memory;
pub mod object;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{LocalCopy, Source};

/// A source of the given type, which waits for `configure`; none if there is no such type.
pub fn create(type_name: &str) -> Option<Box<dyn Source>> {
    match type_name {
        "http" => Some(Box::new(object::Web::new())),
        "local" => Some(Box::new(local::Local::new())),
        "s3" => Some(Box::new(object::S3::new())),
        "webdav" => Some(Box::new(object::Webdav::new())),
        _ => None,
    }
}

/// The local digest where digests are not computed from bytes: what the copy was retrieved as, or, for a copy of
/// another size, a text that equals no digest.
async fn same_size(copy: &LocalCopy<'_>) -> Result<Digest> {
    let found = tokio::fs::metadata(copy.file).await;
    let found = found.map_err(|e| Error::new("create_local_digest", ErrorKind::Cache).on(copy.path).caused_by(e))?;
    if found.len() == copy.size {
        return Ok(copy.retrieved_as.clone());
    }
    Ok(Digest::new(format!("damaged:{} of {} bytes", found.len(), copy.size)))
}
