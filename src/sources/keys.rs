//! `Keys`: a store of keys, in which directories are what keys share up to a slash, and its listings. It knows no protocol.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt as _;
use percent_encoding::utf8_percent_encode;

use super::alone;
use super::http::COMPONENT;
use super::http::transport::Answer;
use super::purpose::Purpose;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::omitted::Omitted;
use crate::path::RemotePath;
use crate::source::budget::Budget;
use crate::source::one_name::{OneName, wanted_in_large_directory};
use crate::source::{Entry, EntryStream, LeftOut, RemoteDigest};
use crate::sources::heap::Heap;
use crate::sources::stamp::Stamp;

/// The name of a directory whose name in the store is empty, as in `a//b` and `/b`.
const EMPTY_NAME: &str = "\u{ff0f}";

/// One page of a listing, in the store's order.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Prefixes up to and with the next slash.
    pub(super) directories: Heap<String>,
    /// Keys without a further slash.
    pub(super) files: Heap<(String, Stamp)>,
    /// The token that asks for the next page; none on the last.
    pub(super) next: Option<String>,
    /// When the store said so, by its clock, in seconds since 1970.
    pub(super) observed: i64,
    /// What of it could not be read.
    pub(super) left_out: Omitted,
}

impl Page {
    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.files.is_empty() && self.next.is_none() && !self.left_out.is_incomplete()
    }
}

/// A store of keys below a prefix.
pub(super) trait Keys: Sync {
    /// The beginning of every key: empty, or ending in a slash.
    fn prefix(&self) -> &str;

    /// One page of the keys that begin with `prefix`, up to the next slash; at most `most` of them.
    ///
    /// # Errors
    /// Never `NotFound`: a store that does not know the bucket is an outage.
    fn page(
        &self,
        purpose: Purpose<'_>,
        prefix: &str,
        token: Option<&str>,
        most: Option<u32>,
    ) -> impl Future<Output = Result<Page>> + Send;

    /// The key of a file that could be there: none has an empty name, which is that of a mark for its directory.
    fn key_of_file(&self, purpose: Purpose<'_>) -> Result<String> {
        let key = self.key(purpose)?;
        if key.len() == self.prefix().len() || key.ends_with('/') {
            return Err(purpose.error(ErrorKind::NotFound));
        }
        Ok(key)
    }

    /// The key of a path. Keys are text; others cannot be named.
    fn key(&self, purpose: Purpose<'_>) -> Result<String> {
        match purpose.path.as_str() {
            Some(text) => {
                let names: Vec<_> = text.split('/').map(|name| if name == EMPTY_NAME { "" } else { name }).collect();
                Ok(format!("{}{}", self.prefix(), names.join("/")))
            }
            None => Err(purpose.error(ErrorKind::NotFound).because("the store has no names that are not UTF-8")),
        }
    }

    /// The error of a *not found* of a key: an outage if all keys have gone, since then nothing was deleted.
    fn missing(&self, purpose: Purpose<'_>, error: Error) -> impl Future<Output = Error> + Send {
        async move {
            match self.page(purpose, self.prefix(), None, Some(1)).await {
                Ok(page) if page.is_empty() && !self.prefix().is_empty() => self.no_root(purpose),
                // An account that may read but not list gets the store's own *not found*.
                Ok(_) => error,
                Err(listing) if listing.kind() == ErrorKind::PermissionDenied => error,
                Err(listing) => listing,
            }
        }
    }

    fn no_root(&self, purpose: Purpose<'_>) -> Error {
        let prefix = self.prefix();
        purpose.error(ErrorKind::Unreachable).because(format!("no key begins with {prefix}: is `root` right?"))
    }

    /// The entries of a directory.
    ///
    /// Each page's entries go out before the next is asked for: a large directory is never in memory as a whole.
    fn list<'a>(&'a self, purpose: Purpose<'a>) -> impl Future<Output = Result<EntryStream<'a>>> + Send {
        async move {
            let dir = purpose.path;
            let mut prefix = self.key(purpose)?;
            if !dir.is_root() {
                prefix.push('/');
            }
            if let Some(name) = wanted_in_large_directory()
                && let Some(entries) = self.beginning_with(purpose, &prefix, &name).await?
                && (!entries.is_empty() || !self.page(purpose, &prefix, None, Some(1)).await?.is_empty())
            {
                return Ok(alone::answered(entries));
            }
            // The first page is what tells whether there is such a directory: it exists by its keys.
            let first = self.page(purpose, &prefix, None, None).await?;
            if first.is_empty() && !prefix.is_empty() {
                if dir.is_root() {
                    return Err(self.no_root(purpose));
                }
                return Err(self.missing(purpose, purpose.error(ErrorKind::NotFound)).await);
            }
            Ok(entries(self, purpose, prefix.into(), first))
        }
    }

    /// The entries of a directory, whose keys begin with `prefix`, that begin with `name`; none if they are not told in one page, or not
    /// all of them can be read.
    fn beginning_with(
        &self,
        purpose: Purpose<'_>,
        prefix: &str,
        name: &[u8],
    ) -> impl Future<Output = Result<Option<Vec<Entry>>>> + Send {
        async move {
            // Keys are text.
            let Ok(name) = str::from_utf8(name) else { return Ok(None) };
            let page = self.page(purpose, &format!("{prefix}{name}"), None, None).await?;
            let (is_all, left_out) = (page.next.is_none(), LeftOut::default());
            let entries = entries_of(purpose.path, prefix.into(), page, &left_out).collect();
            Ok((is_all && !left_out.is_incomplete()).then_some(entries))
        }
    }
}

/// The URL of a page of a listing: `url` with its query, to which those `arguments` are added that are not empty.
pub(super) fn page_url<'a>(mut url: String, arguments: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    for (name, value) in arguments {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            url += &format!("&{name}={}", utf8_percent_encode(value, COMPONENT));
        }
    }
    url
}

/// The error of a page that the store refused. A store that knows the bucket lists it, be it empty: *not found* is an outage then.
pub(super) fn no_page(purpose: Purpose<'_>, error: Error, no_bucket: &str) -> Error {
    match error.kind() {
        ErrorKind::NotFound => purpose.error(ErrorKind::Unreachable).because(no_bucket),
        _ => error,
    }
}

/// The refusal of a request that carried no login, and the settings that give one.
pub(super) fn refused_without_login(refusal: Error, wanted: &str) -> Error {
    let is_for_want_of_login = matches!(refusal.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied);
    if !is_for_want_of_login {
        return refusal;
    }
    let told = refusal.reason();
    refusal.because(format!("{told}; no login is configured: {wanted} give one"))
}

/// The answer of `create_remote_digest`, from a store's answer about a file.
pub(super) fn remote_digest(answer: &Answer) -> RemoteDigest {
    let stamp = Stamp::from_headers(answer.response.headers());
    stamp.remote_digest(digest(&stamp, answer.observed))
}

/// The prefix of everything below `root`, which a configuration writes as text.
pub(super) fn prefix_of(root: &RemotePath) -> String {
    root.as_str().filter(|text| !text.is_empty()).map(|text| format!("{text}/")).unwrap_or_default()
}

/// How a listing goes on.
enum Next {
    Page(Page),
    Token(String),
}

/// A listing under way.
struct Pages {
    next: Option<Next>,
    /// The tokens that pages were asked for with: one that comes again leads in circles.
    tokens: HashSet<String>,
    budget: Budget,
    left_out: LeftOut,
    one_name: OneName,
}

/// The entries of the first page of a directory, and of those that follow it.
fn entries<'a, S: Keys + ?Sized>(store: &'a S, purpose: Purpose<'a>, prefix: Arc<str>, first: Page) -> EntryStream<'a> {
    let (tokens, budget, left_out, one_name) = Default::default();
    let pages = Pages { next: Some(Next::Page(first)), tokens, budget, left_out, one_name };
    let (left_out, one_name) = (pages.left_out.clone(), pages.one_name.clone());
    let pages = futures::stream::unfold(pages, move |mut pages| {
        let prefix = Arc::clone(&prefix);
        async move {
            let mut page = match pages.next.take()? {
                Next::Page(page) => page,
                Next::Token(token) => {
                    let page = pages.ask(store, purpose, &prefix, token).await;
                    match page {
                        Ok(Some(page)) => page,
                        Ok(None) => return None,
                        Err(error) => return Some((futures::stream::iter([Err(error)]).boxed(), pages)),
                    }
                }
            };
            pages.next = page.next.take().map(Next::Token);
            let entries = entries_of(purpose.path, prefix, page, &pages.left_out);
            Some((futures::stream::iter(entries.map(Ok)).boxed(), pages))
        }
    });
    EntryStream::for_one_name(pages.flatten(), left_out, one_name)
}

impl Pages {
    /// The next page; `None` if what was told of one name ends the listing.
    async fn ask<S: Keys + ?Sized>(
        &mut self,
        store: &S,
        purpose: Purpose<'_>,
        prefix: &str,
        token: String,
    ) -> Result<Option<Page>> {
        if let Some(name) = self.one_name.take_wanted()
            && let Some(entries) = store.beginning_with(purpose, prefix, &name).await?
        {
            self.one_name.tell(entries);
            return Ok(None);
        }
        self.budget.page().map_err(|exceeded| exceeded.error(purpose.path))?;
        let page = store.page(purpose, prefix, Some(&token), None).await?;
        self.tokens.insert(token);
        if page.next.as_ref().is_some_and(|next| self.tokens.contains(next)) {
            return Err(purpose.protocol("the listing goes in circles"));
        }
        Ok(Some(page))
    }
}

/// A tag identifies the bytes by itself; a store without tags has sizes and times.
fn digest(stamp: &Stamp, observed: i64) -> Digest {
    stamp.tag_digest().unwrap_or_else(|| stamp.digest(observed))
}

/// The entries of one page of `dir`, whose keys begin with `prefix`, made as they are taken. What the page leaves out is noted on the way.
fn entries_of<'a>(
    dir: &'a RemotePath,
    prefix: Arc<str>,
    page: Page,
    left_out: &LeftOut,
) -> impl Iterator<Item = Entry> + Send + use<'a> {
    let Page { directories, files, observed, left_out: unread, .. } = page;
    left_out.append(unread);
    let (left_out, noted, above) = (left_out.clone(), left_out.clone(), Arc::clone(&prefix));
    let directories = directories.into_iter().filter_map(move |key| {
        let name = match key.strip_prefix(&*above).and_then(|name| name.strip_suffix('/')).unwrap_or_default() {
            "" => EMPTY_NAME,
            EMPTY_NAME => {
                noted.refuse(EMPTY_NAME.as_bytes(), "it stands for the empty name");
                return None;
            }
            name => name,
        };
        noted.child(dir, name.as_bytes()).map(|path| Stamp::default().directory(path))
    });
    let files = files.into_iter().filter_map(move |(key, stamp)| {
        // The key that ends in a slash marks the directory itself.
        if *key == *prefix {
            return None;
        }
        let path = left_out.child(dir, key.strip_prefix(&*prefix).unwrap_or_default().as_bytes())?;
        // Without a size, the store is asked about the file by itself.
        let digest = stamp.size.map(|_| digest(&stamp, observed));
        Some(stamp.file(path, digest))
    });
    directories.chain(files)
}
