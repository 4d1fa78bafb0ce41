//! `HostKeyCheck`: which server the SSH client inside talks to. It knows no user.

use russh::client::{self, Handle};
use russh::keys::PublicKeyOrCertificate;

use super::known_hosts::KnownHosts;
use crate::error::{Error, Result};

/// A connection; it ends with this value.
pub(super) type Connection = Handle<HostKeyCheck>;

/// Accepts only the keys that are known of the server.
#[derive(Debug)]
pub(super) struct HostKeyCheck(KnownHosts);

impl HostKeyCheck {
    pub(super) fn new(known: KnownHosts) -> Self {
        Self(known)
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refused {
    /// By us, for the server's key.
    Here(Error),
    /// By the other side, or the network.
    There(russh::Error),
}

impl From<russh::Error> for Refused {
    fn from(error: russh::Error) -> Self {
        Self::There(error)
    }
}

impl client::Handler for HostKeyCheck {
    type Error = Refused;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Refused> {
        self.0.check(&shown.public_key()).map(|()| true).map_err(Refused::Here)
    }
}
