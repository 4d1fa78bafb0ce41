//! `Secret`: where to get a credential. It never shows what it holds: neither `Debug` nor an error does.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::children::starting;
use crate::duration::Shown;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::{self, Item};
use crate::revealed::{Revealed, conceal};

/// The place of a credential, as the configuration names it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written in the configuration itself; allowed only in a file that no other user can read.
    Plain(Revealed),
    /// `{ env = "NAME" }`: an environment variable.
    Env(String),
    /// `{ command = "…" }`: the first line that a shell command prints.
    Command(String),
    /// `{ file = "…" }`: the first line of a file.
    File(PathBuf),
    /// `{ keyring = true }`: the desktop's keyring.
    Keyring(Item),
}

/// The time that a command may take: the user may have to unlock a keyring for it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("[secret]"),
            Self::Env(name) => write!(f, "[secret from environment variable {name}]"),
            Self::Command(_) => f.write_str("[secret from a command]"),
            Self::File(path) => write!(f, "[secret from file {}]", path.display()),
            Self::Keyring(item) => write!(f, "[secret from the keyring: {item}]"),
        }
    }
}

impl Secret {
    /// Gets the credential, which [`conceal`] hides from now on. May run a command, read a file or ask the keyring: call it where blocking is allowed.
    ///
    /// # Errors
    /// `InvalidConfig` naming the place that had no credential, never its content; those of [`keyring::reveal`].
    pub fn reveal(&self) -> Result<Revealed> {
        let revealed = self.look_up()?;
        conceal(&revealed);
        Ok(revealed)
    }

    fn look_up(&self) -> Result<Revealed> {
        let text = match self {
            Self::Plain(revealed) => return Ok(revealed.clone()),
            Self::Keyring(item) => return keyring::reveal(item, &*keyring::system()),
            Self::Env(name) => {
                std::env::var(name).map_err(|_| missing(format!("the environment variable {name} is not set")))?
            }
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|e| missing(format!("cannot read {}", path.display())).caused_by(e))?,
            Self::Command(command) => printed_by(command, COMMAND_TIMEOUT)?,
        };
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(missing("the secret is empty".into()));
        }
        Ok(Revealed::new(line))
    }
}

fn missing(why: String) -> Error {
    Error::new("read secret", ErrorKind::InvalidConfig).because(why)
}

/// The output of a shell command, which is ended if it takes longer than `limit`.
fn printed_by(command: &str, limit: Duration) -> Result<String> {
    let not_run = |e| missing("cannot run the secret's command".into()).caused_by(e);
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped());
    let starting = starting(&mut shell).map_err(not_run)?;
    let child = shell.spawn().map_err(not_run)?;
    let group = starting.group(child.id());
    let (tell, ended) = mpsc::channel();
    // After the timeout there is no receiver.
    let wait = move || drop(tell.send(child.wait_with_output()));
    std::thread::Builder::new().name("secret".into()).spawn(wait).map_err(not_run)?;
    let Ok(output) = ended.recv_timeout(limit) else {
        drop(group);
        let limit = Shown(limit);
        return Err(missing(format!("the secret's command has not ended after {limit}; it must not ask anything")));
    };
    let output = output.map_err(not_run)?;
    if !output.status.success() {
        return Err(missing(format!("the secret's command ended with {}", output.status)));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| missing("the secret's command printed something that is not text".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revealed::concealed;

    #[test]
    fn a_secret_never_shows() {
        let secret = Secret::Plain(Revealed::new("hunter2"));
        assert!(!format!("{secret:?} {:?}", Revealed::new("hunter2")).contains("hunter2"));
    }

    #[test]
    fn what_was_revealed_is_concealed_wherever_it_comes_back() {
        Secret::Plain(Revealed::new("correct horse")).reveal().expect("it is there");
        Secret::Plain(Revealed::new("a")).reveal().expect("it is there");
        assert_eq!(concealed("530 who is correct horse, a?".into()), "530 who is [secret], a?");
    }

    #[test]
    fn the_first_line_of_a_command_is_the_secret() {
        let revealed = Secret::Command("printf 'pass word\\nurl: x\\n'".into()).reveal().expect("the command works");
        assert_eq!(revealed.expose(), "pass word");
    }

    #[test]
    fn a_failing_command_is_an_error_without_its_output() {
        let error = Secret::Command("echo hunter2; exit 3".into()).reveal().expect_err("it ends with 3");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let told = dir.path().join("told");
        let command = format!("echo $$ >{}; sleep 1000; true", told.display());
        let error = printed_by(&command, Duration::from_secs(2)).expect_err("it does not end");
        assert!(error.to_string().contains("has not ended after 2s"), "{error}");
        let pid = std::fs::read_to_string(told).expect("it ran").trim().parse().expect("its number");
        while !crate::children::has_ended(pid) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
