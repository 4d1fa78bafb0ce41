//! `Login`: the account that the settings `token`, or `username` with `password`, name. It knows no course.

use super::answer::Token;
use super::refusal::Route;
use super::site::Site;
use crate::error::{ErrorKind, Result};
use crate::revealed::{Revealed, conceal};
use crate::secret::Secret;
use crate::source::settings::{Reader, Settings};
use crate::sources::purpose::Purpose;

/// The service whose functions are used: sites that have web services at all have this one.
const SERVICE: &str = "moodle_mobile_app";

/// The origin of the token.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// The token itself.
    Token(Secret),
    /// The account for which the site issues one.
    Password { username: String, password: Secret },
}

impl Login {
    /// None if something is wrong with the settings, which is noted.
    pub(super) fn read(settings: &Settings, reader: &mut Reader<'_>) -> Option<Self> {
        let username = reader.string("username");
        let (password, token) = (reader.secret("password"), reader.secret("token"));
        // A setting that is written and cannot be read is none here, and its problem is noted already. So the keys decide, not the
        // values: such a setting must not be called missing as well.
        let [has_token, has_username, has_password] =
            ["token", "username", "password"].map(|key| settings.values.contains_key(key));
        let (key, message) = match (has_token, has_username, has_password) {
            (true, false, false) => return token.map(Self::Token),
            (false, true, true) => {
                return username.zip(password).map(|(username, password)| Self::Password { username, password });
            }
            (true, _, _) => (Some("token"), "`token` excludes `username` and `password`"),
            (false, false, true) => (Some("password"), "`password` needs `username`"),
            (false, true, false) => (
                Some("username"),
                "`username` needs `password`; add for example: password = { command = \"pass moodle\" }",
            ),
            (false, false, false) => (
                None,
                "`token` is missing, or `username` and `password`; add for example: token = { command = \"pass moodle\" }",
            ),
        };
        reader.problem(key, message);
        None
    }

    /// Whether the site gives another token for one that it takes no longer.
    pub(super) fn has_password(&self) -> bool {
        matches!(self, Self::Password { .. })
    }

    /// The token. Runs the commands that know secrets; with a password, asks the site for the token.
    pub(super) async fn token(&self, purpose: Purpose<'_>, site: &Site) -> Result<Revealed> {
        let (username, secret) = match self {
            Self::Token(token) => (None, token.clone()),
            Self::Password { username, password } => (Some(username), password.clone()),
        };
        let secret = tokio::task::spawn_blocking(move || secret.reveal()).await;
        let secret = secret.map_err(|lost| purpose.error(ErrorKind::Other).caused_by(lost))??;
        let Some(username) = username else { return Ok(secret) };
        let fields = [("username", username.as_str()), ("password", secret.expose()), ("service", SERVICE)];
        let (asked, _) = site.ask::<Token>(purpose, Route::Login, "login/token.php", &fields).await?;
        match asked {
            Ok(Token { token }) => {
                let token = Revealed::new(token);
                conceal(&token);
                Ok(token)
            }
            Err(refused) => Err(Route::Login.refusal(purpose, &refused)),
        }
    }
}
