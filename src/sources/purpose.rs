//! `Purpose`: the operation and path of a request, for its errors. It knows no protocol.

use crate::error::{Error, ErrorKind};
use crate::path::RemotePath;

/// The operation and path of a request, for its errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub(super) op: &'static str,
    pub(super) path: &'a RemotePath,
}

impl Purpose<'_> {
    /// An error of this request. One of connecting names no path: it is about the source as a whole.
    pub(super) fn error(self, kind: ErrorKind) -> Error {
        let error = Error::new(self.op, kind);
        if self.op == "connect" { error } else { error.on(self.path) }
    }

    /// The server answered something that it must not.
    pub(super) fn protocol(self, why: impl Into<String>) -> Error {
        self.error(ErrorKind::Protocol).because(why)
    }
}
