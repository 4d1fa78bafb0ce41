//! `Tokens`: the configured token as it is now. It compares nothing.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::guard::Token;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The shortest token that cannot be guessed in a lifetime, if it is a random one.
const MIN_TOKEN_BYTES: usize = 16;

/// For how long a token counts that was read from a file; so that one that was replaced is of no use any more.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The same where a command tells it, which may take its time.
const MAX_AGE_OF_COMMAND: Duration = Duration::from_secs(30);

/// Where the token comes from, and what came last.
pub(super) struct Tokens {
    secret: Secret,
    latest: Mutex<Option<(Instant, Token)>>,
}

impl Tokens {
    pub(super) fn of(secret: Secret) -> Self {
        Self { secret, latest: Mutex::default() }
    }

    /// The token.
    ///
    /// # Errors
    /// It cannot be had, or could be guessed.
    pub(super) async fn now(&self) -> Result<Token> {
        let max_age = if matches!(self.secret, Secret::Command(_)) { MAX_AGE_OF_COMMAND } else { MAX_AGE };
        let mut latest = self.latest.lock().await;
        if let Some((read, token)) = *latest
            && read.elapsed() < max_age
        {
            return Ok(token);
        }
        // What cannot be had is looked for again by the next request.
        *latest = None;
        let token = reveal(&self.secret).await?;
        *latest = Some((Instant::now(), token));
        Ok(token)
    }
}

/// Whether the configured token can be had, and is long enough.
///
/// # Errors
/// It is not, or could be guessed.
pub async fn try_token(token: &Secret) -> Result<()> {
    reveal(token).await.map(drop)
}

async fn reveal(secret: &Secret) -> Result<Token> {
    let secret = secret.clone();
    let revealed = spawn_blocking(move || secret.reveal()).await;
    let revealed = revealed.map_err(|e| Error::new("read token", ErrorKind::Other).caused_by(e))??;
    if revealed.expose().len() < MIN_TOKEN_BYTES {
        let why = format!("the token of [web] has less than {MIN_TOKEN_BYTES} bytes, and could be guessed");
        return Err(Error::new("read token", ErrorKind::InvalidConfig).because(why));
    }
    Ok(Token::of(revealed.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_that_was_replaced_is_of_no_use_any_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, runs) = (dir.path().join("token"), dir.path().join("runs"));
        let write = |text: &str| std::fs::write(&file, text).expect("it is written");
        let command = format!("cat {}; echo >>{}", file.display(), runs.display());
        for (secret, max_age) in [(Secret::File(file.clone()), MAX_AGE), (Secret::Command(command), MAX_AGE_OF_COMMAND)]
        {
            write("the first token of all\n");
            let tokens = Tokens::of(secret);
            tokio::time::pause();
            assert!(tokens.now().await.expect("it is there") == Token::of("the first token of all"));
            write("another one, as long\n");
            tokio::time::advance(max_age).await;
            assert!(tokens.now().await.expect("it is there") == Token::of("another one, as long"));
            assert!(tokens.now().await.is_ok());
            write("short\n");
            tokio::time::advance(max_age).await;
            assert!(tokens.now().await.is_err(), "one that could be guessed opens to nobody");
            write("the third token of all\n");
            assert!(tokens.now().await.expect("it is there") == Token::of("the third token of all"));
            tokio::time::resume();
        }
        let runs = std::fs::read(runs).expect("it ran");
        assert_eq!(runs.len(), 4, "a command runs once for many requests");
    }
}
