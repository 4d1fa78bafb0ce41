//! `login`: asks for a source's secret, tries it, and puts it where the configuration says once it has worked. It never shows one.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use serde_json::json;

use super::edit::led_to;
use super::output::outln;
use super::runtime::{endable, on_runtime};
use super::status::connected;
use super::{Failure, prompt};
use crate::config::{Config, Diagnostics, SourceConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::{self, Store};
use crate::mount;
use crate::mount::point;
use crate::path::{PrintableLines, RemotePath};
use crate::revealed::Revealed;
use crate::secret::Secret;
use crate::source::kind::TokenIssuer;
use crate::source::nearest::nearest;
use crate::source::{Problem, Source as _};
use crate::sources::{KINDS, kind};

/// The source whose secret is asked for.
#[derive(Debug)]
pub struct LoginRequest {
    /// The configuration file.
    pub file: PathBuf,
    /// The source's name.
    pub source: String,
    /// The user whose password is asked for, to get a token for it.
    pub username: Option<String>,
}

/// Asks for a secret; the argument tells its purpose.
type Ask<'a> = dyn FnMut(&str) -> io::Result<String> + 'a;

/// Logs in and prints the result. Returns the exit code.
///
/// # Errors
/// The configuration is wrong, the secret was not accepted, or it cannot be kept; then nothing is.
pub fn login(request: &LoginRequest) -> Result<u8, Failure> {
    for line in perform(request, &mut prompt::ask_secret, &*keyring::system())? {
        outln!("{}", PrintableLines(&line));
    }
    tell_mounts(&request.source);
    Ok(0)
}

/// Lets the mounts of this user log in with the new secret.
fn tell_mounts(source: &str) {
    for mounted in point::mounted().iter().filter(|mounted| mounted.is_ours()) {
        // One that does not answer logs in when it asks the source again.
        let _ = connected(mounted).map(|mut client| client.ask("log_in", json!({"source": source})));
    }
}

fn perform(request: &LoginRequest, ask: &mut Ask<'_>, store: &dyn Store) -> Result<Vec<String>, Failure> {
    let (config, problems) = Config::examine(&request.file)?;
    problems.or(())?;
    let source = named(&config, &request.source)?;
    let name = source.name.escape_debug();
    let kept = source.settings.kept_secrets();
    if kept.is_empty() {
        return Err(Failure::Usage(format!(
            "source `{name}` has no secret that could be stored; write for example password = {{ keyring = true }} or \
             password = {{ file = \"~/.config/kitovufs/{name}\" }} in [sources.{name}]"
        )));
    }
    log_in(&config, source, request.username.as_deref(), ask, store)
}

/// Asks for the secrets of a source that are kept somewhere, tries it with them, and puts them there once it has worked. Returns what is
/// to be said.
pub(super) fn log_in(
    config: &Config,
    source: &SourceConfig,
    username: Option<&str>,
    ask: &mut Ask<'_>,
    store: &dyn Store,
) -> Result<Vec<String>, Failure> {
    let name = source.name.escape_debug();
    let kept = source.settings.kept_secrets();
    let issuer = kind(&source.type_name).and_then(|kind| kind.token_issuer());
    let issuer = issuer.filter(|_| kept.iter().map(|(key, _)| key).eq(["token"]));
    if username.is_some() && issuer.is_none() {
        let types = KINDS.into_iter().filter(|kind| kind.token_issuer().is_some()).map(|kind| kind.type_name());
        return Err(Failure::Usage(format!(
            "--username is for a source of type {} with token = {{ keyring = true }}; elsewhere, `username` stands in \
             [sources.{name}]",
            types.collect::<Vec<_>>().join(" or ")
        )));
    }
    // Before the user types a secret.
    if kept.iter().any(|(_, place)| matches!(place, Secret::Keyring(_))) {
        store.check()?;
    }
    let mut asked = |what: &str| {
        let typed = ask(&format!("{name} ({}), {what}: ", source.type_name));
        let typed = typed.map_err(|e| Error::new("read secret", ErrorKind::Other).caused_by(e))?;
        match &*typed {
            "" => Err(Error::new("read secret", ErrorKind::Other).because(format!("{what}: nothing was typed"))),
            _ => Ok(Revealed::new(typed)),
        }
    };
    let secrets: Vec<(String, Revealed)> = match issuer.zip(username) {
        Some((issuer, user)) => {
            let password = asked(&format!("password of {}", user.escape_debug()))?;
            vec![("token".to_owned(), token(issuer, source, user, password)?)]
        }
        None => {
            let typed = kept.iter().map(|(key, _)| Ok((key.clone(), asked(key)?)));
            typed.collect::<Result<_>>()?
        }
    };
    prove(config, source, &secrets)?;
    let mut said = vec![format!("{name}: connected and listed")];
    for ((key, place), (_, secret)) in kept.iter().zip(&secrets) {
        said.push(keep(key, place, secret, store)?);
    }
    Ok(said)
}

/// Asks the service for the token of a user with this password, which is then no longer needed.
fn token(
    issuer: &dyn TokenIssuer,
    source: &SourceConfig,
    username: &str,
    password: Revealed,
) -> Result<Revealed, Failure> {
    let failed = Error::new("log in", ErrorKind::TimedOut);
    let mut settings = source.settings.clone().with_secrets([("password".to_owned(), password)]);
    settings.values.remove("token");
    settings.values.insert("username".to_owned(), username.into());
    on_runtime(async {
        let token = tokio::time::timeout(source.timeout, issuer.token(&settings)).await.map_err(|_| failed)?;
        let wrong = |problems: Vec<Problem>| Diagnostics(problems.iter().map(|wrong| source.locate(wrong)).collect());
        Ok(token.map_err(wrong)??)
    })
}

/// The source of this name.
///
/// # Errors
/// There is none; names the nearest.
pub(super) fn named<'a>(config: &'a Config, name: &str) -> Result<&'a SourceConfig, Failure> {
    if let Some(source) = config.sources.iter().find(|source| source.name == name) {
        return Ok(source);
    }
    Err(unknown(name, &config.sources.iter().map(|source| &*source.name).collect::<Vec<_>>()))
}

/// The failure for a name that is none of the sources'.
pub(super) fn unknown(name: &str, names: &[&str]) -> Failure {
    let advice = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{}`?", near.escape_debug()),
        None if names.is_empty() => "there is none".to_owned(),
        None => format!("there are: {}", names.join(", ").escape_debug()),
    };
    Failure::Usage(format!("there is no source `{}`; {advice}", name.escape_debug()))
}

/// Connects with the secrets and lists the root.
fn prove(config: &Config, source: &SourceConfig, secrets: &[(String, Revealed)]) -> Result<(), Failure> {
    let mut source = source.clone();
    source.settings = source.settings.with_secrets(secrets.iter().cloned());
    source.settings.withheld = mount::sources::others_secrets(config, &source);
    let config = Config { sources: vec![source], folders: Vec::new(), ..config.clone() };
    on_runtime(async {
        for configured in mount::examine(&config, Diagnostics::default()).await? {
            let proof = answers(&*configured.connection).await;
            configured.connection.disconnect().await;
            proof?;
        }
        Ok(())
    })
}

async fn answers(source: &dyn crate::source::Source) -> Result<()> {
    source.connect().await?;
    source.list_path(&RemotePath::root()).await?.next().await.transpose().map(drop)
}

fn keep(key: &str, place: &Secret, secret: &Revealed, store: &dyn Store) -> Result<String> {
    match place {
        Secret::Keyring(item) => {
            // The desktop may ask the user for the keyring's own password.
            endable(|| store.set(item, secret))??;
            Ok(format!("`{key}` is in the keyring now ({item})"))
        }
        Secret::File(path) => {
            write(path, secret)
                .map_err(|e| Error::new("store secret", ErrorKind::Other).on(path.display()).caused_by(e))?;
            Ok(format!("`{key}` is in the file {} now, which only you can read", path.display()))
        }
        // Only secrets of the two forms above are asked for.
        Secret::Plain(_) | Secret::Env(_) | Secret::Command(_) => Ok(format!("`{key}` is not stored")),
    }
}

/// Puts the secret into the first line of a file that only its owner can read. Lines below it stay.
fn write(path: &Path, secret: &Revealed) -> io::Result<()> {
    // Through a link, so that it stays one.
    let path = led_to(path)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    let before = match fs::read(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let below = before.iter().position(|&byte| byte == b'\n').map_or(&b"\n"[..], |end| &before[end..]);
    // Readable by the owner only from the beginning, and never there in part.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(secret.expose().as_bytes())?;
    file.write_all(below)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
