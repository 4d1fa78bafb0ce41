//! `S3`: a bucket, or what is below one prefix of it, as a source. It only asks: ListObjectsV2, HEAD and GET.

mod credentials;
mod listing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use parking_lot::RwLock;
use reqsign_aws_v4::Credential;
use reqsign_core::Signer;

use self::credentials::Credentials;
use super::http::{Answer, Purpose, Redirects, Transport};
use super::keys::{self, Page, digest};
use super::{COMPONENT, body, encode_path, endpoint, join, read_root, warn_if_clear};
use crate::config::settings::Reader;
use crate::digest::{Digest, hex};
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{
    Capabilities, EntryStream, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings, Sink, Source,
};
use crate::sources::version::{Version, Wanted};

/// Where a bucket is when nothing else is said; services other than Amazon's do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// A bucket as a source: `type = "s3"`.
///
/// Keys, named as in OpenDAL: `bucket` (required), `endpoint`, `region`, `root`, `enable_virtual_host_style`,
/// `enable_request_payer`; for credentials `access_key_id`, `secret_access_key`, `session_token`, or
/// `disable_config_load = false` for what Amazon's tools use, with `profile`, `role_arn`, `external_id` and
/// `disable_ec2_metadata`. Without any of these, requests are anonymous (`skip_signature`, `allow_anonymous`).
#[derive(Debug, Default)]
pub struct S3 {
    config: Config,
    connected: RwLock<Option<Arc<Connected>>>,
    /// The store encrypts with keys of its own, so that tags which look like an MD5 are none.
    opaque_tags: AtomicBool,
}

#[derive(Debug, Default)]
struct Config {
    /// The bucket's URL, without a slash at the end.
    url: String,
    /// What every key begins with: empty, or ending in a slash.
    prefix: String,
    region: String,
    request_payer: bool,
    credentials: Credentials,
}

#[derive(Debug)]
struct Connected {
    transport: Arc<Transport>,
    signer: Option<Signer<Credential>>,
}

impl S3 {
    /// A source that waits for `configure`.
    pub fn new() -> Self {
        Self::default()
    }

    fn connected(&self, purpose: Purpose<'_>) -> Result<Arc<Connected>> {
        let connected = self.connected.read().clone();
        connected.ok_or_else(|| purpose.error(ErrorKind::Other).because("not connected"))
    }

    /// The key of a file. Keys are text; others cannot be named.
    fn key(&self, purpose: Purpose<'_>) -> Result<String> {
        let Some(text) = purpose.path.as_str() else {
            return Err(purpose.error(ErrorKind::NotFound).because("S3 has no names that are not UTF-8"));
        };
        Ok(format!("{}{text}", self.config.prefix))
    }

    fn object(&self, method: &str, purpose: Purpose<'_>) -> Result<http::request::Builder> {
        let key = encode_path(self.key(purpose)?.as_bytes());
        Ok(http::Request::builder().method(method).uri(format!("{}/{key}", self.config.url)))
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
        let request = request
            .body(Bytes::new())
            .map_err(|e| purpose.error(ErrorKind::InvalidConfig).because("the bucket's URL is wrong").caused_by(e))?;
        let Some(signer) = &connected.signer else { return Ok(request) };
        let (mut parts, body) = request.into_parts();
        signer.sign(&mut parts, None).await.map_err(|e| credentials::failure(purpose, &e))?;
        // The client sets it itself.
        parts.headers.remove(http::header::HOST);
        Ok(http::Request::from_parts(parts, body))
    }

    /// One page of what begins with a directory's prefix.
    async fn page(&self, purpose: Purpose<'_>, prefix: &str, token: Option<&str>, most: Option<u32>) -> Result<Page> {
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, COMPONENT).to_string();
        let mut url = format!("{}/?delimiter=%2F&encoding-type=url&list-type=2", self.config.url);
        for (name, value) in [("prefix", Some(prefix)), ("continuation-token", token)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                url += &format!("&{name}={}", encode(value));
            }
        }
        if let Some(most) = most {
            url += &format!("&max-keys={most}");
        }
        let connected = self.connected(purpose)?;
        let request = self.sign(purpose, &connected, http::Request::get(url)).await?;
        let (body, observed) = match connected.transport.send_whole(purpose, request).await {
            // A store that knows the bucket answers with an empty page.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let why = "the server does not know the bucket: are `bucket`, `endpoint` and `region` right?";
                return Err(purpose.error(ErrorKind::Unreachable).because(why));
            }
            answer => answer?,
        };
        listing::parse(&body, observed).map_err(|why| purpose.protocol(why))
    }

    /// What a *not found* of a key means: if the bucket has gone too, it is an outage, and nothing was deleted.
    async fn missing(&self, purpose: Purpose<'_>, error: Error) -> Error {
        match self.page(purpose, &self.config.prefix, None, Some(1)).await {
            Ok(page) if page.is_empty() && !self.config.prefix.is_empty() => self.no_root(purpose),
            // Who may read but not list hears from the store itself that there is nothing.
            Ok(_) => error,
            Err(listing) if listing.kind() == ErrorKind::PermissionDenied => error,
            Err(listing) => listing,
        }
    }

    fn no_root(&self, purpose: Purpose<'_>) -> Error {
        let prefix = &self.config.prefix;
        purpose.error(ErrorKind::Unreachable).because(format!("no key begins with {prefix}: is `root` right?"))
    }

    /// Notes what headers tell about encryption.
    fn learn(&self, headers: &http::HeaderMap) {
        let kms =
            headers.get("x-amz-server-side-encryption").is_some_and(|value| value.as_bytes().starts_with(b"aws:"));
        if kms || headers.contains_key("x-amz-server-side-encryption-customer-algorithm") {
            self.opaque_tags.store(true, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Source for S3 {
    async fn configure(&mut self, settings: &Settings) -> Result<(), Vec<Problem>> {
        let mut reader = settings.reader();
        let bucket = reader.required_string("bucket", "my-bucket");
        let written = reader.string("endpoint");
        let region = reader.string("region");
        let root = read_root(&mut reader);
        let virtual_host = reader.boolean("enable_virtual_host_style").unwrap_or_default();
        let request_payer = reader.boolean("enable_request_payer").unwrap_or_default();
        let credentials = Credentials::read(settings, &mut reader);
        if root.as_str().is_none() {
            reader.problem(Some("root"), "`root` must be UTF-8");
        }
        let region = region.or_else(|| credentials.region()).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let place = bucket_url(&mut reader, &bucket, written, &region, virtual_host);
        if let Some(place) = place {
            warn_if_clear(settings, &place, credentials.has_token());
            let prefix = if root.is_root() { String::new() } else { format!("{}/", root.as_str().unwrap_or_default()) };
            let url = place.as_str().trim_end_matches('/').to_owned();
            self.config = Config { url, prefix, region, request_payer, credentials };
        }
        reader.finish()
    }

    fn capabilities(&self) -> Capabilities {
        // Not all tags are hashes of the content, so `content_digest` would promise too much.
        Capabilities {
            digest_from_listing: true,
            ranges: true,
            content_digest: false,
            verbatim_names: false,
            concurrency: 16,
        }
    }

    async fn connect(&self) -> Result<()> {
        let transport = Arc::new(Transport::new(Redirects::Refuse)?);
        let signer = self.config.credentials.signer(&self.config.region, &transport).await?;
        *self.connected.write() = Some(Arc::new(Connected { transport, signer }));
        Ok(())
    }

    async fn disconnect(&self) {
        *self.connected.write() = None;
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let purpose = Purpose { op: "list_path", path: dir };
        let mut prefix = self.key(purpose)?;
        if !dir.is_root() {
            prefix.push('/');
        }
        // The first page is what tells whether there is such a directory: it exists by its keys.
        let first = self.page(purpose, &prefix, None, None).await?;
        if first.is_empty() && !prefix.is_empty() {
            if dir.is_root() {
                return Err(self.no_root(purpose));
            }
            return Err(self.missing(purpose, purpose.error(ErrorKind::NotFound)).await);
        }
        let fetch =
            move |prefix: Arc<str>, token: String| async move { self.page(purpose, &prefix, Some(&token), None).await };
        Ok(keys::entries(purpose, prefix.into(), first, fetch))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let purpose = Purpose { op: "create_remote_digest", path: file };
        let connected = self.connected(purpose)?;
        let request = self.sign(purpose, &connected, self.object("HEAD", purpose)?).await?;
        let Answer { response, observed } = match connected.transport.send(purpose, request).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(purpose, error).await),
            answer => answer?,
        };
        self.learn(response.headers());
        let version = Version::from_headers(response.headers());
        Ok(RemoteDigest { digest: digest(&version, observed), size: version.size, modified: version.modified_time() })
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        let same = crate::sources::same_size(copy).await?;
        if same != *copy.retrieved_as || Wanted::parse(copy.retrieved_as).md5().is_none() {
            return Ok(same);
        }
        if self.opaque_tags.load(Ordering::Relaxed) {
            return Ok(same);
        }
        let (file, upper) = (copy.file.to_owned(), same.as_str().bytes().any(|b| b.is_ascii_uppercase()));
        let md5 = tokio::task::spawn_blocking(move || md5_of(&file)).await;
        let failed = |e: std::io::Error| Error::new("create_local_digest", ErrorKind::Cache).on(copy.path).caused_by(e);
        let md5 = md5.unwrap_or_else(|lost| Err(std::io::Error::other(lost))).map_err(failed)?;
        Ok(Digest::new(format!("etag:{}", if upper { md5.to_ascii_uppercase() } else { md5 })))
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let purpose = Purpose { op: "retrieve_file", path: request.path };
        let connected = self.connected(purpose)?;
        let get = body::ask_for(self.object("GET", purpose)?, request);
        let get = self.sign(purpose, &connected, get).await?;
        let response = match connected.transport.send(purpose, get).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(purpose, error).await),
            answer => answer?.response,
        };
        self.learn(response.headers());
        let seen = body::check(purpose, request, &response)?;
        // Objects are replaced whole: what began as one version ends as it.
        body::deliver(purpose, request, &request.range, response, out, None::<std::future::Ready<Result<()>>>).await?;
        Ok(Retrieved { modified: seen.modified_time() })
    }
}

fn bucket_url(
    reader: &mut Reader<'_>,
    bucket: &str,
    written: Option<String>,
    region: &str,
    virtual_host: bool,
) -> Option<url::Url> {
    if bucket.is_empty() {
        return None;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !bucket.bytes().all(plain) || bucket.starts_with('.') {
        reader.problem(Some("bucket"), "`bucket` is the bucket's name alone: letters, digits, `-`, `.` and `_`");
        return None;
    }
    let amazon = format!("https://s3.{region}.amazonaws.com");
    let text = match written {
        None => amazon,
        Some(text) if text.trim_end_matches('/') == "https://s3.amazonaws.com" => amazon,
        Some(text) if text.contains("://") => text,
        Some(text) => format!("https://{text}"),
    };
    let key = Some("endpoint");
    let mut url = match endpoint("endpoint", &text) {
        Ok(url) => url,
        Err(why) => {
            reader.problem(key, why);
            return None;
        }
    };
    if virtual_host {
        let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
        if url.set_host(Some(&host)).is_err() {
            reader.problem(key, "a bucket cannot be part of this host's name; set enable_virtual_host_style = false");
            return None;
        }
    } else {
        url.set_path(&join(&[url.path(), bucket]));
    }
    Some(url)
}

fn md5_of(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut buffer) = (Md5::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            len => hasher.update(&buffer[..len]),
        }
    }
}
