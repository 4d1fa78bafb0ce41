//! `Proxy`: a TCP link between a source and its server that can be slow, narrow, silent, cut or refused. Of protocols it knows how FTP tells
//! of further connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::listener::Listener;

/// What happens to bytes on their way from the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// How long a byte takes, each way: half a round trip.
    pub delay: Duration,
    /// Bytes per second and connection, from the server.
    pub bandwidth: Option<u64>,
    /// Bytes per second of all connections together, from the server.
    pub line: Option<u64>,
    /// Nothing more comes from the server once so many bytes have been [delivered](Proxy::delivered), until the link is another.
    pub until: Option<u64>,
    /// What happens to each connection after so many bytes from the server.
    pub fate: Option<(u64, Fate)>,
    /// Connections are refused, or rather closed at once.
    pub refuses: bool,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// As if a machine on the way had lost its memory.
    Reset,
    /// As if the server had said all.
    Close,
    /// Nothing more comes, and nothing is said.
    Stall,
}

/// A proxy on a free port of its own; ends with the test.
#[derive(Debug)]
pub struct Proxy {
    listener: Listener,
    shared: Arc<Shared>,
}

/// Who spoke how often since somebody began to count.
#[derive(Debug, Default)]
struct Turns {
    /// How often the source spoke without having been answered since.
    asked: u64,
    /// The server has said something that the source has not replied to.
    answered: bool,
    /// Bytes that came from the server.
    bytes: u64,
    /// `asked` when there were first more than [`CONTENT`] of them.
    until_content: Option<u64>,
    /// The number of bytes that [`Proxy::count_turns_until`] waits for.
    wanted: u64,
    /// `asked` when there were first so many of them.
    until_wanted: Option<u64>,
}

/// How the first line of an HTTP request ends.
const REQUEST: &[u8] = b" HTTP/1.1\r\n";

/// How a request begins that is sent for the sake of its connection. The only other one like it asks whether the root of a web directory is there.
const PRECONNECT: &[u8] = b"HEAD / HTTP/1.1\r\n";

/// More bytes than servers need for saying anything but content.
const CONTENT: u64 = 8 * 1024;

#[derive(Debug, Default)]
struct Shared {
    link: Mutex<Link>,
    turns: Mutex<Turns>,
    /// When the line has sent what it was given so far.
    line_free: Mutex<Option<Instant>>,
    ended: Arc<AtomicBool>,
    delivered: AtomicU64,
    http_requests: AtomicU64,
    connections: AtomicU64,
}

impl Proxy {
    /// A link without faults to `server`, a port of this machine.
    pub fn to(server: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        let listener = Listener::new(shared.ended.clone(), move |client| {
            serving.turns.lock().unwrap().connect();
            serving.connections.fetch_add(1, Ordering::Relaxed);
            if !serving.link().refuses {
                connect(client, (Ipv4Addr::LOCALHOST, server).into(), &serving);
            }
        });
        Self { listener, shared }
    }

    /// Where a source reaches the server through the link.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// From now on, and for connections that there are.
    pub fn set(&self, link: Link) {
        *self.shared.link.lock().unwrap() = link;
    }

    /// Bytes that came from the server.
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Connections that were made to the server, or refused.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// HTTP/1.1 requests that went to the server, but for those that only open a connection: each has a line that ends like this.
    pub fn http_requests(&self) -> u64 {
        self.shared.http_requests.load(Ordering::Relaxed)
    }

    /// Counts round trips from now on.
    pub fn count_turns(&self) {
        *self.shared.turns.lock().unwrap() = Turns { answered: true, ..Turns::default() };
    }

    /// Counts round trips from now on, until so many bytes have come.
    pub fn count_turns_until(&self, wanted: u64) {
        *self.shared.turns.lock().unwrap() = Turns { answered: true, wanted, ..Turns::default() };
    }

    /// How many it took until they had come; `None` if they have not.
    pub fn turns_until_wanted(&self) -> Option<u64> {
        self.shared.turns.lock().unwrap().until_wanted
    }

    /// How many round trips it took, since the count began, until content came; `None` if none has come. What is asked before an answer
    /// has arrived belongs to the same round trip.
    pub fn turns_until_content(&self) -> Option<u64> {
        self.shared.turns.lock().unwrap().until_content
    }
}

impl Shared {
    fn link(&self) -> Link {
        *self.link.lock().unwrap()
    }

    /// The link once it lets something through.
    fn open_link(&self) -> Link {
        loop {
            let link = self.link();
            let holds = link.until.is_some_and(|most| self.delivered.load(Ordering::Relaxed) >= most);
            if !holds || self.ended.load(Ordering::Relaxed) {
                return link;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until then, or until the link is another: what a narrow one has begun to send is not held up by that any more.
    fn pass(&self, due: Instant, link: Link) {
        while self.link() == link && Instant::now() < due {
            sleep_until(due.min(Instant::now() + Duration::from_millis(50)));
        }
    }

    /// When the line has sent something that takes it so long, after everything that it was given before.
    fn send_by(&self, ready: Instant, takes: Duration) -> Instant {
        let mut free = self.line_free.lock().unwrap();
        let begins = free.map_or(ready, |free| free.max(ready));
        *free.insert(begins + takes)
    }
}

fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}

fn time(bytes: usize, per_second: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / per_second as f64)
}

impl Turns {
    /// Nothing can be asked on a connection before it is made.
    fn connect(&mut self) {
        self.asked += 1;
    }

    fn ask(&mut self) {
        self.asked += u64::from(std::mem::take(&mut self.answered));
    }

    fn answer(&mut self, bytes: u64) {
        self.answered = true;
        self.bytes += bytes;
        if self.bytes > CONTENT && self.until_content.is_none() {
            self.until_content = Some(self.asked);
        }
        if self.bytes >= self.wanted && self.until_wanted.is_none() {
            self.until_wanted = Some(self.asked);
        }
    }
}

/// One direction of a connection.
struct Way {
    shared: Arc<Shared>,
    from_server: bool,
    /// How many parts were read and are not written yet.
    waiting: AtomicUsize,
    /// `None` once nothing more can be written.
    end: Mutex<Option<End>>,
}

/// The stream that its bytes go to.
struct End {
    to: TcpStream,
    /// Bytes so far.
    sent: u64,
    /// When the last bytes were sent, as planned: a thread that wakes up late makes the link no narrower.
    free: Option<Instant>,
}

fn connect(client: TcpStream, server: SocketAddr, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(server) else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
        // So that a thread notices that the test is over.
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    }
    for (from, to, from_server) in
        [(client.try_clone().unwrap(), server.try_clone().unwrap(), false), (server, client, true)]
    {
        let end = Mutex::new(Some(End { to, sent: 0, free: None }));
        let reading = Arc::new(Way { shared: shared.clone(), from_server, waiting: AtomicUsize::new(0), end });
        let (arrived, waiting) = mpsc::channel();
        let writing = reading.clone();
        thread::spawn(move || reading.read(from, &arrived));
        thread::spawn(move || writing.write(&waiting));
    }
}

/// What tells of a further connection to an FTP server (RFC 959, reply 227), with a port that leads through this link in place of the
/// server's.
fn further_connection(bytes: &[u8], shared: &Arc<Shared>) -> Option<Vec<u8>> {
    let (words, place) = str::from_utf8(bytes.strip_prefix(b"227 ")?).ok()?.split_once("(127,0,0,1,")?;
    let (high, low) = place.split_once(')')?.0.split_once(',')?;
    let server = u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
    let shared = shared.clone();
    thread::spawn(move || {
        if let Ok((client, _)) = listener.accept() {
            connect(client, (Ipv4Addr::LOCALHOST, server).into(), &shared);
        }
    });
    Some(format!("227 {words}(127,0,0,1,{high},{low})\r\n").into_bytes())
}

impl Way {
    fn read(&self, mut from: TcpStream, arrived: &mpsc::Sender<(Instant, Vec<u8>)>) {
        let mut buffer = vec![0; 64 * 1024];
        while !self.shared.ended.load(Ordering::Relaxed) {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    let (now, bytes) = (Instant::now(), &buffer[..length]);
                    // Where nothing is to be waited for, another thread would only take time.
                    let is_free = self.waiting.load(Ordering::Acquire) == 0 && self.shared.link() == Link::default();
                    let goes_on = if is_free {
                        self.pass(now, bytes)
                    } else {
                        self.waiting.fetch_add(1, Ordering::AcqRel);
                        arrived.send((now, bytes.to_vec())).is_ok()
                    };
                    if !goes_on {
                        return;
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
        }
    }

    fn write(&self, waiting: &Receiver<(Instant, Vec<u8>)>) {
        for (arrived, bytes) in waiting {
            if !self.pass(arrived, &bytes) {
                return;
            }
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(end) = self.end.lock().unwrap().take() {
            let _ = end.to.shutdown(Shutdown::Write);
        }
    }

    /// Passes on what arrived then. Whether more can be passed on.
    fn pass(&self, arrived: Instant, bytes: &[u8]) -> bool {
        let mut place = self.end.lock().unwrap();
        let Some(end) = place.as_mut() else { return false };
        let goes_on = if self.from_server { self.answer(end, arrived, bytes) } else { self.ask(end, arrived, bytes) };
        if !goes_on {
            *place = None;
        }
        goes_on
    }

    fn ask(&self, end: &mut End, arrived: Instant, bytes: &[u8]) -> bool {
        sleep_until(arrived + self.shared.link().delay);
        self.shared.turns.lock().unwrap().ask();
        let count = |of: &[u8]| bytes.windows(of.len()).filter(|part| *part == of).count() as u64;
        self.shared.http_requests.fetch_add(count(REQUEST) - count(PRECONNECT), Ordering::Relaxed);
        end.to.write_all(bytes).is_ok()
    }

    fn answer(&self, End { to, sent, free }: &mut End, arrived: Instant, bytes: &[u8]) -> bool {
        let shared = &self.shared;
        sleep_until(arrived + shared.link().delay);
        let further = further_connection(bytes, shared);
        let bytes = further.as_deref().unwrap_or(bytes);
        let link = shared.open_link();
        let (allowed, fate) = match link.fate {
            Some((after, fate)) if *sent + bytes.len() as u64 > after => (after.saturating_sub(*sent), Some(fate)),
            _ => (bytes.len() as u64, None),
        };
        let part = &bytes[..usize::try_from(allowed).unwrap()];
        let ready = free.map_or(arrived + link.delay, |free| free.max(arrived + link.delay));
        let by_itself = ready + link.bandwidth.map_or(Duration::ZERO, |bandwidth| time(part.len(), bandwidth));
        let due = link.line.map_or(by_itself, |line| by_itself.max(shared.send_by(ready, time(part.len(), line))));
        shared.pass(due, link);
        // A link that was replaced meanwhile is free now.
        *free = Some(due.min(Instant::now()));
        shared.turns.lock().unwrap().answer(allowed);
        if to.write_all(part).is_err() {
            return false;
        }
        *sent += allowed;
        shared.delivered.fetch_add(allowed, Ordering::Relaxed);
        match fate {
            None => return true,
            Some(Fate::Stall) => {
                while !shared.ended.load(Ordering::Relaxed) && shared.link().fate.is_some() {
                    thread::sleep(Duration::from_millis(50));
                }
            }
            Some(Fate::Reset) => set_socket_linger(to, Some(Duration::ZERO)).unwrap(),
            Some(Fate::Close) => _ = to.shutdown(Shutdown::Both),
        }
        false
    }
}
