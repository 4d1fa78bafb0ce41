//! `Server`: answers on the socket of a mount, within limits. It knows no method.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::process::geteuid;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Duration, sleep};
use tracing::debug;

use super::place::{self, Socket};
use super::wire::{self, INVALID_REQUEST, PARSE_ERROR, Refusal, Request};

/// How many clients are answered at once.
const MAX_CONNECTIONS: usize = 32;

/// The longest request, in bytes without its end.
const MAX_REQUEST: usize = 64 << 10;

/// How long to wait where no connection can be taken, as when there are too many open files; how often to look whether a client has gone.
const PAUSE: Duration = Duration::from_millis(100);

/// Does what clients ask for.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Carries out a request; dropped when its client has gone. On the way to the end it may tell things.
    async fn answer(&self, request: &Request, telling: &mut Telling) -> Result<Value, Refusal>;
}

/// The way to one client. What it does not read, nobody keeps: whoever tells waits for it.
pub struct Telling(OwnedWriteHalf);

impl Telling {
    /// Tells something on the way to the end of a request.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn tell(&mut self, method: &str, params: &impl Serialize) -> io::Result<()> {
        self.write(wire::told(method, params)).await
    }

    async fn write(&mut self, line: Vec<u8>) -> io::Result<()> {
        self.0.write_all(&line).await
    }
}

/// Answers until it is dropped; then the socket is gone, and every connection is closed.
pub struct Server {
    accepting: AbortHandle,
    _socket: Socket,
}

impl Server {
    /// Begins to answer for the mount whose FUSE connection has this number.
    ///
    /// # Errors
    /// There is no place for a socket.
    pub fn start(runtime: &Handle, mount: u32, service: Arc<dyn Service>) -> io::Result<Self> {
        let (listener, socket) = place::listen(mount)?;
        let _guard = runtime.enter();
        let listener = UnixListener::from_std(listener)?;
        let accepting = runtime.spawn(accept(listener, service)).abort_handle();
        Ok(Self { accepting, _socket: socket })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, service: Arc<dyn Service>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                debug!("control: no connection can be taken: {e}");
                sleep(PAUSE).await;
                continue;
            }
        };
        if !is_allowed(&stream) {
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            let refusal = Refusal::new(INVALID_REQUEST, format!("{MAX_CONNECTIONS} clients are connected already"));
            let _ = stream.try_write(&wire::end(&Value::Null, Err(refusal)));
            continue;
        };
        let service = service.clone();
        connections.spawn(async move {
            let _place = place;
            if let Err(e) = converse(stream, &*service).await {
                debug!("control: {e}");
            }
        });
    }
}

/// Whether the other end is a process of this user or of root.
fn is_allowed(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| may_ask(peer.uid(), geteuid().as_raw()))
}

fn may_ask(user: u32, owner: u32) -> bool {
    user == owner || user == 0
}

/// Answers one client until it has gone.
async fn converse(stream: UnixStream, service: &dyn Service) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let (mut reader, mut telling) = (BufReader::new(reader), Telling(writer));
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut reader).take(MAX_REQUEST as u64 + 1).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            if line.len() > MAX_REQUEST {
                let refusal = Refusal::new(INVALID_REQUEST, format!("a request has at most {MAX_REQUEST} bytes"));
                telling.write(wire::end(&Value::Null, Err(refusal))).await?;
            }
            return Ok(());
        }
        let request = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => request,
            Err(e) => {
                let refusal = Refusal::new(PARSE_ERROR, format!("this is no request of JSON-RPC: {e}"));
                telling.write(wire::end(&Value::Null, Err(refusal))).await?;
                continue;
            }
        };
        let result = tokio::select! {
            result = service.answer(&request, &mut telling) => result,
            () = gone(&mut reader) => return Ok(()),
        };
        telling.write(wire::end(&request.id, result)).await?;
    }
}

/// Returns when the client has gone. The next request, which may be there already, is not read. A client that will ask nothing more, and has
/// closed that direction only, is still there.
async fn gone(reader: &mut BufReader<OwnedReadHalf>) {
    match reader.fill_buf().await {
        Ok(read) if !read.is_empty() => std::future::pending().await,
        Ok(_) => {}
        Err(_) => return,
    }
    // Without a stream that can be asked, nobody is there either.
    while reader.get_ref().ready(Interest::WRITABLE).await.is_ok_and(|ready| !ready.is_write_closed()) {
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// Echoes, tells without end, answers late, or waits for its client to go.
    #[derive(Default)]
    struct Echo {
        told: std::sync::atomic::AtomicUsize,
        began: Notify,
        dropped: Arc<Notify>,
    }

    #[async_trait]
    impl Service for Echo {
        async fn answer(&self, request: &Request, telling: &mut Telling) -> Result<Value, Refusal> {
            match &*request.method {
                "echo" => Ok(request.params.clone()),
                "flood" => loop {
                    telling.tell("flood", &"x".repeat(64 << 10)).await?;
                    self.told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                },
                "later" => {
                    sleep(PAUSE * 2).await;
                    Ok(json!("late"))
                }
                _ => {
                    let dropped = self.dropped.clone();
                    let _guard = scopeguard::guard((), |()| dropped.notify_one());
                    self.began.notify_one();
                    std::future::pending().await
                }
            }
        }
    }

    /// A server of `service`, and the address that it has in a directory of its own.
    fn serving(service: Arc<dyn Service>) -> (tempfile::TempDir, std::path::PathBuf, AbortHandle) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let task = tokio::spawn(accept(listener, service)).abort_handle();
        (dir, path, task)
    }

    async fn line(reader: &mut BufReader<UnixStream>) -> Value {
        let mut line = String::new();
        timeout(SOON, reader.read_line(&mut line)).await.expect("soon").expect("it can be read");
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    #[test]
    fn only_the_owner_and_root_may_ask() {
        assert!(may_ask(1000, 1000) && may_ask(0, 1000) && may_ask(0, 0));
        assert!(!may_ask(1001, 1000) && !may_ask(1000, 0));
    }

    #[tokio::test]
    async fn requests_are_answered_one_after_another_and_nonsense_is_refused() {
        let (_dir, path, _task) = serving(Arc::new(Echo::default()));
        let mut client = BufReader::new(UnixStream::connect(&path).await.expect("it listens"));
        client.write_all(&wire::request(1, "echo", json!([1]))).await.expect("written");
        client.write_all(b"hello\n").await.expect("written");
        client.write_all(&wire::request(2, "echo", json!([2]))).await.expect("written");
        assert_eq!(line(&mut client).await, json!({"jsonrpc": "2.0", "id": 1, "result": [1]}));
        assert_eq!(line(&mut client).await["error"]["code"], PARSE_ERROR);
        assert_eq!(line(&mut client).await, json!({"jsonrpc": "2.0", "id": 2, "result": [2]}));
    }

    #[tokio::test]
    async fn a_request_without_end_is_refused_and_its_connection_closed() {
        let (_dir, path, _task) = serving(Arc::new(Echo::default()));
        let mut client = BufReader::new(UnixStream::connect(&path).await.expect("it listens"));
        client.write_all(&vec![b'x'; MAX_REQUEST + 1]).await.expect("written");
        assert_eq!(line(&mut client).await["error"]["code"], INVALID_REQUEST);
        assert_eq!(line(&mut client).await, Value::Null, "the end");
    }

    #[tokio::test]
    async fn one_client_too_many_is_told_so_and_there_is_room_again_when_one_goes() {
        let (_dir, path, _task) = serving(Arc::new(Echo::default()));
        let mut clients = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut client = BufReader::new(UnixStream::connect(&path).await.expect("it listens"));
            client.write_all(&wire::request(1, "echo", json!(1))).await.expect("written");
            assert_eq!(line(&mut client).await["result"], 1);
            clients.push(client);
        }
        let mut more = BufReader::new(UnixStream::connect(&path).await.expect("it listens"));
        assert_eq!(line(&mut more).await["error"]["code"], INVALID_REQUEST);
        clients.pop();
        let asked = async {
            loop {
                let mut client = BufReader::new(UnixStream::connect(&path).await.expect("it listens"));
                // A server that refuses closes at once.
                let _ = client.write_all(&wire::request(1, "echo", json!(1))).await;
                if line(&mut client).await["result"] == 1 {
                    break;
                }
            }
        };
        timeout(SOON, asked).await.expect("there is room again");
    }

    #[tokio::test]
    async fn what_a_client_does_not_read_is_not_kept() {
        let echo = Arc::new(Echo::default());
        let (_dir, path, _task) = serving(echo.clone());
        let mut client = UnixStream::connect(&path).await.expect("it listens");
        client.write_all(&wire::request(1, "flood", Value::Null)).await.expect("written");
        let told = || echo.told.load(std::sync::atomic::Ordering::Relaxed);
        let mut before = usize::MAX;
        // It stands still when the socket is full (net.core.wmem_max), and goes on when somebody reads.
        while told() != before || before == 0 {
            before = told();
            sleep(Duration::from_millis(50)).await;
        }
        let mut some = vec![0; 1 << 20];
        timeout(SOON, client.read_exact(&mut some)).await.expect("soon").expect("it is told");
        let goes_on = async {
            while told() == before {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, goes_on).await.expect("it goes on");
    }

    #[tokio::test]
    async fn the_request_of_a_client_that_goes_is_dropped() {
        let echo = Arc::new(Echo::default());
        let (_dir, path, _task) = serving(echo.clone());
        let mut client = UnixStream::connect(&path).await.expect("it listens");
        client.write_all(&wire::request(1, "wait", Value::Null)).await.expect("written");
        timeout(SOON, echo.began.notified()).await.expect("it is under way");
        drop(client);
        timeout(SOON, echo.dropped.notified()).await.expect("it is dropped");
    }

    #[tokio::test]
    async fn a_client_that_asks_nothing_more_gets_its_answers() {
        let (_dir, path, _task) = serving(Arc::new(Echo::default()));
        let mut client = UnixStream::connect(&path).await.expect("it listens");
        client.write_all(&wire::request(1, "later", json!(1))).await.expect("written");
        client.shutdown().await.expect("shut");
        let mut client = BufReader::new(client);
        assert_eq!(line(&mut client).await["result"], "late");
        assert_eq!(line(&mut client).await, Value::Null, "the end");
    }

    #[tokio::test]
    async fn the_end_of_the_server_closes_every_connection() {
        let echo = Arc::new(Echo::default());
        let (_dir, path, task) = serving(echo.clone());
        let mut client = BufReader::new(UnixStream::connect(&path).await.expect("it listens"));
        client.write_all(&wire::request(1, "wait", Value::Null)).await.expect("written");
        timeout(SOON, echo.began.notified()).await.expect("it is under way");
        task.abort();
        assert_eq!(line(&mut client).await, Value::Null, "the end");
    }
}
