//! `DigestSession`: the answers to one Digest challenge (RFC 7616; RFC 2069 where the server is older). It sends nothing.

use http::{HeaderValue, Method};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::challenge::Challenge;
use crate::digest::hex;

/// A challenge that was taken, with everything that answers to it need. It holds no password.
#[derive(Clone)]
pub(super) struct DigestSession {
    algorithm: Algorithm,
    /// `username`, `realm` and what else every answer repeats.
    repeated: Vec<u8>,
    /// H(A1): who knows it can log in, as long as the realm is called so.
    key: String,
    nonce: Vec<u8>,
    cnonce: String,
    /// Whether answers are counted (`qop=auth`).
    counts: bool,
    count: u32,
    /// Whether the server has accepted an answer with this nonce.
    accepted: bool,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Md5,
    Sha256,
}

impl std::fmt::Debug for DigestSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestSession").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Algorithm {
    /// The hash of parts with a colon between them, as text.
    fn hash(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(joined)),
            Self::Sha256 => hex(&Sha256::digest(joined)),
        }
    }
}

impl DigestSession {
    /// Takes a challenge. `cnonce` is of this session's own choice, and never the same twice.
    ///
    /// # Errors
    /// What the server wants that is not known here.
    pub(super) fn new(challenge: &Challenge, user: &str, password: &str, cnonce: String) -> Result<Self, String> {
        let named = String::from_utf8_lossy(challenge.get("algorithm").unwrap_or(b"MD5")).to_ascii_uppercase();
        let (algorithm, per_session) = match named.as_str() {
            "MD5" => (Algorithm::Md5, false),
            "MD5-SESS" => (Algorithm::Md5, true),
            "SHA-256" => (Algorithm::Sha256, false),
            "SHA-256-SESS" => (Algorithm::Sha256, true),
            _ => return Err("Digest by another algorithm than MD5 and SHA-256".into()),
        };
        let qop = challenge.get("qop").map(|qop| String::from_utf8_lossy(qop).to_ascii_lowercase());
        let counts = qop.is_some();
        if qop.is_some_and(|qop| qop.split(',').all(|word| word.trim() != "auth")) {
            return Err("Digest of bodies (`auth-int`)".into());
        }
        let (realm, nonce) = (challenge.get("realm").unwrap_or_default(), challenge.get("nonce").unwrap_or_default());
        let mut key = algorithm.hash(&[user.as_bytes(), realm, password.as_bytes()]);
        if per_session {
            key = algorithm.hash(&[key.as_bytes(), nonce, cnonce.as_bytes()]);
        }
        let mut repeated = Vec::new();
        if challenge.says("userhash", "true") {
            let user = algorithm.hash(&[user.as_bytes(), realm]);
            repeated.extend_from_slice(format!("userhash=true, username=\"{user}\"").as_bytes());
        } else {
            repeated.extend_from_slice(&quoted("username", user.as_bytes()));
        }
        for (name, value) in [("realm", Some(realm)), ("opaque", challenge.get("opaque"))] {
            if let Some(value) = value {
                repeated.extend_from_slice(b", ");
                repeated.extend_from_slice(&quoted(name, value));
            }
        }
        if let Some(algorithm) = challenge.get("algorithm") {
            repeated.extend_from_slice(&[b", algorithm=", algorithm].concat());
        }
        let (nonce, count, accepted) = (nonce.to_vec(), 0, false);
        Ok(Self { algorithm, repeated, key, nonce, cnonce, counts, count, accepted })
    }

    /// The value of `Authorization` for a request; none if the server's words cannot stand in a header.
    pub(super) fn answer(&mut self, method: &Method, target: &str) -> Option<HeaderValue> {
        self.count = self.count.wrapping_add(1);
        let request = self.algorithm.hash(&[method.as_str().as_bytes(), target.as_bytes()]);
        let (key, nonce, count) = (self.key.as_bytes(), self.nonce.as_slice(), format!("{:08x}", self.count));
        let cnonce = self.cnonce.as_bytes();
        let (response, counted) = if self.counts {
            let parts = [key, nonce, count.as_bytes(), cnonce, b"auth", request.as_bytes()];
            (self.algorithm.hash(&parts), format!(", qop=auth, nc={count}, cnonce=\"{}\"", self.cnonce))
        } else {
            (self.algorithm.hash(&[key, nonce, request.as_bytes()]), String::new())
        };
        let own = format!(", uri=\"{target}\", response=\"{response}\"{counted}");
        let value = [b"Digest ", &self.repeated[..], b", ", &quoted("nonce", nonce), own.as_bytes()].concat();
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// Whether the server has accepted an answer with this nonce.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Notes that the server has accepted an answer, and which nonce it wants from now on, if it says so.
    pub(super) fn accept(&mut self, next: Option<&[u8]>) {
        self.accepted = true;
        if let Some(next) = next {
            next.clone_into(&mut self.nonce);
            self.count = 0;
        }
    }
}

/// A parameter whose value stands in quotation marks.
fn quoted(name: &str, value: &[u8]) -> Vec<u8> {
    let mut text = format!("{name}=\"").into_bytes();
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALM: &str = "realm=\"http-auth@example.org\", nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\"";

    fn session(challenge: &str, user: &str, password: &str, cnonce: &str) -> Result<DigestSession, String> {
        let challenge = Challenge::of_parameters(challenge.as_bytes());
        DigestSession::new(&challenge, user, password, cnonce.into())
    }

    fn answer(session: &mut DigestSession, target: &str) -> String {
        let value = session.answer(&Method::GET, target).expect("it can be written");
        assert!(value.is_sensitive());
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    }

    #[test]
    fn answers_are_those_of_the_examples_in_rfc_7616() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let opaque = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS";
            let challenge = format!("{REALM}, qop=\"auth, auth-int\", algorithm={algorithm}, opaque=\"{opaque}\"");
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let mut session = session(&challenge, "Mufasa", "Circle of Life", cnonce).expect("it is known");
            let answer = answer(&mut session, "/dir/index.html");
            assert_eq!(
                answer,
                format!(
                    "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", opaque=\"{opaque}\", algorithm={algorithm}, \
                     nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", \
                     response=\"{response}\", qop=auth, nc=00000001, cnonce=\"{cnonce}\""
                )
            );
        }
    }

    #[test]
    fn an_older_server_gets_the_answer_of_rfc_2069() {
        let challenge = "realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        let mut session = session(challenge, "Mufasa", "CircleOfLife", "own").expect("it is known");
        let answer = answer(&mut session, "/dir/index.html");
        // The example of the RFC as its erratum 749 corrects it.
        assert!(answer.contains("response=\"1949323746fe6a43ef61f9606e7febea\""), "{answer}");
        assert!(!answer.contains("cnonce") && !answer.contains("nc="), "{answer}");
    }

    #[test]
    fn answers_with_one_nonce_are_counted_and_those_with_the_next_from_one_again() {
        let mut session = session(&format!("{REALM}, qop=auth"), "a", "b", "own").expect("it is known");
        let counts: Vec<_> = (0..3).map(|_| answer(&mut session, "/")).collect();
        assert!(counts[0].contains("nc=00000001") && counts[2].contains("nc=00000003"), "{counts:?}");
        assert!(!session.is_accepted());
        session.accept(Some(b"next"));
        let next = answer(&mut session, "/");
        assert!(next.contains("nonce=\"next\"") && next.contains("nc=00000001") && session.is_accepted(), "{next}");
    }

    #[test]
    fn a_session_has_a_key_of_its_own_that_outlives_its_first_nonce() {
        let md5 = |text: &str| hex(&Md5::digest(text));
        let mut session =
            session("realm=r, nonce=1, qop=auth, algorithm=MD5-sess", "u", "p", "c").expect("it is known");
        let key = md5(&format!("{}:1:c", md5("u:r:p")));
        let wanted = |nonce: &str| md5(&format!("{key}:{nonce}:00000001:c:auth:{}", md5("GET:/")));
        assert!(answer(&mut session, "/").contains(&wanted("1")));
        session.accept(Some(b"2"));
        assert!(answer(&mut session, "/").contains(&wanted("2")));
    }

    #[test]
    fn names_are_hashed_where_the_server_wants_it_and_else_stay_as_they_are() {
        let mut hashed = session("realm=r, nonce=1, userhash=true", "Jäsøn", "p", "c").expect("it is known");
        let name = hex(&Md5::digest("Jäsøn:r"));
        assert!(answer(&mut hashed, "/").contains(&format!("userhash=true, username=\"{name}\"")));
        let mut plain = session("realm=\"\\\"r\\\"\", nonce=1", "D\\Jäsøn", "p", "c").expect("it is known");
        assert!(answer(&mut plain, "/").starts_with("Digest username=\"D\\\\Jäsøn\", realm=\"\\\"r\\\"\", nonce"));
    }

    #[test]
    fn what_is_not_known_is_named() {
        let why = |challenge: &str| session(challenge, "u", "p", "c").expect_err("it is not known");
        assert!(why("realm=r, nonce=1, algorithm=SHA-512-256").contains("algorithm"));
        assert!(why("realm=r, nonce=1, qop=\"auth-int\"").contains("auth-int"));
    }
}
