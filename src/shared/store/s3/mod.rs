//! `S3`: a store in a bucket of Amazon, or of those who speak as Amazon does. It knows requests, and not what values are.

mod answer;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HOST, IF_NONE_MATCH, RANGE};
use http::{Method, StatusCode};
use reqsign_aws_v4::{Credential, RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, Signer};
use reqwest::{Certificate, Response};
use sha2::{Digest as _, Sha256};

use super::{Place, Store, Stored};
use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::shared::key::is_name;

/// The region where none is configured; services other than Amazon's do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// How long the service may take to accept a connection, to say something more, and to answer at all. Those who cannot wait for so long
/// give up by themselves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(120);

/// A place that is right, for messages.
const EXAMPLE: &str = "s3://my-bucket/kitovufs";

/// A bucket, and the beginning of the keys in it.
pub(super) struct S3 {
    client: reqwest::Client,
    /// The bucket's URL, without a slash at the end.
    url: String,
    /// The bucket's name.
    bucket: String,
    /// The bucket and its service, for people.
    shown: String,
    /// What every key begins with: empty, or ending in a slash.
    prefix: String,
    /// None where requests are anonymous.
    signer: Option<Signer<Credential>>,
    /// The service has not refused yet to put a value only where none is.
    knows_condition: AtomicBool,
}

impl S3 {
    /// The store at this place. It asks nothing of it.
    pub(super) fn new(place: &Place) -> Result<Self> {
        let wrong = |why: String| Error::new("open the shared store", ErrorKind::InvalidConfig).because(why);
        let url = &place.url;
        let bucket = url.host_str().unwrap_or_default().to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if bucket.is_empty() || !bucket.bytes().all(plain) || bucket.starts_with('.') {
            return Err(wrong(format!("{place:?} names no bucket; write for example {EXAMPLE}")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "the account of the store has settings of its own: access_key_id, secret_access_key".into(),
            ));
        }
        if url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
            let why = format!("{place:?} has more than a bucket and a prefix; the service is named by `endpoint`");
            return Err(wrong(why));
        }
        let region = place.region.as_deref().unwrap_or(DEFAULT_REGION);
        let service = service(place.endpoint.as_deref(), region).map_err(wrong)?;
        let prefix = url.path().trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let signer = match (&place.access_key_id, &place.secret_access_key) {
            (None, None) => None,
            (Some(id), Some(secret)) => {
                let key = StaticCredentialProvider::new(id.expose(), secret.expose());
                Some(Signer::new(Context::new(), key, RequestSigner::new("s3", region)))
            }
            _ => return Err(wrong("`access_key_id` and `secret_access_key` belong together; one is missing".into())),
        };
        let (url, shown) = (format!("{service}/{bucket}"), format!("{bucket} at {service}"));
        Ok(Self { client: client(place)?, url, bucket, shown, prefix, signer, knows_condition: AtomicBool::new(true) })
    }

    fn error(&self, op: &'static str, kind: ErrorKind) -> Error {
        Error::new(op, kind).on(&self.shown)
    }

    /// Sends a request for a place in the bucket, and gets its answer, whatever that says.
    async fn send(
        &self,
        op: &'static str,
        method: Method,
        place: &str,
        header: Option<(http::HeaderName, String)>,
        body: Bytes,
    ) -> Result<Response> {
        let malformed = |e| self.error(op, ErrorKind::InvalidConfig).because("the store's URL is wrong").caused_by(e);
        let hash = hex(&Sha256::digest(&body));
        let mut request = http::Request::builder().method(&method).uri(format!("{}{place}", self.url));
        request = request.header("x-amz-content-sha256", hash);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (mut parts, ()) = request.body(()).map_err(malformed)?.into_parts();
        if let Some(signer) = &self.signer {
            // Its own text may quote what it was given.
            let unsigned = |e: reqsign_core::Error| {
                let why = format!("the request cannot be signed ({:?}): is `access_key_id` right?", e.kind());
                self.error(op, ErrorKind::Unauthenticated).because(why)
            };
            signer.sign(&mut parts, None).await.map_err(unsigned)?;
            // The client sets it itself.
            parts.headers.remove(HOST);
        }
        if method == Method::PUT {
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let failed = |e| answer::no_answer(op, &self.shown, e);
        let request = reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(failed)?;
        self.client.execute(request).await.map_err(failed)
    }

    fn place(&self, name: &str) -> String {
        format!("/{}{name}", answer::encoded_path(&self.prefix))
    }

    /// The error that an answer is.
    async fn refusal(&self, op: &'static str, response: Response) -> Error {
        answer::refusal(op, &self.shown, &self.bucket, response).await
    }

    async fn put(&self, name: &str, value: &Bytes, only_if_absent: bool) -> Result<Response> {
        let condition = only_if_absent.then(|| (IF_NONE_MATCH, "*".to_owned()));
        self.send("write to the shared store", Method::PUT, &self.place(name), condition, value.clone()).await
    }
}

/// The address of the service, without a slash at the end.
fn service(endpoint: Option<&str>, region: &str) -> Result<String, String> {
    let Some(text) = endpoint else { return Ok(format!("https://s3.{region}.amazonaws.com")) };
    let url = url::Url::parse(text).map_err(|e| format!("`endpoint` is no URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("`endpoint` must begin with https:// or http:// and name a host".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("`endpoint` is the address of the service alone, without an account, `?` and `#`".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn client(place: &Place) -> Result<reqwest::Client> {
    super::use_ring();
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("kitovufs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none());
    let unusable = |why: &str| Error::new("open the shared store", ErrorKind::InvalidConfig).because(why);
    if let Some(pem) = place.certificates()? {
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|e| unusable("`ca_file` cannot be read as certificates in PEM").caused_by(e))?;
        client = client.tls_certs_merge(certificates);
    }
    client.build().map_err(|e| unusable("cannot set up HTTP").caused_by(e))
}

#[async_trait]
impl Store for S3 {
    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        const OP: &str = "read from the shared store";
        let last = range.end.saturating_sub(1);
        let header = (RANGE, format!("bytes={}-{last}", range.start));
        let response = self.send(OP, Method::GET, &self.place(name), Some(header), Bytes::new()).await?;
        // Where ranges are not known, all of it comes.
        let skipped = match response.status() {
            StatusCode::PARTIAL_CONTENT => 0,
            // Some say so of a part too.
            StatusCode::OK if response.headers().contains_key(CONTENT_RANGE) => 0,
            StatusCode::OK => range.start,
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Some(Bytes::new())),
            StatusCode::NOT_FOUND => {
                let refusal = self.refusal(OP, response).await;
                return if refusal.kind() == ErrorKind::NotFound { Ok(None) } else { Err(refusal) };
            }
            _ => return Err(self.refusal(OP, response).await),
        };
        let most = skipped + (range.end - range.start);
        let failed = |e| answer::no_answer(OP, &self.shown, e);
        let bytes = answer::collect(response, most).await.map_err(failed)?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Some(bytes.slice(skipped..)))
    }

    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool> {
        const OP: &str = "write to the shared store";
        let mut response = S3::put(self, name, &value, self.knows_condition.load(Ordering::Relaxed)).await?;
        if matches!(response.status(), StatusCode::NOT_IMPLEMENTED | StatusCode::BAD_REQUEST) {
            let again = S3::put(self, name, &value, false).await?;
            // The condition was to blame. Whoever put that value put the same bytes.
            if again.status().is_success() {
                self.knows_condition.store(false, Ordering::Relaxed);
            }
            response = again;
        }
        match response.status() {
            // The second one says that somebody is putting it now.
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refusal(OP, response).await),
        }
    }

    async fn put(&self, name: &str, value: Bytes, _kept_for: Duration) -> Result<()> {
        let response = S3::put(self, name, &value, false).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.refusal("write to the shared store", response).await)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        const OP: &str = "remove from the shared store";
        let response = self.send(OP, Method::DELETE, &self.place(name), None, Bytes::new()).await?;
        if response.status().is_success() {
            return Ok(());
        }
        let refusal = self.refusal(OP, response).await;
        if refusal.kind() == ErrorKind::NotFound { Ok(()) } else { Err(refusal) }
    }

    async fn list(&self, counting: &Arc<AtomicU64>) -> Result<Vec<Stored>> {
        const OP: &str = "list the shared store";
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let prefix = answer::encoded(&format!("{}v1/", self.prefix));
            let mut query = "/?".to_owned();
            if let Some(token) = &token {
                query += &format!("continuation-token={}&", answer::encoded(token));
            }
            query += &format!("encoding-type=url&list-type=2&prefix={prefix}");
            let response = self.send(OP, Method::GET, &query, None, Bytes::new()).await?;
            if !response.status().is_success() {
                let refusal = self.refusal(OP, response).await;
                return Err(refusal);
            }
            let failed = |e| answer::no_answer(OP, &self.shown, e);
            let body = answer::collect(response, answer::MAX_PAGE_BYTES).await.map_err(failed)?;
            let page = answer::parse(&body).map_err(|why| self.error(OP, ErrorKind::Protocol).because(why))?;
            let named = |mut stored: Stored| {
                stored.name = stored.name.strip_prefix(&self.prefix)?.to_owned();
                is_name(&stored.name).then_some(stored)
            };
            let before = found.len();
            found.extend(page.stored.into_iter().filter_map(named));
            counting.fetch_add((found.len() - before) as u64, Ordering::Relaxed);
            if page.next.is_none() {
                return Ok(found);
            }
            if page.next == token {
                let why = "the service tells the same page of its listing again and again";
                return Err(self.error(OP, ErrorKind::Protocol).because(why));
            }
            token = page.next;
        }
    }
}
