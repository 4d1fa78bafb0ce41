//! `Webdav`: a WebDAV server (RFC 4918) as a source. It only asks: PROPFIND and GET.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::RwLock;
use percent_encoding::percent_decode_str;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};

use super::http::{Purpose, Transport};
use super::version::{Version, http_date};
use super::xml::Element;
use super::{body, child, encode_path, endpoint, join, read_root, warn_if_clear};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Printable, RemotePath};
use crate::secret::Secret;
use crate::source::{
    Capabilities, Entry, EntryKind, EntryStream, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings,
    Sink, Source,
};

/// What is asked of every file.
const PROPERTIES: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"><D:prop>\
    <D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/></D:prop></D:propfind>";

/// A WebDAV server as a source: `type = "webdav"`.
///
/// Keys: `endpoint` (required), `root`, `username` with `password`, or `token`.
#[derive(Debug, Default)]
pub struct Webdav {
    config: Config,
    connected: RwLock<Option<Arc<Connected>>>,
}

#[derive(Debug, Default)]
struct Config {
    /// Scheme, host and port, without a slash at the end.
    origin: String,
    /// The path that the source's root has there, percent-encoded and decoded; no slashes at the ends.
    base: String,
    base_components: Vec<Vec<u8>>,
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
}

#[derive(Debug)]
struct Connected {
    transport: Transport,
    authorization: Option<http::HeaderValue>,
}

/// One `response` of a multistatus: where, and what.
struct Resource {
    components: Vec<Vec<u8>>,
    directory: bool,
    version: Version,
}

impl Webdav {
    /// A source that waits for `configure`.
    pub fn new() -> Self {
        Self::default()
    }

    fn connected(&self, purpose: Purpose<'_>) -> Result<Arc<Connected>> {
        let connected = self.connected.read().clone();
        connected.ok_or_else(|| purpose.error(ErrorKind::Other).because("not connected"))
    }

    fn request(&self, connected: &Connected, method: &str, path: &RemotePath, slash: bool) -> http::request::Builder {
        let path = join(&[&self.config.base, &encode_path(path.as_bytes())]);
        let slash = if slash && !path.is_empty() { "/" } else { "" };
        let request = http::Request::builder().method(method).uri(format!("{}/{path}{slash}", self.config.origin));
        match &connected.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    /// Asks about a path, or about a directory and what is in it.
    async fn propfind(
        &self,
        purpose: Purpose<'_>,
        path: &RemotePath,
        depth: &str,
        slash: bool,
    ) -> Result<Vec<Resource>> {
        let connected = self.connected(purpose)?;
        let request = self
            .request(&connected, "PROPFIND", path, slash)
            .header("Depth", depth)
            .header(CONTENT_TYPE, "application/xml; charset=utf-8")
            .body(Bytes::from_static(PROPERTIES.as_bytes()))
            .map_err(|e| purpose.protocol("the request is malformed").caused_by(e))?;
        let body = connected.transport.send_whole(purpose, request).await?;
        // A large answer takes a while, and others wait on this thread.
        let parsed = tokio::task::spawn_blocking(move || multistatus(&body)).await;
        parsed.map_err(|lost| purpose.error(ErrorKind::Other).caused_by(lost))?.map_err(|why| purpose.protocol(why))
    }

    /// The components that the server's answer has for a path.
    fn place(&self, path: &RemotePath) -> Vec<Vec<u8>> {
        self.config.base_components.iter().cloned().chain(path.components().map(<[u8]>::to_vec)).collect()
    }

    /// What is known of one path.
    async fn stat(&self, purpose: Purpose<'_>, path: &RemotePath) -> Result<Resource> {
        let found = match self.propfind(purpose, path, "0", path.is_root()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(purpose, error).await),
            found => found?,
        };
        let place = self.place(path);
        let found = found.into_iter().find(|resource| resource.components == place);
        found.ok_or_else(|| purpose.protocol("the answer is about something else than asked for"))
    }

    /// What a *not found* means: if the root has gone too, it is an outage, and nothing was deleted.
    async fn missing(&self, purpose: Purpose<'_>, error: Error) -> Error {
        let gone = |because: &str| purpose.error(ErrorKind::Unreachable).because(because);
        if purpose.path.is_root() {
            return gone("the server does not know the root: are `endpoint` and `root` right?");
        }
        let root = RemotePath::root();
        match self.propfind(Purpose { op: purpose.op, path: &root }, &root, "0", true).await {
            Ok(_) => error,
            Err(e) if e.kind() == ErrorKind::NotFound => gone("the server does not know the root any more"),
            Err(e) => e,
        }
    }

    /// Fails with `Changed` unless the file still has the wanted version.
    async fn confirm(&self, purpose: Purpose<'_>, retrieval: &Retrieval<'_>) -> Result<()> {
        let now = self.stat(purpose, retrieval.path).await?.version;
        let same = super::version::Wanted::parse(retrieval.digest).compare(&now) == super::version::Match::Same;
        if same && now.size.is_none_or(|size| size == retrieval.size) {
            return Ok(());
        }
        Err(purpose.error(ErrorKind::Changed))
    }
}

#[async_trait]
impl Source for Webdav {
    async fn configure(&mut self, settings: &Settings) -> Result<(), Vec<Problem>> {
        let mut reader = settings.reader();
        let written = reader.required_string("endpoint", "https://dav.example.org/files");
        let root = read_root(&mut reader);
        let username = reader.string("username");
        let (password, token) = (reader.secret("password"), reader.secret("token"));
        if token.is_some() && (username.is_some() || password.is_some()) {
            reader.problem(Some("token"), "`token` and `username` exclude each other");
        }
        if password.is_some() && username.is_none() {
            reader.problem(Some("password"), "`password` needs `username`");
        }
        if !written.is_empty() {
            match endpoint(&written) {
                Ok(url) => {
                    warn_if_clear(settings, &url, password.is_some() || token.is_some());
                    let base = join(&[url.path(), &encode_path(root.as_bytes())]);
                    let base_components = decoded_components(&base);
                    let origin = url.origin().ascii_serialization();
                    self.config = Config { origin, base, base_components, username, password, token };
                }
                Err(why) => reader.problem(Some("endpoint"), why),
            }
        }
        reader.finish()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { digest_from_listing: true, ranges: true, content_digest: false, concurrency: 16 }
    }

    async fn connect(&self) -> Result<()> {
        let (username, password, token) =
            (self.config.username.clone(), self.config.password.clone(), self.config.token.clone());
        let authorization = tokio::task::spawn_blocking(move || authorization(username, password, token)).await;
        let authorization = authorization.map_err(|lost| Error::new("connect", ErrorKind::Other).caused_by(lost))??;
        *self.connected.write() = Some(Arc::new(Connected { transport: Transport::new(true)?, authorization }));
        Ok(())
    }

    async fn disconnect(&self) {
        *self.connected.write() = None;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let purpose = Purpose { op: "list_path", path: dir };
        let found = match self.propfind(purpose, dir, "1", true).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(purpose, error).await),
            found => found?,
        };
        let now = self.connected(purpose)?.transport.server_now();
        let place = self.place(dir);
        match found.iter().find(|resource| resource.components == place) {
            Some(itself) if itself.directory => {}
            Some(_) => return Err(purpose.error(ErrorKind::NotADirectory)),
            // Without it, an empty answer would prove nothing.
            None => {
                return Err(purpose.protocol("the listing does not mention the directory itself: is `endpoint` right?"));
            }
        }
        let mut entries = Vec::with_capacity(found.len());
        for resource in found {
            let name = match resource.components.strip_prefix(place.as_slice()) {
                Some([]) => continue,
                Some([name]) => name,
                _ => {
                    let path = resource.components.join(b"/".as_slice());
                    tracing::warn!("{dir}: {} is not in this directory and is left out", Printable(&path));
                    continue;
                }
            };
            if let Some(path) = child(dir, name) {
                entries.push(Ok(entry(path, &resource, now)));
            }
        }
        Ok(futures::stream::iter(entries).boxed())
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let purpose = Purpose { op: "create_remote_digest", path: file };
        let resource = self.stat(purpose, file).await?;
        if resource.directory {
            return Err(purpose.error(ErrorKind::IsADirectory));
        }
        let (version, now) = (resource.version, self.connected(purpose)?.transport.server_now());
        Ok(RemoteDigest { digest: version.digest(now), size: version.size, modified: version.modified_time() })
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        crate::sources::same_size(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let purpose = Purpose { op: "retrieve_file", path: request.path };
        let connected = self.connected(purpose)?;
        let get = body::ask_for(self.request(&connected, "GET", request.path, false), request)
            .body(Bytes::new())
            .map_err(|e| purpose.protocol("the request is malformed").caused_by(e))?;
        let response = match connected.transport.send(purpose, get).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(purpose, error).await),
            response => response?,
        };
        let seen = body::check(purpose, request, &response)?;
        body::deliver(purpose, request, response, out, Some(self.confirm(purpose, request))).await?;
        Ok(Retrieved { modified: seen.modified_time() })
    }
}

fn authorization(
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
) -> Result<Option<http::HeaderValue>> {
    let password = password.map(|secret| secret.reveal()).transpose()?;
    let token = token.map(|secret| secret.reveal()).transpose()?;
    let text = match (token, username) {
        (Some(token), _) => format!("Bearer {}", token.expose()),
        (None, Some(username)) => {
            let password = password.as_ref().map_or("", |password| password.expose());
            format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
        }
        (None, None) => return Ok(None),
    };
    let mut value = http::HeaderValue::try_from(text).map_err(|_| {
        Error::new("connect", ErrorKind::InvalidConfig).because("the token holds characters that HTTP forbids")
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn entry(path: RemotePath, resource: &Resource, now: i64) -> Entry {
    let version = &resource.version;
    let (kind, size, digest) = if resource.directory {
        (EntryKind::Directory, None, None)
    } else {
        (EntryKind::File { executable: false }, version.size, Some(version.digest(now)))
    };
    Entry { name: path.name().to_vec(), path, kind, size, modified: version.modified_time(), digest }
}

/// Reads the answer to a PROPFIND.
fn multistatus(body: &[u8]) -> Result<Vec<Resource>, String> {
    let tree = Element::parse(body)?;
    if !tree.is("multistatus") {
        return Err("the answer is no WebDAV listing: is this a WebDAV server?".into());
    }
    tree.all("response").filter_map(|response| resource(response).transpose()).collect()
}

/// One resource; none if the server says in its place that there is none.
fn resource(response: &Element) -> Result<Option<Resource>, String> {
    let href = response.text_of("href").ok_or("a response without href")?;
    let status = |element: &Element| {
        let text = element.text_of("status").unwrap_or("HTTP/1.1 200 OK");
        text.split_whitespace().nth(1).and_then(|code| code.parse::<u16>().ok()).unwrap_or_default()
    };
    if response.child("propstat").is_none() {
        return match status(response) {
            404 | 410 => Ok(None),
            status => Err(format!("the listing says {status} of an entry instead of what it is")),
        };
    }
    let good = response.all("propstat").filter(|propstat| status(propstat) == 200);
    let properties: Vec<_> = good.filter_map(|propstat| propstat.child("prop")).collect();
    let text = |name| {
        let texts = properties.iter().find_map(|prop| prop.text_of(name));
        texts.map(str::trim).filter(|text: &&str| !text.is_empty())
    };
    let types = properties.iter().find_map(|prop| prop.child("resourcetype"));
    let directory = types.is_some_and(|types| types.child("collection").is_some());
    let size = text("getcontentlength").map(|size| size.parse().map_err(|_| "a size that is no number".to_owned()));
    let version = Version::new(text("getetag"), size.transpose()?, text("getlastmodified").and_then(http_date));
    Ok(Some(Resource { components: decoded_components(path_of(href.trim())), directory, version }))
}

/// The path of a reference, which may be a whole URL.
fn path_of(href: &str) -> &str {
    let path = match href.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("", |at| &rest[at..]),
        _ => href,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

fn decoded_components(path: &str) -> Vec<Vec<u8>> {
    let components = path.split('/').filter(|component| !component.is_empty());
    components.map(|component| percent_decode_str(component).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_the_standard_allows_are_read() {
        let body = br#"<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">
            <d:response><d:href>http://other:8080/dav/a%20b/</d:href><d:propstat><d:prop>
                <d:resourcetype><d:collection/><x:calendar xmlns:x="urn:x"/></d:resourcetype></d:prop>
                <d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>
            <d:response><d:href>/dav/a%20b/%41%2541%ff</d:href>
                <d:propstat><d:prop><d:getcontentlength>3</d:getcontentlength></d:prop>
                    <d:status>HTTP/1.1 200 OK</d:status></d:propstat>
                <d:propstat><d:prop><d:getetag/></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>
            </d:response>
            <d:response><d:href>/dav/gone</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>
        </d:multistatus>"#;
        let found = multistatus(body).expect("it is well-formed");
        assert_eq!(found.len(), 2);
        assert!(found[0].directory);
        assert_eq!(found[0].components, [b"dav".to_vec(), b"a b".to_vec()]);
        assert_eq!(found[1].components[2], b"A%41\xff");
        assert_eq!((found[1].directory, found[1].version.size), (false, Some(3)));
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for body in ["<html/>", "", "<multistatus><response/></multistatus>"] {
            assert!(multistatus(body.as_bytes()).is_err(), "{body:?}");
        }
    }
}
