//! `Login`: the account that the settings `username` with `password`, or `token`, name. It knows no request.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use url::Url;

use super::authorization::Authorization;
use super::login_check::LoginCheck;
use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;
use crate::secret::Secret;
use crate::source::settings::Reader;

/// Credentials of HTTP itself: a user and a password, a token, or none.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Login {
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    /// Whether the server has ever offered Digest.
    digest_offered: Arc<AtomicBool>,
    /// Whether the latest answer about it has refused it.
    is_refused: Arc<AtomicBool>,
}

impl Login {
    pub(in crate::sources) fn read(reader: &mut Reader<'_>) -> Self {
        let username = reader.string("username");
        let (password, token) = (reader.secret("password"), reader.secret("token"));
        if token.is_some() && (username.is_some() || password.is_some()) {
            reader.problem(Some("token"), "`token` and `username` exclude each other");
        }
        if password.is_some() && username.is_none() {
            reader.problem(Some("password"), "`password` needs `username`");
        }
        Self { username, password, token, digest_offered: Arc::default(), is_refused: Arc::default() }
    }

    /// What finds out by a request for the root whether a refusal is about this login.
    pub(in crate::sources) fn check(&self, root: http::Request<Bytes>) -> LoginCheck {
        LoginCheck::new(root, self.is_refused.clone())
    }

    /// Whether requests carry something that must not travel in the clear.
    pub(in crate::sources) fn has_secret(&self) -> bool {
        self.password.is_some() || self.token.is_some()
    }

    /// What requests to the origin of `url` carry; none without an account. Runs the commands that know secrets.
    pub(in crate::sources) async fn authorization(&self, url: &Url) -> Result<Option<Authorization>> {
        let (login, url) = (self.clone(), url.clone());
        let revealed = tokio::task::spawn_blocking(move || login.reveal(&url)).await;
        revealed.map_err(|lost| Error::new("connect", ErrorKind::Other).caused_by(lost))?
    }

    fn reveal(self, url: &Url) -> Result<Option<Authorization>> {
        let password = self.password.map(|secret| secret.reveal()).transpose()?;
        let token = self.token.map(|secret| secret.reveal()).transpose()?;
        match (token, self.username) {
            (Some(token), _) => Authorization::of_token(url, &token).map(Some),
            (None, Some(user)) => {
                let password = password.unwrap_or_else(|| Revealed::new(""));
                Authorization::of_account(url, user, password, self.digest_offered).map(Some)
            }
            (None, None) => Ok(None),
        }
    }
}
