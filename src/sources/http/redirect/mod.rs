//! `Redirects`: the addresses to which a server may redirect, the same for all sources that speak HTTP. It sends nothing.
//!
//! Never from https to http, and never to a place inside this machine or its network (loopback, private, link-local and all other
//! addresses that are not public) that the configuration does not name: a server could reach through the mount what it cannot reach
//! itself. Named are the host with the port that the source is at, the same host's port 443 if that is 80, and what `redirect_hosts`
//! says. Names are judged by the addresses that are connected to, see [`PublicOnly`].

mod address;

use std::net::SocketAddr;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
};
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::{CONTROLS, percent_encode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Request, Response};
use url::{Host, Url};

use self::address::is_public;
use crate::source::settings::Reader;

/// How many redirections are followed: as many as browsers follow.
pub(super) const MAX_REDIRECTS: usize = 10;

/// The variables that name a proxy, which is asked instead of the host itself; also written small.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// Whether a client goes on its own where a server points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources) enum Redirects {
    /// Nowhere: a signed request holds only for the host that it was signed for.
    Refuse,
    /// To the same scheme, host and port.
    SameOrigin,
    /// Wherever the policy allows, without credentials where the origin is another one.
    Follow,
}

impl Redirects {
    /// Whether to go from one address to another; the error says why that is forbidden to every source.
    pub(super) fn follow(self, named: &Named, from: &Url, to: &Url) -> Result<bool, &'static str> {
        let follows = match self {
            Self::Refuse => false,
            Self::SameOrigin => from.origin() == to.origin(),
            Self::Follow => true,
        };
        if follows {
            check(named, from, to)?;
        }
        Ok(follows)
    }
}

/// Fails where no source may be redirected.
pub(super) fn check(named: &Named, from: &Url, to: &Url) -> Result<(), &'static str> {
    if !matches!(to.scheme(), "http" | "https") {
        return Err("which is no address of the web");
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err("which is not encrypted, from a connection that is");
    }
    let is_public = match to.host() {
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        // Judged by its addresses when it is connected to.
        Some(Host::Domain(_)) => true,
        None => false,
    };
    if is_public || named.holds(to) { Ok(()) } else { Err(NOT_PUBLIC) }
}

/// Why a redirection into a network is refused.
const NOT_PUBLIC: &str = "which is in this machine or its network; if it is right, name the host in redirect_hosts";

/// The hosts that the configuration of a source names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sources) struct Named(Vec<(Host, Option<u16>)>);

impl Named {
    /// Reads `redirect_hosts`: hosts, with a port or without, to which the server may point though they are not public.
    pub(in crate::sources) fn read(reader: &mut Reader<'_>) -> Self {
        let written = reader.strings("redirect_hosts").unwrap_or_default();
        let hosts: Option<Vec<_>> = written.iter().map(|text| host_and_port(text)).collect();
        if hosts.is_none() {
            let message = "`redirect_hosts` holds hosts, such as \"storage.example.edu\" or \"10.0.0.5:8080\"";
            reader.problem(Some("redirect_hosts"), message);
        }
        Self(hosts.unwrap_or_default())
    }

    /// The same, and the source's own address.
    #[must_use]
    pub(in crate::sources) fn with(mut self, url: &Url) -> Self {
        if let Some(host) = url.host() {
            let port = url.port_or_known_default();
            self.0.push((host.to_owned(), port));
            // A server that asks for encryption.
            if port == Some(80) {
                self.0.push((host.to_owned(), Some(443)));
            }
        }
        self
    }

    /// Whether an address is at one of them.
    pub(super) fn holds(&self, url: &Url) -> bool {
        let (host, port) = (url.host().map(|host| host.to_owned()), url.port_or_known_default());
        self.0.iter().any(|(named, at)| Some(named) == host.as_ref() && (at.is_none() || *at == port))
    }
}

fn host_and_port(text: &str) -> Option<(Host, Option<u16>)> {
    let url = Url::parse(&format!("ftp://{text}/")).ok()?;
    // As `http` understands it: `0x7f.1` is an address there.
    let host = Host::parse(url.host_str()?).ok()?;
    (url.path() == "/" && url.username().is_empty() && url.query().is_none()).then_some((host, url.port()))
}

/// The address that a header tells, from this one on. Many servers do not escape it: bytes beyond ASCII mean themselves.
pub(in crate::sources) fn joined(from: &Url, location: &HeaderValue) -> Option<Url> {
    from.join(&percent_encode(location.as_bytes(), CONTROLS).to_string()).ok()
}

/// The address that an answer redirects to, without credentials in it.
pub(super) fn target(response: &Response) -> Option<Url> {
    let status = response.status();
    let is_followed = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| is_followed)?;
    let mut to = joined(response.url(), location)?;
    // They fail only where there can be none.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    Some(to)
}

/// The request that an answer with this status makes of one (RFC 9110, 15.4): credentials do not leave their origin.
pub(super) fn redirected(mut request: Request, status: StatusCode, to: Url) -> Request {
    let becomes_get = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *request.method() == Method::POST,
        StatusCode::SEE_OTHER => *request.method() != Method::HEAD,
        _ => false,
    };
    if becomes_get {
        *request.method_mut() = Method::GET;
        *request.body_mut() = None;
        for header in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
            request.headers_mut().remove(header);
        }
    }
    if request.url().origin() != to.origin() {
        for header in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
            request.headers_mut().remove(header);
        }
    }
    *request.url_mut() = to;
    request
}

/// Resolves names to public addresses only, and those of the proxies in the environment to whatever they are.
#[derive(Debug)]
pub(super) struct PublicOnly {
    proxies: Vec<String>,
}

impl PublicOnly {
    pub(super) fn new() -> Self {
        let variables = PROXIES.iter().flat_map(|name| [(*name).to_owned(), name.to_lowercase()]);
        let hosts = variables.filter_map(|name| {
            let text = std::env::var(name).ok()?;
            let url =
                Url::parse(&text).ok().filter(Url::has_host).or_else(|| Url::parse(&format!("http://{text}")).ok());
            url?.host_str().map(str::to_owned)
        });
        Self { proxies: hosts.collect() }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let is_proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(&host));
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let allowed: Vec<_> = found.iter().copied().filter(|at| is_proxy || is_public(at.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(Box::new(NotPublic) as _);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// A name that a server pointed to has no public address.
#[derive(Debug)]
pub(super) struct NotPublic;

impl std::fmt::Display for NotPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server sends one on to a host, {NOT_PUBLIC}")
    }
}

impl std::error::Error for NotPublic {}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn led(from: &str, to: &str) -> bool {
        check(&Named::default().with(&url(from)), &url(from), &url(to)).is_ok()
    }

    #[test]
    fn nobody_is_sent_from_https_to_http_or_out_of_the_web() {
        assert!(led("https://a.example/x", "https://b.example/y"));
        assert!(led("http://a.example/x", "http://b.example/y"));
        assert!(led("http://a.example/x", "https://b.example/y"));
        assert!(!led("https://a.example/x", "http://a.example/x"));
        assert!(!led("http://a.example/x", "file:///etc/passwd"));
    }

    #[test]
    fn nobody_is_sent_into_a_network_that_the_configuration_does_not_name() {
        for inside in
            ["http://127.1/", "http://0x7f000001/", "http://[::ffff:10.0.0.1]/", "http://0/", "http://[fe80::1]/"]
        {
            assert!(!led("http://a.example/", inside), "{inside}");
        }
        assert!(led("http://a.example/", "http://93.184.216.34/"));
        // Its own place, and the same encrypted; no other port of it.
        assert!(led("http://10.0.0.5:8080/x", "http://10.0.0.5:8080/y"));
        assert!(led("http://10.0.0.5/x", "https://10.0.0.5/x"));
        assert!(!led("http://10.0.0.5/x", "http://10.0.0.5:6379/"));
        assert!(!led("http://127.0.0.1:8080/x", "http://127.0.0.1:631/"));
    }

    #[test]
    fn an_address_that_a_server_has_not_escaped_means_what_it_says() {
        let from = url("http://a.example/dir/x?y");
        for (location, to) in [
            (b"https://a.example/\xc3\x9cbung.pdf".as_slice(), "https://a.example/%C3%9Cbung.pdf"),
            (b"\xdcbung%20a b.pdf", "http://a.example/dir/%DCbung%20a%20b.pdf"),
            (b"/z?q=\xc3\xa4#f", "http://a.example/z?q=%C3%A4#f"),
        ] {
            let location = HeaderValue::from_bytes(location).expect("a header");
            assert_eq!(joined(&from, &location), Some(url(to)));
        }
    }

    #[test]
    fn what_the_configuration_names_is_right() {
        let table: toml::Table =
            toml::from_str("redirect_hosts = ['10.0.0.7', 'LAN.example:8080', '[fd00::1]:81']").expect("TOML");
        let settings = crate::source::settings::Settings::of("test", table.into_iter().collect());
        let mut reader = settings.reader();
        let named = Named::read(&mut reader);
        reader.finish().expect("it is right");
        let from = url("http://a.example/");
        for (to, is_allowed) in [
            ("http://10.0.0.7:1234/", true),
            ("http://10.0.0.8/", false),
            ("http://[fd00::1]:81/", true),
            ("http://[fd00::1]/", false),
        ] {
            assert_eq!(check(&named, &from, &url(to)).is_ok(), is_allowed, "{to}");
        }
        assert!(named.holds(&url("http://lan.example:8080/")) && !named.holds(&url("http://lan.example/")));
        for wrong in ["http://x", "a/b", "a@b", ""] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_their_addresses() {
        let name = "localhost".parse().expect("a name");
        let refused = PublicOnly { proxies: Vec::new() }.resolve(name).await.err().expect("it is this machine");
        assert!(refused.is::<NotPublic>(), "{refused}");
        let name = "localhost".parse().expect("a name");
        let addresses = PublicOnly { proxies: vec!["localhost".into()] }.resolve(name).await.expect("a proxy");
        assert!(addresses.count() > 0);
    }
}
