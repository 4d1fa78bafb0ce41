//! `Site`: a Moodle site that is asked with a token. It knows where a token may go, and whose it is not.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RANGE, RETRY_AFTER};
use reqwest::Response;
use serde::de::DeserializeOwned;
use url::Url;

use super::answer::Refused;
use super::refusal::Route;
use crate::error::{ErrorKind, Result};
use crate::revealed::Revealed;
use crate::sources::authorities::Authorities;
use crate::sources::http::redirect::{Named, Redirects, joined};
use crate::sources::http::transport::{Answer, Transport, refusal, whole};
use crate::sources::purpose::Purpose;

/// The largest answer about a course, in bytes; what is known of a file takes about 700.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// The most files, activities and sections of a course; what is told of each takes more memory than in the answer.
const MAX_OBJECTS: usize = 100_000;

/// The longest that a site is left alone which is closed for maintenance. What it says (five minutes) is a guess of its own, and nobody
/// wants to wait for longer than the maintenance; then one request asks whether that is over.
const MAX_CLOSED_WAIT: Duration = Duration::from_secs(60);

const FORM: &str = "application/x-www-form-urlencoded";

/// A site.
#[derive(Debug)]
pub(super) struct Site {
    /// Follows no redirection: the token must not go to the host that a server points to.
    transport: Transport,
    /// Follows redirections to the hosts where a site keeps files. Never carries the token.
    elsewhere: Transport,
    /// Without a slash at the end.
    base: String,
}

/// The answer to a request, or the site's refusal.
pub(super) type Asked<T> = Result<T, Refused>;

impl Site {
    /// The site at `url`. It may redirect to the hosts that are `named`, and to public ones.
    pub(super) fn new(url: &Url, named: Named, authorities: Authorities) -> Result<Self> {
        let base = url.as_str().trim_end_matches('/').to_owned();
        let transport = Transport::new(Redirects::Refuse, named.clone(), authorities.clone())?;
        let elsewhere = Transport::new(Redirects::Follow, named, authorities)?;
        Ok(Self { transport, elsewhere, base })
    }

    /// The site's address, without a slash at the end.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks one of the site's own pages. Secrets travel in the body: addresses end up in logs.
    pub(super) async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        purpose: Purpose<'_>,
        route: Route,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<(Asked<T>, i64)> {
        let request = http::Request::post(format!("{}/{path}", self.base)).header(CONTENT_TYPE, FORM);
        let request =
            request.body(form(fields)).map_err(|e| purpose.protocol("the request is malformed").caused_by(e))?;
        let Answer { response, observed } = self.transport.exchange(purpose, request).await?;
        let response = checked(purpose, route, response).await?;
        let body = whole(purpose, response).await?;
        let objects = body.iter().filter(|&&byte| byte == b'{').count();
        if body.len() > MAX_ANSWER_BYTES || objects > MAX_OBJECTS {
            let (mib, found) = (MAX_ANSWER_BYTES >> 20, body.len() >> 20);
            let why = format!(
                "the answer has {found} MiB and {objects} objects; the limits are {mib} MiB and {MAX_OBJECTS} objects"
            );
            return Err(purpose.protocol(why));
        }
        // A large course takes a while, and others wait on this thread.
        let parsed = tokio::task::spawn_blocking(move || match serde_json::from_slice(&body) {
            Ok(answer) => Some(Ok(answer)),
            Err(_) => serde_json::from_slice(&body).ok().map(Err),
        });
        let parsed = parsed.await.map_err(|lost| purpose.error(ErrorKind::Other).caused_by(lost))?;
        let asked = parsed.ok_or_else(|| purpose.protocol("the answer is none of Moodle's: is `url` right?"))?;
        Ok((asked, observed))
    }

    /// Calls a function of the site's web service; with the answer comes when it was given by the site's clock.
    pub(super) async fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        purpose: Purpose<'_>,
        token: &Revealed,
        function: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(Asked<T>, i64)> {
        let mut fields = vec![("wstoken", token.expose()), ("wsfunction", function), ("moodlewsrestformat", "json")];
        fields.extend_from_slice(parameters);
        self.ask(purpose, Route::Rest, "webservice/rest/server.php", &fields).await
    }

    /// The address of a file, if it is one that may be asked with the token. Texts have addresses for browsers, which take no token.
    pub(super) fn file_url(&self, fileurl: &str) -> Option<Url> {
        // Sites without path addresses write their query as in HTML.
        let url = Url::parse(&fileurl.replace("&amp;", "&")).ok()?;
        // `parse` has resolved every `..`, so that the beginning says where it leads.
        let rest = self.pluginfile(url.as_str())?;
        let is_file = rest.starts_with(['/', '?']);
        is_file.then(|| Url::parse(&format!("{}/webservice/pluginfile.php{rest}", self.base)).ok())?
    }

    /// Where the site keeps the file to which an address leads, as the path of what may be several addresses.
    pub(super) fn stored(&self, fileurl: &str) -> Option<String> {
        let rest = self.pluginfile(fileurl)?;
        let path = rest.strip_prefix("?file=").unwrap_or(rest).split(['?', '&', '#']).next()?;
        Some(percent_encoding::percent_decode_str(path).decode_utf8().ok()?.into_owned())
    }

    /// What stands in the address of a file after the page that sends files.
    fn pluginfile<'a>(&self, address: &'a str) -> Option<&'a str> {
        let rest = address.strip_prefix(&self.base)?;
        rest.strip_prefix("/webservice").unwrap_or(rest).strip_prefix("/pluginfile.php")
    }

    /// Asks for a file, or a part of it, as `Range` writes it. The site's answer is a success; `true`: it comes from elsewhere.
    pub(super) async fn download(
        &self,
        purpose: Purpose<'_>,
        token: &Revealed,
        url: &Url,
        range: Option<&str>,
    ) -> Result<(Answer, bool)> {
        let ranged = |request: http::request::Builder| match range {
            Some(range) => request.header(RANGE, range),
            None => request,
        };
        let malformed = |e: http::Error| purpose.protocol("the request is malformed").caused_by(e);
        // Downloads take a token in a form as well as in the address, and the server's logs have only the latter.
        let request = ranged(http::Request::post(url.as_str()).header(CONTENT_TYPE, FORM));
        let request = request.body(form(&[("token", token.expose())])).map_err(malformed)?;
        let answer = self.transport.exchange(purpose, request).await?;
        let to = answer.response.headers().get(http::header::LOCATION).and_then(|location| joined(url, location));
        let Some(to) = to.filter(|to| answer.response.status().is_redirection() && to.origin() != url.origin()) else {
            let response = checked(purpose, Route::Download, answer.response).await?;
            return Ok((Answer { response, ..answer }, false));
        };
        // A file that the site only refers to (Dropbox, OneDrive, …) is asked for without the token.
        let request = ranged(http::Request::get(to.as_str())).body(Bytes::new()).map_err(malformed)?;
        let answer = self.elsewhere.exchange_elsewhere(purpose, url, request).await?;
        if answer.response.status().is_success() {
            return Ok((answer, true));
        }
        Err(refusal(purpose, answer.response).await)
    }
}

fn form(fields: &[(&str, &str)]) -> Bytes {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into()
}

/// An answer that is a success; others are told in Moodle's own terms where those say more.
async fn checked(purpose: Purpose<'_>, route: Route, response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let Some((kind, words)) = route.status(status.as_u16()) else {
        return Err(refusal(purpose, response).await);
    };
    let wait = response.headers().get(RETRY_AFTER).cloned();
    let error = purpose.error(kind).because(words);
    Err(match wait.and_then(|wait| wait.to_str().ok()?.trim().parse().ok()) {
        Some(seconds) => error.retry_after(Duration::from_secs(seconds).min(MAX_CLOSED_WAIT)),
        None => error,
    })
}
