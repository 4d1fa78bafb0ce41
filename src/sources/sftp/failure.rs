//! `Failure`: why a request to an SFTP server has no answer. It knows no operation of a source.

use std::sync::Arc;

use bytes::Bytes;

use super::codec::{Malformed, status};
use crate::error::{Error, ErrorKind};
use crate::path::{Printable, RemotePath};

/// How much of a server's own words is repeated, in bytes.
const MAX_WORDS_BYTES: usize = 200;

/// Why a question has no answer.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The server answered with a status.
    Status { code: u32, message: Bytes },
    /// The connection has ended.
    Lost(Arc<str>),
    /// The server broke the protocol; what it says is of no more use.
    Broken(Malformed),
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Broken(malformed)
    }
}

impl Failure {
    pub(super) fn lost(why: impl Into<Arc<str>>) -> Self {
        Self::Lost(why.into())
    }

    /// Whether it says that the end of a file or directory is reached.
    pub(super) fn is_eof(&self) -> bool {
        matches!(self, Self::Status { code: status::EOF, .. })
    }

    /// Whether the server answered, if only with a refusal.
    pub(super) fn is_status(&self) -> bool {
        matches!(self, Self::Status { .. })
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Lost(_) => ErrorKind::Unreachable,
            Self::Broken(_) => ErrorKind::Protocol,
            Self::Status { code, .. } => match *code {
                status::NO_SUCH_FILE | status::NO_SUCH_PATH => ErrorKind::NotFound,
                status::PERMISSION_DENIED => ErrorKind::PermissionDenied,
                status::NO_CONNECTION | status::CONNECTION_LOST => ErrorKind::Unreachable,
                status::UNSUPPORTED => ErrorKind::Unsupported,
                status::NOT_A_DIRECTORY => ErrorKind::NotADirectory,
                status::IS_A_DIRECTORY => ErrorKind::IsADirectory,
                _ => ErrorKind::Other,
            },
        }
    }

    /// The error of an operation that this failure ended.
    pub(super) fn error(&self, op: &'static str, path: &RemotePath) -> Error {
        let error = Error::new(op, self.kind()).on(path);
        match self {
            // The kind says the same.
            Self::Status { .. } if self.kind() != ErrorKind::Other => error,
            Self::Status { code, message } => {
                let words = Printable(&message[..message.len().min(MAX_WORDS_BYTES)]).to_string();
                error.because(format!("the server answered with status {code} ({words})"))
            }
            Self::Lost(why) => error.because(format!("the connection is lost: {why}")),
            Self::Broken(Malformed(why)) => error.because(*why),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_refusal_is_of_one_place_and_the_login_is_refused_elsewhere() {
        let failure = Failure::Status { code: status::PERMISSION_DENIED, message: Bytes::from_static(b"no") };
        assert_eq!(failure.error("open", &RemotePath::root()).kind(), ErrorKind::PermissionDenied);
    }
}
