//! `Webdav`: a WebDAV server (RFC 4918) as a source. It only asks: PROPFIND and GET.

mod multistatus;
mod url;

use std::sync::Once;

use ::url::Url;
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryFutureExt as _;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::oneshot;
use tokio::time::sleep;

use self::multistatus::{Listed, Place, Resource, decoded_components, multistatus};
use super::authorities::Authorities;
use super::http::burst::Bursts;
use super::http::early::Confirming;
use super::http::login::Login;
use super::http::preconnected::Preconnected;
use super::http::ranges::Ranges;
use super::http::redirect::{Named, Redirects};
use super::http::tags::{Tags, Told};
use super::http::transport::{Answer, Transport, parsed};
use super::http::versioned::{self, Versioned};
use super::http::{CLIENT_BUFFER_BYTES, body, encode_path, join, read_endpoint, warn_if_clear};
use super::purpose::Purpose;
use super::read_root;
use super::spelling::in_other_case;
use super::stamp::Stamp;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::one_name::{OneName, SLOW_LISTING};
use crate::source::url::Urls;
use crate::source::{
    Capabilities, Entry, EntryStream, Kind, LeftOut, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings,
    Sink, Source,
};
use crate::sources::arriving::Arriving;
use crate::sources::current::Current;

/// The properties that are asked of every file.
const PROPERTIES: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"><D:prop>\
    <D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/></D:prop></D:propfind>";

/// A WebDAV server as a source: `type = "webdav"`.
///
/// Keys: `endpoint` (required), `root`, `username` with `password`, or `token`; `redirect_hosts`, `ca_file`, `confirm`.
#[derive(Debug)]
pub struct Webdav {
    config: Config,
    preconnected: Preconnected,
    transport: Current<Transport>,
    ranges: Ranges,
    tags: Tags,
    bursts: Bursts,
    redirection_told: Once,
}

#[derive(Debug)]
struct Config {
    endpoint: Url,
    /// The path that the source's root has there, percent-encoded and decoded; no slashes at the ends.
    base: String,
    base_components: Vec<Vec<u8>>,
    login: Login,
    named: Named,
    authorities: Authorities,
    confirming: Confirming,
}

/// The answer to a PROPFIND, and when it was given by the server's clock.
struct Found {
    listed: Listed,
    observed: i64,
}

/// What has come of a listing when its stream begins.
enum SoFar {
    Whole(Found),
    /// So many names that it is large.
    Large,
    /// Nothing, or not all, for a while.
    Slow,
}

/// The type `webdav`.
pub struct WebdavKind;

#[async_trait]
impl Kind for WebdavKind {
    fn type_name(&self) -> &'static str {
        "webdav"
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
        let written = reader.required_string("endpoint", "https://dav.example.org/files");
        let root = read_root(&mut reader);
        let login = Login::read(&mut reader);
        let named = Named::read(&mut reader);
        let authorities = Authorities::read(&mut reader);
        let confirming = Confirming::read(&mut reader);
        let config = read_endpoint(&mut reader, "endpoint", &written).map(|url| {
            warn_if_clear(settings, &url, login.has_secret());
            let named = named.with(&url);
            let base = join(&[url.path(), &encode_path(root.as_bytes())]);
            let base_components = decoded_components(&base);
            Config { endpoint: url, base, base_components, login, named, authorities, confirming }
        });
        Ok(Box::new(Webdav {
            config: reader.finish_with(config)?,
            preconnected: Preconnected::default(),
            transport: Current::default(),
            ranges: Ranges::default(),
            tags: Tags::new(settings.notes.clone()),
            bursts: Bursts::default(),
            redirection_told: Once::new(),
        }))
    }
}

impl Webdav {
    fn request(&self, method: &str, path: &RemotePath, slash: bool) -> http::request::Builder {
        let path = join(&[&self.config.base, &encode_path(path.as_bytes())]);
        let slash = if slash && !path.is_empty() { "/" } else { "" };
        let origin = self.config.endpoint.origin().ascii_serialization();
        http::Request::builder().method(method).uri(format!("{origin}/{path}{slash}"))
    }

    /// The request for a path's properties.
    fn question(
        &self,
        purpose: Purpose<'_>,
        path: &RemotePath,
        depth: &str,
        slash: bool,
    ) -> Result<http::Request<Bytes>> {
        self.request("PROPFIND", path, slash)
            .header("Depth", depth)
            .header(CONTENT_TYPE, "application/xml; charset=utf-8")
            .body(Bytes::from_static(PROPERTIES.as_bytes()))
            .map_err(|e| purpose.protocol("the request is malformed").caused_by(e))
    }

    /// Asks about a path.
    async fn propfind(&self, purpose: Purpose<'_>, path: &RemotePath, slash: bool) -> Result<Found> {
        self.propfind_to(purpose, path, "0", slash, None).await
    }

    /// Asks about a path, or about a directory and what is in it, and says to `large` if that is much.
    async fn propfind_to(
        &self,
        purpose: Purpose<'_>,
        path: &RemotePath,
        depth: &str,
        slash: bool,
        large: Option<oneshot::Sender<()>>,
    ) -> Result<Found> {
        let transport = self.transport.get(purpose)?;
        let request = self.question(purpose, path, depth, slash)?;
        let answer = match transport.send(purpose, request).await {
            Ok(Answer { response, observed }) => {
                let asked = self.place_of_answer(path, response.url());
                let found =
                    move |body: &mut Arriving| Ok(Found { listed: multistatus(body, &asked, large)?, observed });
                parsed(purpose, response, found).await
            }
            Err(error) => Err(error),
        };
        match answer {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let why = "the server does not speak WebDAV at this address: is `endpoint` right?";
                Err(purpose.error(ErrorKind::Unsupported).because(why))
            }
            answer => answer,
        }
    }

    /// The components that an answer has for a path that was asked about: those of the address that answered, which is another where the
    /// server redirects within itself, as to the folder of the user who has logged in.
    fn place_of_answer(&self, path: &RemotePath, answered: &Url) -> Vec<Vec<u8>> {
        let (asked, there) = (self.place(path), decoded_components(answered.path()));
        if asked == there || answered.origin() != self.config.endpoint.origin() {
            return asked;
        }
        self.redirection_told.call_once(|| {
            tracing::info!(
                "the server redirects to {}, which is followed; it may be written as `endpoint`",
                answered.path()
            );
        });
        there
    }

    /// The components that the server's answer has for a path.
    fn place(&self, path: &RemotePath) -> Vec<Vec<u8>> {
        self.config.base_components.iter().cloned().chain(path.components().map(<[u8]>::to_vec)).collect()
    }

    /// The server's answer about one path.
    async fn stat(&self, purpose: Purpose<'_>, path: &RemotePath) -> Result<(Resource, i64)> {
        let found = match self.propfind(purpose, path, path.is_root()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(purpose, error).await),
            found => found?,
        };
        let Listed { resources, left_out } = found.listed;
        match resources.into_iter().find(|resource| resource.place == Place::Itself) {
            Some(resource) => Ok((resource, found.observed)),
            None => Err(purpose.protocol(match left_out.told() {
                Some(told) => format!("the answer cannot be used: {told}"),
                None => "the answer is about something else than asked for".into(),
            })),
        }
    }

    /// The server's answer about a directory and what is in it. Says to `large` if that is much.
    async fn listed(&self, dir: &RemotePath, large: oneshot::Sender<()>) -> Result<Found> {
        let purpose = Purpose { op: "list_path", path: dir };
        let found = match self.propfind_to(purpose, dir, "1", true, Some(large)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(purpose, error).await),
            found => found?,
        };
        let itself = found.listed.resources.iter().find(|resource| resource.place == Place::Itself);
        match itself {
            Some(itself) if itself.directory => Ok(found),
            Some(_) => Err(purpose.error(ErrorKind::NotADirectory)),
            // Its entry may be one of those that could not be read.
            None if found.listed.left_out.is_incomplete() => Ok(found),
            // Without it, an empty answer would prove nothing.
            None => Err(purpose.protocol("the listing does not mention the directory itself: is `endpoint` right?")),
        }
    }

    /// The entries of a directory, of which some are left out.
    fn entries<'a>(
        &'a self,
        dir: &'a RemotePath,
        found: Found,
        left_out: LeftOut,
    ) -> impl Iterator<Item = Result<Entry>> + Send + 'a {
        let Found { listed, observed } = found;
        left_out.append(listed.left_out);
        listed.resources.into_iter().filter_map(move |resource| match &resource.place {
            Place::Itself => None,
            Place::Inside(name) => {
                let stamp = self.tags.known(&resource.stamp);
                Some(Ok(entry(left_out.child(dir, name)?, resource.directory, &stamp, observed)))
            }
            Place::Elsewhere(path) => {
                left_out.add_unreadable(path, "it is not in this directory");
                None
            }
        })
    }

    /// The entry of this name in `dir`, if there is one; `None` if only a listing can tell.
    async fn alone(&self, dir: &RemotePath, name: &[u8]) -> Option<Vec<Entry>> {
        let (path, other) = (dir.child(name).ok()?, dir.child(&in_other_case(name)?).ok()?);
        let purpose = |path| Purpose { op: "list_path", path };
        let (told, in_other_case) =
            tokio::join!(self.stat(purpose(&path), &path), self.propfind(purpose(&other), &other, false));
        let is_absent = |error: &Error| error.kind() == ErrorKind::NotFound;
        match told {
            Ok((resource, observed)) if in_other_case.as_ref().is_err_and(is_absent) => {
                let stamp = self.tags.known(&resource.stamp);
                Some(vec![entry(path, resource.directory, &stamp, observed)])
            }
            Err(error) if is_absent(&error) => Some(Vec::new()),
            _ => None,
        }
    }

    /// The error of a *not found*: an outage if the root has gone too, since then nothing was deleted.
    async fn missing(&self, purpose: Purpose<'_>, error: Error) -> Error {
        let gone = |because: &str| purpose.error(ErrorKind::Unreachable).because(because);
        if purpose.path.is_root() {
            return gone("the server does not know the root: are `endpoint` and `root` right?");
        }
        let root = RemotePath::root();
        match self.propfind(Purpose { op: purpose.op, path: &root }, &root, true).await {
            Ok(_) => error,
            Err(e) if e.kind() == ErrorKind::NotFound => gone("the server does not know the root any more"),
            Err(e) => e,
        }
    }
}

#[async_trait]
impl Versioned for Webdav {
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
        let (resource, observed) = self.stat(purpose, purpose.path).await?;
        Ok((resource.stamp, observed))
    }

    async fn send(&self, purpose: Purpose<'_>, wanted: &Retrieval<'_>, by_tag: bool) -> Result<Response> {
        let transport = self.transport.get(purpose)?;
        let get = body::ask_for(self.request("GET", wanted.path, false), wanted, by_tag)
            .body(Bytes::new())
            .map_err(|e| purpose.protocol("the request is malformed").caused_by(e))?;
        match transport.send(purpose, get).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.missing(purpose, error).await),
            answer => Ok(answer?.response),
        }
    }
}

#[async_trait]
impl body::Get for Webdav {
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
impl Source for Webdav {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            digest_from_listing: true,
            ranges: self.ranges.are_possible() && !self.tags.are_unstable(),
            content_digest: false,
            proven_whole: self.tags.are_unstable(),
            unconfirmed: true,
            verbatim_names: true,
            names_alone: true,
            buffer: body::MAX_HELD_BYTES + CLIENT_BUFFER_BYTES,
            concurrency: 16,
        }
    }

    async fn connect(&self) -> Result<()> {
        let Config { endpoint, login, named, authorities, .. } = &self.config;
        let root = RemotePath::root();
        let purpose = Purpose { op: "connect", path: &root };
        let authorization = login.authorization(endpoint).await?;
        let transport = self.preconnected.transport(Redirects::Follow, named.clone(), authorities.clone())?;
        let transport = transport.logged_in(authorization);
        let transport = transport.checking(login.check(self.question(purpose, &root, "0", true)?));
        transport.ask_about_login(purpose).await?;
        self.transport.set(transport);
        Ok(())
    }

    async fn disconnect(&self) {
        self.transport.take();
    }

    async fn preconnect(&self, most: usize) {
        self.preconnected.open(self.config.endpoint.as_str(), &self.config.authorities, most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let (large, is_large) = oneshot::channel();
        let mut listing = Box::pin(self.listed(dir, large));
        let so_far = tokio::select! {
            found = &mut listing => SoFar::Whole(found?),
            Ok(()) = is_large => SoFar::Large,
            () = sleep(SLOW_LISTING) => SoFar::Slow,
        };
        let (left_out, one_name): (LeftOut, OneName) = Default::default();
        let (noted, wanted) = (left_out.clone(), one_name.clone());
        let entries = async move {
            let told = async {
                let name = wanted.take_wanted()?;
                self.alone(dir, &name).await
            };
            // A listing that is not whole is called off if the name is told.
            let found = match so_far {
                SoFar::Whole(found) => Ok(found),
                // Its rest waits at the server meanwhile.
                SoFar::Large => match told.await {
                    Some(told) => Err(told),
                    None => Ok(listing.await?),
                },
                SoFar::Slow => tokio::select! {
                    found = &mut listing => Ok(found?),
                    Some(told) = told => Err(told),
                },
            };
            let found = found.map_err(|told| wanted.tell(told)).ok();
            let entries = found.map(|found| self.entries(dir, found, noted));
            Ok(futures::stream::iter(entries.into_iter().flatten()))
        };
        Ok(EntryStream::for_one_name(entries.try_flatten_stream(), left_out, one_name))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let purpose = Purpose { op: "create_remote_digest", path: file };
        let (resource, observed) = self.stat(purpose, file).await?;
        if resource.directory {
            return Err(purpose.error(ErrorKind::IsADirectory));
        }
        let stamp = self.tags.known(&resource.stamp);
        Ok(stamp.remote_digest(stamp.digest(observed)))
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        crate::sources::same_size(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        body::retrieve(self, request, out).await
    }
}

fn entry(path: RemotePath, directory: bool, stamp: &Stamp, observed: i64) -> Entry {
    if directory { stamp.directory(path) } else { stamp.file(path, Some(stamp.digest(observed))) }
}
