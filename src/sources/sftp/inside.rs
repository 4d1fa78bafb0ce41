//! The SSH client inside: a connection to a server whose key is known, and the byte stream of its SFTP subsystem.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Msg};
use russh::keys::{Algorithm, HashAlg};
use russh::{Channel, ChannelMsg, Disconnect, Preferred, cipher};

use super::auth::{self, Credentials};
use super::config::Inside;
use super::host_key::{Connection, HostKeyCheck, Refused};
use super::known_hosts::KnownHosts;
use crate::error::{Error, ErrorKind, Result};
use crate::sources::dial::dial;

/// How long the server may be silent before it is asked for a sign of life; after three without an answer the connection is over.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long a connection may be silent before it is ended. Keepalives come before, so that only a connection that was given up while
/// keys were exchanged is ended by this.
const INACTIVITY_TIMEOUT: Duration = Duration::from_secs(90);

/// Bytes that the server may send before it is told to go on, which it is when half of them have come: twice what is asked for at a time
/// (`window`), and more.
const WINDOW_BYTES: u32 = 32 * 1024 * 1024;

/// The longest packet, in bytes, that the library takes.
const MAX_PACKET_BYTES: u32 = 65_535;

/// The cipher decides the speed: AES in hardware first.
const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// Connects, logs in and opens the SFTP subsystem.
pub(super) async fn connect(host: &str, config: &Inside) -> Result<(Connection, Channel<Msg>)> {
    let (known, credentials) = prepare(host, config).await?;
    let settings = Arc::new(client::Config {
        window_size: WINDOW_BYTES,
        maximum_packet_size: MAX_PACKET_BYTES,
        preferred: Preferred { cipher: Cow::Borrowed(&CIPHERS), key: key_types(&known), ..Preferred::default() },
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        inactivity_timeout: Some(INACTIVITY_TIMEOUT),
        nodelay: true,
        ..client::Config::default()
    });
    let stream = dial(host, config.port).await;
    let stream = stream.map_err(|e| unreachable(format!("cannot reach {host} port {}", config.port)).caused_by(e))?;
    // Nagle's algorithm delays small answers. If it cannot be turned off, all works, only slower.
    let _ = stream.set_nodelay(true);
    let mut connection =
        client::connect_stream(settings, stream, HostKeyCheck::new(known)).await.map_err(|why| match why {
            Refused::Here(error) => error,
            Refused::There(error) => unreachable(format!("no SSH connection with {host}")).caused_by(error),
        })?;
    auth::log_in(&mut connection, &config.username, credentials).await?;
    let channel = subsystem(&connection).await?;
    Ok((connection, channel))
}

/// Says goodbye.
pub(super) async fn disconnect(connection: &Connection) {
    // A connection that is lost needs no goodbye.
    let _ = connection.disconnect(Disconnect::ByApplication, "", "").await;
}

/// Reads files and runs the commands of secrets, where blocking is allowed.
async fn prepare(host: &str, config: &Inside) -> Result<(KnownHosts, Credentials)> {
    let (host, config) = (host.to_owned(), config.clone());
    let prepared = tokio::task::spawn_blocking(move || {
        Ok((KnownHosts::read(&config.known_hosts, &host, config.port)?, Credentials::read(&config)?))
    });
    prepared.await.unwrap_or_else(|lost| Err(Error::new("connect", ErrorKind::Other).caused_by(lost)))
}

/// The types of key that are known of the server come first, as with OpenSSH: it shows the best one of its own otherwise.
fn key_types(known: &KnownHosts) -> Cow<'static, [Algorithm]> {
    let mut types: Vec<Algorithm> = Vec::new();
    for known in known.algorithms() {
        match known {
            // The type of the key says nothing about the hash of the signature.
            Algorithm::Rsa { .. } => {
                types.extend([HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) }));
            }
            other => types.push(other),
        }
    }
    types.extend(Preferred::DEFAULT.key.iter().cloned());
    let mut seen = Vec::new();
    types.retain(|kind| {
        !seen.contains(kind) && {
            seen.push(kind.clone());
            true
        }
    });
    Cow::Owned(types)
}

async fn subsystem(connection: &Connection) -> Result<Channel<Msg>> {
    let failed = |error: russh::Error| unreachable("the server opens no SFTP channel".into()).caused_by(error);
    let mut channel = connection.channel_open_session().await.map_err(failed)?;
    channel.request_subsystem(true, "sftp").await.map_err(failed)?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(channel),
            Some(ChannelMsg::Failure) => {
                let why = "the server has no SFTP subsystem; its administrator has to turn it on";
                return Err(Error::new("connect", ErrorKind::Unsupported).because(why));
            }
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                return Err(unreachable("the server closed the SFTP channel".into()));
            }
            Some(_) => {}
        }
    }
}

fn unreachable(why: String) -> Error {
    Error::new("connect", ErrorKind::Unreachable).because(why)
}
