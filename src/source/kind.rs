//! `Kind`: a type of source, which makes sources of settings. It knows no other type.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::keyring::Table;
use super::url::Urls;
use super::{Problem, Settings, Source};
use crate::error;
use crate::revealed::Revealed;

/// The keys that say whose login it is.
pub(crate) const ACCOUNT_KEYS: [&str; 5] = ["username", "user", "email", "login", "access_key_id"];

/// A type of source: what the word after `type =` stands for.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    /// Its name in the configuration.
    fn type_name(&self) -> &'static str;

    /// The URLs that mean a source of this type; none if none does.
    fn urls(&self) -> Option<&'static Urls> {
        None
    }

    /// The user name under which the keyring keeps the secret `key` of a source with this table.
    ///
    /// # Errors
    /// With the advice what to write instead, for a secret that is not kept.
    fn keyring_user(&self, key: &str, table: Table<'_>) -> Result<String, String> {
        Ok(table.account_and_place(key))
    }

    /// The environment variables from which a source with these settings gets secrets.
    fn secret_variables(&self, settings: &Settings) -> BTreeSet<String> {
        settings.variables()
    }

    /// The key of a secret that programs have made and that lasts, if these settings have one: whoever has it may read what the source
    /// shows, and nobody guesses it. A password is none, which people think of, nor is what is renewed all the time.
    #[cfg(feature = "shared")]
    fn lasting_secret(&self, _settings: &Settings) -> Option<&'static str> {
        None
    }

    /// Returns the issuer of tokens for passwords, if the service has one: then only the token need be kept.
    fn token_issuer(&self) -> Option<&dyn TokenIssuer> {
        None
    }

    /// Whether a source with these settings is connected as soon as it is mounted. Only where that takes several round trips, starts no
    /// program and asks the user nothing ([`Settings::may_ask`]).
    fn connects_early(&self, _settings: &Settings) -> bool {
        false
    }

    /// Whether these settings say whose login it is, as they stand in the source's identity: then nothing that the cache keeps for them came
    /// with the login of another account.
    fn names_account(&self, settings: &Settings) -> bool {
        ACCOUNT_KEYS.iter().any(|key| settings.values.get(*key).is_some_and(toml::Value::is_str))
    }

    /// Makes a source of its own table of the configuration: the first of the contract's seven methods, called once for each source and
    /// before anything else. It does no network request.
    ///
    /// # Errors
    /// All problems at once, each naming its key.
    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>>;
}

/// Gets a token for a password.
#[async_trait]
pub trait TokenIssuer: Send + Sync {
    /// Asks the service for the token of the user and the password in these settings.
    ///
    /// # Errors
    /// The problems of the settings; or else the service does not answer, or does not accept the password.
    async fn token(&self, settings: &Settings) -> Result<error::Result<Revealed>, Vec<Problem>>;
}
