//! `MountRequest`: a configuration, a mount point and how to serve it, and `Failure`: why a request was not done. It mounts
//! nothing.

use std::fmt;
use std::path::PathBuf;

use crate::config::{Config, Diagnostics};
use crate::error::Error;

/// The configuration to mount, the mount point, and how to serve it.
#[derive(Debug)]
pub struct MountRequest {
    /// The configuration; its own `mountpoint` no longer counts.
    pub config: Config,
    /// The problems of the configuration so far; the sources may add to them.
    pub problems: Diagnostics,
    /// The mount point, absolute.
    pub mountpoint: PathBuf,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Say nothing of sources that do not work, and do not look for them.
    pub quiet: bool,
    /// Mount only if every source works.
    pub strict: bool,
    /// This is the process that a `mount` left behind: it serves, and tells its parent when the folder answers.
    pub daemon: bool,
}

/// Why a request was not done.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong; the text says how to type it.
    Usage(String),
    /// The configuration is wrong.
    Config(Diagnostics),
    /// It was tried and failed.
    Failed(Error),
}

impl Failure {
    /// The process's exit code: 1 failed, 2 wrong usage or configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Config(problems) => problems.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Diagnostics> for Failure {
    fn from(problems: Diagnostics) -> Self {
        Self::Config(problems)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
