//! `Session`: an account that asks a site with its token. It knows no course.

use std::collections::HashSet;

use parking_lot::RwLock;
use serde::de::DeserializeOwned;

use super::answer::Refused;
use super::login::Login;
use super::refusal::Route;
use super::site::{Asked, Site};
use crate::error::Result;
use crate::revealed::Revealed;
use crate::sources::purpose::Purpose;

/// A site that was logged in to. With a password, a token that the site takes no longer is replaced.
#[derive(Debug)]
pub(super) struct Session {
    site: Site,
    login: Login,
    token: RwLock<Revealed>,
    /// Held while a token is replaced. A token that the site refused and gave again stands here: no other is to be had.
    renewal: tokio::sync::Mutex<Option<Revealed>>,
    /// The functions of the token's service.
    functions: HashSet<String>,
}

impl Session {
    /// Logs in.
    pub(super) async fn begin(purpose: Purpose<'_>, site: Site, login: Login) -> Result<Self> {
        let token = RwLock::new(login.token(purpose, &site).await?);
        Ok(Self { site, login, token, renewal: tokio::sync::Mutex::default(), functions: HashSet::new() })
    }

    /// The same, of which it is known what the token's service has.
    pub(super) fn with_functions(self, functions: HashSet<String>) -> Self {
        Self { functions, ..self }
    }

    /// Whether the token's service has a function.
    pub(super) fn has(&self, function: &str) -> bool {
        self.functions.contains(function)
    }

    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// The token for the next request.
    pub(super) fn token(&self) -> Revealed {
        self.token.read().clone()
    }

    /// Whether another token stands for one with which the site refused a request: it is asked for one, once for all who were refused.
    ///
    /// # Errors
    /// The site does not accept the password any longer, or does not answer.
    pub(super) async fn renew(&self, purpose: Purpose<'_>, refused: &Refused, token: &Revealed) -> Result<bool> {
        if !self.login.has_password() || !refused.is_of_token() {
            return Ok(false);
        }
        let mut given_again = self.renewal.lock().await;
        if self.token() != *token {
            return Ok(true);
        }
        if given_again.as_ref() == Some(token) {
            return Ok(false);
        }
        let fresh = self.login.token(purpose, &self.site).await?;
        if fresh == *token {
            *given_again = Some(fresh);
            return Ok(false);
        }
        *self.token.write() = fresh;
        tracing::info!("the site no longer accepts the token: logged in anew");
        Ok(true)
    }

    /// Calls a function of the site's web service; with the answer comes when it was given by the site's clock.
    pub(super) async fn try_call<T: DeserializeOwned + Send + 'static>(
        &self,
        purpose: Purpose<'_>,
        function: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(Asked<T>, i64)> {
        let token = self.token();
        let answer = self.site.call(purpose, &token, function, parameters).await?;
        match &answer.0 {
            Err(refused) if self.renew(purpose, refused, &token).await? => {
                self.site.call(purpose, &self.token(), function, parameters).await
            }
            _ => Ok(answer),
        }
    }

    /// The same where a refusal is an error.
    pub(super) async fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        purpose: Purpose<'_>,
        function: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T> {
        let (asked, _) = self.try_call(purpose, function, parameters).await?;
        asked.map_err(|refused| Route::Rest.refusal(purpose, &refused))
    }
}
