//! `Guard`: who may ask the page's server, and from where. It answers nothing.
//!
//! | case | of a request | answer |
//! |---|---|---|
//! | G1 | another site's page sends it (`Sec-Fetch-Site`, `Origin`) | refused |
//! | G2 | without a configured token, it calls the server by another name than this machine's own (a name that was bent to it) | refused |
//! | G3 | without a configured token, its process is neither of the mount's user nor of root | refused |
//! | G4 | with a configured token, it brings none or another | refused |
//! | G5 | any other | answered |
//!
//! A request that does not say in one way how it calls the server is none (RFC 9112, 3.2): [`host`].

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Request, Uri, Version};
use sha2::{Digest as _, Sha256};

/// Why a request is refused, in words for people.
pub(super) type Refused = &'static str;

/// A token, of which only the hash is compared: how long that takes tells nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

/// The name by which a request calls the server: that of an absolute address, else that of the header; none if HTTP/1.0 says none.
///
/// # Errors
/// It has no such header, several of them, or one that is no name.
pub(super) fn host<B>(request: &Request<B>) -> Result<Option<Authority>, Refused> {
    let mut told = request.headers().get_all(HOST).iter();
    let (first, more) = (told.next(), told.next());
    if more.is_some() {
        return Err("there are two Host headers");
    }
    let named = match first.map(|host| host.to_str().ok()?.parse::<Authority>().ok()) {
        None if request.version() >= Version::HTTP_11 => return Err("there is no Host header"),
        None => None,
        Some(Some(host)) if !host.as_str().contains('@') => Some(host),
        Some(_) => return Err("the Host header is no name of a host"),
    };
    Ok(request.uri().authority().cloned().or(named))
}

/// Whether a request that calls the server so comes from a page of it, or from no page: G1.
pub(super) fn check_site(headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Refused> {
    const ELSEWHERE: Refused = "another site's page may not ask; type the address instead of following a link";
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(ELSEWHERE);
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let of = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let is_same = of.zip(host).is_some_and(|(of, host)| of.eq_ignore_ascii_case(host.as_str()));
    if is_same { Ok(()) } else { Err(ELSEWHERE) }
}

/// Whether a request calls the server by a name that means this machine everywhere: G2.
pub(super) fn check_name(host: Option<&Authority>) -> Result<(), Refused> {
    if host.is_some_and(|host| is_this_machine(host.host())) {
        return Ok(());
    }
    Err(
        "it is called by a name that is not this machine's own: use the address that `kitovufs status` shows, or set a token",
    )
}

fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether the process at the other end may ask without a token: G3.
pub(super) fn check_user(user: Option<u32>, owner: u32) -> Result<(), Refused> {
    if user.is_some_and(|user| user == owner || user == 0) {
        return Ok(());
    }
    Err("the mount is another user's; with a token set ([web] token), whoever has that may look")
}

/// Whether a request brings the token, in its header or in its address: G4.
pub(super) fn check_token(headers: &HeaderMap, uri: &Uri, token: Token) -> Result<(), Refused> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer =
        header.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let queried = query.filter(|(key, _)| key == "token").map(|(_, value)| value.into_owned());
    let mut brought = bearer.map(|(_, text)| text.trim().to_owned()).into_iter().chain(queried);
    if brought.any(|text| Token::of(&text) == token) { Ok(()) } else { Err("the token is missing or another") }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")))
            .collect()
    }

    #[test]
    fn g1_other_sites_are_refused() {
        let host = ("host", "127.0.0.1:8765");
        let check_site = |all: &[(&'static str, &str)]| {
            let named = headers(all).get("host").map(|host| host.to_str().expect("text").parse().expect("a name"));
            super::check_site(&headers(all), named.as_ref())
        };
        for good in [
            vec![host],
            vec![host, ("sec-fetch-site", "none")],
            vec![host, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8765")],
            vec![("host", "Files.example.org"), ("origin", "https://files.example.org")],
        ] {
            assert_eq!(check_site(&good), Ok(()), "{good:?}");
        }
        for bad in [
            vec![host, ("sec-fetch-site", "cross-site")],
            // Another port of this machine may be another user's.
            vec![host, ("sec-fetch-site", "same-site")],
            vec![host, ("origin", "http://127.0.0.1:8000")],
            vec![host, ("origin", "null")],
            vec![("origin", "http://127.0.0.1:8765")],
        ] {
            assert!(check_site(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn g2_a_name_that_was_bent_to_this_machine_is_refused() {
        for good in [
            "127.0.0.1:8765",
            "localhost",
            "LocalHost.:1",
            "[::1]:8765",
            "127.9.9.9",
            "a.localhost:80",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(check_name(good.parse().ok().as_ref()), Ok(()), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "", "xlocalhost"] {
            assert!(check_name(bad.parse().ok().as_ref()).is_err(), "{bad}");
        }
        assert!(check_name(None).is_err());
    }

    #[test]
    fn a_request_calls_the_server_in_one_way() {
        let host_of = |version, uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().version(version).uri(uri);
            for name in hosts {
                request = request.header("host", *name);
            }
            host(&request.body(()).expect("a request")).map(|host| host.map(|host| host.to_string()))
        };
        let new = Version::HTTP_11;
        assert_eq!(host_of(new, "/", &["localhost:1"]), Ok(Some("localhost:1".into())));
        assert_eq!(host_of(new, "http://evil.example/", &["localhost"]), Ok(Some("evil.example".into())));
        assert_eq!(host_of(Version::HTTP_10, "/", &[]), Ok(None));
        for hosts in [&["localhost", "localhost"][..], &[], &["a b"], &["x@localhost"], &[""]] {
            assert!(host_of(new, "/", hosts).is_err(), "{hosts:?}");
        }
        assert!(host_of(new, "http://localhost/", &["localhost", "evil.example"]).is_err());
    }

    #[test]
    fn g3_without_a_token_only_the_owner_and_root_may_ask() {
        assert!([Some(1000), Some(0)].iter().all(|user| check_user(*user, 1000).is_ok()));
        assert!([Some(1001), None].iter().all(|user| check_user(*user, 1000).is_err()));
    }

    #[test]
    fn g4_the_token_is_in_the_header_or_in_the_address() {
        let token = Token::of("correct horse battery");
        let check =
            |all: &[(&'static str, &str)], uri: &'static str| check_token(&headers(all), &Uri::from_static(uri), token);
        assert_eq!(check(&[("authorization", "Bearer correct horse battery")], "/"), Ok(()));
        assert_eq!(check(&[], "/?token=correct+horse%20battery"), Ok(()));
        for (all, uri) in [
            (vec![], "/"),
            (vec![], "/?token=correct"),
            (vec![], "/?token="),
            (vec![], "/?key=correct+horse+battery"),
            (vec![("authorization", "correct horse battery")], "/"),
            (vec![("authorization", "Basic correct horse battery")], "/"),
        ] {
            assert!(check(&all, uri).is_err(), "{all:?} {uri}");
        }
    }
}
