//! `Server`: answers browsers and Prometheus, within limits. What they are told is made elsewhere.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
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
use tokio::sync::OnceCell;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{interval, sleep};
use tracing::{debug, warn};

use super::guard::{self, Token};
use super::metrics;
use super::page::{self, Page};
use super::peer;
use super::sample::Samples;
use super::seats::{Seat, Seats, Stage};
use super::token::Tokens;
use crate::config::WebConfig;
use crate::error::Result;
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
            tokens: config.token.clone().map(Tokens::of),
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
    /// Where there is a token.
    tokens: Option<Tokens>,
    owner: u32,
}

impl Shared {
    /// The configured token, if there is one.
    async fn token(&self) -> Result<Option<Token>> {
        match &self.tokens {
            Some(tokens) => tokens.now().await.map(Some),
            None => Ok(None),
        }
    }
}

/// Whether a server could begin to listen where the configuration says. Nobody is answered.
///
/// # Errors
/// Nothing can listen there, or something does already.
pub fn try_address(config: &WebConfig) -> io::Result<()> {
    TcpListener::bind(config.listen).map(drop)
}

/// The address of the page of a server that listens there, as this machine's browsers can open it.
pub fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}/", SocketAddr::new(ip, address.port()))
}

/// The two ends of a connection, and whose the other one is, once that was wanted.
struct Ends {
    here: SocketAddr,
    there: SocketAddr,
    user: OnceCell<Option<u32>>,
    seat: Arc<Seat>,
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
    let mut seats = Seats::new(MAX_CONNECTIONS);
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
        if !seats.make_room() {
            let _ = stream.try_write(BUSY);
            continue;
        }
        let seat = Arc::new(Seat::default());
        let (shared, taken) = (shared.clone(), seat.clone());
        let task = connections.spawn(async move {
            if let Err(e) = converse(stream, there, taken, shared).await {
                debug!("web: {e}");
            }
        });
        seats.take(seat, task);
    }
}

/// Answers one client until it has gone, or does not read.
async fn converse(
    stream: TcpStream,
    there: SocketAddr,
    seat: Arc<Seat>,
    shared: Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    set_socket_send_buffer_size(&stream, UNREAD_BYTES)?;
    set_tcp_user_timeout(&stream, u32::try_from(UNREAD_TIMEOUT.as_millis())?)?;
    let ends = Arc::new(Ends { here: stream.local_addr()?, there, user: OnceCell::new(), seat });
    let service = service_fn(move |request| {
        let (shared, ends) = (shared.clone(), ends.clone());
        async move { Ok::<_, Infallible>(answer(&shared, &ends, &request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).max_buf_size(MAX_HEAD);
    // A client may say that it sends no more before it has its answer.
    server.half_close(true);
    Ok(server.serve_connection(TokioIo::new(stream), service).await?)
}

/// Answers a request that may be answered: the cases of [`guard`].
async fn answer(shared: &Arc<Shared>, ends: &Ends, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let host = match guard::host(request) {
        Ok(host) => host,
        Err(malformed) => return words(StatusCode::BAD_REQUEST, malformed),
    };
    let refuse = |why| match path {
        "/" if shared.tokens.is_some() => document(StatusCode::FORBIDDEN, page::asking_for_token()),
        _ => words(StatusCode::FORBIDDEN, why),
    };
    if let Err(refused) = guard::check_site(request.headers(), host.as_ref()) {
        return refuse(refused);
    }
    let token = match shared.token().await {
        Ok(token) => token,
        Err(error) => {
            warn!("web: {error}");
            return words(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token of [web] cannot be had; the mount's log says why",
            );
        }
    };
    let allowed = match token {
        Some(token) => guard::check_token(request.headers(), request.uri(), token),
        None => match guard::check_name(host.as_ref()) {
            Ok(()) => guard::check_user(ends.user().await, shared.owner),
            refused => refused,
        },
    };
    if let Err(refused) = allowed {
        return refuse(refused);
    }
    ends.seat.note(Stage::LetIn);
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
        "/events" => {
            ends.seat.note(Stage::Follows);
            response(StatusCode::OK, "text/event-stream", events(shared.clone(), token))
        }
        _ => words(StatusCode::NOT_FOUND, "there are /, /events, /status.json and /metrics"),
    }
}

/// The status every second, as server-sent events, for as long as the client reads them and `token` is the configured one.
fn events(shared: Arc<Shared>, token: Option<Token>) -> Body {
    let told = stream::unfold((interval(EVERY), shared), move |(mut ticks, shared)| async move {
        ticks.tick().await;
        if shared.token().await.ok()? != token {
            return None;
        }
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
