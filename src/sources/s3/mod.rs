//! `S3`: a bucket of Amazon, or of those who speak as Amazon does, as a source. It only asks: ListObjectsV2, HEAD and GET.

pub(super) mod credentials;
mod listing;
pub(super) mod place;
mod url;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use lru::LruCache;
use parking_lot::Mutex;
use reqsign_aws_v4::Credential;
use reqsign_core::Signer;

use self::credentials::Credentials;
use super::authorities::Authorities;
use super::http::burst::Bursts;
use super::http::early::{Confirming, Early};
use super::http::preconnected::Preconnected;
use super::http::redirect::{Named, Redirects};
use super::http::transport::{Answer, Transport, parsed, refusal_and_region};
use super::http::{CLIENT_BUFFER_BYTES, body, encode_path, warn_if_clear};
use super::keys::{self, Keys, Page};
use super::purpose::Purpose;
use super::read_root;
use super::reluctant::{self, Reluctant};
use super::renewal::Renewal;
use super::tokens::Tokens;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::url::Urls;
use crate::source::{
    Capabilities, EntryStream, Kind, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink, Source,
};
use crate::sources::current::Current;
use crate::sources::stamp::{Stamp, Wanted};

/// The region of a bucket where the settings name none; services other than Amazon's do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// How many objects are remembered whose tags are no hashes. The next answer about a forgotten one tells it again.
const MAX_OPAQUE_OBJECTS: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// The settings that give a login.
const WANTED: &str = "`access_key_id` with `secret_access_key`, or disable_config_load = false";

/// Tells that a key of the customer encrypts, after which tags are no hashes.
const GOOGLE_KMS: &str = "x-goog-encryption-kms-key-name";

/// A bucket as a source: `type = "s3"`.
///
/// Keys, named as in OpenDAL: `bucket` (required), `endpoint`, `region`, `root`, `enable_virtual_host_style`,
/// `enable_request_payer`; for credentials `access_key_id`, `secret_access_key`, `session_token`, or
/// `disable_config_load = false` for what Amazon's tools use, with `profile`, `role_arn`, `external_id` and
/// `disable_ec2_metadata`. Without any of these, requests are anonymous (`skip_signature`, `allow_anonymous`).
/// With `confirm = "strict"` bytes wait until another question has confirmed their tag.
#[derive(Debug)]
pub struct S3 {
    config: BucketConfig,
    preconnected: Preconnected,
    connected: Current<Connected>,
    /// The bucket's region, if the server has named another than the settings do.
    region: OnceLock<String>,
    /// Versions that the store encrypts, so that their tags, which look like an MD5, are none.
    opaque: Mutex<LruCache<(RemotePath, Digest), ()>>,
    /// Those of its objects of which bytes wait for a confirmation.
    bursts: Bursts,
    /// When keys were last fetched anew because the store refused those that it was asked with.
    renewal: Mutex<Renewal>,
    /// The same, because it refused to answer HEAD, which cannot say why.
    renewal_for_head: Mutex<Renewal>,
    /// Locked while somebody looks for a login, another key or the region.
    looking: tokio::sync::Mutex<()>,
}

/// How a bucket is reached.
#[derive(Debug)]
pub(super) struct BucketConfig {
    /// The bucket's URL, without a slash at the end.
    pub(super) url: String,
    /// The beginning of every key: empty, or ending in a slash.
    pub(super) prefix: String,
    pub(super) region: String,
    pub(super) request_payer: bool,
    /// Whether the store unpacks what is stored compressed for clients that do not say that they take it.
    pub(super) unpacks: bool,
    /// Strict where the server may send the bytes of one version under the tag of another.
    pub(super) confirming: Confirming,
    pub(super) credentials: Credentials,
    pub(super) tokens: Option<Tokens>,
    pub(super) authorities: Authorities,
    /// Whether requests carry any of these logins.
    pub(super) reluctant: Reluctant,
}

#[derive(Debug)]
struct Connected {
    /// The bucket's URL, without a slash at the end, and its region.
    url: String,
    region: String,
    transport: Arc<Transport>,
    signer: Option<Signer<Credential>>,
}

/// The type `s3`.
pub struct S3Kind;

#[async_trait]
impl Kind for S3Kind {
    fn type_name(&self) -> &'static str {
        "s3"
    }

    fn secret_variables(&self, settings: &Settings) -> BTreeSet<String> {
        let mut names = settings.variables();
        let flag = |key: &str| settings.values.get(key);
        let loads = flag("disable_config_load") == Some(&false.into()) || flag(reluctant::KEY) == Some(&true.into());
        if flag("profile").is_some() || loads {
            names.extend(url::VARIABLES.map(|(_, variable)| variable.to_owned()));
        }
        names
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    #[cfg(feature = "shared")]
    fn lasting_secret(&self, settings: &Settings) -> Option<&'static str> {
        // A key that comes with a session's token is gone when the session is.
        settings.first_of(&["session_token", "secret_access_key"]).filter(|key| *key == "secret_access_key")
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let mut reader = settings.reader();
        let bucket = reader.required_string("bucket", "my-bucket");
        let written = reader.string("endpoint");
        let root = read_root(&mut reader);
        let region = reader.string("region");
        let virtual_host = reader.boolean("enable_virtual_host_style").unwrap_or_default();
        let request_payer = reader.boolean("enable_request_payer").unwrap_or_default();
        let credentials = Credentials::read(settings, &mut reader);
        let authorities = Authorities::read(&mut reader);
        let confirming = Confirming::read(&mut reader);
        let region = region.or_else(|| credentials.region()).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let place = place::bucket_url(&mut reader, &bucket, written, &region, virtual_host);
        let config = place.map(|place| {
            warn_if_clear(settings, &place, credentials.has_token());
            let url = place.as_str().trim_end_matches('/').to_owned();
            let prefix = keys::prefix_of(&root);
            BucketConfig {
                url,
                prefix,
                region,
                request_payer,
                unpacks: false,
                confirming,
                reluctant: Reluctant::new(credentials.is_reluctant()),
                credentials,
                tokens: None,
                authorities,
            }
        });
        Ok(Box::new(S3::new(reader.finish_with(config)?)))
    }
}

impl S3 {
    pub(super) fn new(config: BucketConfig) -> Self {
        let (preconnected, connected, region, bursts, renewal, renewal_for_head, looking) = Default::default();
        Self {
            config,
            preconnected,
            connected,
            region,
            opaque: Mutex::new(LruCache::new(MAX_OPAQUE_OBJECTS)),
            bursts,
            renewal,
            renewal_for_head,
            looking,
        }
    }

    /// Asks for one object, or about it.
    async fn ask(&self, purpose: Purpose<'_>, request: http::request::Builder) -> Result<Answer> {
        let key = encode_path(self.key_of_file(purpose)?.as_bytes());
        match self.send(purpose, request, &format!("/{key}")).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.missing(purpose, error).await),
            answer => {
                let answer = answer?;
                self.note_encryption(purpose.path, answer.response.headers());
                Ok(answer)
            }
        }
    }

    /// Sends a request for a place in the bucket; once more if the server says that the bucket is in another region, or does not take a
    /// login that can be renewed.
    async fn send(&self, purpose: Purpose<'_>, request: http::request::Builder, place: &str) -> Result<Answer> {
        let (method, headers) = (request.method_ref().cloned().unwrap_or_default(), request.headers_ref().cloned());
        loop {
            let (connected, carried) = (self.connected.get(purpose)?, self.config.reluctant.carries());
            let mut request = http::Request::builder().method(&method).uri(format!("{}{place}", connected.url));
            if let (Some(headers), Some(all)) = (&headers, request.headers_mut()) {
                all.clone_from(headers);
            }
            let mut request = self.sign(purpose, &connected, request).await?;
            let token = request.headers().get(AUTHORIZATION).cloned();
            let is_object = !place.starts_with("/?");
            if self.config.unpacks && is_object {
                // An unpacked object has another length than the listing says. Google's servers change this header on the way, so it
                // must not be signed.
                request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            let answer = connected.transport.exchange(purpose, request).await?;
            if answer.response.status().is_success() {
                return Ok(answer);
            }
            let is_bad_request = answer.response.status() == StatusCode::BAD_REQUEST;
            let (error, region) = refusal_and_region(purpose, answer.response, None).await;
            let is_refused = matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied);
            if !is_refused && !is_bad_request && region.is_none() {
                return Err(error);
            }
            // One looks for what is missing, and who was refused meanwhile asks again with it.
            let _turn = self.looking.lock().await;
            let is_as_it_was = Arc::ptr_eq(&connected, &self.connected.get(purpose)?);
            if !is_as_it_was || carried != self.config.reluctant.carries() {
                continue;
            }
            if self.config.reluctant.is_to_look(&error, is_bad_request && region.is_none()) {
                let found = self.find_login(purpose, &connected).await;
                self.config.reluctant.note(error, found)?;
                continue;
            }
            if error.kind() == ErrorKind::Unauthenticated
                && self.config.reluctant.carries()
                && self.renew(token.as_ref()).await?
            {
                continue;
            }
            let is_unexplained =
                method == http::Method::HEAD && region.is_none() && error.kind() != ErrorKind::Unauthenticated;
            if is_unexplained
                && self.config.reluctant.carries()
                && self.config.credentials.may_change()
                && self.renewal_for_head.lock().is_due()
            {
                self.connect().await?;
                continue;
            }
            let Some(region) = region.filter(|region| *region != connected.region) else {
                let is_reluctant = !self.config.reluctant.carries();
                let is_anonymous = connected.signer.is_none() && self.config.tokens.is_none() && !is_reluctant;
                return Err(if is_anonymous { keys::refused_without_login(error, WANTED) } else { error });
            };
            if self.region.set(region.clone()).is_err() {
                return Err(error);
            }
            tracing::info!(
                "the bucket is in the region {region}, and not in {}; write it as `region`",
                connected.region
            );
            self.connect().await?;
        }
    }

    /// Takes the login that is found; fails if there is none.
    async fn find_login(&self, purpose: Purpose<'_>, connected: &Connected) -> Result<()> {
        if let Some(tokens) = &self.config.tokens {
            return tokens.header(connected.transport.client()).await.map(drop);
        }
        let Connected { url, region, transport, .. } = connected;
        let signer = self.config.credentials.signer(region, transport).await?;
        self.signed(purpose, signer.as_ref(), http::Request::get(url)).await?;
        // It keeps the key that it has fetched.
        let (url, region, transport) = (url.clone(), region.clone(), Arc::clone(transport));
        self.connected.set(Connected { url, region, transport, signer });
        Ok(())
    }

    /// Whether the login, which the store has refused, was renewed.
    async fn renew(&self, refused: Option<&HeaderValue>) -> Result<bool> {
        match (&self.config.tokens, refused) {
            (Some(tokens), Some(refused)) => Ok(tokens.renew(refused).await),
            _ if self.config.credentials.may_change() && self.renewal.lock().is_due() => {
                self.connect().await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether the wanted version is there still.
    async fn confirm(&self, purpose: Purpose<'_>, wanted: &Retrieval<'_>) -> Result<()> {
        let response = self.ask(purpose, http::Request::builder().method("HEAD")).await?.response;
        body::check_still(purpose, wanted, &Stamp::from_headers(response.headers()))
    }

    /// Adds what makes the store accept the request.
    async fn sign(
        &self,
        purpose: Purpose<'_>,
        connected: &Connected,
        mut request: http::request::Builder,
    ) -> Result<http::Request<Bytes>> {
        if self.config.request_payer {
            request = request.header("x-amz-request-payer", "requester");
        }
        if let Some(tokens) = &self.config.tokens
            && self.config.reluctant.carries()
        {
            request = request.header(AUTHORIZATION, tokens.header(connected.transport.client()).await?);
        }
        self.signed(purpose, connected.signer.as_ref(), request).await
    }

    /// Signs a request, if there is a signer.
    async fn signed(
        &self,
        purpose: Purpose<'_>,
        signer: Option<&Signer<Credential>>,
        request: http::request::Builder,
    ) -> Result<http::Request<Bytes>> {
        let request = request
            .body(Bytes::new())
            .map_err(|e| purpose.error(ErrorKind::InvalidConfig).because("the bucket's URL is wrong").caused_by(e))?;
        let Some(signer) = signer else { return Ok(request) };
        let (mut parts, body) = request.into_parts();
        signer.sign(&mut parts, None).await.map_err(|e| credentials::failure(purpose, &e))?;
        // The client sets it itself.
        parts.headers.remove(http::header::HOST);
        Ok(http::Request::from_parts(parts, body))
    }

    /// Notes what headers about an object tell of its encryption. It holds for this object alone: the tags of others are hashes still.
    fn note_encryption(&self, path: &RemotePath, headers: &http::HeaderMap) {
        let kms =
            headers.get("x-amz-server-side-encryption").is_some_and(|value| value.as_bytes().starts_with(b"aws:"));
        let others = ["x-amz-server-side-encryption-customer-algorithm", "x-goog-encryption-algorithm", GOOGLE_KMS];
        let opaque = kms || others.iter().any(|name| headers.contains_key(*name));
        if opaque && let Some(digest) = Stamp::from_headers(headers).tag_digest() {
            self.opaque.lock().put((path.clone(), digest), ());
        }
    }
}

impl Keys for S3 {
    fn prefix(&self) -> &str {
        &self.config.prefix
    }

    async fn page(&self, purpose: Purpose<'_>, prefix: &str, token: Option<&str>, most: Option<u32>) -> Result<Page> {
        let most = most.map(|most| most.to_string());
        let [token, marker] = listing::going_on(token);
        let arguments = [("prefix", Some(prefix)), token, marker, ("max-keys", most.as_deref())];
        let query = keys::page_url("/?delimiter=%2F&encoding-type=url&list-type=2".to_owned(), arguments);
        let page = match self.send(purpose, http::Request::builder(), &query).await {
            Ok(Answer { response, observed }) => {
                parsed(purpose, response, move |body| listing::parse(body, observed)).await
            }
            Err(error) => Err(error),
        };
        let no_bucket = "the server does not know the bucket: are `bucket`, `endpoint` and `region` right?";
        page.map_err(|error| keys::no_page(purpose, error, no_bucket))
    }
}

#[async_trait]
impl body::Get for S3 {
    async fn get(
        &self,
        purpose: Purpose<'_>,
        wanted: &Retrieval<'_>,
        confirmed: bool,
        out: &mut dyn Sink,
    ) -> Result<Retrieved> {
        let get = body::ask_for(http::Request::builder().method("GET"), wanted, true);
        let question = self.bursts.question(wanted);
        let response = self.ask(purpose, get).await?.response;
        let seen = body::check(purpose, wanted, &response)?;
        question.confirmed();
        let early = Early::of(self.config.confirming, wanted, &seen, true, response.headers());
        let ask = |patience| self.bursts.confirmed(wanted, patience, self.confirm(purpose, wanted));
        let confirm = confirmed.then_some(body::Confirm { piece: body::PIECE_BYTES, ask, early: Some(early) });
        let is_unconfirmed = body::deliver(purpose, wanted, &wanted.range, response, out, confirm).await?;
        Ok(Retrieved { modified: seen.modified_time(), is_unconfirmed })
    }
}

#[async_trait]
impl Source for S3 {
    fn capabilities(&self) -> Capabilities {
        // Not all tags are hashes of the content, so `content_digest` would promise too much.
        Capabilities {
            digest_from_listing: true,
            ranges: true,
            content_digest: false,
            proven_whole: false,
            unconfirmed: true,
            verbatim_names: false,
            names_alone: true,
            buffer: body::MAX_HELD_BYTES + CLIENT_BUFFER_BYTES,
            concurrency: 16,
        }
    }

    async fn connect(&self) -> Result<()> {
        let authorities = self.config.authorities.clone();
        let transport = Arc::new(self.preconnected.transport(Redirects::Refuse, Named::default(), authorities)?);
        let configured = &self.config.region;
        let region = self.region.get().unwrap_or(configured).clone();
        let signer = if self.config.reluctant.carries() {
            self.config.credentials.signer(&region, &transport).await?
        } else {
            None
        };
        let url = place::in_region(&self.config.url, configured, &region);
        self.connected.set(Connected { url, region, transport, signer });
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
        Ok(keys::remote_digest(&self.ask(purpose, http::Request::builder().method("HEAD")).await?))
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        if self.opaque.lock().contains(&(copy.path.clone(), copy.retrieved_as.clone())) {
            return crate::sources::same_size(copy).await;
        }
        crate::sources::same_hash(copy).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        if Wanted::parse(request.digest).is_without_tag() || self.config.confirming == Confirming::Strict {
            return body::retrieve(self, request, out).await;
        }
        // Stores replace objects whole: what began as one version ends as it.
        let purpose = Purpose { op: "retrieve_file", path: request.path };
        body::Get::get(self, purpose, request, false, out).await
    }
}
