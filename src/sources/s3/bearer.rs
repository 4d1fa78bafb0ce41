//! `Bearer`: a token that a command renews, as those of Google last an hour. It knows no request.

use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// How long a token is used before it is asked for again: `gcloud` gives away tokens that have five minutes left.
const RENEW_AFTER: Duration = Duration::from_secs(4 * 60);

/// The origin of a token, and the latest one.
#[derive(Debug)]
pub(super) struct Bearer {
    secret: Secret,
    latest: tokio::sync::Mutex<Option<(Instant, HeaderValue)>>,
}

impl Bearer {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, latest: tokio::sync::Mutex::default() }
    }

    /// The value of the header `Authorization`. Runs the command that knows the token, one at a time.
    pub(super) async fn header(&self) -> Result<HeaderValue> {
        let mut latest = self.latest.lock().await;
        if let Some((since, value)) = latest.as_ref()
            && since.elapsed() < RENEW_AFTER
        {
            return Ok(value.clone());
        }
        let secret = self.secret.clone();
        let token = tokio::task::spawn_blocking(move || secret.reveal()).await;
        let token = token.map_err(|lost| Error::new("read secret", ErrorKind::Other).caused_by(lost))??;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
            Error::new("read secret", ErrorKind::InvalidConfig).because("the token holds characters that HTTP forbids")
        })?;
        value.set_sensitive(true);
        *latest = Some((Instant::now(), value.clone()));
        Ok(value)
    }
}
