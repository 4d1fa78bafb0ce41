//! `Web`: a directory of a web server that shows its index, or a single file, as a source. It only asks: GET and HEAD.

mod connected;
mod index;
mod item;
mod page;
mod url;

use ::url::Url;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use reqwest::Response;

use self::connected::{Connected, Place, Seen};
use self::item::Item;
use super::authorities::Authorities;
use super::http::burst::Bursts;
use super::http::early::Confirming;
use super::http::login::Login;
use super::http::preconnected::Preconnected;
use super::http::ranges::Ranges;
use super::http::redirect::{Named, Redirects};
use super::http::tags::{Tags, Told};
use super::http::transport::parsed;
use super::http::versioned::{self, Versioned};
use super::http::{CLIENT_BUFFER_BYTES, body, encode_path, read_endpoint, warn_if_clear};
use super::purpose::Purpose;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Printable, RemotePath};
use crate::source::url::Urls;
use crate::source::{
    Capabilities, EntryStream, Kind, LeftOut, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink,
    Source,
};
use crate::sources::current::Current;
use crate::sources::heap::Heap;
use crate::sources::stamp::Stamp;

/// The name by which servers keep a page that they show in place of an index.
const PAGE: &str = "index.html";

/// A web directory, or a single file on the web, as a source: `type = "http"`.
///
/// Keys: `url` (required), `username` with `password`, or `token`; `redirect_hosts`, `confirm`. A URL that ends in a slash is a directory, whose index
/// the server must show; any other is asked whether it is one, and otherwise appears as the only file.
#[derive(Debug)]
pub struct Web {
    config: Config,
    preconnected: Preconnected,
    connected: Current<Connected>,
    ranges: Ranges,
    tags: Tags,
    bursts: Bursts,
}

#[derive(Debug)]
struct Config {
    url: Url,
    login: Login,
    named: Named,
    authorities: Authorities,
    confirming: Confirming,
}

/// The type `http`.
pub struct WebKind;

#[async_trait]
impl Kind for WebKind {
    fn type_name(&self) -> &'static str {
        "http"
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    #[cfg(feature = "shared")]
    fn lasting_secret(&self, settings: &Settings) -> Option<&'static str> {
        settings.first_of(&["token"])
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let mut reader = settings.reader();
        let written = reader.required_string("url", "https://www.example.org/pub/");
        let login = Login::read(&mut reader);
        let named = Named::read(&mut reader);
        let authorities = Authorities::read(&mut reader);
        let confirming = Confirming::read(&mut reader);
        let config = read_endpoint(&mut reader, "url", &written).map(|url| {
            warn_if_clear(settings, &url, login.has_secret());
            Config { named: named.with(&url), url, login, authorities, confirming }
        });
        let config = reader.finish_with(config)?;
        Ok(Box::new(Web {
            config,
            preconnected: Preconnected::default(),
            connected: Current::default(),
            ranges: Ranges::default(),
            tags: Tags::new(settings.notes.clone()),
            bursts: Bursts::default(),
        }))
    }
}

impl Web {
    /// The server's answer about one file.
    async fn stat(&self, purpose: Purpose<'_>, connected: &Connected) -> Result<Seen> {
        let url = match &connected.place {
            Place::Directory(url) => format!("{url}{}", encode_path(purpose.path.as_bytes())),
            Place::File { url, path } if path == purpose.path => url.to_string(),
            Place::File { .. } if purpose.path.is_root() => return Err(purpose.error(ErrorKind::IsADirectory)),
            Place::File { .. } => return Err(purpose.error(ErrorKind::NotFound)),
        };
        let seen = match connected.examine(purpose, &url, &self.ranges).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.missing(purpose, connected, error).await);
            }
            seen => seen?,
        };
        if self.is_directory(&seen.url) {
            return Err(purpose.error(ErrorKind::IsADirectory));
        }
        if !seen.stamp.identifies() {
            return Err(purpose.protocol(body::unidentified(&seen.url, &seen.headers)));
        }
        Ok(seen)
    }

    fn digest(&self, seen: &Seen) -> Digest {
        let (stamp, observed) = seen.told();
        self.tags.known(&stamp).digest(observed)
    }

    /// Whether this address, to which a request has led, is a directory's: a server redirects one without its slash to the one with it.
    fn is_directory(&self, url: &Url) -> bool {
        url.origin() == self.config.url.origin() && url.path().ends_with('/')
    }

    /// The error of a *not found*: an outage if the root has gone too, since then nothing was deleted.
    async fn missing(&self, purpose: Purpose<'_>, connected: &Connected, error: Error) -> Error {
        let Place::Directory(url) = &connected.place else { return no_root(purpose) };
        if purpose.path.is_root() {
            return no_root(purpose);
        }
        match connected.examine(purpose, url.as_str(), &self.ranges).await {
            Err(error) if error.kind() == ErrorKind::NotFound => no_root(purpose),
            // 403, 405 and 501 answer that there is a root, though it may not be seen, or not be asked for by HEAD.
            Err(root) if !matches!(root.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => root,
            _ => error,
        }
    }

    /// Reads the index of a directory, whose URL ends in a slash.
    async fn index(
        &self,
        purpose: Purpose<'_>,
        connected: &Connected,
        url: &Url,
    ) -> Result<(Heap<Item>, LeftOut, i64)> {
        let answer = connected.send(&connected.indexes, purpose, http::Request::get(url.as_str()), &self.ranges).await;
        let (response, observed) = match answer {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.missing(purpose, connected, error).await);
            }
            answer => answer?,
        };
        let from = response.url().clone();
        if page::decoded(&from) != page::decoded(url) {
            let to = Printable(from.path().as_bytes()).to_string();
            return Err(purpose.protocol(format!("the server sends one on to {to} instead of showing an index")));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let left_out = LeftOut::default();
        let noted = left_out.clone();
        let items = parsed(purpose, response, move |body| index::parse(&from, &content_type, body, &noted)).await?;
        Ok((items, left_out, observed))
    }

    /// The server's own page, as the only file that is listed of a directory of which it shows that in place of an index.
    async fn own_page(
        &self,
        purpose: Purpose<'_>,
        connected: &Connected,
        url: &Url,
    ) -> Option<(Heap<Item>, LeftOut, i64)> {
        let page = url.join(PAGE).ok()?;
        let seen = connected.examine(purpose, page.as_str(), &self.ranges).await.ok()?;
        // Elsewhere may be a login page.
        if !seen.stamp.identifies() || page::decoded(&seen.url) != page::decoded(&page) {
            return None;
        }
        let mut items = Heap::default();
        items.push(&Item { name: PAGE.into(), directory: false, size: None, modified: None }).ok()?;
        let left_out = LeftOut::default();
        left_out.add_unreadable(b"*", format!("the server shows its own {PAGE} in place of an index"));
        let (_, observed) = seen.told();
        Some((items, left_out, observed))
    }

    /// Whether the digests that this server gives can be made from sizes and times, as nginx does: one file is asked.
    async fn are_stamps(&self, purpose: Purpose<'_>, connected: &Connected, url: &Url, listed: &Heap<Item>) -> bool {
        let stamped = listed.iter().find_map(|item| nginx_stamp(&item).map(|wanted| (item, wanted)));
        let Some((item, wanted)) = stamped else { return false };
        let url = format!("{url}{}", encode_path(&item.name));
        match connected.examine(purpose, &url, &self.ranges).await {
            Ok(seen) => seen.stamp == wanted,
            Err(error) => {
                tracing::debug!("{}: the files' digests are asked for one by one: {error}", purpose.path);
                false
            }
        }
    }
}

/// The version that nginx would tell of a file that it lists so.
fn nginx_stamp(item: &Item) -> Option<Stamp> {
    let (size, modified) = (item.size?, item.modified?);
    Some(Stamp::new(Some(&format!("{modified:x}-{size:x}")), Some(size), Some(modified)))
}

fn no_root(purpose: Purpose<'_>) -> Error {
    purpose.error(ErrorKind::Unreachable).because("the server knows nothing at this address: is `url` right?")
}

#[async_trait]
impl Versioned for Web {
    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn confirming(&self) -> Confirming {
        self.config.confirming
    }

    fn bursts(&self) -> &Bursts {
        &self.bursts
    }

    fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    async fn told(&self, purpose: Purpose<'_>) -> Result<Told> {
        let connected = self.connected.get(purpose)?;
        Ok(self.stat(purpose, &connected).await?.told())
    }

    async fn send(&self, purpose: Purpose<'_>, wanted: &Retrieval<'_>, by_tag: bool) -> Result<Response> {
        let connected = self.connected.get(purpose)?;
        let url = match &connected.place {
            Place::Directory(url) => format!("{url}{}", encode_path(wanted.path.as_bytes())),
            Place::File { url, path } if path == wanted.path => url.to_string(),
            Place::File { .. } => return Err(purpose.error(ErrorKind::NotFound)),
        };
        let get = body::ask_for(http::Request::get(url), wanted, by_tag);
        match connected.send(&connected.files, purpose, get, &self.ranges).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.missing(purpose, &connected, error).await),
            answer => Ok(answer?.0),
        }
    }
}

#[async_trait]
impl body::Get for Web {
    async fn get(
        &self,
        purpose: Purpose<'_>,
        wanted: &Retrieval<'_>,
        confirmed: bool,
        out: &mut dyn Sink,
    ) -> Result<Retrieved> {
        versioned::get(self, purpose, wanted, confirmed, out).await
    }
}

#[async_trait]
impl Source for Web {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // nginx's JSON carries what digests are made of; pages for people do not.
            digest_from_listing: false,
            ranges: self.ranges.are_possible() && !self.tags.are_unstable(),
            content_digest: false,
            proven_whole: self.tags.are_unstable(),
            unconfirmed: false,
            verbatim_names: true,
            // HEAD does not tell what an index has: servers give names that they do not list, and list names that they give elsewhere.
            names_alone: false,
            buffer: body::MAX_HELD_BYTES + CLIENT_BUFFER_BYTES,
            concurrency: 8,
        }
    }

    async fn connect(&self) -> Result<()> {
        let root = RemotePath::root();
        let purpose = Purpose { op: "connect", path: &root };
        let url = self.config.url.clone();
        let is_directory = url.path().ends_with('/');
        let Config { login, named, authorities, .. } = &self.config;
        let authorization = login.authorization(&url).await?;
        let indexes = self.preconnected.transport(Redirects::SameOrigin, named.clone(), authorities.clone())?;
        let indexes = indexes.logged_in(authorization);
        let request = http::Request::get(url.as_str()).body(Bytes::new());
        let request = request.map_err(|e| purpose.protocol("the request is malformed").caused_by(e))?;
        let indexes = indexes.checking(login.check(request));
        indexes.ask_about_login(purpose).await?;
        let mut connected = Connected::new(indexes, url.clone());
        if !is_directory {
            let seen = match connected.examine(purpose, url.as_str(), &self.ranges).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_root(purpose)),
                seen => seen?,
            };
            connected.place = if self.is_directory(&seen.url) {
                Place::Directory(seen.url)
            } else {
                let name = page::decoded(&url).pop().unwrap_or_default();
                let path = LeftOut::default().child(&root, &name);
                let path = path.ok_or_else(|| purpose.protocol("the file's name cannot be used"))?;
                Place::File { url, path }
            };
        }
        self.connected.set(connected);
        Ok(())
    }

    async fn disconnect(&self) {
        self.connected.take();
    }

    async fn preconnect(&self, most: usize) {
        self.preconnected.open(self.config.url.as_str(), &self.config.authorities, most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let purpose = Purpose { op: "list_path", path: dir };
        let connected = self.connected.get(purpose)?;
        let mut url = match &connected.place {
            Place::Directory(url) => url.clone(),
            Place::File { path, .. } if dir.is_root() => {
                let seen = self.stat(Purpose { path, ..purpose }, &connected).await?;
                let file = seen.stamp.file(path.clone(), Some(self.digest(&seen)));
                return Ok(EntryStream::new(futures::stream::iter([Ok(file)])));
            }
            Place::File { path, .. } if path == dir => return Err(purpose.error(ErrorKind::NotADirectory)),
            Place::File { .. } => return Err(purpose.error(ErrorKind::NotFound)),
        };
        if !dir.is_root() {
            url.set_path(&format!("{}{}/", url.path(), encode_path(dir.as_bytes())));
        }
        let (items, left_out, observed) = match self.index(purpose, &connected, &url).await {
            Err(error) if error.kind() == ErrorKind::Protocol => {
                self.own_page(purpose, &connected, &url).await.ok_or(error)?
            }
            index => index?,
        };
        let stamps = self.are_stamps(purpose, &connected, &url, &items).await;
        let noted = left_out.clone();
        let entries = items.into_iter().filter_map(move |item| {
            let stamp = Stamp::new(None, item.size, item.modified);
            let digest = nginx_stamp(&item).filter(|_| stamps).map(|stamp| self.tags.known(&stamp).digest(observed));
            let path = left_out.child(dir, &item.name)?;
            Some(Ok(if item.directory { stamp.directory(path) } else { stamp.file(path, digest) }))
        });
        Ok(EntryStream::noting(futures::stream::iter(entries), noted))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let purpose = Purpose { op: "create_remote_digest", path: file };
        let connected = self.connected.get(purpose)?;
        let seen = self.stat(purpose, &connected).await?;
        Ok(seen.stamp.remote_digest(self.digest(&seen)))
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        crate::sources::same_size(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        body::retrieve(self, request, out).await
    }
}
