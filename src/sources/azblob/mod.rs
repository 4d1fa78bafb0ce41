//! `Azblob`: a container of Azure Blob Storage, or what is below one prefix of it, as a source. It only asks: List Blobs, HEAD and GET.

mod listing;
mod shared_key;
mod url;

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;

use self::shared_key::SharedKey;
use super::authorities::Authorities;
use super::http::preconnected::Preconnected;
use super::http::redirect::{Named, Redirects};
use super::http::transport::{Answer, Transport, parsed};
use super::http::{CLIENT_BUFFER_BYTES, body, encode_path, endpoint, join, warn_if_clear};
use super::keys::{self, Keys, Page};
use super::purpose::Purpose;
use super::read_root;
use super::reluctant::{self, Reluctant};
use super::tokens::azure::{Azure, SECRET_VARIABLES};
use super::tokens::{Origin, Tokens};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::revealed::Revealed;
use crate::secret::Secret;
use crate::source::url::Urls;
use crate::source::{
    Capabilities, EntryStream, Kind, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink, Source,
};
use crate::sources::current::Current;
use crate::sources::stamp::{Match, Stamp, Wanted};

/// The protocol's version that is spoken; all services and emulators know it.
const VERSION: &str = "2020-10-02";
/// The settings that give a login.
const WANTED: &str = "`account_key`, `sas_token`, or disable_config_load = false";
/// Tells how a blob can change.
const BLOB_TYPE: &str = "x-ms-blob-type";

/// A container as a source: `type = "azblob"`.
///
/// Keys, named as in OpenDAL: `container` (required), `account_name`, `endpoint` (by default Azure's own, by the account's name),
/// `root`, and for credentials `account_key` or `sas_token`, an application of Entra ID (`tenant_id`, `client_id`, `client_secret`), or
/// `disable_config_load = false` for what Microsoft's tools use. Without any of these, requests are anonymous.
#[derive(Debug)]
pub struct Azblob {
    config: Config,
    preconnected: Preconnected,
    connected: Current<Connected>,
    /// Locked while somebody looks for the login.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Config {
    /// The container's URL, without a slash at the end.
    url: String,
    /// The beginning of every name: empty, or ending in a slash.
    prefix: String,
    account: String,
    key: Option<Secret>,
    sas: Option<Secret>,
    tokens: Option<Tokens>,
    authorities: Authorities,
    /// Whether requests carry the tokens.
    reluctant: Reluctant,
}

struct Connected {
    transport: Transport,
    key: Option<SharedKey>,
    sas: Option<Revealed>,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").field("key", &self.key).field("sas", &self.sas).finish_non_exhaustive()
    }
}

impl Connected {
    /// Adds what makes the service accept the request.
    fn sign(
        &self,
        purpose: Purpose<'_>,
        method: &str,
        url: &str,
        request: http::request::Builder,
    ) -> Result<http::Request<Bytes>> {
        let url = match &self.sas {
            Some(sas) => {
                let joint = if url.contains('?') { '&' } else { '?' };
                format!("{url}{joint}{}", sas.expose().trim_start_matches('?'))
            }
            None => url.to_owned(),
        };
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let request = request.method(method).uri(url).header("x-ms-version", VERSION).header("x-ms-date", now);
        let malformed =
            |_| purpose.error(ErrorKind::InvalidConfig).because("the container's URL or `sas_token` is wrong");
        let (mut parts, body) = request.body(Bytes::new()).map_err(malformed)?.into_parts();
        if let Some(key) = &self.key {
            key.sign(&mut parts);
        }
        Ok(http::Request::from_parts(parts, body))
    }
}

/// The type `azblob`.
pub struct AzblobKind;

#[async_trait]
impl Kind for AzblobKind {
    fn type_name(&self) -> &'static str {
        "azblob"
    }

    fn secret_variables(&self, settings: &Settings) -> BTreeSet<String> {
        let mut names = settings.variables();
        let flag = |key: &str| settings.values.get(key);
        if flag("disable_config_load") == Some(&false.into()) || flag(reluctant::KEY) == Some(&true.into()) {
            names.extend(SECRET_VARIABLES.map(str::to_owned));
        }
        names
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    fn names_account(&self, settings: &Settings) -> bool {
        // The key is that of `account_name`; what else logs in may be anybody's.
        settings.values.contains_key("account_key")
    }

    #[cfg(feature = "shared")]
    fn lasting_secret(&self, settings: &Settings) -> Option<&'static str> {
        settings.first_of(&["account_key", "sas_token"])
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let mut reader = settings.reader();
        let container = reader.required_string("container", "my-container");
        let account = reader.string("account_name");
        let written = reader.string("endpoint");
        let root = read_root(&mut reader);
        let (key, sas) = (reader.secret("account_key"), reader.secret("sas_token"));
        if key.is_some() && sas.is_some() {
            reader.problem(Some("sas_token"), "`account_key` and `sas_token` exclude each other");
        }
        let is_written = key.is_some() || sas.is_some();
        let azure = Azure::read(&mut reader).filter(|azure| !(azure.is_reluctant() && is_written));
        let reluctant = Reluctant::new(azure.as_ref().is_some_and(Azure::is_reluctant));
        if azure.is_some() && is_written {
            let key = if key.is_some() { "account_key" } else { "sas_token" };
            reader.problem(Some(key), format!("`{key}` excludes `client_secret` and disable_config_load = false"));
        }
        if (key.is_some() || written.is_none()) && account.is_none() {
            reader.problem(None, "`account_name` is missing; add for example: account_name = \"myaccount\"");
        }
        let authorities = Authorities::read(&mut reader);
        let prefix = keys::prefix_of(&root);
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'$'));
        if !plain(&container) {
            reader.problem(Some("container"), "`container` is the container's name alone: letters, digits and `-`");
        }
        let account = account.unwrap_or_default();
        if !plain(&account) {
            reader.problem(Some("account_name"), "`account_name` is the account's name alone: letters and digits");
            return Err(reader.finish_with(None::<()>).err().unwrap_or_default());
        }
        let text = written.unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
        let config = match endpoint("endpoint", &text) {
            Ok(mut url) => {
                warn_if_clear(settings, &url, sas.is_some() || azure.is_some());
                let tokens = azure.map(|azure| Tokens::new(Origin::Azure(azure)));
                url.set_path(&join(&[url.path(), &container]));
                let url = url.as_str().trim_end_matches('/').to_owned();
                Some(Config { url, prefix, account, key, sas, tokens, authorities, reluctant })
            }
            // This endpoint was made of a missing account name, which is a problem already.
            Err(_) if account.is_empty() && !settings.values.contains_key("endpoint") => None,
            Err(why) => {
                reader.problem(Some("endpoint"), why);
                None
            }
        };
        Ok(Box::new(Azblob {
            config: reader.finish_with(config)?,
            preconnected: Preconnected::default(),
            connected: Current::default(),
            looking: tokio::sync::Mutex::default(),
        }))
    }
}

impl Azblob {
    /// Asks for one blob, or about it.
    async fn ask(&self, purpose: Purpose<'_>, method: &str, mut request: http::request::Builder) -> Result<Answer> {
        let url = format!("{}/{}", self.config.url, encode_path(self.key_of_file(purpose)?.as_bytes()));
        let headers = request.headers_ref().cloned();
        loop {
            let carried = self.config.reluctant.carries();
            let error = match self.send(purpose, method, &url, request).await {
                Err(error) if error.kind() == ErrorKind::NotFound => self.missing(purpose, error).await,
                answer => return answer,
            };
            // To a stranger a private blob is not there. If the login was found meanwhile, its answer counts.
            if carried == self.config.reluctant.carries() {
                return Err(error);
            }
            request = http::Request::builder();
            if let (Some(headers), Some(all)) = (&headers, request.headers_mut()) {
                all.clone_from(headers);
            }
        }
    }

    /// Sends a request; once more if the service does not take a token that can be renewed.
    async fn send(
        &self,
        purpose: Purpose<'_>,
        method: &str,
        url: &str,
        request: http::request::Builder,
    ) -> Result<Answer> {
        let connected = self.connected.get(purpose)?;
        let mut request = connected.sign(purpose, method, url, request)?;
        let Some(tokens) = &self.config.tokens else {
            let answer = connected.transport.send(purpose, request).await;
            let is_anonymous = connected.key.is_none() && connected.sas.is_none();
            return answer.map_err(|e| if is_anonymous { keys::refused_without_login(e, WANTED) } else { e });
        };
        if !self.config.reluctant.carries() {
            let refusal = match connected.transport.send(purpose, request.clone()).await {
                Err(refusal) if is_told_to_strangers(&refusal) => refusal,
                answer => return answer,
            };
            // One looks for the login, and who was refused meanwhile asks again with it.
            let _turn = self.looking.lock().await;
            if !self.config.reluctant.carries() {
                if !self.config.reluctant.is_to_look(&without_login(&refusal, url), false) {
                    return Err(refusal);
                }
                let found = tokens.header(connected.transport.client()).await.map(drop);
                self.config.reluctant.note(refusal, found)?;
            }
        }
        let token = tokens.header(connected.transport.client()).await?;
        request.headers_mut().insert(AUTHORIZATION, token.clone());
        match connected.transport.send(purpose, request.clone()).await {
            Err(error) if error.kind() == ErrorKind::Unauthenticated && tokens.renew(&token).await => {
                request.headers_mut().insert(AUTHORIZATION, tokens.header(connected.transport.client()).await?);
                connected.transport.send(purpose, request).await
            }
            answer => answer,
        }
    }

    /// Fails with `Changed` unless the blob still has the wanted version.
    async fn confirm(&self, purpose: Purpose<'_>, retrieval: &Retrieval<'_>) -> Result<()> {
        let response = self.ask(purpose, "HEAD", http::Request::builder()).await?.response;
        let now = Stamp::from_headers(response.headers());
        match Wanted::parse(retrieval.digest).compare(&now) {
            Match::Same => Ok(()),
            _ => Err(purpose.error(ErrorKind::Changed)),
        }
    }
}

/// Whether a request without a login may fail so because it has none.
fn is_told_to_strangers(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::NotFound)
}

/// The refusal of a request without a login: to that a private container is none.
fn without_login(refusal: &Error, url: &str) -> Error {
    let is_of_container = refusal.kind() == ErrorKind::NotFound && url.contains("comp=list");
    if is_of_container { Error::new("list_path", ErrorKind::PermissionDenied) } else { refusal.clone() }
}

impl Keys for Azblob {
    fn prefix(&self) -> &str {
        &self.config.prefix
    }

    async fn page(&self, purpose: Purpose<'_>, prefix: &str, marker: Option<&str>, most: Option<u32>) -> Result<Page> {
        let most = most.map(|most| most.to_string());
        let arguments = [("prefix", Some(prefix)), ("marker", marker), ("maxresults", most.as_deref())];
        let url = format!("{}?restype=container&comp=list&delimiter=%2F", self.config.url);
        let url = keys::page_url(url, arguments);
        let page = match self.send(purpose, "GET", &url, http::Request::builder()).await {
            Ok(Answer { response, observed }) => {
                parsed(purpose, response, move |body| listing::parse(body, observed)).await
            }
            Err(error) => Err(error),
        };
        // Azure answers the same about a container that is there and private.
        let no_container = "the server shows no such container: are `container`, `endpoint` and the credentials right?";
        page.map_err(|error| keys::no_page(purpose, error, no_container))
    }
}

#[async_trait]
impl Source for Azblob {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            digest_from_listing: true,
            ranges: true,
            content_digest: false,
            proven_whole: false,
            unconfirmed: false,
            verbatim_names: false,
            names_alone: true,
            buffer: body::MAX_HELD_BYTES + CLIENT_BUFFER_BYTES,
            concurrency: 16,
        }
    }

    async fn connect(&self) -> Result<()> {
        let (key, sas) = (self.config.key.clone(), self.config.sas.clone());
        let revealed = tokio::task::spawn_blocking(move || {
            Ok::<_, Error>((key.map(|key| key.reveal()).transpose()?, sas.map(|sas| sas.reveal()).transpose()?))
        });
        let (key, sas) = revealed.await.map_err(|lost| Error::new("connect", ErrorKind::Other).caused_by(lost))??;
        let key = key.map(|key| SharedKey::new(&self.config.account, &key)).transpose();
        let key = key.map_err(|why| Error::new("connect", ErrorKind::InvalidConfig).because(why))?;
        let authorities = self.config.authorities.clone();
        let transport = self.preconnected.transport(Redirects::Refuse, Named::default(), authorities)?;
        self.connected.set(Connected { transport, key, sas });
        Ok(())
    }

    async fn disconnect(&self) {
        self.connected.take();
    }

    async fn preconnect(&self, most: usize) {
        self.preconnected.open(&self.config.url, &self.config.authorities, most).await;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        self.list(Purpose { op: "list_path", path: dir }).await
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let purpose = Purpose { op: "create_remote_digest", path: file };
        Ok(keys::remote_digest(&self.ask(purpose, "HEAD", http::Request::builder()).await?))
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        // Azure's tags are no hashes; those of one who speaks like Azure may be.
        crate::sources::same_hash(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let purpose = Purpose { op: "retrieve_file", path: request.path };
        let get = body::ask_for(http::Request::builder(), request, true);
        let response = match self.ask(purpose, "GET", get).await {
            // A blob that is gone fails the condition too, so that the answer hides that it is gone.
            Err(error) if error.kind() == ErrorKind::Changed => {
                return Err(self.confirm(purpose, request).await.err().unwrap_or(error));
            }
            answer => answer?.response,
        };
        let seen = body::check(purpose, request, &response)?;
        // Block blobs are replaced whole; page and append blobs may change in place.
        let replaced = response.headers().get(BLOB_TYPE).is_some_and(|kind| kind.as_bytes() == b"BlockBlob");
        let confirm = (!replaced).then_some(body::Confirm {
            piece: body::PIECE_BYTES,
            ask: |_| self.confirm(purpose, request),
            early: None,
        });
        let is_unconfirmed = body::deliver(purpose, request, &request.range, response, out, confirm).await?;
        Ok(Retrieved { modified: seen.modified_time(), is_unconfirmed })
    }
}
