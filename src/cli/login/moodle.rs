//! A Moodle token for a user and a password, which is then no longer needed.

use super::super::run::on_runtime;
use super::Failure;
use crate::config::{Diagnostics, SourceConfig};
use crate::error::{Error, ErrorKind};
use crate::revealed::Revealed;
use crate::sources::moodle::Moodle;

/// Asks the site for the token.
///
/// # Errors
/// What is wrong with the settings; the site does not answer, or does not accept the password.
pub(super) fn token(source: &SourceConfig, username: &str, password: Revealed) -> Result<Revealed, Failure> {
    let failed = Error::new("log in", ErrorKind::TimedOut);
    let mut settings = source.settings.clone().with_secrets([("password".to_owned(), password)]);
    settings.values.remove("token");
    settings.values.insert("username".to_owned(), username.into());
    on_runtime(async {
        let moodle = Moodle::read(&settings).map_err(|problems| {
            Failure::Config(Diagnostics(problems.iter().map(|problem| source.locate(problem)).collect()))
        })?;
        let token = tokio::time::timeout(source.timeout, moodle.token()).await;
        Ok(token.map_err(|_| failed)??)
    })
}
