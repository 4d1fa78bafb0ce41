//! `Flood`: an HTTP server whose listings have no end, or one part that has none. It sends as long as somebody reads.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::listener::Listener;

/// What has no end.
#[derive(Debug, Clone, Copy)]
pub enum Endless {
    /// The keys of one page of S3.
    Keys,
    /// The pages of S3.
    Pages,
    /// Two pages of S3, of which each says that the other is next.
    Circle,
    /// The blobs of one page of Azure, all of one name.
    Blobs,
    /// The answer to a PROPFIND.
    Resources,
    /// One name in the answer to a PROPFIND.
    Element,
    /// What stands in the answer to a PROPFIND and is no resource.
    Nonsense,
    /// The links of an index page.
    Links,
    /// One text of an index page.
    Line,
    /// The items of an index in JSON.
    Items,
    /// One name of an index in JSON.
    Text,
}

impl Endless {
    /// All of them, each with a word of the message that names the limit.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Keys, "limit"),
        (Self::Pages, "limit"),
        (Self::Circle, "circles"),
        (Self::Blobs, "limit"),
        (Self::Resources, "limit"),
        (Self::Element, "limit"),
        (Self::Nonsense, "limit"),
        (Self::Links, "limit"),
        (Self::Line, "limit"),
        (Self::Items, "limit"),
        (Self::Text, "limit"),
    ];
}

/// A server on a free port; ends with the test.
pub struct Flood {
    endless: Endless,
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    sent: AtomicU64,
}

/// Names are long, so that few are enough.
const NAME: usize = 3000;

impl Flood {
    /// A server that never ends like this.
    pub fn of(endless: Endless) -> Self {
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        let listener = Listener::new(Arc::default(), move |client| {
            let serving = serving.clone();
            // Whoever has enough goes away.
            thread::spawn(move || serving.serve(endless, client));
        });
        Self { endless, listener, shared }
    }

    /// The table of a source that shows it, in TOML.
    pub fn table(&self) -> String {
        let url = format!("http://127.0.0.1:{}", self.listener.port());
        match self.endless {
            Endless::Keys | Endless::Pages | Endless::Circle => {
                format!("type = \"s3\"\nendpoint = \"{url}\"\nbucket = \"bucket\"\n")
            }
            Endless::Blobs => format!("type = \"azblob\"\nendpoint = \"{url}\"\ncontainer = \"bucket\"\n"),
            Endless::Resources | Endless::Element | Endless::Nonsense => {
                format!("type = \"webdav\"\nendpoint = \"{url}\"\n")
            }
            Endless::Links | Endless::Line | Endless::Items | Endless::Text => {
                format!("type = \"http\"\nurl = \"{url}/\"\n")
            }
        }
    }

    /// Bytes that were taken of all listings.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn serve(&self, endless: Endless, mut client: TcpStream) -> Option<()> {
        let mut requests = BufReader::new(client.try_clone().unwrap());
        let (mut target, mut length) = (String::new(), 0);
        requests.read_line(&mut target).ok()?;
        loop {
            let mut line = String::new();
            requests.read_line(&mut line).ok().filter(|length| *length > 2)?;
            let line = line.trim_end().to_lowercase();
            if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            if requests.buffer().starts_with(b"\r\n") {
                break;
            }
        }
        std::io::copy(&mut std::io::Read::take(&mut requests, 2 + length), &mut std::io::sink()).ok()?;
        let (content_type, begin) = match endless {
            Endless::Keys | Endless::Pages | Endless::Circle => ("application/xml", "<ListBucketResult>"),
            Endless::Blobs => ("application/xml", "<EnumerationResults><Blobs>"),
            Endless::Resources | Endless::Element | Endless::Nonsense => {
                ("application/xml", "<D:multistatus xmlns:D=\"DAV:\">")
            }
            Endless::Links | Endless::Line => ("text/html", "<html><title>Index of /</title><body>"),
            Endless::Items | Endless::Text => ("application/json", "["),
        };
        let status = if content_type == "application/xml" && begin.starts_with("<D:") { 207 } else { 200 };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n{begin}");
        client.write_all(head.as_bytes()).ok()?;
        let padding = "x".repeat(NAME);
        let contents = |name: &str| format!("<Contents><Key>{name}{padding}</Key><Size>1</Size></Contents>");
        for number in 0.. {
            let part = match endless {
                Endless::Keys => contents(&number.to_string()),
                Endless::Pages => {
                    let token = self.sent.load(Ordering::Relaxed);
                    let keys: String = (0..1000).map(|key| contents(&format!("{token}-{key}"))).collect();
                    return self.finish(&mut client, &page(&keys, &token.to_string()));
                }
                Endless::Circle => {
                    let next = if target.contains("continuation-token=a") { "b" } else { "a" };
                    return self.finish(&mut client, &page(&contents(next), next));
                }
                Endless::Blobs => {
                    let properties = "<Properties><Content-Length>1</Content-Length></Properties>";
                    format!("<Blob><Name>{padding}</Name>{properties}</Blob>")
                }
                Endless::Resources => format!(
                    "<D:response><D:href>/{number}{padding}</D:href><D:propstat><D:prop><D:resourcetype/></D:prop>\
                     </D:propstat></D:response>"
                ),
                Endless::Element if number == 0 => "<D:response><D:href>/".into(),
                Endless::Nonsense => format!("<D:error>{padding}</D:error>"),
                Endless::Links => format!("<a href=\"{number}{padding}\">x</a>\n"),
                Endless::Items => format!("{{\"name\":\"{number}{padding}\",\"type\":\"file\",\"size\":1}},\n"),
                Endless::Text if number == 0 => "{\"name\":\"".into(),
                Endless::Element | Endless::Line | Endless::Text => padding.clone(),
            };
            client.write_all(part.as_bytes()).ok()?;
            self.sent.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        None
    }

    fn finish(&self, client: &mut TcpStream, rest: &str) -> Option<()> {
        self.sent.fetch_add(rest.len() as u64, Ordering::Relaxed);
        client.write_all(rest.as_bytes()).ok()
    }
}

fn page(keys: &str, next: &str) -> String {
    let token = format!("<NextContinuationToken>{next}</NextContinuationToken>");
    format!("{keys}<IsTruncated>true</IsTruncated>{token}</ListBucketResult>")
}
