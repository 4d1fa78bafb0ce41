//! `Transport`: sends HTTP requests and turns what goes wrong into our kinds of error. It knows no file and no protocol.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, DATE, HeaderMap, LOCATION, RETRY_AFTER, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode};
use url::Url;

use super::authorization::Authorization;
use super::challenge::Challenge;
use super::login_check::{Ask, Asking, LoginCheck, Refused};
use super::redirect::{self, Named, NotPublic, PublicOnly, Redirects, check, redirected, target};
use super::xml::Element;
use crate::error::{Error, ErrorKind, Result};
use crate::source::budget::await_turn;
use crate::source::waits::note_progress;
use crate::sources::arriving::{self, Arriving};
use crate::sources::authorities::{Authorities, untrusted};
use crate::sources::purpose::Purpose;
use crate::sources::stamp::http_date;

/// How long a host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that is collected as a whole.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How far clocks may be apart before stores refuse a signature.
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);
/// Bytes of a refusal that are looked at.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// A successful answer, and when it was given by the server's clock, in whole seconds since 1970: never later than the
/// server looked at what it tells.
#[derive(Debug)]
pub(in crate::sources) struct Answer {
    pub(in crate::sources) response: Response,
    pub(in crate::sources) observed: i64,
}

/// An HTTP client for one source. Cheap to share; holds the connections.
#[derive(Debug)]
pub(in crate::sources) struct Transport {
    client: reqwest::Client,
    /// The client for hosts that the configuration does not name.
    elsewhere: OnceLock<reqwest::Client>,
    redirects: Redirects,
    named: Named,
    authorities: Authorities,
    authorization: Option<Arc<Authorization>>,
    check: Option<Arc<LoginCheck>>,
    /// The server's clock minus ours, in seconds, as of the last answer.
    clock_offset: AtomicI64,
}

impl Transport {
    /// A client for the hosts that are `named`, which goes where `redirects` allows, and trusts `authorities` too.
    pub(in crate::sources) fn new(redirects: Redirects, named: Named, authorities: Authorities) -> Result<Self> {
        Ok(Self::over(connections(&authorities)?, redirects, named, authorities))
    }

    /// The same over `client`, which [`connections`] has made, and trusts the same.
    pub(super) fn over(client: reqwest::Client, redirects: Redirects, named: Named, authorities: Authorities) -> Self {
        let clock_offset = AtomicI64::new(0);
        Self {
            client,
            elsewhere: OnceLock::new(),
            redirects,
            named,
            authorities,
            authorization: None,
            check: None,
            clock_offset,
        }
    }

    /// The same, whose requests are logged in.
    #[must_use]
    pub(in crate::sources) fn logged_in(self, authorization: Option<Authorization>) -> Self {
        Self { authorization: authorization.map(Arc::new), ..self }
    }

    /// The same, which finds out by `check` whether a refusal is about one place alone.
    #[must_use]
    pub(in crate::sources) fn checking(self, check: LoginCheck) -> Self {
        Self { check: Some(Arc::new(check)), ..self }
    }

    /// The same, over the same connections, that goes where `redirects` allows.
    pub(in crate::sources) fn that(&self, redirects: Redirects) -> Self {
        let (client, named, clock_offset) = (self.client.clone(), self.named.clone(), AtomicI64::new(0));
        let (authorities, authorization) = (self.authorities.clone(), self.authorization.clone());
        let (elsewhere, check) = (OnceLock::new(), self.check.clone());
        Self { client, elsewhere, redirects, named, authorities, authorization, check, clock_offset }
    }

    /// The client for an address that a server has pointed to.
    fn client_for(&self, url: &Url) -> Result<&reqwest::Client> {
        if self.named.holds(url) {
            return Ok(&self.client);
        }
        if self.elsewhere.get().is_none() {
            let elsewhere = build(client(&self.authorities)?.dns_resolver(Arc::new(PublicOnly::new())))?;
            // Another request may have been faster.
            let _ = self.elsewhere.set(elsewhere);
        }
        Ok(self.elsewhere.get().expect("it has just been set"))
    }

    /// Sends a request; an answer that is no success is an error of the kind that its status says.
    pub(in crate::sources) async fn send(&self, purpose: Purpose<'_>, request: http::Request<Bytes>) -> Result<Answer> {
        let answer = self.exchange(purpose, request).await?;
        if answer.response.status().is_success() {
            return Ok(answer);
        }
        if let Some(check) = &self.check
            && answer.response.status() == StatusCode::UNAUTHORIZED
        {
            self.judge(purpose, check, answer.response.url()).await?;
        }
        Err(refusal_and_region(purpose, answer.response, self.authorization.as_deref()).await.0)
    }

    /// Asks whether the login is taken, if the last answer about it has refused it: otherwise requests would find out, each by sending it.
    ///
    /// # Errors
    /// It is refused, or the server does not answer.
    pub(in crate::sources) async fn ask_about_login(&self, purpose: Purpose<'_>) -> Result<()> {
        let Some(check) = self.check.as_ref().filter(|check| check.is_refused()) else { return Ok(()) };
        match self.send(purpose, check.root()).await {
            Err(error) if error.kind().is_outage() => Err(error),
            _ => {
                check.note(false);
                Ok(())
            }
        }
    }

    /// Judges a refusal (401).
    ///
    /// # Errors
    /// It is about the place that was asked for alone, or that cannot be found out.
    async fn judge(&self, purpose: Purpose<'_>, check: &LoginCheck, refused_by: &Url) -> Result<()> {
        let refused = match &self.authorization {
            Some(login) if login.is_for(refused_by) => Refused::Login,
            Some(_) => Refused::Elsewhere,
            None => Refused::Stranger,
        };
        if purpose.path.is_root() {
            check.note(refused == Refused::Login);
            return Ok(());
        }
        if !check.is_of_place(refused, &Root { transport: self, purpose, request: check.root() }).await? {
            return Ok(());
        }
        let why = if refused == Refused::Login {
            "the login is right, and must not read this"
        } else {
            "it wants a login for this alone"
        };
        let told = format!("{}: the server answered 401 Unauthorized", ErrorKind::PermissionDenied.describe());
        Err(purpose.error(ErrorKind::PermissionDenied).because(format!("{told}; {why}")))
    }

    /// Sends a request to the source's own address and gets its answer, whatever the status.
    pub(in crate::sources) async fn exchange(
        &self,
        purpose: Purpose<'_>,
        request: http::Request<Bytes>,
    ) -> Result<Answer> {
        let request =
            reqwest::Request::try_from(request).map_err(|e| failure(purpose, e).because("the request is malformed"))?;
        self.send_following(purpose, request, &self.client).await
    }

    /// Sends a request to an address that an answer from `from` has pointed to, where that is allowed.
    pub(in crate::sources) async fn exchange_elsewhere(
        &self,
        purpose: Purpose<'_>,
        from: &Url,
        request: http::Request<Bytes>,
    ) -> Result<Answer> {
        let request =
            reqwest::Request::try_from(request).map_err(|e| failure(purpose, e).because("the request is malformed"))?;
        check(&self.named, from, request.url()).map_err(|why| redirect_refused(purpose, request.url(), why))?;
        let client = self.client_for(request.url())?;
        self.send_following(purpose, request, client).await
    }

    async fn send_following(
        &self,
        purpose: Purpose<'_>,
        mut request: reqwest::Request,
        mut client: &reqwest::Client,
    ) -> Result<Answer> {
        for _ in 0..=redirect::MAX_REDIRECTS {
            let began = local_clock();
            let again = request.try_clone();
            let response = self.execute(client, request).await.map_err(|e| failure(purpose, e))?;
            if let (Some(to), Some(again)) = (target(&response), again) {
                let follows = self.redirects.follow(&self.named, response.url(), &to);
                if follows.map_err(|why| redirect_refused(purpose, &to, why))? {
                    client = self.client_for(&to)?;
                    request = redirected(again, response.status(), to);
                    continue;
                }
            }
            let observed = match date(response.headers()) {
                Some(date) => {
                    self.clock_offset.store(date - began, Ordering::Relaxed);
                    date
                }
                None => began + self.clock_offset.load(Ordering::Relaxed),
            };
            return Ok(Answer { response, observed });
        }
        Err(purpose.protocol("the server sends one on again and again"))
    }

    /// Sends a request with the login, and once more if the server asks for that in another way.
    async fn execute(&self, client: &reqwest::Client, mut request: reqwest::Request) -> reqwest::Result<Response> {
        let Some(authorization) = self.authorization.as_ref().filter(|login| login.is_for(request.url())) else {
            return client.execute(request).await;
        };
        let _turn = authorization.turn().await;
        let again = request.try_clone();
        let carried = authorization.put(&mut request);
        let response = client.execute(request).await?;
        authorization.note(&response, &carried);
        let Some(mut again) = again else { return Ok(response) };
        let Some(carried) = authorization.answer(&response, &carried, &mut again) else { return Ok(response) };
        // What was read to its end leaves its connection to the next.
        let _ = collect(response, MAX_REFUSAL_BYTES, || ()).await;
        let response = client.execute(again).await?;
        authorization.note(&response, &carried);
        Ok(response)
    }

    /// The client, for what retrieves credentials over HTTP.
    pub(in crate::sources) fn client(&self) -> &reqwest::Client {
        &self.client
    }
}

/// The source's root, for a request that was refused.
struct Root<'a> {
    transport: &'a Transport,
    purpose: Purpose<'a>,
    request: http::Request<Bytes>,
}

#[async_trait]
impl Ask for Root<'_> {
    async fn ask(&self, asking: Asking) -> Result<StatusCode> {
        let mut transport = self.transport.that(Redirects::Follow);
        if asking == Asking::Stranger {
            transport.authorization = None;
        }
        let answer = transport.exchange(self.purpose, self.request.clone()).await?;
        Ok(answer.response.status())
    }
}

/// A client for the source's own host, with no connection yet.
pub(super) fn connections(authorities: &Authorities) -> Result<reqwest::Client> {
    static PROVIDER: Once = Once::new();
    // An error says that the process has a provider already, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    build(client(authorities)?)
}

fn client(authorities: &Authorities) -> Result<reqwest::ClientBuilder> {
    let client = reqwest::Client::builder()
        .user_agent(concat!("kitovufs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .referer(false)
        // Followed here, where every step is judged.
        .redirect(reqwest::redirect::Policy::none());
    if authorities.are_none() {
        return Ok(client);
    }
    let unusable = |e| Error::new("connect", ErrorKind::InvalidConfig).because("`ca_file` cannot be used").caused_by(e);
    let mut tls = authorities.client_config().map_err(unusable)?;
    // As reqwest offers them by itself.
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(client.tls_backend_preconfigured(tls))
}

fn build(client: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    client.build().map_err(|e| Error::new("connect", ErrorKind::Other).because("cannot set up HTTP").caused_by(e))
}

/// The error of a server that redirects where that is forbidden.
fn redirect_refused(purpose: Purpose<'_>, to: &Url, why: &str) -> Error {
    let to = to.origin().ascii_serialization();
    purpose.protocol(format!("the server sends one on to {to}, {why}"))
}

/// The result of `parse`, which reads an answer's body while it arrives.
pub(in crate::sources) async fn parsed<T: Send + 'static>(
    purpose: Purpose<'_>,
    response: Response,
    parse: impl FnOnce(&mut Arriving) -> Result<T, String> + Send + 'static,
) -> Result<T> {
    if let Some(coding) = response.headers().get(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        let coding = coding.to_str().unwrap_or_default().escape_debug();
        return Err(purpose.protocol(format!("the server packs its answer ({coding}), which nothing has asked for")));
    }
    let tells_its_end = tells_its_end(&response);
    let parsed =
        arriving::parsed(response.bytes_stream(), tells_its_end, parse).await.map_err(|e| failure(purpose, e))?;
    parsed.map_err(|why| purpose.protocol(why))
}

/// Whether a body that is cut short is known to be: only the end of the connection ends one that has neither a length nor chunks.
pub(in crate::sources) fn tells_its_end(response: &Response) -> bool {
    let chunked = response.headers().contains_key(TRANSFER_ENCODING);
    chunked || response.content_length().is_some() || response.version() >= http::Version::HTTP_2
}

/// Collects the body of an answer.
pub(in crate::sources) async fn whole(purpose: Purpose<'_>, response: Response) -> Result<Vec<u8>> {
    collect(response, MAX_ANSWER_BYTES, note_progress).await.map_err(|e| match e {
        Some(e) => failure(purpose, e),
        None => purpose.protocol("the answer is too long"),
    })
}

/// When an answer was given by the server's clock, in seconds since 1970, if it says so.
pub(in crate::sources) fn date(headers: &HeaderMap) -> Option<i64> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

fn local_clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

/// A body of at most `limit` bytes, each part of which is told to `arrived`; the error is none if it is longer.
pub(in crate::sources) async fn collect(
    mut response: Response,
    limit: usize,
    arrived: fn(),
) -> Result<Vec<u8>, Option<reqwest::Error>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Some)? {
        if body.len() + chunk.len() > limit {
            return Err(None);
        }
        body.extend_from_slice(&chunk);
        arrived();
        await_turn(body.len()).await;
    }
    Ok(body)
}

/// A request that got no answer, or half of one.
pub(in crate::sources) fn failure(purpose: Purpose<'_>, error: reqwest::Error) -> Error {
    if is_caused_by::<NotPublic>(&error) {
        return purpose.protocol(NotPublic.to_string());
    }
    let kind = if error.is_timeout() {
        ErrorKind::TimedOut
    } else if error.is_builder() || error.is_redirect() {
        ErrorKind::Protocol
    } else {
        ErrorKind::Unreachable
    };
    let what = if error.is_connect() { no_connection(&error) } else { None };
    // The address may hold what must not be shown.
    let failure = purpose.error(kind).caused_by(error.without_url());
    match what {
        Some(what) => failure.because(what),
        None => failure,
    }
}

fn is_caused_by<E: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.into_iter().any(|cause| cause.is::<E>())
}

/// Why there is no connection, where the cause tells, and what to try.
fn no_connection(error: &reqwest::Error) -> Option<String> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return Some("nothing listens there; check that the server is up, and the port".into());
        }
        match error.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(why)) => return Some(untrusted(why)),
            Some(_) => {
                return Some("no TLS with this server; check the port, and whether it is https:// or http://".into());
            }
            None => {}
        }
        // `source` of such an I/O error skips the error that it holds.
        cause = match io.and_then(std::io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

/// An answer that is no success. S3 and Azure say in a code what the status leaves open.
pub(in crate::sources) async fn refusal(purpose: Purpose<'_>, response: Response) -> Error {
    refusal_and_region(purpose, response, None).await.0
}

/// The same, and the region that it names: S3 says so of a bucket that is in another than the one that was asked.
pub(in crate::sources) async fn refusal_and_region(
    purpose: Purpose<'_>,
    response: Response,
    login: Option<&Authorization>,
) -> (Error, Option<String>) {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let elsewhere = response.headers().get(LOCATION).and_then(|to| url::Url::parse(to.to_str().ok()?).ok());
    let elsewhere = elsewhere.map(|url| url.origin().ascii_serialization());
    let (challenges, response_date) = (Challenge::all(response.headers()), date(response.headers()));
    let region = response.headers().get("x-amz-bucket-region").and_then(|name| name.to_str().ok()).map(str::to_owned);
    // Azure says it in a header too, since an answer to HEAD has no body.
    let header = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(str::to_owned);
    let body = collect(response, MAX_REFUSAL_BYTES, || ()).await.unwrap_or_default();
    let said = Element::parse(&body).ok();
    let region = region.or_else(|| said.as_ref()?.text_of("Region").map(str::to_owned));
    let region = region.filter(|region| is_scheme(region));
    let code = said.as_ref().and_then(|error| error.text_of("Code")).or(header.as_deref()).unwrap_or_default();
    let skew = skew(code, response_date);
    let kind = match kind_of(status, code) {
        _ if skew.is_some() => ErrorKind::Unreachable,
        // A lock says nothing of who may list a directory: what is known of it counts on.
        _ if status == StatusCode::LOCKED && purpose.op == "list_path" => ErrorKind::Protocol,
        kind => kind,
    };
    let mut words = format!("{}: the server answered {}", kind.describe(), status.as_u16());
    if let Some(reason) = status.canonical_reason() {
        words += &format!(" {reason}");
    }
    if !code.is_empty() && code.len() < 64 && code.bytes().all(|b| b.is_ascii_alphanumeric()) {
        words += &format!(" ({code})");
    }
    if let Some(skew) = skew {
        words += &format!(
            "; the clock of this computer is {skew} the server's, which takes that for a forgery: set it right"
        );
    }
    if is_archived(code) {
        words += "; the object is archived: restore it at the store before it can be read";
    }
    if status == StatusCode::LOCKED {
        words += "; another program has locked the file on the server";
    }
    if kind == ErrorKind::Unreachable && status == StatusCode::NOT_FOUND {
        words += "; check the name of the bucket or container";
    }
    if kind == ErrorKind::Unauthenticated
        && let Some(why) = unmet(&challenges, login)
    {
        words += &format!("; {why}");
    }
    if let Some(elsewhere) = elsewhere.filter(|_| status.is_redirection()) {
        words += &format!("; it points to {elsewhere}: are the source's settings right?");
    }
    let error = purpose.error(kind).because(words);
    let error = match wait {
        Some(wait) => error.retry_after(wait),
        None => error,
    };
    (error, region)
}

/// How far the clock of this computer is from that of a store which refuses a request; none where that is not why.
fn skew(code: &str, theirs: Option<i64>) -> Option<String> {
    let is_of_clock = matches!(code, "RequestTimeTooSkewed" | "RequestExpired");
    if !is_of_clock && !matches!(code, "AuthenticationFailed" | "SignatureDoesNotMatch") {
        return None;
    }
    let ahead = local_clock() - theirs?;
    let minutes = ahead.unsigned_abs() / 60;
    // So much is allowed by Amazon and by Azure.
    let is_far = ahead.unsigned_abs() > MAX_SKEW.as_secs();
    (is_of_clock || is_far).then(|| format!("{minutes} minutes {}", if ahead < 0 { "behind" } else { "ahead of" }))
}

/// Whether a store refuses an object because it lies in its archive (Glacier, Azure's archive tier).
fn is_archived(code: &str) -> bool {
    matches!(code, "InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated")
}

/// What a server that refuses a login wants instead, if it says so.
fn unmet(challenges: &[Challenge], login: Option<&Authorization>) -> Option<String> {
    let is_known = |challenge: &Challenge| ["basic", "bearer", "digest"].iter().any(|scheme| challenge.is(scheme));
    if challenges.iter().any(is_known) {
        return login.and_then(|login| login.explain(challenges));
    }
    let schemes: Vec<_> = challenges.iter().map(Challenge::scheme).filter(|scheme| is_scheme(scheme)).collect();
    let wanted = (!schemes.is_empty()).then(|| schemes.join(" or "))?;
    Some(format!("it wants {wanted}, of which only Basic, Digest and Bearer are known here"))
}

/// Whether a word from a server can be a scheme or a region, and so be repeated.
fn is_scheme(word: &str) -> bool {
    (1..=24).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok().or_else(|| u64::try_from(http_date(text)? - local_clock()).ok())?;
    Some(Duration::from_secs(seconds))
}

fn kind_of(status: StatusCode, code: &str) -> ErrorKind {
    match code {
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        // Stores that take signed requests only say these of one that is not, some with 400 (MinIO and its kin, rclone).
        | "UnsupportedAlgorithm"
        | "MissingAuthenticationToken"
        | "MissingFields"
        | "MissingSecurityHeader"
        | "MissingSecurityElement"
        | "CredMalformed"
        | "CredentialsNotSupported"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "AuthenticationRequired"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "NoAuthenticationInformation"
        | "PublicAccessNotPermitted" => return ErrorKind::Unauthenticated,
        code if is_archived(code) => return ErrorKind::Other,
        "SlowDown" | "ServerBusy" => return ErrorKind::RateLimited,
        // Everything that the source showed was in the bucket: that is an outage, not a deletion.
        "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" => return ErrorKind::Unreachable,
        _ => {}
    }
    match status.as_u16() {
        401 | 407 => ErrorKind::Unauthenticated,
        403 | 423 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        // 416: the file has become shorter than the range that was asked for.
        412 | 416 => ErrorKind::Changed,
        408 => ErrorKind::TimedOut,
        429 | 503 => ErrorKind::RateLimited,
        405 | 501 => ErrorKind::Unsupported,
        500.. => ErrorKind::Unreachable,
        _ => ErrorKind::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::path::RemotePath;
    use crate::source::budget::{LARGE_BYTES, gathering};

    #[tokio::test]
    async fn a_large_answer_that_is_read_as_a_whole_waits_for_its_turn() {
        let (begun, begin) = oneshot::channel();
        let (over, end) = oneshot::channel::<()>();
        let other = tokio::spawn(gathering(async {
            await_turn(LARGE_BYTES + 1).await;
            begun.send(()).expect("the test waits");
            let _ = end.await;
        }));
        begin.await.expect("it has its turn");
        let root = RemotePath::root();
        let purpose = Purpose { op: "list_path", path: &root };
        let response = || http::Response::new(vec![b'x'; LARGE_BYTES + 1]).into();
        let mut answer = Box::pin(gathering(whole(purpose, response())));
        assert!((&mut answer).now_or_never().is_none());
        assert!(whole(purpose, response()).await.is_ok(), "what is no listing waits for nobody");
        over.send(()).expect("it waits");
        assert_eq!(answer.await.map(|body| body.len()).ok(), Some(LARGE_BYTES + 1));
        other.await.expect("it ends");
    }

    /// What is told of a refusal with this code, whose date is so many seconds after ours.
    async fn refused(code: &str, ahead: i64) -> (ErrorKind, String) {
        refused_with(403, code, ahead).await
    }

    async fn refused_with(status: u16, code: &str, ahead: i64) -> (ErrorKind, String) {
        let date = jiff::Timestamp::from_second(local_clock() + ahead).expect("a time");
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let answer = http::Response::builder().status(status).header(DATE, date);
        let answer = answer.body(format!("<Error><Code>{code}</Code></Error>")).expect("an answer");
        let root = RemotePath::root();
        let error = refusal(Purpose { op: "list_path", path: &root }, answer.into()).await;
        (error.kind(), error.to_string())
    }

    #[tokio::test]
    async fn a_clock_that_is_wrong_is_told_and_not_the_key() {
        let (kind, told) = refused("RequestTimeTooSkewed", 3630).await;
        assert_eq!(kind, ErrorKind::Unreachable);
        assert!(told.contains("the clock of this computer is 60 minutes behind the server's"), "{told}");
        let (kind, told) = refused("AuthenticationFailed", -7230).await;
        assert_eq!(kind, ErrorKind::Unreachable);
        assert!(told.contains("120 minutes ahead of the server's"), "{told}");
        let (kind, told) = refused("AuthenticationFailed", 60).await;
        assert_eq!(kind, ErrorKind::Unauthenticated);
        assert!(!told.contains("clock"), "{told}");
    }

    #[tokio::test]
    async fn an_archived_object_is_no_matter_of_rights() {
        for code in ["InvalidObjectState", "BlobArchived"] {
            let (kind, told) = refused(code, 0).await;
            assert_eq!(kind, ErrorKind::Other);
            assert!(told.contains("restore it at the store"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_login_is_refused_whatever_the_status_says() {
        for code in ["UnsupportedAlgorithm", "MissingFields", "CredentialsNotSupported", "InvalidAuthenticationInfo"] {
            let (kind, told) = refused_with(400, code, 0).await;
            assert_eq!(kind, ErrorKind::Unauthenticated, "{told}");
        }
        assert_eq!(refused_with(400, "KeyTooLongError", 0).await.0, ErrorKind::Protocol);
    }

    #[tokio::test]
    async fn stores_tell_a_refused_object_from_a_refused_key() {
        for code in ["AccessDenied", "AllAccessDisabled", "AuthorizationPermissionMismatch", ""] {
            assert_eq!(refused(code, 0).await.0, ErrorKind::PermissionDenied, "{code}");
        }
        for code in ["SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "AuthenticationFailed"] {
            assert_eq!(refused(code, 0).await.0, ErrorKind::Unauthenticated, "{code}");
        }
    }

    #[tokio::test]
    async fn a_locked_file_is_refused_and_a_locked_directory_is_as_it_was() {
        for (op, wanted) in [("retrieve_file", ErrorKind::PermissionDenied), ("list_path", ErrorKind::Protocol)] {
            let answer = http::Response::builder().status(StatusCode::LOCKED).body("").expect("an answer");
            let error = refusal(Purpose { op, path: &RemotePath::root() }, answer.into()).await;
            assert_eq!(error.kind(), wanted, "{op}");
            assert!(error.to_string().contains("another program has locked the file on the server"), "{error}");
        }
    }

    #[test]
    fn fuzz_retry_after() {
        let corpus = Corpus::of("times");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let bytes = corpus.bytes(input);
            let _ = retry_after(&String::from_utf8_lossy(&bytes));
        });
    }
}
