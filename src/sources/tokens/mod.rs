//! `Tokens`: the token that a source's requests carry (OAuth 2), renewed before it ends. It knows no request but those that fetch one.

pub(super) mod azure;
pub(super) mod google;
mod grant;

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use self::azure::Azure;
use self::google::Google;
use self::grant::Grant;
use super::renewal::Renewal;
use crate::error::{Error, ErrorKind, Result};
use crate::revealed::{Revealed, conceal};
use crate::secret::Secret;

/// How long a token is used of which nothing tells when it ends: `gcloud` and `az` give away tokens that have five minutes left.
const UNTOLD: Duration = Duration::from_secs(5 * 60);
/// How long before its end a token is renewed, unless it is a short one.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// For how long a token is used at most.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Where tokens come from, and the latest one.
#[derive(Debug)]
pub(super) struct Tokens {
    origin: Origin,
    latest: tokio::sync::Mutex<Latest>,
}

/// Who gives tokens.
#[derive(Debug)]
pub(super) enum Origin {
    /// A secret, which a command may renew.
    Secret(Secret),
    Google(Google),
    Azure(Azure),
}

#[derive(Debug, Default)]
struct Latest {
    token: Option<(HeaderValue, Instant)>,
    renewal: Renewal,
}

impl Tokens {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, latest: tokio::sync::Mutex::default() }
    }

    /// The value of the header `Authorization`. Fetches a token if there is none that goes on, one request at a time.
    pub(super) async fn header(&self, client: &reqwest::Client) -> Result<HeaderValue> {
        let mut latest = self.latest.lock().await;
        if let Some((value, renewed_at)) = &latest.token
            && Instant::now() < *renewed_at
        {
            return Ok(value.clone());
        }
        let Grant { token, left } = match &self.origin {
            Origin::Secret(secret) => written(secret.clone()).await?,
            Origin::Google(google) => google.grant(client).await?,
            Origin::Azure(azure) => azure.grant(client).await?,
        };
        conceal(&token);
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
            Error::new("read secret", ErrorKind::InvalidConfig).because("the token holds characters that HTTP forbids")
        })?;
        value.set_sensitive(true);
        latest.token = Some((value.clone(), Instant::now() + used_for(left)));
        Ok(value)
    }

    /// Whether another token may be had in place of one that was refused.
    pub(super) async fn renew(&self, refused: &HeaderValue) -> bool {
        let mut latest = self.latest.lock().await;
        if latest.token.as_ref().is_some_and(|(value, _)| value != refused) {
            return true;
        }
        let is_due = latest.renewal.is_due();
        if is_due {
            latest.token = None;
        }
        is_due
    }
}

/// For how long a token that has so much left is used; a day at most, whatever a service says.
fn used_for(left: Duration) -> Duration {
    left.saturating_sub(MARGIN.min(left / 5)).min(LONGEST)
}

/// A token that the configuration tells. Runs the command that knows it.
async fn written(secret: Secret) -> Result<Grant> {
    let token = tokio::task::spawn_blocking(move || secret.reveal()).await;
    let token = token.map_err(|lost| Error::new("read secret", ErrorKind::Other).caused_by(lost))??;
    Ok(Grant { token, left: UNTOLD })
}

/// A client for services of this machine, to which no proxy leads.
pub(in crate::sources) fn direct() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    client.map_err(|e| grant::error(ErrorKind::Other, "cannot set up HTTP").caused_by(e))
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A secret variable of the environment.
fn secret_variable(name: &str) -> Option<Revealed> {
    let revealed = Revealed::new(variable(name)?);
    conceal(&revealed);
    Some(revealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::renewal::PAUSE;

    fn client() -> reqwest::Client {
        let (redirects, named, authorities) =
            (crate::sources::http::redirect::Redirects::Refuse, <_>::default(), <_>::default());
        let transport = crate::sources::http::transport::Transport::new(redirects, named, authorities);
        transport.expect("a client").client().clone()
    }

    /// Tokens of a command that numbers them.
    fn numbered(dir: &std::path::Path) -> Tokens {
        let count = dir.join("count");
        let command = format!("echo >>{0}; echo token-$(wc -l <{0})", count.display());
        Tokens::new(Origin::Secret(Secret::Command(command)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tokens, client) = (numbered(dir.path()), client());
        let first = tokens.header(&client).await.expect("a token");
        assert!(first.is_sensitive());
        assert_eq!(first, "Bearer token-1");
        assert_eq!(tokens.header(&client).await.expect("a token"), first);
        tokio::time::advance(UNTOLD * 4 / 5 - Duration::from_secs(1)).await;
        assert_eq!(tokens.header(&client).await.expect("a token"), first);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tokens.header(&client).await.expect("a token"), "Bearer token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_refused_is_renewed_once_a_minute() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tokens, client) = (numbered(dir.path()), client());
        let first = tokens.header(&client).await.expect("a token");
        assert!(tokens.renew(&first).await);
        let second = tokens.header(&client).await.expect("a token");
        assert_eq!(second, "Bearer token-2");
        assert!(tokens.renew(&first).await, "another request has renewed it");
        assert!(!tokens.renew(&second).await, "the new one is refused too");
        assert_eq!(tokens.header(&client).await.expect("a token"), second);
        tokio::time::advance(PAUSE).await;
        assert!(tokens.renew(&second).await);
    }

    #[test]
    fn short_tokens_have_a_short_margin() {
        let used_for = |seconds| used_for(Duration::from_secs(seconds)).as_secs();
        assert_eq!((used_for(3600), used_for(300), used_for(0)), (3300, 240, 0));
        assert_eq!(used_for(u64::MAX), LONGEST.as_secs());
    }
}
