//! `Failure`: why a call to a plugin came to nothing, and what that is to the mount.

use std::time::Duration;

use super::log::PluginLog;
use super::wire::Refusal;
use crate::error::{Error, ErrorKind};

/// Why a call came to nothing.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The plugin said no.
    Refused(Refusal),
    /// The process ended, or had to be ended.
    Lost(String),
    /// The plugin answered something that the protocol does not allow.
    Broken(String),
    /// The host itself could not go on.
    Own(Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl Failure {
    /// A refusal of this kind, by its word in the protocol.
    pub fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.data.kind == kind)
    }

    /// Whether the plugin does not know the method.
    pub fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_unknown_method())
    }

    /// Whether this is about one path, so that another question may be answered.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(refusal) if !refusal.kind().is_outage() && refusal.kind() != ErrorKind::RateLimited)
    }

    /// Whether a plugin that takes a directory for a file would say so.
    pub fn may_mean_directory(&self) -> bool {
        let words = ["unknown_path", "not_a_directory", "failed", ""];
        matches!(self, Self::Refused(refusal) if words.contains(&refusal.data.kind.as_str()))
    }

    /// The same as an error of the mount.
    pub fn error(self, op: &'static str, log: &PluginLog) -> Error {
        match self {
            Self::Refused(refusal) => {
                let error = Error::new(op, refusal.kind());
                let error = match log.redact(&refusal.message) {
                    words if words.is_empty() => error,
                    words => error.because(words),
                };
                match refusal.data.retry_after.map(Duration::try_from_secs_f64) {
                    Some(Ok(wait)) => error.retry_after(wait),
                    _ => error,
                }
            }
            Self::Lost(why) => Error::new(op, ErrorKind::Unreachable).because(format!("the plugin is gone: {why}")),
            Self::Broken(why) => {
                Error::new(op, ErrorKind::Protocol).because(format!("the plugin answered {}", log.redact(&why)))
            }
            Self::Own(error) => error,
        }
    }
}
