//! `Server`: answers browsers and Prometheus, within limits. What they are told is made elsewhere.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout};
use rustix::process::geteuid;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{interval, sleep};
use tracing::{debug, warn};

use super::guard::{self, Refused, Token};
use super::metrics;
use super::page::{self, Page};
use super::peer;
use super::sample::Samples;
use crate::config::WebConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::status::Report;

/// How many clients are connected at once.
const MAX_CONNECTIONS: usize = 32;

/// How long a client may take for its next request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may leave unread what it is sent, and how many bytes of it the kernel keeps meanwhile.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);
const UNREAD_BYTES: usize = 256 << 10;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// How long to wait where no connection can be taken, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a page is told the status.
const EVERY: Duration = Duration::from_secs(1);

/// The shortest token that cannot be guessed in a lifetime, if it is a random one.
const MIN_TOKEN_BYTES: usize = 16;

/// What one connection too many is told.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers until it is dropped; then every connection is closed.
pub struct Server {
    accepting: AbortHandle,
    address: SocketAddr,
}

impl Server {
    /// Begins to answer where the configuration says, about what `report` tells.
    ///
    /// # Errors
    /// Nothing can listen there.
    pub fn start(runtime: &Handle, config: &WebConfig, report: Arc<Report>) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let _guard = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            samples: Samples::of(move || report.now()),
            secret: config.token.clone(),
            token: OnceCell::new(),
            owner: geteuid().as_raw(),
        });
        let accepting = runtime.spawn(accept(listener, shared)).abort_handle();
        Ok(Self { accepting, address })
    }

    /// The address of the page.
    pub fn url(&self) -> String {
        url_of(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What all connections share.
struct Shared {
    samples: Samples,
    secret: Option<Secret>,
    /// That secret, once it was wanted.
    token: OnceCell<Token>,
    owner: u32,
}

impl Shared {
    /// The configured token, if there is one.
    async fn token(&self) -> Result<Option<Token>> {
        let Some(secret) = &self.secret else { return Ok(None) };
        self.token.get_or_try_init(|| reveal(secret)).await.copied().map(Some)
    }
}

async fn reveal(secret: &Secret) -> Result<Token> {
    let secret = secret.clone();
    let revealed = spawn_blocking(move || secret.reveal()).await;
    let revealed = revealed.map_err(|e| Error::new("read token", ErrorKind::Other).caused_by(e))??;
    if revealed.expose().len() < MIN_TOKEN_BYTES {
        let why = format!("the token of [web] has less than {MIN_TOKEN_BYTES} bytes, and could be guessed");
        return Err(Error::new("read token", ErrorKind::InvalidConfig).because(why));
    }
    Ok(Token::of(revealed.expose()))
}

/// Whether a server could begin to listen where the configuration says. Nobody is answered.
///
/// # Errors
/// Nothing can listen there, or something does already.
pub fn try_address(config: &WebConfig) -> io::Result<()> {
    TcpListener::bind(config.listen).map(drop)
}

/// Whether the configured token can be had, and is long enough.
///
/// # Errors
/// It is not, or could be guessed.
pub async fn try_token(token: &Secret) -> Result<()> {
    reveal(token).await.map(drop)
}

/// The address of the page of a server that listens there.
pub fn url_of(address: SocketAddr) -> String {
    format!("http://{address}/")
}

/// The two ends of a connection, and whose the other one is, once that was wanted.
struct Ends {
    here: SocketAddr,
    there: SocketAddr,
    user: OnceCell<Option<u32>>,
}

impl Ends {
    async fn user(&self) -> Option<u32> {
        let (here, there) = (self.here, self.there);
        let asked = || async move {
            let told = spawn_blocking(move || peer::user(here, there)).await.unwrap_or(Ok(None));
            told.inspect_err(|e| warn!("web: the user of a connection is not known: {e}")).unwrap_or(None)
        };
        *self.user.get_or_init(asked).await
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, there) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                debug!("web: no connection can be taken: {e}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            let _ = stream.try_write(BUSY);
            continue;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            let _place = place;
            if let Err(e) = converse(stream, there, shared).await {
                debug!("web: {e}");
            }
        });
    }
}

/// Answers one client until it has gone, or does not read.
async fn converse(
    stream: TcpStream,
    there: SocketAddr,
    shared: Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    set_socket_send_buffer_size(&stream, UNREAD_BYTES)?;
    set_tcp_user_timeout(&stream, u32::try_from(UNREAD_TIMEOUT.as_millis())?)?;
    let ends = Arc::new(Ends { here: stream.local_addr()?, there, user: OnceCell::new() });
    let service = service_fn(move |request| {
        let (shared, ends) = (shared.clone(), ends.clone());
        async move { Ok::<_, Infallible>(answer(&shared, &ends, &request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).max_buf_size(MAX_HEAD);
    Ok(server.serve_connection(TokioIo::new(stream), service).await?)
}

async fn answer(shared: &Arc<Shared>, ends: &Ends, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    match allowed(shared, ends, request).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) if path == "/" && shared.secret.is_some() => {
            return document(StatusCode::FORBIDDEN, page::asking_for_token());
        }
        Ok(Err(refused)) => return words(StatusCode::FORBIDDEN, refused),
        Err(error) => {
            warn!("web: {error}");
            return words(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token of [web] cannot be had; the mount's log says why",
            );
        }
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = words(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here: GET and HEAD only");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/" => document(StatusCode::OK, page::page()),
        "/status.json" => response(StatusCode::OK, "application/json", full(shared.samples.now().json.clone())),
        "/metrics" => {
            let text = metrics::text(shared.samples.now().status.clone());
            response(StatusCode::OK, metrics::CONTENT_TYPE, full(text))
        }
        "/events" => response(StatusCode::OK, "text/event-stream", events(shared.clone())),
        _ => words(StatusCode::NOT_FOUND, "there are /, /events, /status.json and /metrics"),
    }
}

/// Whether a request may be answered: the cases of [`guard`].
async fn allowed(shared: &Shared, ends: &Ends, request: &Request<Incoming>) -> Result<Result<(), Refused>> {
    let headers = request.headers();
    if let Err(refused) = guard::check_site(headers) {
        return Ok(Err(refused));
    }
    Ok(match shared.token().await? {
        Some(token) => guard::check_token(headers, request.uri(), token),
        None => match guard::check_name(headers) {
            Ok(()) => guard::check_user(ends.user().await, shared.owner),
            refused => refused,
        },
    })
}

/// The status every second, as server-sent events, for as long as the client reads them.
fn events(shared: Arc<Shared>) -> Body {
    let told = stream::unfold((interval(EVERY), shared), |(mut ticks, shared)| async move {
        ticks.tick().await;
        let event = shared.samples.now().event.clone();
        Some((Ok(Frame::data(event)), (ticks, shared)))
    });
    StreamBody::new(told).boxed_unsync()
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed_unsync()
}

fn words(status: StatusCode, text: &str) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", full(format!("{text}\n")))
}

fn document(status: StatusCode, page: &Page) -> Response<Body> {
    let mut response = response(status, "text/html; charset=utf-8", full(page.html.clone()));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, page.policy.clone());
    response
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let nothing = "default-src 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, nothing),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (http::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
