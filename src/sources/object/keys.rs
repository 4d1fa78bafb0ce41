//! `Page`: one page of a store of keys, in which directories are what keys share up to a slash. It knows no store.

use std::sync::Arc;

use futures::StreamExt as _;

use super::child;
use super::http::Purpose;
use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind, EntryStream};
use crate::sources::version::Version;

/// One page of a listing, in the store's order.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Prefixes up to and with the next slash.
    pub(super) directories: Vec<String>,
    /// Keys without a further slash.
    pub(super) files: Vec<(String, Version)>,
    /// What to ask the next page with; none on the last.
    pub(super) next: Option<String>,
    /// When the store said so, by its clock, in seconds since 1970.
    pub(super) observed: i64,
}

impl Page {
    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.files.is_empty() && self.next.is_none()
    }
}

/// How a listing goes on.
enum Next {
    Page(Page),
    Token(String),
}

/// The entries of a directory, whose keys begin with `prefix`: of its first page, and of those that `fetch` gets by prefix and token.
///
/// Each page's entries go out before the next is asked for: a large directory is never in memory as a whole.
pub(super) fn entries<'a, F>(
    purpose: Purpose<'a>,
    prefix: Arc<str>,
    first: Page,
    fetch: impl Fn(Arc<str>, String) -> F + Send + 'a,
) -> EntryStream<'a>
where
    F: Future<Output = Result<Page>> + Send + 'a,
{
    let state = Some((fetch, Next::Page(first)));
    let pages = futures::stream::unfold(state, move |state| {
        let prefix = Arc::clone(&prefix);
        async move {
            let (fetch, next) = state?;
            let mut page = match next {
                Next::Page(page) => page,
                Next::Token(token) => match fetch(Arc::clone(&prefix), token.clone()).await {
                    Ok(page) if page.next.as_ref() == Some(&token) => {
                        return Some((vec![Err(purpose.protocol("the listing goes in circles"))], None));
                    }
                    Ok(page) => page,
                    Err(error) => return Some((vec![Err(error)], None)),
                },
            };
            let next = page.next.take();
            let entries = entries_of(purpose.path, &prefix, page);
            Some((entries, next.map(|token| (fetch, Next::Token(token)))))
        }
    });
    pages.map(futures::stream::iter).flatten().boxed()
}

/// A tag identifies the bytes by itself; a store without tags has sizes and times.
pub(super) fn digest(version: &Version, observed: i64) -> Digest {
    version.tag_digest().unwrap_or_else(|| version.digest(observed))
}

fn entries_of(dir: &RemotePath, prefix: &str, page: Page) -> Vec<Result<Entry>> {
    let mut entries = Vec::with_capacity(page.directories.len() + page.files.len());
    for key in page.directories {
        let name = key.strip_prefix(prefix).and_then(|name| name.strip_suffix('/')).unwrap_or_default();
        if let Some(path) = child(dir, name.as_bytes()) {
            let (name, kind) = (name.as_bytes().to_vec(), EntryKind::Directory);
            entries.push(Ok(Entry { name, path, kind, size: None, modified: None, digest: None }));
        }
    }
    for (key, version) in page.files {
        // The key that ends in a slash marks the directory itself.
        if key == prefix {
            continue;
        }
        let name = key.strip_prefix(prefix).unwrap_or_default();
        if let Some(path) = child(dir, name.as_bytes()) {
            entries.push(Ok(Entry {
                name: name.as_bytes().to_vec(),
                path,
                kind: EntryKind::File { executable: false },
                size: version.size,
                modified: version.modified_time(),
                digest: Some(digest(&version, page.observed)),
            }));
        }
    }
    entries
}
