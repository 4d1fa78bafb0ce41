//! `Liar`: a server that tells the truth about the files of one directory until a test has it lie. It speaks WebDAV, S3 and plain HTTP. An S3
//! server takes files too, whatever their conditions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use md5::{Digest as _, Md5};
use rustix::net::sockopt::set_socket_linger;

use super::files::hex;
use super::listener::Listener;

/// When everything was last changed, in seconds since 1970 and as HTTP writes it.
const MODIFIED: (u64, &str) = (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
/// So many names are on a page of an S3 listing, or on one of a large listing.
const PAGE: usize = 40;
const LARGE_PAGE: usize = 1000;

/// What the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// WebDAV.
    Webdav,
    /// S3 whose tags are no hashes.
    S3,
    /// S3 whose tags are the MD5 of the bytes.
    Hashes,
    /// Plain HTTP with index pages for people.
    Html,
    /// Plain HTTP with indexes as nginx writes them in JSON.
    Json,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// The directory, or its first page.
    Listing,
    /// A further page of the directory.
    NextPage,
    /// Which version a file has.
    Version,
    /// Bytes of a file.
    Bytes,
    /// A file that is put, replaced or removed.
    Change,
}

/// An answer, true until somebody changes it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    headers: Vec<(&'static str, String)>,
    /// What follows the headers.
    pub body: Vec<u8>,
    /// How it ends.
    pub end: End,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// With its last byte.
    Whole,
    /// After so many bytes of its body, as if that were all.
    Close(usize),
    /// After so many bytes of its body, as if a machine on the way had lost its memory.
    Reset(usize),
    /// After so many bytes of its body, nothing more comes.
    Stall(usize),
}

impl Answer {
    /// Sets a header, or takes it away.
    pub fn header(&mut self, name: &'static str, value: Option<&str>) {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.extend(value.map(|value| (name, value.to_owned())));
    }

    /// The value of a header; empty if there is none.
    pub fn value(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    /// A refusal without further words.
    pub fn refuse(&mut self, status: u16) {
        *self = Self::empty(status);
    }

    fn empty(status: u16) -> Self {
        Self { status, headers: vec![("Content-Length", "0".into())], body: Vec::new(), end: End::Whole }
    }

    /// Another body.
    pub fn say(&mut self, body: &[u8]) {
        self.body = body.to_vec();
        self.header("Content-Length", Some(&body.len().to_string()));
    }
}

/// How a test changes answers.
pub type Lie = Box<dyn Fn(For, &mut Answer) + Send + Sync>;

/// A server on a free port; ends with the test.
pub struct Liar {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    speaks: Speaks,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    lie: Mutex<Arc<Lie>>,
    /// Goes up with every change of the lie, which ends stalls.
    lies: AtomicU64,
    ended: Arc<AtomicBool>,
}

impl Liar {
    /// A server that tells the truth about these files.
    pub fn speaking(speaks: Speaks, files: BTreeMap<String, Vec<u8>>) -> Self {
        let truth: Lie = Box::new(|_, _| ());
        let (lie, lies, ended) = (Mutex::new(Arc::new(truth)), AtomicU64::default(), Arc::default());
        let shared = Arc::new(Shared { speaks, files: Mutex::new(files), lie, lies, ended });
        let serving = shared.clone();
        let listener = Listener::new(shared.ended.clone(), move |client| {
            let serving = serving.clone();
            // Whoever goes away in the middle is no failure of the test.
            thread::spawn(move || serving.serve(client));
        });
        Self { listener, shared }
    }

    /// From now on every answer goes through this.
    pub fn lie(&self, lie: impl Fn(For, &mut Answer) + Send + Sync + 'static) {
        *self.shared.lie.lock().unwrap() = Arc::new(Box::new(lie));
        self.shared.lies.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts or replaces a file.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.shared.files.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }

    /// From now on every answer is true.
    pub fn tell_the_truth(&self) {
        self.lie(|_, _| ());
    }

    /// Where the server is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listener.port())
    }

    /// The table of a source that shows the directory, in TOML.
    pub fn table(&self) -> String {
        let url = self.url();
        match self.shared.speaks {
            Speaks::Webdav => format!("type = \"webdav\"\nendpoint = \"{url}\"\n"),
            Speaks::S3 | Speaks::Hashes => format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"bucket\"\n"),
            Speaks::Html | Speaks::Json => format!("type = \"http\"\nurl = \"{url}/\"\n"),
        }
    }
}

/// A request as far as it matters.
struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(from: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.trim_start_matches('/').to_owned(), query.to_owned());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = Vec::new();
        from.take(length).read_to_end(&mut body).ok()?;
        Some(Self { method, path, query, headers, body })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> Option<()> {
        client.set_nodelay(true).unwrap();
        let mut requests = BufReader::new(client.try_clone().unwrap());
        let mut client = client;
        loop {
            let request = Request::read(&mut requests)?;
            if request.method == "HEAD" && request.path.is_empty() {
                // It only opens a connection.
                client.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n").ok()?;
                continue;
            }
            let (what, mut answer) = self.truth(&request);
            let (lies, lie) = (self.lies.load(Ordering::Relaxed), self.lie.lock().unwrap().clone());
            lie(what, &mut answer);
            if what == For::Change && answer.status < 300 {
                self.change(&request);
            }
            let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
            for (name, value) in &answer.headers {
                write!(head, "{name}: {value}\r\n").unwrap();
            }
            client.write_all(format!("{head}\r\n").as_bytes()).ok()?;
            let body = if request.method == "HEAD" { &[] } else { answer.body.as_slice() };
            let upto = |length: usize| &body[..length.min(body.len())];
            match answer.end {
                End::Whole => client.write_all(body).ok()?,
                End::Close(after) => return client.write_all(upto(after)).ok(),
                End::Reset(after) => {
                    client.write_all(upto(after)).ok()?;
                    // What is on its way still arrives.
                    thread::sleep(Duration::from_millis(20));
                    return set_socket_linger(&client, Some(Duration::ZERO)).ok();
                }
                End::Stall(after) => {
                    client.write_all(upto(after)).ok()?;
                    while lies == self.lies.load(Ordering::Relaxed) && !self.ended.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(20));
                    }
                    return None;
                }
            }
            if answer.value("Content-Length").is_empty() {
                return Some(());
            }
        }
    }

    fn change(&self, request: &Request) {
        let (mut files, path) = (self.files.lock().unwrap(), self.path(request).to_owned());
        match request.method.as_str() {
            "PUT" => files.insert(path, request.body.clone()),
            _ => files.remove(&path),
        };
    }

    /// The name that a request is about; empty for the directory.
    fn path<'a>(&self, request: &'a Request) -> &'a str {
        match self.speaks {
            Speaks::S3 | Speaks::Hashes => {
                request.path.strip_prefix("bucket").unwrap_or_default().trim_start_matches('/')
            }
            _ => &request.path,
        }
    }

    fn truth(&self, request: &Request) -> (For, Answer) {
        let path = self.path(request);
        if matches!(self.speaks, Speaks::S3 | Speaks::Hashes) && matches!(&*request.method, "PUT" | "DELETE") {
            return (For::Change, Answer::empty(if request.method == "PUT" { 200 } else { 204 }));
        }
        let files = self.files.lock().unwrap();
        let (what, content_type, body) = match (files.get(path), self.speaks) {
            (Some(bytes), Speaks::Webdav) if request.method == "PROPFIND" => {
                (For::Version, "application/xml", multistatus(&resource(path, bytes)))
            }
            (Some(bytes), _) => return self.file(request, bytes),
            (None, Speaks::S3 | Speaks::Hashes) if request.query.contains("list-type") => {
                let token = request.parameter("continuation-token");
                let what = if token.is_some() { For::NextPage } else { For::Listing };
                (what, "application/xml", self.page(&files, token.map_or(0, |token| token.parse().unwrap())))
            }
            (None, _) if !path.is_empty() => {
                return (For::Version, Answer::empty(404));
            }
            (None, Speaks::Webdav) => {
                let files: String = files.iter().map(|(name, bytes)| resource(name, bytes)).collect();
                let all = if request.headers.get("depth").is_some_and(|depth| depth == "0") { "" } else { &files };
                let directory = "<D:response><D:href>/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/>\
                    </D:resourcetype></D:prop></D:propstat></D:response>";
                (For::Listing, "application/xml", multistatus(&format!("{directory}{all}")))
            }
            (None, Speaks::S3 | Speaks::Hashes | Speaks::Html) => {
                let links: String = files.keys().map(|name| format!("<a href=\"{name}\">{name}</a>\n")).collect();
                let title = "<title>Index of /</title></head><body>";
                (For::Listing, "text/html", format!("<html><head>{title}\n{links}</body></html>"))
            }
            (None, Speaks::Json) => {
                let items = files.iter().map(|(name, bytes)| {
                    let (size, time) = (bytes.len(), MODIFIED.1);
                    format!("{{\"name\":\"{name}\",\"type\":\"file\",\"mtime\":\"{time}\",\"size\":{size}}}")
                });
                let items: Vec<_> = items.collect();
                (For::Listing, "application/json", format!("[{}]", items.join(",\n")))
            }
        };
        let status = if self.speaks == Speaks::Webdav { 207 } else { 200 };
        let mut answer = Answer { status, headers: Vec::new(), body: Vec::new(), end: End::Whole };
        answer.header("Content-Type", Some(content_type));
        answer.say(body.as_bytes());
        (what, answer)
    }

    fn file(&self, request: &Request, bytes: &[u8]) -> (For, Answer) {
        let what = if request.method == "HEAD" { For::Version } else { For::Bytes };
        let mut answer = Answer { status: 200, headers: Vec::new(), body: Vec::new(), end: End::Whole };
        answer.header("ETag", Some(&self.tag(bytes)));
        answer.header("Last-Modified", Some(MODIFIED.1));
        answer.header("Accept-Ranges", Some("bytes"));
        let all = 0..bytes.len();
        let range = request.headers.get("range").and_then(|range| part(range, &all));
        if range.as_ref().is_some_and(|range| range.is_empty()) {
            answer.refuse(416);
            return (what, answer);
        }
        if let Some(Range { start, end }) = &range {
            answer.status = 206;
            answer.header("Content-Range", Some(&format!("bytes {start}-{}/{}", end - 1, all.end)));
        }
        answer.say(&bytes[range.unwrap_or(all)]);
        (what, answer)
    }

    fn page(&self, files: &BTreeMap<String, Vec<u8>>, from: usize) -> String {
        let mut page = String::from("<ListBucketResult><EncodingType>url</EncodingType>");
        let length = if files.len() > 100 * LARGE_PAGE { LARGE_PAGE } else { PAGE };
        for (name, bytes) in files.iter().skip(from).take(length) {
            let (tag, size) = (self.tag(bytes), bytes.len());
            write!(
                page,
                "<Contents><Key>{name}</Key><LastModified>1994-11-06T08:49:37Z</LastModified><ETag>{tag}</ETag>\
                 <Size>{size}</Size></Contents>"
            )
            .unwrap();
        }
        let more = from + length < files.len();
        write!(page, "<IsTruncated>{more}</IsTruncated>").unwrap();
        if more {
            write!(page, "<NextContinuationToken>{}</NextContinuationToken>", from + length).unwrap();
        }
        page + "</ListBucketResult>"
    }

    fn tag(&self, bytes: &[u8]) -> String {
        if self.speaks == Speaks::Hashes { format!("\"{}\"", hex(&Md5::digest(bytes))) } else { tag(bytes) }
    }
}

/// As nginx makes it.
fn tag(bytes: &[u8]) -> String {
    format!("\"{:x}-{:x}\"", MODIFIED.0, bytes.len())
}

/// `bytes=0-9` of what there is.
fn part(text: &str, all: &Range<usize>) -> Option<Range<usize>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = first.parse().ok()?..last.parse::<usize>().ok()? + 1;
    Some(range.start..range.end.min(all.end))
}

fn resource(name: &str, bytes: &[u8]) -> String {
    let (tag, size, time) = (tag(bytes), bytes.len(), MODIFIED.1);
    format!(
        "<D:response><D:href>/{name}</D:href><D:propstat><D:prop><D:resourcetype/><D:getetag>{tag}</D:getetag>\
         <D:getcontentlength>{size}</D:getcontentlength><D:getlastmodified>{time}</D:getlastmodified></D:prop>\
         </D:propstat></D:response>\n"
    )
}

fn multistatus(responses: &str) -> String {
    format!("<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">{responses}</D:multistatus>")
}
