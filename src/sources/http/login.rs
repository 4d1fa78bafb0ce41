//! `Login`: the account that the settings `username` with `password`, or `token`, name. It knows no request.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;

use crate::error::{Error, ErrorKind, Result};
use crate::revealed::{Revealed, conceal};
use crate::secret::Secret;
use crate::source::settings::Reader;

/// Credentials of HTTP itself: Basic or Bearer, or none.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Login {
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
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
        Self { username, password, token }
    }

    /// Whether requests carry something that must not travel in the clear.
    pub(in crate::sources) fn has_secret(&self) -> bool {
        self.password.is_some() || self.token.is_some()
    }

    /// The value of the header `Authorization`, if there is one. Runs the commands that know secrets.
    pub(in crate::sources) async fn header(&self) -> Result<Option<HeaderValue>> {
        let login = self.clone();
        let header = tokio::task::spawn_blocking(move || login.reveal()).await;
        header.map_err(|lost| Error::new("connect", ErrorKind::Other).caused_by(lost))?
    }

    fn reveal(self) -> Result<Option<HeaderValue>> {
        let password = self.password.map(|secret| secret.reveal()).transpose()?;
        let token = self.token.map(|secret| secret.reveal()).transpose()?;
        let text = match (token, self.username) {
            (Some(token), _) => format!("Bearer {}", token.expose()),
            (None, Some(username)) => {
                let password = password.as_ref().map_or("", |password| password.expose());
                let encoded = Revealed::new(BASE64_STANDARD.encode(format!("{username}:{password}")));
                conceal(&encoded);
                format!("Basic {}", encoded.expose())
            }
            (None, None) => return Ok(None),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| {
            Error::new("connect", ErrorKind::InvalidConfig).because("the token holds characters that HTTP forbids")
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
