//! `Authorization`: what requests to one origin carry to be logged in there: a token, or what the server wants of a user and a password.
//! It sends nothing.
//!
//! A password is sent as it is (Basic) at once over TLS. Over plain HTTP it is so only where the server asks for that, or for nothing (it
//! may show more to whom it knows), and has never offered Digest, by which no password travels. The first request goes alone, so that
//! those after it know what the server wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use reqwest::{Request, Response, StatusCode};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::MutexGuard;
use url::{Origin, Position, Url};

use super::challenge::Challenge;
use super::digest_session::DigestSession;
use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::revealed::{Revealed, conceal};

/// The login at one origin.
#[derive(Debug)]
pub(in crate::sources) struct Authorization {
    origin: Origin,
    is_encrypted: bool,
    /// None where a token is all that there is.
    account: Option<Account>,
    scheme: Mutex<Scheme>,
    /// Whether an answer has told what the server wants; until then requests go one at a time.
    is_settled: AtomicBool,
    first: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Account {
    user: String,
    password: Revealed,
    /// Whether this server has ever offered Digest; outlives the connection.
    digest_offered: Arc<AtomicBool>,
}

/// What requests carry as far as is known.
#[derive(Debug, Clone)]
enum Scheme {
    Nothing,
    /// Basic or Bearer.
    Fixed(HeaderValue),
    Digest(DigestSession),
}

/// What one request has carried.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Nothing,
    Fixed,
    /// An answer with this nonce.
    Digest(Vec<u8>),
}

impl Authorization {
    /// A token for the origin of `url`.
    pub(super) fn of_token(url: &Url, token: &Revealed) -> Result<Self> {
        Ok(Self::new(url, None, Scheme::Fixed(header(&format!("Bearer {}", token.expose()))?)))
    }

    /// A user and a password for the origin of `url`. `digest_offered` remembers for a later one what this one sees.
    pub(super) fn of_account(
        url: &Url,
        user: String,
        password: Revealed,
        digest_offered: Arc<AtomicBool>,
    ) -> Result<Self> {
        let account = Account { user, password, digest_offered };
        let scheme = if is_encrypted(url) { Scheme::Fixed(account.basic()?) } else { Scheme::Nothing };
        Ok(Self::new(url, Some(account), scheme))
    }

    fn new(url: &Url, account: Option<Account>, scheme: Scheme) -> Self {
        let is_settled = AtomicBool::new(account.is_none());
        let (origin, is_encrypted) = (url.origin(), is_encrypted(url));
        Self {
            origin,
            is_encrypted,
            account,
            scheme: Mutex::new(scheme),
            is_settled,
            first: tokio::sync::Mutex::default(),
        }
    }

    /// Whether requests to this address may carry it.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        url.origin() == self.origin
    }

    /// Waits while another request finds out what the server wants; what comes back is held while this one does.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is_settled.load(Ordering::Acquire) {
            return None;
        }
        let turn = self.first.lock().await;
        (!self.is_settled.load(Ordering::Acquire)).then_some(turn)
    }

    /// Adds what the server is known to want.
    pub(super) fn put(&self, request: &mut Request) -> Carried {
        self.scheme.lock().put(request)
    }

    /// Notes what an answer tells of what a request has carried.
    pub(super) fn note(&self, response: &Response, carried: &Carried) {
        self.is_settled.store(true, Ordering::Release);
        if response.status() == StatusCode::UNAUTHORIZED {
            return;
        }
        if let (Scheme::Digest(session), Carried::Digest(nonce)) = (&mut *self.scheme.lock(), carried)
            && session.nonce() == nonce
        {
            let told =
                response.headers().get("authentication-info").map(|info| Challenge::of_parameters(info.as_bytes()));
            session.accept(told.as_ref().and_then(|told| told.get("nextnonce")));
        }
    }

    /// Adds to a request, which was answered so when it carried that, what the server asks for instead, or the login that it did not ask
    /// for; none if there is nothing else to try.
    pub(super) fn answer(&self, answered: &Response, carried: &Carried, request: &mut Request) -> Option<Carried> {
        if answered.status() != StatusCode::UNAUTHORIZED && *carried != Carried::Nothing {
            return None;
        }
        let challenges = Challenge::all(answered.headers());
        let mut scheme = self.choose(self.account.as_ref()?, &challenges)?;
        let is_new = match &scheme {
            Scheme::Digest(session) => {
                let says_stale = |challenge: &Challenge| challenge.is("digest") && challenge.says("stale", "true");
                challenges.iter().any(says_stale) || !self.is_refused(carried, session.nonce())
            }
            _ => *carried == Carried::Nothing,
        };
        let carried = if is_new { scheme.put(request) } else { Carried::Nothing };
        if carried == Carried::Nothing {
            return None;
        }
        // The next requests go on with the latest challenge; this one answers its own, whichever came since.
        *self.scheme.lock() = scheme;
        Some(carried)
    }

    /// Whether a challenge without `stale` that comes after `carried` says that the password is wrong. A nonce that was good once has ended,
    /// also where the server does not say so.
    fn is_refused(&self, carried: &Carried, nonce: &[u8]) -> bool {
        let Carried::Digest(old) = carried else { return false };
        let was_accepted = match &*self.scheme.lock() {
            Scheme::Digest(session) => session.nonce() != old || session.is_accepted(),
            _ => false,
        };
        old == nonce || !was_accepted
    }

    /// What to log in by, of what the server offers.
    fn choose(&self, account: &Account, challenges: &[Challenge]) -> Option<Scheme> {
        let digests = || challenges.iter().filter(|challenge| challenge.is("digest"));
        let offers_basic = challenges.iter().any(|challenge| challenge.is("basic"));
        if digests().next().is_some() {
            account.digest_offered.store(true, Ordering::Relaxed);
        }
        let may_be_basic = self.is_encrypted || !account.digest_offered.load(Ordering::Relaxed);
        if (offers_basic || challenges.is_empty()) && may_be_basic {
            return account.basic().ok().map(Scheme::Fixed);
        }
        digests().find_map(|challenge| account.digest(challenge).ok()).map(Scheme::Digest)
    }

    /// Why a login was refused, as far as the server's challenges tell; for people.
    pub(super) fn explain(&self, challenges: &[Challenge]) -> Option<String> {
        let offers = |scheme: &str| challenges.iter().any(|challenge| challenge.is(scheme));
        let Some(account) = &self.account else {
            let wants_account = !offers("bearer") && (offers("basic") || offers("digest"));
            return wants_account.then(|| "it wants `username` and `password`, and no `token`".into());
        };
        let scheme = match self.choose(account, challenges) {
            Some(Scheme::Digest(_)) => "Digest",
            Some(_) => "Basic",
            None => {
                let digests = challenges.iter().filter(|challenge| challenge.is("digest"));
                let unknown = digests.filter_map(|challenge| account.digest(challenge).err()).next();
                return unknown.map(|unknown| format!("it wants {unknown}, which is not known here")).or_else(|| {
                    let why = "it has offered Digest before, and wants the password in the clear now (Basic): not sent";
                    offers("basic").then(|| why.into())
                });
            }
        };
        Some(format!("it does not take this user and password ({scheme})"))
    }
}

impl Scheme {
    fn put(&mut self, request: &mut Request) -> Carried {
        let (value, carried) = match self {
            Self::Nothing => return Carried::Nothing,
            Self::Fixed(value) => (value.clone(), Carried::Fixed),
            Self::Digest(session) => {
                let Some(value) = session.answer(request.method(), target(request.url())) else {
                    return Carried::Nothing;
                };
                (value, Carried::Digest(session.nonce().to_vec()))
            }
        };
        request.headers_mut().insert(AUTHORIZATION, value);
        carried
    }
}

impl Account {
    fn basic(&self) -> Result<HeaderValue> {
        let encoded = Revealed::new(BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password.expose())));
        conceal(&encoded);
        header(&format!("Basic {}", encoded.expose()))
    }

    fn digest(&self, challenge: &Challenge) -> Result<DigestSession, String> {
        let mut own = [0; 16];
        SystemRandom::new().fill(&mut own).map_err(|_| "Digest, for which there is no randomness".to_owned())?;
        DigestSession::new(challenge, &self.user, self.password.expose(), hex(&own))
    }
}

fn is_encrypted(url: &Url) -> bool {
    url.scheme() == "https"
}

/// What the first line of a request calls its address.
fn target(url: &Url) -> &str {
    &url[Position::BeforePath..Position::AfterQuery]
}

fn header(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Error::new("connect", ErrorKind::InvalidConfig).because("the token holds characters that HTTP forbids")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use reqwest::header::WWW_AUTHENTICATE;

    use super::*;

    const PLAIN: &str = "http://h/dav/a?b=c";
    const ENCRYPTED: &str = "https://h/dav/a?b=c";
    const DIGEST: &str = "Digest realm=\"r\", nonce=\"1\", qop=\"auth\"";
    const BASIC: &str = "Basic realm=\"r\"";

    fn request(url: &str) -> Request {
        Request::new(reqwest::Method::GET, Url::parse(url).expect("a URL"))
    }

    fn login(url: &str, digest_offered: &Arc<AtomicBool>) -> Authorization {
        let url = Url::parse(url).expect("a URL");
        Authorization::of_account(&url, "u".into(), Revealed::new("p"), Arc::clone(digest_offered))
            .expect("it can be sent")
    }

    fn new_login(url: &str) -> Authorization {
        login(url, &Arc::default())
    }

    /// What a request carries.
    fn carries(request: &Request) -> String {
        let value = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes().to_vec());
        String::from_utf8(value.unwrap_or_default()).expect("it is text")
    }

    /// The answer that offers this, or none that asks for a login.
    fn asking(challenges: &[&str]) -> Response {
        let mut answer = http::Response::builder().status(if challenges.is_empty() { 200 } else { 401 });
        for challenge in challenges {
            answer = answer.header(WWW_AUTHENTICATE, *challenge);
        }
        answer.body("").expect("an answer").into()
    }

    /// What the first request of a login carries, and what its second one does after this answer, if there is one.
    fn sent(login: &Authorization, url: &str, challenges: &[&str]) -> (String, Option<String>) {
        let (mut first, mut second, refused) = (request(url), request(url), asking(challenges));
        let carried = login.put(&mut first);
        login.note(&refused, &carried);
        let again = login.answer(&refused, &carried, &mut second);
        if let Some(carried) = &again {
            login.note(&asking(&[]), carried);
        }
        (carries(&first), again.map(|_| carries(&second)))
    }

    #[test]
    fn over_plain_http_nothing_is_sent_unasked_and_digest_is_preferred() {
        let (first, second) = sent(&new_login(PLAIN), PLAIN, &[BASIC, DIGEST]);
        assert_eq!(first, "");
        assert!(second.is_some_and(|value| value.starts_with("Digest ") && value.contains("uri=\"/dav/a?b=c\"")));

        let basic = new_login(PLAIN);
        assert_eq!(sent(&basic, PLAIN, &[BASIC]), (String::new(), Some("Basic dTpw".into())));
        assert_eq!(sent(&basic, PLAIN, &[BASIC]), ("Basic dTpw".into(), None), "it is known from now on");
    }

    #[test]
    fn over_plain_http_a_server_that_asks_for_nothing_is_told_who_asks() {
        let login = new_login(PLAIN);
        assert_eq!(sent(&login, PLAIN, &[]), (String::new(), Some("Basic dTpw".into())));
        assert_eq!(sent(&login, PLAIN, &[]), ("Basic dTpw".into(), None));
    }

    #[test]
    fn over_tls_basic_is_sent_at_once_and_digest_where_nothing_else_is_offered() {
        assert_eq!(sent(&new_login(ENCRYPTED), ENCRYPTED, &[BASIC, DIGEST]), ("Basic dTpw".into(), None));
        let (_, second) = sent(&new_login(ENCRYPTED), ENCRYPTED, &[DIGEST]);
        assert!(second.is_some_and(|value| value.starts_with("Digest ")));
    }

    #[test]
    fn who_has_offered_digest_never_gets_the_password_in_the_clear() {
        let offered = Arc::default();
        for challenges in
            [[DIGEST, "Negotiate"], ["Digest realm=r, nonce=1, algorithm=SHA-512-256", BASIC], ["NTLM", BASIC]]
        {
            let (first, second) = sent(&login(PLAIN, &offered), PLAIN, &challenges);
            assert_eq!(first, "");
            assert!(second.is_none_or(|value| value.starts_with("Digest ")), "{challenges:?}");
        }
        let told = login(PLAIN, &offered).explain(&Challenge::all(asking(&[BASIC]).headers()));
        assert!(told.is_some_and(|told| told.contains("offered Digest before")));
        assert_eq!(sent(&login(ENCRYPTED, &offered), ENCRYPTED, &[BASIC]).0, "Basic dTpw");
    }

    #[test]
    fn a_nonce_serves_until_it_ends_and_a_wrong_password_is_tried_once() {
        let other = DIGEST.replace('1', "2");
        let login = new_login(PLAIN);
        sent(&login, PLAIN, &[DIGEST]);
        for count in 2..4 {
            let (first, _) = sent(&login, PLAIN, &[]);
            assert!(first.contains("nonce=\"1\"") && first.contains(&format!("nc=0000000{count}")), "{first}");
        }
        // It has ended, though the server does not say so.
        let (_, second) = sent(&login, PLAIN, &[&other]);
        assert!(second.is_some_and(|value| value.contains("nonce=\"2\"") && value.contains("nc=00000001")));

        let wrong = new_login(PLAIN);
        let (mut first, mut second, mut third) = (request(PLAIN), request(PLAIN), request(PLAIN));
        let carried = wrong.put(&mut first);
        let carried = wrong.answer(&asking(&[DIGEST]), &carried, &mut second).expect("it is the first challenge");
        assert_eq!(wrong.answer(&asking(&[&other]), &carried, &mut third), None, "no answer was ever accepted");
        let stale = format!("{other}, stale=true");
        assert!(wrong.answer(&asking(&[&stale]), &carried, &mut third).is_some());
    }

    #[test]
    fn the_next_nonce_may_come_with_an_answer() {
        let login = new_login(PLAIN);
        sent(&login, PLAIN, &[DIGEST]);
        let mut first = request(PLAIN);
        let carried = login.put(&mut first);
        let answer = http::Response::builder().header("Authentication-Info", "qop=auth, nextnonce=\"next\"").body("");
        login.note(&answer.expect("an answer").into(), &carried);
        let (second, _) = sent(&login, PLAIN, &[]);
        assert!(second.contains("nonce=\"next\"") && second.contains("nc=00000001"), "{second}");
    }

    #[test]
    fn a_token_is_sent_as_it_is_and_nothing_instead_of_it() {
        let url = Url::parse(PLAIN).expect("a URL");
        let token = Authorization::of_token(&url, &Revealed::new("abc")).expect("it can be sent");
        assert_eq!(sent(&token, PLAIN, &[BASIC, DIGEST]), ("Bearer abc".into(), None));
        let told = token.explain(&Challenge::all(asking(&[BASIC]).headers()));
        assert!(told.is_some_and(|told| told.contains("no `token`")));
        assert!(token.is_for(&url) && !token.is_for(&Url::parse("http://h:81/").expect("a URL")));
    }
}
