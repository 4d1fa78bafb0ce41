//! Logging in: with the key, the agent or the password that is configured, or with what OpenSSH would try. It prompts for nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, load_secret_key};
use tokio::net::UnixStream;

use super::config::Inside;
use super::host_key::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::path::expand_home;
use crate::revealed::Revealed;

/// Keys that are tried where none is configured, in this order.
const USUAL_KEYS: [&str; 3] = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];

/// How many keys of an agent are tried: OpenSSH's server hangs up after six attempts.
const MAX_AGENT_KEYS: usize = 5;

/// The credentials of an account, any of which the server may accept.
pub(super) struct Credentials {
    keys: Vec<PrivateKey>,
    /// The agent to ask, and the only one of its keys that is wanted.
    agent: Option<(PathBuf, Option<PublicKey>)>,
    password: Option<Revealed>,
}

impl Credentials {
    /// Reads keys and gets secrets. Blocks.
    pub(super) fn read(config: &Inside) -> Result<Self> {
        let password = config.password.as_ref().map(|secret| secret.reveal()).transpose()?;
        let passphrase = config.passphrase.as_ref().map(|secret| secret.reveal()).transpose()?;
        let agent = |only| config.agent.clone().map(|agent| (agent, only));
        let credentials = match &config.key {
            Some(file) => match read_key(file, passphrase.as_ref())? {
                Key::Open(key) => Self { keys: vec![*key], agent: None, password },
                Key::Locked(key) if config.agent.is_some() => {
                    Self { keys: Vec::new(), agent: agent(Some(key)), password }
                }
                Key::Locked(_) => {
                    let why =
                        format!("the key {} is encrypted; set `passphrase`, or add it to an agent", file.display());
                    return Err(Error::new("connect", ErrorKind::InvalidConfig).because(why));
                }
            },
            None if password.is_some() => Self { keys: Vec::new(), agent: None, password },
            None => {
                let usual = USUAL_KEYS.iter().map(|file| expand_home(file)).filter(|file| file.is_file());
                // One that is encrypted may be in the agent; one that cannot be read is not meant.
                let keys = usual.filter_map(|file| match read_key(&file, None) {
                    Ok(Key::Open(key)) => Some(*key),
                    _ => None,
                });
                Self { keys: keys.collect(), agent: agent(None), password: None }
            }
        };
        Ok(credentials)
    }
}

enum Key {
    Open(Box<PrivateKey>),
    /// Encrypted, and no passphrase is configured.
    Locked(PublicKey),
}

fn read_key(file: &Path, passphrase: Option<&Revealed>) -> Result<Key> {
    let wrong = |why: &str| {
        Error::new("connect", ErrorKind::InvalidConfig).because(format!("the key {}: {why}", file.display()))
    };
    match load_secret_key(file, passphrase.map(Revealed::expose)) {
        Ok(key) => Ok(Key::Open(Box::new(key))),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            // OpenSSH's own format has the public half in the clear; the file beside it has it for the others.
            let bytes = std::fs::read(file).unwrap_or_default();
            let public = PrivateKey::from_openssh(bytes).map(|key| key.public_key().clone()).ok();
            let beside = || {
                let text = std::fs::read_to_string(format!("{}.pub", file.display())).ok()?;
                PublicKey::from_openssh(&text).ok()
            };
            let public = public.or_else(beside);
            public.map(Key::Locked).ok_or_else(|| wrong("it is encrypted; set `passphrase`"))
        }
        Err(_) if passphrase.is_some() => Err(wrong("it cannot be opened with this passphrase")),
        Err(error) => Err(wrong("it cannot be read").caused_by(error)),
    }
}

/// Proves to the server who asks.
///
/// # Errors
/// `Unauthenticated` if the server accepts nothing of what there is.
pub(super) async fn log_in(connection: &mut Connection, user: &str, credentials: Credentials) -> Result<()> {
    let mut attempts = Attempts { connection, user, tried: Vec::new() };
    if let Some((socket, only)) = &credentials.agent {
        match attempts.agent(socket, only.as_ref()).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // An agent that is not running is no hindrance to whatever else there is.
            Err(why) => attempts.tried.push(format!("the agent {} ({why})", socket.display())),
        }
    }
    for key in credentials.keys {
        if attempts.key(key).await? {
            return Ok(());
        }
    }
    if let Some(password) = &credentials.password
        && attempts.password(password).await?
    {
        return Ok(());
    }
    Err(attempts.refused())
}

struct Attempts<'a> {
    connection: &'a mut Connection,
    user: &'a str,
    /// The credentials that were not accepted, in words.
    tried: Vec<String>,
}

impl Attempts<'_> {
    async fn key(&mut self, key: PrivateKey) -> Result<bool> {
        let hash = self.rsa_hash(key.public_key()).await;
        let name = fingerprint("the key", key.public_key());
        let answer =
            self.connection.authenticate_publickey(self.user, PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await;
        self.accepted(name, answer)
    }

    /// An error, in words, is about the agent, not about the server.
    async fn agent(&mut self, socket: &Path, only: Option<&PublicKey>) -> Result<bool, String> {
        let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
        let mut agent = AgentClient::connect(stream);
        if let Some(binding) = self.connection.agent_session_binding() {
            // Only keys that are bound to certain hosts need it; agents that do not know it refuse.
            let _ = agent.bind_session(binding, false).await;
        }
        let identities = agent.request_identities().await.map_err(|e| e.to_string())?;
        let keys = identities.into_iter().filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, .. } => Some(key),
            AgentIdentity::Certificate { .. } => None,
        });
        let wanted = keys.filter(|key| only.is_none_or(|only| only.key_data() == key.key_data()));
        let wanted: Vec<_> = wanted.take(MAX_AGENT_KEYS).collect();
        if wanted.is_empty() {
            return Err(if only.is_some() { "it does not hold the key".into() } else { "it holds no key".into() });
        }
        for key in wanted {
            let hash = self.rsa_hash(&key).await;
            let name = fingerprint("the agent's key", &key);
            match self.connection.authenticate_publickey_with(self.user, key, hash, &mut agent).await {
                Ok(AuthResult::Success) => return Ok(true),
                Ok(AuthResult::Failure { .. }) => self.tried.push(name),
                Err(error) => self.tried.push(format!("{name} ({error})")),
            }
        }
        Ok(false)
    }

    /// As a password, and as the answer to the server's only question, which is how PAM asks for one.
    async fn password(&mut self, password: &Revealed) -> Result<bool> {
        let answer = self.connection.authenticate_password(self.user, password.expose()).await;
        if self.accepted("the password".into(), answer)? {
            return Ok(true);
        }
        let mut answer = self.connection.authenticate_keyboard_interactive_start(self.user, None).await;
        let mut told = false;
        loop {
            let responses = match answer {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(true),
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => match prompts.as_slice() {
                    [] => Vec::new(),
                    [prompt] if !prompt.echo && !told => {
                        told = true;
                        vec![password.expose().to_owned()]
                    }
                    // A one-time code, or the same question again: there is no answer to it.
                    _ => return Ok(false),
                },
                Ok(KeyboardInteractiveAuthResponse::Failure { .. }) | Err(_) => return Ok(false),
            };
            answer = self.connection.authenticate_keyboard_interactive_respond(responses).await;
        }
    }

    fn accepted(&mut self, name: String, answer: Result<AuthResult, russh::Error>) -> Result<bool> {
        match answer {
            Ok(AuthResult::Success) => return Ok(true),
            Ok(AuthResult::Failure { partial_success: true, .. }) => {
                self.tried.push(format!("{name} (accepted, but the server wants more)"));
            }
            Ok(AuthResult::Failure { .. }) | Err(_) => self.tried.push(name),
        }
        // A server that hangs up at the first attempt has not judged it.
        if self.connection.is_closed() && self.tried.len() == 1 {
            let why = "the server ended the connection while logging in";
            return Err(Error::new("connect", ErrorKind::Unreachable).because(why));
        }
        Ok(false)
    }

    /// The best hash for signatures with an RSA key; never SHA-1 unless the server names nothing else.
    async fn rsa_hash(&self, key: &PublicKey) -> Option<HashAlg> {
        if !key.algorithm().is_rsa() {
            return None;
        }
        let best = self.connection.best_supported_rsa_hash().await;
        best.ok().flatten().unwrap_or(Some(HashAlg::Sha256))
    }

    fn refused(&self) -> Error {
        let why = if self.tried.is_empty() {
            "there is nothing to log in with; set `key` or `password`, or add a key to an agent".to_owned()
        } else {
            format!("the server does not let {} in with {}", self.user, self.tried.join(", "))
        };
        Error::new("connect", ErrorKind::Unauthenticated).because(why)
    }
}

fn fingerprint(what: &str, key: &PublicKey) -> String {
    format!("{what} {}", key.fingerprint(HashAlg::Sha256))
}
